//! Being the one agent: `agent.lock`, and `agent.json`, by which others know that this agent is up.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use nixfleet_protocol::{
    digest,
    installed::{self, Invocation},
    journal::{
        atomic::{self, WriteError},
        lock::{Lock, LockError},
        read,
        records::{DashboardContact, FORMAT, RunningProgram},
        reserve::Reserve,
    },
    process::{AskError, ProcessIdentity},
    state_dir::StateDir,
};

use crate::settings::Settings;

/// How long an agent before this one may take to end.
const OTHER_ENDS_WITHIN: Duration = Duration::from_secs(15);

/// How long something may keep the lock after the agent that had it has ended: a process that this agent had started and
/// that has outlived it.
const HEIR_ENDS_WITHIN: Duration = Duration::from_secs(3);

/// Time between two tries.
const TRY_EVERY: Duration = Duration::from_millis(100);

/// Why this agent is not the one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotTheOne {
    /// Another runs.
    #[error("another agent runs{}; end it first, or give this one another state directory with --state-dir", by_pid(*pid))]
    AnotherRuns { pid: Option<u32> },
    /// The lock file cannot be used.
    #[error(transparent)]
    Lock(LockError),
}

fn by_pid(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
}

/// Takes the agent's lock, waiting for an agent that is ending. If the agent that had it has ended and something else keeps
/// it, this one goes on without: a host without an agent is worse.
pub(crate) async fn become_the_one(directory: &StateDir) -> Result<Lock, NotTheOne> {
    let began = Instant::now();
    let deadline = began + OTHER_ENDS_WITHIN;
    let mut is_said = false;
    loop {
        match Lock::take(&directory.agent_lock()) {
            Ok(lock) => return Ok(lock),
            Err(error @ LockError::Io { .. }) => return Err(NotTheOne::Lock(error)),
            Err(LockError::Held { .. }) => {}
        }
        let pid = pid_of_other(directory);
        if pid.is_none() && has_ended(directory) && began.elapsed() >= HEIR_ENDS_WITHIN {
            tracing::warn!("the lock is held by something that is no agent; going on without it");
            return Lock::beside(&directory.agent_lock()).map_err(NotTheOne::Lock);
        }
        if Instant::now() >= deadline {
            return Err(NotTheOne::AnotherRuns { pid });
        }
        if !is_said {
            is_said = true;
            tracing::info!(pid, "another agent still runs; waiting for it to end");
        }
        tokio::time::sleep(TRY_EVERY).await;
    }
}

fn pid_of_other(directory: &StateDir) -> Option<u32> {
    let other = read::read::<RunningProgram>(&directory.agent_record()).present()?.process;
    other.is_alive().is_ok_and(|alive| alive).then_some(other.pid)
}

/// Whether the agent that was here last has ended for certain.
fn has_ended(directory: &StateDir) -> bool {
    let last = read::read::<RunningProgram>(&directory.agent_record()).present();
    last.is_some_and(|last| last.process.is_alive().is_ok_and(|alive| !alive))
}

/// Why the agent cannot say that it is up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    #[error("cannot find out which program this is")]
    Executable(#[source] io::Error),
    #[error(transparent)]
    Process(#[from] AskError),
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// `agent.json`.
#[derive(Debug)]
pub(crate) struct AgentRecord {
    path: PathBuf,
    record: RunningProgram,
}

/// Writes with the space that an agent before has kept back if there is no other, and keeps some back for the next one: a
/// full disk must not keep the agent from coming up.
fn with_reserve(
    reserve: &Path,
    mut write: impl FnMut() -> Result<(), WriteError>,
) -> Result<(), WriteError> {
    match write() {
        Err(error) if error.is_out_of_space() && fs::remove_file(reserve).is_ok() => write()?,
        written => written?,
    }
    if fs::metadata(reserve).map_or(0, |metadata| metadata.len()) == 0 {
        // Where there is not enough for all of it, what there is has to do.
        let _ = Reserve::take(reserve);
    }
    Ok(())
}

impl AgentRecord {
    /// Writes down that this agent is up.
    pub(crate) fn write(directory: &StateDir, settings: &Settings) -> Result<Self, RecordError> {
        let Invocation { exe, invoked_as } =
            installed::invocation().map_err(RecordError::Executable)?;
        let definition_path = settings.definition.clone();
        let record = RunningProgram {
            format: FORMAT,
            process: ProcessIdentity::current()?,
            started_at: Timestamp::now(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            exe,
            invoked_as,
            config_path: settings.config_path.clone(),
            config_digest: settings.config_digest.clone(),
            definition_digest: definition_path.as_deref().and_then(digest::of_file),
            definition_path,
            last_heartbeat_at: None,
            dashboard: None,
        };
        let path = directory.agent_record();
        match with_reserve(&directory.agent_reserve(), || atomic::replace(&path, &record)) {
            Ok(()) => {}
            // Its lock and the stamp on it say that it is up; the record follows with a heartbeat, once there is room.
            Err(error) if error.is_out_of_space() => {
                tracing::warn!(%error, "the disk is full; going on without a record");
            }
            Err(error) => return Err(error.into()),
        }
        Ok(Self { path, record })
    }

    /// This process.
    pub(crate) const fn process(&self) -> &ProcessIdentity {
        &self.record.process
    }

    /// What it says of this agent.
    pub(crate) const fn program(&self) -> &RunningProgram {
        &self.record
    }

    /// Something has changed in how the agent and the dashboard get on.
    pub(crate) fn note_contact(
        &mut self,
        change: impl FnOnce(&mut DashboardContact),
    ) -> Result<(), WriteError> {
        let before = self.record.dashboard.clone();
        change(self.record.dashboard.get_or_insert_default());
        if self.record.dashboard == before {
            return Ok(());
        }
        atomic::replace_lazily(&self.path, &self.record)
    }

    /// The dashboard has answered.
    pub(crate) fn note_heartbeat(&mut self) -> Result<(), WriteError> {
        self.record.last_heartbeat_at = Some(Timestamp::now());
        atomic::replace_lazily(&self.path, &self.record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_costs_the_reserve_and_not_the_agent() {
        let folder = tempfile::tempdir().unwrap();
        let reserve = folder.path().join("reserve");
        with_reserve(&reserve, || Ok(())).unwrap();
        assert!(reserve.exists());

        let full = || WriteError::Io {
            kind: "record",
            path: folder.path().to_owned(),
            source: io::ErrorKind::StorageFull.into(),
        };
        let mut was_there = Vec::new();
        with_reserve(&reserve, || {
            was_there.push(reserve.exists());
            if reserve.exists() { Err(full()) } else { Ok(()) }
        })
        .unwrap();
        assert_eq!(was_there, [true, false]);
        assert!(reserve.exists(), "there is one for the next time again");

        fs::remove_file(&reserve).unwrap();
        assert!(with_reserve(&reserve, || Err(full())).is_err());
    }
}
