//! Reading a token from its file: ours, regular, and closed to others.

use std::{
    fs::{File, Metadata, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use nixfleet_protocol::wire::fields::{FieldError, Token};
use rustix::fs::OFlags;

/// No token file is larger.
const MAX_TOKEN_FILE_BYTES: u64 = 64 * 1024;

/// What agents of the first generation put before the token in its file.
const VARIABLE_PREFIX: &str = "NIXFLEET_TOKEN=";

/// Why a token file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenFileError {
    /// It cannot be read.
    #[error("cannot read token file {}; make it readable for the user that runs the agent", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// It is a directory, a device or the like.
    #[error("token file {} is not a regular file; name the file that holds the token", path.display())]
    NotAFile { path: PathBuf },
    /// Somebody else could change it.
    #[error("token file {} belongs to user {owner}, the agent runs as user {me}; run `sudo chown {me} {}`", path.display(), quoted(path))]
    NotOurs { path: PathBuf, owner: u32, me: u32 },
    /// Others can read or write it.
    #[error("token file {} is open to others (mode {mode:04o}); run `chmod 600 {}`", path.display(), quoted(path))]
    Open { path: PathBuf, mode: u32 },
    /// It does not hold a token.
    #[error("token file {} does not hold a token", path.display())]
    Content {
        path: PathBuf,
        #[source]
        source: FieldError,
    },
}

/// Which file it was, and in which state: as long as this is the same, so is what it holds. The time of the last change of
/// its mode is in it too, for that may be what kept it from being read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileVersion {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileVersion {
    /// The version of what is at this path now; `None` where there is nothing to be seen.
    pub(crate) fn at(path: &Path) -> Option<Self> {
        path.metadata().ok().as_ref().map(Self::of)
    }

    fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// Reads a token from its file.
pub(crate) fn read(path: &Path) -> Result<(Token, FileVersion), TokenFileError> {
    let failed = |source| TokenFileError::Read { path: path.to_owned(), source };
    // Not blocking: a FIFO in its place must not hang us.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(failed)?;
    let version = check(path, &file)?;
    let mut text = String::new();
    file.take(MAX_TOKEN_FILE_BYTES).read_to_string(&mut text).map_err(failed)?;
    let token =
        parse(&text).map_err(|source| TokenFileError::Content { path: path.to_owned(), source })?;
    Ok((token, version))
}

/// A token as it stands in a file: white space around it and the variable's name before it do not count.
pub(crate) fn parse(text: &str) -> Result<Token, FieldError> {
    let text = text.trim();
    Token::new(text.strip_prefix(VARIABLE_PREFIX).unwrap_or(text))
}

/// Looks at the opened file, not at its name: nobody can swap it in between.
fn check(path: &Path, file: &File) -> Result<FileVersion, TokenFileError> {
    let path = path.to_owned();
    let metadata = match file.metadata() {
        Ok(metadata) => metadata,
        Err(source) => return Err(TokenFileError::Read { path, source }),
    };
    let me = rustix::process::geteuid().as_raw();
    let mode = metadata.mode() & 0o7777;
    if !metadata.is_file() {
        Err(TokenFileError::NotAFile { path })
    } else if metadata.uid() != me {
        Err(TokenFileError::NotOurs { path, owner: metadata.uid(), me })
    } else if mode & 0o077 != 0 {
        Err(TokenFileError::Open { path, mode })
    } else {
        Ok(FileVersion::of(&metadata))
    }
}

/// The path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    let is_plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+@".contains(c));
    if is_plain { text.into_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn the_usual_spellings_are_taken() {
        for text in ["abc", "abc\n", "  abc \n\n", "NIXFLEET_TOKEN=abc\n"] {
            assert_eq!(parse(text).unwrap().reveal(), "abc", "{text:?}");
        }
        for text in ["", "\n", "two words", "a\nb"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_file_that_others_read_is_refused_with_the_remedy() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("my token");
        fs::write(&path, "abc\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let refusal = read(&path).unwrap_err().to_string();
        assert!(refusal.contains("0640") && refusal.contains("`chmod 600 '/"), "{refusal}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        let (token, version) = read(&path).unwrap();
        assert_eq!(token.reveal(), "abc");
        assert_eq!(FileVersion::at(&path), Some(version));
        assert!(matches!(read(directory.path()), Err(TokenFileError::NotAFile { .. })));
    }

    #[test]
    fn a_change_of_content_mode_or_file_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        let mut seen = vec![FileVersion::at(&path)];
        fs::write(&path, "abc\n").unwrap();
        seen.push(FileVersion::at(&path));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        seen.push(FileVersion::at(&path));
        fs::write(&path, "abcd\n").unwrap();
        seen.push(FileVersion::at(&path));
        fs::write(directory.path().join("new"), "efgh\n").unwrap();
        fs::rename(directory.path().join("new"), &path).unwrap();
        seen.push(FileVersion::at(&path));
        for (index, version) in seen.iter().enumerate() {
            assert!(!seen[..index].contains(version), "{index}: {seen:?}");
        }
        assert_eq!(FileVersion::at(&path), seen.pop().unwrap());
    }
}
