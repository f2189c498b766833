//! What `launchctl` says, made hard to read: its output "is NOT API in any sense".

use serde::{Deserialize, Serialize};

use crate::launchd::answer::Answer;

/// What becomes of the true texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Disguise {
    /// Not a word, on neither stream.
    Empty,
    /// Every line backwards.
    Garbled,
    /// The first half of standard output.
    Truncated,
    /// Field names, states and error texts in German.
    Localized,
    /// The fields of one job under other names.
    Renamed,
    /// More fields than are known, and blocks that look like the wanted ones.
    Decoys,
    /// So many bytes of noise before the rest.
    Flood(u64),
}

/// A line of noise in front of the first field of `print`, and what must not be read from it.
const DECOY_FIELDS: &str = "\tpid local endpoints = 1\n\tstate change = running\n\
     \tlegacy record = {\n\t\tstate = not running\n\t\tpid = 4194302\n\t\truns = 0\n\
     \t\tpath = /nonexistent/decoy.plist\n\t}\n";

const GERMAN: [(&str, &str); 13] = [
    ("Input/output error", "Ein-/Ausgabefehler"),
    ("Operation already in progress", "Vorgang wird bereits ausgeführt"),
    ("No such process", "Kein passender Prozess gefunden"),
    ("Could not find service", "Dienst nicht gefunden:"),
    ("Bad request.", "Ungültige Anfrage."),
    ("failed", "fehlgeschlagen"),
    ("not running", "läuft nicht"),
    ("running", "läuft"),
    ("\tstate = ", "\tZustand = "),
    ("\tpid = ", "\tProzess = "),
    ("\truns = ", "\tStarts = "),
    ("\tpath = ", "\tPfad = "),
    ("last exit code", "letzter Rückgabewert"),
];

const OTHER_NAMES: [(&str, &str); 5] = [
    ("\n\tstate = ", "\n\tservice state = "),
    ("\n\tpid = ", "\n\tprocess = "),
    ("\n\truns = ", "\n\tspawn count = "),
    ("\n\tpath = ", "\n\tplist path = "),
    ("\n\tprogram = ", "\n\texecutable = "),
];

impl Disguise {
    /// The answer, disguised; its code stays what it is.
    pub fn over(self, answer: Answer) -> Answer {
        let Answer { code, stdout, stderr, run } = answer;
        let (stdout, stderr) = match self {
            Self::Empty => (String::new(), String::new()),
            Self::Garbled => (backwards(&stdout), backwards(&stderr)),
            Self::Truncated => (first_half(&stdout), stderr),
            Self::Localized => (replaced(stdout, &GERMAN), replaced(stderr, &GERMAN)),
            Self::Renamed => (replaced(stdout, &OTHER_NAMES), stderr),
            Self::Decoys => (with_decoys(&stdout), stderr),
            Self::Flood(_) => (stdout, stderr),
        };
        Answer { code, stdout, stderr, run }
    }

    /// How much noise `launchctl` makes before it prints.
    pub const fn flood(self) -> u64 {
        match self {
            Self::Flood(bytes) => bytes,
            Self::Empty
            | Self::Garbled
            | Self::Truncated
            | Self::Localized
            | Self::Renamed
            | Self::Decoys => 0,
        }
    }
}

fn backwards(text: &str) -> String {
    text.lines().map(|line| line.chars().rev().chain(['\n']).collect::<String>()).collect()
}

fn first_half(text: &str) -> String {
    text.chars().take(text.chars().count() / 2).collect()
}

fn replaced(text: String, pairs: &[(&str, &str)]) -> String {
    pairs.iter().fold(text, |text, (from, to)| text.replace(from, to))
}

fn with_decoys(text: &str) -> String {
    match text.split_once('\n') {
        Some((head, rest)) if rest.starts_with('\t') => format!("{head}\n{DECOY_FIELDS}{rest}"),
        Some(_) | None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Chapter 3: what a reader may rest on, and the traps around it [C idx 68429353453].
    #[test]
    fn the_true_text_is_hard_to_read_and_the_code_stays() {
        let real = Answer {
            code: 5,
            stdout: "gui/1/a = {\n\tpath = /a\n\tstate = running\n\tpid = 7\n}\n".to_owned(),
            stderr: "Bootstrap failed: 5: Input/output error\n".to_owned(),
            run: Vec::new(),
        };
        let over = |disguise: Disguise| disguise.over(real.clone());
        assert_eq!(over(Disguise::Empty), Answer::mute(5));
        assert!(over(Disguise::Garbled).stdout.contains("gninnur = etats"));
        assert!(over(Disguise::Truncated).stdout.len() < real.stdout.len());
        let german = over(Disguise::Localized);
        assert!(german.stdout.contains("\tZustand = läuft\n"), "{}", german.stdout);
        assert!(german.stderr.contains("5: Ein-/Ausgabefehler"), "{}", german.stderr);
        let renamed = over(Disguise::Renamed).stdout;
        assert!(!renamed.contains("\n\tstate = ") && renamed.contains("\n\tservice state = "));
        let decoys = over(Disguise::Decoys).stdout;
        let own = |name: &str| decoys.lines().filter(|line| line.starts_with(name)).count();
        assert_eq!((own("\tstate = "), own("\tpid = ")), (1, 1), "{decoys}");
        assert_eq!(decoys.matches("pid = ").count(), 2);
        assert_eq!(Disguise::Flood(9).flood(), 9);
    }
}
