//! What was put right without a switch, as the journal says it.

use std::time::Duration;

use nixfleet_protocol::journal::{
    atomic::{self, WriteError},
    read::Found,
    records::{Healing, HealingId},
    store::JournalError,
};

use super::{
    Desk,
    commands::{keep_first, refused, reported},
    look::folder_age,
};
use crate::decide::facts::{Closing, Protocol};

/// A folder without a record is looked at again for so long: its writer is about to write it.
const WRITTEN_WITHIN: Duration = Duration::from_mins(1);

impl Desk {
    /// The healings that the dashboard has not answered for good, oldest first.
    pub(super) fn look_at_healings(&mut self) -> Result<Vec<HealingId>, JournalError> {
        let mut open = Vec::new();
        for id in self.journal.healing_ids()? {
            if self.settled_healings.contains(&id) {
                continue;
            }
            if self.open_healings.contains(&id) || self.is_open(id) {
                open.push(id);
            }
        }
        Ok(open)
    }

    fn is_open(&mut self, id: HealingId) -> bool {
        let entry = self.journal.healing(id);
        if entry.is_closed {
            self.settled_healings.insert(id);
            return false;
        }
        match entry.healing {
            Found::Present(_) => {
                self.open_healings.insert(id);
                true
            }
            Found::Absent => {
                let root = self.journal.directory().healing(id).root().to_owned();
                // A folder from the future is one of a clock that was set back.
                if folder_age(&root).is_some_and(|age| age < WRITTEN_WITHIN) {
                    self.watch.read_too_early();
                }
                false
            }
            broken @ (Found::Unreadable { .. } | Found::TooNew { .. }) => {
                self.give_up(id, &broken);
                false
            }
        }
    }

    fn give_up(&mut self, id: HealingId, broken: &Found<Healing>) {
        let path = self.journal.directory().healing(id).healing();
        self.set_aside(&path, &broken.trouble().unwrap_or_default());
        self.open_healings.remove(&id);
        self.settled_healings.insert(id);
    }

    /// What the dashboard is told; nothing if the journal does not say it any more.
    pub(crate) fn healing(&mut self, id: HealingId) -> Option<Healing> {
        match self.journal.healing(id).healing {
            Found::Present(healing) => Some(healing),
            Found::Absent => {
                self.open_healings.remove(&id);
                None
            }
            broken @ (Found::Unreadable { .. } | Found::TooNew { .. }) => {
                self.give_up(id, &broken);
                None
            }
        }
    }

    /// Writes down the dashboard's last word on a healing.
    pub(crate) fn mark_healing(
        &mut self,
        id: HealingId,
        closing: &Closing,
        protocol: Protocol,
    ) -> Result<(), WriteError> {
        let directory = self.journal.directory().healing(id);
        // One that was pruned meanwhile needs no mark.
        if directory.root().exists() {
            match closing {
                Closing::Taken => {
                    let reported = reported(protocol, true);
                    keep_first(atomic::create_once(&directory.reported(), &reported))?;
                }
                Closing::Refused { status, said } => {
                    let refused = refused(*status, said);
                    keep_first(atomic::create_once(&directory.refused(), &refused))?;
                }
            }
        }
        self.open_healings.remove(&id);
        self.settled_healings.insert(id);
        Ok(())
    }
}
