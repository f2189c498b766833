//! Whether a running program still is what is installed, and where NixFleet's own programs are installed.
//!
//! Agent and wrapper both ask: the agent to hand over to its successor, the wrapper to end one that does not.

use std::{
    env, fmt, io,
    path::{Path, PathBuf},
};

use crate::{digest, journal::records::RunningProgram};

/// Where the wrapper is installed, seen from the home directory: outside home-manager's profile, so that a switch does
/// not pull it away under itself.
const STABLE_FOLDER: &str = ".local/state/nixfleet/bin";

/// The wrapper's name.
pub const WRAPPER: &str = "nixfleet-switch";

/// The program beside the wrapper that `nixfleet-switch watchdog` becomes.
pub const WATCHDOG: &str = "nixfleet-watchdog";

/// The agent's launchd label when nothing says otherwise.
pub const DEFAULT_LABEL: &str = "com.nixfleet.agent";

/// The agent's systemd unit when nothing says otherwise.
pub const DEFAULT_UNIT: &str = "nixfleet-agent.service";

/// The watchdog's launchd label when nothing says otherwise.
pub const WATCHDOG_LABEL: &str = "com.nixfleet.watchdog";

/// The watchdog's systemd unit when nothing says otherwise.
pub const WATCHDOG_UNIT: &str = "nixfleet-watchdog.service";

/// The folder of the stable paths.
pub fn stable_folder(home: &Path) -> PathBuf {
    home.join(STABLE_FOLDER)
}

/// The wrapper's stable path.
pub fn stable_wrapper(home: &Path) -> PathBuf {
    stable_folder(home).join(WRAPPER)
}

/// Where the definition of a launchd job is on disk, for the user with this home.
pub fn launch_agent(home: &Path, label: &str) -> PathBuf {
    home.join(format!("Library/LaunchAgents/{label}.plist"))
}

/// What was started: this program, or one that has become it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invocation {
    /// The file, with all links resolved.
    pub exe: PathBuf,
    /// The absolute path under which it was started, links kept; nothing if the name does not say which file that is.
    pub invoked_as: Option<PathBuf>,
}

/// How this process was started. Where the path leads to another file than this program's, that file is what is installed:
/// it has become this program under its own name, as the wrappers of nixpkgs do.
pub fn invocation() -> io::Result<Invocation> {
    let own = env::current_exe().and_then(|path| path.canonicalize())?;
    let invoked_as = env::args_os().next().map(PathBuf::from).filter(|path| path.is_absolute());
    let target = invoked_as.as_ref().and_then(|path| path.canonicalize().ok());
    Ok(Invocation { exe: target.unwrap_or(own), invoked_as })
}

/// What of a running program is not what is installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Difference {
    /// The path under which it was started leads to another executable.
    Executable,
    /// Its config file says something else.
    Config,
    /// The definition of its job on disk is another one than when it came up.
    Definition,
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Executable => "executable",
            Self::Config => "config",
            Self::Definition => "definition",
        })
    }
}

/// What of the program is not what is installed. The definition counts most: a new one is a new job.
///
/// A file that is not there any more is no difference: there is nothing to change over to.
pub fn difference(program: &RunningProgram) -> Option<Difference> {
    if has_changed(program.definition_path.as_deref(), program.definition_digest.as_deref()) {
        Some(Difference::Definition)
    } else if has_other_executable(program) {
        Some(Difference::Executable)
    } else if has_changed(program.config_path.as_deref(), program.config_digest.as_deref()) {
        Some(Difference::Config)
    } else {
        None
    }
}

fn has_other_executable(program: &RunningProgram) -> bool {
    let installed = program.invoked_as.as_ref().and_then(|path| path.canonicalize().ok());
    installed.is_some_and(|installed| installed != program.exe)
}

fn has_changed(path: Option<&Path>, digest: Option<&str>) -> bool {
    let now = path.and_then(digest::of_file);
    now.is_some() && digest.is_some() && now.as_deref() != digest
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use jiff::Timestamp;

    use super::*;
    use crate::{journal::records::FORMAT, process::ProcessIdentity};

    #[test]
    fn what_has_changed_since_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for name in ["old", "new", "config.toml", "agent.plist"] {
            fs::write(path(name), name).unwrap();
        }
        symlink(path("old"), path("agent")).unwrap();
        let program = RunningProgram {
            format: FORMAT,
            process: ProcessIdentity { pid: 1, start: String::new() },
            started_at: Timestamp::UNIX_EPOCH,
            version: "1".to_owned(),
            exe: path("old").canonicalize().unwrap(),
            invoked_as: Some(path("agent")),
            config_digest: digest::of_file(&path("config.toml")),
            config_path: Some(path("config.toml")),
            definition_digest: digest::of_file(&path("agent.plist")),
            definition_path: Some(path("agent.plist")),
            last_heartbeat_at: None,
            dashboard: None,
        };
        assert_eq!(difference(&program), None);

        fs::write(path("config.toml"), "changed").unwrap();
        assert_eq!(difference(&program), Some(Difference::Config));
        fs::remove_file(path("agent")).unwrap();
        assert_eq!(difference(&program), Some(Difference::Config));
        symlink(path("new"), path("agent")).unwrap();
        assert_eq!(difference(&program), Some(Difference::Executable));
        fs::write(path("agent.plist"), "changed").unwrap();
        assert_eq!(difference(&program), Some(Difference::Definition));

        for name in ["config.toml", "agent.plist", "agent"] {
            fs::remove_file(path(name)).unwrap();
        }
        assert_eq!(difference(&program), None);
    }
}
