//! A dashboard process, and what an operator can ask it.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use nixfleet_protocol::journal::records::{Reload, SwitchResult};
use rustix::process::Signal;
use serde::Deserialize;

use super::{Trouble, folder::write_private, processes, programs::Programs, wait};

/// The token that all agents share at first.
pub const AGENT_TOKEN: &str = "shared-agent-token-for-tests";

/// The operator's.
const OPERATOR_TOKEN: &str = "operator-token-for-tests";

/// How long an answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// A running dashboard; ends when dropped.
#[derive(Debug)]
pub struct Dashboard {
    folder: PathBuf,
    url: String,
    process: Option<Child>,
    client: reqwest::Client,
    runtime: tokio::runtime::Runtime,
}

/// A host, as the dashboard lists it.
#[derive(Debug, Clone, Deserialize)]
pub struct Host {
    /// Its id.
    pub id: String,
    /// Whether its last heartbeat is young enough.
    pub online: bool,
    /// That heartbeat.
    pub last_seen: Option<jiff::Timestamp>,
}

/// A switch, as the dashboard lists it.
#[derive(Debug, Clone, Deserialize)]
pub struct Switch {
    /// Its id.
    pub id: String,
    /// `accepted`, `running` or `finished`.
    pub state: String,
    /// Who asked.
    pub initiator: String,
    /// The command that asked for it.
    pub command_id: Option<String>,
    /// How it ended.
    pub result: Option<SwitchResult>,
    /// What was done to the agent's job.
    pub reload: Option<Reload>,
}

/// A command, as the dashboard lists it.
#[derive(Debug, Clone, Deserialize)]
pub struct QueuedCommand {
    /// Its id.
    pub id: String,
    /// Where it stands.
    pub status: String,
    /// What the agent or the switch said at its end.
    pub output: Option<String>,
}

impl Dashboard {
    /// Starts one on a port of its own.
    pub fn start(folder: &Path) -> Result<Self, Trouble> {
        fs::create_dir_all(folder).map_err(Trouble::file("create", folder))?;
        write_private(&folder.join("agent-token"), AGENT_TOKEN)?;
        write_private(&folder.join("operator-token"), OPERATOR_TOKEN)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(Trouble::run("an async runtime"))?;
        // No connection is kept: the dashboard may be killed between two questions.
        let client = reqwest::Client::builder()
            .timeout(ANSWER_LIMIT)
            .pool_max_idle_per_host(0)
            .no_proxy()
            .build()?;
        let mut dashboard = Self {
            folder: folder.to_owned(),
            url: "http://127.0.0.1:0".to_owned(),
            process: None,
            client,
            runtime,
        };
        dashboard.go_up()?;
        Ok(dashboard)
    }

    /// Where it listens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Takes it down as a power cut would.
    pub fn kill(&mut self) {
        self.end(Signal::KILL);
    }

    /// Brings it up again, at the same place.
    pub fn go_up(&mut self) -> Result<(), Trouble> {
        let address = self.url.trim_start_matches("http://").to_owned();
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
        url.clone_into(&mut self.url);
        Ok(())
    }

    fn end(&mut self, signal: Signal) {
        if let Some(mut child) = self.process.take() {
            processes::signal(child.id(), signal);
            // It was signalled; waiting only collects it.
            let _ = child.wait();
        }
    }

    /// Queues a command and says its id.
    pub fn command(&self, host: &str, command: &str) -> Result<String, Trouble> {
        #[derive(Deserialize)]
        struct Queued {
            command_id: String,
        }
        let url = format!("{}/api/hosts/{host}/command", self.url);
        let body = serde_json::json!({ "command": command });
        let request = self.client.post(url).bearer_auth(OPERATOR_TOKEN).json(&body);
        let queued: Queued = self.answer(request)?;
        Ok(queued.command_id)
    }

    /// A host, if the dashboard knows it.
    pub fn host(&self, host: &str) -> Result<Option<Host>, Trouble> {
        #[derive(Deserialize)]
        struct Hosts {
            hosts: Vec<Host>,
        }
        let hosts: Hosts = self.get("/api/hosts")?;
        Ok(hosts.hosts.into_iter().find(|known| known.id == host))
    }

    /// All switches of a host, newest first.
    pub fn switches(&self, host: &str) -> Result<Vec<Switch>, Trouble> {
        #[derive(Deserialize)]
        struct Switches {
            switches: Vec<Switch>,
        }
        let switches: Switches = self.get(&format!("/api/hosts/{host}/switches"))?;
        Ok(switches.switches)
    }

    /// All commands of a host, newest first.
    pub fn commands(&self, host: &str) -> Result<Vec<QueuedCommand>, Trouble> {
        #[derive(Deserialize)]
        struct Commands {
            commands: Vec<QueuedCommand>,
        }
        let commands: Commands = self.get(&format!("/api/hosts/{host}/commands"))?;
        Ok(commands.commands)
    }

    /// The output of a switch, as far as the dashboard has it.
    pub fn output(&self, host: &str, switch: &str) -> Result<String, Trouble> {
        let url = format!("{}/api/hosts/{host}/switches/{switch}/output", self.url);
        let request = self.client.get(url).bearer_auth(OPERATOR_TOKEN);
        self.runtime.block_on(async {
            let response = request.send().await?.error_for_status()?;
            Ok(response.text().await?)
        })
    }

    /// Waits until the dashboard has the final result of the switch that this command asked for.
    pub fn wait_for_result(&self, host: &str, command: &str) -> Result<Switch, Trouble> {
        let what = format!("the result of command {command} is in the dashboard");
        wait::until(&what, wait::PATIENCE, || {
            let switches = self.switches(host)?;
            Ok(switches
                .into_iter()
                .find(|switch| switch.command_id.as_deref() == Some(command))
                .filter(|switch| switch.result.is_some()))
        })
    }

    fn get<T: for<'de> Deserialize<'de>>(&self, path: &str) -> Result<T, Trouble> {
        self.answer(self.client.get(format!("{}{path}", self.url)).bearer_auth(OPERATOR_TOKEN))
    }

    fn answer<T: for<'de> Deserialize<'de>>(
        &self,
        request: reqwest::RequestBuilder,
    ) -> Result<T, Trouble> {
        self.runtime.block_on(async {
            let response = request.send().await?;
            let status = response.status();
            let text = response.text().await?;
            serde_json::from_str(&text).map_err(|error| {
                Trouble::Said(format!("the dashboard said {status} {text:?}: {error}"))
            })
        })
    }
}

impl Drop for Dashboard {
    fn drop(&mut self) {
        self.end(Signal::TERM);
    }
}
