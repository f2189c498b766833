//! Noticing that there is something new in the journal without reading it.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

/// Two changes within this time may leave the same time stamp on a folder, on the coarsest file system there is.
const COARSEST_STAMP: Duration = Duration::from_secs(2);

/// The folders in which others begin something, as they were when they were last read.
#[derive(Debug)]
pub(crate) struct JournalWatch {
    folders: [PathBuf; 2],
    seen: Mutex<Option<[SystemTime; 2]>>,
}

impl JournalWatch {
    pub(crate) const fn new(folders: [PathBuf; 2]) -> Self {
        Self { folders, seen: Mutex::new(None) }
    }

    /// Remembers the folders as they are. To be called before they are read: what changes in between is then seen as new.
    pub(super) fn about_to_read(&self) {
        let now = SystemTime::now();
        let stamps = self.stamps().filter(|all| all.iter().all(|stamp| is_settled(*stamp, now)));
        self.remember(stamps);
    }

    /// What was read is not all there yet: it is to be read again.
    pub(super) fn read_too_early(&self) {
        self.remember(None);
    }

    /// Whether the folders may have changed since they were last read.
    pub(crate) fn has_changed(&self) -> bool {
        let seen = *self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.is_none() || seen != self.stamps()
    }

    fn remember(&self, stamps: Option<[SystemTime; 2]>) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = stamps;
    }

    fn stamps(&self) -> Option<[SystemTime; 2]> {
        let [first, second] = &self.folders;
        Some([stamp(first)?, stamp(second)?])
    }
}

fn stamp(folder: &Path) -> Option<SystemTime> {
    fs::metadata(folder).and_then(|metadata| metadata.modified()).ok()
}

/// Whether a change from now on leaves another stamp. A stamp in the future is one of a clock that was set back.
fn is_settled(stamp: SystemTime, now: SystemTime) -> bool {
    now.duration_since(stamp).map_or(true, |age| age > COARSEST_STAMP)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_noticed_even_right_after_a_look() {
        let directory = tempfile::tempdir().unwrap();
        let folders = ["switches", "healings"].map(|name| directory.path().join(name));
        for folder in &folders {
            fs::create_dir(folder).unwrap();
        }
        let watch = JournalWatch::new(folders.clone());
        assert!(watch.has_changed());
        // The folders are brand new: their stamps say nothing yet.
        watch.about_to_read();
        assert!(watch.has_changed());

        for folder in &folders {
            let long_ago = SystemTime::now() - Duration::from_mins(1);
            for each in &folders {
                fs::File::open(each).unwrap().set_modified(long_ago).unwrap();
            }
            watch.about_to_read();
            assert!(!watch.has_changed());
            fs::create_dir(folder.join("new")).unwrap();
            assert!(watch.has_changed());
        }
        for each in &folders {
            fs::File::open(each).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        }
        watch.about_to_read();
        watch.read_too_early();
        assert!(watch.has_changed());
    }
}
