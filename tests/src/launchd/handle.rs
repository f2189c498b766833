//! Starts and ends a simulated launchd for a test, and talks to it.
//!
//! A sandbox is a folder: `launchd/` is the simulation's own, and in `bin/` a link `launchctl` is
//! made for the programs under test.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use clap::ValueEnum;
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use super::{
    client::{self, ClientError},
    control::Control,
    fault::Fault,
    message::{Request, Response},
    record::{Call, JobRecord, Record, UnknownLine, records},
    server::{CALLS, FAULTS, SOCKET},
    state::SHUTDOWN_GRACE,
};

/// The socket must answer this soon after the start.
const START_LIMIT: Duration = Duration::from_secs(10);
/// The process must be gone this soon after it was told to end.
const STOP_LIMIT: Duration = SHUTDOWN_GRACE.saturating_add(Duration::from_secs(3));
/// Between two looks at a fact that is waited for.
const LOOK: Duration = Duration::from_millis(2);

/// Where the programs of the simulation are.
#[derive(Debug, Clone)]
pub struct Programs {
    /// `launchd-sim`.
    pub launchd: PathBuf,
    /// `launchctl-sim`.
    pub launchctl: PathBuf,
}

/// What kind of Mac, and what kind of session.
#[derive(Debug, Clone)]
pub struct Options {
    /// The programs to run.
    pub programs: Programs,
    /// The major version of macOS.
    pub macos: u32,
    /// The simulated user's uid; the caller's own if `None`.
    pub uid: Option<u32>,
    /// The user's home directory.
    pub home: PathBuf,
    /// `USER` and `LOGNAME` of the jobs; neither is set if `None`.
    pub user: Option<String>,
    /// The user's session.
    pub session: Session,
    /// Further arguments of `launchd-sim`.
    pub arguments: Vec<String>,
}

/// The user's session when launchd starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Session {
    /// Logged in at the screen; nothing was loaded.
    Gui,
    /// Logs in at the screen now: `~/Library/LaunchAgents` is loaded.
    GuiLogin,
    /// No screen session, as over ssh: `user/UID` only.
    Background,
    /// No session at all.
    Absent,
}

impl Options {
    /// macOS 15, logged in at the screen, the caller's uid.
    pub fn new(programs: Programs, home: PathBuf) -> Self {
        Self {
            programs,
            macos: 15,
            uid: None,
            home,
            user: Some("tester".to_owned()),
            session: Session::Gui,
            arguments: Vec::new(),
        }
    }
}

