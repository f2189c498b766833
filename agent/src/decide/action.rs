//! What the agent does.

use nixfleet_protocol::{
    installed::Difference,
    journal::records::{HealingId, SwitchId},
    operation::Tests,
    wire::{fields::CommandId, v2::AnswerOutcome},
};
use rustix::process::Signal;

use super::{
    contact::Contact,
    facts::{AnswerText, Arrival, Closing, Protocol, Stage, WatchdogTrouble},
    lane::LaneName,
};

/// Something to do. Each one that takes time ends with the event of its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Register with the dashboard.
    Register,
    /// Wait for a command.
    Poll,
    /// Say that a command is on disk.
    Acknowledge(CommandId),
    /// Say how a command ended.
    SendAnswer { command: CommandId, protocol: Protocol },
    /// Say where a switch stands.
    Report { switch: SwitchId, stage: Stage, protocol: Protocol },
    /// Tell a v1 dashboard how the host's tests get on.
    ReportTests { switch: SwitchId, tests: Tests },
    /// Send output from this byte on.
    SendOutput { switch: SwitchId, offset: u64 },
    /// Say what a healing was.
    ReportHealing(HealingId),
    /// Write down the dashboard's last word on a healing.
    MarkHealing { healing: HealingId, closing: Closing, protocol: Protocol },
    /// See whether this agent is what is installed, and whether its watchdog is there.
    LookAround,
    /// Have this agent replaced by the one that is installed.
    HandOver,
    /// Have the watchdog's job looked after.
    MendWatchdog(WatchdogTrouble),
    /// Show that the loop still turns.
    ShowLife,
    /// Write down how the agent and the dashboard get on.
    NoteContact(Contact),
    /// Write down the heartbeat.
    NoteHeartbeat,
    /// See whether anything is new in the journal.
    Glance,
    /// Read what is open in the journal.
    Look,
    /// Put a command on disk. A switch that is asked for while this one is at work is closed at once.
    Take { arrival: Arrival, at_work: Option<SwitchId> },
    /// Start a switch's wrapper.
    Start(SwitchId),
    /// Close a switch that nobody else will close, if that is still so under the lock.
    Recover { switch: SwitchId, was_tried: bool, why: Option<String> },
    /// Remove what was never accepted.
    Remove(SwitchId),
    /// Have the agent's job looked after.
    Ensure(SwitchId),
    /// Ask the wrapper of a switch to end it.
    SignalWrapper(SwitchId),
    /// End a home-manager whose wrapper is gone.
    SignalHomeManager { switch: SwitchId, signal: Signal },
    /// Write down the dashboard's last word on a switch.
    MarkSwitch { switch: SwitchId, closing: Closing, protocol: Protocol, with_reload: bool },
    /// Nothing will happen to this switch any more: it need not be read again.
    Settle(SwitchId),
    /// Write down the answer to a command.
    Answer { command: CommandId, answer: AnswerText },
    /// Write down the dashboard's last word on a command.
    MarkCommand { command: CommandId, closing: Closing, protocol: Protocol },
    /// Tell a v1 dashboard of the restart that is about to happen.
    TellRestart(CommandId),
    /// End, so that the service manager starts a new agent.
    Exit,
    /// Prune the journal.
    Prune,
    /// Say something in the log.
    Note(Note),
}

/// Something that an operator may want to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Note {
    /// A kind of call has begun to fail, or fails in a new way.
    Failing { lane: LaneName, why: String },
    /// A kind of call works again.
    Recovered { lane: LaneName },
    /// The dashboard speaks this protocol.
    Speaks(Protocol),
    /// A command has come.
    Received { verb: String },
    /// So many commands have come that the next ones are let in slowly.
    CommandsSlowed,
    /// A command is given up because it cannot be put on disk.
    CommandLost { verb: String },
    /// A report was refused for good.
    Refused { switch: SwitchId, status: u16, said: String },
    /// The result of a switch has reached the dashboard.
    ResultTaken { switch: SwitchId },
    /// A command was answered.
    CommandAnswered { verb: String, outcome: AnswerOutcome, message: String },
    /// The agent's job could not be looked after.
    EnsureGivenUp { switch: SwitchId },
    /// A healing was refused for good.
    HealingRefused { healing: HealingId, status: u16, said: String },
    /// A healing has reached the dashboard.
    HealingTaken { healing: HealingId },
    /// This agent is not what is installed, and gives way.
    Outdated { difference: Difference },
    /// It should have been replaced and was not.
    StillOutdated { difference: Difference },
    /// The config on disk is not one to change over to.
    ConfigUnusable { why: String },
    /// The watchdog is missing, or does not react.
    WatchdogWrong(WatchdogTrouble),
    /// That should have been put right and was not.
    WatchdogStillWrong(WatchdogTrouble),
    /// The dashboard does not take the output of a switch.
    OutputGivenUp { switch: SwitchId },
}
