//! How a job's process ended.

use std::fmt;

use rustix::process::Signal;
use serde::{Deserialize, Serialize};

/// The signals that launchd counts as a crash; SIGKILL and SIGTERM are none.
const CRASH_SIGNALS: [Signal; 7] =
    [Signal::ILL, Signal::TRAP, Signal::ABORT, Signal::FPE, Signal::BUS, Signal::SEGV, Signal::SYS];

/// How a process ended: an exit code and a signal are never confused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProcessEnd {
    /// It exited with this code.
    Exited(i32),
    /// This signal ended it.
    Signalled(i32),
}

impl ProcessEnd {
    /// Exit code 0.
    pub const fn is_success(self) -> bool {
        matches!(self, Self::Exited(0))
    }

    /// Ended by a signal that means a fault in the program.
    pub fn is_crash(self) -> bool {
        match self {
            Self::Exited(_) => false,
            Self::Signalled(number) => CRASH_SIGNALS.iter().any(|crash| crash.as_raw() == number),
        }
    }

    /// The number that `list` shows: an exit code, or a signal as a negative number.
    pub const fn list_status(self) -> i32 {
        match self {
            Self::Exited(code) => code,
            Self::Signalled(number) => -number,
        }
    }

    /// The status word of wait(2), which `list LABEL` shows unchanged.
    pub const fn wait_status(self) -> i32 {
        match self {
            Self::Exited(code) => code << 8,
            Self::Signalled(number) => number,
        }
    }
}

impl fmt::Display for ProcessEnd {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(formatter, "exit code {code}"),
            Self::Signalled(number) => write!(formatter, "signal {number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_faults_of_the_program_are_crashes() {
        let crash = |signal: Signal| ProcessEnd::Signalled(signal.as_raw()).is_crash();
        assert!(crash(Signal::SEGV) && crash(Signal::ABORT));
        assert!(!crash(Signal::KILL) && !crash(Signal::TERM));
        assert!(!ProcessEnd::Exited(1).is_crash());
    }

    #[test]
    fn a_signal_and_a_code_look_different_in_every_listing() {
        assert_eq!(ProcessEnd::Signalled(15).list_status(), -15);
        assert_eq!(ProcessEnd::Exited(15).list_status(), 15);
        assert_eq!(ProcessEnd::Signalled(15).wait_status(), 15);
        assert_eq!(ProcessEnd::Exited(1).wait_status(), 256);
    }
}
