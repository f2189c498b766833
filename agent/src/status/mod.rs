//! `status`: how the agent is, what it is at, and what needs attention. From files alone, so it is said as well when there
//! is no agent; it changes nothing.

mod judge;
mod text;

use std::{path::PathBuf, time::SystemTime};

use jiff::Timestamp;
use nixfleet_protocol::{
    journal::{
        lock::{self, LockError, LockState},
        read,
        records::{Initiator, RunningProgram, SwitchId},
        store::{Entry, Journal, JournalError},
    },
    lifecycle::Phase,
    operation::{Operation, Step},
    process::AskError,
    state_dir::{StateDir, StateDirError},
};
use serde::Serialize;

use crate::settings::{self, Merged, Outcome};
use judge::Attention;

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StatusError {
    #[error(transparent)]
    StateDir(#[from] StateDirError),
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Processes(#[from] AskError),
}

/// Everything that `status` says; with `--json`, this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Status {
    /// An agent runs.
    running: bool,
    /// The agent, or the last one that ran here.
    agent: Option<Agent>,
    dashboard: Dashboard,
    token: Option<TokenSource>,
    /// The switch, or other operation, that is at work.
    work: Option<Work>,
    waiting: Waiting,
    config: Config,
    /// What needs somebody, the gravest first.
    attention: Vec<Attention>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Agent {
    pid: u32,
    version: String,
    exe: PathBuf,
    started_at: Timestamp,
    /// When its loop last turned.
    last_sign_of_life_at: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Dashboard {
    url: Option<String>,
    /// The host's name there.
    host: String,
    /// Which protocol it speaks, once it has answered.
    protocol: Option<u32>,
    last_heartbeat_at: Option<Timestamp>,
    failing: Option<Failing>,
    /// When it hears of the agent next.
    next_try_at: Option<Timestamp>,
    /// How far this host's clock is ahead of the dashboard's.
    clock_ahead_seconds: Option<i64>,
}

/// Since when what fails, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Failing {
    call: String,
    since: Timestamp,
    http_status: Option<u16>,
    why: String,
}

/// Where the token comes from. What it is, is never said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct TokenSource {
    /// The file or the like.
    place: String,
    /// Who names it.
    named_by: String,
    /// The dashboard has given this host one of its own, which is used instead.
    has_own: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Work {
    id: SwitchId,
    operation: Operation,
    phase: &'static str,
    /// Of an operation of several steps, the one that runs.
    step: Option<Step>,
    initiator: Option<Initiator>,
    requested_at: Option<Timestamp>,
}

/// What the dashboard has not taken yet, or not answered for good.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
struct Waiting {
    /// Switches that wait for the one that is at work, or to be started.
    to_start: Vec<SwitchId>,
    /// Switches whose result waits, oldest first.
    results: Vec<SwitchId>,
    oldest_result_at: Option<Timestamp>,
    /// Other commands.
    commands: usize,
    healings: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Config {
    path: Option<PathBuf>,
    /// What an agent would not come up with.
    errors: Vec<String>,
}

/// How it is now. `merged` is what the configuration says, which may make no sense; `directory` is where the agent keeps
/// its files.
pub(crate) fn look(
    outcome: &Outcome,
    merged: &Merged,
    directory: &StateDir,
) -> Result<Status, StatusError> {
    let record = read::read::<RunningProgram>(&directory.agent_record()).present();
    let running = is_running(directory, record.as_ref())?;
    let (work, waiting) = open_work(&Journal::new(directory.clone()))?;
    let errors = outcome.checked.as_ref().err().map(|errors| settings::said(errors));
    let settings = outcome.checked.as_ref().ok();
    let mut status = Status {
        running,
        dashboard: dashboard(merged, outcome, record.as_ref().filter(|_| running)),
        agent: record.map(|record| Agent {
            pid: record.process.pid,
            version: record.version,
            exe: record.exe,
            started_at: record.started_at,
            last_sign_of_life_at: lock::stamp_of(&directory.agent_lock()).and_then(moment),
        }),
        token: settings::token_place(merged).map(|(place, named_by)| TokenSource {
            place,
            named_by,
            has_own: directory.host_token().symlink_metadata().is_ok(),
        }),
        work,
        waiting,
        config: Config {
            path: settings.and_then(|settings| settings.config_path.clone()),
            errors: errors.unwrap_or_default(),
        },
        attention: Vec::new(),
    };
    status.attention = judge::attention(&status, Timestamp::now());
    Ok(status)
}

impl Status {
    pub(crate) const fn needs_attention(&self) -> bool {
        !self.attention.is_empty()
    }

    /// For people.
    pub(crate) fn to_text(&self) -> String {
        text::of(self, Timestamp::now())
    }
}

/// Whether the lock is held and the process that has written the record is alive. Either may be so without the other: for a
/// moment while an agent comes up, and where a child of an earlier one has kept the lock.
pub(crate) fn is_running(
    directory: &StateDir,
    record: Option<&RunningProgram>,
) -> Result<bool, StatusError> {
    let is_held = match lock::look(&directory.agent_lock())? {
        LockState::Free => false,
        LockState::Held(_) => true,
    };
    let Some(record) = record else { return Ok(false) };
    Ok(is_held && record.process.is_alive()?)
}

/// How many results the dashboard has not taken yet.
pub(crate) fn results_waiting(directory: &StateDir) -> Result<usize, StatusError> {
    Ok(open_work(&Journal::new(directory.clone()))?.1.results.len())
}

fn dashboard(merged: &Merged, outcome: &Outcome, record: Option<&RunningProgram>) -> Dashboard {
    let contact = record.and_then(|record| record.dashboard.clone()).unwrap_or_default();
    let last_heartbeat_at = record.and_then(|record| record.last_heartbeat_at);
    let failing = contact.failing_since.map(|since| Failing {
        call: contact.failing_call.unwrap_or_else(|| "call".to_owned()),
        since,
        http_status: contact.http_status,
        why: contact.failure.unwrap_or_default(),
    });
    let interval = outcome.checked.as_ref().ok().map(|settings| settings.interval.duration());
    let next_heartbeat = || last_heartbeat_at?.checked_add(interval?).ok();
    Dashboard {
        // One that holds a password is not shown.
        url: outcome.checked.as_ref().ok().map(|settings| settings.url.to_string()),
        host: merged.hostname.value.clone(),
        protocol: contact.protocol,
        last_heartbeat_at,
        next_try_at: contact.next_try_at.or_else(next_heartbeat),
        failing,
        clock_ahead_seconds: contact.clock_ahead_seconds,
    }
}

fn open_work(journal: &Journal) -> Result<(Option<Work>, Waiting), StatusError> {
    // The lock first, the files after it: a wrapper that lets go of it has written all its files before.
    let lock = lock::look(&journal.directory().switch_lock())?;
    let (mut work, mut waiting) = (None, Waiting::default());
    for id in present(journal.switch_ids(), journal.directory().switches().exists())? {
        let entry = journal.entry(id);
        let phase = journal.phase(&entry, &lock)?;
        match phase {
            Phase::Empty | Phase::Finished { to_report: false, .. } => {}
            Phase::Finished { to_report: true, .. } => {
                let ended = entry.result.as_present().map(|result| result.finished_at);
                waiting.oldest_result_at = waiting.oldest_result_at.or(ended);
                waiting.results.push(id);
            }
            Phase::Accepted | Phase::Waiting => waiting.to_start.push(id),
            Phase::Starting
            | Phase::Running
            | Phase::Orphaned
            | Phase::Remains
            | Phase::Interrupted
            | Phase::Ensuring => work = Some(work_of(&entry, phase)),
        }
    }
    let has_commands = journal.directory().commands().exists();
    for id in present(journal.command_ids(), has_commands)? {
        waiting.commands += usize::from(!journal.command(&id).is_closed);
    }
    let has_healings = journal.directory().healings().exists();
    for id in present(journal.healing_ids(), has_healings)? {
        waiting.healings += usize::from(!journal.healing(id).is_closed);
    }
    Ok((work, waiting))
}

/// Where no agent has run yet there are no folders.
fn present<T>(
    listed: Result<Vec<T>, JournalError>,
    is_there: bool,
) -> Result<Vec<T>, JournalError> {
    if is_there { listed } else { Ok(Vec::new()) }
}

fn work_of(entry: &Entry, phase: Phase) -> Work {
    let request = entry.request.as_present();
    Work {
        id: entry.id,
        operation: request.map(|request| request.operation).unwrap_or_default(),
        phase: phase.as_str(),
        step: entry.progress.as_present().map(|progress| progress.steps.step),
        initiator: request.map(|request| request.initiator),
        requested_at: request.map(|request| request.requested_at),
    }
}

fn moment(time: SystemTime) -> Option<Timestamp> {
    Timestamp::try_from(time).ok()
}
