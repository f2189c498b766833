//! How a job is ended.

use rustix::process::Signal;

use super::{Fate, Job, JobState};
use crate::launchd::{
    answer::Answer,
    moment::Moment,
    state::{
        Effects,
        drain::{AfterDrain, Drain, DrainStage, RemovalWaiter},
        start_waiter::StartWaiter,
    },
};

impl Job {
    /// `kickstart -k` on a running job; the other states treat it as a plain demand.
    pub(in crate::launchd::state) fn restart(
        &mut self,
        waiter: StartWaiter,
        signal: Signal,
        now: Moment,
        out: &mut Effects,
    ) {
        let JobState::Running { pid } = self.state else {
            return waiter.answer_busy(out);
        };
        self.demanded = true;
        out.signal(&self.target, pid, signal);
        self.state = JobState::Draining(Drain {
            pid,
            kill_at: self.kill_at(now),
            stage: DrainStage::after(signal),
            then: AfterDrain::Restart(vec![waiter]),
        });
    }

    /// The old `stop`: SIGTERM, and afterwards whatever `KeepAlive` wants.
    pub(in crate::launchd::state) fn stop(&mut self, now: Moment, out: &mut Effects) {
        let JobState::Running { pid } = self.state else { return };
        out.signal(&self.target, pid, Signal::TERM);
        self.state = JobState::Draining(Drain {
            pid,
            kill_at: self.kill_at(now),
            stage: DrainStage::Terminated,
            then: AfterDrain::GoOn,
        });
    }

    /// SIGTERM now; the label stays until the process has ended.
    pub(in crate::launchd::state) fn stop_for_removal(
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
    pub(in crate::launchd::state) fn throw_out(&mut self, out: &mut Effects) -> Fate {
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

    /// Brings SIGKILL forward.
    pub(in crate::launchd::state) fn kill_no_later_than(&mut self, latest: Moment) {
        if let JobState::Draining(drain) = &mut self.state {
            drain.kill_at = Some(drain.kill_at.map_or(latest, |at| at.min(latest)));
        }
    }

    fn kill_at(&self, now: Moment) -> Option<Moment> {
        self.definition.exit_timeout.map(|timeout| now.plus(timeout))
    }
}
