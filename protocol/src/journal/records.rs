//! What each file of the journal says.
//!
//! Every record carries `format`. A record is read only if its format is known and it makes sense; a result that
//! claims success without exit code 0, for one, is not a result.
//!
//! | file | written by | when |
//! |---|---|---|
//! | [`Request`] | agent, or wrapper for a user | before anything runs |
//! | [`Started`] | wrapper | home-manager's process exists but has not run a line |
//! | [`Progress`] | the child that performs an operation of several steps | at each step |
//! | [`SwitchResult`] | wrapper; whoever recovers, under the switch lock | before any reload |
//! | [`Reload`] | wrapper | the agent's job has been looked after |
//! | [`Reported`], [`Refused`] | agent | the dashboard answered |
//! | [`RunningProgram`] | agent, watchdog | at start; the agent after each heartbeat |
//! | [`Healing`] | wrapper | a job was looked after without a switch |
//! | [`LastGoodAgent`] | wrapper | an agent was seen to work |
//! | [`RestoredDefinition`] | wrapper | just before an earlier definition is put back on disk |
//! | [`Installation`] | `nixfleet-switch install` | wrapper and watchdog are in place |
//! | [`CommandAccepted`], [`CommandAnswered`] | agent | a command other than a switch |

use std::{fmt, path::PathBuf, str::FromStr};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    operation::{Operation, Steps},
    process::ProcessIdentity,
    switch_kind::SwitchKind,
    wire::{fields::CommandId, v2::CommandAnswer},
};

/// The format that this version writes, for every kind of record.
pub const FORMAT: u32 = 1;

/// What all records have in common.
pub trait Record: Serialize + for<'de> Deserialize<'de> {
    /// The record's kind, for messages.
    const KIND: &'static str;

    /// Whether the record makes sense beyond its types; the error says what does not.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

/// A text that is not an id of the journal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an id (a UUID in lower case, with hyphens)")]
pub struct InvalidId(String);

/// A UUID of version 7 with one spelling, so that it can be a directory's name and names sort by time.
macro_rules! journal_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(Uuid);

        impl $name {
            /// A new id, later than all before it on this host.
            pub fn generate() -> Self {
                Self(Uuid::now_v7())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(formatter)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;
            fn from_str(text: &str) -> Result<Self, InvalidId> {
                // Only the one spelling that `Display` gives: an id is also a directory name.
                Uuid::try_parse(text)
                    .map(Self)
                    .ok()
                    .filter(|id| id.to_string() == text)
                    .ok_or_else(|| InvalidId(text.chars().take(80).collect()))
            }
        }
    };
}

journal_id! {
    /// The id of a switch.
    SwitchId
}

journal_id! {
    /// The id of a look-after that no switch was the reason for.
    HealingId
}

/// Who asked for a switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Initiator {
    /// The dashboard, through the agent.
    Agent,
    /// Somebody at the machine.
    User,
}

/// `request.json`: the intent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The record's format.
    pub format: u32,
    /// The switch.
    pub id: SwitchId,
    /// Who asked.
    pub initiator: Initiator,
    /// The dashboard's command, where there is one.
    pub command_id: Option<CommandId>,
    /// What is to be done.
    pub operation: Operation,
    /// What switches on this host.
    pub kind: SwitchKind,
    /// What it gets after `switch`, or after the configured command.
    pub argv: Vec<String>,
    /// Where it is to run.
    pub cwd: PathBuf,
    /// When it was accepted.
    pub requested_at: Timestamp,
    /// The host's name.
    pub host: String,
}

impl Record for Request {
    const KIND: &'static str = "request";
}

/// `started.json`: home-manager's process, before it has run a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// The record's format.
    pub format: u32,
    /// The switch.
    pub id: SwitchId,
    /// home-manager, also the leader of its process group and session.
    pub child: ProcessIdentity,
    /// The wrapper that started it and waits for it.
    pub wrapper: ProcessIdentity,
    /// The boot in which all this is true; after another boot no process of it lives.
    pub boot_id: String,
    /// When.
    pub started_at: Timestamp,
    /// The profile's target before the switch.
    pub generation_before: Option<String>,
}

