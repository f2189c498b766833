//! One switch, from its request to its result and on to the agent.
//!
//! The order is the point: request, lock, `started.json`, then home-manager; `result.json`, then the agent. Whatever
//! dies between two of these, the journal says how far it came. Where the comments here say home-manager, another kind of
//! switch (`SwitchKind`) goes the same way.
//!
//! - [`turn`]: the lock, and what earlier switches have left.
//! - [`environment`]: what home-manager gets to see.
//! - [`command`]: the words that run it, and who runs them.
//! - [`child`]: home-manager's process, and the gate before it.
//! - [`terminal`], [`pump`]: its output.
//! - [`supervise`], [`stop`]: watching it, and ending it.
//! - [`record`]: the result.
//! - [`detach`], [`awake`]: away from the agent, and a Mac that does not sleep.

mod awake;
pub(crate) mod child;
pub(crate) mod command;
pub(crate) mod detach;
pub(crate) mod environment;
mod pump;
mod record;
mod stop;
mod supervise;
mod terminal;
mod turn;

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs::{File, OpenOptions},
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::OpenOptionsExt as _,
    },
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use jiff::Timestamp;
use nixfleet_protocol::{
    crash_point::{self, CrashPoint},
    journal::{
        atomic,
        lock::{Holder, Lock},
        records::{FORMAT, Initiator, Outcome, Request, Started, SwitchId, SwitchResult},
        recovery::Closer,
        reserve::Reserve,
        result_file,
        store::Journal,
    },
    lifecycle::{FRESH_FOR, Phase},
    operation::Operation,
    output_tail,
    process::{self, ProcessIdentity},
    state_dir::{StateDir, SwitchDir},
};
pub(crate) use turn::Patience;
use turn::TurnError;

use crate::{
    Failure,
    ensure::{self, Wish, original},
    exit,
    messages::{hint, say, warn},
    perform::rollback,
    settings::Settings,
};
use child::Outputs;
use command::SwitchLine;
use supervise::{Happened, Leaves, Reach, Watch, Watched};
use terminal::{KeyReading, Terminal};

/// What the wrapper itself is told on the command line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Options {
    /// Whether to wait for another switch to end.
    pub patience: Patience,
    /// How long home-manager may take; the settings say it if this does not.
    pub timeout: Option<Duration>,
}

/// A switch that somebody typed: `home-manager switch` with the same arguments, or with those of the config if there are
/// none. Or another operation, which has none.
pub(crate) fn for_user(
    settings: &Settings,
    operation: Operation,
    arguments: &[OsString],
    options: Options,
) -> Result<u8, Failure> {
    let journal = Journal::new(StateDir::prepare(&settings.state_dir)?);
    let closer = closer(settings);
    let lock =
        turn::take(&journal, &closer, options.patience, |why| say(&format!("waiting: {why}")))?;
    let arguments = if arguments.is_empty() {
        settings.switching.arguments(operation).into_iter().map(OsString::from).collect()
    } else {
        arguments.to_vec()
    };
    let request = Request {
        format: FORMAT,
        id: SwitchId::generate(),
        initiator: Initiator::User,
        command_id: None,
        operation,
        kind: settings.switching.command.kind,
        argv: shown(&arguments),
        cwd: std::env::current_dir().unwrap_or_else(|_gone| settings.home.clone()),
        requested_at: Timestamp::now(),
        host: closer.host.clone(),
    };
    journal.accept(&request)?;
    crash_point::reached(CrashPoint::WrapperRequested);
    let switch = Switch {
        settings,
        journal: &journal,
        closer: &closer,
        directory: journal.directory().switch(request.id),
        arguments,
        folder: None,
        timeout: options.timeout.unwrap_or(settings.timeout),
        request,
    };
    switch.run(lock)
}

