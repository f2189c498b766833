//! The database's files: readable by their owner alone, and used by one dashboard.

use std::{
    fs::{File, OpenOptions, Permissions},
    io,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};

/// The mode of all files of the database: it holds the output of everybody's switches.
const FILE_MODE: u32 = 0o600;

/// Why the files cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    /// One could not be made, made private or locked.
    #[error("cannot open {} for writing; its folder must exist and belong to you", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another dashboard uses them.
    #[error("another dashboard uses {}: it holds the lock on {}", database.display(), lock.display())]
    InUse {
        /// The database.
        database: PathBuf,
        /// Its lock file.
        lock: PathBuf,
    },
}

/// Makes the database's file if it is not there, and takes its lock. The lock is free again when the returned file is
/// closed, however the dashboard ends.
pub(super) fn prepare(database: &Path) -> Result<File, FileError> {
    let lock = take_lock(database)?;
    open_private(database)?;
    Ok(lock)
}

fn take_lock(database: &Path) -> Result<File, FileError> {
    let mut name = database.as_os_str().to_owned();
    name.push(".lock");
    let path = PathBuf::from(name);
    let file = open_private(&path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            Err(FileError::InUse { database: database.to_owned(), lock: path })
        }
        Err(source) => Err(FileError::Open { path, source: source.into() }),
    }
}

/// Opens a file that only its owner may read, and makes an existing one so. SQLite gives its WAL the same mode.
fn open_private(path: &Path) -> Result<File, FileError> {
    let failed = |source| FileError::Open { path: path.to_owned(), source };
    let mut options = OpenOptions::new();
    let file = options.append(true).create(true).mode(FILE_MODE).open(path).map_err(failed)?;
    file.set_permissions(Permissions::from_mode(FILE_MODE)).map_err(failed)?;
    Ok(file)
}
