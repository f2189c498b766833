//! What an operator can ask a dashboard.

use std::time::Duration;

use nixfleet_protocol::{
    journal::records::{Reload, SwitchResult},
    nix_log::NixPhase,
};
use serde::Deserialize;

use super::{Trouble, wait};

/// The operator's token.
pub(super) const OPERATOR_TOKEN: &str = "operator-token-for-tests";

/// How long an answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// An operator at a dashboard. Several may ask at the same time, each from a thread of its own.
#[derive(Debug)]
pub struct Operator {
    url: String,
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
    /// How its tests stand.
    pub tests: serde_json::Value,
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
    /// What Nix is doing.
    pub phase: Option<NixPhase>,
    /// The command that asked for it.
    pub command_id: Option<String>,
    /// How it ended.
    pub result: Option<SwitchResult>,
    /// What was done to the agent's job.
    pub reload: Option<Reload>,
}

/// A look-after that no switch was the reason for, as the dashboard lists it.
#[derive(Debug, Clone, Deserialize)]
pub struct DashboardHealing {
    /// Its id.
    pub id: String,
    /// Why.
    pub cause: String,
    /// What came of it.
    pub verdict: String,
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

impl Operator {
    /// An operator who asks the dashboard at `url`.
    pub fn new(url: &str) -> Result<Self, Trouble> {
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
        Ok(Self { url: url.to_owned(), client, runtime })
    }

    /// Where the dashboard listens.
    pub fn url(&self) -> &str {
        &self.url
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
        let url = format!("{}/api/hosts/{host}", self.url);
        let request = self.client.get(url).bearer_auth(OPERATOR_TOKEN);
        self.runtime.block_on(async {
            let response = request.send().await?;
            if response.status() == reqwest::StatusCode::NOT_FOUND {
                return Ok(None);
            }
            Ok(Some(response.error_for_status()?.json().await?))
        })
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

    /// What was healed on a host without a switch, newest first.
    pub fn healings(&self, host: &str) -> Result<Vec<DashboardHealing>, Trouble> {
        #[derive(Deserialize)]
        struct Healings {
            healings: Vec<DashboardHealing>,
        }
        let healings: Healings = self.get(&format!("/api/hosts/{host}/healings"))?;
        Ok(healings.healings)
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