/// A switch that the agent has accepted. Nobody reads the output but the log's readers.
pub(crate) fn for_agent(settings: &Settings, id: SwitchId) -> Result<u8, Failure> {
    let journal = Journal::new(StateDir::prepare(&settings.state_dir)?);
    let closer = closer(settings);
    let entry = journal.entry(id);
    let Some(request) = entry.request.as_present() else {
        return Err(Failure::NoRequest { id, trouble: entry.request.trouble() });
    };
    let age = Timestamp::now().duration_since(request.requested_at);
    let patience = FRESH_FOR.saturating_sub(age.unsigned_abs());
    let lock = turn::take(&journal, &closer, Patience::For(patience), |why| {
        say(&format!("waiting: {why}"));
    })?;
    // Under the lock: nobody else can start it now, and if somebody did before, it shows.
    let entry = journal.entry(id);
    let phase = journal.phase_under_lock(&entry)?;
    if phase != Phase::Accepted {
        return Err(Failure::NotToBeStarted { id, phase: phase.as_str() });
    }
    let switch = Switch {
        settings,
        journal: &journal,
        closer: &closer,
        directory: journal.directory().switch(id),
        arguments: request.argv.iter().map(OsString::from).collect(),
        folder: Some(request.cwd.clone()),
        timeout: settings.timeout,
        request: request.clone(),
    };
    switch.run(lock)
}

/// The arguments as the journal shows them. home-manager gets them as they are, however long.
fn shown(arguments: &[OsString]) -> Vec<String> {
    const MAX_ARGUMENTS: usize = 100;
    const MAX_LENGTH: usize = 300;
    let shorten =
        |argument: &OsString| argument.to_string_lossy().chars().take(MAX_LENGTH).collect();
    arguments.iter().take(MAX_ARGUMENTS).map(shorten).collect()
}

/// What to know for closing a switch that was cut short.
pub(crate) fn closer(settings: &Settings) -> Closer {
    Closer {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        host: settings.host.clone(),
        kind: settings.switching.command.kind,
        links: settings.switching.links.clone(),
        redactor: settings.redactor.clone(),
    }
}

struct Switch<'a> {
    settings: &'a Settings,
    journal: &'a Journal,
    closer: &'a Closer,
    directory: SwitchDir,
    request: Request,
    arguments: Vec<OsString>,
    folder: Option<PathBuf>,
    timeout: Duration,
}

/// How home-manager came to its end, or why it never began.
enum Ran {
    ToItsEnd { watched: Watched, started: Box<Started>, line: SwitchLine },
    Never { why: String },
}

