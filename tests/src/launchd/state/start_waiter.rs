//! A call of `kickstart` between its arrival and its answer.

use rustix::process::Pid;

use super::{CallId, Effects, job::StartPolicy};
use crate::launchd::{
    answer::{Answer, Failure},
    command::Report,
    moment::Moment,
};

/// A call that is answered when the job starts.
#[derive(Debug)]
pub(super) struct StartWaiter {
    pub(super) call: CallId,
    pub(super) report: Report,
}

impl StartWaiter {
    pub(super) fn answer_started(self, pid: Pid, out: &mut Effects) {
        let answer = match self.report {
            Report::Nothing => Answer::silent(),
            Report::Pid => Answer::printed(format!("{}\n", pid.as_raw_nonzero())),
        };
        out.reply(self.call, answer);
    }

    /// Code 37 and not a word.
    pub(super) fn answer_busy(self, out: &mut Effects) {
        out.reply(self.call, Answer::mute(Failure::AlreadyInProgress.code()));
    }

    /// A throttled start keeps only those waiting who asked for the pid.
    pub(super) fn unless_kept_waiting(
        self,
        at: Moment,
        policy: StartPolicy,
        now: Moment,
        out: &mut Effects,
    ) -> Option<Self> {
        let throttled = at > now.plus(policy.delay);
        match (throttled, self.report) {
            (true, Report::Nothing) => {
                out.reply(self.call, Answer::silent());
                None
            }
            (true, Report::Pid) | (false, Report::Nothing | Report::Pid) => Some(self),
        }
    }
}
