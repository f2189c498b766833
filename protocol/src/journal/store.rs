//! The switches of one state directory, as records and as snapshots for the lifecycle.
//!
//! Accepting is here; closing what was cut short is in [`super::recovery`]. Nothing here decides anything.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
    str::FromStr,
};

use super::{
    atomic::{self, WriteError},
    lock::LockState,
    read::{self, Found},
    records::{
        CommandAccepted, CommandAnswered, Healing, HealingId, Progress, Refused, Reload, Reported,
        Request, Started, SwitchId, SwitchResult,
    },
    retention::{self, Kept},
};
use crate::{
    lifecycle::{self, ChildView, LockView, Mark, Phase, Snapshot},
    process::{self, AskError},
    state_dir::StateDir,
    wire::fields::CommandId,
};

/// How a folder is called that is being removed.
const REMOVED_PREFIX: &str = ".removed-";

/// Why the journal cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// A directory of it cannot be used.
    #[error("cannot {action} {}", path.display())]
    Directory {
        /// What was tried.
        action: &'static str,
        /// On which directory.
        path: PathBuf,
        /// What the file system said.
        #[source]
        source: io::Error,
    },
    /// A record cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The system does not tell which processes run.
    #[error(transparent)]
    Processes(#[from] AskError),
}

/// All that the journal says about one switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The switch.
    pub id: SwitchId,
    /// The intent.
    pub request: Found<Request>,
    /// home-manager's process.
    pub started: Found<Started>,
    /// How far it is, where it has several steps.
    pub progress: Found<Progress>,
    /// How it ended.
    pub result: Found<SwitchResult>,
    /// What was done to the agent's job.
    pub reload: Found<Reload>,
    /// The dashboard took it.
    pub reported: Found<Reported>,
    /// The dashboard will never take it.
    pub refused: Found<Refused>,
}

/// All that the journal says about one command other than a switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandEntry {
    /// The command.
    pub id: CommandId,
    /// It was taken.
    pub accepted: Found<CommandAccepted>,
    /// What the dashboard is to be told.
    pub answered: Found<CommandAnswered>,
    /// The dashboard has answered for good.
    pub is_closed: bool,
}

/// All that the journal says about one look-after that no switch was the reason for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealingEntry {
    /// The healing.
    pub id: HealingId,
    /// What was done.
    pub healing: Found<Healing>,
    /// The dashboard has answered for good.
    pub is_closed: bool,
}

/// The journal of one state directory.
#[derive(Debug, Clone)]
pub struct Journal {
    directory: StateDir,
}

impl Journal {
    /// The journal in this directory.
    pub const fn new(directory: StateDir) -> Self {
        Self { directory }
    }

    /// The directory.
    pub const fn directory(&self) -> &StateDir {
        &self.directory
    }

    /// All switches, oldest first. Names that are no switch ids are passed over.
    pub fn switch_ids(&self) -> Result<Vec<SwitchId>, JournalError> {
        names_in(&self.directory.switches())
    }

    /// The switches that have no result yet, oldest first. Of the others, however many, nothing is read.
    pub fn unfinished(&self) -> Result<Vec<Entry>, JournalError> {
        let is_open = |id: &SwitchId| !self.directory.switch(*id).result().exists();
        Ok(self.switch_ids()?.into_iter().filter(is_open).map(|id| self.entry(id)).collect())
    }

    /// All commands other than switches, in no particular order.
    pub fn command_ids(&self) -> Result<Vec<CommandId>, JournalError> {
        names_in(&self.directory.commands())
    }

    /// What the journal says about a switch.
    pub fn entry(&self, id: SwitchId) -> Entry {
        let directory = self.directory.switch(id);
        Entry {
            id,
            request: read::read(&directory.request()),
            started: read::read(&directory.started()),
            progress: read::read(&directory.progress()),
            result: read::read(&directory.result()),
            reload: read::read(&directory.reload()),
            reported: read::read(&directory.reported()),
            refused: read::read(&directory.refused()),
        }
    }

    /// What the journal says about a command other than a switch.
    pub fn command(&self, id: &CommandId) -> CommandEntry {
        let directory = self.directory.command(id);
        CommandEntry {
            id: id.clone(),
            accepted: read::read(&directory.accepted()),
            answered: read::read(&directory.answered()),
            is_closed: directory.reported().exists() || directory.refused().exists(),
        }
    }

