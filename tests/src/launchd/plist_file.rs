//! Reads a job's plist from disk the way launchd does: owner, mode and kind of file count.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::{
    answer::Failure,
    definition::{Definition, DefinitionError},
};

/// Write access for the group or for everybody.
const OTHERS_MAY_WRITE: u32 = 0o022;

/// A plist with what came of reading it. The path is kept as the caller gave it.
#[derive(Debug)]
pub struct LoadedPlist {
    /// Where it lies.
    pub path: PathBuf,
    /// The job, or why it is none.
    pub job: Result<Definition, PlistError>,
}

/// Whom a plist may belong to, and whether a link will do.
#[derive(Debug, Clone)]
pub struct Rules {
    /// The owners that are trusted.
    pub owners: Vec<u32>,
    /// What a symbolic link is.
    pub links: Links,
}

/// What a symbolic link is to the reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// `bootstrap` follows it.
    Followed,
    /// The scan at login, from macOS 14 on, ignores it.
    Ignored,
}

/// Reads and checks one plist.
pub fn load(path: &Path, rules: &Rules) -> LoadedPlist {
    LoadedPlist { path: path.to_owned(), job: read(path, rules) }
}

/// The plists of a `LaunchAgents` directory, by name. A directory that is not there has none.
pub fn scan(directory: &Path, rules: &Rules) -> io::Result<Vec<LoadedPlist>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<PathBuf>>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "plist"));
    paths.sort();
    Ok(paths.iter().map(|path| load(path, rules)).collect())
}

/// Why a plist could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum PlistError {
    /// It cannot be read.
    #[error("cannot read the file")]
    Unreadable(#[source] io::Error),
    /// A symbolic link where none is followed.
    #[error("symbolic links are not loaded at login")]
    Link,
    /// Not a regular file.
    #[error("not a regular file")]
    NotAFile,
    /// Owned by somebody else.
    #[error("owned by uid {uid}")]
    Owner {
        /// The owner.
        uid: u32,
    },
    /// Others may write it.
    #[error("mode {mode:o} lets others write")]
    Mode {
        /// The permission bits.
        mode: u32,
    },
    /// What it says is no job.
    #[error(transparent)]
    Definition(#[from] DefinitionError),
}

impl PlistError {
    /// launchd's code for it.
    pub fn failure(&self) -> Failure {
        match self {
            Self::Unreadable(error) if error.kind() == io::ErrorKind::NotFound => {
                Failure::NoSuchFile
            }
            Self::Unreadable(_) => Failure::InputOutput,
            Self::Link | Self::NotAFile | Self::Owner { .. } | Self::Mode { .. } => {
                Failure::BadOwnership
            }
            Self::Definition(error) => error.failure(),
        }
    }
}

fn read(path: &Path, rules: &Rules) -> Result<Definition, PlistError> {
    if rules.links == Links::Ignored
        && fs::symlink_metadata(path).map_err(PlistError::Unreadable)?.is_symlink()
    {
        return Err(PlistError::Link);
    }
    let metadata = fs::metadata(path).map_err(PlistError::Unreadable)?;
    if !metadata.is_file() {
        return Err(PlistError::NotAFile);
    }
    if !rules.owners.contains(&metadata.uid()) {
        return Err(PlistError::Owner { uid: metadata.uid() });
    }
    let mode = metadata.mode() & 0o7777;
    if mode & OTHERS_MAY_WRITE != 0 {
        return Err(PlistError::Mode { mode });
    }
    let bytes = fs::read(path).map_err(PlistError::Unreadable)?;
    Ok(Definition::parse(&bytes)?)
}
