//! The NixFleet dashboard: one program, one SQLite file.
//!
//! Agents register here, fetch commands and report results; operators queue commands and read what came of them.
//! Nothing is acknowledged to either before it is on disk.
//!
//! | module | purpose |
//! |---|---|
//! | `manual` | what is said of it, in `--help` and in manual pages |
//! | `settings` | flags, environment and token files, validated once |
//! | `server` | the routes, and serving them until told to stop |
//! | `agent_v1`, `agent_v2` | what agents call: the protocol of existing dashboards, and the superset |
//! | `operator` | what operators call |
//! | `auth` | whose token it is |
//! | `delivery`, `progress` | pure decisions: which command goes out, what a report closes or changes |
//! | `liveness` | when each host was last heard of: in memory, written behind |
//! | `wake` | rings the polls that wait for a host's commands |
//! | `store` | the only module that knows SQL |

mod agent_v1;
mod agent_v2;
mod auth;
mod clock;
mod connections;
mod context;
mod delivery;
mod limits;
mod liveness;
mod manual;
mod operator;
mod progress;
mod rate_limit;
mod reply;
mod request;
mod server;
mod settings;
mod startup;
mod store;
mod wake;

use std::{
    env,
    error::Error,
    io::{self, Write as _},
    process::ExitCode,
};

use clap::CommandFactory as _;

use crate::{
    manual::MANUAL,
    settings::{Cli, Command, ServeOptions, Settings},
    startup::StartError,
};

/// Wrong usage, as in `sysexits.h`.
const EXIT_USAGE: u8 = 64;

/// A text that was asked for cannot be written, likewise.
const EXIT_OUTPUT: u8 = 74;

/// Reads the command line, serves until a signal, and says by the exit code how it went.
pub fn main() -> ExitCode {
    let cli = match MANUAL.parse::<Cli>(env::args_os()) {
        Ok(cli) => cli,
        Err(error) => return explain_usage(&error),
    };
    match cli.command {
        Command::Serve(options) => serve(*options),
        Command::Manual(verb) => tell(&verb),
    }
}

fn serve(options: ServeOptions) -> ExitCode {
    startup::log_to_stderr();
    let ended = Settings::from_options(options)
        .map_err(StartError::Settings)
        .and_then(startup::serve_until_signal);
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error, error.exit_code()),
    }
}

/// Completions and manual pages.
fn tell(verb: &nixfleet_manual::Verb) -> ExitCode {
    match verb.perform(Cli::command(), &MANUAL) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_closed_pipe() => ExitCode::SUCCESS,
        Err(error) => fail(&error, EXIT_OUTPUT),
    }
}

fn fail(error: &dyn Error, code: u8) -> ExitCode {
    // With standard error gone, the exit code still says it.
    let _ = writeln!(io::stderr(), "nixfleet-dashboard: {}", with_sources(error));
    ExitCode::from(code)
}

/// Help and version are answers, not errors.
fn explain_usage(error: &clap::Error) -> ExitCode {
    let printed = error.print();
    if error.use_stderr() || printed.is_err() {
        ExitCode::from(EXIT_USAGE)
    } else {
        ExitCode::SUCCESS
    }
}

/// An error and what lies under it, on one line.
pub(crate) fn with_sources(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
