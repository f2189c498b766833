//! What the deciding half asks the doing half to do.

use std::sync::Arc;

use rustix::process::{Pid, Signal};

use super::{CallId, Overrides};
use crate::launchd::{
    answer::Answer, command::Launch, definition::Definition, domain::ServiceTarget,
    record::JobEvent,
};

/// One thing to do.
#[derive(Debug)]
pub enum Effect {
    /// Answer a call.
    Reply {
        /// Which call.
        call: CallId,
        /// With what.
        answer: Answer,
    },
    /// Start a job's process and tell how that went.
    Spawn {
        /// For which job.
        target: ServiceTarget,
        /// What to run.
        definition: Arc<Definition>,
        /// How.
        launch: Launch,
    },
    /// Signal a job's main process.
    Signal {
        /// Which process.
        pid: Pid,
        /// With what.
        signal: Signal,
    },
    /// Collect a main process that has ended, and deal with what is left of its group.
    Reap {
        /// Which process.
        pid: Pid,
        /// What its group gets.
        group: GroupFate,
    },
    /// Write a line into the call log.
    Record {
        /// About which job.
        target: ServiceTarget,
        /// What happened to it.
        event: JobEvent,
    },
    /// Write the override database.
    KeepOverrides(Overrides),
    /// All jobs of the time before the reboot are gone: nothing of theirs may be left.
    Booted,
    /// Nothing is left to wait for: end.
    End,
}

/// What becomes of a process group whose leader has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GroupFate {
    /// One SIGTERM, and nothing after it.
    Terminated,
    /// `AbandonProcessGroup`: nothing.
    Abandoned,
}

/// The effects of one event, in order.
#[derive(Debug, Default)]
pub struct Effects(Vec<Effect>);

impl Effects {
    /// Adds an effect.
    pub fn push(&mut self, effect: Effect) {
        self.0.push(effect);
    }

    /// Answers a call.
    pub fn reply(&mut self, call: CallId, answer: Answer) {
        self.push(Effect::Reply { call, answer });
    }

    /// Notes what happened to a job.
    pub fn record(&mut self, target: &ServiceTarget, event: JobEvent) {
        self.push(Effect::Record { target: target.clone(), event });
    }

    /// Signals a job's main process, and notes it.
    pub fn signal(&mut self, target: &ServiceTarget, pid: Pid, signal: Signal) {
        self.record(
            target,
            JobEvent::Signalled { pid: pid.as_raw_nonzero().get(), signal: signal.as_raw() },
        );
        self.push(Effect::Signal { pid, signal });
    }

    /// The effects as a list.
    pub fn into_vec(self) -> Vec<Effect> {
        self.0
    }
}