impl Record for Started {
    const KIND: &'static str = "start record";
}

/// `progress.json`: how far an operation of several steps is. Replaced as it goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The record's format.
    pub format: u32,
    /// The switch.
    pub id: SwitchId,
    /// How far it is.
    #[serde(flatten)]
    pub steps: Steps,
}

impl Record for Progress {
    const KIND: &'static str = "progress record";
}

/// How a switch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// home-manager ran to its end and exited 0.
    Succeeded,
    /// home-manager ended by itself, but not with 0.
    Failed,
    /// It took too long and was ended.
    TimedOut,
    /// Somebody asked for it to be ended.
    Cancelled,
    /// The wrapper was killed and nobody saw how it ended.
    Interrupted,
    /// home-manager never ran.
    NotStarted,
}

impl Outcome {
    /// The word in the journal and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
            Self::Interrupted => "interrupted",
            Self::NotStarted => "not_started",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// Whether the activation ran to its end, seen from the links to the generations.
///
/// The profile is set before the activation, and the link to what is activated last, so when the two differ after a run,
/// the activation was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// Profile and activated generation agree.
    Complete,
    /// They differ.
    Incomplete,
    /// One of them is not there to be compared, or they differ after a switch that has ended well: another one is at work.
    Unknown,
}

impl Activation {
    /// The word in the journal and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Complete => "complete",
            Self::Incomplete => "incomplete",
            Self::Unknown => "unknown",
        }
    }
}

/// `result.json`: the completion marker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwitchResult {
    /// The record's format.
    pub format: u32,
    /// The switch.
    pub id: SwitchId,
    /// How it ended.
    pub outcome: Outcome,
    /// home-manager's exit code, where it exited.
    pub exit_code: Option<i32>,
    /// The signal that ended home-manager, where one did.
    pub signal: Option<i32>,
    /// When home-manager was started, or the request was accepted if it never was.
    pub started_at: Timestamp,
    /// When this was known.
    pub finished_at: Timestamp,
    /// How long home-manager ran, in milliseconds, by a clock that does not jump.
    pub duration_ms: u64,
    /// What was to be done. A dashboard may be told by somebody who knows of switches only, and of one kind only.
    #[serde(default)]
    pub operation: Operation,
    /// What switches on this host.
    #[serde(default)]
    pub kind: SwitchKind,
    /// What it got after `switch`, or after the configured command.
    pub argv: Vec<String>,
    /// Who asked.
    pub initiator: Initiator,
    /// The profile's target before.
    pub generation_before: Option<String>,
    /// The profile's target after.
    pub generation_after: Option<String>,
    /// Whether the activation ran to its end.
    pub activation: Activation,
    /// The size of all output, in bytes.
    pub output_bytes: u64,
    /// The end of the output, at most 8 KiB, without control characters and secrets.
    pub output_tail: String,
    /// The version of the program that wrote this.
    pub wrapper_version: String,
    /// The host's name.
    pub host: String,
    /// What its steps have brought, and which was the last, where it has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<Steps>,
    /// What to know beyond the outcome: why it was not started, what was found after an interruption.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Record for SwitchResult {
    const KIND: &'static str = "result";

    fn check(&self) -> Result<(), String> {
        let ended_well = self.exit_code == Some(0) && self.signal.is_none();
        match (self.outcome, ended_well) {
            (Outcome::Succeeded, false) => Err("it claims success without exit code 0".to_owned()),
            (Outcome::Failed, true) => Err("it claims failure with exit code 0".to_owned()),
            (Outcome::Interrupted | Outcome::NotStarted, _)
                if self.exit_code.is_some() || self.signal.is_some() =>
            {
                Err(format!("it claims `{}` and yet an exit code or signal", self.outcome))
            }
            (
                Outcome::Succeeded
                | Outcome::Failed
                | Outcome::TimedOut
                | Outcome::Cancelled
                | Outcome::Interrupted
                | Outcome::NotStarted,
                _,
            ) => Ok(()),
        }
    }
}

