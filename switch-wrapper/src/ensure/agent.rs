//! The agent's own record: the proof that it is up, and whether it still is what is installed.

use std::time::Duration;

use jiff::Timestamp;
use nixfleet_protocol::{config_file, journal::records::RunningAgent};
use rustix::process::Pid;

use super::running_agent;
use crate::settings::Settings;

/// An agent that is up: its process lives and has written itself down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AgentView {
    /// Its record.
    pub(super) record: RunningAgent,
    /// Its executable or its config file is another one by now.
    pub(super) is_outdated: bool,
    /// Its process group: the service manager's main process may be a shell around the agent.
    pub(super) group: Option<u32>,
    /// How long it has been up.
    pub(super) age: Duration,
    /// It came up after the moment that counts: the switch's beginning.
    pub(super) is_new: bool,
}

impl AgentView {
    /// Its pid.
    pub(super) const fn pid(&self) -> u32 {
        self.record.process.pid
    }

    /// Whether it belongs to a job with this main process.
    pub(super) fn belongs_to(&self, job: Option<u32>) -> bool {
        job.is_some() && (job == Some(self.pid()) || job == self.group)
    }
}

/// The agent that is up, if one is.
pub(super) fn look(settings: &Settings, since: Timestamp) -> Option<AgentView> {
    let record = running_agent(settings)?;
    // If the system does not tell whether it lives, its record alone proves nothing.
    let is_alive = record.process.is_alive().unwrap_or(false);
    is_alive.then(|| AgentView {
        is_outdated: has_other_executable(&record) || has_other_config(&record),
        is_new: record.started_at >= since,
        // A clock that was set back in between: then it has been up for long enough.
        age: Timestamp::now().duration_since(record.started_at).try_into().unwrap_or(Duration::MAX),
        group: group_of(record.process.pid),
        record,
    })
}

fn group_of(pid: u32) -> Option<u32> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let group = rustix::process::getpgid(pid).ok()?;
    u32::try_from(group.as_raw_nonzero().get()).ok()
}

/// Where it was started from leads to another file now. A path that leads nowhere is no better executable.
fn has_other_executable(record: &RunningAgent) -> bool {
    let installed = record.invoked_as.as_ref().and_then(|path| path.canonicalize().ok());
    installed.is_some_and(|installed| installed != record.exe)
}

fn has_other_config(record: &RunningAgent) -> bool {
    let now = record.config_path.as_deref().and_then(config_file::digest_of);
    now.is_some_and(|digest| Some(digest) != record.config_digest)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink, path::Path};

    use nixfleet_protocol::{journal::records::FORMAT, process::ProcessIdentity};

    use super::*;

    fn record(link: &Path, config: &Path) -> RunningAgent {
        RunningAgent {
            format: FORMAT,
            process: ProcessIdentity { pid: 1, start: String::new() },
            started_at: Timestamp::UNIX_EPOCH,
            version: "1".to_owned(),
            exe: link.canonicalize().unwrap(),
            invoked_as: Some(link.to_owned()),
            config_path: Some(config.to_owned()),
            config_digest: config_file::digest_of(config),
            last_heartbeat_at: None,
        }
    }

    #[test]
    fn another_executable_or_config_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for name in ["old", "new", "config.toml"] {
            fs::write(path(name), name).unwrap();
        }
        symlink(path("old"), path("agent")).unwrap();
        let record = record(&path("agent"), &path("config.toml"));
        assert!(!has_other_executable(&record) && !has_other_config(&record));

        fs::write(path("config.toml"), "changed").unwrap();
        assert!(has_other_config(&record));
        fs::remove_file(path("config.toml")).unwrap();
        assert!(!has_other_config(&record));

        fs::remove_file(path("agent")).unwrap();
        assert!(!has_other_executable(&record));
        symlink(path("new"), path("agent")).unwrap();
        assert!(has_other_executable(&record));
    }
}
