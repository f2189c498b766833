//! The agent and its dashboard, as the agent has written it down. Nobody is called from here.

use std::time::Duration;

use jiff::Timestamp;
use nixfleet_protocol::journal::records::{DashboardContact, RunningProgram};

use super::switches::since;
use crate::doctor::{
    finding::{Finding, Id, quoted},
    observations::{Host, Service},
};

/// Failures that are younger pass by themselves, as a rule.
const PASSING: Duration = Duration::from_mins(2);

/// How far the clock may be off: an HTTP date has whole seconds, and is as old as the answer took.
const CLOCK_TOLERANCE_SECONDS: u64 = 60;

/// Everything about the dashboard.
pub(super) fn examine(host: &Host, now: Timestamp) -> Vec<Finding> {
    let Some(agent) = host.agent.alive() else {
        let summary = "no agent runs, so nobody speaks to the dashboard";
        let unknown = host.has_agent().then(|| Finding::unknown(Id::DashboardUnknown, summary));
        return unknown.into_iter().collect();
    };
    let Some(contact) = &agent.dashboard else { return vec![by_heartbeat(agent)] };
    [Some(reached(host, agent, contact, now)), clock(host, contact)].into_iter().flatten().collect()
}

/// What an agent leaves that writes down nothing but its heartbeat.
fn by_heartbeat(agent: &RunningProgram) -> Finding {
    match agent.last_heartbeat_at {
        Some(at) => Finding::unknown(
            Id::DashboardUnknown,
            format!(
                "the dashboard last answered the agent at {}; the agent says no more",
                moment(at)
            ),
        ),
        None => {
            Finding::unknown(Id::DashboardUnknown, "the dashboard has not answered the agent yet")
        }
    }
}

fn reached(
    host: &Host,
    agent: &RunningProgram,
    contact: &DashboardContact,
    now: Timestamp,
) -> Finding {
    let Some(failing_since) = contact.failing_since else {
        return match agent.last_heartbeat_at {
            Some(at) => Finding::ok(
                Id::DashboardReached,
                format!("the dashboard answered at {}", moment(at)),
            ),
            None => Finding::unknown(
                Id::DashboardUnknown,
                "the dashboard has not answered the agent yet",
            ),
        };
    };
    let failure = contact.failure.as_deref().unwrap_or("the agent does not say why");
    let time = moment(failing_since);
    if let Some(status @ (401 | 403)) = contact.http_status {
        return Finding::error(
            Id::DashboardTokenRejected,
            format!(
                "the dashboard turns the agent's token away since {time} (HTTP {status}): \
                {failure}"
            ),
        )
        .because(
            "It takes no report and gives no command. Put the dashboard's token for agents \
            into the token file that the first command names, then start the agent anew.",
        )
        .mended_by(["nixfleet-agent check-config".to_owned()].into_iter().chain(restart(host)));
    }
    let answer = contact.http_status.map_or_else(String::new, |status| format!(" (HTTP {status})"));
    let summary =
        format!("the agent does not get through to the dashboard since {time}{answer}: {failure}");
    let is_passing = since(failing_since, now).is_some_and(|time| time < PASSING);
    let make = if is_passing { Finding::info } else { Finding::warning };
    make(Id::DashboardUnreachable, summary).because(
        "Nothing is lost: results are kept and told when it answers again. Until then \
            it shows this host as gone. Is the network there, and is it the right url? \
            `nixfleet-agent check-config` says which it is.",
    )
}

/// The service manager starts an agent that ends.
fn restart(host: &Host) -> Option<String> {
    let agent = host.agent.alive()?;
    match &host.service {
        Service::Launchd(_) => Some(format!("kill {}", agent.process.pid)),
        Service::Systemd(systemd) => Some(format!(
            "{}systemctl{} restart -- {}",
            systemd.manager.rights(),
            systemd.manager.flag(),
            quoted(&host.names.label)
        )),
        Service::None => None,
    }
}

fn clock(host: &Host, contact: &DashboardContact) -> Option<Finding> {
    let ahead = contact.clock_ahead_seconds?;
    if ahead.unsigned_abs() <= CLOCK_TOLERANCE_SECONDS {
        return None;
    }
    let way = if ahead > 0 { "ahead of" } else { "behind" };
    let time = humantime::format_duration(Duration::from_secs(ahead.unsigned_abs()));
    let set = match &host.service {
        Service::Launchd(_) => "sudo sntp -sS time.apple.com",
        Service::Systemd(_) | Service::None => "sudo timedatectl set-ntp true",
    };
    Some(
        Finding::warning(
            Id::ClockWrong,
            format!("this host's clock is {time} {way} the dashboard's"),
        )
        .because(
            "Certificates may look expired or not yet valid, and the dashboard shows \
                the wrong times. If it is the dashboard's that is wrong, set that.",
        )
        .mended_by([set.to_owned()]),
    )
}

/// A moment as people read it.
fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}