/// Where the agent's job stands after it was looked after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentVerdict {
    /// It ran all along, as it should.
    Healthy,
    /// It was brought back.
    Back,
    /// It is not back, although everything in the plan was tried.
    NotBack,
    /// No agent is installed on this host.
    NotInstalled,
    /// It cannot be started before somebody logs in: there is no GUI session.
    AtNextLogin,
    /// No service manager is in use, so nobody looked.
    Unmanaged,
}

impl AgentVerdict {
    /// The word in the journal and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Back => "back",
            Self::NotBack => "not_back",
            Self::NotInstalled => "not_installed",
            Self::AtNextLogin => "at_next_login",
            Self::Unmanaged => "unmanaged",
        }
    }

    /// Whether a switch that ends so leaves the host as it should be.
    pub const fn is_fine(self) -> bool {
        match self {
            Self::Healthy | Self::Back | Self::NotInstalled | Self::Unmanaged => true,
            Self::NotBack | Self::AtNextLogin => false,
        }
    }
}

/// One step that was taken on the agent's job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadStep {
    /// Milliseconds since the look-after began.
    pub at_ms: u64,
    /// The step's name.
    pub step: String,
    /// The command, where the step ran one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub argv: Vec<String>,
    /// Its exit code; absent when it was ended by its time limit, or when no command ran.
    pub exit_code: Option<i32>,
    /// What it said, shortened.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub said: String,
}

/// `reload.json`: what was done to the agent's job, and whether it is back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reload {
    /// The record's format.
    pub format: u32,
    /// The switch, where one was the reason.
    pub switch: Option<SwitchId>,
    /// Where the agent's job stands.
    pub verdict: AgentVerdict,
    /// The same in words.
    pub explanation: String,
    /// When the look-after began.
    pub began_at: Timestamp,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
    /// The agent's process at the end, where there is one.
    pub agent_pid: Option<u32>,
    /// Every step.
    pub steps: Vec<ReloadStep>,
}

impl Record for Reload {
    const KIND: &'static str = "reload record";
}

/// `reported.json`: the dashboard took it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reported {
    /// The record's format.
    pub format: u32,
    /// When.
    pub reported_at: Timestamp,
    /// The protocol it was said in.
    pub protocol: u32,
    /// Whether the reload was known and went along.
    pub with_reload: bool,
}

impl Record for Reported {
    const KIND: &'static str = "report mark";
}

/// `refused.json`: the dashboard will never take it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// The record's format.
    pub format: u32,
    /// When.
    pub refused_at: Timestamp,
    /// The HTTP status.
    pub http_status: u16,
    /// What the dashboard said, shortened.
    pub said: String,
}

impl Record for Refused {
    const KIND: &'static str = "refusal mark";
}

/// Why a job was looked after although no switch called for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealingCause {
    /// The watchdog has missed the agent.
    AgentMissing,
    /// The watchdog has seen that the agent does not react any more.
    AgentStuck,
    /// The watchdog has seen the agent start again and again.
    AgentCrashing,
    /// The agent has seen that another one, or another config, is installed by now.
    AgentOutdated,
    /// The agent has missed the watchdog.
    WatchdogMissing,
    /// The agent has seen that the watchdog does not react any more.
    WatchdogStuck,
    /// Somebody has asked for it at the machine.
    Asked,
}

impl HealingCause {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::AgentMissing,
        Self::AgentStuck,
        Self::AgentCrashing,
        Self::AgentOutdated,
        Self::WatchdogMissing,
        Self::WatchdogStuck,
        Self::Asked,
    ];

    /// The word in the journal, on the wire and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AgentMissing => "agent_missing",
            Self::AgentStuck => "agent_stuck",
            Self::AgentCrashing => "agent_crashing",
            Self::AgentOutdated => "agent_outdated",
            Self::WatchdogMissing => "watchdog_missing",
            Self::WatchdogStuck => "watchdog_stuck",
            Self::Asked => "asked",
        }
    }
}

