//! `launchd-sim`: performs what [`super::state`] decides.
//!
//! One thread owns everything; the others only wait (for a connection, a process, a signal) and
//! send it an `Input`. Files in the directory: `socket`, `calls.jsonl` and `disabled.UID.json`
//! are written here, `faults.json` by the test, `tmp` by the jobs.

mod clock;
mod driver;
mod listener;
mod override_file;
mod paths;
mod process;
mod relatives;

use std::{
    collections::BTreeSet,
    fs, io,
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::mpsc::{self, Sender},
    thread,
    time::Duration,
};

use clap::{Parser, ValueEnum};
use rustix::process::{Pid, Signal};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

use self::{
    driver::Driver,
    process::{JobEnvironment, Processes},
    relatives::Relatives,
};
use super::{
    domain::Domain,
    fault::FaultBook,
    handle::Session,
    message::{Request, Response},
    plist_file::{Links, Rules},
    process_end::ProcessEnd,
    record::RecordLog,
    state::{Launchd, Settings},
};

/// The socket's name in the directory.
pub const SOCKET: &str = "socket";
/// The call log's name.
pub const CALLS: &str = "calls.jsonl";
/// The name of the list of faults.
pub const FAULTS: &str = "faults.json";

/// From this macOS on, plists that are links are passed over at login.
const FIRST_MACOS_WITHOUT_LINKS: u32 = 14;
/// Between a wish to start a job and its start: long enough for a caller to see it waiting.
const SPAWN_DELAY: Duration = Duration::from_millis(5);

