//! The end of a host, and what is left of it.

use std::{
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use super::host::Host;
use crate::stage::{Trouble, mac::Mac, processes};

/// How long a look-after may take that has lost its launchd: it gives up within its minute.
const LOOK_AFTER_ENDS_WITHIN: Duration = Duration::from_secs(75);

/// How long everything else may take.
const ENDS_WITHIN: Duration = Duration::from_secs(10);

/// Time between two looks at all processes of the system.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The most that is kept of one file.
const MAX_KEPT: u64 = 2 * 1024 * 1024;

/// A wrapper, but not the watchdog: that one never ends by itself.
pub fn is_wrapper(command: &str) -> bool {
    command.contains("nixfleet-switch") && !command.contains("nixfleet-switch watchdog")
}

/// Ends the host; says which processes are left of it.
pub fn end(host: Host) -> Vec<String> {
    let Host { mac, dashboard, .. } = host;
    let Mac { launchd, folder, .. } = mac;
    let root = folder.root().to_owned();
    wait_until(LOOK_AFTER_ENDS_WITHIN, || {
        !processes::of(&root).iter().any(|found| is_wrapper(&found.command))
    });
    launchd.stop();
    let mut left = Vec::new();
    wait_until(ENDS_WITHIN, || {
        left = processes::of(&root);
        left.is_empty()
    });
    for found in &left {
        processes::signal(found.pid, Signal::KILL);
    }
    drop((folder, dashboard));
    left.into_iter().map(|found| format!("{} {}", found.pid, found.command)).collect()
}

fn wait_until(limit: Duration, mut fact: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !fact() && Instant::now() < deadline {
        thread::sleep(LOOK_EVERY);
    }
}

/// Copies what tells the story of a host, and says where it is.
pub fn keep(host: &Host, name: &str) -> Result<PathBuf, Trouble> {
    let place = std::env::temp_dir().join("nixfleet-kept").join(name.replace('/', "_"));
    if place.exists() {
        fs::remove_dir_all(&place).map_err(Trouble::file("remove", &place))?;
    }
    let copies = [(host.mac.folder.root(), "host"), (host.dashboard_folder(), "dashboard")];
    for (from, to) in copies {
        copy(from, &place.join(to)).map_err(Trouble::file("copy to", &place))?;
    }
    Ok(place)
}

/// Regular files that are not large; links and the rest are passed over.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
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
