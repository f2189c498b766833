//! What the core knows of the journal: facts, taken at one moment, without paths and records.

use std::time::{Duration, SystemTime};

use nixfleet_protocol::{
    installed::Difference,
    journal::records::{HealingId, Initiator, Outcome, SwitchId},
    lifecycle::Phase,
    nix_log::NixPhase,
    operation::{Operation, Steps},
    wire::{
        fields::{CommandId, Text},
        v2::AnswerOutcome,
    },
};

/// The number of a job at the journal. What has a lower number than something known already is out of date.
pub(crate) type Serial = u64;

/// Which protocol the dashboard speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// That of existing dashboards.
    V1,
    /// The superset.
    V2,
}

impl Protocol {
    /// The protocol that a registration's answer offers.
    pub(crate) const fn offered(number: Option<u32>) -> Self {
        match number {
            Some(2..) => Self::V2,
            Some(0 | 1) | None => Self::V1,
        }
    }

    /// Its number.
    pub(crate) const fn number(self) -> u32 {
        match self {
            Self::V1 => 1,
            Self::V2 => 2,
        }
    }
}

/// How a command came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// Once; the dashboard has forgotten it, and the id is ours.
    Once,
    /// On loan: the dashboard sends it again until it is acknowledged.
    Leased,
}

/// A command that has come from the dashboard and is not on disk yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Arrival {
    pub(crate) id: CommandId,
    pub(crate) verb: Text<64>,
    pub(crate) delivery: Delivery,
}

/// What an arrival has become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It was here before.
    Known,
    /// A switch.
    Switch(SwitchView),
    /// A command of another kind.
    Command(CommandView),
}

/// One switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SwitchView {
    pub(crate) id: SwitchId,
    /// What is being done.
    pub(crate) operation: Operation,
    /// How far it is.
    pub(crate) standing: Standing,
    pub(crate) initiator: Initiator,
    pub(crate) phase: Phase,
    /// Time since it was accepted; `None` when that lies in the future or cannot be read.
    pub(crate) age: Option<Duration>,
    /// Its request says what to start, and is of this host's agent if it is of an agent at all.
    pub(crate) may_start: bool,
    /// How it ended, once it has.
    pub(crate) ended: Option<Ended>,
    /// The dashboard has answered for good.
    pub(crate) is_answered: bool,
    /// The size of its output.
    pub(crate) output_bytes: u64,
}

/// How far a switch is, as far as it can be told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// The step, where it has several.
    pub(crate) steps: Option<Steps>,
    /// What Nix or the activation is doing.
    pub(crate) phase: Option<NixPhase>,
}

/// The end of a switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) outcome: Outcome,
    /// Time since then; nothing when that lies in the future.
    pub(crate) age: Duration,
    /// It is written down what was done to the agent's job.
    pub(crate) has_reload: bool,
}

/// One command other than a switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CommandView {
    pub(crate) id: CommandId,
    /// What was asked for, if that can be read.
    pub(crate) verb: Option<String>,
    /// This very process took it.
    pub(crate) is_ours: bool,
    /// Time since then; `None` when that lies in the future or cannot be read.
    pub(crate) age: Option<Duration>,
    /// The answer is on disk.
    pub(crate) is_answered: bool,
}

/// A look at everything in the journal that is still open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) switches: Vec<SwitchView>,
    pub(crate) commands: Vec<CommandView>,
    /// Healings that the dashboard has not answered for good.
    pub(crate) healings: Vec<HealingId>,
}

/// What is around the agent, beside its work.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Surroundings {
    /// What of this agent is not what is installed.
    pub(crate) outdated: Option<Outdated>,
    /// Nobody holds the switch lock, as far as it was looked at: that is only of interest for an agent that is outdated.
    pub(crate) is_lock_free: bool,
    /// home-manager is activating a generation, or was killed while it did.
    pub(crate) is_activating: bool,
    /// The watchdog.
    pub(crate) watchdog: WatchdogLook,
}

/// The watchdog, as one look sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum WatchdogLook {
    /// None was installed with `nixfleet-switch install`.
    #[default]
    NotInstalled,
    /// One is installed, and nobody holds its lock.
    Missing,
    /// It holds its lock, and has left this stamp on it.
    Up { stamp: Option<SystemTime> },
}

/// What is wrong with the watchdog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WatchdogTrouble {
    /// It does not run.
    Missing,
    /// It does not react.
    Stuck,
}

/// This agent is not what is installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outdated {
    /// In what.
    pub(crate) difference: Difference,
    /// Which state of what is installed: another number means that it has changed once more.
    pub(crate) number: u64,
    /// Why an agent would not come up with the config as it is on disk.
    pub(crate) flaw: Option<String>,
}

/// What the dashboard is told about a switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// It was accepted.
    Accepted,
    /// home-manager runs.
    Running,
    /// It has ended.
    Final {
        /// And what was done to the agent's job afterwards.
        with_reload: bool,
    },
}

/// An answer to a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AnswerText {
    pub(crate) outcome: AnswerOutcome,
    pub(crate) message: String,
}

/// How the dashboard has answered for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Closing {
    /// It took it.
    Taken,
    /// It will never take it.
    Refused {
        /// The HTTP status.
        status: u16,
        /// What it said.
        said: String,
    },
}
