//! One job from its registration to its removal.
//!
//! A wish to start it is either a demand (`kickstart`, the calendar) or launchd's own:
//! *speculative* after loading, *inefficient* after an end or when what `KeepAlive` looks at has
//! changed, *interval* by its timer. Only launchd's own wishes can be pended.

mod start;
mod stop;

use std::{path::PathBuf, sync::Arc, time::Duration};

use rustix::process::Pid;

use super::{
    Effect, Effects, GroupFate,
    drain::{AfterDrain, Drain},
    start_waiter::StartWaiter,
};
use crate::launchd::{
    answer::Answer, command::Launch, control::Verdict, definition::Definition,
    domain::ServiceTarget, keep_alive::Situation, moment::Moment, process_end::ProcessEnd,
    record::JobEvent,
};

/// What a job in the penalty box is told when somebody wants to start it.
const IN_PENALTY_BOX: &str = "cannot spawn: service is in penalty box";
/// What Background Items say to a spawn.
const SPAWN_REFUSED: &str = "spawn refused by Background Items: 161";

/// A registered job.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) target: ServiceTarget,
    pub(super) path: PathBuf,
    pub(super) definition: Arc<Definition>,
    pub(super) state: JobState,
    pub(super) runs: u32,
    pub(super) last_reason: Option<SpawnReason>,
    pub(super) last_end: LastEnd,
    last_start: Option<Moment>,
    crashes_in_a_row: u32,
    interval_due: Option<Moment>,
    launch: Launch,
    demanded: bool,
}

/// Where a job stands.
#[derive(Debug)]
pub(super) enum JobState {
    /// Nothing runs and nothing is planned.
    NotRunning,
    /// launchd wants to start it and may not.
    Pended(SpawnReason),
    /// Its program could not be executed; only a fresh bootstrap helps.
    PenaltyBox,
    /// It starts at a known time.
    SpawnScheduled { at: Moment, reason: SpawnReason, waiters: Vec<StartWaiter> },
    /// The doing half was told to start it.
    Spawning { waiters: Vec<StartWaiter> },
    /// Its main process lives.
    Running { pid: Pid },
    /// Its main process was told to end and has not yet.
    Draining(Drain),
}

/// Why a job is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpawnReason {
    /// `RunAtLoad`, or a `KeepAlive` that implies it.
    Speculative,
    /// `KeepAlive` after an end, or when what it looks at has changed.
    Inefficient,
    /// `StartInterval`.
    Interval,
    /// Somebody asked for it.
    Demand,
}

/// How the last run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LastEnd {
    NeverExited,
    Ended(ProcessEnd),
    NotExecuted,
}

/// What launchd's state means for the next start.
#[derive(Debug, Clone, Copy)]
pub(super) struct StartPolicy {
    pub(super) delay: Duration,
    pub(super) on_demand_only: bool,
}

/// A look at what is due.
#[derive(Debug, Clone, Copy)]
pub(super) struct Due {
    pub(super) policy: StartPolicy,
    pub(super) verdict: Verdict,
    pub(super) now: Moment,
}

/// What becomes of a job after a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Kept,
    Removed,
}

impl SpawnReason {
    /// The word in `immediate reason` and `pended nondemand spawn`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Speculative => "speculative",
            Self::Inefficient => "inefficient",
            Self::Interval => "interval",
            Self::Demand => "non-ipc demand",
        }
    }

    const fn can_be_pended(self) -> bool {
        match self {
            Self::Speculative | Self::Inefficient | Self::Interval => true,
            Self::Demand => false,
        }
    }
}

impl Job {
    pub(super) fn new(target: ServiceTarget, path: PathBuf, definition: Definition) -> Self {
        Self {
            target,
            path,
            definition: Arc::new(definition),
            state: JobState::NotRunning,
            runs: 0,
            last_reason: None,
            last_end: LastEnd::NeverExited,
            last_start: None,
            crashes_in_a_row: 0,
            interval_due: None,
            launch: Launch::Running,
            demanded: false,
        }
    }

    pub(super) fn pid(&self) -> Option<Pid> {
        match &self.state {
            JobState::Running { pid } => Some(*pid),
            JobState::Draining(drain) => Some(drain.pid),
            JobState::NotRunning
            | JobState::Pended(_)
            | JobState::PenaltyBox
            | JobState::SpawnScheduled { .. }
            | JobState::Spawning { .. } => None,
        }
    }

