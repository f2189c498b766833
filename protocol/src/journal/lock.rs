//! The locks, as types: flock(2) on files that are never unlinked, close-on-exec so that no child keeps them.
//!
//! A lock dies with the process that holds it, however that process dies. What stands *in* `switch.lock` is only
//! there for people and messages: a holder that was killed leaves its text behind, so the text is believed only
//! while the process that it names is alive.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant, SystemTime},
};

use fs2::FileExt;
use jiff::Timestamp;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use super::records::{Initiator, SwitchId};
use crate::{operation::Operation, process::ProcessIdentity, switch_kind::SwitchKind};

/// How long a lock without a living holder's name must stay taken before it counts as taken: those who only look, and
/// those who write down an interruption, hold it for a moment.
const PASSING_LIMIT: Duration = Duration::from_millis(500);

/// Time between two tries while waiting for a lock.
const TRY_EVERY: Duration = Duration::from_millis(20);

/// No text in a lock file is longer.
const MAX_HOLDER_BYTES: u64 = 16 * 1024;

/// Who holds `switch.lock`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The wrapper's process.
    pub process: ProcessIdentity,
    /// Its switch.
    pub switch: SwitchId,
    /// Who asked for it.
    pub initiator: Initiator,
    /// What is being done.
    pub operation: Operation,
    /// What switches on this host.
    pub kind: SwitchKind,
    /// What that gets after `switch`, or after the configured command.
    pub argv: Vec<String>,
    /// Since when.
    pub since: Timestamp,
}

/// Why a lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else has it.
    #[error("{} is held by another process", path.display())]
    Held {
        /// The lock file.
        path: PathBuf,
        /// Who, where they said so.
        holder: Option<Box<Holder>>,
    },
    /// The lock file cannot be used.
    #[error("cannot {action} lock file {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The lock file.
        path: PathBuf,
        /// What the file system said.
        #[source]
        source: io::Error,
    },
}

/// A lock that is held until this is dropped.
#[must_use = "the lock is released as soon as this is dropped"]
#[derive(Debug)]
pub struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// Takes the lock, or says at once that somebody has it.
    pub fn take(path: &Path) -> Result<Self, LockError> {
        let file = open(path)?;
        match FileExt::try_lock_exclusive(&file) {
            Ok(()) => Ok(Self { file, path: path.to_owned() }),
            Err(error) if is_contended(&error) => {
                Err(LockError::Held { path: path.to_owned(), holder: holder(path).map(Box::new) })
            }
            Err(source) => Err(LockError::Io { action: "lock", path: path.to_owned(), source }),
        }
    }

    /// The lock's file without the lock, for one who has found out that whoever holds it has no business with it. Others
    /// see it as held, and stamped.
    pub fn beside(path: &Path) -> Result<Self, LockError> {
        Ok(Self { file: open(path)?, path: path.to_owned() })
    }

    /// Takes the lock, waiting for at most `limit`.
    pub fn take_within(path: &Path, limit: Duration) -> Result<Self, LockError> {
        let deadline = Instant::now() + limit;
        loop {
            match Self::take(path) {
                Err(LockError::Held { .. }) if Instant::now() < deadline => {
                    thread::sleep(TRY_EVERY);
                }
                taken_or_failed => return taken_or_failed,
            }
        }
    }

    /// Takes `switch.lock` for a switch: a living holder is said at once, a passing one is waited out.
    pub fn take_for_switch(path: &Path) -> Result<Self, LockError> {
        let deadline = Instant::now() + PASSING_LIMIT;
        loop {
            match Self::take(path) {
                Err(LockError::Held { holder: None, .. }) if Instant::now() < deadline => {
                    thread::sleep(TRY_EVERY);
                }
                taken_or_failed => return taken_or_failed,
            }
        }
    }

    /// Writes into the lock file who holds it.
    pub fn name_holder(&mut self, holder: &Holder) -> Result<(), LockError> {
        let failed = |source| LockError::Io { action: "write to", path: self.path.clone(), source };
        let text = serde_json::to_vec(holder).map_err(|error| failed(error.into()))?;
        self.file.set_len(0).map_err(failed)?;
        self.file.rewind().map_err(failed)?;
        self.file.write_all(&text).map_err(failed)
    }

    /// Says by the lock file's time stamp that the holder still reacts. Whoever watches compares stamps, not clocks.
    pub fn stamp(&self) -> Result<(), LockError> {
        let failed = |source| LockError::Io { action: "stamp", path: self.path.clone(), source };
        self.file.set_modified(SystemTime::now()).map_err(failed)
    }

    /// Wipes the holder's name and releases the lock. Dropping alone leaves the name, which then names nobody alive.
    pub fn release(self) {
        // A name that stays is not believed once its process is gone, so nothing hangs on this.
        let _ = self.file.set_len(0);
    }
}

