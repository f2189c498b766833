//! A host that is well, and what is found when one thing after the other is not.

mod common;
mod launchd;
mod systemd;

use std::path::PathBuf;

use jiff::Timestamp;
use nixfleet_protocol::{
    installed::Difference,
    journal::{
        read::Found,
        records::{Activation, FORMAT, Installation, RunningProgram},
    },
    process::ProcessIdentity,
    switch_kind::SwitchKind,
};

use super::examine;
use crate::{
    doctor::{
        finding::{Finding, Severity},
        observations::{
            Agent, Domain, Entry, HomeManager, Host, Installed, JobLook, JournalView, Launchd,
            Life, Names, Observations, Plist, Service, State, Systemd, Watchdog,
        },
    },
    ensure::{
        definition::{Definition, Domains, OnDisk},
        launchctl::{Job, JobView},
        systemd_plan::{ActiveState, Unit, UnitView},
    },
    settings::UnitManager,
};

const UID: u32 = 501;
const PID: u32 = 77;
const LABEL: &str = "com.nixfleet.agent";

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn arguments() -> Vec<String> {
    ["/bin/agent", "run"].map(str::to_owned).into()
}

fn job(pid: Option<u32>) -> Job {
    Job {
        pid,
        is_leaving: false,
        is_readable: true,
        cannot_run: false,
        last_end: None,
        runs: Some(1),
        pended: None,
        environment: None,
        values: std::collections::BTreeMap::new(),
        arguments: Some(arguments().join("\n")),
        exit_timeout: std::time::Duration::from_secs(5),
    }
}

fn look(view: JobView) -> JobLook {
    JobLook { view, runs: Some(1), state: Some("running".to_owned()), pended: None }
}

fn entry(mode: u32) -> Entry {
    Entry { is_link: false, owner: UID, mode, is_writable: true }
}

/// A Mac on which all is well.
fn mac() -> Host {
    let definition = Definition { arguments: arguments(), ..Definition::default() };
    let launchd = Launchd {
        silent: None,
        gui: Domain::There { on_demand_count: 0 },
        in_gui: look(JobView::Loaded(job(Some(PID)))),
        in_user: look(JobView::NotLoaded),
        disabled: Ok(["com.example.other".to_owned()].into()),
        plist: Plist {
            on_disk: OnDisk::Good(definition),
            file: Some(entry(0o444)),
            folder: Some(entry(0o755)),
            missing: Vec::new(),
        },
        macos: Some(15),
    };
    host(Service::Launchd(Box::new(launchd)))
}

/// A Linux machine on which all is well.
fn linux() -> Host {
    let unit =
        Unit { is_masked: false, needs_reload: false, state: ActiveState::Active, pid: Some(PID) };
    host(Service::Systemd(Systemd {
        manager: UnitManager::User,
        unit: UnitView::Known(unit),
        lingers: Ok(true),
    }))
}

fn host(service: Service) -> Host {
    let state = PathBuf::from("/home/me/.local/state/nixfleet");
    Host {
        names: Names {
            host: "laptop.local".to_owned(),
            uid: UID,
            home_owner: Some(UID),
            label: LABEL.to_owned(),
            plist: PathBuf::from("/home/me/Library/LaunchAgents/com.nixfleet.agent.plist"),
            switch_lock: state.join("switch.lock"),
            state,
            launchctl: PathBuf::from("/bin/launchctl"),
        },
        service,
        agent: Agent {
            record: Found::Present(program()),
            life: Life::Alive,
            group: Some(PID),
            difference: None,
            stuck_for: None,
        },
        watchdog: Watchdog {
            installation: Found::Present(Installation {
                format: FORMAT,
                installed_at: now(),
                version: "1".to_owned(),
                wrapper: PathBuf::from("/bin/nixfleet-switch"),
                leads_to: PathBuf::from("/nix/store/x/bin/nixfleet-switch"),
                watchdog_label: "com.nixfleet.watchdog".to_owned(),
                watchdog_definition: PathBuf::from("/watchdog.plist"),
            }),
            is_running: Some(true),
            has_definition: true,
        },
        wrapper: Installed::There(PathBuf::from("/bin/nixfleet-switch")),
        state: State::There { entry: entry(0o700), free_bytes: Some(u64::MAX) },
        journal: Some(JournalView::default()),
        home_manager: HomeManager::Release {
            path: PathBuf::from("/bin/home-manager"),
            release: (26, 11),
        },
        activation: Activation::Complete,
    }
}

fn program() -> RunningProgram {
    RunningProgram {
        format: FORMAT,
        process: ProcessIdentity { pid: PID, start: "1".to_owned() },
        started_at: now(),
        version: "1".to_owned(),
        exe: PathBuf::from("/bin/agent"),
        invoked_as: None,
        config_path: None,
        config_digest: None,
        definition_path: None,
        definition_digest: None,
        last_heartbeat_at: Some(now()),
        dashboard: Some(nixfleet_protocol::journal::records::DashboardContact::default()),
    }
}

fn findings(host: Host) -> Vec<Finding> {
    examine(&Observations { now: now(), configuration: Ok(()), host: Some(host) })
}

/// What of a host is not as it should be, each with its severity, and nothing else.
#[track_caller]
fn check(name: &str, host: Host, expected: &[(&str, Severity)]) -> Vec<Finding> {
    let findings = findings(host);
    let found: Vec<(&str, Severity)> = findings
        .iter()
        .filter(|finding| finding.severity != Severity::Ok)
        .map(|finding| (finding.id.as_str(), finding.severity))
        .collect();
    assert_eq!(found, expected, "{name}: {findings:#?}");
    let is_explained =
        |finding: &&Finding| !finding.severity.needs_attention() || !finding.explanation.is_empty();
    assert!(findings.iter().all(|finding| is_explained(&finding)), "{name}: {findings:#?}");
    findings
}

/// The command lines for a finding.
fn remedy(findings: &[Finding], id: &str) -> Vec<String> {
    let of_it = findings.iter().find(|finding| finding.id.as_str() == id);
    of_it.unwrap().remedy.clone().unwrap_or_default()
}

fn gone(agent: &mut Agent) {
    agent.life = Life::Gone;
    agent.group = None;
}

#[test]
fn a_host_that_is_well_is_said_to_be() {
    check("mac", mac(), &[]);
    check("linux", linux(), &[]);
    let mut none = host(Service::None);
    check("none", none.clone(), &[("service-manager-none", Severity::Info)]);
    gone(&mut none.agent);
    check(
        "none, and no agent",
        none,
        &[
            ("service-manager-none", Severity::Info),
            ("agent-not-running", Severity::Error),
            ("dashboard-unknown", Severity::Unknown),
        ],
    );
}

/// The one that every kind of service manager shares.
#[test]
fn an_agent_that_is_not_what_is_installed() {
    for make in [mac, linux, || host(Service::None)] {
        for (difference, is_said) in [
            (Difference::Executable, true),
            (Difference::Config, true),
            (Difference::Definition, false),
        ] {
            let mut host = make();
            host.agent.difference = Some(difference);
            let found = findings(host);
            let outdated = found.iter().any(|finding| finding.id.as_str() == "agent-outdated");
            assert_eq!(outdated, is_said, "{difference}");
        }
    }
}
