//! One look of the watchdog: a handful of calls of the file system, and no process started.

use std::{fs, path::Path, time::SystemTime};

use nixfleet_protocol::{
    journal::lock::{self, LockState},
    state_dir::StateDir,
};

use super::decide::{AgentLook, Look};
use crate::settings::Settings;

/// Looks at the agent and at what may keep it away for a moment.
pub(super) fn look(settings: &Settings, directory: &StateDir) -> Look {
    Look {
        agent: agent(directory),
        is_busy: is_held(&directory.switch_lock()) || settings.links.is_activating(),
        definition: written_at(&settings.agent_plist),
    }
}

/// An agent holds its lock for as long as it lives, however it ends.
fn agent(directory: &StateDir) -> AgentLook {
    let path = directory.agent_lock();
    match lock::look(&path) {
        Ok(LockState::Held(_)) => AgentLook::Up { stamp: lock::stamp_of(&path) },
        Ok(LockState::Free) => AgentLook::Missing,
        Err(_unusable) => AgentLook::Unknown,
    }
}

/// A lock that cannot be looked at is not one to wait for.
fn is_held(path: &Path) -> bool {
    lock::look(path).is_ok_and(|state| matches!(state, LockState::Held(_)))
}

fn written_at(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}
