//! Where a switch stands, and what is to be done about it. Pure: no clock, no files, no processes.
//!
//! A switch has no status field. Its phase follows from which of its files exist, who holds the switch lock and
//! whether home-manager's process lives, so whoever looks after a crash sees the same as before it, and recovery is
//! the same function as normal running.

use std::time::Duration;

use crate::journal::records::Outcome;

/// How long after its acceptance a request may still be started. Later the operator will not expect it any more.
pub const FRESH_FOR: Duration = Duration::from_mins(1);

/// How long a directory without a request is left alone: its writer may be about to write it.
pub const EMPTY_FOR: Duration = Duration::from_hours(1);

/// One file of a switch, as far as its phase is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mark {
    /// No such file.
    Absent,
    /// The record is there.
    Present,
    /// Something is there that is not the record, or a later version's.
    Broken,
}

/// Who holds the switch lock, as seen from one switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LockView {
    /// Nobody, or the one who asks.
    Free,
    /// This switch's wrapper.
    HeldByThis,
    /// Another switch's wrapper, or somebody who does not say.
    HeldByOther,
}

/// What lives of home-manager, once it was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChildView {
    /// Its process.
    Alive,
    /// Not its process, but others of its process group.
    RemainsOnly,
    /// Nothing.
    Gone,
}

/// Everything that a switch's phase follows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Snapshot {
    /// `request.json`.
    pub request: Mark,
    /// `started.json`.
    pub started: Mark,
    /// `result.json`.
    pub result: Mark,
    /// `reload.json`.
    pub reload: Mark,
    /// Whether `reported.json` or `refused.json` is there: the dashboard has answered for good.
    pub is_answered: bool,
    /// The switch lock.
    pub lock: LockView,
    /// home-manager; [`ChildView::Gone`] where it was never started.
    pub child: ChildView,
}

/// Where a switch stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// A directory without a request: nothing was accepted.
    Empty,
    /// Accepted, and nobody is at it.
    Accepted,
    /// Accepted, while another switch has the lock.
    Waiting,
    /// Its wrapper has the lock and is about to start home-manager.
    Starting,
    /// Its wrapper has the lock and home-manager runs, or has just ended.
    Running,
    /// The wrapper is gone and home-manager still runs.
    Orphaned,
    /// The wrapper and home-manager are gone; something that home-manager started is not.
    Remains,
    /// The wrapper was killed, and nobody saw how home-manager ended.
    Interrupted,
    /// The result is there and the wrapper still looks after the agent.
    Ensuring,
    /// The result is there.
    Finished {
        /// The agent's job was not looked after yet.
        to_ensure: bool,
        /// The dashboard has not answered yet.
        to_report: bool,
    },
}

/// Where the switch stands. Total: every combination has a phase.
pub const fn phase(snapshot: Snapshot) -> Phase {
    match (snapshot.result, snapshot.lock) {
        (Mark::Present, LockView::HeldByThis) => match snapshot.reload {
            Mark::Absent => Phase::Ensuring,
            Mark::Present | Mark::Broken => finished(snapshot),
        },
        (Mark::Present, LockView::Free | LockView::HeldByOther) => finished(snapshot),
        (Mark::Absent | Mark::Broken, _) => unfinished(snapshot),
    }
}

const fn finished(snapshot: Snapshot) -> Phase {
    let to_ensure = matches!(snapshot.reload, Mark::Absent);
    Phase::Finished { to_ensure, to_report: !snapshot.is_answered }
}

/// The phase of a switch without a readable result. One whose result is broken counts as one whose end nobody saw.
const fn unfinished(snapshot: Snapshot) -> Phase {
    let ran = matches!(snapshot.started, Mark::Present | Mark::Broken)
        || matches!(snapshot.result, Mark::Broken);
    match (ran, snapshot.lock, snapshot.child) {
        (true, LockView::HeldByThis, _) => Phase::Running,
        (true, LockView::Free | LockView::HeldByOther, ChildView::Alive) => Phase::Orphaned,
        (true, LockView::Free | LockView::HeldByOther, ChildView::RemainsOnly) => Phase::Remains,
        (true, LockView::Free | LockView::HeldByOther, ChildView::Gone) => Phase::Interrupted,
        (false, lock, _) => match (snapshot.request, lock) {
            (Mark::Absent, _) => Phase::Empty,
            (Mark::Present | Mark::Broken, LockView::HeldByThis) => Phase::Starting,
            (Mark::Present | Mark::Broken, LockView::HeldByOther) => Phase::Waiting,
            (Mark::Present | Mark::Broken, LockView::Free) => Phase::Accepted,
        },
    }
}

