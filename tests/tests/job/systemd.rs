//! The main path under a real `systemd --user`, with the agent as a real unit.
//!
//! One test, scene after scene: the user managers of several scenes at once would share control groups.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is a failure with its place")]

use std::{fs, time::Duration};

use nixfleet_protocol::journal::records::{AgentVerdict, HealingCause, Initiator, Outcome};
use nixfleet_tests::stage::{
    Trouble,
    dashboard::Dashboard,
    folder::HOST,
    linux::{self, Linux},
    not_run, processes, wait,
};
use rustix::process::Signal;

const WATCHDOG: &str = "nixfleet-watchdog.service";

#[test]
fn under_a_real_systemd() {
    if let Some(missing) = linux::missing() {
        not_run(&format!("no user manager can run here: {missing}"));
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let dashboard = Dashboard::start(&place.path().join("dashboard")).unwrap();
    let linux = Linux::new(dashboard.url()).unwrap();
    let root = linux.folder.root().to_owned();
    a_switch_that_restarts_its_agent(&linux, &dashboard);
    a_user_s_switch(&linux, &dashboard);
    an_agent_that_was_stopped_is_started(&linux);
    an_agent_that_is_killed_during_a_switch(&linux, &dashboard);
    an_agent_that_is_stuck_is_replaced_by_systemd(&linux);
    a_config_that_needs_the_unit_s_own_variables(&linux, &dashboard);
    a_watchdog_as_a_unit_of_its_own(&linux);
    drop(linux);
    processes::none_left(&root, Duration::from_secs(20)).unwrap();
}

/// home-manager restarts the unit, systemd ends its whole control group, and the switch goes on in its own scope.
fn a_switch_that_restarts_its_agent(linux: &Linux, dashboard: &Dashboard) {
    let old = linux.wait_for_agent(None).unwrap();
    linux.next_switch_replaces_the_agent(2, "BUILD_SECONDS=1\nOUTPUT_LINES=5").unwrap();
    let command = dashboard.command(HOST, "switch").unwrap();
    let scope = wait::until("home-manager runs", wait::PATIENCE, || {
        let Some(id) = linux.folder.newest_switch()? else { return Ok(None) };
        let started = linux.folder.journal()?.entry(id).started.present();
        Ok(started.and_then(|started| control_group(started.child.pid)))
    })
    .unwrap();
    assert!(scope.contains("nixfleet-switch-") && scope.contains(".scope"), "{scope}");
    let result = dashboard.wait_for_result(HOST, &command).unwrap().result.unwrap();
    assert_eq!((result.outcome, result.exit_code), (Outcome::Succeeded, Some(0)));
    let new = linux.wait_for_agent(Some(&old)).unwrap();
    assert!(new.process.is_alive().unwrap());
    assert_eq!(linux.folder.home_manager_runs(), 1);
    assert_eq!(dashboard.switches(HOST).unwrap().len(), 1);
}

fn a_user_s_switch(linux: &Linux, dashboard: &Dashboard) {
    let old = linux.wait_for_agent(None).unwrap();
    linux.next_switch_replaces_the_agent(3, "").unwrap();
    let output = linux.user_command("nixfleet-switch").arg("--wait").output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    linux.wait_for_agent(Some(&old)).unwrap();
    wait::until_true("the dashboard has the user's switch", wait::PATIENCE, || {
        let switches = dashboard.switches(HOST)?;
        Ok(switches.iter().any(|switch| {
            let result = switch.result.as_ref();
            result.is_some_and(|result| {
                result.initiator == Initiator::User && result.outcome == Outcome::Succeeded
            })
        }))
    })
    .unwrap();
}

fn an_agent_that_was_stopped_is_started(linux: &Linux) {
    let old = linux.wait_for_agent(None).unwrap();
    linux.systemctl(&["stop", linux::UNIT]).unwrap();
    let output =
        linux.user_command("nixfleet-switch").args(["ensure-agent", "--json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["verdict"], AgentVerdict::Back.as_str());
    linux.wait_for_agent(Some(&old)).unwrap();
}

fn an_agent_that_is_killed_during_a_switch(linux: &Linux, dashboard: &Dashboard) {
    let old = linux.wait_for_agent(None).unwrap();
    linux.folder.scenario("PLATFORM=linux\nBUILD_SECONDS=2").unwrap();
    let command = dashboard.command(HOST, "switch").unwrap();
    wait::until_true("home-manager builds", wait::PATIENCE, || {
        let runs = linux.folder.home_manager_runs();
        Ok::<_, Trouble>(runs == 3)
    })
    .unwrap();
    processes::signal(old.process.pid, Signal::KILL);
    let result = dashboard.wait_for_result(HOST, &command).unwrap().result.unwrap();
    assert_eq!(result.outcome, Outcome::Succeeded);
    linux.wait_for_agent(Some(&old)).unwrap();
}

/// The unit's `WatchdogSec`: the agent's signs of life stop with its loop.
fn an_agent_that_is_stuck_is_replaced_by_systemd(linux: &Linux) {
    let old = linux.wait_for_agent(None).unwrap();
    processes::signal(old.process.pid, Signal::STOP);
    linux.wait_for_agent(Some(&old)).unwrap();
}

/// With the config alone no agent would come up, with what its unit says one does.
fn a_config_that_needs_the_unit_s_own_variables(linux: &Linux, dashboard: &Dashboard) {
    let path = linux.folder.path("home/.config/systemd/user").join(linux::UNIT);
    let unit = fs::read_to_string(&path).unwrap();
    let variable = format!("[Service]\nEnvironment=NIXFLEET_URL={}", dashboard.url());
    fs::write(&path, unit.replace("[Service]", &variable)).unwrap();
    linux.systemctl(&["daemon-reload"]).unwrap();
    linux.systemctl(&["restart", linux::UNIT]).unwrap();
    let old = linux.wait_for_agent(None).unwrap();
    let config = fs::read_to_string(linux.folder.path("config.toml")).unwrap();
    let lines: Vec<&str> = config.lines().filter(|line| !line.starts_with("url =")).collect();
    linux.folder.write("config.toml", &lines.join("\n")).unwrap();
    let output =
        linux.user_command("nixfleet-switch").args(["ensure-agent", "--json"]).output().unwrap();
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["verdict"], AgentVerdict::Back.as_str(), "{told}");
    let new = linux.wait_for_agent(Some(&old)).unwrap();
    assert_ne!(new.config_digest, old.config_digest);
}

fn a_watchdog_as_a_unit_of_its_own(linux: &Linux) {
    let switch =
        |words: &[&str]| linux.user_command("nixfleet-switch").args(words).output().unwrap();
    let installed = switch(&["install", "--json"]);
    assert_eq!(installed.status.code(), Some(0), "{installed:?}");
    let show = |property: &str| {
        let property = format!("--property={property}");
        linux.systemctl(&["show", &property, "--value", WATCHDOG]).unwrap().trim().to_owned()
    };
    // `notify`: it has said itself that it is up.
    assert_eq!((show("Type"), show("ActiveState")), ("notify".to_owned(), "active".to_owned()));
    assert_eq!(show("UnitFileState"), "enabled");
    let pid = show("MainPID");
    assert_eq!(switch(&["install"]).status.code(), Some(0));
    assert_eq!(show("MainPID"), pid);
    // An installation that was cut short after it had written the unit is finished by the next one.
    linux.systemctl(&["disable", WATCHDOG]).unwrap();
    assert_eq!(switch(&["install"]).status.code(), Some(0));
    assert_eq!((show("UnitFileState"), show("MainPID")), ("enabled".to_owned(), pid));

    let old = linux.wait_for_agent(None).unwrap();
    linux.systemctl(&["stop", linux::UNIT]).unwrap();
    linux.wait_for_agent(Some(&old)).unwrap();
    let healing = wait::until("the healing is in the journal", wait::PATIENCE, || {
        let journal = linux.folder.journal()?;
        let ids = journal.healing_ids().map_err(|error| Trouble::Said(error.to_string()))?;
        let mut healings = ids.into_iter().filter_map(|id| journal.healing(id).healing.present());
        Ok(healings.next_back().filter(|healing| healing.cause == HealingCause::AgentMissing))
    })
    .unwrap();
    assert_eq!(healing.reload.verdict, AgentVerdict::Back);

    let removed = switch(&["uninstall"]);
    assert_eq!(removed.status.code(), Some(0), "{removed:?}");
    assert_eq!(show("ActiveState"), "inactive");
    assert_eq!(switch(&["uninstall"]).status.code(), Some(0));
}

/// The control group of a process in systemd's own hierarchy.
fn control_group(pid: u32) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let line =
        text.lines().find(|line| line.starts_with("0::") || line.contains("name=systemd"))?;
    line.splitn(3, ':').nth(2).map(str::to_owned)
}
