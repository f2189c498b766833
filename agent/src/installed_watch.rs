//! Whether this agent still is what is installed, found out without reading files that have not changed.

use std::{
    path::{Path, PathBuf},
    time::SystemTime,
};

use nixfleet_protocol::{
    installed::{self, Difference},
    journal::records::RunningProgram,
};

use crate::{decide::facts::Outdated, file_stamp::Stamp, settings::Origin};

/// What is compared, and what it came to.
#[derive(Debug)]
pub(crate) struct InstalledWatch {
    /// This agent, as its record says, but for the executable: that is what the path led to when the agent came up. A path
    /// that never led to this executable, as that of a script around it, says nothing when it stays as it is.
    program: RunningProgram,
    origin: Origin,
    seen: Option<Looks>,
    difference: Option<Difference>,
    number: u64,
}

/// How that looks from outside which is installed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Looks {
    executable: Option<PathBuf>,
    definition: Option<Stamp>,
    config: Option<Stamp>,
}

impl InstalledWatch {
    pub(crate) fn new(program: &RunningProgram, origin: Origin) -> Self {
        let program = program.clone();
        Self { program, origin, seen: None, difference: None, number: 0 }
    }

    /// What of this agent is not what is installed, as it is now.
    pub(crate) fn look(&mut self) -> Option<Outdated> {
        let looks = self.looks();
        if self.seen.as_ref() != Some(&looks) {
            self.number += 1;
            self.difference = self.compare(&looks);
            self.seen = Some(looks);
        } else if self.seen.as_ref().is_some_and(Looks::may_deceive) {
            self.difference = self.compare(&looks);
        }
        let difference = self.difference?;
        // Asked each time: what is wrong with a config may be mended elsewhere, in the token's file for one.
        let flaw = match difference {
            Difference::Config => self.origin.flaw(),
            Difference::Executable | Difference::Definition => None,
        };
        Some(Outdated { difference, number: self.number, flaw })
    }

    fn looks(&self) -> Looks {
        Looks {
            executable: self.program.invoked_as.as_deref().and_then(target_of),
            definition: self.program.definition_path.as_deref().and_then(Stamp::of),
            config: self.program.config_path.as_deref().and_then(Stamp::of),
        }
    }

    /// Reads only what is a file: a pipe in its place would hold us up for ever.
    fn compare(&self, looks: &Looks) -> Option<Difference> {
        let mut program = self.program.clone();
        if looks.definition.is_none() {
            program.definition_path = None;
        }
        if looks.config.is_none() {
            program.config_path = None;
        }
        installed::difference(&program)
    }
}

impl Looks {
    fn may_deceive(&self) -> bool {
        let now = SystemTime::now();
        [self.definition, self.config].into_iter().flatten().any(|stamp| stamp.is_fresh(now))
    }
}