impl Switch<'_> {
    /// Runs the switch under the lock and looks after the agent, whatever came of it.
    fn run(self, mut lock: Lock) -> Result<u8, Failure> {
        let wrapper = ProcessIdentity::current()?;
        lock.name_holder(&Holder {
            process: wrapper.clone(),
            switch: self.request.id,
            initiator: self.request.initiator,
            operation: self.request.operation,
            kind: self.request.kind,
            argv: self.request.argv.clone(),
            since: Timestamp::now(),
        })?;
        crash_point::reached(CrashPoint::WrapperLocked);
        awake::while_this_process_runs(self.settings);
        let reserve = Reserve::take(&self.directory.reserve())
            .map_err(|source| Failure::NoSpace { path: self.directory.reserve(), source })?;
        let outcome = self.home_manager(wrapper).and_then(|ran| self.conclude(ran));
        if outcome.is_err() {
            reserve.give_back();
        }
        if self.request.operation.activates() {
            original::after_switch(self.settings, || {
                outcome.as_ref().is_ok_and(|result| self.has_switched(result))
            });
        }
        // Whatever went wrong, home-manager may have taken the agent's job out.
        let reload = ensure::run(self.settings, &Wish::after_switch(self.request.id));
        crash_point::reached(CrashPoint::WrapperEnsured);
        let written = atomic::create_once(&self.directory.reload(), &reload);
        crash_point::reached(CrashPoint::WrapperReloadWritten);
        lock.release();
        // Nothing is said before the lock is free: nobody may be taking it.
        ensure::announce(&reload);
        if let Err(error) = written {
            warn(&crate::messages::with_causes(&error));
        }
        let result = outcome?;
        announce(&result);
        // Where it cannot be masked it is as it was, and closed to others; a switch that never ran has no log.
        let _ = output_tail::mask_secrets(&self.directory.output_log(), &self.closer.redactor);
        // Too much in the journal harms nothing today; the next switch tries again.
        let _ = self.journal.prune();
        Ok(exit::of_switch(&result, reload.verdict.is_fine()))
    }

    /// Whether home-manager has come to its end and has done what it was to do. A dry run has not.
    fn has_switched(&self, result: &SwitchResult) -> bool {
        let is_dry = |argument: &OsString| argument == "-n" || argument == "--dry-run";
        result.outcome == Outcome::Succeeded
            && !self.arguments.iter().any(is_dry)
            && !environment::build(self.settings).contains_key(OsStr::new("DRY_RUN"))
    }

    /// Writes down what came of home-manager.
    fn conclude(&self, ran: Ran) -> Result<SwitchResult, Failure> {
        let result = match ran {
            Ran::ToItsEnd { watched, started, line } => {
                let result =
                    record::result(&self.request, self.closer, &self.directory, &watched, &started);
                self.with_missing_rule(result, &line)
            }
            Ran::Never { why } => {
                warn(&why);
                record::not_started(&self.request, self.closer, why)
            }
        };
        result_file::write(&self.directory, &result)?;
        crash_point::reached(CrashPoint::WrapperResultWritten);
        Ok(result)
    }

    /// The result, with the sudo rule in its note if it is for want of one that the switch has failed. sudo(8) exits with 1
    /// then.
    fn with_missing_rule(&self, mut result: SwitchResult, line: &SwitchLine) -> SwitchResult {
        if result.outcome == Outcome::Failed && result.exit_code == Some(1) {
            let variables = environment::build(self.settings);
            if let Some(rule) = line.missing_rule(&result.output_tail, &variables) {
                warn(&rule);
                result.note = Some(rule);
            }
        }
        result
    }

    /// What is to be run, or why nothing is.
    fn line(&self, variables: &BTreeMap<OsString, OsString>) -> Result<SwitchLine, String> {
        let (asked, kind) = (self.request.kind, self.settings.switching.command.kind);
        if asked != kind {
            return Err(format!(
                "it was asked for as {asked}, and the config says switch_kind = \"{kind}\" by now; ask again"
            ));
        }
        let may_ask = match self.request.initiator {
            Initiator::Agent => match detach::why_bound_to_agent(self.settings) {
                Some(why) => return Err(why),
                None => false,
            },
            Initiator::User => terminal::is_there(),
        };
        let switch = || {
            command::line(self.settings, variables, &self.arguments, may_ask)
                .map_err(|error| error.to_string())
        };
        let last = match self.request.operation {
            Operation::Switch if !self.lacks_checkout() => return switch(),
            Operation::Switch | Operation::PullSwitch => switch()?,
            Operation::Pull | Operation::Test | Operation::Update => SwitchLine::nothing(),
            Operation::Rollback => {
                let generation = rollback::find(self.settings, self.journal)?;
                command::rollback_line(self.settings, variables, &generation, may_ask)?
            }
            Operation::DryRun => command::build_line(self.settings, variables, &self.arguments)?,
        };
        last.after_steps(self.request.id)
            .map_err(|error| format!("cannot find this program: {error}"))
    }

    /// The switch is to our own checkout, and there is none yet, or none that is whole.
    fn lacks_checkout(&self) -> bool {
        let checkout = self.journal.directory().checkout();
        let is_it = |word: &OsString| {
            let text = word.to_string_lossy();
            text.split('#').next().is_some_and(|flake| Path::new(flake) == checkout)
        };
        self.settings.switching.is_from_checkout
            && !self.journal.directory().has_whole_checkout()
            && self.arguments.iter().any(is_it)
    }

    /// What an activation leaves at work it meant to leave; a step that is over has no such business.
    fn leaves(&self) -> Leaves {
        if self.request.operation.activates() { Leaves::WhatItMeantTo } else { Leaves::Nothing }
    }

    /// Runs home-manager. An error here is one of the journal: home-manager's own failures are results.
    fn home_manager(&self, wrapper: ProcessIdentity) -> Result<Ran, Failure> {
        let variables = environment::build(self.settings);
        let line = match self.line(&variables) {
            Ok(line) => line,
            Err(why) => return Ok(Ran::Never { why }),
        };
        let log = self.create_log()?;
        let watch =
            Watch::begin().map_err(|source| Failure::System { action: "catch signals", source })?;
        let streams = match self.streams(&log) {
            Ok(streams) => streams,
            Err(error) => {
                return Ok(Ran::Never { why: format!("cannot set up the output: {error}") });
            }
        };
        let waiting =
            match child::start(&line.words, &variables, self.folder(&line), streams.for_child) {
                Ok(waiting) => waiting,
                Err(error) => {
                    let folder = self.folder(&line).unwrap_or(Path::new(".")).display();
                    return Ok(Ran::Never {
                        why: format!(
                            "cannot start {} in {folder}: {error}",
                            shown(&line.words).join(" ")
                        ),
                    });
                }
            };
        crash_point::reached(CrashPoint::WrapperChildSpawned);
        let started = self.started(waiting.child.id(), wrapper)?;
        if let Err(error) = atomic::create_once(&self.directory.started(), &started) {
            // Without the record nobody could find this home-manager again: it must not run.
            let _ = waiting.send_away();
            return Err(Failure::Write(error));
        }
        crash_point::reached(CrashPoint::WrapperStarted);
        if self.request.operation.activates() {
            original::before_switch(self.settings);
        }
        self.go(waiting, started, line, streams.ours, watch)
    }

    /// Opens the gate and stays to the end.
    fn go(
        &self,
        waiting: child::Waiting,
        started: Started,
        line: SwitchLine,
        ours: OurStreams,
        watch: Watch,
    ) -> Result<Ran, Failure> {
        let system = |action| move |source| Failure::System { action, source };
        let OurStreams { mut terminal, pumps, stdin } = ours;
        let user_side = terminal.as_ref().and_then(Terminal::user);
        let child = waiting
            .open_gate(stdin.as_fd(), user_side)
            .map_err(system("give the switch its standard input"))?;
        crash_point::reached(CrashPoint::WrapperGateOpened);
        drop(stdin);
        let (reading, reach) = if line.is_under_sudo() {
            (KeyReading::ByRelay, Reach::ThroughSudo)
        } else {
            (KeyReading::ByTerminal, Reach::Direct)
        };
        if let Some(terminal) = &mut terminal {
            terminal.give_up_user_side();
            // home-manager runs: without keys is better than not at all.
            if let Err(error) =
                terminal.pass_input(reading, watch.sender(), || Happened::InterruptKey)
            {
                warn(&format!("the keys cannot be passed on: {error}"));
            }
        }
        let leaves = self.leaves();
        let watched = watch
            .until_the_end(child, &started.child, (reach, leaves), self.timeout, terminal.as_ref())
            .map_err(system("wait for the switch"))?;
        crash_point::reached(CrashPoint::WrapperChildEnded);
        pump::drain(pumps);
        drop(terminal);
        Ok(Ran::ToItsEnd { watched, started: Box::new(started), line })
    }

    /// Where the child starts; nothing for where we are. The folder of the request may be one that a step makes.
    fn folder(&self, line: &SwitchLine) -> Option<&Path> {
        if line.has_steps { Some(self.journal.directory().root()) } else { self.folder.as_deref() }
    }

    fn create_log(&self) -> Result<File, Failure> {
        let path = self.directory.output_log();
        OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&path)
            .map_err(|source| Failure::Log { path, source })
    }

    fn started(&self, pid: u32, wrapper: ProcessIdentity) -> Result<Started, Failure> {
        let child = ProcessIdentity::of(pid)?.ok_or(Failure::ChildGone { pid })?;
        Ok(Started {
            format: FORMAT,
            id: self.request.id,
            child,
            wrapper,
            boot_id: process::boot_id()?,
            started_at: Timestamp::now(),
            generation_before: self.settings.switching.links.read().profile,
        })
    }

    fn streams(&self, log: &File) -> io::Result<Streams> {
        match self.request.initiator {
            Initiator::Agent => Streams::to_log(log),
            Initiator::User => Streams::to_user_and_log(log),
        }
    }
}

