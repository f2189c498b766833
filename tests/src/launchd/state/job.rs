//! One job from its registration to its removal.
//!
//! A wish to start it is either a demand (`kickstart`) or launchd's own: *speculative* after
//! loading, *inefficient* after an end. Only launchd's own wishes can be pended.

use std::{path::PathBuf, sync::Arc, time::Duration};

use rustix::process::{Pid, Signal};

use super::{
    Effect, Effects, GroupFate,
    drain::{AfterDrain, Drain, DrainStage, RemovalWaiter},
    start_waiter::StartWaiter,
};
use crate::launchd::{
    answer::Answer, definition::Definition, domain::ServiceTarget, moment::Moment,
    process_end::ProcessEnd, record::JobEvent,
};

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
    /// `KeepAlive` after an end.
    Inefficient,
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
            Self::Demand => "non-ipc demand",
        }
    }

    const fn can_be_pended(self) -> bool {
        match self {
            Self::Speculative | Self::Inefficient => true,
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

    /// When the job wants to be looked at again.
    pub(super) fn deadline(&self) -> Option<Moment> {
        match &self.state {
            JobState::SpawnScheduled { at, .. } => Some(*at),
            JobState::Draining(drain) => drain.deadline(),
            JobState::NotRunning
            | JobState::Pended(_)
            | JobState::PenaltyBox
            | JobState::Spawning { .. }
            | JobState::Running { .. } => None,
        }
    }

    /// Right after registration.
    pub(super) fn loaded(&mut self, policy: StartPolicy, now: Moment, out: &mut Effects) {
        if self.definition.starts_when_loaded() {
            self.want_start(SpawnReason::Speculative, Vec::new(), policy, now, out);
        }
    }

    /// `kickstart` on a job without a process.
    pub(super) fn demand_start(
        &mut self,
        waiter: StartWaiter,
        policy: StartPolicy,
        now: Moment,
        out: &mut Effects,
    ) {
        match &mut self.state {
            JobState::NotRunning | JobState::Pended(_) => {
                self.want_start(SpawnReason::Demand, vec![waiter], policy, now, out);
            }
            // A throttled start stays throttled: a demand does not bypass it.
            JobState::SpawnScheduled { at, waiters, .. } => {
                let at = *at;
                waiters.extend(waiter.unless_kept_waiting(at, policy, now, out));
            }
            JobState::Spawning { waiters } => waiters.push(waiter),
            JobState::Running { pid } => waiter.answer_started(*pid, out),
            JobState::PenaltyBox => out.reply(waiter.call, Answer::silent()),
            JobState::Draining(_) => waiter.answer_busy(out),
        }
    }

    /// `kickstart -k` on a running job; the other states treat it as a plain demand.
    pub(super) fn restart(
        &mut self,
        waiter: StartWaiter,
        signal: Signal,
        now: Moment,
        out: &mut Effects,
    ) {
        let JobState::Running { pid } = self.state else {
            return waiter.answer_busy(out);
        };
        out.signal(&self.target, pid, signal);
        self.state = JobState::Draining(Drain {
            pid,
            kill_at: self.kill_at(now),
            stage: DrainStage::after(signal),
            then: AfterDrain::Restart(vec![waiter]),
        });
    }

    /// SIGTERM now; the label stays until the process has ended.
    pub(super) fn stop_for_removal(
        &mut self,
        now: Moment,
        waiter: Option<RemovalWaiter>,
        out: &mut Effects,
    ) -> Fate {
        let kill_at = self.kill_at(now);
        match &mut self.state {
            JobState::NotRunning
            | JobState::Pended(_)
            | JobState::PenaltyBox
            | JobState::SpawnScheduled { .. } => {
                if let Some(waiter) = waiter {
                    out.reply(waiter.call, Answer::silent());
                }
                Fate::Removed
            }
            // Whoever hears of the start stops it; see `Launchd::spawned`.
            JobState::Spawning { .. } => Fate::Kept,
            JobState::Running { pid } => {
                let pid = *pid;
                out.signal(&self.target, pid, Signal::TERM);
                self.state = JobState::Draining(Drain {
                    pid,
                    kill_at,
                    stage: DrainStage::Terminated,
                    then: AfterDrain::Remove(waiter.into_iter().collect()),
                });
                Fate::Kept
            }
            JobState::Draining(drain) => {
                drain.remove_afterwards(waiter, out);
                Fate::Kept
            }
        }
    }

    /// launchd wants it gone: SIGKILL, and the label with it.
    pub(super) fn throw_out(&mut self, out: &mut Effects) -> Fate {
        let Some(pid) = self.pid() else { return Fate::Removed };
        out.signal(&self.target, pid, Signal::KILL);
        if let JobState::Draining(drain) = &mut self.state {
            drain.remove_afterwards(None, out);
            drain.stage = DrainStage::Killed;
        } else {
            self.state = JobState::Draining(Drain {
                pid,
                kill_at: None,
                stage: DrainStage::Killed,
                then: AfterDrain::Remove(Vec::new()),
            });
        }
        Fate::Kept
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
        policy: StartPolicy,
        now: Moment,
        out: &mut Effects,
    ) -> Fate {
        let Some(pid) = self.pid() else { return Fate::Kept };
        self.last_end = LastEnd::Ended(end);
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
            JobState::NotRunning
            | JobState::Pended(_)
            | JobState::PenaltyBox
            | JobState::SpawnScheduled { .. }
            | JobState::Spawning { .. }
            | JobState::Running { .. } => {
                if self.definition.keep_alive.wants_restart(end) {
                    self.want_start(SpawnReason::Inefficient, Vec::new(), policy, now, out);
                }
            }
        }
        Fate::Kept
    }

    /// The on-demand-only mode may be over.
    pub(super) fn release_pended(&mut self, policy: StartPolicy, now: Moment) {
        if policy.on_demand_only {
            return;
        }
        if let JobState::Pended(reason) = self.state {
            self.schedule(reason, Vec::new(), policy, now);
        }
    }

    /// Brings SIGKILL forward.
    pub(super) fn kill_no_later_than(&mut self, latest: Moment) {
        if let JobState::Draining(drain) = &mut self.state {
            drain.kill_at = Some(drain.kill_at.map_or(latest, |at| at.min(latest)));
        }
    }

    pub(super) fn do_what_is_due(&mut self, now: Moment, out: &mut Effects) {
        match &mut self.state {
            JobState::SpawnScheduled { at, reason, waiters } if *at <= now => {
                self.last_reason = Some(*reason);
                let waiters = std::mem::take(waiters);
                self.state = JobState::Spawning { waiters };
                out.push(Effect::Spawn {
                    target: self.target.clone(),
                    definition: Arc::clone(&self.definition),
                });
            }
            JobState::Draining(drain) => drain.do_what_is_due(&self.target, now, out),
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

    fn want_start(
        &mut self,
        reason: SpawnReason,
        waiters: Vec<StartWaiter>,
        policy: StartPolicy,
        now: Moment,
        out: &mut Effects,
    ) {
        if policy.on_demand_only && reason.can_be_pended() {
            out.record(&self.target, JobEvent::Pended { reason: reason.word().to_owned() });
            self.state = JobState::Pended(reason);
            return;
        }
        let at = self.earliest_start(policy, now);
        let waiters = waiters
            .into_iter()
            .filter_map(|waiter| waiter.unless_kept_waiting(at, policy, now, out))
            .collect();
        self.schedule(reason, waiters, policy, now);
    }

    fn schedule(
        &mut self,
        reason: SpawnReason,
        waiters: Vec<StartWaiter>,
        policy: StartPolicy,
        now: Moment,
    ) {
        let at = self.earliest_start(policy, now);
        self.state = JobState::SpawnScheduled { at, reason, waiters };
    }

    /// The throttle counts from the start of the previous run.
    fn earliest_start(&self, policy: StartPolicy, now: Moment) -> Moment {
        let soon = now.plus(policy.delay);
        self.last_start.map_or(soon, |start| soon.max(start.plus(self.definition.throttle)))
    }

    fn kill_at(&self, now: Moment) -> Option<Moment> {
        self.definition.exit_timeout.map(|timeout| now.plus(timeout))
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
