//! The exit codes, an interface that service managers and scripts rely on.

use std::process::ExitCode;

/// How the agent ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It was asked to end, or the dashboard asked for a restart.
    Done,
    /// Something needs somebody: `status` says what, `report-now` why it was in vain.
    Attention,
    /// The command line makes no sense (`EX_USAGE`).
    Usage,
    /// A part of the agent broke; its service manager starts a new one (`EX_SOFTWARE`).
    Broken,
    /// The state directory cannot be used (`EX_IOERR`).
    StateDir,
    /// Another agent runs (`EX_TEMPFAIL`).
    AlreadyRuns,
    /// The configuration makes no sense (`EX_CONFIG`).
    Configuration,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Done => Self::SUCCESS,
            Exit::Attention => Self::from(1),
            Exit::Usage => Self::from(64),
            Exit::Broken => Self::from(70),
            Exit::StateDir => Self::from(74),
            Exit::AlreadyRuns => Self::from(75),
            Exit::Configuration => Self::from(78),
        }
    }
}
