//! The main path under a real `systemd --user`, with the agent as a real unit.
//!
//! One test, scene after scene: the user managers of several scenes at once would share control groups.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is a failure with its place")]

use std::time::Duration;

use nixfleet_protocol::journal::records::{AgentVerdict, Initiator, Outcome};
use nixfleet_tests::stage::{
    Trouble,
    dashboard::Dashboard,
    folder::HOST,
    linux::{self, Linux},
    not_run, processes, wait,
};
use rustix::process::Signal;

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

/// The control group of a process in systemd's own hierarchy.
fn control_group(pid: u32) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let line =
        text.lines().find(|line| line.starts_with("0::") || line.contains("name=systemd"))?;
    line.splitn(3, ':').nth(2).map(str::to_owned)
}
