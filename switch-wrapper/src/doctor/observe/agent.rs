//! The agent's own record: whether its process lives, is what is installed, and reacts.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant, SystemTime},
};

use jiff::Timestamp;
use nixfleet_protocol::{
    installed,
    journal::{
        lock,
        read::{self, Found},
        records::RunningProgram,
    },
    process::ProcessIdentity,
    state_dir::StateDir,
};
use rustix::process::Pid;

use crate::doctor::observations::{Agent, Life};

/// An agent that has not stamped its lock for this long is looked at twice.
const SILENT_FOR: Duration = Duration::from_secs(30);

/// How long the second look lasts at most. A Mac that has just woken up shows an old stamp at first.
const SECOND_LOOK: Duration = Duration::from_secs(10);

/// Time between two looks at the stamp.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Looks at the agent.
pub(super) fn observe(directory: Option<&StateDir>) -> Agent {
    let record: Found<RunningProgram> =
        directory.map_or(Found::Absent, |directory| read::read(&directory.agent_record()));
    let life = record.as_present().map_or(Life::Gone, |agent| life_of(&agent.process));
    let alive = record.as_present().filter(|_| life == Life::Alive);
    Agent {
        group: alive.and_then(|agent| group_of(agent.process.pid)),
        difference: alive.and_then(installed::difference),
        stuck_for: alive
            .zip(directory)
            .and_then(|(agent, directory)| stuck_for(&directory.agent_lock(), agent.started_at)),
        life,
        record,
    }
}

fn life_of(process: &ProcessIdentity) -> Life {
    match process.is_alive() {
        Ok(true) => Life::Alive,
        Ok(false) => Life::Gone,
        Err(error) => Life::Unclear(crate::messages::with_causes(&error)),
    }
}

fn group_of(pid: u32) -> Option<u32> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let group = rustix::process::getpgid(pid).ok()?;
    u32::try_from(group.as_raw_nonzero().get()).ok()
}

/// For how long the agent has not stamped its lock, where a second look sees no new stamp either. One that has never
/// stamped it is of a version that does not.
fn stuck_for(lock: &Path, started_at: Timestamp) -> Option<Duration> {
    let stamp = lock::stamp_of(lock)?;
    let has_stamped = Timestamp::try_from(stamp).is_ok_and(|stamp| stamp > started_at);
    let silent = SystemTime::now().duration_since(stamp).ok()?;
    if !has_stamped || silent < SILENT_FOR {
        return None;
    }
    let deadline = Instant::now() + SECOND_LOOK;
    while Instant::now() < deadline {
        if lock::stamp_of(lock) != Some(stamp) {
            return None;
        }
        thread::sleep(LOOK_EVERY);
    }
    Some(silent)
}
