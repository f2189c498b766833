//! systemd: the agent's unit, and whether the manager that has it outlives a logout.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use nixfleet_protocol::external;

use crate::{
    doctor::observations::Systemd,
    ensure::{
        systemd,
        systemd_plan::{self, UnitView},
    },
    messages::with_causes,
    settings::{Settings, UnitManager},
};

/// How long one call may take.
const CALL_LIMIT: Duration = Duration::from_secs(8);

/// What is asked about the unit.
const PROPERTIES: &str = "--property=LoadState,ActiveState,MainPID,NeedDaemonReload";

/// Looks at the manager.
pub(super) fn observe(settings: &Settings, manager: UnitManager) -> Systemd {
    let lingers = match manager {
        UnitManager::User => lingers(settings),
        UnitManager::System => Ok(true),
    };
    Systemd { manager, unit: unit(settings, manager), lingers }
}

fn unit(settings: &Settings, manager: UnitManager) -> UnitView {
    let words = ["show", PROPERTIES, "--", &settings.agent_label];
    match external::run(&mut systemd::looking(settings, manager, &words), CALL_LIMIT) {
        Ok(ended) if ended.exit_code == Some(0) => systemd_plan::read_show(&ended.stdout),
        Ok(ended) => UnitView::Unclear(ended.stderr.trim().to_owned()),
        Err(error) => UnitView::Unclear(with_causes(&error)),
    }
}

fn lingers(settings: &Settings) -> Result<bool, String> {
    let uid = rustix::process::geteuid().as_raw().to_string();
    let mut command = Command::new(loginctl(&settings.programs.systemctl));
    command
        .args(["show-user", "--property=Linger", "--value", "--", &uid])
        .stdin(Stdio::null())
        .env("LC_ALL", "C");
    let ended = external::run(&mut command, CALL_LIMIT).map_err(|error| with_causes(&error))?;
    match (ended.exit_code, ended.stdout.trim()) {
        (Some(0), "yes") => Ok(true),
        (Some(0), "no") => Ok(false),
        (_, said) => Err(format!("loginctl says {:?}", [said, ended.stderr.trim()].concat())),
    }
}

/// `loginctl` is where `systemctl` is.
fn loginctl(systemctl: &Path) -> PathBuf {
    let beside = systemctl.with_file_name("loginctl");
    if beside.is_absolute() && beside.exists() { beside } else { PathBuf::from("loginctl") }
}
