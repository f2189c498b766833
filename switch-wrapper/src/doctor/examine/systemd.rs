//! The agent's unit under systemd, the user's own or the system's.

use super::{ENSURE, agent, switch_again};
use crate::{
    doctor::{
        finding::{Finding, Id, quoted},
        observations::{Host, Systemd},
    },
    ensure::systemd_plan::{ActiveState, Unit, UnitView},
    settings::UnitManager,
};

/// Everything about the manager and the unit.
pub(super) fn examine(host: &Host, systemd: &Systemd) -> Vec<Finding> {
    let mut findings = vec![answers(systemd)];
    findings.extend(linger(systemd));
    match &systemd.unit {
        UnitView::Unclear(_) => findings.extend(agent::by_its_record(host)),
        UnitView::NotFound => findings.push(absent(host)),
        UnitView::Known(unit) => findings.extend(known(host, systemd.manager, unit)),
    }
    findings
}

fn answers(systemd: &Systemd) -> Finding {
    match &systemd.unit {
        UnitView::Unclear(why) => Finding::error(
            Id::SystemctlSilent,
            format!("systemctl does not say how the unit is: {why}"),
        )
        .because(match systemd.manager {
            UnitManager::User => {
                "The agent's unit cannot be looked at, and nobody can bring it back. Without a \
                session there may be no user manager: `systemctl --user status` says so."
            }
            UnitManager::System => {
                "The agent's unit cannot be looked at. Is service_manager right, and does systemd \
                run this machine? `systemctl status` says so."
            }
        }),
        UnitView::NotFound | UnitView::Known(_) => {
            let answers = match systemd.manager {
                UnitManager::User => "the user manager answers",
                UnitManager::System => "systemd answers",
            };
            Finding::ok(Id::ServiceManager, answers)
        }
    }
}

fn linger(systemd: &Systemd) -> Option<Finding> {
    match &systemd.lingers {
        Ok(true) => None,
        Ok(false) => Some(
            Finding::warning(Id::LingerOff, "the user manager ends at logout")
                .because("The agent ends with it, and the host is dark until the next login.")
                .mended_by(["loginctl enable-linger".to_owned()]),
        ),
        Err(why) => Some(Finding::unknown(
            Id::LingerOff,
            format!("cannot tell whether the user manager outlives a logout: {why}"),
        )),
    }
}

fn absent(host: &Host) -> Finding {
    let summary = format!("no agent is installed: there is no unit {}", host.names.label);
    if host.has_agent() {
        Finding::error(Id::AgentNotInstalled, summary)
            .because("An agent has run on this host. Without a unit nobody starts it again.")
            .mended_by([switch_again(host)])
    } else {
        Finding::info(Id::AgentNotInstalled, summary)
    }
}

fn known(host: &Host, manager: UnitManager, unit: &Unit) -> Vec<Finding> {
    let name = &host.names.label;
    let masked = unit.is_masked.then(|| {
        Finding::error(Id::UnitMasked, format!("{name} is masked"))
            .because(
                "systemd does not start it, whoever asks. The mask stands where a switch puts the \
                unit's file, so once it is lifted a switch writes that again.",
            )
            .mended_by([
                format!(
                    "{}systemctl{} unmask -- {}",
                    manager.rights(),
                    manager.flag(),
                    quoted(name)
                ),
                switch_again(host),
            ])
    });
    let reload = unit.needs_reload.then(|| {
        Finding::warning(
            Id::UnitNeedsReload,
            format!("the file of {name} has changed since systemd read it"),
        )
        .because("The agent runs as the old one says.")
        .mended_by([ENSURE.to_owned()])
    });
    let state = match (unit.state, unit.pid) {
        (ActiveState::Active, Some(pid)) => agent::of_job(host, pid, reload.is_none()),
        (ActiveState::Changing, _) => Some(not_running(name, "on its way up or down")),
        // Why it does not run is said already.
        (ActiveState::Active | ActiveState::Inactive | ActiveState::Failed, _)
            if unit.is_masked =>
        {
            None
        }
        (ActiveState::Failed, _) => Some(failed(manager, name)),
        (ActiveState::Active | ActiveState::Inactive, _) => Some(not_running(name, "inactive")),
    };
    [masked, reload, state].into_iter().flatten().collect()
}

fn failed(manager: UnitManager, name: &str) -> Finding {
    Finding::error(Id::UnitFailed, format!("{name} has failed and systemd has given up on it"))
        .because(format!("`journalctl{} -u {}` says why.", manager.flag(), quoted(name)))
        .mended_by([ENSURE.to_owned()])
}

fn not_running(name: &str, how: &str) -> Finding {
    Finding::error(Id::AgentNotRunning, format!("{name} does not run: it is {how}"))
        .because("Nobody asks the dashboard, and nobody tells it anything.")
        .mended_by([ENSURE.to_owned()])
}
