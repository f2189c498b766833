//! What is found of a unit under systemd.

use super::*;

fn with(change: impl FnOnce(&mut Unit)) -> Host {
    let mut host = linux();
    let Service::Systemd(systemd) = &mut host.service else { panic!() };
    let UnitView::Known(unit) = &mut systemd.unit else { panic!() };
    change(unit);
    host
}

fn dark(change: impl FnOnce(&mut Unit)) -> Host {
    let mut host = with(change);
    gone(&mut host.agent);
    host
}

fn systemd(unit: UnitView, lingers: Result<bool, String>) -> Host {
    let mut host = linux();
    host.service = Service::Systemd(Systemd { manager: UnitManager::User, unit, lingers });
    host
}

const UNKNOWN: (&str, Severity) = ("dashboard-unknown", Severity::Unknown);

#[test]
fn units_that_are_not_well() {
    let masked = dark(|unit| {
        unit.is_masked = true;
        (unit.state, unit.pid) = (ActiveState::Inactive, None);
    });
    let found = check("masked", masked, &[("unit-masked", Severity::Error), UNKNOWN]);
    assert!(remedy(&found, "unit-masked")[0].starts_with("systemctl --user unmask"));
    for (state, expected) in [
        (ActiveState::Failed, "unit-failed"),
        (ActiveState::Inactive, "agent-not-running"),
        (ActiveState::Changing, "agent-not-running"),
        (ActiveState::Active, "agent-not-running"),
    ] {
        let host = dark(|unit| (unit.state, unit.pid) = (state, None));
        check(&format!("{state:?}"), host, &[(expected, Severity::Error), UNKNOWN]);
    }
    check(
        "another file",
        with(|unit| unit.needs_reload = true),
        &[("unit-needs-reload", Severity::Warning)],
    );
    check("no agent in it", dark(|_| {}), &[("agent-unrecorded", Severity::Error), UNKNOWN]);
}

#[test]
fn a_user_manager_that_is_no_help_or_ends_at_logout() {
    let linux_unit = |host: &Host| {
        let Service::Systemd(systemd) = &host.service else { panic!() };
        systemd.unit.clone()
    };
    let unit = linux_unit(&linux());
    let off = systemd(unit.clone(), Ok(false));
    let found = check("linger off", off, &[("linger-off", Severity::Warning)]);
    assert_eq!(remedy(&found, "linger-off"), ["loginctl enable-linger"]);
    let unclear = systemd(unit, Err("no loginctl".to_owned()));
    check("linger unclear", unclear, &[("linger-off", Severity::Unknown)]);
    let silent = systemd(UnitView::Unclear("no bus".to_owned()), Ok(true));
    check("silent", silent, &[("systemctl-silent", Severity::Error)]);
    let none = systemd(UnitView::NotFound, Ok(true));
    check("no unit", none, &[("agent-not-installed", Severity::Error)]);
}

#[test]
fn a_unit_of_the_whole_system_is_root_s_to_mend_and_needs_no_watchdog() {
    let of_system = |unit: Unit| {
        let mut host = linux();
        let manager = UnitManager::System;
        let unit = UnitView::Known(unit);
        host.service = Service::Systemd(Systemd { manager, unit, lingers: Ok(true) });
        host.watchdog.installation = Found::Absent;
        host
    };
    let active =
        Unit { is_masked: false, needs_reload: false, state: ActiveState::Active, pid: Some(PID) };
    check("well", of_system(active.clone()), &[]);
    let mut masked =
        of_system(Unit { is_masked: true, state: ActiveState::Inactive, pid: None, ..active });
    gone(&mut masked.agent);
    let found = check("masked", masked, &[("unit-masked", Severity::Error), UNKNOWN]);
    assert!(remedy(&found, "unit-masked")[0].starts_with("sudo systemctl unmask"));
}
