//! Looking at what is open in the journal.

use std::{fs, path::Path, time::Duration};

use jiff::Timestamp;
use nixfleet_protocol::{
    journal::{
        lock::{self, LockError, LockState},
        read::{self, Found},
        records::{Initiator, Request, SwitchId, SwitchResult},
        store::{CommandEntry, Entry, JournalError},
    },
    lifecycle::Phase,
    operation::Steps,
    wire::fields::CommandId,
};

use super::Desk;
use crate::decide::facts::{CommandView, Ended, Look, Standing, SwitchView};

/// Why the journal cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LookError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Lock(#[from] LockError),
}

impl Desk {
    /// Everything that is open.
    pub(crate) fn look(&mut self) -> Result<Look, LookError> {
        self.watch.about_to_read();
        let open: Vec<SwitchId> = self
            .journal
            .switch_ids()?
            .into_iter()
            .filter(|id| !self.settled.contains(id))
            .collect();
        let to_read = open.iter().any(|id| !self.complete.contains_key(id));
        // The lock first, the files after it: a wrapper that lets go of it has written all its files before.
        let lock = if to_read { self.look_at_lock()? } else { LockState::Free };
        let mut switches = Vec::with_capacity(open.len());
        for id in open {
            switches.push(match self.complete.get(&id) {
                Some(view) => view.clone(),
                None => self.read_switch(id, &lock)?,
            });
        }
        let commands = self.look_at_commands()?;
        Ok(Look { switches, commands, healings: self.look_at_healings()? })
    }

    pub(super) fn look_at_lock(&self) -> Result<LockState, LockError> {
        lock::look(&self.journal.directory().switch_lock())
    }

    /// Nothing will happen to this switch any more.
    pub(crate) fn settle(&mut self, id: SwitchId) {
        self.complete.remove(&id);
        self.settled.insert(id);
    }

    pub(super) fn read_switch(
        &mut self,
        id: SwitchId,
        lock: &LockState,
    ) -> Result<SwitchView, JournalError> {
        let entry = self.journal.entry(id);
        self.say_unreadable_parts(&entry);
        self.say_foreign(&entry);
        let phase = self.journal.phase(&entry, lock)?;
        let mut view = self.view(&entry, phase);
        if view.phase.is_at_work() {
            view.standing.phase = self.read_on(id);
        } else {
            self.nix_logs.remove(&id);
        }
        match view.phase {
            Phase::Finished { to_ensure: false, to_report: _ } => {
                self.complete.insert(id, view.clone());
            }
            Phase::Finished { to_ensure: true, to_report: _ }
            | Phase::Empty
            | Phase::Accepted
            | Phase::Waiting
            | Phase::Starting
            | Phase::Running
            | Phase::Orphaned
            | Phase::Remains
            | Phase::Interrupted
            | Phase::Ensuring => {}
        }
        Ok(view)
    }

    fn view(&self, entry: &Entry, phase: Phase) -> SwitchView {
        let directory = self.journal.directory().switch(entry.id);
        let request = entry.request.as_present();
        let result = entry.result.as_present();
        SwitchView {
            id: entry.id,
            operation: request
                .map(|request| request.operation)
                .or_else(|| result.map(|result| result.operation))
                .unwrap_or_default(),
            standing: Standing { steps: steps(entry), phase: None },
            initiator: request
                .map(|request| request.initiator)
                .or_else(|| result.map(|result| result.initiator))
                .unwrap_or(Initiator::Agent),
            phase,
            age: match request {
                Some(request) => since(request.requested_at),
                None => folder_age(directory.root()),
            },
            may_start: request.is_some_and(|request| self.may_start(request)),
            ended: result.map(|result| ended(result, entry)),
            is_answered: directory.reported().exists() || directory.refused().exists(),
            output_bytes: size(&directory.output_log()),
        }
    }

    fn say_unreadable_parts(&mut self, entry: &Entry) {
        let directory = self.journal.directory().switch(entry.id);
        for (path, trouble) in [
            (directory.request(), entry.request.trouble()),
            (directory.started(), entry.started.trouble()),
            (directory.result(), entry.result.trouble()),
            (directory.reload(), entry.reload.trouble()),
            (directory.reported(), entry.reported.trouble()),
            (directory.refused(), entry.refused.trouble()),
        ] {
            if let Some(trouble) = trouble {
                self.say_unreadable(&path, &trouble);
            }
        }
    }

