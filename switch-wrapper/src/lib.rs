//! `nixfleet-switch`: runs `home-manager switch`, keeps its true result, and brings the agent back.
//!
//! The only program that runs home-manager, and the only one that touches the service manager. Beside it lies
//! `nixfleet-watchdog`, which has of all this only the watchdog: `nixfleet-switch watchdog` becomes that program.
//!
//! - [`cli`]: own verbs first, everything else is home-manager's.
//! - [`manual`]: what is said of it all, in `--help` and in manual pages.
//! - [`settings`]: environment over config file over default.
//! - [`switch`]: one switch, from its request to its result.
//! - [`mod@perform`]: the steps of what is more than a switch: pulling, testing, going back.
//! - [`mod@ensure`]: the agent's job, brought to where it should be.
//! - [`install`]: wrapper and watchdog, put in place and taken away.
//! - [`watchdog`]: the job that misses the agent when nobody else does.
//! - [`report`]: `status`, `history`, `logs`.
//! - [`selftest`]: what is relied on, proven on the user's own Mac.
//! - [`gc_root`]: what must not be collected as garbage.
//! - [`doctor`]: what keeps the host from being well.
//! - [`sudo`]: what only root may do.
//! - [`exit`]: the exit codes.
//! - [`messages`]: what is said to people.

mod cli;
mod doctor;
mod ensure;
mod exit;
mod gc_root;
mod install;
mod manual;
mod messages;
mod perform;
mod report;
mod selftest;
mod settings;
mod sudo;
mod switch;
mod watchdog;

use std::{io, path::PathBuf, process::ExitCode};

use nixfleet_protocol::{
    crash_point::{self, CrashPoint},
    journal::{atomic::WriteError, lock::LockError, records::SwitchId, store::JournalError},
    operation::Operation,
    process::AskError,
    state_dir::StateDirError,
};

use cli::{Task, Verb};
use ensure::JobKind;
use settings::{Settings, SettingsError};

