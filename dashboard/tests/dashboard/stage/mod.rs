//! The stage of these tests: a real dashboard on a port of its own, and a plain HTTP client that shows the exact bytes.

mod http;
pub(crate) mod reports;

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

pub(crate) use self::http::{OpenRequest, Reply, Request};

pub(crate) const AGENT: &str = "shared-agent-token";
pub(crate) const OPERATOR: &str = "operator-token";

/// How long anything may take that is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A dashboard process in a folder of its own; killed when dropped.
pub(crate) struct Dashboard {
    folder: TempDir,
    variables: Vec<(&'static str, String)>,
    process: Option<Child>,
    address: String,
}

impl Dashboard {
    /// One without rate limits: tests call more often than agents.
    pub(crate) fn start() -> Self {
        Self::start_with(&[("NIXFLEET_RATE_LIMITS", "false")])
    }

    pub(crate) fn start_with(variables: &[(&'static str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_private(&folder.path().join("agent-token"), AGENT);
        write_private(&folder.path().join("operator-token"), &format!("{OPERATOR}\n"));
        let variables = variables.iter().map(|(name, value)| (*name, (*value).to_owned()));
        let mut dashboard =
            Self { folder, variables: variables.collect(), process: None, address: String::new() };
        dashboard.go_up();
        dashboard
    }

    /// Starts the process, on a new port.
    pub(crate) fn go_up(&mut self) {
        let mut child = self.command().stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        self.process = Some(child);
        let address = line.trim().strip_prefix("listening on http://");
        address.unwrap_or_else(|| panic!("it said {line:?}")).clone_into(&mut self.address);
    }

    /// The command that starts it.
    pub(crate) fn command(&self) -> Command {
        let mut command = program();
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--database"])
            .arg(self.database())
            .arg("--agent-token-file")
            .arg(self.folder.path().join("agent-token"))
            .arg("--operator-token-file")
            .arg(self.folder.path().join("operator-token"))
            .envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.folder.path().join("fleet.sqlite")
    }

    /// Sets a variable for the next start.
    pub(crate) fn set(&mut self, name: &'static str, value: &str) {
        self.variables.push((name, value.to_owned()));
    }

    /// As a power cut would end it.
    pub(crate) fn kill(&mut self) {
        self.end(Signal::KILL);
    }

    /// As a service manager would end it; says how it ended.
    pub(crate) fn end(&mut self, signal: Signal) -> ExitStatus {
        let mut child = self.process.take().unwrap();
        kill_process(Pid::from_child(&child), signal).unwrap();
        wait_for_end(&mut child)
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> Request {
        Request::new(&self.address, method, path)
    }

    /// A request with the agents' shared token.
    pub(crate) fn agent(&self, method: &str, path: &str) -> Request {
        self.request(method, path).token(AGENT)
    }

    /// A request with the operator's token.
    pub(crate) fn operator(&self, method: &str, path: &str) -> Request {
        self.request(method, path).token(OPERATOR)
    }

    /// Registers a host whose agent speaks v1.
    pub(crate) fn register_v1(&self, host: &str) -> Reply {
        let body = format!(r#"{{"hostname":"{host}","host_type":"macos"}}"#);
        self.agent("POST", &format!("/api/hosts/{host}/register")).json(&body).send()
    }

    /// Registers a host whose agent speaks the superset.
    pub(crate) fn register_v2(&self, host: &str) -> Reply {
        let body = format!(r#"{{"hostname":"{host}","host_type":"macos","protocol":2}}"#);
        self.agent("POST", &format!("/api/hosts/{host}/register")).json(&body).send()
    }

    /// Queues a command; returns its id.
    pub(crate) fn queue(&self, host: &str, command: &str) -> String {
        let body = format!(r#"{{"command":"{command}"}}"#);
        let path = format!("/api/hosts/{host}/command");
        let reply = self.operator("POST", &path).json(&body).send();
        assert_eq!(reply.status, 200, "{}", reply.text());
        let reply = reply.value();
        assert_eq!((&reply["status"], &reply["command"]), (&"queued".into(), &command.into()));
        reply["command_id"].as_str().unwrap().to_owned()
    }

    /// What the operator sees there.
    pub(crate) fn see(&self, path: &str) -> Value {
        let reply = self.operator("GET", path).send();
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
        reply.value()
    }

    /// A host's commands, newest first.
    pub(crate) fn commands(&self, host: &str) -> Vec<Value> {
        let seen = self.see(&format!("/api/hosts/{host}/commands"));
        seen["commands"].as_array().unwrap().clone()
    }
}

impl Drop for Dashboard {
    fn drop(&mut self) {
        if self.process.is_some() {
            self.kill();
        }
    }
}

/// The program, without what the caller's environment says of it.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nixfleet-dashboard"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("NIXFLEET_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null()).stderr(Stdio::null());
    command
}

pub(crate) fn write_private(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// Waits for the end of a process; one that does not end is killed, and the test fails.
pub(crate) fn wait_for_end(child: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("it does not end: {}", child.wait().unwrap());
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// Looks until something is there; the test fails if it never is.
pub(crate) fn wait_until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "still not: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
