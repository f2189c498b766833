//! The end of a host, and what is left of it.

use std::{fs, path::PathBuf};

use rustix::process::Signal;

use super::host::Host;
pub use crate::stage::ending::is_wrapper;
use crate::stage::{Trouble, ending, mac::Mac, processes};

/// Ends the host; says which processes are left of it.
pub fn end(host: Host) -> Vec<String> {
    let Host { mac, dashboard, .. } = host;
    let Mac { launchd, folder, .. } = mac;
    ending::wait_for_wrappers(folder.root());
    launchd.stop();
    let left = ending::left_after(folder.root());
    for found in &left {
        processes::signal(found.pid, Signal::KILL);
    }
    drop((folder, dashboard));
    left.into_iter().map(|found| format!("{} {}", found.pid, found.command)).collect()
}

/// Copies what tells the story of a host, and says where it is.
pub fn keep(host: &Host, name: &str) -> Result<PathBuf, Trouble> {
    let place = std::env::temp_dir().join("nixfleet-kept").join(name.replace('/', "_"));
    if place.exists() {
        fs::remove_dir_all(&place).map_err(Trouble::file("remove", &place))?;
    }
    let copies = [(host.mac.folder.root(), "host"), (host.dashboard_folder(), "dashboard")];
    for (from, to) in copies {
        ending::copy(from, &place.join(to)).map_err(Trouble::file("copy to", &place))?;
    }
    Ok(place)
}
