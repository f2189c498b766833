//! Taking a job out for good.

use std::{thread, time::Duration};

use nixfleet_protocol::{journal::lock::Lock, state_dir::StateDir};

use super::{
    LOCK_LIMIT, LOOK_AGAIN,
    definition::Domain,
    job::JobKind,
    launchctl::{self, JobView},
    steps::{Steps, shortened},
    systemd,
};
use crate::{
    messages::with_causes,
    settings::{ServiceManager, Settings, UnitManager},
    switch::detach::outlast_signals,
};

/// How long it may take: launchd kills a job that does not end within its exit timeout.
const REMOVAL_LIMIT: Duration = Duration::from_secs(30);

/// Time between two `bootout`s of the same job.
const BOOTOUT_EVERY: Duration = Duration::from_secs(4);

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Removed {
    /// There was no such job.
    WasNotThere,
    /// There is none any more.
    Gone,
    /// It is still there, and why.
    StillThere(String),
}

/// Takes a job out, under the lock under which jobs are looked after. Once it is out, `then` is done under the same lock:
/// whoever waits for it would find the definition and load the job again.
pub(crate) fn take_out(settings: &Settings, kind: JobKind, then: impl FnOnce()) -> Removed {
    let directory = match StateDir::prepare(&settings.state_dir) {
        Ok(directory) => directory,
        Err(error) => return Removed::StillThere(with_causes(&error)),
    };
    let _lock = match Lock::take_within(&directory.ensure_lock(), LOCK_LIMIT) {
        Ok(lock) => lock,
        Err(error) => return Removed::StillThere(with_causes(&error)),
    };
    // As where jobs are looked after.
    let _ = outlast_signals();
    let removed = match settings.service_manager {
        ServiceManager::Launchd => out_of_launchd(settings, kind),
        ServiceManager::Systemd(manager) => out_of_systemd(settings, manager, kind),
        ServiceManager::None => Removed::WasNotThere,
    };
    match removed {
        Removed::WasNotThere | Removed::Gone => then(),
        Removed::StillThere(_) => {}
    }
    removed
}

fn out_of_launchd(settings: &Settings, kind: JobKind) -> Removed {
    let uid = rustix::process::geteuid().as_raw();
    let mut steps = Steps::begin(REMOVAL_LIMIT);
    let mut told: Option<Duration> = None;
    let mut was_there = false;
    loop {
        let mut left = None;
        for domain in [Domain::Gui, Domain::User] {
            let target = format!("{}/{}", domain.target(uid), kind.label(settings));
            let launchctl = &settings.programs.launchctl;
            let mut print = launchctl::command(launchctl, &["print", &target]);
            match launchctl::read_print(&steps.look(&mut print)) {
                JobView::NoDomain | JobView::NotLoaded => {}
                JobView::NoTool(why) => return Removed::StillThere(why),
                JobView::Unclear(why) => left = Some(why),
                JobView::Loaded(job) => {
                    was_there = true;
                    left = Some(format!("launchd still has {target}"));
                    let is_due = told.is_none_or(|last| steps.elapsed() >= last + BOOTOUT_EVERY);
                    if !job.is_leaving && is_due {
                        told = Some(steps.elapsed());
                        let mut bootout = launchctl::command(launchctl, &["bootout", &target]);
                        // What came of it is seen at the next look; its codes tell little.
                        let _ = steps.call("bootout", &mut bootout);
                    }
                }
            }
        }
        match left {
            None if was_there => return Removed::Gone,
            None => return Removed::WasNotThere,
            Some(why) if steps.elapsed() >= REMOVAL_LIMIT => return Removed::StillThere(why),
            Some(_) => thread::sleep(LOOK_AGAIN),
        }
    }
}

fn out_of_systemd(settings: &Settings, manager: UnitManager, kind: JobKind) -> Removed {
    let mut steps = Steps::begin(REMOVAL_LIMIT);
    let unit = kind.label(settings);
    let mut disable = systemd::acting(settings, manager, &["disable", "--now", "--", unit]);
    match steps.call("disable", &mut disable) {
        Ok(ended) if ended.exit_code == Some(0) => Removed::Gone,
        // systemctl(1): there is no such unit.
        Ok(ended) if ended.stderr.contains("does not exist") => Removed::WasNotThere,
        Ok(ended) => Removed::StillThere(shortened(&ended.stderr)),
        Err(error) => Removed::StillThere(with_causes(&error)),
    }
}

/// Has systemd read a new unit and start it at login from now on. The error is what systemctl said.
pub(crate) fn enable_unit(
    settings: &Settings,
    manager: UnitManager,
    unit: &str,
) -> Result<(), String> {
    let mut steps = Steps::begin(REMOVAL_LIMIT);
    for (name, words) in
        [("daemon-reload", &["daemon-reload"] as &[&str]), ("enable", &["enable", "--", unit])]
    {
        match steps.call(name, &mut systemd::acting(settings, manager, words)) {
            Ok(ended) if ended.exit_code == Some(0) => {}
            Ok(ended) => return Err(shortened(&ended.stderr)),
            Err(error) => return Err(with_causes(&error)),
        }
    }
    Ok(())
}
