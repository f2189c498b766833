//! A job on its way down: from the signal that is to end it until it has ended.

use rustix::process::{Pid, Signal};

use super::{CallId, Effects, start_waiter::StartWaiter};
use crate::launchd::{answer::Answer, domain::ServiceTarget, moment::Moment};

/// A job on its way down.
#[derive(Debug)]
pub(super) struct Drain {
    pub(super) pid: Pid,
    pub(super) kill_at: Option<Moment>,
    pub(super) stage: DrainStage,
    pub(super) then: AfterDrain,
}

/// The strongest signal so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DrainStage {
    /// SIGTERM.
    Terminated,
    /// SIGKILL.
    Killed,
}

/// What happens when the process has ended.
#[derive(Debug)]
pub(super) enum AfterDrain {
    /// The label goes with it.
    Remove(Vec<RemovalWaiter>),
    /// It is started again.
    Restart(Vec<StartWaiter>),
    /// Whatever `KeepAlive` wants.
    GoOn,
}

/// A call that is answered when the label is gone, or with "in progress" at a deadline.
#[derive(Debug)]
pub(super) struct RemovalWaiter {
    pub(super) call: CallId,
    pub(super) gives_up: Option<GivesUp>,
}

/// When a caller is not kept waiting any longer, and what it is told.
#[derive(Debug)]
pub(super) struct GivesUp {
    pub(super) at: Moment,
    pub(super) answer: Answer,
}

impl DrainStage {
    /// How far a signal brings it.
    pub(super) fn after(signal: Signal) -> Self {
        if signal == Signal::KILL { Self::Killed } else { Self::Terminated }
    }
}

impl Drain {
    pub(super) fn deadline(&self) -> Option<Moment> {
        let waiters = match &self.then {
            AfterDrain::Remove(waiters) => waiters.as_slice(),
            AfterDrain::Restart(_) | AfterDrain::GoOn => &[],
        };
        let given_up = waiters.iter().filter_map(|waiter| Some(waiter.gives_up.as_ref()?.at));
        let kill = match self.stage {
            DrainStage::Terminated => self.kill_at,
            DrainStage::Killed => None,
        };
        given_up.chain(kill).min()
    }

    pub(super) fn remove_afterwards(&mut self, waiter: Option<RemovalWaiter>, out: &mut Effects) {
        for start in self.take_start_waiters() {
            start.answer_busy(out);
        }
        match &mut self.then {
            AfterDrain::Remove(waiters) => waiters.extend(waiter),
            AfterDrain::Restart(_) | AfterDrain::GoOn => {
                self.then = AfterDrain::Remove(waiter.into_iter().collect());
            }
        }
    }

    /// Whether the label will be gone when the process is.
    pub(super) fn ends_in_removal(&self) -> bool {
        match self.then {
            AfterDrain::Remove(_) => true,
            AfterDrain::Restart(_) | AfterDrain::GoOn => false,
        }
    }

    pub(super) fn take_start_waiters(&mut self) -> Vec<StartWaiter> {
        match &mut self.then {
            AfterDrain::Remove(_) | AfterDrain::GoOn => Vec::new(),
            AfterDrain::Restart(waiters) => std::mem::take(waiters),
        }
    }

    pub(super) fn do_what_is_due(
        &mut self,
        target: &ServiceTarget,
        now: Moment,
        out: &mut Effects,
    ) {
        if self.stage == DrainStage::Terminated && self.kill_at.is_some_and(|at| at <= now) {
            self.stage = DrainStage::Killed;
            out.signal(target, self.pid, Signal::KILL);
        }
        if let AfterDrain::Remove(waiters) = &mut self.then {
            let (due, waiting) = std::mem::take(waiters)
                .into_iter()
                .partition(|waiter| waiter.gives_up.as_ref().is_some_and(|end| end.at <= now));
            *waiters = waiting;
            for waiter in due {
                waiter.give_up(out);
            }
        }
    }
}

impl RemovalWaiter {
    fn give_up(self, out: &mut Effects) {
        if let Some(end) = self.gives_up {
            out.reply(self.call, end.answer);
        }
    }
}
