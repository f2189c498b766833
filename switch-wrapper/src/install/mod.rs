//! `install` and `uninstall`: the wrapper at its stable path, and the watchdog as a job of its own.
//!
//! Everything is looked at before anything is changed, each step may run twice, and one that was cut short is finished by
//! the next run.
//!
//! Both may be a step of home-manager's activation. Then home-manager itself is at work on the agent's job, so that is left
//! to it and to who looks after it later: the wrapper around the activation, the agent, the watchdog.
//!
//! - [`preflight`]: whether it can be done.
//! - [`program`]: the wrapper at its stable path.
//! - [`definition`]: the watchdog's job.

mod definition;
mod preflight;
mod program;

use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use nixfleet_protocol::{
    installed,
    journal::{
        atomic::{self, WriteError},
        lock::{self, LockState},
        read,
        records::{AgentVerdict, FORMAT, Installation, Reload},
    },
    state_dir::StateDir,
};
use serde::Serialize;

use crate::{
    Failure,
    ensure::{self, JobKind, Removed, Wish},
    exit,
    messages::with_causes,
    settings::{ServiceManager, Settings},
};
pub(crate) use definition::DefinitionError;
pub(crate) use preflight::Obstacle;
pub(crate) use program::ProgramError;

/// Why nothing, or not everything, is installed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InstallError {
    /// It cannot be done; nothing was changed.
    #[error("nothing was changed")]
    Obstacle(#[from] Obstacle),
    /// The watchdog has no definition.
    #[error(transparent)]
    Definition(#[from] DefinitionError),
    /// The wrapper.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// Which program this is.
    #[error("cannot find out which program this is")]
    Own(#[source] io::Error),
    /// The definition's file.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the file system said.
        #[source]
        source: io::Error,
    },
    /// The record.
    #[error(transparent)]
    Record(#[from] WriteError),
    /// A switch needs the wrapper.
    #[error("a switch is running; wait for it, then try again")]
    SwitchRuns,
    /// systemd does not take the watchdog's unit.
    #[error("systemd does not take the watchdog's unit: {said}")]
    NotEnabled {
        /// What systemctl said.
        said: String,
    },
    /// The watchdog's job cannot be taken out.
    #[error("the watchdog's job cannot be taken out: {said}")]
    StillLoaded { said: String },
}

/// What was done, for people and as JSON.
#[derive(Debug, Serialize)]
pub(crate) struct Done {
    /// Each thing, and whether it was changed.
    pub(crate) changes: Vec<Change>,
    /// The watchdog's job, where it was looked after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) watchdog: Option<Reload>,
    /// The agent's job, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) agent: Option<Reload>,
}

/// One thing that was put in place or taken away.
#[derive(Debug, Serialize)]
pub(crate) struct Change {
    /// What.
    pub(crate) what: &'static str,
    /// Where.
    pub(crate) path: PathBuf,
    /// Whether it was changed, or was so before.
    pub(crate) changed: bool,
}

/// How to install.
#[derive(Debug, Clone, Copy)]
pub(crate) struct How {
    /// With a watchdog.
    pub(crate) watches: bool,
    /// As a step of home-manager's activation.
    pub(crate) in_activation: bool,
}

impl Done {
    /// Whether anything was changed, or a job looked after.
    pub(crate) fn is_news(&self) -> bool {
        let is_changed = self.changes.iter().any(|change| change.changed);
        is_changed || self.watchdog.is_some() || self.agent.is_some()
    }

    /// The exit code: the watchdog runs, or will at the next login.
    pub(crate) fn exit_code(&self) -> u8 {
        match self.watchdog.as_ref().map(|reload| reload.verdict) {
            Some(AgentVerdict::NotBack) => exit::AGENT_NOT_BACK,
            Some(
                AgentVerdict::Healthy
                | AgentVerdict::Back
                | AgentVerdict::NotInstalled
                | AgentVerdict::AtNextLogin
                | AgentVerdict::Unmanaged,
            )
            | None => 0,
        }
    }
}

/// Installs wrapper and watchdog, or brings them up to date.
pub(crate) fn install(settings: &Settings, how: How) -> Result<Done, Failure> {
    if !how.watches {
        return install_wrapper(settings);
    }
    let place = definition::place(settings).map_err(InstallError::from)?;
    preflight::check(settings, &place).map_err(InstallError::from)?;
    let directory = StateDir::prepare(&settings.state_dir)?;
    let (wrapper, leads_to) = put_wrapper(settings)?;
    let text = definition::text(settings, &wrapper.path).map_err(InstallError::from)?;
    let known = read::read::<Installation>(&directory.installation()).present();
    let new = installation(settings, known.as_ref(), wrapper.path.clone(), leads_to, place.clone());
    let is_complete = !wrapper.changed
        && known.as_ref() == Some(&new)
        && fs::read(&place).is_ok_and(|present| present == text);
    if how.in_activation && is_complete {
        // The record is written last, so nothing is missing; and whether the watchdog runs is the agent's concern.
        let watchdog = Change { what: "watchdog", path: place, changed: false };
        return Ok(Done { changes: vec![wrapper, watchdog], watchdog: None, agent: None });
    }
    let is_new = put_definition(settings, &place, &text)?;
    let changes = vec![wrapper, Change { what: "watchdog", path: place, changed: is_new }];
    record(&directory, known.as_ref(), new)?;
    let watchdog = ensure::run(settings, &Wish::of(JobKind::Watchdog));
    // What works now is what there is to go back to when the next one does not.
    let agent = (!how.in_activation).then(|| ensure::run(settings, &Wish::of(JobKind::Agent)));
    Ok(Done { changes, watchdog: Some(watchdog), agent })
}

/// Installs the wrapper alone. A watchdog that is there goes away.
fn install_wrapper(settings: &Settings) -> Result<Done, Failure> {
    let directory = StateDir::prepare(&settings.state_dir)?;
    let (wrapper, _leads_to) = put_wrapper(settings)?;
    let mut changes = vec![wrapper];
    if settings.service_manager != ServiceManager::None {
        let place = definition::place(settings).map_err(InstallError::from)?;
        if place.exists() || directory.installation().exists() {
            preflight::check(settings, &place).map_err(InstallError::from)?;
            changes.extend(remove_watchdog(settings, &directory, place)?);
        }
    }
    Ok(Done { changes, watchdog: None, agent: None })
}

/// The wrapper at its stable path, and what that leads to now.
fn put_wrapper(settings: &Settings) -> Result<(Change, PathBuf), InstallError> {
    let exe = installed::invocation().map_err(InstallError::Own)?.exe;
    let path = installed::stable_wrapper(&settings.home);
    let (leads_to, changed) = program::put_in_place(&settings.home, &exe)?;
    Ok((Change { what: "wrapper", path, changed }, leads_to))
}

/// The record of what is installed; the same as the one that is known if only the time would differ.
fn installation(
    settings: &Settings,
    known: Option<&Installation>,
    wrapper: PathBuf,
    leads_to: PathBuf,
    watchdog_definition: PathBuf,
) -> Installation {
    Installation {
        format: FORMAT,
        installed_at: known.map_or_else(Timestamp::now, |known| known.installed_at),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        wrapper,
        leads_to,
        watchdog_label: settings.watchdog_label.clone(),
        watchdog_definition,
    }
}

/// Writes down what is installed. From now on the agent sees to it that the watchdog runs.
fn record(
    directory: &StateDir,
    known: Option<&Installation>,
    new: Installation,
) -> Result<(), InstallError> {
    if known == Some(&new) {
        return Ok(());
    }
    let new = Installation { installed_at: Timestamp::now(), ..new };
    Ok(atomic::replace(&directory.installation(), &new)?)
}

/// Writes the definition if it is not there yet; a job that has the same already is not touched.
fn put_definition(settings: &Settings, place: &Path, text: &[u8]) -> Result<bool, InstallError> {
    if fs::read(place).is_ok_and(|present| present == text) {
        // The one who wrote it may not have come so far.
        enable(settings)?;
        return Ok(false);
    }
    let failed =
        |action| move |source| InstallError::File { action, path: place.to_owned(), source };
    if let Some(folder) = place.parent() {
        fs::create_dir_all(folder).map_err(failed("create the folder of"))?;
    }
    ensure::put_in_place(place, text).map_err(failed("write"))?;
    enable(settings)?;
    Ok(true)
}

/// systemd starts at login only what is enabled; launchd all that is in the folder.
fn enable(settings: &Settings) -> Result<(), InstallError> {
    match settings.service_manager {
        ServiceManager::Systemd(manager) => {
            ensure::enable_unit(settings, manager, &settings.watchdog_label)
                .map_err(|said| InstallError::NotEnabled { said })
        }
        ServiceManager::Launchd | ServiceManager::None => Ok(()),
    }
}

/// Takes watchdog and wrapper away. The journal stays.
///
/// A switch that runs needs the wrapper, unless it is the one whose activation asks: then the wrapper is there already and
/// looks for its own file no more.
pub(crate) fn uninstall(settings: &Settings, in_activation: bool) -> Result<Done, Failure> {
    let place = definition::place(settings).map_err(InstallError::from)?;
    preflight::check(settings, &place).map_err(InstallError::from)?;
    let directory = StateDir::prepare(&settings.state_dir)?;
    let is_running = || lock::look(&directory.switch_lock());
    if !in_activation && matches!(is_running()?, LockState::Held(_)) {
        return Err(InstallError::SwitchRuns.into());
    }
    let mut changes = remove_watchdog(settings, &directory, place)?;
    // There is nobody left to go back to it, and its root would keep it in the store for ever.
    for (what, path) in [
        ("root of the last agent", directory.last_good_root()),
        ("record of the last agent", directory.last_good_agent()),
        ("its definition", directory.last_good_definition()),
    ] {
        changes.push(remove_file(what, path)?);
    }
    let wrapper = installed::stable_wrapper(&settings.home);
    let was_there = program::remove(&settings.home).map_err(InstallError::from)?;
    changes.push(Change { what: "wrapper", path: wrapper, changed: was_there });
    Ok(Done { changes, watchdog: None, agent: None })
}

/// Takes the watchdog away, and what says that there is one.
fn remove_watchdog(
    settings: &Settings,
    directory: &StateDir,
    place: PathBuf,
) -> Result<Vec<Change>, InstallError> {
    // First: the agent brings back a watchdog that is installed.
    let installation = remove_file("installation", directory.installation())?;
    let (was_loaded, definition) = take_out(settings, &place)?;
    Ok(vec![
        installation,
        Change { what: "watchdog's job", path: place, changed: was_loaded },
        definition,
        remove_file("record of the watchdog", directory.watchdog_record())?,
    ])
}

/// The job, and its definition with it. Whether it was loaded, and what became of the definition.
fn take_out(settings: &Settings, definition: &Path) -> Result<(bool, Change), InstallError> {
    let mut change = None;
    let remove = || change = Some(remove_file("watchdog", definition.to_owned()));
    let was_loaded = match ensure::take_out(settings, JobKind::Watchdog, remove) {
        Removed::WasNotThere => false,
        Removed::Gone => true,
        Removed::StillThere(said) => return Err(InstallError::StillLoaded { said }),
    };
    let change = change.unwrap_or_else(|| remove_file("watchdog", definition.to_owned()))?;
    Ok((was_loaded, change))
}

fn remove_file(what: &'static str, path: PathBuf) -> Result<Change, InstallError> {
    match fs::remove_file(&path) {
        Ok(()) => Ok(Change { what, path, changed: true }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Ok(Change { what, path, changed: false })
        }
        Err(source) => Err(InstallError::File { action: "remove", path, source }),
    }
}

/// What was done, in words.
pub(crate) fn told(done: &Done) -> String {
    let changes = done.changes.iter().map(|change| {
        let how = if change.changed { "changed" } else { "unchanged" };
        format!("{how:<9}  {:<22} {}", change.what, change.path.display())
    });
    let jobs = [&done.watchdog, &done.agent].into_iter().flatten();
    changes.chain(jobs.map(|reload| reload.explanation.clone())).map(|line| line + "\n").collect()
}

impl From<InstallError> for Failure {
    fn from(error: InstallError) -> Self {
        let said = with_causes(&error);
        match error {
            InstallError::SwitchRuns => Self::Busy(said),
            InstallError::Obstacle(_) | InstallError::Definition(_) => Self::CannotInstall(said),
            InstallError::Program(_)
            | InstallError::Own(_)
            | InstallError::File { .. }
            | InstallError::Record(_)
            | InstallError::NotEnabled { .. }
            | InstallError::StillLoaded { .. } => Self::Installation(said),
        }
    }
}
