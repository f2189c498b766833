//! What the journal says: what is open, what is broken, what the dashboard was not told.

use std::{
    fs::{self, OpenOptions},
    io::Read as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use nixfleet_protocol::{
    journal::{
        lock::{self, Holder, LockState},
        read::{self, Found},
        records::{Installation, LastGoodAgent, Record, RestoredDefinition, RunningProgram},
        store::{Entry, Journal, JournalError},
    },
    lifecycle::Phase,
    process,
};
use rustix::fs::OFlags;

use crate::{
    doctor::observations::{BrokenFile, JournalView, NewestSwitch, OpenSwitch, SwitchLock, Unsent},
    messages::with_causes,
};

/// The newest switches are read in full; of older ones only whether they are closed.
const READ_IN_FULL: usize = 100;

/// More open switches than these are not looked at: each may take a look at all processes.
const MAX_OPEN: usize = 10;

/// No text in a lock file is longer.
const MAX_HOLDER_BYTES: u64 = 16 * 1024;

/// Reads the journal.
pub(super) fn observe(journal: &Journal) -> JournalView {
    let mut view = JournalView { lock: look_at_lock(journal), ..JournalView::default() };
    view.broken = broken_records(journal);
    let read = [read_switches(journal, &mut view), read_others(journal, &mut view)];
    view.trouble = read.into_iter().find_map(Result::err).map(|error| with_causes(&error));
    view
}

fn read_switches(journal: &Journal, view: &mut JournalView) -> Result<(), JournalError> {
    let ids = journal.switch_ids()?;
    for id in ids.iter().rev().take(READ_IN_FULL) {
        let entry = journal.entry(*id);
        view.broken.extend(broken_of(journal, &entry));
        if view.newest.is_none() {
            view.newest = newest(&entry);
        }
    }
    for id in ids {
        let directory = journal.directory().switch(id);
        let is_closed = directory.reported().exists() || directory.refused().exists();
        if directory.result().exists() && !is_closed {
            view.unsent.results += 1;
            let result = journal.entry(id).result.present();
            view.unsent.note(result.map(|result| result.finished_at));
        }
    }
    let state = match &view.lock {
        SwitchLock::Free | SwitchLock::Stale(_) | SwitchLock::Unusable(_) => LockState::Free,
        SwitchLock::Held(holder) => LockState::Held(Some(holder.clone())),
        SwitchLock::HeldByStranger => LockState::Held(None),
    };
    for entry in journal.unfinished()?.into_iter().rev().take(MAX_OPEN) {
        let phase = journal.phase(&entry, &state)?;
        view.open.extend(is_left(phase).then(|| open(&entry, phase)));
    }
    Ok(())
}

/// Whether nobody is at it. What is at work under its wrapper is no concern.
const fn is_left(phase: Phase) -> bool {
    match phase {
        Phase::Accepted | Phase::Orphaned | Phase::Remains | Phase::Interrupted => true,
        Phase::Empty
        | Phase::Waiting
        | Phase::Starting
        | Phase::Running
        | Phase::Ensuring
        | Phase::Finished { .. } => false,
    }
}

fn open(entry: &Entry, phase: Phase) -> OpenSwitch {
    OpenSwitch {
        id: entry.id,
        phase,
        child: entry.started.as_present().map(|started| started.child.pid),
        since: entry.request.as_present().map(|request| request.requested_at),
    }
}

fn newest(entry: &Entry) -> Option<NewestSwitch> {
    let request = entry.request.as_present()?;
    let boot = process::boot_id().ok();
    Some(NewestSwitch {
        argv: request.argv.clone(),
        cwd: request.cwd.clone(),
        host: request.host.clone(),
        is_of_this_boot: entry.started.as_present().zip(boot).map(|(s, boot)| s.boot_id == boot),
    })
}

fn read_others(journal: &Journal, view: &mut JournalView) -> Result<(), JournalError> {
    for id in journal.healing_ids()? {
        let entry = journal.healing(id);
        view.broken.extend(broken(journal.directory().healing(id).healing(), &entry.healing));
        if !entry.is_closed && !matches!(entry.healing, Found::Absent) {
            view.unsent.healings += 1;
            view.unsent.note(entry.healing.present().map(|healing| healing.reload.began_at));
        }
    }
    for id in journal.command_ids()? {
        let entry = journal.command(&id);
        let directory = journal.directory().command(&id);
        view.broken.extend(broken(directory.accepted(), &entry.accepted));
        view.broken.extend(broken(directory.answered(), &entry.answered));
        if !entry.is_closed && !matches!(entry.answered, Found::Absent) {
            view.unsent.answers += 1;
            view.unsent.note(entry.accepted.present().map(|accepted| accepted.accepted_at));
        }
    }
    Ok(())
}

impl Unsent {
    fn note(&mut self, since: Option<Timestamp>) {
        self.since = [self.since, since].into_iter().flatten().min();
    }
}

fn broken_of(journal: &Journal, entry: &Entry) -> Vec<BrokenFile> {
    let directory = journal.directory().switch(entry.id);
    let files = [
        broken(directory.request(), &entry.request),
        broken(directory.started(), &entry.started),
        broken(directory.result(), &entry.result),
        broken(directory.reload(), &entry.reload),
        broken(directory.reported(), &entry.reported),
        broken(directory.refused(), &entry.refused),
    ];
    files.into_iter().flatten().collect()
}

fn broken_records(journal: &Journal) -> Vec<BrokenFile> {
    let directory = journal.directory();
    let files = [
        broken_at::<RunningProgram>(directory.agent_record()),
        broken_at::<RunningProgram>(directory.watchdog_record()),
        broken_at::<Installation>(directory.installation()),
        broken_at::<LastGoodAgent>(directory.last_good_agent()),
        broken_at::<RestoredDefinition>(directory.restored_definition()),
    ];
    files.into_iter().flatten().collect()
}

fn broken_at<R: Record>(path: PathBuf) -> Option<BrokenFile> {
    let found = read::read::<R>(&path);
    broken(path, &found)
}

fn broken<R>(path: PathBuf, found: &Found<R>) -> Option<BrokenFile> {
    let is_too_new = matches!(found, Found::TooNew { .. });
    found.trouble().map(|why| BrokenFile { path, why, is_too_new })
}

fn look_at_lock(journal: &Journal) -> SwitchLock {
    let path = journal.directory().switch_lock();
    // Opening what is not a file may hang.
    if fs::symlink_metadata(&path).is_ok_and(|metadata| !metadata.is_file()) {
        return SwitchLock::Unusable(format!("{} is not a file", path.display()));
    }
    match lock::look(&path) {
        Ok(LockState::Held(Some(holder))) => SwitchLock::Held(holder),
        Ok(LockState::Held(None)) => SwitchLock::HeldByStranger,
        Ok(LockState::Free) => match named_in(&path) {
            // One that has just been released, or was not released by its living holder.
            Some(holder) if holder.process.is_alive().unwrap_or(true) => SwitchLock::Free,
            Some(holder) => SwitchLock::Stale(Box::new(holder)),
            None => SwitchLock::Free,
        },
        Err(error) => SwitchLock::Unusable(with_causes(&error)),
    }
}

/// Who the lock file names, alive or not.
fn named_in(path: &Path) -> Option<Holder> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
    let mut text = Vec::new();
    file.take(MAX_HOLDER_BYTES).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}
