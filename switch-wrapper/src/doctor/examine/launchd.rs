//! The agent's job under launchd.

use std::collections::BTreeSet;

use super::{ENSURE, agent, plist};
use crate::{
    doctor::{
        finding::{Finding, Id, quoted},
        observations::{Domain, Host, JobLook, Launchd, shown},
    },
    ensure::{
        definition::{Domains, OnDisk},
        launchctl::{Job, JobView},
    },
};

/// Everything about launchd and the job in it.
pub(super) fn examine(host: &Host, launchd: &Launchd) -> Vec<Finding> {
    let mut findings = plist::examine(host, &launchd.plist);
    findings.push(answers(host, launchd));
    findings.extend(session(host, launchd));
    findings.extend(on_demand_only(host, launchd));
    findings.extend(disabled(host, launchd));
    findings.extend(job(host, launchd));
    findings.extend(host.has_agent().then(|| login_items(host, launchd)));
    findings
}

/// Whether launchctl can be relied on.
fn answers(host: &Host, launchd: &Launchd) -> Finding {
    if let Some(why) = &launchd.silent {
        return Finding::error(Id::LaunchctlSilent, format!("launchctl does not answer: {why}"))
            .because(
                "The agent's job cannot be looked at, and nobody can bring it back. If it \
                is not there, name the right one with NIXFLEET_LAUNCHCTL; if it hangs, only a \
                restart of the Mac helps.",
            );
    }
    match not_understood(launchd) {
        Some(why) => Finding::warning(
            Id::LaunchctlNotUnderstood,
            format!("launchctl is not understood: {why}"),
        )
        .because(format!(
            "What hangs on that answer is not judged here, and whoever \
                    looks after the agent waits for a better one. `{} print {}` shows it.",
            shown(&host.names.launchctl),
            target(host)
        )),
        None => Finding::ok(Id::ServiceManager, "launchctl answers"),
    }
}

fn not_understood(launchd: &Launchd) -> Option<&String> {
    let domain = match &launchd.gui {
        Domain::Unclear(why) => Some(why),
        Domain::Absent | Domain::There { .. } => None,
    };
    let jobs =
        [&launchd.in_gui, &launchd.in_user].into_iter().filter_map(|look| match &look.view {
            JobView::Unclear(why) | JobView::NoTool(why) => Some(why),
            JobView::NoDomain | JobView::NotLoaded | JobView::Loaded(_) => None,
        });
    domain.into_iter().chain(jobs).chain(launchd.disabled.as_ref().err()).next()
}

fn session(host: &Host, launchd: &Launchd) -> Option<Finding> {
    let is_absent = launchd.gui == Domain::Absent;
    let summary = "nobody is logged in at the screen, so launchd has no place for its jobs";
    match (is_absent, domains(launchd), host.agent.alive()) {
        (false, _, _) => None,
        (true, Domains::Gui, None) => Some(Finding::error(Id::NoGuiSession, summary).because(
            "The agent starts at the next login, not before. No command mends that: log in at \
                the Mac's screen, turn on automatic login, or let the definition load in the \
                background (LimitLoadToSessionType).",
        )),
        (true, Domains::Gui | Domains::Both | Domains::User, _) => {
            Some(Finding::info(Id::NoGuiSession, summary))
        }
    }
}

/// Where the definition may be loaded; launchd's own default where there is none.
fn domains(launchd: &Launchd) -> Domains {
    match &launchd.plist.on_disk {
        OnDisk::Good(definition) => definition.domains,
        OnDisk::Absent | OnDisk::Bad(_) | OnDisk::SomebodyElses(_) => Domains::Gui,
    }
}

fn on_demand_only(host: &Host, launchd: &Launchd) -> Option<Finding> {
    let Domain::There { on_demand_count: count @ 1.. } = launchd.gui else { return None };
    let summary =
        format!("launchd starts nothing by itself at the moment (on-demand count = {count})");
    let finding = if host.agent.alive().is_some() {
        Finding::info(Id::DomainOnDemandOnly, summary)
    } else {
        Finding::warning(Id::DomainOnDemandOnly, summary).mended_by([ENSURE.to_owned()])
    };
    Some(finding.because(
        "A login or a restart that was not brought to its end does that. A job \
        that ends is not started again meanwhile, except on demand: the watchdog and \
        ensure-agent do it so.",
    ))
}

