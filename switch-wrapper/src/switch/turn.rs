//! Waiting one's turn: the switch lock, and nothing of an earlier switch still at work.
//!
//! The lock alone is not enough. When a wrapper is killed its lock is gone at once, while what it has started may go
//! on for minutes; a second one beside it would be the end of the profile. So whoever has the lock first looks at what
//! earlier switches have left, closes what can be closed, and gives the lock back if one is still at work.

use std::{
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use nixfleet_protocol::{
    journal::{
        lock::{Holder, Lock, LockError},
        records::SwitchId,
        recovery::{self, Closer},
        store::{Entry, Journal, JournalError},
    },
    lifecycle::Phase,
};

use crate::messages::{warn, with_causes};

/// Time between two tries while waiting.
const TRY_EVERY: Duration = Duration::from_millis(200);

/// Why it is not our turn.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TurnError {
    /// Another switch has the lock.
    #[error("{}", held_by(holder.as_deref()))]
    Busy {
        /// Whose it is, where they said so.
        holder: Option<Box<Holder>>,
    },
    /// The wrapper of an earlier switch was killed and its home-manager goes on.
    #[error(
        "switch {id} (pid {pid}, since {since}) still runs although its wrapper was killed; wait for it, or end it with `kill -TERM -{pid}`"
    )]
    Orphan {
        /// The switch.
        id: SwitchId,
        /// Its pid and process group.
        pid: u32,
        /// Since when it runs.
        since: Timestamp,
    },
    /// The lock file cannot be used.
    #[error(transparent)]
    Lock(LockError),
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

fn held_by(holder: Option<&Holder>) -> String {
    let Some(holder) = holder else {
        return "another process holds the switch lock and does not say who it is; try again in a moment".to_owned();
    };
    format!(
        "another switch is running: `{}` (pid {}, since {}); wait for it with `--wait`, or look at it with `nixfleet-switch status`",
        holder.operation.typed(holder.kind, &holder.argv),
        holder.process.pid,
        holder.since.strftime("%H:%M:%S UTC on %Y-%m-%d"),
    )
}

impl TurnError {
    /// Whether waiting can help.
    const fn passes(&self) -> bool {
        match self {
            Self::Busy { .. } | Self::Orphan { .. } => true,
            Self::Lock(_) | Self::Journal(_) => false,
        }
    }
}

/// How long to wait for one's turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Not at all.
    None,
    /// For this long.
    For(Duration),
    /// Until it comes.
    Endless,
}

/// Takes the switch lock when nothing of an earlier switch is at work. `announce` hears, once, why it has to wait.
pub(super) fn take(
    journal: &Journal,
    closer: &Closer,
    patience: Patience,
    announce: impl FnOnce(&TurnError),
) -> Result<Lock, TurnError> {
    let began = Instant::now();
    let mut announce = Some(announce);
    loop {
        let error = match try_once(journal, closer) {
            Ok(lock) => return Ok(lock),
            Err(error) => error,
        };
        let may_wait = match patience {
            Patience::None => false,
            Patience::For(limit) => began.elapsed() < limit,
            Patience::Endless => true,
        };
        if !may_wait || !error.passes() {
            return Err(error);
        }
        if let Some(announce) = announce.take() {
            announce(&error);
        }
        thread::sleep(TRY_EVERY);
    }
}

fn try_once(journal: &Journal, closer: &Closer) -> Result<Lock, TurnError> {
    let path = journal.directory().switch_lock();
    let lock = Lock::take_for_switch(&path).map_err(|error| match error {
        LockError::Held { holder, .. } => TurnError::Busy { holder },
        error @ LockError::Io { .. } => TurnError::Lock(error),
    })?;
    for entry in journal.unfinished()? {
        match settle(journal, closer, &entry, &lock) {
            // One folder that cannot be written must not stop every switch; that it is not at work was seen before.
            Err(TurnError::Journal(error)) if !matches!(error, JournalError::Processes(_)) => {
                warn(&format!("switch {} cannot be closed: {}", entry.id, with_causes(&error)));
            }
            settled => settled?,
        }
    }
    Ok(lock)
}

/// Closes what an earlier switch has left open. What was accepted and never started is the agent's to decide.
fn settle(journal: &Journal, closer: &Closer, entry: &Entry, lock: &Lock) -> Result<(), TurnError> {
    match journal.phase_under_lock(entry)? {
        Phase::Orphaned => Err(orphan(entry)),
        Phase::Remains => {
            recovery::end_remains(entry, lock)?;
            Ok(closer.close_interrupted(journal, entry, lock)?)
        }
        Phase::Interrupted => Ok(closer.close_interrupted(journal, entry, lock)?),
        Phase::Empty
        | Phase::Accepted
        | Phase::Waiting
        | Phase::Starting
        | Phase::Running
        | Phase::Ensuring
        | Phase::Finished { .. } => Ok(()),
    }
}

fn orphan(entry: &Entry) -> TurnError {
    let started = entry.started.as_present();
    TurnError::Orphan {
        id: entry.id,
        pid: started.map_or(0, |started| started.child.pid),
        since: started.map_or(Timestamp::UNIX_EPOCH, |started| started.started_at),
    }
}
