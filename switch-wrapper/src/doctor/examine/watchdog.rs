//! The watchdog, and the wrapper outside home-manager's profile.

use nixfleet_protocol::journal::{read::Found, records::Installation};

use super::{INSTALL, launchd};
use crate::doctor::{
    finding::{Finding, Id},
    observations::{Host, Installed, Service, Watchdog, shown},
};

/// Both.
pub(super) fn examine(host: &Host) -> Vec<Finding> {
    vec![watchdog(host, &host.watchdog), wrapper(host)]
}

/// What is missing is a concern where there is an agent to look after.
fn missing(host: &Host, id: Id, summary: &str) -> Finding {
    if host.has_agent() {
        Finding::warning(id, summary).mended_by([INSTALL.to_owned()])
    } else {
        Finding::info(id, summary)
    }
}

fn watchdog(host: &Host, watchdog: &Watchdog) -> Finding {
    let installation = match &watchdog.installation {
        Found::Present(installation) => installation,
        Found::Absent => {
            return missing(host, Id::WatchdogNotInstalled, "no watchdog is installed").because(
                "What nixfleet-switch does not see nobody heals: a plain `home-manager switch`, \
                    a kill, a power cut.",
            );
        }
        Found::Unreadable { .. } | Found::TooNew { .. } => {
            return missing(
                host,
                Id::WatchdogNotInstalled,
                "the record of the installation cannot be read",
            );
        }
    };
    if !watchdog.has_definition {
        let path = shown(&installation.watchdog_definition);
        let summary = format!("the definition of the watchdog's job is gone: {path}");
        return missing(host, Id::WatchdogDefinitionMissing, &summary)
            .because("The watchdog does not come back at the next login.");
    }
    if is_disabled(host, installation) {
        let label = &installation.watchdog_label;
        return Finding::warning(Id::WatchdogDisabled, format!("an override forbids {label}"))
            .because(
                "launchd does not load the watchdog. It may have been turned off in System \
                Settings > General > Login Items.",
            )
            .mended_by([launchd::enable(host, label), INSTALL.to_owned()]);
    }
    match watchdog.is_running {
        Some(true) => Finding::ok(Id::WatchdogRunning, "the watchdog runs"),
        Some(false) => {
            missing(host, Id::WatchdogNotRunning, "the watchdog is installed and does not run")
                .because("What nixfleet-switch does not see nobody heals.")
        }
        None => Finding::unknown(Id::WatchdogNotRunning, "cannot tell whether the watchdog runs"),
    }
}

fn is_disabled(host: &Host, installation: &Installation) -> bool {
    match &host.service {
        Service::Launchd(seen) => {
            launchd::is_listed(&installation.watchdog_label, seen.disabled.as_ref().ok())
        }
        Service::Systemd(_) | Service::None => false,
    }
}

fn wrapper(host: &Host) -> Finding {
    match &host.wrapper {
        Installed::There(path) => Finding::ok(
            Id::WrapperInstalled,
            format!("nixfleet-switch is installed at {}", shown(path)),
        ),
        Installed::Absent(path) => missing(
            host,
            Id::WrapperNotInstalled,
            &format!("nixfleet-switch is not installed at {}", shown(path)),
        )
        .because(
            "Where it is now, a switch may replace it under itself, and a broken profile \
            takes it along.",
        ),
        Installed::LeadsNowhere { path, target } => missing(
            host,
            Id::WrapperLinkBroken,
            &format!("{} leads to {}, which is gone", shown(path), shown(target)),
        )
        .because("Agent and watchdog call nixfleet-switch by that path."),
    }
}
