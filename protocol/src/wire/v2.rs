//! The superset: what an agent and a dashboard of ours say beyond v1.
//!
//! | call | meaning |
//! |---|---|
//! | `GET /api/hosts/{host}/poll?wait=SECONDS` | answers at once when a command is queued, else after `wait` |
//! | `POST /api/hosts/{host}/commands/{command}/ack` | the agent has the command on disk; it is not sent again |
//! | `PUT /api/hosts/{host}/commands/{command}/answer` | closes a command that is not a switch |
//! | `PUT /api/hosts/{host}/switches/{switch}` | where a switch stands; idempotent by its id; a final one closes its command |
//! | `POST /api/hosts/{host}/switches/{switch}/output?offset=N` | raw output from byte `N`; what the dashboard has is dropped |
//! | `PUT /api/hosts/{host}/healings/{healing}` | a look-after without a switch: the body is the journal's [`Healing`]; idempotent by its id |
//!
//! A command is leased on delivery: it is sent again when its acknowledgement does not come in time, so each may
//! arrive twice and the agent answers the second from its journal. A command closes only by its id.
//!
//! [`Healing`]: crate::journal::records::Healing

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::fields::{CommandId, Text, Token};
use crate::{
    journal::records::{Reload, SwitchId, SwitchResult},
    nix_log::NixPhase,
    operation::{Operation, Steps},
};

/// The longest that a dashboard holds a poll, in seconds.
pub const MAX_POLL_WAIT_SECONDS: u32 = 30;

/// The largest piece of output in one call, in bytes.
pub const MAX_OUTPUT_CHUNK_BYTES: usize = 256 * 1024;

/// How long a command stays leased before it is sent again, in seconds.
pub const LEASE_SECONDS: u32 = 30;

/// The answer to a poll with `wait`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Polled {
    /// The oldest command that nobody has acknowledged and nobody holds a lease on.
    pub command: Option<LeasedCommand>,
    /// A token of the host's own, sent once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_token: Option<Token>,
}

/// A command, lent to the agent until it acknowledges.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeasedCommand {
    /// The command's own id: the same id is the same command, however often it arrives.
    pub id: CommandId,
    /// What to do. A word that the agent does not know is answered as an error.
    pub verb: Text<64>,
    /// When the lease ends, in seconds from now.
    pub lease_seconds: u32,
    /// When the operator queued it, by the dashboard's clock.
    pub queued_at: Timestamp,
}

/// The answer to an acknowledgement. Acknowledging twice is the same as once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledged {
    /// `acknowledged`.
    pub status: String,
}

/// How a command other than a switch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerOutcome {
    /// It did what was asked.
    Succeeded,
    /// It was tried and did not work.
    Failed,
    /// It was not tried: the agent does not know the verb, or it cannot be done now.
    Refused,
}

/// `PUT .../commands/{command}/answer`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandAnswer {
    /// How it ended.
    pub outcome: AnswerOutcome,
    /// What to show the operator.
    pub message: Text<2000>,
    /// When, by the host's clock.
    pub answered_at: Timestamp,
}

/// Where a switch stands, as the dashboard hears it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum SwitchState {
    /// Accepted, and home-manager has not been started yet.
    Accepted,
    /// home-manager runs.
    Running {
        /// When it was started, by the host's clock.
        started_at: Timestamp,
        /// How far it is, where it has several steps.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        steps: Option<Steps>,
        /// What Nix or the activation is doing, as far as it says so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        phase: Option<NixPhase>,
    },
    /// It ended; this is the result, and a later one for the same id changes nothing.
    Finished {
        /// How it ended.
        result: Box<SwitchResult>,
        /// What was done to the agent's job afterwards, as far as it is known when this is sent.
        reload: Option<Box<Reload>>,
    },
}

/// `PUT .../switches/{switch}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwitchReport {
    /// The switch, as in the path.
    pub id: SwitchId,
    /// The command that asked for it; absent when a user did.
    #[serde(default)]
    pub command_id: Option<CommandId>,
    /// What is being done. An agent that knows of switches only does not say.
    #[serde(default)]
    pub operation: Operation,
    /// Who asked.
    pub initiator: crate::journal::records::Initiator,
    /// When it was asked for, by the host's clock.
    pub requested_at: Timestamp,
    /// Where it stands.
    #[serde(flatten)]
    pub state: SwitchState,
}

/// The answer to a [`SwitchReport`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwitchRecorded {
    /// `recorded`.
    pub status: String,
    /// How many bytes of the output the dashboard has.
    pub output_offset: u64,
}

/// The answer to a piece of output, whether it was taken, dropped as known, or refused for leaving a gap (409).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputRecorded {
    /// How many bytes of the output the dashboard has now: where to go on.
    pub output_offset: u64,
}

/// The answer to a healing. The first one with an id counts; a later one gets the same answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealingRecorded {
    /// `recorded`.
    pub status: String,
}
