//! Putting commands on disk, and the answers to them.

use jiff::Timestamp;
use nixfleet_protocol::{
    journal::{
        atomic::{self, WriteError},
        lock::{Holder, LockError, LockState},
        read::Found,
        records::{
            CommandAccepted, CommandAnswered, FORMAT, Initiator, Refused, Reported, Request,
            SwitchId,
        },
        store::JournalError,
    },
    operation::{InvalidOperation, Operation},
    wire::{
        fields::{CommandId, Text},
        v2::{AnswerOutcome, CommandAnswer},
    },
};

use super::Desk;
use crate::decide::facts::{AnswerText, Arrival, Closing, CommandView, Delivery, Protocol, Taken};

/// Why a command cannot be put on disk.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TakeError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Lock(#[from] LockError),
}

impl Desk {
    /// Puts a command on disk, unless it is there already.
    pub(crate) fn take(
        &mut self,
        arrival: &Arrival,
        at_work: Option<SwitchId>,
    ) -> Result<Taken, TakeError> {
        if arrival.delivery == Delivery::Leased && self.is_known(&arrival.id)? {
            return Ok(Taken::Known);
        }
        match arrival.verb.as_str().parse() {
            Ok(operation) => self.take_operation(operation, arrival, at_work),
            Err(InvalidOperation { .. }) => Ok(Taken::Command(self.take_command(arrival)?)),
        }
    }

    fn is_known(&self, command: &CommandId) -> Result<bool, JournalError> {
        let was_command = match self.journal.command(command).accepted {
            Found::Absent => false,
            Found::Present(_) | Found::Unreadable { .. } | Found::TooNew { .. } => true,
        };
        Ok(was_command || self.journal.switch_of_command(command)?.is_some())
    }

    fn take_operation(
        &mut self,
        operation: Operation,
        arrival: &Arrival,
        at_work: Option<SwitchId>,
    ) -> Result<Taken, TakeError> {
        let request = Request {
            format: FORMAT,
            id: SwitchId::generate(),
            initiator: Initiator::Agent,
            command_id: Some(arrival.id.clone()),
            operation,
            kind: self.switching.command.kind,
            argv: self.switching.arguments(operation),
            cwd: self.repo_dir.clone(),
            requested_at: Timestamp::now(),
            host: self.host.as_str().to_owned(),
        };
        let lock = self.look_at_lock()?;
        // What was seen at the last look may be over by now.
        let at_work = match at_work {
            Some(id) if self.journal.phase(&self.journal.entry(id), &lock)?.is_at_work() => {
                Some(id)
            }
            Some(_) | None => None,
        };
        self.journal.accept(&request)?;
        let busy = self.busy_with(&lock, at_work);
        if let Some(why) = busy.and_then(|busy| why_not_now(&busy, arrival.delivery)) {
            // Handed to nobody, so it needs no lock, and the lock is another's.
            let entry = self.journal.entry(request.id);
            self.closer().close_not_started(&self.journal, &entry, &why)?;
        }
        Ok(Taken::Switch(self.read_switch(request.id, &lock)?))
    }

    /// What is at work. One that does not say who it is, or has its result, holds the lock for a moment only: its wrapper
    /// looks after the agent, and that is waited out.
    fn busy_with(&self, lock: &LockState, at_work: Option<SwitchId>) -> Option<Busy> {
        let is_done = |id| self.journal.directory().switch(id).result().exists();
        match (lock, at_work) {
            (LockState::Held(Some(holder)), _) if !is_done(holder.switch) => {
                Some(Busy { operation: holder.operation, told: held_by(holder) })
            }
            (LockState::Free | LockState::Held(_), Some(switch)) => {
                let request = self.journal.entry(switch).request.present();
                let operation = request.map_or_else(Operation::default, |asked| asked.operation);
                let told = format!("another {operation}, {switch}, is running");
                Some(Busy { operation, told })
            }
            (LockState::Free | LockState::Held(_), None) => None,
        }
    }

