//! What switches have left: locks, processes, results that nobody has taken, activations that were cut.

use std::time::Duration;

use jiff::Timestamp;
use nixfleet_protocol::{
    journal::{lock::Holder, records::Activation},
    lifecycle::{FRESH_FOR, Phase},
};

use super::{ENSURE, counted, switch_again};
use crate::doctor::{
    finding::{Finding, Id, quoted},
    observations::{Host, JournalView, OpenSwitch, SwitchLock, Unsent, shown},
};

/// What was not told for a shorter time is on its way.
const ON_ITS_WAY: Duration = Duration::from_mins(5);

/// Everything about switches.
pub(super) fn examine(host: &Host, now: Timestamp) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    if let Some(journal) = &host.journal {
        findings.extend(lock(host, journal));
        findings.extend(journal.open.iter().filter_map(|open| left_open(open, now)));
        findings.extend(unsent(host, &journal.unsent, now));
    }
    findings.extend(activation(host));
    if findings.is_empty() {
        findings.push(Finding::ok(Id::SwitchesSettled, "no switch is left open or untold"));
    }
    findings
}

fn lock(host: &Host, journal: &JournalView) -> Option<Finding> {
    let path = quoted(&shown(&host.names.switch_lock));
    match &journal.lock {
        SwitchLock::Free => None,
        SwitchLock::Held(holder) => Some(
            Finding::info(Id::SwitchRunning, format!("a switch is running ({})", named(holder)))
                .because(
                    "What is said of the agent's job may be of the moment: look again when \
                    it is done.",
                ),
        ),
        SwitchLock::Stale(holder) => Some(
            Finding::warning(
                Id::SwitchLockStale,
                format!("the switch lock names a process that is gone ({})", named(holder)),
            )
            .because(
                "The wrapper of that switch was killed. The lock itself is free, so the \
                next switch is not kept from running; this wipes the name.",
            )
            .mended_by([format!(": > {path}")]),
        ),
        SwitchLock::HeldByStranger => Some(
            Finding::warning(
                Id::SwitchLockUnclear,
                "somebody holds the switch lock and does not say who it is",
            )
            .because(format!(
                "As long as it is held no switch runs. Somebody who only looks \
                    holds it for a moment; if it stays, `lsof {path}` says who it is."
            )),
        ),
        SwitchLock::Unusable(why) => Some(
            Finding::error(Id::SwitchLockUnclear, format!("the switch lock cannot be used: {why}"))
                .because(
                    "No switch runs without it. It is an empty file that nixfleet-switch \
                    makes anew.",
                )
                .mended_by([format!("mv {path} {path}.unusable")]),
        ),
    }
}

fn named(holder: &Holder) -> String {
    format!("pid {}, since {}", holder.process.pid, holder.since.strftime("%Y-%m-%d %H:%M:%S UTC"))
}

fn left_open(open: &OpenSwitch, now: Timestamp) -> Option<Finding> {
    let id = open.id;
    let child = open.child.unwrap_or(0);
    match open.phase {
        Phase::Orphaned => Some(
            Finding::warning(
                Id::HomeManagerOrphaned,
                format!("switch {id} (pid {child}) runs, and its wrapper is gone"),
            )
            .because(
                "No other switch may start beside it. Wait for it, or end it; how it ended \
                nobody will know.",
            )
            .mended_by([format!("kill -TERM -{child}"), ENSURE.to_owned()]),
        ),
        Phase::Remains => Some(
            Finding::warning(
                Id::HomeManagerOrphaned,
                format!(
                    "switch {id} is over, and something that it started \
                    still runs (process group {child})"
                ),
            )
            .because("It may be the activation itself. The agent, or the next switch, ends it.")
            .mended_by([format!("kill -TERM -{child}"), ENSURE.to_owned()]),
        ),
        Phase::Interrupted => Some(
            Finding::warning(
                Id::SwitchLeftOpen,
                format!("switch {id} was cut short, and nobody has closed it"),
            )
            .because(
                "The dashboard still shows it as running. The agent closes it, and so \
                    does the next switch.",
            )
            .mended_by([ENSURE.to_owned()]),
        ),
        Phase::Accepted if !is_fresh(open, now) => Some(
            Finding::warning(
                Id::SwitchLeftOpen,
                format!("switch {id} was accepted and never begun"),
            )
            .because("The agent closes it as not started, once it is up.")
            .mended_by([ENSURE.to_owned()]),
        ),
        Phase::Accepted
        | Phase::Empty
        | Phase::Waiting
        | Phase::Starting
        | Phase::Running
        | Phase::Ensuring
        | Phase::Finished { .. } => None,
    }
}

fn is_fresh(open: &OpenSwitch, now: Timestamp) -> bool {
    open.since.and_then(|at| since(at, now)).is_some_and(|age| age < FRESH_FOR)
}

/// Time since a moment; `None` if that lies in the future.
pub(super) fn since(at: Timestamp, now: Timestamp) -> Option<Duration> {
    now.duration_since(at).try_into().ok()
}

fn unsent(host: &Host, unsent: &Unsent, now: Timestamp) -> Option<Finding> {
    let kinds = [
        (unsent.results, "result", "results"),
        (unsent.healings, "healing", "healings"),
        (unsent.answers, "answer", "answers"),
    ];
    let counts: Vec<String> = kinds
        .into_iter()
        .filter(|(number, _, _)| *number > 0)
        .map(|(number, one, several)| counted(number, one, several))
        .collect();
    if counts.is_empty() {
        return None;
    }
    let oldest = unsent.since.map_or_else(
        || "since when cannot be told".to_owned(),
        |at| format!("the oldest from {}", at.strftime("%Y-%m-%d %H:%M:%S UTC")),
    );
    let summary = format!("the dashboard was not told: {} ({oldest})", counts.join(", "));
    let is_on_its_way =
        unsent.since.and_then(|at| since(at, now)).is_some_and(|age| age < ON_ITS_WAY);
    let explained = "The dashboard does not know how it ended. Nothing is lost: the agent tells \
        it as soon as it runs and the dashboard answers.";
    let finding = match (is_on_its_way, host.has_agent()) {
        (true, _) | (_, false) => Finding::info(Id::ResultsUnsent, summary),
        (false, true) => Finding::warning(Id::ResultsUnsent, summary),
    };
    let finding = finding.because(explained);
    // Where an agent runs, what keeps the dashboard from answering is said by itself.
    Some(if host.agent.alive().is_some() {
        finding
    } else {
        finding.mended_by([ENSURE.to_owned()])
    })
}

fn activation(host: &Host) -> Option<Finding> {
    match host.activation {
        Activation::Complete | Activation::Unknown => None,
        Activation::Incomplete if host.is_switching() => None,
        Activation::Incomplete => Some(
            Finding::warning(
                Id::ActivationIncomplete,
                "the last activation did not run to its end",
            )
            .because(
                "home-manager's profile is at one generation and what was activated is \
                    another: part of the new one is in place. Switching again activates all of \
                    it.",
            )
            .mended_by([switch_again(host)]),
        ),
    }
}
