//! What Nix and the activation are doing, read from the lines that they print. Pure, but for the reading of a file.
//!
//! Nix without a terminal says what it is going to build and to fetch, and then each of them; home-manager names the
//! step of its activation; NixOS and nix-darwin say that they activate. At a terminal Nix draws a bar with counts, which are
//! read as well. Words that are not known change nothing: this is for people, and nothing is decided by it.

use std::{
    fmt,
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    path::Path,
};

use serde::{Deserialize, Serialize};

/// Of a longer file only the end is read, in bytes: what is counted is then not all there is.
const MAX_READ: u64 = 16 * 1024 * 1024;

/// No line is looked at beyond this, in bytes.
const MAX_LINE: usize = 512;

/// The longest name of a step, in characters.
const MAX_STEP: usize = 60;

/// What is being done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "doing", rename_all = "kebab-case")]
pub enum NixPhase {
    /// The configuration is evaluated.
    Evaluating,
    /// Paths are fetched.
    Fetching {
        /// The one that came last, counted from 1.
        number: u32,
        /// How many there are, where that was said.
        of: Option<u32>,
    },
    /// Derivations are built.
    Building {
        /// The one that was begun last, counted from 1.
        number: u32,
        /// How many there are, where that was said.
        of: Option<u32>,
    },
    /// The generation is activated.
    Activating {
        /// The step, where it has a name.
        step: Option<String>,
    },
}

impl fmt::Display for NixPhase {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, number, of) = match self {
            Self::Evaluating => return formatter.write_str("evaluating"),
            Self::Activating { step: None } => return formatter.write_str("activating"),
            Self::Activating { step: Some(step) } => {
                return write!(formatter, "activating ({step})");
            }
            Self::Fetching { number, of } => ("fetching", number, of),
            Self::Building { number, of } => ("building", number, of),
        };
        match of {
            Some(of) => write!(formatter, "{word} {number} of {of}"),
            None => write!(formatter, "{word} {number}"),
        }
    }
}

/// A log, read as it grows. Takes the same memory however long it is.
#[derive(Debug, Clone, Default)]
pub struct NixLog {
    line: Vec<u8>,
    to_build: Option<u32>,
    built: u32,
    to_fetch: Option<u32>,
    fetched: u32,
    phase: Option<NixPhase>,
}

impl NixLog {
    /// What was being done at the end of this file.
    pub fn phase_of_file(path: &Path) -> io::Result<Option<NixPhase>> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(MAX_READ)))?;
        let mut log = Self::default();
        let mut piece = vec![0; 64 * 1024];
        let mut rest = file.take(MAX_READ);
        loop {
            let read = rest.read(&mut piece)?;
            if read == 0 {
                return Ok(log.phase);
            }
            log.feed(&piece[..read]);
        }
    }

    /// The next bytes of it.
    pub fn feed(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            // A bar at a terminal is drawn over and over again, parted by carriage returns.
            if byte == b'\n' || byte == b'\r' {
                self.take_line();
            } else if self.line.len() < MAX_LINE {
                self.line.push(byte);
            }
        }
    }

    /// What is being done, as far as it was said.
    pub const fn phase(&self) -> Option<&NixPhase> {
        self.phase.as_ref()
    }

    fn take_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        let line = strip_escapes(&line);
        self.read(line.trim());
        // The buffer is used again.
        self.line = line.into_bytes();
        self.line.clear();
    }

    fn read(&mut self, line: &str) {
        if line.starts_with("evaluating ") {
            self.phase = Some(NixPhase::Evaluating);
        } else if let Some(number) = announced(line, "derivation", "will be built") {
            self.to_build = Some(self.to_build.unwrap_or(0).saturating_add(number));
        } else if let Some(number) = announced(line, "path", "will be fetched") {
            self.to_fetch = Some(self.to_fetch.unwrap_or(0).saturating_add(number));
        } else if line.starts_with("building '/") {
            self.built = self.built.saturating_add(1);
            self.phase = Some(NixPhase::Building { number: self.built, of: self.to_build });
        } else if line.starts_with("copying path '/") {
            self.fetched = self.fetched.saturating_add(1);
            self.phase = Some(NixPhase::Fetching { number: self.fetched, of: self.to_fetch });
        } else if let Some((number, of)) = bar(line) {
            self.phase = Some(NixPhase::Building { number, of: Some(of) });
        } else if line == "Starting Home Manager activation"
            || line.starts_with("activating the configuration")
            || line.starts_with("setting up launchd services")
        {
            self.phase = Some(NixPhase::Activating { step: None });
        } else if let Some(step) = line.strip_prefix("Activating ").filter(|step| is_name(step)) {
            let step = step.chars().take(MAX_STEP).collect();
            self.phase = Some(NixPhase::Activating { step: Some(step) });
        }
    }
}

