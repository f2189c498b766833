//! The exit codes, an interface that scripts rely on.
//!
//! | code | meaning |
//! |---|---|
//! | home-manager's own | it ran to its end, and the agent is back |
//! | 1 | `doctor` alone: something needs attention |
//! | 64 | the command line makes no sense |
//! | 69 | switched, but the agent is not back |
//! | 74 | the state directory cannot be used |
//! | 75 | another switch holds the lock |
//! | 78 | the configuration makes no sense, or home-manager is not there |
//! | 124 | it took too long and was ended |
//! | 128 + n | signal n ended home-manager |

use std::process::ExitCode;

use nixfleet_protocol::journal::records::{Outcome, SwitchResult};

/// `doctor` has found something that needs attention.
pub(crate) const NEEDS_ATTENTION: u8 = 1;
/// The command line makes no sense.
pub(crate) const USAGE: u8 = 64;
/// Switched, but the agent is not back.
pub(crate) const AGENT_NOT_BACK: u8 = 69;
/// The state directory cannot be used.
pub(crate) const STATE_DIR: u8 = 74;
/// Another switch holds the lock.
pub(crate) const BUSY: u8 = 75;
/// The configuration makes no sense.
pub(crate) const CONFIGURATION: u8 = 78;
/// It took too long.
pub(crate) const TIMED_OUT: u8 = 124;
/// Added to the number of a signal.
const SIGNALLED: u8 = 128;
/// An ending that has no code of its own.
pub(crate) const FAILURE: u8 = 1;

/// The exit code of a switch that has a result, given whether the agent is as it should be.
pub(crate) fn of_switch(result: &SwitchResult, agent_is_fine: bool) -> u8 {
    let own = match (result.outcome, result.exit_code, result.signal) {
        (Outcome::TimedOut, _, _) => TIMED_OUT,
        (Outcome::NotStarted, _, _) => CONFIGURATION,
        (_, Some(code), _) => u8::try_from(code).unwrap_or(FAILURE),
        (_, None, Some(signal)) => {
            u8::try_from(signal).ok().and_then(|n| SIGNALLED.checked_add(n)).unwrap_or(FAILURE)
        }
        (_, None, None) => FAILURE,
    };
    // Why the switch failed is the more urgent news.
    if own == 0 && !agent_is_fine { AGENT_NOT_BACK } else { own }
}

/// The code as the process's.
pub(crate) fn code(code: u8) -> ExitCode {
    ExitCode::from(code)
}
