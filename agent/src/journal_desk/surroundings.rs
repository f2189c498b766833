//! Looking around the agent: what is installed, whether anybody switches, whether the watchdog is there.

use nixfleet_protocol::journal::lock::{self, LockError, LockState};

use super::Desk;
use crate::{
    decide::facts::{Surroundings, WatchdogLook},
    log_file::{self, LogFileError},
};

impl Desk {
    /// Everything around the agent, as it is now. No process is started for it.
    pub(crate) fn look_around(&mut self) -> Result<Surroundings, LockError> {
        let outdated = self.installed.look();
        Ok(Surroundings {
            // Looking at a lock takes it for a moment, so it is not done without need.
            is_lock_free: outdated.is_some() && is_free(&self.look_at_lock()?),
            outdated,
            is_activating: self.switching.links.is_activating(),
            watchdog: self.look_at_watchdog()?,
        })
    }

    /// Begins the log anew if it has become too large.
    pub(crate) fn keep_log_within_limit(&self) -> Result<(), LogFileError> {
        log_file::keep_within_limit(self.definition.as_deref())
    }

    fn look_at_watchdog(&self) -> Result<WatchdogLook, LockError> {
        let directory = self.journal.directory();
        if directory.installation().symlink_metadata().is_err() {
            return Ok(WatchdogLook::NotInstalled);
        }
        let path = directory.watchdog_lock();
        Ok(match lock::look(&path)? {
            LockState::Free => WatchdogLook::Missing,
            LockState::Held(_) => WatchdogLook::Up { stamp: lock::stamp_of(&path) },
        })
    }
}

const fn is_free(lock: &LockState) -> bool {
    match lock {
        LockState::Free => true,
        LockState::Held(_) => false,
    }
}
