//! The real agent, with a home folder of its own.

use std::{
    fs::{self, File},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use nixfleet_protocol::{
    crash_point::{self, CrashPoint},
    journal::{read, records::RunningProgram},
};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::{DEADLINE, eventually, wrapper};

/// The token that the agents of these tests are configured with.
pub(crate) const SHARED_TOKEN: &str = "the-shared-token";

/// A home folder, and what an agent in it is set to.
pub(crate) struct Home {
    pub(crate) folder: TempDir,
    variables: Vec<(String, String)>,
    program: PathBuf,
}

impl Home {
    /// For an agent of this dashboard, with a heartbeat every second and a wrapper that does this.
    pub(crate) fn new(url: &str, switch: &str) -> Self {
        let home = Self {
            folder: tempfile::tempdir().unwrap(),
            variables: Vec::new(),
            program: env!("CARGO_BIN_EXE_nixfleet-agent").into(),
        };
        let program = wrapper::write(home.folder.path(), switch);
        let token_file = home.folder.path().join("token");
        home.write_private("token", SHARED_TOKEN);
        home.with("NIXFLEET_URL", url)
            .with("NIXFLEET_TOKEN_FILE", token_file.to_str().unwrap())
            .with("NIXFLEET_SWITCH", program.to_str().unwrap())
            .with("NIXFLEET_HOSTNAME", "host")
            .with("NIXFLEET_INTERVAL", "1")
            .with("NIXFLEET_ALLOW_INSECURE_HTTP", "true")
    }

    /// With this variable set, or set otherwise.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With the agent started by this path.
    pub(crate) fn started_as(mut self, program: &Path) -> Self {
        program.clone_into(&mut self.program);
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.variables.retain(|(known, _)| known != name);
        self
    }

    pub(crate) fn write_private(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        let mut options = File::options();
        let file = options.write(true).create(true).truncate(true).mode(0o600).open(&path);
        drop(file.unwrap());
        fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join(".local/state/nixfleet")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        // The wrapper of a test is a script, and not every place that builds this has its tools in /usr/bin.
        let inherited = std::env::var("PATH").unwrap_or_default();
        command
            .args(arguments)
            .env_clear()
            .env("PATH", format!("/usr/bin:/bin:{inherited}"))
            .env("HOME", self.folder.path())
            .env(crash_point::FOLDER_VARIABLE, self.folder.path().join("crash-points"))
            .envs(self.variables.iter().cloned())
            .stdin(Stdio::null());
        command
    }

    /// Runs the agent to its end, which is expected to come by itself.
    #[track_caller]
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        let mut command = self.command(arguments);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let pid = Pid::from_child(&child);
        let (sender, ended) = mpsc::channel();
        thread::spawn(move || sender.send(child.wait_with_output().unwrap()));
        ended.recv_timeout(DEADLINE).unwrap_or_else(|_| {
            kill_process(pid, Signal::KILL).unwrap();
            panic!("it runs and does not end: {arguments:?} {:?}", self.variables);
        })
    }

    /// Starts an agent.
    pub(crate) fn start(&self) -> Agent {
        let log = self.folder.path().join("agent.log");
        let file = File::options().append(true).create(true).open(log).unwrap();
        self.start_with(Stdio::from(file))
    }

    /// Starts one whose log goes elsewhere.
    pub(crate) fn start_with(&self, standard_error: Stdio) -> Agent {
        let log = self.folder.path().join("agent.log");
        let mut command = self.command(&[]);
        let child = command.stdout(Stdio::null()).stderr(standard_error).spawn().unwrap();
        Agent { child, log, record: self.state().join("agent.json") }
    }

    /// Has the next process that comes by this point die there.
    pub(crate) fn arm(&self, point: CrashPoint) {
        let folder = self.folder.path().join("crash-points");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(point.as_str()), "").unwrap();
    }

    /// Whether nobody has died there yet.
    pub(crate) fn is_armed(&self, point: CrashPoint) -> bool {
        self.folder.path().join("crash-points").join(point.as_str()).exists()
    }

    /// What the fake wrapper was called with.
    pub(crate) fn wrapper_calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.state().join("wrapper-calls")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// How often a switch was run.
    pub(crate) fn runs(&self) -> usize {
        self.wrapper_calls().iter().filter(|call| call.starts_with("run ")).count()
    }
}

/// A running agent. It is killed at the end of the test if it still runs.
pub(crate) struct Agent {
    child: Child,
    log: PathBuf,
    record: PathBuf,
}

impl Agent {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// What it has written down about itself, if that is by this very agent.
    pub(crate) fn record(&self) -> Option<RunningProgram> {
        read::read::<RunningProgram>(&self.record)
            .present()
            .filter(|record| record.process.pid == self.pid())
    }

    #[track_caller]
    pub(crate) fn wait_until_up(&self) -> RunningProgram {
        eventually("agent.json is there", || self.record())
    }

    #[track_caller]
    pub(crate) fn wait_until_logged(&self, text: &str) {
        eventually(&format!("{text:?} in the log"), || self.log().contains(text).then_some(()));
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid().cast_signed()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        eventually("the agent ends", || self.child.try_wait().unwrap())
    }

    /// Asks it to end; how long that took.
    #[track_caller]
    pub(crate) fn terminate(&mut self) -> (ExitStatus, Duration) {
        let began = Instant::now();
        self.signal(Signal::TERM);
        let status = self.wait();
        (status, began.elapsed())
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// The most memory it has had, in KiB. Linux tells it; elsewhere there is nothing to say.
    pub(crate) fn peak_memory(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
        line.split_ascii_whitespace().nth(1)?.parse().ok()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The file's text, once it is there.
#[track_caller]
pub(crate) fn text_of(path: &Path) -> String {
    eventually(&format!("{} is there", path.display()), || fs::read_to_string(path).ok())
}
