//! A dashboard process.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    ops::Deref,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rustix::process::Signal;

use super::{
    Trouble,
    folder::write_private,
    operator::{OPERATOR_TOKEN, Operator},
    processes,
    programs::Programs,
};

pub use super::operator::{Host, QueuedCommand, Switch};

/// The token that all agents share at first.
pub const AGENT_TOKEN: &str = "shared-agent-token-for-tests";

/// A running dashboard; ends when dropped. What an operator can ask, it can be asked directly.
#[derive(Debug)]
pub struct Dashboard {
    folder: PathBuf,
    process: Option<Child>,
    operator: Operator,
}

impl Deref for Dashboard {
    type Target = Operator;

    fn deref(&self) -> &Operator {
        &self.operator
    }
}

impl Dashboard {
    /// Starts one on a port of its own.
    pub fn start(folder: &Path) -> Result<Self, Trouble> {
        fs::create_dir_all(folder).map_err(Trouble::file("create", folder))?;
        write_private(&folder.join("agent-token"), AGENT_TOKEN)?;
        write_private(&folder.join("operator-token"), OPERATOR_TOKEN)?;
        let operator = Operator::new("http://127.0.0.1:0")?;
        let mut dashboard = Self { folder: folder.to_owned(), process: None, operator };
        dashboard.go_up()?;
        Ok(dashboard)
    }

    /// Takes it down as a power cut would.
    pub fn kill(&mut self) {
        self.end(Signal::KILL);
    }

    /// Brings it up again, at the same place.
    pub fn go_up(&mut self) -> Result<(), Trouble> {
        let address = self.url().trim_start_matches("http://").to_owned();
        let log = self.folder.join("dashboard.log");
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .map_err(Trouble::file("open", &log))?;
        let mut child = Command::new(Programs::get()?.dashboard())
            .args(["serve", "--listen", &address, "--database"])
            .arg(self.folder.join("dashboard.sqlite"))
            .arg("--agent-token-file")
            .arg(self.folder.join("agent-token"))
            .arg("--operator-token-file")
            .arg(self.folder.join("operator-token"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .map_err(Trouble::run("nixfleet-dashboard"))?;
        let mut first_line = String::new();
        if let Some(stdout) = child.stdout.take() {
            // Not reading on would only matter if it had more to say; it says this one line.
            let read = BufReader::new(stdout).read_line(&mut first_line);
            read.map_err(Trouble::run("nixfleet-dashboard"))?;
        }
        self.process = Some(child);
        let url = first_line.trim().strip_prefix("listening on ").ok_or_else(|| {
            let log = fs::read_to_string(self.folder.join("dashboard.log")).unwrap_or_default();
            Trouble::Said(format!("the dashboard does not listen: {first_line:?} {log}"))
        })?;
        self.operator = Operator::new(url)?;
        Ok(())
    }

    fn end(&mut self, signal: Signal) {
        if let Some(mut child) = self.process.take() {
            processes::signal(child.id(), signal);
            // It was signalled; waiting only collects it.
            let _ = child.wait();
        }
    }
}

impl Drop for Dashboard {
    fn drop(&mut self) {
        self.end(Signal::TERM);
    }
}
