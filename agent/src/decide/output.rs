//! Sending a switch's output while it runs and after it: from where the dashboard says, to the end of the log.

use std::time::Instant;

use nixfleet_protocol::journal::records::SwitchId;

use super::{
    State,
    action::{Action, Note},
    facts::Protocol,
};
use crate::dashboard_client::{Failure, Reply};

/// So often in a row the dashboard may answer without having got any further.
const MAX_STALLS: u8 = 5;

/// How far the output of one switch has been sent.
#[derive(Debug, Default)]
pub(super) enum OutputStream {
    /// The dashboard has not said yet what it has.
    #[default]
    Waiting,
    /// It has the bytes before `offset`.
    Flowing { offset: u64, stalls: u8 },
    /// It has everything, or does not take it.
    Done,
}

impl OutputStream {
    /// The dashboard has told where it stands.
    pub(super) fn begin_at(&mut self, told: Option<u64>) {
        if let (Self::Waiting, Some(offset)) = (&self, told) {
            *self = Self::Flowing { offset, stalls: 0 };
        }
    }

    pub(super) const fn is_flowing(&self) -> bool {
        match self {
            Self::Flowing { .. } => true,
            Self::Waiting | Self::Done => false,
        }
    }

    pub(super) const fn is_done(&self) -> bool {
        match self {
            Self::Done => true,
            Self::Waiting | Self::Flowing { .. } => false,
        }
    }

    /// Goes on where the dashboard says; `false` if that leads nowhere.
    fn go_on_at(&mut self, told: u64) -> bool {
        match self {
            Self::Flowing { offset, stalls } => {
                *stalls = if told > *offset { 0 } else { *stalls + 1 };
                *offset = told;
                *stalls < MAX_STALLS
            }
            Self::Waiting | Self::Done => true,
        }
    }
}

impl State {
    pub(super) fn plan_output(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.protocol != Some(Protocol::V2) {
            return;
        }
        for tracked in self.switches.values_mut() {
            let OutputStream::Flowing { offset, .. } = tracked.output else { continue };
            if offset < tracked.view.output_bytes {
                if self.output.is_free(now) {
                    self.output.begin();
                    actions.push(Action::SendOutput { switch: tracked.view.id, offset });
                }
            } else if tracked.view.ended.is_some() {
                tracked.output = OutputStream::Done;
            }
        }
    }

    pub(super) fn output_sent(
        &mut self,
        id: SwitchId,
        reply: Reply<u64>,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        match reply {
            Ok(told) => {
                actions.extend(self.output.succeed().map(Action::Note));
                self.dashboard_is_back();
                let goes_on =
                    self.switches.get_mut(&id).is_none_or(|tracked| tracked.output.go_on_at(told));
                if !goes_on {
                    self.give_output_up(id, actions);
                }
            }
            Err(failure @ (Failure::Retry { .. } | Failure::Unauthorized { .. })) => {
                self.register_soon(&failure, now);
                actions.extend(self.output.fail(&failure, now).map(Action::Note));
            }
            Err(Failure::Refused { .. } | Failure::Missing { .. }) => {
                actions.extend(self.output.succeed().map(Action::Note));
                self.give_output_up(id, actions);
            }
        }
    }

    pub(super) fn output_unreadable(&mut self, id: SwitchId, actions: &mut Vec<Action>) {
        self.output.end();
        self.give_output_up(id, actions);
    }

    fn give_output_up(&mut self, id: SwitchId, actions: &mut Vec<Action>) {
        if let Some(tracked) = self.switches.get_mut(&id) {
            tracked.output = OutputStream::Done;
            actions.push(Action::Note(Note::OutputGivenUp { switch: id }));
        }
    }
}
