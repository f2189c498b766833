//! What was put right without a switch, and how the dashboard hears of it: one at a time, oldest first. A dashboard of v1
//! has no place for it; then it waits.

use std::{collections::BTreeMap, time::Instant};

use nixfleet_protocol::journal::records::HealingId;

use super::{
    REST_AFTER_FAILURE, State,
    action::{Action, Note},
    facts::{Closing, Protocol},
    reception::Reception,
};
use crate::dashboard_client::{Failure, Reply};

/// A healing that the dashboard has not answered for good.
#[derive(Debug, Default)]
pub(super) struct TrackedHealing {
    is_busy: bool,
    rests_until: Option<Instant>,
    reception: Reception,
    /// The dashboard's last word, until it is on disk.
    closing: Option<Closing>,
}

impl State {
    pub(super) fn take_in_healings(&mut self, open: Vec<HealingId>) {
        let mut known = std::mem::take(&mut self.healings);
        self.healings = open
            .into_iter()
            .map(|id| (id, known.remove(&id).unwrap_or_default()))
            .collect::<BTreeMap<_, _>>();
    }

    pub(super) fn plan_healings(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let Some(protocol) = self.protocol else { return };
        for (healing, tracked) in &mut self.healings {
            if tracked.is_busy || tracked.is_resting(now) {
                continue;
            }
            if let Some(closing) = tracked.closing.clone() {
                tracked.is_busy = true;
                actions.push(Action::MarkHealing { healing: *healing, closing, protocol });
            }
        }
        if protocol != Protocol::V2 || !self.healing.is_free(now) {
            return;
        }
        if let Some(healing) = self.next_healing(now) {
            self.healing.begin();
            actions.push(Action::ReportHealing(healing));
        }
    }

    /// The oldest; but one that the dashboard chokes on lets the others pass after some tries.
    fn next_healing(&self, now: Instant) -> Option<HealingId> {
        self.healings
            .iter()
            .filter(|(_, tracked)| tracked.closing.is_none() && !tracked.is_resting(now))
            .min_by_key(|(id, tracked)| (tracked.reception.rank(), **id))
            .map(|(id, _)| *id)
    }

    pub(super) fn healing_reported(
        &mut self,
        id: HealingId,
        reply: Reply<()>,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        let reply = reply.map_err(|failure| match self.healings.get_mut(&id) {
            Some(tracked) => tracked.reception.fails(failure),
            None => failure,
        });
        let closing = match reply {
            Ok(()) => {
                self.dashboard_is_back();
                Closing::Taken
            }
            Err(Failure::Refused { status, said }) => {
                let note = Note::HealingRefused { healing: id, status, said: said.clone() };
                actions.push(Action::Note(note));
                Closing::Refused { status, said }
            }
            Err(failure) => {
                self.register_soon(&failure, now);
                actions.extend(self.healing.fail(&failure, now).map(Action::Note));
                return;
            }
        };
        actions.extend(self.healing.succeed().map(Action::Note));
        if let Some(tracked) = self.healings.get_mut(&id) {
            tracked.closing = Some(closing);
        }
    }

    /// The journal does not say any more what it was.
    pub(super) fn healing_not_reportable(&mut self, id: HealingId, now: Instant) {
        self.healing.end();
        self.healings.remove(&id);
        self.look_soon(now);
    }

    pub(super) fn healing_marked(
        &mut self,
        id: HealingId,
        is_done: bool,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        if is_done {
            if let Some(TrackedHealing { closing: Some(Closing::Taken), .. }) =
                self.healings.remove(&id)
            {
                actions.push(Action::Note(Note::HealingTaken { healing: id }));
            }
        } else if let Some(tracked) = self.healings.get_mut(&id) {
            tracked.is_busy = false;
            tracked.rests_until = Some(now + REST_AFTER_FAILURE);
        }
    }
}

impl TrackedHealing {
    fn is_resting(&self, now: Instant) -> bool {
        self.rests_until.is_some_and(|until| now < until)
    }
}