/// Why the simulation could not be used.
#[derive(Debug, thiserror::Error)]
pub enum LaunchdSimError {
    /// A file of the sandbox.
    #[error("cannot {action} {path}")]
    File {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The process ended before it answered.
    #[error("launchd-sim ended at once; see {log}")]
    EndedAtOnce {
        /// What it wrote.
        log: PathBuf,
    },
    /// The process does not answer.
    #[error("launchd-sim did not answer within {START_LIMIT:?}; see {log}")]
    NotReady {
        /// What it wrote.
        log: PathBuf,
    },
    /// A line of the call log is none.
    #[error("cannot understand the call log")]
    Record(#[source] UnknownLine),
    /// A fault cannot be written as JSON.
    #[error("cannot write the faults as JSON")]
    Faults(#[source] serde_json::Error),
    /// launchd could not be asked.
    #[error("cannot ask launchd-sim")]
    Ask(#[source] ClientError),
    /// launchd refused.
    #[error("launchd-sim refused {control:?}: {text}")]
    Refused {
        /// What was wanted.
        control: Control,
        /// Its words.
        text: String,
    },
}

/// A running simulation; it ends, with all its jobs, when this is dropped.
#[derive(Debug)]
pub struct LaunchdSim {
    child: Child,
    sandbox: PathBuf,
}

impl LaunchdSim {
    /// Starts launchd in this sandbox and waits until it answers.
    pub fn start(sandbox: &Path, options: &Options) -> Result<Self, LaunchdSimError> {
        let directory = sandbox.join("launchd");
        fs::create_dir_all(&directory).map_err(file_error("create", &directory))?;
        link_launchctl(sandbox, &options.programs.launchctl)?;
        let log = directory.join("launchd-sim.log");
        let child = spawn(&directory, &log, options)?;
        let mut simulation = Self { child, sandbox: sandbox.to_owned() };
        simulation.wait_until_ready(&log)?;
        Ok(simulation)
    }

    /// The `launchctl` of this sandbox.
    pub fn launchctl(&self) -> PathBuf {
        self.sandbox.join("bin/launchctl")
    }

    /// The process of launchd itself.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything that was logged, oldest first.
    pub fn records(&self) -> Result<Vec<Record>, LaunchdSimError> {
        let path = self.sandbox.join("launchd").join(CALLS);
        let log = fs::read(&path).map_err(file_error("read", &path))?;
        records(&log).map_err(LaunchdSimError::Record)
    }

    /// The calls of `launchctl` that were answered, oldest first.
    pub fn calls(&self) -> Result<Vec<Call>, LaunchdSimError> {
        Ok(self.records()?.into_iter().filter_map(Record::into_call).collect())
    }

    /// What happened to one label, oldest first.
    pub fn job_records(&self, label: &str) -> Result<Vec<JobRecord>, LaunchdSimError> {
        let records = self.records()?.into_iter().filter_map(Record::into_job);
        Ok(records.filter(|record| record.label == label).collect())
    }

    /// Puts these faults in force, all counts at zero.
    pub fn set_faults(&self, faults: &[Fault]) -> Result<(), LaunchdSimError> {
        let path = self.sandbox.join("launchd").join(FAULTS);
        let next = path.with_extension("next");
        let bytes = serde_json::to_vec_pretty(faults).map_err(LaunchdSimError::Faults)?;
        fs::write(&next, bytes).map_err(file_error("write", &next))?;
        fs::rename(&next, &path).map_err(file_error("replace", &path))
    }

    /// Makes something happen, and waits until launchd has taken note.
    pub fn control(&self, control: Control) -> Result<(), LaunchdSimError> {
        let request = Request::Control(control.clone());
        let Response { code, stderr, .. } =
            client::ask(&self.socket(), &request).map_err(LaunchdSimError::Ask)?;
        if code == 0 { Ok(()) } else { Err(LaunchdSimError::Refused { control, text: stderr }) }
    }

    /// Ends launchd and its jobs. State that outlives a reboot stays in the sandbox.
    pub fn stop(self) {
        drop(self);
    }

    fn socket(&self) -> PathBuf {
        self.sandbox.join("launchd").join(SOCKET)
    }

    fn wait_until_ready(&mut self, log: &Path) -> Result<(), LaunchdSimError> {
        let deadline = Instant::now() + START_LIMIT;
        while std::os::unix::net::UnixStream::connect(self.socket()).is_err() {
            if self.has_ended() {
                return Err(LaunchdSimError::EndedAtOnce { log: log.to_owned() });
            }
            if Instant::now() >= deadline {
                return Err(LaunchdSimError::NotReady { log: log.to_owned() });
            }
            thread::sleep(LOOK);
        }
        Ok(())
    }

    fn has_ended(&mut self) -> bool {
        // An error means that there is no such child any more.
        self.child.try_wait().map_or(true, |status| status.is_some())
    }

    fn ends_within(&mut self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while !self.has_ended() {
            if Instant::now() >= deadline {
                return false;
            }
            thread::sleep(LOOK);
        }
        true
    }
}

impl Drop for LaunchdSim {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
            && !self.has_ended()
        {
            // A child not yet collected: the id is its own. It may just have ended.
            let _ = kill_process(pid, Signal::TERM);
        }
        if !self.ends_within(STOP_LIMIT) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

fn spawn(directory: &Path, log: &Path, options: &Options) -> Result<Child, LaunchdSimError> {
    let output = File::create(log).map_err(file_error("create", log))?;
    let errors = output.try_clone().map_err(file_error("open twice", log))?;
    let mut command = Command::new(&options.programs.launchd);
    command.arg("--dir").arg(directory).arg("--home").arg(&options.home);
    command.arg("--macos").arg(options.macos.to_string()).arg("--until-stdin-closes");
    if let Some(uid) = options.uid {
        command.arg("--uid").arg(uid.to_string());
    }
    if let Some(user) = &options.user {
        command.arg("--user").arg(user);
    }
    if let Some(session) = options.session.to_possible_value() {
        command.arg("--session").arg(session.get_name());
    }
    command.args(&options.arguments);
    command
        .stdin(Stdio::piped())
        .stdout(output)
        .stderr(errors)
        .spawn()
        .map_err(file_error("run", &options.programs.launchd))
}

fn link_launchctl(sandbox: &Path, program: &Path) -> Result<(), LaunchdSimError> {
    let folder = sandbox.join("bin");
    fs::create_dir_all(&folder).map_err(file_error("create", &folder))?;
    let link = folder.join("launchctl");
    match symlink(program, &link) {
        // A sandbox whose launchd is started again, as after a reboot.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result.map_err(file_error("link", &link)),
    }
}

fn file_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LaunchdSimError {
    let path = path.to_owned();
    move |source| LaunchdSimError::File { action, path, source }
}