    /// Nothing runs and nothing is planned.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.state, JobState::NotRunning)
    }

    /// When the job wants to be looked at again.
    pub(super) fn deadline(&self) -> Option<Moment> {
        let state = match &self.state {
            JobState::SpawnScheduled { at, .. } => Some(*at),
            JobState::Draining(drain) => drain.deadline(),
            JobState::NotRunning
            | JobState::Pended(_)
            | JobState::PenaltyBox
            | JobState::Spawning { .. }
            | JobState::Running { .. } => None,
        };
        state.into_iter().chain(self.interval_due).min()
    }

    /// Right after registration.
    pub(super) fn loaded(
        &mut self,
        outside: bool,
        policy: StartPolicy,
        now: Moment,
        out: &mut Effects,
    ) {
        self.interval_due = self.definition.start_interval.map(|interval| now.plus(interval));
        if self.definition.run_at_load || self.is_kept_alive(None, outside) {
            self.want_start(SpawnReason::Speculative, Vec::new(), policy, now, out);
        }
    }

    pub(super) fn spawned(&mut self, pid: Pid, now: Moment, out: &mut Effects) {
        out.record(&self.target, JobEvent::Spawned { pid: pid.as_raw_nonzero().get() });
        self.runs = self.runs.saturating_add(1);
        self.last_start = Some(now);
        for waiter in self.take_start_waiters() {
            waiter.answer_started(pid, out);
        }
        self.state = JobState::Running { pid };
    }

    pub(super) fn spawn_failed(&mut self, reason: String, out: &mut Effects) {
        out.record(&self.target, JobEvent::SpawnFailed { reason });
        self.runs = self.runs.saturating_add(1);
        self.last_end = LastEnd::NotExecuted;
        for waiter in self.take_start_waiters() {
            out.reply(waiter.call, Answer::silent());
        }
        self.state = JobState::PenaltyBox;
    }

    /// The main process ended: its group gets what it gets, and the job goes on or goes.
    pub(super) fn exited(
        &mut self,
        end: ProcessEnd,
        outside: bool,
        policy: StartPolicy,
        now: Moment,
        out: &mut Effects,
    ) -> Fate {
        let Some(pid) = self.pid() else { return Fate::Kept };
        self.last_end = LastEnd::Ended(end);
        self.count_crash(end, now);
        self.reap(pid, end, out);
        match std::mem::replace(&mut self.state, JobState::NotRunning) {
            JobState::Draining(Drain { then: AfterDrain::Remove(waiters), .. }) => {
                for waiter in waiters {
                    out.reply(waiter.call, Answer::silent());
                }
                return Fate::Removed;
            }
            JobState::Draining(Drain { then: AfterDrain::Restart(waiters), .. }) => {
                self.want_start(SpawnReason::Demand, waiters, policy, now, out);
            }
            JobState::Draining(Drain { then: AfterDrain::GoOn, .. })
            | JobState::NotRunning
            | JobState::Pended(_)
            | JobState::PenaltyBox
            | JobState::SpawnScheduled { .. }
            | JobState::Spawning { .. }
            | JobState::Running { .. } => {
                if self.is_kept_alive(Some(end), outside) {
                    self.want_start(SpawnReason::Inefficient, Vec::new(), policy, now, out);
                }
            }
        }
        Fate::Kept
    }

    pub(super) fn do_what_is_due(&mut self, due: Due, out: &mut Effects) {
        self.fire_interval(due, out);
        match &mut self.state {
            JobState::SpawnScheduled { at, .. } if *at <= due.now => self.spawn(due.verdict, out),
            JobState::Draining(drain) => drain.do_what_is_due(&self.target, due.now, out),
            JobState::NotRunning
            | JobState::Pended(_)
            | JobState::PenaltyBox
            | JobState::SpawnScheduled { .. }
            | JobState::Spawning { .. }
            | JobState::Running { .. } => {}
        }
    }

    /// The job is forgotten: whoever still waits for a start gets an answer.
    pub(super) fn answer_those_who_waited(mut self, out: &mut Effects) {
        for waiter in self.take_start_waiters() {
            waiter.answer_busy(out);
        }
    }

    fn is_kept_alive(&self, last_end: Option<ProcessEnd>, outside: bool) -> bool {
        let situation = Situation { last_end, demanded: self.demanded, outside };
        self.definition.keep_alive.wants_start(situation)
    }

    fn spawn(&mut self, verdict: Verdict, out: &mut Effects) {
        let JobState::SpawnScheduled { reason, waiters, .. } = &mut self.state else { return };
        self.last_reason = Some(*reason);
        let waiters = std::mem::take(waiters);
        self.state = JobState::Spawning { waiters };
        match verdict {
            Verdict::SpawnRefused => self.spawn_failed(SPAWN_REFUSED.to_owned(), out),
            Verdict::Allowed | Verdict::NotAtLogin | Verdict::KilledAfterSpawn => {
                out.push(Effect::Spawn {
                    target: self.target.clone(),
                    definition: Arc::clone(&self.definition),
                    launch: std::mem::replace(&mut self.launch, Launch::Running),
                });
            }
        }
    }

    fn reap(&self, pid: Pid, end: ProcessEnd, out: &mut Effects) {
        let raw = pid.as_raw_nonzero().get();
        out.record(&self.target, JobEvent::Exited { pid: raw, end });
        let group = if self.definition.abandon_process_group {
            GroupFate::Abandoned
        } else {
            out.record(&self.target, JobEvent::GroupSignalled { group: raw });
            GroupFate::Terminated
        };
        out.push(Effect::Reap { pid, group });
    }

    fn take_start_waiters(&mut self) -> Vec<StartWaiter> {
        match &mut self.state {
            JobState::SpawnScheduled { waiters, .. } | JobState::Spawning { waiters } => {
                std::mem::take(waiters)
            }
            JobState::Draining(drain) => drain.take_start_waiters(),
            JobState::NotRunning
            | JobState::Pended(_)
            | JobState::PenaltyBox
            | JobState::Running { .. } => Vec::new(),
        }
    }
}
