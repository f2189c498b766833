//! How the agent and its dashboard get on, for whoever looks into it at the machine. Said when it changes; of a failure that
//! stays the same, only when it is tried again.

use std::time::Instant;

use super::{State, action::Action, facts::Protocol, lane::LaneName};

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failing {
    /// The kind of calls.
    pub(crate) lane: LaneName,
    /// Since when.
    pub(crate) since: Instant,
    /// The HTTP status, where there was an answer.
    pub(crate) http_status: Option<u16>,
    /// The same in words.
    pub(crate) why: String,
    /// When it is tried again.
    pub(crate) next_try: Instant,
}

/// How they get on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Contact {
    /// The protocol, once the dashboard has answered.
    pub(crate) protocol: Option<Protocol>,
    /// What is wrong, if something is.
    pub(crate) failing: Option<Failing>,
}

impl State {
    /// Where several kinds of calls fail, the heartbeat counts most.
    fn contact(&self) -> Contact {
        let failing = self.lanes().into_iter().find_map(super::Lane::failing);
        Contact { protocol: self.protocol, failing: failing.cloned() }
    }

    pub(super) fn plan_contact(&mut self, actions: &mut Vec<Action>) {
        let contact = self.contact();
        if contact != self.noted_contact {
            self.noted_contact = contact.clone();
            actions.push(Action::NoteContact(contact));
        }
    }
}
