//! What was seen of one cell. All moments are milliseconds since 1970.

use nixfleet_protocol::journal::records::SwitchResult;

use super::{fault::Unhelpable, truth::Run};

/// Everything that was seen of one cell.
#[derive(Debug, Clone, Default)]
pub struct Observation {
    /// When the switch was asked for.
    pub began: i64,
    /// When the last look was taken.
    pub until: i64,
    /// Every agent that wrote itself down, in the order in which they came up.
    pub agents: Vec<AgentLife>,
    /// When the dashboard heard of the host.
    pub heartbeats: Vec<i64>,
    /// Times that do not count: the machine slept, or no program could help.
    pub excused: Vec<(i64, i64)>,
    /// What was accepted, by the journal.
    pub requests: Vec<Request>,
    /// What the dashboard has.
    pub told: Vec<Told>,
    /// What home-manager did, by its own trace.
    pub runs: Vec<Run>,
    /// How many of these runs had no wrapper.
    pub plain_runs: usize,
    /// Where the dashboard's command stands; `None` if the dashboard did not ask for the switch.
    pub command: Option<Command>,
    /// The wrapper was killed, so that it need not know how home-manager ended.
    pub wrapper_was_killed: bool,
    /// Where no program can help: what that is, and how soon it was said.
    pub unhelpable: Option<Naming>,
    /// The agent that runs is the job's: launchd starts the next one.
    pub is_supervised: bool,
    /// What of the agent that runs is not what is installed, where that is not as it should be.
    pub outdated: Option<String>,
    /// The locks are free.
    pub locks_are_free: bool,
    /// Processes that are left.
    pub left: Vec<String>,
}

/// An agent, from its first record to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AgentLife {
    /// Its process.
    pub pid: u32,
    /// When it came up.
    pub up: i64,
    /// When it was gone.
    pub gone: Option<i64>,
}

/// A switch that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Its id.
    pub id: String,
    /// The dashboard's command.
    pub command: Option<String>,
    /// home-manager's process, once it was written down.
    pub child: Option<u32>,
}

/// A switch, as the dashboard has it.
#[derive(Debug, Clone)]
pub struct Told {
    /// Its id.
    pub id: String,
    /// The command that asked for it.
    pub command: Option<String>,
    /// How it ended.
    pub result: Option<SwitchResult>,
}

/// A command, as the dashboard has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Its id.
    pub id: String,
    /// Its status.
    pub status: String,
}

/// What no program can help was, or was not, said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Naming {
    /// What it is.
    pub why: Unhelpable,
    /// How long it took until it was said.
    pub after_ms: Option<i64>,
}
