//! Looks at everything once. Each source is bounded: programs by a time limit, files by their size, the journal by
//! number. Nothing is changed, and nothing that cannot be seen stops the rest.
//!
//! - [`launchd`], [`systemd`]: the service manager, and the agent's job in it.
//! - [`agent`]: the agent's own record, and whether it reacts.
//! - [`installation`]: the watchdog, and the wrapper's stable path.
//! - [`state`]: the state directory. [`journal`]: what it says.
//! - [`home_manager`]: its release.

mod agent;
mod home_manager;
mod installation;
mod journal;
mod launchd;
mod state;
mod systemd;

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

use jiff::Timestamp;
use nixfleet_protocol::{
    config_file::ConfigFileError, journal::store::Journal, state_dir::StateDir,
};
use rustix::fs::{Access, access};

use super::observations::{Entry, Host, Misconfigured, Names, Observations, Service};
use crate::{
    messages::with_causes,
    settings::{ServiceManager, Settings, SettingsError},
};

/// Looks at everything. A config file that makes no sense is left out, and said.
pub(super) fn observe() -> Observations {
    let (configuration, settings) = match Settings::load() {
        Ok(settings) => (Ok(()), Some(settings)),
        Err(error) => {
            let settings = Settings::load_without_file().ok();
            (Err(misconfigured(&error)), settings)
        }
    };
    let host = settings.as_ref().map(observe_host);
    Observations { now: Timestamp::now(), configuration, host }
}

fn misconfigured(error: &SettingsError) -> Misconfigured {
    let file = match error {
        SettingsError::ConfigFile(
            ConfigFileError::Read { path, .. } | ConfigFileError::Parse { path, .. },
        ) => Some(path.clone()),
        SettingsError::StateDir(_)
        | SettingsError::Value { .. }
        | SettingsError::Switch(_)
        | SettingsError::NoHome => None,
    };
    Misconfigured { why: with_causes(error), file }
}

fn observe_host(settings: &Settings) -> Host {
    let directory = StateDir::look(&settings.state_dir);
    let journal = directory.as_ref().ok().cloned().map(Journal::new);
    Host {
        names: Names {
            host: settings.host.clone(),
            uid: rustix::process::geteuid().as_raw(),
            home_owner: fs::metadata(&settings.home).ok().map(|metadata| metadata.uid()),
            label: settings.agent_label.clone(),
            plist: settings.agent_plist.clone(),
            state: settings.state_dir.clone(),
            switch_lock: directory.as_ref().map(StateDir::switch_lock).unwrap_or_default(),
            launchctl: settings.programs.launchctl.clone(),
        },
        // Before the agent's record: an agent that was seen after its job cannot be one from before.
        service: match settings.service_manager {
            ServiceManager::Launchd => Service::Launchd(Box::new(launchd::observe(settings))),
            ServiceManager::Systemd(manager) => {
                Service::Systemd(systemd::observe(settings, manager))
            }
            ServiceManager::None => Service::None,
        },
        agent: agent::observe(directory.as_ref().ok()),
        watchdog: installation::watchdog(directory.as_ref().ok()),
        wrapper: installation::wrapper(&settings.home),
        state: state::observe(&directory),
        journal: journal.as_ref().map(journal::observe),
        home_manager: home_manager::observe(settings),
        activation: settings.switching.links.read().activation(),
    }
}

/// A file or folder; links are followed or not as the metadata were.
fn entry(path: &Path, metadata: &fs::Metadata) -> Entry {
    Entry {
        is_link: metadata.is_symlink(),
        owner: metadata.uid(),
        mode: metadata.mode() & 0o7777,
        is_writable: access(path, Access::WRITE_OK).is_ok(),
    }
}