fn disabled(host: &Host, launchd: &Launchd) -> Option<Finding> {
    let is_disabled = is_listed(&host.names.label, launchd.disabled.as_ref().ok());
    is_disabled.then(|| {
        Finding::error(Id::AgentDisabled, format!("an override forbids {}", host.names.label))
            .because(
                "launchd does not load it at login, nor on request. Somebody called \
                `launchctl disable` or `unload -w`, or turned it off in System Settings > \
                General > Login Items.",
            )
            .mended_by([enable(host, &host.names.label), ENSURE.to_owned()])
    })
}

/// Whether the label is among those that an override forbids.
pub(super) fn is_listed(label: &str, disabled: Option<&BTreeSet<String>>) -> bool {
    disabled.is_some_and(|labels| labels.contains(label))
}

/// The command that lifts an override.
pub(super) fn enable(host: &Host, label: &str) -> String {
    let launchctl = quoted(&shown(&host.names.launchctl));
    format!("{launchctl} enable {}", quoted(&format!("gui/{}/{label}", host.names.uid)))
}

fn target(host: &Host) -> String {
    quoted(&format!("gui/{}/{}", host.names.uid, host.names.label))
}

/// Where the job is loaded, and how it is.
fn job(host: &Host, launchd: &Launchd) -> Vec<Finding> {
    let (gui, user) = (&launchd.in_gui, &launchd.in_user);
    match (&gui.view, &user.view) {
        (JobView::Loaded(_), JobView::Loaded(_)) => {
            vec![wrong_domain(host, "it is loaded twice, in gui and in user")]
        }
        (JobView::Loaded(_), _) if domains(launchd) == Domains::User => {
            vec![wrong_domain(host, "it is loaded in gui, and its definition names user")]
        }
        (_, JobView::Loaded(_)) if domains(launchd) == Domains::Gui => {
            vec![wrong_domain(host, "it is loaded in user, and its definition names gui")]
        }
        (JobView::Loaded(job), _) => loaded(host, launchd, gui, job),
        (_, JobView::Loaded(job)) => loaded(host, launchd, user, job),
        (JobView::Unclear(_) | JobView::NoTool(_), _)
        | (_, JobView::Unclear(_) | JobView::NoTool(_)) => {
            agent::by_its_record(host).into_iter().collect()
        }
        (JobView::NotLoaded | JobView::NoDomain, JobView::NotLoaded | JobView::NoDomain) => {
            not_loaded(host, launchd).into_iter().collect()
        }
    }
}

fn wrong_domain(host: &Host, how: &str) -> Finding {
    Finding::error(
        Id::AgentWrongDomain,
        format!("{} is in the wrong domain: {how}", host.names.label),
    )
    .because(
        "A job that was loaded over ssh lands there. It does not come back at the next \
            login, and two of them would fight for the agent's lock.",
    )
    .mended_by([ENSURE.to_owned()])
}

fn not_loaded(host: &Host, launchd: &Launchd) -> Option<Finding> {
    let has_place = match domains(launchd) {
        Domains::Gui => launchd.gui != Domain::Absent,
        Domains::User | Domains::Both => true,
    };
    let is_defined = matches!(launchd.plist.on_disk, OnDisk::Good(_));
    if !is_defined || !has_place {
        // That it has no definition, or no session, is said already.
        return None;
    }
    let label = &host.names.label;
    let moment = if host.is_switching() {
        "A switch is running, so this may be of the moment. "
    } else {
        ""
    };
    let outside = host.agent.alive().map_or_else(String::new, |agent| {
        format!(" An agent runs all the same (pid {}), outside of launchd.", agent.process.pid)
    });
    Some(
        Finding::error(
            Id::AgentLabelMissing,
            format!(
                "launchd does not know {label}, although \
            its definition is on disk"
            ),
        )
        .because(format!(
            "{moment}A label that is not loaded is not started by anybody \
                before the next login. A switch that was cut between taking the agent out and \
                loading it again leaves that behind.{outside}"
        ))
        .mended_by([ENSURE.to_owned()]),
    )
}