    /// Where a switch stands, given who holds the switch lock.
    pub fn phase(&self, entry: &Entry, lock: &LockState) -> Result<Phase, JournalError> {
        Ok(lifecycle::phase(self.snapshot(entry, lock_view(lock, entry.id))?))
    }

    /// As [`Self::phase`], for the one who holds the switch lock: to them it is free.
    pub fn phase_under_lock(&self, entry: &Entry) -> Result<Phase, JournalError> {
        Ok(lifecycle::phase(self.snapshot(entry, LockView::Free)?))
    }

    fn snapshot(&self, entry: &Entry, lock: LockView) -> Result<Snapshot, JournalError> {
        let directory = self.directory.switch(entry.id);
        Ok(Snapshot {
            request: mark(&entry.request),
            started: mark(&entry.started),
            result: mark(&entry.result),
            reload: mark(&entry.reload),
            is_answered: directory.reported().exists() || directory.refused().exists(),
            lock,
            child: if needs_child(entry, lock) { child_of(entry)? } else { ChildView::Gone },
        })
    }

    /// Writes the intent down. The request's directory is made here.
    pub fn accept(&self, request: &Request) -> Result<(), JournalError> {
        let directory = self.directory.switch(request.id);
        make_directory(directory.root())?;
        Ok(atomic::create_once(&directory.request(), request)?)
    }