impl Phase {
    /// Whether home-manager, or what it started, may be at work: no other may start beside it.
    pub const fn is_at_work(self) -> bool {
        match self {
            Self::Starting | Self::Running | Self::Orphaned | Self::Remains => true,
            Self::Empty
            | Self::Accepted
            | Self::Waiting
            | Self::Interrupted
            | Self::Ensuring
            | Self::Finished { .. } => false,
        }
    }

    /// The word for people and for JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Accepted => "accepted",
            Self::Waiting => "waiting",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Orphaned => "orphaned",
            Self::Remains => "remains",
            Self::Interrupted => "interrupted",
            Self::Ensuring => "ensuring",
            Self::Finished { .. } => "finished",
        }
    }
}

/// What whoever recovers knows beyond the phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Circumstances {
    /// Time since the request was accepted; `None` when that lies in the future or cannot be read.
    pub age: Option<Duration>,
    /// The one who asks has tried to start it before, and it did not come to be.
    pub was_tried: bool,
    /// Somebody may start it: its request can be read, and it is not a user's, whose own wrapper alone starts it and writes
    /// the request under the lock.
    pub may_start: bool,
}

/// What is to be done about a switch by whoever looks after the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// Nothing, now or later.
    Nothing,
    /// Nothing now; look again.
    Wait,
    /// Start its wrapper.
    Start,
    /// Write down that it was not started.
    CloseNotStarted,
    /// End what home-manager has left behind, then look again.
    EndRemains,
    /// Write down that it was interrupted.
    CloseInterrupted,
    /// It is finished; tell the dashboard, look after the agent's job, or both.
    Finish {
        /// The dashboard is to be told.
        report: bool,
        /// The agent's job is to be looked after.
        ensure: bool,
    },
    /// Remove the directory.
    Remove,
}

/// The recovery table.
pub fn recovery(phase: Phase, circumstances: Circumstances) -> Recovery {
    match phase {
        Phase::Empty => match circumstances.age {
            Some(age) if age > EMPTY_FOR => Recovery::Remove,
            Some(_) | None => Recovery::Wait,
        },
        Phase::Accepted => accepted(circumstances),
        Phase::Waiting | Phase::Starting | Phase::Running | Phase::Orphaned | Phase::Ensuring => {
            Recovery::Wait
        }
        Phase::Remains => Recovery::EndRemains,
        Phase::Interrupted => Recovery::CloseInterrupted,
        Phase::Finished { to_ensure: false, to_report: false } => Recovery::Nothing,
        Phase::Finished { to_ensure, to_report } => {
            Recovery::Finish { report: to_report, ensure: to_ensure }
        }
    }
}

fn accepted(circumstances: Circumstances) -> Recovery {
    let is_fresh = circumstances.age.is_some_and(|age| age < FRESH_FOR);
    match (is_fresh && circumstances.may_start, circumstances.was_tried) {
        (true, false) => Recovery::Start,
        // Its wrapper may be slow to take the lock.
        (true, true) => Recovery::Wait,
        (false, _) => Recovery::CloseNotStarted,
    }
}

/// How home-manager's process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ending {
    /// It exited.
    Exited(i32),
    /// A signal ended it.
    Signalled(i32),
}

/// Why the wrapper ended home-manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StopCause {
    /// Ctrl-C, SIGTERM, or the dashboard's `stop`.
    Cancelled,
    /// It took longer than it may.
    TimedOut,
}