fn target_of(path: &Path) -> Option<PathBuf> {
    path.canonicalize().ok()
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use jiff::Timestamp;
    use nixfleet_protocol::{digest, journal::records::FORMAT, process::ProcessIdentity};

    use super::*;
    use crate::{command_line::Flags, settings::Environment};

    const GOOD: &str = "interval = 30\n";

    struct Stage {
        folder: tempfile::TempDir,
    }

    impl Stage {
        /// An agent that was started by way of a link, with a config and a definition.
        fn new() -> Self {
            let stage = Self { folder: tempfile::tempdir().unwrap() };
            for name in ["old", "new", "plist", "other.toml"] {
                fs::write(stage.path(name), name).unwrap();
            }
            fs::write(stage.path("config"), GOOD).unwrap();
            stage.link("old");
            stage
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().canonicalize().unwrap().join(name)
        }

        fn link(&self, target: &str) {
            // The first time there is none.
            let _ = fs::remove_file(self.path("agent"));
            symlink(self.path(target), self.path("agent")).unwrap();
        }

        fn watch(&self, exe: &str) -> InstalledWatch {
            let program = RunningProgram {
                format: FORMAT,
                process: ProcessIdentity { pid: 1, start: String::new() },
                started_at: Timestamp::UNIX_EPOCH,
                version: "1".to_owned(),
                exe: self.path(exe),
                invoked_as: Some(self.path("agent")),
                config_digest: digest::of_file(&self.path("config")),
                config_path: Some(self.path("config")),
                definition_digest: digest::of_file(&self.path("plist")),
                definition_path: Some(self.path("plist")),
                last_heartbeat_at: None,
                dashboard: None,
            };
            let config = self.path("config");
            let environment = Environment::of(&[
                ("NIXFLEET_CONFIG", config.to_str().unwrap()),
                ("NIXFLEET_URL", "https://fleet.example.org"),
                ("NIXFLEET_TOKEN", "a-token"),
                ("HOME", self.folder.path().to_str().unwrap()),
            ]);
            InstalledWatch::new(&program, Origin::new(Flags::default(), environment))
        }
    }

    fn difference(watch: &mut InstalledWatch) -> Option<Difference> {
        watch.look().map(|outdated| outdated.difference)
    }

    #[test]
    fn what_is_installed_now_is_seen_and_a_way_back_too() {
        let stage = Stage::new();
        let mut watch = stage.watch("old");
        assert_eq!(watch.look(), None);
        stage.link("new");
        assert_eq!(difference(&mut watch), Some(Difference::Executable));
        stage.link("old");
        assert_eq!(watch.look(), None);
        fs::write(stage.path("plist"), "another one").unwrap();
        assert_eq!(difference(&mut watch), Some(Difference::Definition));
        fs::write(stage.path("plist"), "plist").unwrap();
        assert_eq!(watch.look(), None);
        fs::remove_file(stage.path("plist")).unwrap();
        fs::remove_file(stage.path("config")).unwrap();
        fs::remove_file(stage.path("agent")).unwrap();
        assert_eq!(watch.look(), None, "there is nothing to change over to");
    }

    #[test]
    fn a_config_is_checked_as_often_as_it_is_looked_at() {
        let stage = Stage::new();
        let mut watch = stage.watch("old");
        let ca_file = stage.path("ca.pem");
        let config = format!("ca_file = {:?}\n", ca_file.to_str().unwrap());
        fs::write(stage.path("config"), &config).unwrap();
        let first = watch.look().unwrap();
        assert_eq!(first.difference, Difference::Config);
        assert!(first.flaw.as_ref().unwrap().contains("ca_file"), "{first:?}");
        assert_eq!(watch.look(), Some(first.clone()), "nothing has changed");
        fs::write(stage.path("config"), "interval = \"often\"\n").unwrap();
        let second = watch.look().unwrap();
        assert!(second.flaw.is_some() && second.number > first.number, "{second:?}");
        fs::write(stage.path("config"), "interval = 31\n").unwrap();
        let third = watch.look().unwrap();
        assert!(third.flaw.is_none() && third.number > second.number, "{third:?}");
        fs::write(stage.path("config"), GOOD).unwrap();
        assert_eq!(watch.look(), None);
    }

    #[test]
    fn a_change_of_the_same_size_right_after_a_look_is_seen() {
        let stage = Stage::new();
        let mut watch = stage.watch("old");
        for _ in 0..50 {
            fs::write(stage.path("plist"), "plisu").unwrap();
            assert_eq!(difference(&mut watch), Some(Difference::Definition));
            fs::write(stage.path("plist"), "plist").unwrap();
            assert_eq!(watch.look(), None);
        }
    }

    #[test]
    fn a_pipe_in_place_of_a_file_holds_nobody_up() {
        let stage = Stage::new();
        let mut watch = stage.watch("old");
        fs::remove_file(stage.path("plist")).unwrap();
        let made = std::process::Command::new("mkfifo").arg(stage.path("plist")).status().unwrap();
        assert!(made.success());
        assert_eq!(watch.look(), None);
    }
}
