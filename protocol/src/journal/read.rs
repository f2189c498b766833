//! How a record is read: absent, unreadable and too new are three different things.
//!
//! A file that cannot be read is never taken for one that is not there. Whoever acts on a switch sets such a file
//! aside under another name, says so, and goes on; whoever only looks leaves it where it is.

use std::{
    fs::{self, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use rustix::fs::OFlags;

use super::records::{FORMAT, Record};

/// No record is larger; a file that is, is not a record.
pub const MAX_RECORD_BYTES: usize = 1024 * 1024;

/// What is at a record's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found<R> {
    /// Nothing.
    Absent,
    /// The record.
    Present(R),
    /// Something that is not the record.
    Unreadable {
        /// Why.
        why: String,
    },
    /// A record of a later version.
    TooNew {
        /// Its format.
        format: u64,
    },
}

impl<R> Found<R> {
    /// The record, if it is there and can be read.
    pub fn present(self) -> Option<R> {
        match self {
            Self::Present(record) => Some(record),
            Self::Absent | Self::Unreadable { .. } | Self::TooNew { .. } => None,
        }
    }

    /// The record by reference.
    pub const fn as_present(&self) -> Option<&R> {
        match self {
            Self::Present(record) => Some(record),
            Self::Absent | Self::Unreadable { .. } | Self::TooNew { .. } => None,
        }
    }

    /// Why there is something that cannot be used; nothing for a record and for no file.
    pub fn trouble(&self) -> Option<String> {
        match self {
            Self::Absent | Self::Present(_) => None,
            Self::Unreadable { why } => Some(why.clone()),
            Self::TooNew { format } => {
                Some(format!("it has format {format}, this version reads up to {FORMAT}"))
            }
        }
    }
}

/// Reads a record. Only looks: changes nothing on disk.
pub fn read<R: Record>(path: &Path) -> Found<R> {
    let unreadable = |why: String| Found::Unreadable { why };
    let content = match read_content(path) {
        Ok(Some(content)) => content,
        Ok(None) => return Found::Absent,
        Err(error) => return unreadable(error.to_string()),
    };
    let value: serde_json::Value = match serde_json::from_slice(&content) {
        Ok(value) => value,
        Err(error) => return unreadable(format!("it is not JSON: {error}")),
    };
    match value.get("format").and_then(serde_json::Value::as_u64) {
        None => return unreadable("it has no format number".to_owned()),
        Some(format) if format > u64::from(FORMAT) => return Found::TooNew { format },
        Some(0) => return unreadable("format 0 was never in use".to_owned()),
        Some(_) => {}
    }
    match R::deserialize(value) {
        Ok(record) => match record.check() {
            Ok(()) => Found::Present(record),
            Err(why) => unreadable(why),
        },
        Err(error) => unreadable(error.to_string()),
    }
}

/// The file's bytes; `None` if there is no file. A link, a directory or a giant is an error.
fn read_content(path: &Path) -> io::Result<Option<Vec<u8>>> {
    // Not following links: nobody can lend us another file's content. Not blocking: nor hang us with a FIFO.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            return Err(io::Error::other("it is a symbolic link"));
        }
        Err(error) => return Err(error),
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    if metadata.len() > MAX_RECORD_BYTES as u64 {
        return Err(io::Error::other(format!(
            "it has {} bytes, more than the {MAX_RECORD_BYTES} of any record",
            metadata.len()
        )));
    }
    let mut content = Vec::new();
    file.take(MAX_RECORD_BYTES as u64).read_to_end(&mut content)?;
    Ok(Some(content))
}

/// Moves a file that cannot be used out of the way, to `<name>.unreadable`, and says where it is now.
pub fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let aside = path.with_file_name(format!("{name}.unreadable"));
    fs::rename(path, &aside)?;
    Ok(aside)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::records::Reported;

    fn check(content: &[u8], expected: &str) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.json");
        fs::write(&path, content).unwrap();
        let found = match read::<Reported>(&path) {
            Found::Absent => "absent".to_owned(),
            Found::Present(_) => "present".to_owned(),
            Found::Unreadable { why } => format!("unreadable: {why}"),
            Found::TooNew { format } => format!("too new: {format}"),
        };
        assert!(
            found.starts_with(expected),
            "{found:?} for {:?}",
            String::from_utf8_lossy(content)
        );
    }

    const GOOD: &str =
        r#"{"format":1,"reported_at":"2026-01-02T03:04:05Z","protocol":2,"with_reload":true}"#;

    #[test]
    fn what_is_not_the_record_is_told_apart() {
        check(GOOD.as_bytes(), "present");
        check(b"", "unreadable: it is not JSON");
        check(&GOOD.as_bytes()[..40], "unreadable: it is not JSON");
        check(b"{}", "unreadable: it has no format");
        check(br#"{"format":"1"}"#, "unreadable: it has no format");
        check(br#"{"format":0}"#, "unreadable: format 0");
        check(br#"{"format":2}"#, "too new: 2");
        check(br#"{"format":99999999999}"#, "too new: 99999999999");
        check(br#"{"format":1}"#, "unreadable: missing field");
        check(b"\xff\xfe\x00", "unreadable: it is not JSON");
        check(&vec![b' '; 2 * 1024 * 1024], "unreadable: it has 2097152 bytes");
    }

    #[test]
    fn links_directories_and_fifos_are_not_records() {
        let directory = tempfile::tempdir().unwrap();
        let real = directory.path().join("real.json");
        fs::write(&real, GOOD).unwrap();
        let link = directory.path().join("link.json");
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let Found::Unreadable { why } = read::<Reported>(&link) else { panic!("a link was read") };
        assert_eq!(why, "it is a symbolic link");
        let Found::Unreadable { why } = read::<Reported>(directory.path()) else {
            panic!("a directory was read")
        };
        assert_eq!(why, "it is not a regular file");
        let fifo = directory.path().join("fifo.json");
        let made = std::process::Command::new("mkfifo").arg(&fifo).status().unwrap();
        assert!(made.success());
        assert!(matches!(read::<Reported>(&fifo), Found::Unreadable { .. }));
        assert_eq!(read::<Reported>(&directory.path().join("none.json")), Found::Absent);
    }

    #[test]
    fn setting_aside_keeps_the_content() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.json");
        fs::write(&path, "garbage").unwrap();
        let aside = set_aside(&path).unwrap();
        assert_eq!(aside, directory.path().join("x.json.unreadable"));
        assert_eq!(fs::read_to_string(aside).unwrap(), "garbage");
        assert_eq!(read::<Reported>(&path), Found::Absent);
    }
}