/// What a switch comes to. `Succeeded` only for an exit with 0 that nobody had asked for.
pub const fn outcome(ending: Ending, stopped: Option<StopCause>) -> Outcome {
    match (stopped, ending) {
        (Some(StopCause::Cancelled), _) => Outcome::Cancelled,
        (Some(StopCause::TimedOut), _) => Outcome::TimedOut,
        (None, Ending::Exited(0)) => Outcome::Succeeded,
        (None, Ending::Exited(_) | Ending::Signalled(_)) => Outcome::Failed,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MARKS: [Mark; 3] = [Mark::Absent, Mark::Present, Mark::Broken];
    const LOCKS: [LockView; 3] = [LockView::Free, LockView::HeldByThis, LockView::HeldByOther];
    const CHILDREN: [ChildView; 3] = [ChildView::Alive, ChildView::RemainsOnly, ChildView::Gone];

    fn of(files: &str, lock: LockView, child: ChildView) -> Snapshot {
        let mark = |letter: char, broken: char| {
            if files.contains(letter) {
                Mark::Present
            } else if files.contains(broken) {
                Mark::Broken
            } else {
                Mark::Absent
            }
        };
        Snapshot {
            request: mark('q', 'Q'),
            started: mark('s', 'S'),
            result: mark('r', 'R'),
            reload: mark('l', 'L'),
            is_answered: files.contains('a'),
            lock,
            child,
        }
    }

    /// Files by letter: re*q*uest, *s*tarted, *r*esult, re*l*oad, *a*nswered; a capital is a broken one.
    #[test]
    fn the_phases_are_those_of_the_table() {
        use ChildView::{Alive, Gone, RemainsOnly};
        use LockView::{Free, HeldByOther, HeldByThis};
        let finished = |to_ensure, to_report| Phase::Finished { to_ensure, to_report };
        for (files, lock, child, expected) in [
            ("", Free, Gone, Phase::Empty),
            ("q", Free, Gone, Phase::Accepted),
            ("Q", Free, Gone, Phase::Accepted),
            ("q", HeldByOther, Gone, Phase::Waiting),
            ("q", HeldByThis, Gone, Phase::Starting),
            ("qs", HeldByThis, Alive, Phase::Running),
            ("qs", HeldByThis, Gone, Phase::Running),
            ("qs", Free, Alive, Phase::Orphaned),
            ("qs", HeldByOther, Alive, Phase::Orphaned),
            ("qs", Free, RemainsOnly, Phase::Remains),
            ("qs", Free, Gone, Phase::Interrupted),
            ("qs", HeldByOther, Gone, Phase::Interrupted),
            ("qS", Free, Gone, Phase::Interrupted),
            ("s", Free, Gone, Phase::Interrupted),
            ("qR", Free, Gone, Phase::Interrupted),
            ("qsR", HeldByThis, Gone, Phase::Running),
            ("qsr", HeldByThis, Gone, Phase::Ensuring),
            ("qsrl", HeldByThis, Gone, finished(false, true)),
            ("qsr", Free, Gone, finished(true, true)),
            ("qsr", Free, RemainsOnly, finished(true, true)),
            ("qsrl", Free, Gone, finished(false, true)),
            ("qsrL", Free, Gone, finished(false, true)),
            ("qsra", HeldByOther, Gone, finished(true, false)),
            ("qsrla", Free, Gone, finished(false, false)),
            ("rla", Free, Gone, finished(false, false)),
        ] {
            let snapshot = of(files, lock, child);
            assert_eq!(phase(snapshot), expected, "{files:?} {lock:?} {child:?}");
        }
    }

    #[test]
    fn the_recoveries_are_those_of_the_table() {
        let young = Some(Duration::from_secs(59));
        let old = Some(FRESH_FOR);
        let finished = |to_ensure, to_report| Phase::Finished { to_ensure, to_report };
        for (phase, age, was_tried, may_start, expected) in [
            (Phase::Accepted, young, false, true, Recovery::Start),
            (Phase::Accepted, young, true, true, Recovery::Wait),
            (Phase::Accepted, young, false, false, Recovery::CloseNotStarted),
            (Phase::Accepted, old, false, true, Recovery::CloseNotStarted),
            (Phase::Accepted, old, true, true, Recovery::CloseNotStarted),
            (Phase::Accepted, None, false, true, Recovery::CloseNotStarted),
            (Phase::Waiting, old, true, true, Recovery::Wait),
            (Phase::Starting, old, true, true, Recovery::Wait),
            (Phase::Running, old, true, true, Recovery::Wait),
            (Phase::Orphaned, old, true, true, Recovery::Wait),
            (Phase::Ensuring, old, true, true, Recovery::Wait),
            (Phase::Remains, old, true, true, Recovery::EndRemains),
            (Phase::Interrupted, young, false, true, Recovery::CloseInterrupted),
            (
                finished(true, true),
                old,
                false,
                true,
                Recovery::Finish { report: true, ensure: true },
            ),
            (
                finished(true, false),
                old,
                false,
                true,
                Recovery::Finish { report: false, ensure: true },
            ),
            (
                finished(false, true),
                old,
                false,
                true,
                Recovery::Finish { report: true, ensure: false },
            ),
            (finished(false, false), old, false, true, Recovery::Nothing),
            (Phase::Empty, young, false, false, Recovery::Wait),
            (Phase::Empty, None, false, false, Recovery::Wait),
            (Phase::Empty, Some(EMPTY_FOR * 2), false, false, Recovery::Remove),
        ] {
            let circumstances = Circumstances { age, was_tried, may_start };
            assert_eq!(recovery(phase, circumstances), expected, "{phase:?} {circumstances:?}");
        }
    }

    #[test]
    fn only_an_exit_with_0_that_nobody_forced_is_success() {
        for stopped in [None, Some(StopCause::Cancelled), Some(StopCause::TimedOut)] {
            for ending in
                [Ending::Exited(0), Ending::Exited(1), Ending::Exited(-1), Ending::Signalled(15)]
            {
                let succeeded = outcome(ending, stopped) == Outcome::Succeeded;
                assert_eq!(succeeded, stopped.is_none() && ending == Ending::Exited(0));
            }
        }
    }

    fn any_snapshot() -> impl Strategy<Value = Snapshot> {
        let mark = || proptest::sample::select(&MARKS[..]);
        let lock = proptest::sample::select(&LOCKS[..]);
        let child = proptest::sample::select(&CHILDREN[..]);
        (mark(), mark(), mark(), mark(), any::<bool>(), lock, child).prop_map(
            |(request, started, result, reload, is_answered, lock, child)| Snapshot {
                request,
                started,
                result,
                reload,
                is_answered,
                lock,
                child,
            },
        )
    }

    fn any_circumstances() -> impl Strategy<Value = Circumstances> {
        (any::<Option<Duration>>(), any::<bool>(), any::<bool>())
            .prop_map(|(age, was_tried, may_start)| Circumstances { age, was_tried, may_start })
    }

    proptest! {
        #[test]
        fn any_files_and_any_lock_have_a_way_on(
            snapshot in any_snapshot(),
            circumstances in any_circumstances(),
        ) {
            let phase = phase(snapshot);
            let recovery = recovery(phase, circumstances);
            let is_trace_of_a_run = snapshot.started != Mark::Absent || snapshot.result != Mark::Absent;
            // Nothing that may have run is run again.
            if recovery == Recovery::Start {
                prop_assert!(!is_trace_of_a_run && !circumstances.was_tried);
                prop_assert_eq!(snapshot.lock, LockView::Free);
            }
            // What stands is not written again.
            if matches!(recovery, Recovery::CloseNotStarted | Recovery::CloseInterrupted) {
                prop_assert!(snapshot.result != Mark::Present);
            }
            // A switch that left a trace of a run is never said not to have been started.
            if recovery == Recovery::CloseNotStarted {
                prop_assert!(!is_trace_of_a_run);
            }
            // A living home-manager is never written off, nor is its wrapper's work done by another.
            let lives = is_trace_of_a_run && snapshot.child == ChildView::Alive;
            if snapshot.result != Mark::Present && (lives || snapshot.lock == LockView::HeldByThis) {
                prop_assert!(matches!(recovery, Recovery::Wait | Recovery::Remove));
            }
            // What the dashboard has not answered is never dropped.
            if snapshot.result == Mark::Present && !snapshot.is_answered {
                let is_kept = matches!(recovery, Recovery::Wait | Recovery::Finish { report: true, .. });
                prop_assert!(is_kept);
            }
        }
    }
}