/// Whether somebody holds the lock, and who. Looks for a moment by taking a shared lock; creates nothing.
pub fn look(path: &Path) -> Result<LockState, LockError> {
    let file = match OpenOptions::new().read(true).custom_flags(no_follow()).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(LockState::Free),
        Err(source) => {
            return Err(LockError::Io { action: "open", path: path.to_owned(), source });
        }
    };
    match FileExt::try_lock_shared(&file) {
        Ok(()) => Ok(LockState::Free),
        Err(error) if is_contended(&error) => Ok(LockState::Held(holder(path).map(Box::new))),
        Err(source) => Err(LockError::Io { action: "look at", path: path.to_owned(), source }),
    }
}

/// The stamp that the holder left last; `None` where there is no such file.
pub fn stamp_of(path: &Path) -> Option<SystemTime> {
    fs::symlink_metadata(path).and_then(|metadata| metadata.modified()).ok()
}

/// What [`look`] saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LockState {
    /// Nobody has it.
    Free,
    /// Somebody has it, and perhaps says who they are.
    Held(Option<Box<Holder>>),
}

/// The holder that the file names, if that process is alive.
fn holder(path: &Path) -> Option<Holder> {
    let mut text = Vec::new();
    File::open(path).ok()?.take(MAX_HOLDER_BYTES).read_to_end(&mut text).ok()?;
    let holder: Holder = serde_json::from_slice(&text).ok()?;
    holder.process.is_alive().is_ok_and(|alive| alive).then_some(holder)
}

fn open(path: &Path) -> Result<File, LockError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(no_follow())
        .open(path)
        .map_err(|source| LockError::Io { action: "open", path: path.to_owned(), source })
}

fn no_follow() -> i32 {
    OFlags::NOFOLLOW.bits().cast_signed()
}

fn is_contended(error: &io::Error) -> bool {
    error.raw_os_error() == fs2::lock_contended_error().raw_os_error()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(process: ProcessIdentity) -> Holder {
        Holder {
            operation: Operation::Switch,
            process,
            switch: SwitchId::generate(),
            initiator: Initiator::User,
            kind: SwitchKind::default(),
            argv: vec!["--flake".to_owned()],
            since: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn the_second_is_told_who_is_first() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("switch.lock");
        assert_eq!(look(&path).unwrap(), LockState::Free);
        let mut first = Lock::take_for_switch(&path).unwrap();
        let me = named(ProcessIdentity::current().unwrap());
        first.name_holder(&me).unwrap();
        let Err(LockError::Held { holder, .. }) = Lock::take_for_switch(&path) else {
            panic!("two hold it")
        };
        assert_eq!(holder.as_deref(), Some(&me));
        assert_eq!(look(&path).unwrap(), LockState::Held(Some(Box::new(me))));
        first.release();
        // Not at once: a child that another test is just starting has our files until its exec.
        assert!(Lock::take_within(&path, Duration::from_secs(10)).is_ok());
    }

    #[test]
    fn a_dead_holder_s_name_is_not_believed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("switch.lock");
        let mut first = Lock::take(&path).unwrap();
        let gone = ProcessIdentity { pid: std::process::id(), start: "another".to_owned() };
        first.name_holder(&named(gone)).unwrap();
        assert_eq!(look(&path).unwrap(), LockState::Held(None));
    }

    #[test]
    fn a_passing_look_is_waited_out() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("switch.lock");
        let passing = Lock::take(&path).unwrap();
        let releasing = thread::spawn(move || {
            thread::sleep(Duration::from_millis(60));
            drop(passing);
        });
        assert!(Lock::take_for_switch(&path).is_ok());
        releasing.join().unwrap();
    }

    #[test]
    fn a_holder_that_reacts_leaves_another_stamp() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent.lock");
        assert_eq!(stamp_of(&path), None);
        let lock = Lock::take(&path).unwrap();
        File::open(&path).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(stamp_of(&path), Some(SystemTime::UNIX_EPOCH));
        lock.stamp().unwrap();
        assert_ne!(stamp_of(&path), Some(SystemTime::UNIX_EPOCH));
    }

    #[test]
    fn a_link_is_not_a_lock() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("switch.lock");
        std::os::unix::fs::symlink("/dev/null", &path).unwrap();
        assert!(matches!(Lock::take(&path), Err(LockError::Io { action: "open", .. })));
    }

    #[test]
    fn a_child_does_not_keep_the_lock() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("switch.lock");
        let lock = Lock::take(&path).unwrap();
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        drop(lock);
        // Not at once: a child that another test is just starting has our files until its exec.
        let second = Lock::take_within(&path, Duration::from_secs(10));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(second.is_ok());
    }
}
