//! What a switch is on this host, and the words of which its command consists. Pure.
//!
//! The agent writes the arguments into the request, the wrapper runs them: both take them from here, so a switch that the
//! dashboard asks for is the one that a user without arguments gets.

use std::{fmt, path::PathBuf, str::FromStr};

use serde::{Deserialize, Serialize};

/// What a switch runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SwitchKind {
    /// `home-manager switch`, as the user.
    #[default]
    HomeManager,
    /// `nixos-rebuild switch`, as root.
    NixosRebuild,
    /// `darwin-rebuild switch`, as root.
    DarwinRebuild,
    /// A command that the config gives.
    Command,
}

impl SwitchKind {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::HomeManager, Self::NixosRebuild, Self::DarwinRebuild, Self::Command];

    /// The word in the config, in the journal and in messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HomeManager => "home-manager",
            Self::NixosRebuild => "nixos-rebuild",
            Self::DarwinRebuild => "darwin-rebuild",
            Self::Command => "command",
        }
    }

    /// Whether only root may do it. A command that needs root says so itself.
    pub const fn needs_root(self) -> bool {
        match self {
            Self::NixosRebuild | Self::DarwinRebuild => true,
            Self::HomeManager | Self::Command => false,
        }
    }

    /// Whether sudo stands between it and whoever runs it. It passes SIGTERM, SIGINT and SIGQUIT on (sudo(8)); but what it runs
    /// is root's and gets no signal from us directly, and killed it can pass nothing on.
    pub const fn is_under_sudo(self, is_root: bool) -> bool {
        self.needs_root() && !is_root
    }

    /// The switch as people type it: for messages.
    pub fn typed(self, arguments: &[String]) -> String {
        let words: &[&str] = match self {
            Self::HomeManager => &["home-manager", "switch"],
            Self::NixosRebuild => &["nixos-rebuild", "switch"],
            Self::DarwinRebuild => &["darwin-rebuild", "switch"],
            // What the config says is not here; the wrapper stands for it.
            Self::Command => &["nixfleet-switch"],
        };
        let words = words.iter().copied().chain(arguments.iter().map(String::as_str));
        words.collect::<Vec<_>>().join(" ")
    }
}

impl fmt::Display for SwitchKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A word that is no kind of switch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no kind of switch")]
pub struct InvalidKind(String);

impl FromStr for SwitchKind {
    type Err = InvalidKind;
    fn from_str(text: &str) -> Result<Self, InvalidKind> {
        let kind = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        kind.ok_or_else(|| InvalidKind(text.chars().take(80).collect()))
    }
}

/// The switch of this host, as the config has it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SwitchCommand {
    /// What it runs.
    pub kind: SwitchKind,
    /// The whole command of [`SwitchKind::Command`]; empty for the others.
    pub words: Vec<String>,
    /// The flake: a path or a reference.
    pub flake: Option<String>,
    /// What follows `#` in it.
    pub attribute: Option<String>,
    /// What follows the flake.
    pub arguments: Vec<String>,
}

/// What the command is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To switch.
    Switch,
    /// To build what a switch would activate, and leave a link to it.
    Build,
}

/// Who runs the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Runner {
    /// This process's own user.
    Own,
    /// root, by sudo(8).
    Sudo {
        /// The program.
        sudo: PathBuf,
        /// Whether it may ask for a password: somebody is at a terminal.
        may_ask: bool,
    },
}

impl Runner {
    /// These words, run by it.
    pub fn runs<Word: From<String> + From<PathBuf>>(
        self,
        words: impl IntoIterator<Item = Word>,
    ) -> Vec<Word> {
        let before: Vec<Word> = match self {
            Self::Own => Vec::new(),
            Self::Sudo { sudo, may_ask } => {
                let never_ask = (!may_ask).then(|| "-n".to_owned());
                let flags = never_ask.into_iter().chain(["--".to_owned()]).map(Word::from);
                [Word::from(sudo)].into_iter().chain(flags).collect()
            }
        };
        before.into_iter().chain(words).collect()
    }
}

impl SwitchCommand {
    /// What follows `PROGRAM switch`, or the configured command: what was typed, else what the config says. Nothing is
    /// added to what was typed.
    pub fn arguments<Word: Clone + From<String>>(&self, typed: &[Word]) -> Vec<Word> {
        if !typed.is_empty() {
            return typed.to_vec();
        }
        let flake = self.flake.iter().flat_map(|flake| {
            let whole = match &self.attribute {
                Some(attribute) => format!("{flake}#{attribute}"),
                None => flake.clone(),
            };
            ["--flake".to_owned(), whole]
        });
        flake.chain(self.arguments.iter().cloned()).map(Word::from).collect()
    }