/// The job is loaded where it should be.
fn loaded(host: &Host, launchd: &Launchd, look: &JobLook, job: &Job) -> Vec<Finding> {
    let differs = differs(host, launchd, job);
    let state = match job.pid {
        Some(pid) if job.is_leaving => Some(leaving(host, pid)),
        Some(pid) => agent::of_job(host, pid, differs.is_none()),
        None => Some(without_process(host, look, job)),
    };
    differs.into_iter().chain(state).collect()
}

fn differs(host: &Host, launchd: &Launchd, job: &Job) -> Option<Finding> {
    let OnDisk::Good(definition) = &launchd.plist.on_disk else { return None };
    let has_other_file = agent::has_other_definition(host) && job.pid.is_some();
    let seen = job.differs_in(definition);
    if job.has_arguments(&definition.arguments) && seen.is_none() && !has_other_file {
        return None;
    }
    let what = seen.map_or_else(String::new, |what| format!(" ({what} differs)"));
    let summary = format!("what launchd has loaded is not what is on disk{what}");
    Some(
        Finding::warning(Id::AgentDefinitionDiffers, summary)
            .because(
                "launchd reads a definition when it is loaded, and never again: the agent \
                goes on with the old one until the next login. home-manager compares files only, \
                so the next switch calls it up-to-date.",
            )
            .mended_by([ENSURE.to_owned()]),
    )
}

fn leaving(host: &Host, pid: u32) -> Finding {
    Finding::warning(
        Id::AgentNotRunning,
        format!("launchd is taking {} out (pid {pid} has been told to end)", host.names.label),
    )
    .because("In a few seconds the label is gone. Unless a switch is at it, nobody loads it again.")
    .mended_by([ENSURE.to_owned()])
}

/// The job is loaded, and nothing of it runs.
fn without_process(host: &Host, look: &JobLook, job: &Job) -> Finding {
    let label = &host.names.label;
    if let Some(word) = &look.pended {
        let runs = look.runs.map_or_else(String::new, |runs| format!(", runs = {runs}"));
        return Finding::error(
            Id::AgentSpawnPended,
            format!("launchd has put off starting {label} (pended nondemand spawn = {word}{runs})"),
        )
        .because(
            "It may do so for minutes, for days, or for ever: after a login that did not \
            end, in Low Power Mode, after crashes. A start on demand is not put off.",
        )
        .mended_by([ENSURE.to_owned()]);
    }
    if job.cannot_run {
        return Finding::error(
            Id::AgentCannotBeExecuted,
            format!("launchd could not run {label} (last exit code = 78: EX_CONFIG)"),
        )
        .because(
            "Its program was not there, or its log file could not be opened, or the store \
            was not mounted yet. launchd does not try again by itself.",
        )
        .mended_by([ENSURE.to_owned()]);
    }
    let state = look.state.as_deref().unwrap_or("unknown");
    Finding::error(
        Id::AgentNotRunning,
        format!("{label} is loaded and does not run (state = {state})"),
    )
    .because(
        "It has ended and was not started again, or launchd waits because it has ended \
            too often. Its log says why, if it has one.",
    )
    .mended_by([ENSURE.to_owned()])
}

/// Only root can ask macOS itself.
fn login_items(host: &Host, launchd: &Launchd) -> Finding {
    let job = [&launchd.in_gui, &launchd.in_user].into_iter().find_map(|look| match &look.view {
        JobView::Loaded(job) => job.pid,
        JobView::NoDomain | JobView::NotLoaded | JobView::Unclear(_) | JobView::NoTool(_) => None,
    });
    if job.is_some_and(|pid| host.agent.belongs_to(pid)) {
        return Finding::ok(Id::LoginItems, "launchd has started the agent, so Login Items let it");
    }
    Finding::unknown(Id::LoginItems, "cannot tell whether Login Items forbid the agent").because(
        "Only root can ask macOS. Look into System Settings > General > Login Items: \
            the agent must be allowed in the background. home-manager's jobs may be listed there \
            as \"sh\".",
    )
}
