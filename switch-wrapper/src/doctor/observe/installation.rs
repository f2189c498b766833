//! What `nixfleet-switch install` has put in place: the wrapper at its stable path, and the watchdog.

use std::{fs, path::Path};

use nixfleet_protocol::{
    installed,
    journal::{
        lock::{self, LockState},
        read::{self, Found},
        records::Installation,
    },
    state_dir::StateDir,
};

use crate::doctor::observations::{Installed, Watchdog};

/// Looks at the watchdog.
pub(super) fn watchdog(directory: Option<&StateDir>) -> Watchdog {
    let Some(directory) = directory else {
        return Watchdog { installation: Found::Absent, is_running: None, has_definition: false };
    };
    let installation: Found<Installation> = read::read(&directory.installation());
    Watchdog {
        has_definition: installation
            .as_present()
            .is_some_and(|installation| installation.watchdog_definition.exists()),
        is_running: is_held(&directory.watchdog_lock()),
        installation,
    }
}

fn is_held(path: &Path) -> Option<bool> {
    match lock::look(path) {
        Ok(LockState::Held(_)) => Some(true),
        Ok(LockState::Free) => Some(false),
        Err(_) => None,
    }
}

/// Looks at the wrapper's stable path.
pub(super) fn wrapper(home: &Path) -> Installed {
    let path = installed::stable_wrapper(home);
    match (fs::metadata(&path), fs::read_link(&path)) {
        (Ok(_), _) => Installed::There(path),
        (Err(_), Ok(target)) => Installed::LeadsNowhere { path, target },
        (Err(_), Err(_)) => Installed::Absent(path),
    }
}
