//! The jobs that are looked after.

use std::path::PathBuf;

use nixfleet_protocol::{
    journal::{
        lock::{self, LockState},
        read,
        records::RunningProgram,
    },
    state_dir::StateDir,
};

use crate::settings::{ServiceManager, Settings};

/// Which job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum JobKind {
    /// The agent's.
    Agent,
    /// The watchdog's.
    Watchdog,
}

/// What a job has left in our state directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trace {
    /// Nothing: it may keep its records elsewhere.
    None,
    /// The record of a program that was started as this job.
    Record,
    /// Somebody holds the program's lock.
    Locked,
}

impl JobKind {
    /// What it is called in what is said to people.
    pub(crate) const fn noun(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Watchdog => "watchdog",
        }
    }

    /// The verb that looks after it.
    pub(crate) const fn verb(self) -> &'static str {
        match self {
            Self::Agent => "ensure-agent",
            Self::Watchdog => "ensure-watchdog",
        }
    }

    /// Its label or unit.
    pub(crate) fn label(self, settings: &Settings) -> &str {
        match self {
            Self::Agent => &settings.agent_label,
            Self::Watchdog => &settings.watchdog_label,
        }
    }

    /// Its definition on disk, for launchd.
    pub(crate) const fn plist(self, settings: &Settings) -> &PathBuf {
        match self {
            Self::Agent => &settings.agent_plist,
            Self::Watchdog => &settings.watchdog_plist,
        }
    }

    /// What the job has left in our state directory.
    pub(crate) fn trace(self, settings: &Settings) -> Trace {
        if self.is_locked(settings) {
            Trace::Locked
        } else if self.was_here(settings) {
            Trace::Record
        } else {
            Trace::None
        }
    }

    /// Whether somebody holds the program's lock. One that cannot be looked at says nothing.
    fn is_locked(self, settings: &Settings) -> bool {
        let Ok(directory) = StateDir::look(&settings.state_dir) else { return false };
        let path = match self {
            Self::Agent => directory.agent_lock(),
            Self::Watchdog => directory.watchdog_lock(),
        };
        lock::look(&path).is_ok_and(|state| matches!(state, LockState::Held(_)))
    }

    /// Whether the last program that wrote itself down was started as this job. What somebody has started by hand says
    /// nothing of where the job keeps its records.
    fn was_here(self, settings: &Settings) -> bool {
        self.record(settings).is_some_and(|record| match settings.service_manager {
            ServiceManager::Launchd => {
                record.definition_path.as_ref() == Some(self.plist(settings))
            }
            ServiceManager::Systemd(_) | ServiceManager::None => true,
        })
    }

    /// The program that runs, as it wrote itself down.
    pub(crate) fn record(self, settings: &Settings) -> Option<RunningProgram> {
        let directory = StateDir::look(&settings.state_dir).ok()?;
        let path = match self {
            Self::Agent => directory.agent_record(),
            Self::Watchdog => directory.watchdog_record(),
        };
        read::read(&path).present()
    }
}