    /// Not what an agent of another name has accepted: a journal that was copied from another machine, or is shared with
    /// one, holds what is not to be carried out here. Nor what a user has asked for: the wrapper that wrote that down held the
    /// lock, so once the lock is free it is gone.
    pub(super) fn may_start(&self, request: &Request) -> bool {
        match request.initiator {
            Initiator::Agent => request.host == self.host.as_str(),
            Initiator::User => false,
        }
    }

    fn say_foreign(&mut self, entry: &Entry) {
        let Some(request) = entry.request.as_present() else { return };
        let is_foreign = request.initiator == Initiator::Agent && !self.may_start(request);
        if is_foreign && self.said_foreign.insert(request.host.clone()) {
            tracing::warn!(
                of = request.host, here = %self.host.as_str(), switch = %entry.id,
                "the journal holds a switch that an agent of another name has accepted: this folder was copied, or the host was renamed; it is not started here"
            );
        }
    }

    fn say_unreadable(&mut self, path: &Path, trouble: &str) {
        if self.said_unreadable.insert(path.to_owned()) {
            tracing::warn!(file = %path.display(), trouble, "a file of the journal cannot be read");
        }
    }

    fn look_at_commands(&mut self) -> Result<Vec<CommandView>, JournalError> {
        let mut views = Vec::new();
        for id in self.journal.command_ids()? {
            if self.closed.contains(&id) {
                continue;
            }
            let entry = self.journal.command(&id);
            if entry.is_closed {
                self.closed.insert(id);
            } else {
                views.extend(self.view_command(entry));
            }
        }
        Ok(views)
    }

    /// A command's view; none for one that was never accepted. What cannot be read is set aside: an answer that nobody
    /// can read is no answer.
    fn view_command(&mut self, entry: CommandEntry) -> Option<CommandView> {
        let directory = self.journal.directory().command(&entry.id);
        let is_answered = match (&entry.answered, entry.answered.trouble()) {
            (_, Some(trouble)) => {
                self.set_aside(&directory.answered(), &trouble);
                false
            }
            (found, None) => found.as_present().is_some(),
        };
        if let Some(trouble) = entry.accepted.trouble() {
            self.say_unreadable(&directory.accepted(), &trouble);
        }
        let (verb, is_ours, age) = match &entry.accepted {
            Found::Absent if !is_answered => return None,
            Found::Present(accepted) => (
                Some(accepted.verb.clone()),
                accepted.accepted_by == self.me,
                since(accepted.accepted_at),
            ),
            Found::Absent | Found::Unreadable { .. } | Found::TooNew { .. } => (None, false, None),
        };
        Some(CommandView { id: entry.id, verb, is_ours, age, is_answered })
    }

    pub(super) fn set_aside(&mut self, path: &Path, trouble: &str) {
        match read::set_aside(path) {
            Ok(aside) => tracing::warn!(
                file = %path.display(), now = %aside.display(), trouble,
                "a file of the journal could not be read and was set aside"
            ),
            Err(error) => self.say_unreadable(path, &format!("{trouble}; {error}")),
        }
    }

    /// The dashboard has answered for good.
    pub(super) fn close(&mut self, id: CommandId) {
        self.closed.insert(id);
    }
}

/// How far it is, or was when it ended.
fn steps(entry: &Entry) -> Option<Steps> {
    let at_its_end = entry.result.as_present().and_then(|result| result.steps.clone());
    at_its_end.or_else(|| entry.progress.as_present().map(|progress| progress.steps.clone()))
}

fn ended(result: &SwitchResult, entry: &Entry) -> Ended {
    Ended {
        outcome: result.outcome,
        age: since(result.finished_at).unwrap_or_default(),
        has_reload: !matches!(entry.reload, Found::Absent),
    }
}

/// Time since then; `None` when that lies in the future.
pub(super) fn since(moment: Timestamp) -> Option<Duration> {
    Duration::try_from(Timestamp::now().duration_since(moment)).ok()
}

pub(super) fn folder_age(folder: &Path) -> Option<Duration> {
    fs::metadata(folder).ok()?.modified().ok()?.elapsed().ok()
}

fn size(log: &Path) -> u64 {
    fs::symlink_metadata(log)
        .ok()
        .filter(fs::Metadata::is_file)
        .map_or(0, |metadata| metadata.len())
}
