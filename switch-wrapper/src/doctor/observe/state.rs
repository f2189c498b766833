//! The state directory, as a folder.

use std::{fs, io};

use nixfleet_protocol::state_dir::{StateDir, StateDirError};

use super::entry;
use crate::{doctor::observations::State, messages::with_causes};

/// Looks at the folder.
pub(super) fn observe(directory: &Result<StateDir, StateDirError>) -> State {
    let root = match directory {
        Ok(directory) => directory.root(),
        Err(error) => return State::Unusable(with_causes(error)),
    };
    let unusable = |why: &str| State::Unusable(format!("{}: {why}", root.display()));
    let metadata = match fs::metadata(root) {
        Ok(metadata) => metadata,
        // A link that leads nowhere is not the same as nothing.
        Err(error) if error.kind() == io::ErrorKind::NotFound && !root.is_symlink() => {
            return State::Missing;
        }
        Err(error) => return unusable(&error.to_string()),
    };
    if !metadata.is_dir() {
        return unusable("it is not a folder");
    }
    let space = rustix::fs::statvfs(root).ok();
    let free_bytes = space.map(|space| space.f_bavail.saturating_mul(space.f_frsize));
    State::There { entry: entry(root, &metadata), free_bytes }
}
