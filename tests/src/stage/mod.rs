//! The stage: one machine's worth of real programs in one temporary folder.
//!
//! - [`programs`]: the binaries that users run, built once.
//! - [`dashboard`]: a dashboard process; [`operator`]: what an operator can ask it.
//! - [`mac`]: a Mac: simulated launchd, the agent as its job, home-manager, a user at the terminal.
//! - [`linux`]: a Linux machine: a real `systemd --user` with the agent as a unit.
//! - [`folder`]: the temporary folder and what both machines have in common.
//! - [`processes`]: what runs because of a folder, so that nothing is left behind.
//! - [`ending`]: the end of a machine, and what is kept of it.
//! - [`wait`]: waiting for a fact.

pub mod dashboard;
pub mod ending;
pub mod folder;
pub mod linux;
pub mod mac;
pub mod operator;
pub mod processes;
pub mod programs;
pub mod wait;

use std::{
    io::{self, Write as _},
    path::PathBuf,
    time::Duration,
};

use crate::launchd::LaunchdSimError;

/// Why a scene cannot go on. In a test this is a failure, in the demo the end of it.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// A file or folder cannot be used.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A program cannot be run.
    #[error("cannot run {program}")]
    Run {
        /// The program.
        program: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A program did not do its part.
    #[error("{0}")]
    Said(String),
    /// Something did not come to be.
    #[error("waited {} s in vain: {what}", limit.as_secs())]
    InVain {
        /// What was waited for.
        what: String,
        /// For how long.
        limit: Duration,
    },
    /// The dashboard did not answer.
    #[error("the dashboard does not answer")]
    Http(#[from] reqwest::Error),
    /// launchd is not what it should be.
    #[error(transparent)]
    Launchd(#[from] LaunchdSimError),
}

impl Trouble {
    /// For `map_err` after a file operation.
    pub fn file(action: &'static str, path: &std::path::Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { action, path, source }
    }

    /// For `map_err` after starting a program.
    pub fn run(program: &str) -> impl FnOnce(io::Error) -> Self {
        let program = program.to_owned();
        move |source| Self::Run { program, source }
    }
}

/// Says that a test cannot run here, past the test harness: that shows nothing of what a passing test prints.
pub fn not_run(why: &str) {
    // Where standard error is closed nobody looks for it.
    let _ = writeln!(io::stderr(), "NOT RUN: {why}");
}
