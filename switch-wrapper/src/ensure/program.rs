//! A program's own record: the proof that it is up, and whether it still is what is installed.

use std::{
    ffi::{OsStr, OsString},
    fs,
    os::unix::ffi::OsStrExt as _,
    process::{Command, Stdio},
    time::Duration,
};

use jiff::Timestamp;
use nixfleet_protocol::{
    digest, external,
    installed::{self, Difference},
    journal::records::RunningProgram,
};
use rustix::process::Pid;

use super::{
    definition::{self, OnDisk},
    job::JobKind,
};
use crate::settings::{ServiceManager, Settings};

/// How long an agent may take to check its config.
const CHECK_LIMIT: Duration = Duration::from_secs(5);

/// A program that is up: its process lives and has written itself down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ProgramView {
    /// Its record.
    pub(super) record: RunningProgram,
    /// What of it is not what is installed.
    pub(super) difference: Option<Difference>,
    /// Its process group: the service manager's main process may be a shell around the program.
    pub(super) group: Option<u32>,
    /// How long it has been up.
    pub(super) age: Duration,
    /// It was started as this job.
    pub(super) was_started_as_job: bool,
    /// It came up after the moment that counts: the switch's beginning.
    pub(super) is_new: bool,
}

impl ProgramView {
    /// Its pid.
    pub(super) const fn pid(&self) -> u32 {
        self.record.process.pid
    }

    /// Whether a new process of the same job would be another one. A new definition is a matter of the job.
    pub(super) const fn is_outdated(&self) -> bool {
        matches!(self.difference, Some(Difference::Executable | Difference::Config))
    }

    /// The same, or as one that is what is installed.
    pub(super) fn kept_if(self, is_kept: bool) -> Self {
        let difference = self.difference.filter(|_| !is_kept);
        Self { difference, ..self }
    }

    /// Whether it belongs to a job with this main process.
    pub(super) fn belongs_to(&self, job: Option<u32>) -> bool {
        job.is_some() && (job == Some(self.pid()) || job == self.group)
    }
}

/// The program of this job that is up, if one is.
pub(super) fn look(settings: &Settings, kind: JobKind, since: Timestamp) -> Option<ProgramView> {
    let record = kind.record(settings)?;
    // If the system does not tell whether it lives, its record alone proves nothing.
    let is_alive = record.process.is_alive().unwrap_or(false);
    is_alive.then(|| ProgramView {
        difference: installed::difference(&record),
        was_started_as_job: record.definition_path.as_ref() == Some(kind.plist(settings)),
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

/// The variables of the job: the token may be there. systemd's units are not read, but what systemd has made of them is in
/// proc(5) for the agent that runs.
fn environment(settings: &Settings, kind: JobKind, pid: u32) -> Vec<(OsString, OsString)> {
    match settings.service_manager {
        ServiceManager::Launchd => {
            match definition::read(kind.plist(settings), kind.label(settings)) {
                OnDisk::Good(definition) => {
                    let variables = definition.environment.into_iter();
                    variables.map(|(name, value)| (name.into(), value.into())).collect()
                }
                OnDisk::Absent | OnDisk::Bad(_) | OnDisk::SomebodyElses(_) => Vec::new(),
            }
        }
        ServiceManager::Systemd(_) | ServiceManager::None => {
            variables(&fs::read(format!("/proc/{pid}/environ")).unwrap_or_default())
        }
    }
}

/// `NAME=VALUE`, each ended by a zero byte.
fn variables(environ: &[u8]) -> Vec<(OsString, OsString)> {
    let words = environ.split(|&byte| byte == 0);
    let variable = |word: &[u8]| {
        let end = word.iter().position(|&byte| byte == b'=').filter(|&end| end > 0)?;
        let (name, value) = (word.get(..end)?, word.get(end + 1..)?);
        Some((OsStr::from_bytes(name).to_owned(), OsStr::from_bytes(value).to_owned()))
    };
    words.filter_map(variable).collect()
}

/// Why the agent that is installed by now would not come up with the config that is: nothing if the config is the one with
/// which it runs, or if it would. The agent itself is asked.
pub(super) fn config_flaw(settings: &Settings, kind: JobKind) -> Option<String> {
    let record = kind.record(settings).filter(|_| kind == JobKind::Agent)?;
    let path = record.config_path.as_ref()?;
    let digest = digest::of_file(path)?;
    if Some(&digest) == record.config_digest.as_ref() || !record.process.is_alive().ok()? {
        return None;
    }
    let installed = record.invoked_as.as_ref().and_then(|path| path.canonicalize().ok());
    let mut command = Command::new(installed.unwrap_or(record.exe));
    command.args(["check-config", "--config"]).arg(path).stdin(Stdio::null());
    command.envs(environment(settings, kind, record.process.pid));
    match external::run(&mut command, CHECK_LIMIT) {
        Ok(ended) if ended.exit_code == Some(0) => None,
        Ok(ended) => Some(format!("{}{}", ended.stderr, ended.stdout)),
        // One that cannot be asked is no reason to keep another.
        Err(_unanswered) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variables_of_a_process_are_read_as_they_are() {
        let environ = b"A=1\0EMPTY=\0B=x=y\0=odd\0nothing\0\xff=\xfe\0";
        let read = variables(environ);
        let expected: [(&[u8], &[u8]); 4] =
            [(b"A", b"1"), (b"EMPTY", b""), (b"B", b"x=y"), (b"\xff", b"\xfe")];
        let expected = expected.map(|(name, value)| {
            (OsStr::from_bytes(name).to_owned(), OsStr::from_bytes(value).to_owned())
        });
        assert_eq!(read, expected);
        assert_eq!(variables(b""), []);
    }
}