/// The streams of a switch: the child's ends, and ours.
struct Streams {
    for_child: Outputs,
    ours: OurStreams,
}

struct OurStreams {
    terminal: Option<Terminal>,
    pumps: Vec<pump::Pump>,
    /// What home-manager gets as its standard input.
    stdin: OwnedFd,
}

impl Streams {
    /// Everything into the log, and nothing to read. No wrapper is needed for this to go on.
    fn to_log(log: &File) -> io::Result<Self> {
        Ok(Self {
            for_child: Outputs {
                stdout: Stdio::from(log.try_clone()?),
                stderr: Stdio::from(log.try_clone()?),
            },
            ours: OurStreams {
                terminal: None,
                pumps: Vec::new(),
                stdin: File::open("/dev/null")?.into(),
            },
        })
    }

    /// What the user has: a terminal of home-manager's own where ours is one, else the streams as they are, each to
    /// where it goes and into the log.
    fn to_user_and_log(log: &File) -> io::Result<Self> {
        use std::io::{IsTerminal as _, stderr, stdin, stdout};
        let terminal = Terminal::open()?;
        let mut pumps = Vec::new();
        let stdout_end = match &terminal {
            Some(terminal) if stdout().is_terminal() => Stdio::from(terminal.user_copy()?),
            Some(_) | None => {
                let (reader, writer) = io::pipe()?;
                pumps.push(pump::start("stdout", reader, log.try_clone()?, own_copy(stdout())?)?);
                Stdio::from(writer)
            }
        };
        let stderr_end = match &terminal {
            Some(terminal) if stderr().is_terminal() => Stdio::from(terminal.user_copy()?),
            Some(_) | None => {
                let (reader, writer) = io::pipe()?;
                pumps.push(pump::start("stderr", reader, log.try_clone()?, own_copy(stderr())?)?);
                Stdio::from(writer)
            }
        };
        let stdin_end = match &terminal {
            Some(terminal) if stdin().is_terminal() => terminal.user_copy()?,
            Some(_) | None => stdin().as_fd().try_clone_to_owned()?,
        };
        if let Some(terminal) = &terminal {
            pumps.push(pump::start(
                "terminal",
                terminal.output()?,
                log.try_clone()?,
                terminal.ours()?,
            )?);
        }
        Ok(Self {
            for_child: Outputs { stdout: stdout_end, stderr: stderr_end },
            ours: OurStreams { terminal, pumps, stdin: stdin_end },
        })
    }
}

/// A stream without the buffer of std's.
fn own_copy(stream: impl AsFd) -> io::Result<File> {
    stream.as_fd().try_clone_to_owned().map(File::from)
}

/// What home-manager itself did not say.
fn announce(result: &SwitchResult) {
    use nixfleet_protocol::journal::records::Activation;
    match result.outcome {
        Outcome::Cancelled => say("cancelled"),
        Outcome::TimedOut => say("took too long and was ended"),
        Outcome::Succeeded | Outcome::Failed | Outcome::Interrupted | Outcome::NotStarted => {}
    }
    if result.activation == Activation::Incomplete {
        warn("the new generation is set, but its activation did not run to its end");
        hint("run `nixfleet-switch` again to complete it");
    }
}

impl From<TurnError> for Failure {
    fn from(error: TurnError) -> Self {
        match error {
            TurnError::Busy { .. } | TurnError::Orphan { .. } => Self::Busy(error.to_string()),
            TurnError::Lock(error) => Self::Lock(error),
            TurnError::Journal(error) => Self::Journal(error),
        }
    }
}
