//! The override database on disk: it outlives launchd, as it outlives a reboot.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{ServerError, file_error};
use crate::launchd::state::Overrides;

/// Reads the database; one that is not there is empty.
pub(super) fn load(directory: &Path, uid: u32) -> Result<Overrides, ServerError> {
    let path = path(directory, uid);
    match fs::read(&path) {
        Ok(bytes) => {
            serde_json::from_slice(&bytes).map_err(|source| ServerError::Overrides { path, source })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Overrides::new()),
        Err(error) => Err(file_error("read", &path)(error)),
    }
}

/// Replaces the database in one step.
pub(super) fn store(directory: &Path, uid: u32, overrides: &Overrides) -> Result<(), ServerError> {
    let path = path(directory, uid);
    let next = path.with_extension("next");
    let bytes = serde_json::to_vec_pretty(overrides)
        .map_err(|source| ServerError::Overrides { path: path.clone(), source })?;
    fs::write(&next, bytes).map_err(file_error("write", &next))?;
    fs::rename(&next, &path).map_err(file_error("replace", &path))
}

fn path(directory: &Path, uid: u32) -> PathBuf {
    directory.join(format!("disabled.{uid}.json"))
}
