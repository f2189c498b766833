//! When a job starts: wishes, what holds them back, and for how long.

use std::time::Duration;

use super::{Due, IN_PENALTY_BOX, Job, JobState, LastEnd, SpawnReason, StartPolicy};
use crate::launchd::{
    answer::Answer,
    command::Launch,
    moment::Moment,
    process_end::ProcessEnd,
    record::JobEvent,
    state::{Effects, start_waiter::StartWaiter},
};

/// However often a job crashes, it is tried again after this long.
const LONGEST_PAUSE: Duration = Duration::from_mins(20);

impl Job {
    /// `kickstart` on a job without a process.
    pub(in crate::launchd::state) fn demand_start(
        &mut self,
        waiter: StartWaiter,
        launch: Launch,
        policy: StartPolicy,
        now: Moment,
        out: &mut Effects,
    ) {
        self.demanded = true;
        match &mut self.state {
            JobState::NotRunning | JobState::Pended(_) => {
                self.launch = launch;
                self.want_start(SpawnReason::Demand, vec![waiter], policy, now, out);
            }
            // A throttled start stays throttled: a demand does not bypass it.
            JobState::SpawnScheduled { at, waiters, .. } => {
                let at = *at;
                waiters.extend(waiter.unless_kept_waiting(at, policy, now, out));
            }
            JobState::Spawning { waiters } => waiters.push(waiter),
            JobState::Running { pid } => waiter.answer_started(*pid, out),
            JobState::PenaltyBox => {
                self.note_penalty_box(out);
                out.reply(waiter.call, Answer::silent());
            }
            JobState::Draining(_) => waiter.answer_busy(out),
        }
    }

    /// A demand that nobody waits for.
    pub(in crate::launchd::state) fn demand_unasked(
        &mut self,
        policy: StartPolicy,
        now: Moment,
        out: &mut Effects,
    ) {
        self.demanded = true;
        match &self.state {
            JobState::NotRunning | JobState::Pended(_) => {
                self.want_start(SpawnReason::Demand, Vec::new(), policy, now, out);
            }
            JobState::PenaltyBox => self.note_penalty_box(out),
            JobState::SpawnScheduled { .. }
            | JobState::Spawning { .. }
            | JobState::Running { .. }
            | JobState::Draining(_) => {}
        }
    }

    /// What the job looks at outside of itself may have changed.
    pub(in crate::launchd::state) fn start_for_outside(
        &mut self,
        outside: bool,
        policy: StartPolicy,
        now: Moment,
        out: &mut Effects,
    ) {
        let last_end = match self.last_end {
            LastEnd::Ended(end) => Some(end),
            LastEnd::NeverExited | LastEnd::NotExecuted => None,
        };
        if outside && self.is_kept_alive(last_end, outside) {
            self.want_start(SpawnReason::Inefficient, Vec::new(), policy, now, out);
        }
    }

    pub(in crate::launchd::state) fn leave_penalty_box(
        &mut self,
        policy: StartPolicy,
        now: Moment,
        out: &mut Effects,
    ) {
        if matches!(self.state, JobState::PenaltyBox) {
            self.want_start(SpawnReason::Inefficient, Vec::new(), policy, now, out);
        }
    }

    /// The on-demand-only mode may be over.
    pub(in crate::launchd::state) fn release_pended(&mut self, policy: StartPolicy, now: Moment) {
        if policy.on_demand_only {
            return;
        }
        if let JobState::Pended(reason) = self.state {
            self.schedule(reason, Vec::new(), policy, now);
        }
    }

    /// A firing due while asleep is missed; the next one is where it would have been.
    pub(in crate::launchd::state) fn woke(&mut self, slept: Duration, now: Moment) {
        let (Some(due), Some(interval)) = (self.interval_due, self.definition.start_interval)
        else {
            return;
        };
        let mut left = due.until(now);
        if slept < left {
            left = left.saturating_sub(slept);
        } else {
            let beyond = slept.saturating_sub(left).as_secs_f64() % interval.as_secs_f64();
            left = interval.saturating_sub(Duration::from_secs_f64(beyond));
        }
        self.interval_due = Some(now.plus(left));
    }

    /// A firing due while the job runs, or is about to, is missed.
    pub(super) fn fire_interval(&mut self, due: Due, out: &mut Effects) {
        let (Some(at), Some(interval)) = (self.interval_due, self.definition.start_interval) else {
            return;
        };
        if at > due.now {
            return;
        }
        let mut next = at;
        while next <= due.now {
            next = next.plus(interval);
        }
        self.interval_due = Some(next);
        if self.is_idle() {
            self.want_start(SpawnReason::Interval, Vec::new(), due.policy, due.now, out);
        }
    }

    pub(super) fn want_start(
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

    /// Crashes count as long as no run outlives the throttle.
    pub(super) fn count_crash(&mut self, end: ProcessEnd, now: Moment) {
        let ran = self.last_start.map_or(Duration::ZERO, |start| now.until(start));
        let is_repeated = ran < self.definition.throttle;
        self.crashes_in_a_row = match (end.is_crash(), is_repeated) {
            (true, true) => self.crashes_in_a_row.saturating_add(1),
            (true, false) => 1,
            (false, _) => 0,
        };
    }

    /// Between two starts: the throttle, doubled for each crash in a row after the first.
    pub(in crate::launchd::state) fn pause(&self) -> Duration {
        let throttle = self.definition.throttle;
        let doublings = self.crashes_in_a_row.saturating_sub(1);
        let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
        throttle.saturating_mul(factor).min(LONGEST_PAUSE.max(throttle))
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

    /// The pause counts from the start of the previous run.
    fn earliest_start(&self, policy: StartPolicy, now: Moment) -> Moment {
        let soon = now.plus(policy.delay);
        self.last_start.map_or(soon, |start| soon.max(start.plus(self.pause())))
    }

    fn note_penalty_box(&self, out: &mut Effects) {
        let reason = IN_PENALTY_BOX.to_owned();
        out.record(&self.target, JobEvent::SpawnFailed { reason });
    }
}
