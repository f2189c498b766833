//! The NixFleet agent: polls the dashboard, starts `nixfleet-switch`, and reports what the journal says.
//!
//! It never runs home-manager and never touches the service manager. Every switch is a process of its own that outlives
//! the agent; the agent reads the journal and tells the dashboard, and a new agent goes on where the old one ended.
//!
//! - `command_line`, `settings`: what the agent is told, checked once.
//! - `manual`: what is said of it, in `--help` and in manual pages.
//! - `running_agent`: being the one agent, and saying so.
//! - `installed_watch`, `file_stamp`: whether this agent still is what is installed, and by what a file is known to be the
//!   same.
//! - `decide`: what to do next; pure.
//! - `run`: the loop that makes events and performs actions.
//! - `dashboard_client`: the dashboard over HTTP.
//! - `journal_desk`: the journal, on a thread of its own.
//! - `wrapper`: starting `nixfleet-switch`.
//! - `report`, `host_facts`: what the dashboard is told.
//! - `known_tokens`: what is kept out of everything that is written or sent.
//! - `inquiry`, `status`, `report_now`: what somebody at the machine may ask.
//! - `logging`, `log_file`, `messages`, `exit`: the log, the file that it may go to, words to people, exit codes.
//! - `plist_text`: a word out of a property list.

mod command_line;
mod dashboard_client;
mod decide;
mod exit;
mod file_stamp;
mod host_facts;
mod inquiry;
mod installed_watch;
mod journal_desk;
mod known_tokens;
mod log_file;
mod logging;
mod manual;
mod messages;
mod plist_text;
mod report;
mod report_now;
mod run;
mod running_agent;
mod settings;
mod status;
mod wrapper;

use std::{env, path::Path, process::ExitCode};

use clap::CommandFactory as _;

use command_line::{CommandLine, Verb};
use exit::Exit;
use known_tokens::KnownTokens;
use manual::MANUAL;
use settings::{Environment, Origin, Outcome, Settings};

/// The program: reads the command line, does what it says, answers with an exit code.
pub fn main() -> ExitCode {
    let command_line = match MANUAL.parse::<CommandLine>(env::args_os()) {
        Ok(command_line) => command_line,
        Err(answer) => return explain(&answer).into(),
    };
    let origin = Origin::new(command_line.flags, Environment::of_process());
    match command_line.verb {
        Some(Verb::Manual(verb)) => tell(&verb).into(),
        Some(Verb::CheckConfig { json }) => check_config(origin.load(), json).into(),
        Some(Verb::Status { json }) => inquiry::status(&origin.load(), json).into(),
        Some(Verb::ReportNow) => inquiry::report_now(&origin.load()).into(),
        Some(Verb::Run) | None => match origin.load().checked {
            Ok(settings) => run(settings, origin).into(),
            Err(errors) => {
                // Whoever starts an agent with these again and again has it write to the same file.
                keep_log_within_limit(None);
                // Without a standard error there is nobody to tell; the exit code says it too.
                let _ = settings::print_errors(&errors, false);
                Exit::Configuration.into()
            }
        },
    }
}

/// Completions and manual pages, which no configuration has a say in.
fn tell(verb: &nixfleet_manual::Verb) -> Exit {
    match verb.perform(CommandLine::command(), &MANUAL) {
        Ok(()) => Exit::Done,
        Err(error) if error.is_closed_pipe() => Exit::Done,
        Err(error) => {
            messages::fail(&messages::with_causes(&error));
            Exit::StateDir
        }
    }
}

/// A log that is too large is no reason not to run.
fn keep_log_within_limit(definition: Option<&Path>) {
    if let Err(error) = log_file::keep_within_limit(definition) {
        messages::fail(&messages::with_causes(&error));
    }
}

/// clap's own answer: a text for `--help`, an error otherwise.
fn explain(answer: &clap::Error) -> Exit {
    // Whoever closed the stream does not want to read it.
    let _ = answer.print();
    if answer.use_stderr() { Exit::Usage } else { Exit::Done }
}

fn check_config(outcome: Outcome, as_json: bool) -> Exit {
    let (printed, exit) = match (outcome.checked, outcome.merged) {
        (Err(errors), _) => (settings::print_errors(&errors, as_json), Exit::Configuration),
        (Ok(_), Some(merged)) => (settings::print(&merged, as_json), Exit::Done),
        (Ok(_), None) => (Ok(()), Exit::Done),
    };
    messages::printed(printed, exit)
}

fn run(settings: Settings, origin: Origin) -> Exit {
    let known_tokens = KnownTokens::default();
    logging::begin(&settings.log, known_tokens.clone());
    keep_log_within_limit(settings.definition.as_deref());
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            messages::fail(&format!("cannot set up what the agent runs on: {error}"));
            return Exit::Broken;
        }
    };
    let exit = runtime.block_on(run::run(settings, origin, known_tokens));
    // What is still under way, a name lookup for one, must not hold up the end.
    runtime.shutdown_background();
    exit
}