    /// The whole command, the program first. `program` is what was found for the kind.
    pub fn line<Word: From<String> + From<PathBuf> + Clone>(
        &self,
        purpose: Purpose,
        program: PathBuf,
        arguments: &[Word],
        runner: Runner,
    ) -> Vec<Word> {
        let own: Vec<String> = match self.kind {
            SwitchKind::HomeManager | SwitchKind::NixosRebuild | SwitchKind::DarwinRebuild => {
                let word = match purpose {
                    Purpose::Switch => "switch",
                    Purpose::Build => "build",
                };
                vec![word.to_owned()]
            }
            SwitchKind::Command => self.words.iter().skip(1).cloned().collect(),
        };
        let words = [Word::from(program)]
            .into_iter()
            .chain(own.into_iter().map(Word::from))
            .chain(arguments.iter().cloned());
        runner.runs(words)
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    fn command(kind: SwitchKind, flake: &[&str], arguments: &[&str]) -> SwitchCommand {
        SwitchCommand {
            kind,
            words: Vec::new(),
            flake: flake.first().map(|&flake| flake.to_owned()),
            attribute: flake.get(1).map(|&attribute| attribute.to_owned()),
            arguments: arguments.iter().map(|&word| word.to_owned()).collect(),
        }
    }

    #[test]
    fn what_was_typed_stands_for_all_that_the_config_says() {
        use SwitchKind::{HomeManager, NixosRebuild};
        for (command, typed, expected) in [
            (command(HomeManager, &[], &[]), &[][..], &[][..]),
            (command(HomeManager, &[], &["-b", "bak"]), &[], &["-b", "bak"]),
            (command(HomeManager, &["/cfg"], &[]), &[], &["--flake", "/cfg"]),
            (
                command(HomeManager, &["/cfg", "me@host"], &["-b", "bak"]),
                &[],
                &["--flake", "/cfg#me@host", "-b", "bak"],
            ),
            (
                command(NixosRebuild, &["github:me/cfg", "host"], &["-L"]),
                &[],
                &["--flake", "github:me/cfg#host", "-L"],
            ),
            (
                command(NixosRebuild, &["/cfg", "host"], &["-L"]),
                &["--flake", "."],
                &["--flake", "."],
            ),
            (command(HomeManager, &["/cfg"], &["-L"]), &["-v"], &["-v"]),
        ] {
            let typed: Vec<String> = typed.iter().map(|&word| word.to_owned()).collect();
            assert_eq!(command.arguments(&typed), expected, "{command:?} {typed:?}");
            let typed: Vec<OsString> = typed.iter().map(OsString::from).collect();
            assert_eq!(command.arguments(&typed), expected, "{command:?} {typed:?}");
        }
    }

    #[test]
    fn the_whole_command_is_the_kind_s() {
        use SwitchKind::{Command, DarwinRebuild, HomeManager, NixosRebuild};
        let sudo = |may_ask| Runner::Sudo { sudo: "/bin/sudo".into(), may_ask };
        for (kind, runner, expected) in [
            (HomeManager, Runner::Own, "/bin/p switch a b"),
            (NixosRebuild, Runner::Own, "/bin/p switch a b"),
            (NixosRebuild, sudo(false), "/bin/sudo -n -- /bin/p switch a b"),
            (DarwinRebuild, sudo(true), "/bin/sudo -- /bin/p switch a b"),
            (Command, Runner::Own, "/bin/p --now a b"),
        ] {
            let words = match kind {
                Command => vec!["p".to_owned(), "--now".to_owned()],
                HomeManager | NixosRebuild | DarwinRebuild => Vec::new(),
            };
            let command = SwitchCommand { kind, words, ..SwitchCommand::default() };
            let arguments = [OsString::from("a"), OsString::from("b")];
            let line = command.line(Purpose::Switch, "/bin/p".into(), &arguments, runner);
            let expected: Vec<&str> = expected.split(' ').collect();
            assert_eq!(line, expected, "{kind}");
        }
    }

    #[test]
    fn kinds_have_one_spelling() {
        for kind in SwitchKind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
        assert!("Home-Manager".parse::<SwitchKind>().is_err());
    }

    #[test]
    fn a_switch_is_said_as_it_is_typed() {
        let arguments = ["--flake".to_owned(), ".".to_owned()];
        for (kind, expected) in [
            (SwitchKind::HomeManager, "home-manager switch --flake ."),
            (SwitchKind::NixosRebuild, "nixos-rebuild switch --flake ."),
            (SwitchKind::DarwinRebuild, "darwin-rebuild switch --flake ."),
            (SwitchKind::Command, "nixfleet-switch --flake ."),
        ] {
            assert_eq!(kind.typed(&arguments), expected);
        }
    }
}
