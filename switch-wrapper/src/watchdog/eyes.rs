//! One look of the watchdog: a handful of calls of the file system, and no process started.

use std::{fs, path::Path, time::SystemTime};

use nixfleet_protocol::{
    journal::lock::{self, LockState},
    state_dir::StateDir,
};

use rustix::{
    io::Errno,
    process::{Pid, test_kill_process},
};

use super::decide::{AgentLook, Look, Up};
use crate::{ensure::JobKind, settings::Settings};

/// Looks at the agent and at what may keep it away for a moment.
pub(super) fn look(settings: &Settings, directory: &StateDir) -> Look {
    Look {
        agent: agent(settings, directory),
        is_busy: is_held(&directory.switch_lock()) || settings.switching.links.is_activating(),
        definition: written_at(&settings.agent_definition()),
    }
}

/// An agent holds its lock for as long as it lives, however it ends. Something that it has started may hold it longer, so
/// the process that it wrote down must be there too. That its pid may be another's by now is no matter here: it only makes
/// us act later, when that one ends or the stamps fail to come.
fn agent(settings: &Settings, directory: &StateDir) -> AgentLook {
    let path = directory.agent_lock();
    match lock::look(&path) {
        Ok(LockState::Held(_)) => {
            let record = JobKind::Agent.record(settings);
            let pid = record.as_ref().map(|record| record.process.pid);
            let stamp = lock::stamp_of(&path);
            let came_up = record.map(|record| SystemTime::from(record.started_at));
            let has_stamped = stamp.zip(came_up).is_some_and(|(stamp, came_up)| stamp > came_up);
            let is_gone = pid.is_some_and(|pid| !exists(pid));
            AgentLook::Up(Up { stamp, has_stamped, pid, is_gone })
        }
        Ok(LockState::Free) => AgentLook::Missing,
        Err(_unusable) => AgentLook::Unknown,
    }
}

/// kill(2) with no signal: it only says whether there is such a process. One of another user's is there too.
fn exists(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| test_kill_process(pid) != Err(Errno::SRCH))
}

/// A lock that cannot be looked at is not one to wait for.
fn is_held(path: &Path) -> bool {
    lock::look(path).is_ok_and(|state| matches!(state, LockState::Held(_)))
}

/// Of a link, when it was made: it leads to the store, where all files are equally old.
fn written_at(path: &Path) -> Option<SystemTime> {
    fs::symlink_metadata(path).and_then(|metadata| metadata.modified()).ok()
}
