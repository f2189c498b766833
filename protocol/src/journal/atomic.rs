//! How a file of the journal is written: a temporary file in the same directory, fsync, rename, fsync of the directory.
//!
//! [`create_once`] never replaces: of two writers the first wins and the second learns it, so a switch has one result
//! whoever races for it. [`replace`] is for the few files that say what is so *now*. On macOS Rust's `sync_all` is
//! `F_FULLFSYNC`, which a plain fsync there is not.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, RenameFlags, renameat_with},
    io::Errno,
};
use uuid::Uuid;

use super::{read::MAX_RECORD_BYTES, records::Record};

/// Why a record is not on disk.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Another writer was first; its file stands.
    #[error("{kind} {} is already there", path.display())]
    AlreadyThere {
        /// The record's kind.
        kind: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// The file system refused.
    #[error("cannot write {kind} {}", path.display())]
    Io {
        /// The record's kind.
        kind: &'static str,
        /// The file that was to be there at the end.
        path: PathBuf,
        /// What the file system said.
        #[source]
        source: io::Error,
    },
}

impl WriteError {
    /// Whether the disk is full or the quota used up.
    pub fn is_out_of_space(&self) -> bool {
        match self {
            Self::AlreadyThere { .. } => false,
            Self::Io { source, .. } => {
                matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
        }
    }
}

/// Writes a record that is written once: an existing file is kept and said.
pub fn create_once<R: Record>(path: &Path, record: &R) -> Result<(), WriteError> {
    write_record(path, record, Placing::KeepExisting, Durability::Durable)
}

/// Writes a record in place of the one before it.
pub fn replace<R: Record>(path: &Path, record: &R) -> Result<(), WriteError> {
    write_record(path, record, Placing::Replace, Durability::Durable)
}

/// As [`replace`], without waiting for the disk: whole after a crash of the program, perhaps the older one after a
/// power cut. For what is only true while the machine runs, such as the last heartbeat.
pub fn replace_lazily<R: Record>(path: &Path, record: &R) -> Result<(), WriteError> {
    write_record(path, record, Placing::Replace, Durability::WhileUp)
}

/// As [`replace`], for content that is no record; `kind` names it in messages.
pub fn replace_content(path: &Path, kind: &'static str, content: &[u8]) -> Result<(), WriteError> {
    write(path, kind, content, Placing::Replace, Durability::Durable)
}

#[derive(Clone, Copy)]
enum Placing {
    KeepExisting,
    Replace,
}

#[derive(Clone, Copy)]
enum Durability {
    Durable,
    WhileUp,
}

fn write_record<R: Record>(
    path: &Path,
    record: &R,
    placing: Placing,
    durability: Durability,
) -> Result<(), WriteError> {
    let failed = |error: serde_json::Error| WriteError::Io {
        kind: R::KIND,
        path: path.to_owned(),
        source: error.into(),
    };
    let mut content = serde_json::to_vec_pretty(record).map_err(failed)?;
    content.push(b'\n');
    if content.len() > MAX_RECORD_BYTES {
        let why = format!("it has {} bytes, more than any reader takes", content.len());
        let source = io::Error::other(why);
        return Err(WriteError::Io { kind: R::KIND, path: path.to_owned(), source });
    }
    write(path, R::KIND, &content, placing, durability)
}

fn write(
    path: &Path,
    kind: &'static str,
    content: &[u8],
    placing: Placing,
    durability: Durability,
) -> Result<(), WriteError> {
    let temporary = temporary_beside(path);
    let written = write_temporary(&temporary, content, durability)
        .and_then(|()| place(&temporary, path, placing))
        .and_then(|()| match durability {
            Durability::Durable => sync_directory_of(path),
            Durability::WhileUp => Ok(()),
        });
    written.map_err(|source| {
        // What is left of the attempt is of no use to anyone; the error that counts is the one above.
        let _ = fs::remove_file(&temporary);
        match (placing, source.kind()) {
            (Placing::KeepExisting, io::ErrorKind::AlreadyExists) => {
                WriteError::AlreadyThere { kind, path: path.to_owned() }
            }
            (Placing::KeepExisting | Placing::Replace, _) => {
                WriteError::Io { kind, path: path.to_owned(), source }
            }
        }
    })
}

/// A name that no reader looks at and that two writers do not share.
fn temporary_beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.tmp", Uuid::new_v4().simple()))
}

fn write_temporary(path: &Path, content: &[u8], durability: Durability) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    match durability {
        Durability::Durable => file.sync_all(),
        Durability::WhileUp => Ok(()),
    }
}

fn place(temporary: &Path, path: &Path, placing: Placing) -> io::Result<()> {
    match placing {
        Placing::Replace => fs::rename(temporary, path),
        Placing::KeepExisting => {
            match renameat_with(CWD, temporary, CWD, path, RenameFlags::NOREPLACE) {
                Ok(()) => Ok(()),
                // File systems that cannot rename without replacing can still link without replacing.
                Err(errno) if cannot_rename_without_replacing(errno) => {
                    fs::hard_link(temporary, path)?;
                    fs::remove_file(temporary)
                }
                Err(errno) => Err(errno.into()),
            }
        }
    }
}

/// What a file system says that does not know the flag. Compared and not matched: two of them are one on Linux.
fn cannot_rename_without_replacing(errno: Errno) -> bool {
    [Errno::INVAL, Errno::NOSYS, Errno::OPNOTSUPP, Errno::NOTSUP].contains(&errno)
}

/// Makes the directory's entries durable.
pub fn sync_directory_of(path: &Path) -> io::Result<()> {
    let directory = path.parent().unwrap_or_else(|| Path::new("."));
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::journal::records::{FORMAT, Reported};

    fn record(protocol: u32) -> Reported {
        Reported {
            format: FORMAT,
            reported_at: jiff::Timestamp::UNIX_EPOCH,
            protocol,
            with_reload: false,
        }
    }

    fn names_in(directory: &Path) -> Vec<String> {
        fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn the_first_writer_wins_and_nothing_is_left_beside() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.json");
        create_once(&path, &record(1)).unwrap();
        let error = create_once(&path, &record(2)).unwrap_err();
        assert!(matches!(error, WriteError::AlreadyThere { .. }), "{error}");
        assert!(fs::read_to_string(&path).unwrap().contains("\"protocol\": 1"));
        assert_eq!(names_in(directory.path()), ["x.json"]);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn of_many_racing_writers_exactly_one_wins() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.json");
        let winners = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..16)
                .map(|number| {
                    let path = &path;
                    scope.spawn(move || create_once(path, &record(number)).is_ok())
                })
                .collect();
            writers.into_iter().map(|writer| writer.join().unwrap()).filter(|won| *won).count()
        });
        assert_eq!(winners, 1);
        assert_eq!(names_in(directory.path()), ["x.json"]);
    }

    #[test]
    fn replacing_replaces() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.json");
        replace(&path, &record(1)).unwrap();
        replace_lazily(&path, &record(2)).unwrap();
        assert!(fs::read_to_string(&path).unwrap().contains("\"protocol\": 2"));
        assert_eq!(names_in(directory.path()), ["x.json"]);
    }

    #[test]
    fn an_error_names_kind_and_file() {
        let error = create_once(Path::new("/nonexistent/x.json"), &record(1)).unwrap_err();
        assert_eq!(error.to_string(), "cannot write report mark /nonexistent/x.json");
        assert!(!error.is_out_of_space());
    }
}