/// A simulated launchd for one user.
#[derive(Debug, Parser)]
#[command(name = "launchd-sim", version)]
struct Arguments {
    /// Where the socket, the call log and the rest of the state live.
    #[arg(long)]
    dir: PathBuf,
    /// The major version of macOS to behave like.
    #[arg(long, default_value_t = 15)]
    macos: u32,
    /// Whose launchd this is; by default the uid it runs as.
    #[arg(long)]
    uid: Option<u32>,
    /// The user's home directory; by default `$HOME`.
    #[arg(long, env = "HOME")]
    home: PathBuf,
    /// The user's shell.
    #[arg(long, default_value = "/bin/sh")]
    shell: PathBuf,
    /// The user's name, for `USER` and `LOGNAME`; jobs get neither if it is not given.
    #[arg(long)]
    user: Option<String>,
    /// The user's session when launchd starts.
    #[arg(long, value_enum, default_value_t = Session::Background)]
    session: Session,
    /// The same as `--session gui`.
    #[arg(long, conflicts_with = "session")]
    console: bool,
    /// What `kickstart -k` sends to a running job.
    #[arg(long, value_enum, default_value_t = KickstartSignal::Kill)]
    kickstart_signal: KickstartSignal,
    /// End as soon as standard input is closed, so that a test that dies takes this along.
    #[arg(long)]
    until_stdin_closes: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum KickstartSignal {
    Term,
    Kill,
}

/// What the waiting threads tell the one that acts.
#[derive(Debug)]
enum Input {
    /// Somebody asks for something and waits for the response.
    Asked {
        /// What is asked.
        request: Request,
        /// Where the response goes.
        response: Sender<Response>,
    },
    /// A job's main process ended.
    Exited {
        /// Which process.
        pid: Pid,
        /// How.
        end: ProcessEnd,
    },
    /// End now.
    Shutdown,
}

/// Why `launchd-sim` cannot go on.
#[derive(Debug, thiserror::Error)]
enum ServerError {
    #[error("cannot {action} {path}")]
    File {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("another launchd-sim answers at {path}")]
    AlreadyRunning { path: PathBuf },
    #[error("the override database {path} cannot be understood")]
    Overrides {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("cannot listen for signals")]
    Signals(#[source] io::Error),
    #[error("cannot start the thread {name}")]
    Thread {
        name: &'static str,
        #[source]
        source: io::Error,
    },
}

/// The program.
pub fn main() -> ExitCode {
    if let Some(error) = process::become_held_program() {
        // Nobody is left to tell if standard error is gone.
        let _ = writeln!(io::stderr(), "launchd-sim: {error}");
        return ExitCode::from(process::CANNOT_RUN);
    }
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let text = error_chain(&error);
            // Nobody is left to tell if standard error is gone.
            let _ = writeln!(io::stderr(), "launchd-sim: {text}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), ServerError> {
    leave_the_terminal();
    let (sender, inputs) = mpsc::channel();
    let (uid, home) = (arguments.uid(), arguments.home.clone());
    let temporary = arguments.dir.join("tmp");
    fs::create_dir_all(&temporary).map_err(file_error("create", &temporary))?;
    let session = if arguments.console { Session::Gui } else { arguments.session };
    let overrides = override_file::load(&arguments.dir, uid)?;
    let log_path = arguments.dir.join(CALLS);
    let log = RecordLog::open(&log_path).map_err(file_error("open", &log_path))?;
    let mut driver = Driver::new(driver::Parts {
        launchd: Launchd::new(arguments.settings(), overrides, domains(session, uid)),
        processes: Processes::new(arguments.job_environment(temporary), sender.clone()),
        relatives: Relatives::beside(&arguments.dir),
        log,
        faults: FaultBook::new(arguments.dir.join(FAULTS)),
        directory: arguments.dir.clone(),
        launch_agents: home.join("Library/LaunchAgents"),
        rules: arguments.rules(Links::Followed),
        login_rules: arguments.rules(arguments.links_at_login()),
        macos: arguments.macos,
        uid,
    });
    if session == Session::GuiLogin {
        driver.log_in()?;
    }
    watch_signals(sender.clone())?;
    if arguments.until_stdin_closes {
        watch_stdin(sender.clone())?;
    }
    let socket = listener::listen(&arguments.dir, sender)?;
    let result = driver.run(&inputs);
    // A socket that stays behind is replaced at the next start.
    let _ = fs::remove_file(socket);
    result
}

impl Arguments {
    fn uid(&self) -> u32 {
        self.uid.unwrap_or_else(|| rustix::process::getuid().as_raw())
    }

    fn settings(&self) -> Settings {
        Settings {
            macos: self.macos,
            uid: self.uid(),
            kickstart_signal: match self.kickstart_signal {
                KickstartSignal::Term => Signal::TERM,
                KickstartSignal::Kill => Signal::KILL,
            },
            spawn_delay: SPAWN_DELAY,
        }
    }

    fn job_environment(&self, temporary: PathBuf) -> JobEnvironment {
        JobEnvironment {
            home: self.home.clone(),
            shell: self.shell.clone(),
            temporary,
            user: self.user.clone(),
        }
    }

    /// The uid this runs as stands in for the simulated user's.
    fn rules(&self, links: Links) -> Rules {
        let own = rustix::process::getuid().as_raw();
        Rules { owners: vec![self.uid(), own, 0], links }
    }

    fn links_at_login(&self) -> Links {
        if self.macos >= FIRST_MACOS_WITHOUT_LINKS { Links::Ignored } else { Links::Followed }
    }
}

fn domains(session: Session, uid: u32) -> BTreeSet<Domain> {
    match session {
        Session::Absent => BTreeSet::new(),
        // A login makes its own domain.
        Session::Background | Session::GuiLogin => [Domain::User(uid)].into(),
        Session::Gui => [Domain::User(uid), Domain::Gui(uid)].into(),
    }
}

/// Jobs of launchd have no controlling terminal.
fn leave_the_terminal() {
    // Fails only for the leader of a process group, as when started by hand in a shell: then the
    // terminal stays, which does no harm there.
    let _ = rustix::process::setsid();
}

fn watch_signals(sender: Sender<Input>) -> Result<(), ServerError> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).map_err(ServerError::Signals)?;
    spawn_thread("signals", move || {
        if signals.forever().next().is_some() {
            // The receiver is gone only when the program is ending anyway.
            let _ = sender.send(Input::Shutdown);
        }
    })
}

fn watch_stdin(sender: Sender<Input>) -> Result<(), ServerError> {
    spawn_thread("stdin", move || {
        // Closed or broken: either way nobody holds the other end.
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        let _ = sender.send(Input::Shutdown);
    })
}

fn spawn_thread(
    name: &'static str,
    work: impl FnOnce() + Send + 'static,
) -> Result<(), ServerError> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map(drop)
        .map_err(|source| ServerError::Thread { name, source })
}

fn file_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ServerError {
    let path = path.to_owned();
    move |source| ServerError::File { action, path, source }
}

/// An error and all that caused it, in one line.
fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
