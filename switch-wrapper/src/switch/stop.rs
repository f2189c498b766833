//! When home-manager is to be ended, and how. Pure.
//!
//! A wish to stop is passed on as it came; what does not follow within the grace is killed. Running out of time is
//! such a wish. A terminal that is gone is none: the switch goes on without it.

use std::time::Duration;

use nixfleet_protocol::lifecycle::StopCause;

/// How long home-manager may take to end after it was asked to.
pub(super) const GRACE: Duration = Duration::from_secs(10);

/// What can happen while home-manager runs. Times count from its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// Time has passed.
    Tick,
    /// The terminal's own interrupt key was passed on to home-manager already.
    InterruptKey,
    /// SIGINT, from outside the terminal.
    Interrupt,
    /// SIGTERM.
    Terminate,
    /// SIGQUIT.
    Quit,
    /// SIGHUP: the terminal is gone.
    HangUp,
}

/// What to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Nothing.
    Nothing,
    /// Pass SIGINT to home-manager's process group.
    PassInterrupt,
    /// Pass SIGTERM.
    PassTerminate,
    /// Pass SIGQUIT.
    PassQuit,
    /// Kill the group, or do the utmost where that cannot be done.
    Kill,
}

/// Where the supervision stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Supervision {
    /// Nobody wants it to end before `limit`.
    Running {
        /// When its time is up.
        limit: Duration,
    },
    /// It was asked to end.
    Stopping {
        /// Why.
        cause: StopCause,
        /// When it will be killed.
        kill_at: Duration,
    },
    /// It was killed.
    Killed {
        /// Why.
        cause: StopCause,
    },
}

impl Supervision {
    /// Why home-manager was asked to end, if it was.
    pub(super) const fn cause(self) -> Option<StopCause> {
        match self {
            Self::Running { .. } => None,
            Self::Stopping { cause, .. } | Self::Killed { cause } => Some(cause),
        }
    }

    /// When to look again at the latest; `None` if only an event can change anything.
    pub(super) const fn next_look(self) -> Option<Duration> {
        match self {
            Self::Running { limit } => Some(limit),
            Self::Stopping { kill_at, .. } => Some(kill_at),
            Self::Killed { .. } => None,
        }
    }

    /// The next state, and what to do.
    pub(super) fn handle(self, event: Event, now: Duration) -> (Self, Action) {
        match (self, event) {
            (Self::Running { limit }, Event::Tick) if now >= limit => {
                (Self::stopping(StopCause::TimedOut, now), Action::PassTerminate)
            }
            (Self::Stopping { cause, kill_at }, Event::Tick) if now >= kill_at => {
                (Self::Killed { cause }, Action::Kill)
            }
            (state, Event::Tick | Event::HangUp) => (state, Action::Nothing),
            (state, Event::InterruptKey) => (state.cancelled(now), Action::Nothing),
            (state, Event::Interrupt) => (state.cancelled(now), Action::PassInterrupt),
            (state, Event::Terminate) => (state.cancelled(now), Action::PassTerminate),
            (state, Event::Quit) => (state.cancelled(now), Action::PassQuit),
        }
    }

    /// Asked to end by somebody. A second wish is passed on too, but does not prolong the grace.
    fn cancelled(self, now: Duration) -> Self {
        match self {
            Self::Running { .. } => Self::stopping(StopCause::Cancelled, now),
            Self::Stopping { .. } | Self::Killed { .. } => self,
        }
    }

    fn stopping(cause: StopCause, now: Duration) -> Self {
        Self::Stopping { cause, kill_at: now + GRACE }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(100);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_transitions_are_those_of_the_table() {
        use Event::{HangUp, Interrupt, InterruptKey, Quit, Terminate, Tick};
        let running = Supervision::Running { limit: LIMIT };
        let cancelling = Supervision::Stopping { cause: StopCause::Cancelled, kill_at: at(15) };
        let timing_out = Supervision::Stopping { cause: StopCause::TimedOut, kill_at: at(110) };
        let killed = Supervision::Killed { cause: StopCause::Cancelled };
        for (state, event, now, next, action) in [
            (running, Tick, 99, running, Action::Nothing),
            (running, Tick, 100, timing_out, Action::PassTerminate),
            (running, HangUp, 5, running, Action::Nothing),
            (running, InterruptKey, 5, cancelling, Action::Nothing),
            (running, Interrupt, 5, cancelling, Action::PassInterrupt),
            (running, Terminate, 5, cancelling, Action::PassTerminate),
            (running, Quit, 5, cancelling, Action::PassQuit),
            (cancelling, Tick, 14, cancelling, Action::Nothing),
            (cancelling, Tick, 15, killed, Action::Kill),
            (cancelling, HangUp, 14, cancelling, Action::Nothing),
            (cancelling, Interrupt, 14, cancelling, Action::PassInterrupt),
            (timing_out, Terminate, 105, timing_out, Action::PassTerminate),
            (killed, Tick, 1000, killed, Action::Nothing),
            (killed, Terminate, 1000, killed, Action::PassTerminate),
        ] {
            assert_eq!(state.handle(event, at(now)), (next, action), "{state:?} {event:?} {now}");
        }
    }

    #[test]
    fn the_cause_is_the_first_one() {
        let (state, _) = Supervision::Running { limit: LIMIT }.handle(Event::Tick, LIMIT);
        let (state, _) = state.handle(Event::Interrupt, LIMIT);
        assert_eq!(state.cause(), Some(StopCause::TimedOut));
        assert_eq!(state.next_look(), Some(LIMIT + GRACE));
    }
}