/// A word that is no cause of a healing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no cause of a healing")]
pub struct InvalidCause(String);

impl FromStr for HealingCause {
    type Err = InvalidCause;
    fn from_str(text: &str) -> Result<Self, InvalidCause> {
        Self::ALL
            .into_iter()
            .find(|cause| cause.as_str() == text)
            .ok_or_else(|| InvalidCause(text.chars().take(80).collect()))
    }
}

/// `healing.json`: a look-after that no switch was the reason for, and that has changed something or failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Healing {
    /// The record's format.
    pub format: u32,
    /// The healing.
    pub id: HealingId,
    /// Why it was begun.
    pub cause: HealingCause,
    /// How long the one who began it had missed the job's process, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed_for_ms: Option<u64>,
    /// What was done, and what came of it.
    pub reload: Reload,
    /// The host's name.
    pub host: String,
}

impl Record for Healing {
    const KIND: &'static str = "healing";
}

/// `agent.json` and `watchdog.json`: the program that runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningProgram {
    /// The record's format.
    pub format: u32,
    /// Its process.
    pub process: ProcessIdentity,
    /// When it came up.
    pub started_at: Timestamp,
    /// Its version.
    pub version: String,
    /// Its executable, with all links resolved.
    pub exe: PathBuf,
    /// The absolute path under which it was started, links kept; resolving it again tells whether the installed
    /// executable is another one by now.
    pub invoked_as: Option<PathBuf>,
    /// Its config file, where it read one.
    pub config_path: Option<PathBuf>,
    /// The SHA-256 of that file as it was read, in hexadecimal.
    pub config_digest: Option<String>,
    /// The definition of its job on disk, where it knows of one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition_path: Option<PathBuf>,
    /// The SHA-256 of that file when the program came up, in hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition_digest: Option<String>,
    /// The dashboard's last good answer; the agent's only.
    pub last_heartbeat_at: Option<Timestamp>,
    /// How the agent and its dashboard get on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dashboard: Option<DashboardContact>,
}

impl Record for RunningProgram {
    const KIND: &'static str = "record of a running program";
}

/// How the agent and its dashboard get on, for whoever looks into it at the machine.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DashboardContact {
    /// The protocol that the dashboard speaks, once it has answered.
    pub protocol: Option<u32>,
    /// The kind of calls that fail, if the last one did; where several do, the heartbeat before the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing_call: Option<String>,
    /// Since when it fails, if the last call failed.
    pub failing_since: Option<Timestamp>,
    /// The HTTP status of the last failure, where there was an answer at all.
    pub http_status: Option<u16>,
    /// The last failure in words.
    pub failure: Option<String>,
    /// When that is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_try_at: Option<Timestamp>,
    /// How far this host's clock is ahead of the dashboard's, in seconds, by the last answer that said a date.
    pub clock_ahead_seconds: Option<i64>,
}

/// `last-good.json`: the last agent that worked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastGoodAgent {
    /// The record's format.
    pub format: u32,
    /// Its executable, with all links resolved.
    pub exe: PathBuf,
    /// The path under which its job starts it.
    pub invoked_as: Option<PathBuf>,
    /// The SHA-256 of its definition, in hexadecimal.
    pub definition_digest: Option<String>,
    /// Its version.
    pub version: String,
    /// When it was last seen to work.
    pub seen_at: Timestamp,
}

impl Record for LastGoodAgent {
    const KIND: &'static str = "record of the last agent that worked";
}

/// `restored.json`: what going back to the last agent that worked has put in the place of home-manager's own definition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoredDefinition {
    /// The record's format.
    pub format: u32,
    /// Where it was put.
    pub path: PathBuf,
    /// The SHA-256 of what was put there, in hexadecimal: a file with another one is somebody else's.
    pub digest: String,
    /// The same of home-manager's own definition, which is there instead while home-manager switches.
    pub original_digest: Option<String>,
    /// When it was last written.
    pub written_at: Timestamp,
}

