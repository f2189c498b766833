//! Whether an installation can run to its end: looked at before anything is changed.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use rustix::fs::{Access, access};
use serde::Deserialize;

use crate::settings::{ServiceManager, Settings};

/// What stands in the way.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Obstacle {
    /// A folder that cannot be written to.
    #[error("{} cannot be written to; {remedy}", folder.display())]
    NotWritable { folder: PathBuf, remedy: String },
    /// A file that cannot be looked at.
    #[error("cannot look at {}", path.display())]
    Unclear {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Somebody else's job has the place.
    #[error("{} belongs to another job, {label:?}; move it away, or set NIXFLEET_WATCHDOG_LABEL", path.display())]
    SomebodyElses { path: PathBuf, label: String },
    /// Somebody else keeps the place up.
    #[error("{} is a link; somebody else keeps it up. Remove it there first", path.display())]
    Link { path: PathBuf },
    /// The service manager's tool is not there.
    #[error("{} is not a program that can be run; set NIXFLEET_LAUNCHCTL", path.display())]
    NoLaunchctl { path: PathBuf },
}

/// Looks whether the definition can be put at its place and loaded.
pub(super) fn check(settings: &Settings, definition: &Path) -> Result<(), Obstacle> {
    if let Some(folder) = definition.parent() {
        writable(folder)?;
    }
    match fs::symlink_metadata(definition) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(Obstacle::Unclear { path: definition.to_owned(), source }),
        Ok(metadata) if metadata.is_symlink() => {
            return Err(Obstacle::Link { path: definition.to_owned() });
        }
        Ok(_) => ours(settings, definition)?,
    }
    let launchctl = &settings.programs.launchctl;
    if settings.service_manager == ServiceManager::Launchd
        && access(launchctl, Access::EXEC_OK).is_err()
    {
        return Err(Obstacle::NoLaunchctl { path: launchctl.clone() });
    }
    Ok(())
}

/// The folder, or the nearest one above it that is there, can be written to.
fn writable(folder: &Path) -> Result<(), Obstacle> {
    let nearest = folder.ancestors().find(|folder| folder.exists()).unwrap_or(folder);
    if nearest.is_dir() && access(nearest, Access::WRITE_OK | Access::EXEC_OK).is_ok() {
        return Ok(());
    }
    let owner = fs::metadata(nearest).map_or(0, |metadata| metadata.uid());
    let me = rustix::process::geteuid().as_raw();
    let remedy = if owner == me {
        format!("make it writable: chmod u+rwx '{}'", nearest.display())
    } else {
        format!("it belongs to user {owner}: sudo chown {me} '{}'", nearest.display())
    };
    Err(Obstacle::NotWritable { folder: nearest.to_owned(), remedy })
}

#[derive(Debug, Deserialize)]
struct Labelled {
    #[serde(rename = "Label")]
    label: String,
}

/// A file of another job is not overwritten. One that cannot be read at all is nobody's.
fn ours(settings: &Settings, definition: &Path) -> Result<(), Obstacle> {
    if settings.service_manager != ServiceManager::Launchd {
        return Ok(());
    }
    match plist::from_file::<_, Labelled>(definition) {
        Ok(job) if job.label != settings.watchdog_label => {
            Err(Obstacle::SomebodyElses { path: definition.to_owned(), label: job.label })
        }
        Ok(_) | Err(_) => Ok(()),
    }
}
