//! A copy of the last definition of the agent's job that worked, to go back to when a new one does not run.

use std::{
    fs::{self, OpenOptions, Permissions},
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use nixfleet_protocol::journal::atomic::{self, WriteError};

/// What launchd takes: readable by all, writable by the owner (launchd.plist(5)).
const PLIST_MODE: u32 = 0o644;

/// The copy.
#[derive(Debug)]
pub(super) struct LastGood {
    copy: PathBuf,
}

impl LastGood {
    /// The copy in the state directory; it need not be there.
    pub(super) const fn new(copy: PathBuf) -> Self {
        Self { copy }
    }

    /// Whether there is a copy, and it says something else than the file on disk.
    pub(super) fn has_other_than(&self, plist: &Path) -> bool {
        fs::read(&self.copy).is_ok_and(|copy| fs::read(plist).ok().as_ref() != Some(&copy))
    }

    /// Keeps what is on disk as the last that worked.
    pub(super) fn keep(&self, plist: &Path) -> Result<(), WriteError> {
        match fs::read(plist) {
            Ok(content) if fs::read(&self.copy).ok().as_ref() != Some(&content) => {
                atomic::replace_content(&self.copy, "copy of the agent's definition", &content)
            }
            // The same, or gone meanwhile: nothing to keep.
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Puts the copy in the place of the file on disk. The name in between does not end in `.plist`: launchd loads all
    /// that do at login.
    pub(super) fn restore_to(&self, plist: &Path) -> io::Result<()> {
        let content = fs::read(&self.copy)?;
        let name = plist.file_name().unwrap_or_default().to_string_lossy();
        let next = plist.with_file_name(format!(".{name}.next"));
        let mut options = OpenOptions::new();
        let mut file =
            options.write(true).create(true).truncate(true).mode(PLIST_MODE).open(&next)?;
        file.write_all(&content)?;
        file.set_permissions(Permissions::from_mode(PLIST_MODE))?;
        file.sync_all()?;
        fs::rename(&next, plist)?;
        atomic::sync_directory_of(plist)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_worked_is_kept_and_comes_back() {
        let directory = tempfile::tempdir().unwrap();
        let plist = directory.path().join("agent.plist");
        let last_good = LastGood::new(directory.path().join("last-good.plist"));
        assert!(!last_good.has_other_than(&plist));
        assert!(last_good.restore_to(&plist).is_err());
        fs::write(&plist, "one").unwrap();
        last_good.keep(&plist).unwrap();
        assert!(!last_good.has_other_than(&plist));
        fs::write(&plist, "two").unwrap();
        // As home-manager installs it.
        fs::set_permissions(&plist, Permissions::from_mode(0o444)).unwrap();
        assert!(last_good.has_other_than(&plist));
        last_good.restore_to(&plist).unwrap();
        assert_eq!(fs::read_to_string(&plist).unwrap(), "one");
        assert_eq!(fs::metadata(&plist).unwrap().permissions().mode() & 0o777, PLIST_MODE);
        let names = fs::read_dir(directory.path()).unwrap().count();
        assert_eq!(names, 2);
    }
}