/// `these 12 derivations will be built:`, `this path will be fetched (1.00 MiB download, 4.00 MiB unpacked):`
fn announced(line: &str, noun: &str, what: &str) -> Option<u32> {
    let (before, after) = line.split_once(what)?;
    if !(after.starts_with(':') || after.starts_with(" (")) {
        return None;
    }
    let mut words = before.split_whitespace();
    match (words.next()?, words.next()?) {
        ("this", word) if word == noun => Some(1),
        ("these", number) => {
            words.next().filter(|word| word.strip_suffix('s') == Some(noun))?;
            number.parse().ok()
        }
        _ => None,
    }
}

/// `[3/12 built, 1/4 copied (1.0/4.0 MiB)]`, as at a terminal.
fn bar(line: &str) -> Option<(u32, u32)> {
    let inner = line.strip_prefix('[')?.split(']').next()?;
    let counts = inner.split(',').map(str::trim).find_map(|part| part.strip_suffix(" built"))?;
    // `1/3/12` counts those that are being built in the middle.
    let mut numbers = counts.split('/').map(str::parse);
    let (first, last) = (numbers.next()?.ok()?, numbers.next_back()?.ok()?);
    Some((first, last))
}

/// The name of a step of home-manager's activation is one word.
fn is_name(step: &str) -> bool {
    !step.is_empty() && step.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

/// The line without escape sequences (ECMA-48: ESC `[`, parameters, a final byte from `@` to `~`).
fn strip_escapes(line: &[u8]) -> String {
    let mut text = Vec::with_capacity(line.len());
    let mut rest = line.iter().copied().peekable();
    while let Some(byte) = rest.next() {
        if byte != 0x1b {
            text.push(byte);
        } else if rest.next_if_eq(&b'[').is_some() {
            let _ = rest.by_ref().find(|byte| (b'@'..=b'~').contains(byte));
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phases(lines: &[&str]) -> Vec<String> {
        let mut log = NixLog::default();
        let mut seen = Vec::new();
        for line in lines {
            log.feed(line.as_bytes());
            log.feed(b"\n");
            seen.extend(log.phase().map(ToString::to_string));
        }
        seen.dedup();
        seen
    }

    #[test]
    fn a_switch_without_a_terminal_is_followed() {
        let seen = phases(&[
            "warning: Git tree '/cfg' is dirty",
            "evaluating derivation 'path:/cfg#x'",
            "these 2 derivations will be built:",
            "  /nix/store/a.drv",
            "  /nix/store/b.drv",
            "this path will be fetched (0.10 MiB download, 0.40 MiB unpacked):",
            "copying path '/nix/store/c' from 'https://cache.nixos.org'...",
            "building '/nix/store/a.drv'...",
            "building '/nix/store/b.drv'...",
            "building line 3 of something else",
            "Starting Home Manager activation",
            "Activating checkFilesChanged",
            "Activating a thing with several words",
            "Activating linkGeneration",
        ]);
        assert_eq!(
            seen,
            [
                "evaluating",
                "fetching 1 of 1",
                "building 1 of 2",
                "building 2 of 2",
                "activating",
                "activating (checkFilesChanged)",
                "activating (linkGeneration)",
            ]
        );
    }

    #[test]
    fn systems_and_terminals_are_followed_too() {
        let seen = phases(&[
            "\u{1b}[K[\u{1b}[32;1m1\u{1b}[0m/3/12 built] building x\r[2/12 built, 1/4 copied] y",
            "activating the configuration...",
        ]);
        assert_eq!(seen, ["building 2 of 12", "activating"]);
        assert_eq!(phases(&["setting up launchd services..."]), ["activating"]);
    }

    #[test]
    fn what_makes_no_sense_changes_nothing() {
        for line in [
            "these 5000000000 derivations will be built:",
            "these derivations will be built: home-manager-generation",
            "this is what will be built:",
            "[]",
            "[/ built]",
            "[1/x built]",
            "\u{1b}[",
            "building 'here'",
            "",
        ] {
            assert_eq!(phases(&[line]), [""; 0], "{line:?}");
        }
        // However long and whatever is in it, one line costs no more than another.
        let mut log = NixLog::default();
        log.feed(&vec![0xff; 1 << 20]);
        assert!(log.line.len() <= MAX_LINE);
        log.feed(b"\nbuilding '/nix/store/a.drv'...\n");
        assert_eq!(log.phase().unwrap().to_string(), "building 1");
    }
}
