//! Judges what was seen. Pure: no clock, no files, no processes.
//!
//! One small function for each check; each says nothing, or what it found. Where one thing is the reason for another
//! only the reason is said.
//!
//! - [`launchd`], [`systemd`]: the service manager, and the agent's job in it.
//! - [`plist`]: the definition on disk. [`agent`]: the agent itself.
//! - [`dashboard`], [`watchdog`], [`switches`], [`home_manager`], [`state`].

mod agent;
mod dashboard;
mod home_manager;
mod launchd;
mod plist;
mod state;
mod switches;
mod systemd;
#[cfg(test)]
mod tests;
mod watchdog;

use super::{
    finding::{Finding, Id, quoted},
    observations::{Host, Misconfigured, NewestSwitch, Observations, Service, shown},
};

use crate::settings::UnitManager;

/// What brings the agent's job to where it should be.
const ENSURE: &str = "nixfleet-switch ensure-agent";

/// What puts wrapper and watchdog in place.
const INSTALL: &str = "nixfleet-switch install";

/// Everything that there is to say.
pub(super) fn examine(seen: &Observations) -> Vec<Finding> {
    let mut findings = vec![configuration(seen)];
    let Some(host) = &seen.host else { return findings };
    if let Some(wrong) = wrong_user(host) {
        findings.push(wrong);
        return findings;
    }
    match &host.service {
        Service::Launchd(launchd) => findings.extend(launchd::examine(host, launchd)),
        Service::Systemd(systemd) => findings.extend(systemd::examine(host, systemd)),
        Service::None => findings.extend(without_service_manager(host)),
    }
    if !is_watched_by_systemd(host) {
        findings.extend(watchdog::examine(host));
    }
    findings.extend(dashboard::examine(host, seen.now));
    findings.extend(switches::examine(host, seen.now));
    findings.push(home_manager::examine(host));
    findings.extend(state::examine(host));
    findings
}

fn configuration(seen: &Observations) -> Finding {
    let Err(Misconfigured { why, file }) = &seen.configuration else {
        return Finding::ok(Id::Configuration, "the configuration makes sense");
    };
    let rest = if seen.host.is_some() {
        "What follows was looked at with the defaults and may be about the wrong places."
    } else {
        "Nothing else could be looked at."
    };
    let finding = Finding::error(Id::ConfigurationUnusable, why)
        .because(format!("Neither the agent nor nixfleet-switch starts with it. {rest}"));
    match file {
        Some(file) => finding.mended_by([format!("${{EDITOR:-vi}} {}", quoted(&shown(file)))]),
        None => finding,
    }
}

/// Under sudo the home is the user's and the jobs are root's: whatever would be said is about the wrong ones. A home
/// that is root's own is a matter of how the machine is set up.
fn wrong_user(host: &Host) -> Option<Finding> {
    let (uid, owner) = (host.names.uid, host.names.home_owner?);
    (owner != uid && owner != 0).then(|| {
        Finding::error(
            Id::WrongUser,
            format!("the home directory belongs to user {owner}, and this runs as user {uid}"),
        )
        .because(
            "The agent and its jobs are that user's. Run it as that user, without sudo; what else \
            there is was not judged. A switch under sudo would leave files that the agent cannot use.",
        )
    })
}

/// Where the agent is a unit of the whole system, systemd does what the watchdog is for.
const fn is_watched_by_systemd(host: &Host) -> bool {
    match &host.service {
        Service::Systemd(systemd) => matches!(systemd.manager, UnitManager::System),
        Service::Launchd(_) | Service::None => false,
    }
}

fn without_service_manager(host: &Host) -> Vec<Finding> {
    let none = Finding::info(Id::ServiceManagerNone, "no service manager is in use").because(
        "So the agent's job and its definition, and whether it comes back by itself, are not \
            looked at. Its own record is.",
    );
    [Some(none), agent::by_its_record(host)].into_iter().flatten().collect()
}

/// The command that switches again as the last time.
fn switch_again(host: &Host) -> String {
    let newest = host.journal.as_ref().and_then(|journal| journal.newest.as_ref());
    let Some(NewestSwitch { argv, cwd, .. }) = newest else { return "nixfleet-switch".to_owned() };
    let words = ["nixfleet-switch"].into_iter().chain(argv.iter().map(String::as_str));
    let words: Vec<String> = words.map(quoted).collect();
    format!("cd {} && {}", quoted(&shown(cwd)), words.join(" "))
}

/// `1 result`, `2 results`.
fn counted(number: usize, one: &str, several: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { several })
}