/// Why there is no result to exit with.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the configuration cannot be used")]
    Settings(#[from] SettingsError),
    #[error("the state directory cannot be used")]
    StateDir(#[from] StateDirError),
    #[error("{0}")]
    Busy(String),
    #[error("the lock cannot be used")]
    Lock(#[from] LockError),
    #[error("the journal cannot be used")]
    Journal(#[from] JournalError),
    #[error("the journal cannot be written")]
    Write(#[from] WriteError),
    #[error("the system does not answer")]
    Processes(#[from] AskError),
    #[error("cannot keep disk space back for the result at {}; make room on that disk", path.display())]
    NoSpace {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot open the log {}", path.display())]
    Log {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot {action}")]
    System {
        action: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("the process of the switch, {pid}, was gone before it began")]
    ChildGone { pid: u32 },
    #[error("there is no request for switch {id} in the journal{}", trouble.as_ref().map(|trouble| format!(" ({trouble})")).unwrap_or_default())]
    NoRequest { id: SwitchId, trouble: Option<String> },
    #[error("switch {id} is {phase}, so it is not started")]
    NotToBeStarted { id: SwitchId, phase: &'static str },
    #[error(
        "no switch in the journal has an id that begins with {0:?}; `nixfleet-switch history` lists them"
    )]
    NoSuchSwitch(String),
    #[error("several switches have an id that begins with {0:?}; give more of it")]
    SeveralSwitches(String),
    #[error("there has been no switch yet")]
    NoSwitchYet,
    #[error("{verb} is for launchd, and the service manager here is {manager}")]
    NotForThisServiceManager { verb: &'static str, manager: &'static str },
    #[error("the selftest cannot begin")]
    Selftest(#[from] selftest::Trouble),
    #[error("cannot install: {0}")]
    CannotInstall(String),
    #[error("the installation is not complete: {0}; run `nixfleet-switch install` again")]
    Installation(String),
    #[error("cannot write to the standard output")]
    Output(#[source] io::Error),
}

impl Failure {
    const fn exit_code(&self) -> u8 {
        match self {
            Self::Settings(_) | Self::CannotInstall(_) | Self::NotForThisServiceManager { .. } => {
                exit::CONFIGURATION
            }
            Self::Busy(_) => exit::BUSY,
            Self::NoSuchSwitch(_)
            | Self::SeveralSwitches(_)
            | Self::NoSwitchYet
            | Self::NoRequest { .. } => exit::USAGE,
            Self::StateDir(_)
            | Self::Lock(_)
            | Self::Journal(_)
            | Self::Write(_)
            | Self::Processes(_)
            | Self::NoSpace { .. }
            | Self::Log { .. }
            | Self::System { .. }
            | Self::ChildGone { .. }
            | Self::NotToBeStarted { .. }
            | Self::Selftest(_)
            | Self::Installation(_)
            | Self::Output(_) => exit::STATE_DIR,
        }
    }
}

/// `nixfleet-switch`: reads the command line, does what it says, answers with an exit code.
pub fn main() -> ExitCode {
    match cli::parse(selftest::as_called(std::env::args_os())) {
        Ok(task) => answer(perform(task)),
        Err(text) => explain(&text),
    }
}

/// `nixfleet-watchdog`, which `nixfleet-switch watchdog` becomes.
pub fn watchdog() -> ExitCode {
    answer(watchdog::run())
}

fn answer(result: Result<u8, Failure>) -> ExitCode {
    match result {
        Ok(code) => exit::code(code),
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => exit::code(0),
        Err(failure) => {
            messages::fail(&messages::with_causes(&failure));
            exit::code(failure.exit_code())
        }
    }
}

/// clap's own answer: a text for `--help`, an error otherwise.
fn explain(answer: &clap::Error) -> ExitCode {
    // Whoever closed the stream does not want to read it.
    let _ = answer.print();
    exit::code(if answer.use_stderr() { exit::USAGE } else { 0 })
}

fn perform(task: Task) -> Result<u8, Failure> {
    match task {
        Task::Gate(arguments) => Ok(switch::child::wait_at_the_gate(&arguments)),
        Task::Perform { id, last } => perform::perform(id, &last),
        Task::Switch { arguments, options } => {
            switch::for_user(&Settings::load()?, Operation::Switch, &arguments, options)
        }
        Task::Own(Verb::Operate(verb)) => {
            switch::for_user(&Settings::load()?, verb.operation(), &[], verb.options())
        }
        Task::Own(Verb::Run(run)) => run_for_agent(&run),
        Task::Own(Verb::Status(output)) => report::status(&Settings::load()?, output.json),
        Task::Own(Verb::History(history)) => {
            report::history(&Settings::load()?, history.limit, history.output.json)
        }
        Task::Own(Verb::Logs(logs)) => {
            report::logs(&Settings::load()?, logs.id.as_deref(), logs.output.json)
        }
        Task::Own(Verb::EnsureAgent(wish)) => ensure(JobKind::Agent, &wish),
        Task::Own(Verb::Install(wish)) => {
            let how =
                install::How { watches: !wish.no_watchdog, in_activation: wish.in_activation };
            let done = install::install(&Settings::load()?, how)?;
            report_installation(&done, wish.output, wish.in_activation)
        }
        Task::Own(Verb::Uninstall(wish)) => {
            let done = install::uninstall(&Settings::load()?, wish.in_activation)?;
            report_installation(&done, wish.output, wish.in_activation)
        }
        Task::Own(Verb::Watchdog) => watchdog::become_small(),
        Task::Own(Verb::EnsureWatchdog(wish)) => ensure(JobKind::Watchdog, &wish),
        Task::Own(Verb::Doctor(output)) => doctor::run(output.json),
        Task::Own(Verb::Selftest(wish)) => {
            selftest::run(&Settings::load()?, wish.keep, wish.output.json)
        }
        Task::Own(Verb::Manual(verb)) => Ok(tell(&verb)),
        Task::Own(Verb::SelftestAgent(arguments)) => selftest::be_agent(&arguments),
        Task::Own(Verb::SelftestChild(arguments)) => selftest::be_child(&arguments),
        Task::Own(Verb::SelftestHomeManager { arguments }) => {
            Ok(selftest::be_home_manager(&arguments))
        }
    }
}

/// Completions and manual pages. Their errors are not among those of the watchdog, which has to stay small.
fn tell(verb: &nixfleet_manual::Verb) -> u8 {
    match verb.perform(cli::command(), &manual::MANUAL) {
        Ok(()) => 0,
        Err(error) if error.is_closed_pipe() => 0,
        Err(error) => {
            messages::fail(&messages::with_causes(&error));
            exit::STATE_DIR
        }
    }
}

/// Among the many lines of an activation, only what has changed is worth one.
fn report_installation(
    done: &install::Done,
    output: cli::Output,
    in_activation: bool,
) -> Result<u8, Failure> {
    if output.json || !in_activation || done.is_news() {
        report::installation(done, output.json)?;
    }
    Ok(done.exit_code())
}

fn run_for_agent(run: &cli::Run) -> Result<u8, Failure> {
    switch::detach::become_session_leader();
    let settings = Settings::load()?;
    crash_point::reached(CrashPoint::WrapperUp);
    if !run.in_own_scope && switch::detach::must_leave_unit(&settings) {
        let id = run.id.to_string();
        return leave_unit(&settings, &format!("nixfleet-switch-{id}"), &["run", &id]);
    }
    switch::for_agent(&settings, run.id)
}

/// The agent may be the one who asks, and its end is a step on the way: neither that nor a signal for its process group
/// may end us between taking the job out and loading it again.
fn ensure(kind: JobKind, wish: &cli::Ensure) -> Result<u8, Failure> {
    switch::detach::become_session_leader();
    let settings = Settings::load()?;
    if !wish.in_own_scope && switch::detach::must_leave_unit(&settings) {
        let name = format!("nixfleet-ensure-{}", SwitchId::generate());
        let arguments = wish.as_arguments(kind);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        return leave_unit(&settings, &name, &arguments);
    }
    outlast_signals()?;
    report::ensure(&settings, kind, &wish.reason(), wish.output.json)
}

fn outlast_signals() -> Result<(), Failure> {
    switch::detach::outlast_signals()
        .map_err(|source| Failure::System { action: "catch signals", source })
}

/// Goes on in a systemd scope of its own. Inside the agent's unit we would die with the agent: then rather not at all,
/// and said.
fn leave_unit(settings: &Settings, name: &str, arguments: &[&str]) -> Result<u8, Failure> {
    let source = switch::detach::move_to_own_scope(settings, name, arguments);
    Err(Failure::System { action: "move into a systemd scope of its own", source })
}
