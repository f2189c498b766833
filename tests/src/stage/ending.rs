//! The end of a machine: who is at work ends, what is left is counted, and what tells its story is kept.

use std::{
    fs, io,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use super::processes::{self, Found};

/// How long a look-after may take that has lost its launchd: it gives up within its minute.
const LOOK_AFTER_ENDS_WITHIN: Duration = Duration::from_secs(75);

/// How long everything else may take.
const ENDS_WITHIN: Duration = Duration::from_secs(10);

/// Time between two looks at all processes of the system.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The most that is kept of one file.
const MAX_KEPT: u64 = 8 * 1024 * 1024;

/// A wrapper, but not the watchdog: that one never ends by itself.
pub fn is_wrapper(command: &str) -> bool {
    command.contains("nixfleet-switch") && !command.contains("nixfleet-switch watchdog")
}

/// Waits until no wrapper is at work in this folder, or for as long as one may be.
pub fn wait_for_wrappers(root: &Path) {
    let deadline = Instant::now() + LOOK_AFTER_ENDS_WITHIN;
    let is_at_work = |found: &Found| is_wrapper(&found.command);
    while Instant::now() < deadline && processes::of(root).iter().any(is_at_work) {
        thread::sleep(LOOK_EVERY);
    }
}

/// What of this folder still runs when everything has had the time to end. The watchdog may have begun a look-after in its
/// last moment.
pub fn left_after(root: &Path) -> Vec<Found> {
    let began = Instant::now();
    loop {
        let left = processes::of(root);
        let is_at_work = left.iter().any(|found| is_wrapper(&found.command));
        let limit = if is_at_work { LOOK_AFTER_ENDS_WITHIN } else { ENDS_WITHIN };
        if left.is_empty() || began.elapsed() >= limit {
            return left;
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// Copies regular files that are not large; links and the rest are passed over.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let metadata = fs::symlink_metadata(from)?;
    if metadata.is_dir() {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)?.flatten() {
            // One that has just vanished was a temporary file.
            let _ = copy(&entry.path(), &to.join(entry.file_name()));
        }
    } else if metadata.is_file() && metadata.len() <= MAX_KEPT {
        fs::copy(from, to)?;
    }
    Ok(())
}
