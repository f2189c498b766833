//! What happens to the agent.

use nixfleet_protocol::{
    journal::records::{HealingId, SwitchId},
    operation::Tests,
    wire::fields::CommandId,
};

use super::facts::{Arrival, Look, Protocol, Serial, Stage, Standing, Surroundings, Taken};
use crate::dashboard_client::Reply;

/// The answer to a registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Welcome {
    pub(crate) protocol: Protocol,
    pub(crate) command: Option<Arrival>,
}

/// Something has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// The time that the core named has come.
    TimeCame,
    /// The machine has slept: the network may be another one.
    Woke,
    /// Somebody at the machine wants all that there is to be told now.
    ReportAsked,
    /// A glance has shown that something is new in the journal.
    JournalChanged,
    /// A registration was answered, or not.
    Registered(Reply<Welcome>),
    /// A poll was.
    Polled(Reply<Option<Arrival>>),
    /// An acknowledgement was.
    Acknowledged { command: CommandId, reply: Reply<()> },
    /// The answer to a command was.
    AnswerSent { command: CommandId, reply: Reply<()> },
    /// The answer to a command cannot be read from the journal.
    NotAnswerable { command: CommandId },
    /// A report was; on v2 it says how much of the output the dashboard has.
    /// And this is how far the switch was.
    Reported { switch: SwitchId, stage: Stage, standing: Standing, reply: Reply<Option<u64>> },
    /// A report could not be made of what the journal says now.
    NotReportable { switch: SwitchId },
    /// A v1 dashboard was told how the tests get on, or not.
    TestsReported { switch: SwitchId, tests: Tests, reply: Reply<()> },
    /// A piece of output was taken, or not; it says where to go on.
    OutputSent { switch: SwitchId, reply: Reply<u64> },
    /// The output cannot be read.
    OutputUnreadable { switch: SwitchId },
    /// The journal was looked at.
    Looked { serial: Serial, look: Look },
    /// The journal could not be looked at.
    LookFailed,
    /// A command is on disk, or could not be put there.
    Taken { serial: Serial, arrival: Arrival, taken: Result<Taken, CannotTake> },
    /// Something was done to a switch in the journal, or could not be.
    SwitchWorked { serial: Serial, switch: SwitchId, is_done: bool },
    /// The dashboard's last word on a switch is on disk, or could not be put there.
    SwitchMarked { serial: Serial, switch: SwitchId, is_done: bool },
    /// A command was answered in the journal, or could not be.
    CommandWorked { serial: Serial, command: CommandId, is_done: bool },
    /// The dashboard's last word on a command is on disk, or could not be put there.
    CommandMarked { serial: Serial, command: CommandId, is_done: bool },
    /// A wrapper could not be started, or ended without having done its work.
    WrapperFailed { switch: SwitchId, how: String },
    /// A wrapper ended.
    WrapperEnded,
    /// `ensure-agent` ended.
    EnsureEnded { switch: SwitchId },
    /// A v1 dashboard was told of the restart, or it was tried for long enough.
    RestartTold,
    /// The report of a healing was taken, or not.
    HealingReported { healing: HealingId, reply: Reply<()> },
    /// The journal does not say any more what a healing was.
    HealingNotReportable { healing: HealingId },
    /// The dashboard's last word on a healing is on disk, or could not be put there.
    HealingMarked { serial: Serial, healing: HealingId, is_done: bool },
    /// The agent has looked around itself.
    LookedAround(Surroundings),
    /// It could not.
    LookAroundFailed,
    /// `ensure-agent` ended, and this agent did not.
    HandOverEnded,
    /// `ensure-watchdog` ended.
    WatchdogMended,
    /// The journal was pruned.
    Pruned,
    /// Something was done whose outcome shows elsewhere.
    Done,
}

/// A command could not be put on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CannotTake;