    /// Writes down that a command other than a switch was taken. Taking it again changes nothing.
    pub fn accept_command(&self, accepted: &CommandAccepted) -> Result<(), JournalError> {
        let directory = self.directory.command(&accepted.id);
        make_directory(directory.root())?;
        match atomic::create_once(&directory.accepted(), accepted) {
            Ok(()) | Err(WriteError::AlreadyThere { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// All look-afters that no switch was the reason for, oldest first.
    pub fn healing_ids(&self) -> Result<Vec<HealingId>, JournalError> {
        names_in(&self.directory.healings())
    }

    /// What the journal says about one of them.
    pub fn healing(&self, id: HealingId) -> HealingEntry {
        let directory = self.directory.healing(id);
        HealingEntry {
            id,
            healing: read::read(&directory.healing()),
            is_closed: directory.reported().exists() || directory.refused().exists(),
        }
    }

    /// Writes down a look-after that no switch was the reason for.
    pub fn record_healing(&self, healing: &Healing) -> Result<(), JournalError> {
        let directory = self.directory.healing(healing.id);
        make_directory(directory.root())?;
        Ok(atomic::create_once(&directory.healing(), healing)?)
    }

    /// The switch that a dashboard's command has become, if it was seen before.
    pub fn switch_of_command(&self, command: &CommandId) -> Result<Option<SwitchId>, JournalError> {
        let asked_for = |id: &SwitchId| {
            read::read::<Request>(&self.directory.switch(*id).request())
                .present()
                .and_then(|request| request.command_id)
                .is_some_and(|id| id == *command)
        };
        Ok(self.switch_ids()?.into_iter().rev().find(asked_for))
    }

    /// Removes what need not be kept, and says which switches went.
    pub fn prune(&self) -> Result<Vec<SwitchId>, JournalError> {
        sweep(&self.directory.switches())?;
        sweep(&self.directory.commands())?;
        sweep(&self.directory.healings())?;
        let all: Vec<Kept> = self.switch_ids()?.into_iter().map(|id| self.kept(id)).collect();
        let pruned = retention::to_prune(&all);
        for id in &pruned {
            let root = self.directory.switch(*id).root().to_owned();
            remove_tree(&root)?;
        }
        self.prune_commands()?;
        self.prune_healings()?;
        Ok(pruned)
    }

    fn kept(&self, id: SwitchId) -> Kept {
        let directory = self.directory.switch(id);
        // An answer follows a result, so there is one. The other files are small beside the output.
        let is_closed = directory.reported().exists() || directory.refused().exists();
        let request: Found<Request> = read::read(&directory.request());
        // Of one that cannot be read nobody knows what it was; it stays as long as a switch.
        let activates = request.as_present().is_none_or(|request| request.operation.activates());
        Kept { id, activates, bytes: bytes_of(&directory.output_log()), is_closed }
    }

    /// The newest stay, told or not: where no agent tells them, a job that never comes up must not fill the disk.
    pub fn prune_healings(&self) -> Result<(), JournalError> {
        const MAX_KEPT: usize = 100;
        let ids = self.healing_ids()?;
        for id in ids.iter().take(ids.len().saturating_sub(MAX_KEPT)) {
            remove_tree(self.directory.healing(*id).root())?;
        }
        Ok(())
    }

    /// A closed command is only kept to answer the same id again; a week is longer than any dashboard repeats itself,
    /// and one that sends new commands without end does not fill the disk.
    fn prune_commands(&self) -> Result<(), JournalError> {
        const KEPT_FOR: jiff::SignedDuration = jiff::SignedDuration::from_hours(7 * 24);
        const MAX_KEPT: usize = 500;
        let now = jiff::Timestamp::now();
        let mut closed: Vec<(Option<jiff::Timestamp>, CommandId)> = self
            .command_ids()?
            .into_iter()
            .map(|id| self.command(&id))
            .filter(|entry| entry.is_closed)
            .map(|entry| (entry.accepted.present().map(|accepted| accepted.accepted_at), entry.id))
            .collect();
        closed.sort();
        let surplus = closed.len().saturating_sub(MAX_KEPT);
        for (index, (accepted_at, id)) in closed.iter().enumerate() {
            let is_old = accepted_at.is_none_or(|at| now.duration_since(at) > KEPT_FOR);
            if index < surplus || is_old {
                remove_tree(self.directory.command(id).root())?;
            }
        }
        Ok(())
    }
}

fn names_in<T: FromStr + Ord>(directory: &Path) -> Result<Vec<T>, JournalError> {
    let failed =
        |source| JournalError::Directory { action: "read", path: directory.to_owned(), source };
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let is_directory = entry.file_type().map_err(failed)?.is_dir();
        let name = entry.file_name().to_str().and_then(|name| name.parse().ok());
        names.extend(name.filter(|_| is_directory));
    }
    names.sort();
    Ok(names)
}

fn make_directory(path: &Path) -> Result<(), JournalError> {
    let failed =
        |source| JournalError::Directory { action: "create", path: path.to_owned(), source };
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => atomic::sync_directory_of(path).map_err(failed),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

/// Removes a folder of the journal as a whole: first it gets a name that nobody reads, so that a removal that is cut
/// short leaves nothing that looks like a switch with some of its files.
fn remove_tree(path: &Path) -> Result<(), JournalError> {
    let failed =
        |source| JournalError::Directory { action: "remove", path: path.to_owned(), source };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let doomed = path.with_file_name(format!("{REMOVED_PREFIX}{name}"));
    fs::rename(path, &doomed).map_err(failed)?;
    atomic::sync_directory_of(&doomed).map_err(failed)?;
    fs::remove_dir_all(&doomed).map_err(failed)
}

/// Finishes removals that were cut short.
fn sweep(directory: &Path) -> Result<(), JournalError> {
    let failed =
        |source| JournalError::Directory { action: "sweep", path: directory.to_owned(), source };
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    for entry in entries {
        let entry = entry.map_err(failed)?;
        if entry.file_name().to_string_lossy().starts_with(REMOVED_PREFIX) {
            fs::remove_dir_all(entry.path()).map_err(failed)?;
        }
    }
    Ok(())
}

fn bytes_of(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.blocks() * 512)
}

const fn mark<R>(found: &Found<R>) -> Mark {
    match found {
        Found::Absent => Mark::Absent,
        Found::Present(_) => Mark::Present,
        Found::Unreadable { .. } | Found::TooNew { .. } => Mark::Broken,
    }
}

fn lock_view(lock: &LockState, id: SwitchId) -> LockView {
    match lock {
        LockState::Free => LockView::Free,
        LockState::Held(Some(holder)) if holder.switch == id => LockView::HeldByThis,
        LockState::Held(_) => LockView::HeldByOther,
    }
}

/// Whether the phase depends on home-manager's process. Looking at processes is dear where there is no `/proc`.
const fn needs_child(entry: &Entry, lock: LockView) -> bool {
    !matches!(lock, LockView::HeldByThis) && !matches!(entry.result, Found::Present(_))
}

fn child_of(entry: &Entry) -> Result<ChildView, AskError> {
    let Some(started) = entry.started.as_present() else { return Ok(ChildView::Gone) };
    if started.boot_id != process::boot_id()? {
        return Ok(ChildView::Gone);
    }
    if started.child.is_alive()? {
        return Ok(ChildView::Alive);
    }
    let remains = process::group_runs(&started.child)?;
    Ok(if remains { ChildView::RemainsOnly } else { ChildView::Gone })
}
