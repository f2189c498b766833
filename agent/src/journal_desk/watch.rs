//! Noticing that there is something new in the journal without reading it.

use std::{
    fs,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

/// Two changes within this time may leave the same time stamp on a folder, on the coarsest file system there is.
const COARSEST_STAMP: Duration = Duration::from_secs(2);

/// The folder of all switches, as it was when it was last read.
#[derive(Debug)]
pub(crate) struct JournalWatch {
    folder: PathBuf,
    seen: Mutex<Option<SystemTime>>,
}

impl JournalWatch {
    pub(crate) const fn new(folder: PathBuf) -> Self {
        Self { folder, seen: Mutex::new(None) }
    }

    /// Remembers the folder as it is. To be called before it is read: what changes in between is then seen as new.
    pub(super) fn about_to_read(&self) {
        let stamp = self.stamp().filter(|stamp| is_settled(*stamp, SystemTime::now()));
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = stamp;
    }

    /// Whether the folder may have changed since it was last read.
    pub(crate) fn has_changed(&self) -> bool {
        let seen = *self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.is_none() || seen != self.stamp()
    }

    fn stamp(&self) -> Option<SystemTime> {
        fs::metadata(&self.folder).and_then(|metadata| metadata.modified()).ok()
    }
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
        let watch = JournalWatch::new(directory.path().to_owned());
        assert!(watch.has_changed());
        // The folder is brand new: its stamp says nothing yet.
        watch.about_to_read();
        assert!(watch.has_changed());

        let long_ago = SystemTime::now() - Duration::from_mins(1);
        fs::File::open(directory.path()).unwrap().set_modified(long_ago).unwrap();
        watch.about_to_read();
        assert!(!watch.has_changed());
        fs::create_dir(directory.path().join("new")).unwrap();
        assert!(watch.has_changed());
    }
}