impl Record for RestoredDefinition {
    const KIND: &'static str = "record of a definition that was put back";
}

/// `installation.json`: what `nixfleet-switch install` has installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installation {
    /// The record's format.
    pub format: u32,
    /// When.
    pub installed_at: Timestamp,
    /// The version that was installed.
    pub version: String,
    /// The wrapper's stable path.
    pub wrapper: PathBuf,
    /// What the stable path leads to.
    pub leads_to: PathBuf,
    /// The watchdog's label or unit.
    pub watchdog_label: String,
    /// The definition of the watchdog's job on disk.
    pub watchdog_definition: PathBuf,
}

impl Record for Installation {
    const KIND: &'static str = "record of an installation";
}

/// `commands/<id>/accepted.json`: a command other than a switch was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandAccepted {
    /// The record's format.
    pub format: u32,
    /// The command.
    pub id: CommandId,
    /// The verb, as it was sent.
    pub verb: String,
    /// When.
    pub accepted_at: Timestamp,
    /// The agent process that took it.
    pub accepted_by: ProcessIdentity,
}

impl Record for CommandAccepted {
    const KIND: &'static str = "accepted command";
}

/// `commands/<id>/answered.json`: what the dashboard is to be told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandAnswered {
    /// The record's format.
    pub format: u32,
    /// The command.
    pub id: CommandId,
    /// The answer.
    pub answer: CommandAnswer,
}

impl Record for CommandAnswered {
    const KIND: &'static str = "answered command";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time_and_have_one_spelling() {
        let ids: Vec<SwitchId> = (0..100).map(|_| SwitchId::generate()).collect();
        let mut sorted = ids.clone();
        sorted.sort();
        assert_eq!(ids, sorted);
        let text = ids[0].to_string();
        assert_eq!(text.parse::<SwitchId>().unwrap(), ids[0]);
        assert!(text.to_uppercase().parse::<SwitchId>().is_err());
        assert!(format!("{{{text}}}").parse::<SwitchId>().is_err());
        assert!("../x".parse::<SwitchId>().is_err());
    }

    #[test]
    fn a_result_that_contradicts_itself_is_not_a_result() {
        let of = |outcome, exit_code, signal| SwitchResult {
            format: FORMAT,
            id: SwitchId::generate(),
            outcome,
            exit_code,
            signal,
            started_at: Timestamp::UNIX_EPOCH,
            finished_at: Timestamp::UNIX_EPOCH,
            duration_ms: 0,
            operation: Operation::default(),
            kind: SwitchKind::default(),
            argv: Vec::new(),
            initiator: Initiator::User,
            generation_before: None,
            generation_after: None,
            activation: Activation::Unknown,
            output_bytes: 0,
            output_tail: String::new(),
            wrapper_version: "1".to_owned(),
            host: "h".to_owned(),
            steps: None,
            note: None,
        };
        for (outcome, exit_code, signal, sound) in [
            (Outcome::Succeeded, Some(0), None, true),
            (Outcome::Succeeded, Some(1), None, false),
            (Outcome::Succeeded, None, None, false),
            (Outcome::Succeeded, Some(0), Some(9), false),
            (Outcome::Failed, Some(1), None, true),
            (Outcome::Failed, None, Some(9), true),
            (Outcome::Failed, Some(0), None, false),
            (Outcome::TimedOut, None, Some(15), true),
            (Outcome::TimedOut, Some(0), None, true),
            (Outcome::Cancelled, Some(130), None, true),
            (Outcome::Interrupted, None, None, true),
            (Outcome::Interrupted, Some(0), None, false),
            (Outcome::NotStarted, None, None, true),
            (Outcome::NotStarted, None, Some(9), false),
        ] {
            assert_eq!(
                of(outcome, exit_code, signal).check().is_ok(),
                sound,
                "{outcome} {exit_code:?} {signal:?}"
            );
        }
    }
}