    fn take_command(&self, arrival: &Arrival) -> Result<CommandView, JournalError> {
        let verb = arrival.verb.as_str().to_owned();
        self.journal.accept_command(&CommandAccepted {
            format: FORMAT,
            id: arrival.id.clone(),
            verb: verb.clone(),
            accepted_at: Timestamp::now(),
            accepted_by: self.me.clone(),
        })?;
        Ok(CommandView {
            id: arrival.id.clone(),
            verb: Some(verb),
            is_ours: true,
            age: Some(std::time::Duration::ZERO),
            is_answered: false,
        })
    }

    /// Writes an answer down. One that is there already stays.
    pub(crate) fn answer(
        &mut self,
        command: &CommandId,
        answer: &AnswerText,
    ) -> Result<(), WriteError> {
        let answered = CommandAnswered {
            format: FORMAT,
            id: command.clone(),
            answer: CommandAnswer {
                outcome: answer.outcome,
                message: Text::head(&answer.message),
                answered_at: Timestamp::now(),
            },
        };
        let path = self.journal.directory().command(command).answered();
        keep_first(atomic::create_once(&path, &answered))
    }

    /// The answer as it stands in the journal. One that cannot be read is set aside.
    pub(crate) fn answer_to(&mut self, command: &CommandId) -> Option<CommandAnswer> {
        let path = self.journal.directory().command(command).answered();
        let answered = self.journal.command(command).answered;
        if let Some(trouble) = answered.trouble() {
            self.set_aside(&path, &trouble);
        }
        answered.present().map(|answered| answered.answer)
    }

    /// Writes down the dashboard's last word on a command.
    pub(crate) fn mark_command(
        &mut self,
        command: &CommandId,
        closing: &Closing,
        protocol: Protocol,
    ) -> Result<(), WriteError> {
        let directory = self.journal.directory().command(command);
        match closing {
            Closing::Taken => {
                let reported = reported(protocol, false);
                keep_first(atomic::create_once(&directory.reported(), &reported))?;
            }
            Closing::Refused { status, said } => {
                let refused = refused(*status, said);
                keep_first(atomic::create_once(&directory.refused(), &refused))?;
            }
        }
        self.close(command.clone());
        Ok(())
    }

    /// Writes down that a v1 dashboard has heard of a restart: nothing more is to be said about it.
    pub(crate) fn close_restart(&mut self, command: &CommandId) -> Result<(), WriteError> {
        let message = crate::report::RESTARTING.to_owned();
        self.answer(command, &AnswerText { outcome: AnswerOutcome::Succeeded, message })?;
        self.mark_command(command, &Closing::Taken, Protocol::V1)
    }
}

/// What is at work, and the same in words.
struct Busy {
    operation: Operation,
    told: String,
}

/// Why something cannot be started now. What does not activate is soon over, so its end is waited for by the wrapper, as
/// long as the request is fresh. But not where a result closes whatever command is the newest, as on v1: there the first one's
/// would close the second.
fn why_not_now(busy: &Busy, delivery: Delivery) -> Option<String> {
    match delivery {
        Delivery::Leased if !busy.operation.activates() => None,
        Delivery::Leased | Delivery::Once => Some(busy.told.clone()),
    }
}

fn held_by(holder: &Holder) -> String {
    let who = match holder.initiator {
        Initiator::Agent => "the dashboard",
        Initiator::User => "a user",
    };
    format!(
        "another {}, {}, is running: asked for by {who}, pid {}, since {}",
        holder.operation,
        holder.switch,
        holder.process.pid,
        holder.since.strftime("%H:%M:%S UTC")
    )
}

pub(super) fn reported(protocol: Protocol, with_reload: bool) -> Reported {
    Reported {
        format: FORMAT,
        reported_at: Timestamp::now(),
        protocol: protocol.number(),
        with_reload,
    }
}

pub(super) fn refused(status: u16, said: &str) -> Refused {
    Refused {
        format: FORMAT,
        refused_at: Timestamp::now(),
        http_status: status,
        said: said.to_owned(),
    }
}

/// A record that is there already is as good as the one that was to be written.
pub(super) fn keep_first(written: Result<(), WriteError>) -> Result<(), WriteError> {
    match written {
        Ok(()) | Err(WriteError::AlreadyThere { .. }) => Ok(()),
        Err(error @ WriteError::Io { .. }) => Err(error),
    }
}
