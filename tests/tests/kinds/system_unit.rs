//! The agent as a unit of the whole system (`service_manager = systemd-system`).
//!
//! systemd has a stand-in: one loop that starts the agent again whenever it ends, as `Restart=always` says, and a
//! `systemctl` that lets everybody look and only root act. What a real system manager does with a unit's control group is
//! not played here.

use std::{
    fs,
    process::{Child, Stdio},
};

use nixfleet_protocol::journal::records::{
    AgentVerdict, HealingCause, Outcome, Reload, RunningProgram,
};
use nixfleet_tests::stage::{Trouble, dashboard::Dashboard, folder::HOST, processes, wait};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::bench::{Bench, text};

const CONFIG: &str = "service_manager = \"systemd-system\"\nswitch_kind = \"nixos-rebuild\"\n\
    systemctl = \"FOLDER/bin/systemctl\"\n";

/// Starts the agent again whenever it ends, unless `stopped` is there.
const MANAGER: &str = r"#!/bin/bash
trap 'exit 0' TERM
while :; do
    if [ -e FOLDER/stopped ]; then sleep 0.05; continue; fi
    FOLDER/bin/nixfleet-agent run 2>> FOLDER/agent.log &
    echo $! > FOLDER/main-pid
    wait $!
    rm -f FOLDER/main-pid
    sleep 0.2
done
";

const SYSTEMCTL: &str = r#"#!/bin/sh
case "$1 $2" in
    "show --property=LoadState"*)
        if [ -e FOLDER/main-pid ]; then state=active; elif [ -e FOLDER/stopped ]; then state=inactive; else state=activating; fi
        echo LoadState=loaded
        echo ActiveState=$state
        echo MainPID=$(cat FOLDER/main-pid 2>/dev/null || echo 0)
        echo NeedDaemonReload=no ;;
    "restart --no-block")
        [ -n "$ROOT" ] || { echo "Interactive authentication required." >&2; exit 1; }
        rm -f FOLDER/stopped ;;
    *) echo "not played: $*" >&2; exit 1 ;;
esac
"#;

/// A machine with such an agent, and its dashboard.
struct Scene {
    bench: Bench,
    manager: Child,
    dashboard: Dashboard,
    _place: TempDir,
}

impl Scene {
    /// With an agent that the dashboard knows.
    fn new() -> Option<Self> {
        let place = tempfile::tempdir().unwrap();
        let dashboard = Dashboard::start(&place.path().join("dashboard")).unwrap();
        let bench = Bench::at(dashboard.url(), CONFIG)?;
        let root = bench.folder.root().display().to_string();
        bench.program("systemctl", &SYSTEMCTL.replace("FOLDER", &root));
        bench.program("manager", &MANAGER.replace("FOLDER", &root));
        bench.give_away();
        let manager = bench.command("manager").stdout(Stdio::null()).spawn().unwrap();
        let scene = Self { bench, manager, dashboard, _place: place };
        scene.wait_for_agent(None);
        Some(scene)
    }

    fn wait_for_agent(&self, old: Option<&RunningProgram>) -> RunningProgram {
        wait::until("an agent has reached the dashboard", wait::PATIENCE, || {
            let agent = self.bench.folder.agent_record()?;
            let is_new = |agent: &RunningProgram| {
                agent.last_heartbeat_at.is_some()
                    && old.is_none_or(|old| agent.process != old.process)
            };
            Ok(agent.filter(is_new))
        })
        .unwrap()
    }

    fn ensure(&self) -> (Option<i32>, Reload) {
        let output = self.bench.switch(&["ensure-agent", "--json"]);
        (output.status.code(), serde_json::from_slice(&output.stdout).unwrap())
    }

    fn stop_agent(&self) {
        let agent = self.wait_for_agent(None);
        self.bench.folder.write("stopped", "").unwrap();
        self.bench.give_away();
        processes::signal(agent.process.pid, Signal::TERM);
        wait::until_true("the agent is gone", wait::PATIENCE, || {
            Ok(!agent.process.is_alive().map_err(|error| Trouble::Said(error.to_string()))?)
        })
        .unwrap();
    }

    fn end(mut self) {
        let root = self.bench.folder.root();
        wait::until_true("no wrapper is at work", wait::PATIENCE, || {
            Ok(!processes::of(root).iter().any(|found| found.command.contains("nixfleet-switch")))
        })
        .unwrap();
        processes::signal(self.manager.id(), Signal::TERM);
        let _ = self.manager.wait();
        processes::signal(self.wait_for_agent(None).process.pid, Signal::TERM);
        self.bench.end();
    }
}

#[test]
fn an_agent_that_is_outdated_hands_over_without_any_rights() {
    let Some(scene) = Scene::new() else { return };
    let old = scene.wait_for_agent(None);
    let path = scene.bench.folder.path("config.toml");
    let config = fs::read_to_string(&path).unwrap();
    fs::write(&path, config + "location = \"attic\"\n").unwrap();
    let new = scene.wait_for_agent(Some(&old));
    assert_ne!(new.config_digest, old.config_digest);
    let healing = wait::until("the healing is in the journal", wait::PATIENCE, || {
        let journal = scene.bench.folder.journal()?;
        let ids = journal.healing_ids().map_err(|error| Trouble::Said(error.to_string()))?;
        Ok(ids.into_iter().find_map(|id| journal.healing(id).healing.present()))
    })
    .unwrap();
    assert_eq!(
        (healing.cause, healing.reload.verdict),
        (HealingCause::AgentOutdated, AgentVerdict::Back)
    );
    assert_eq!(scene.bench.calls(), [""; 0]);
    scene.end();
}

#[test]
fn an_agent_that_does_not_run_is_started_by_sudo() {
    let Some(scene) = Scene::new() else { return };
    let (code, healthy) = scene.ensure();
    assert_eq!((code, healthy.verdict), (Some(0), AgentVerdict::Healthy));
    let old = scene.wait_for_agent(None);
    scene.stop_agent();
    let (code, back) = scene.ensure();
    assert_eq!((code, back.verdict), (Some(0), AgentVerdict::Back), "{back:?}");
    scene.wait_for_agent(Some(&old));
    let restart = "FOLDER/bin/systemctl restart --no-block -- nixfleet-agent.service";
    assert_eq!(scene.bench.calls(), [format!("sudo -n -- {restart}")]);

    scene.bench.folder.write("asks", "").unwrap();
    scene.stop_agent();
    let (code, reload) = scene.ensure();
    assert_eq!((code, reload.verdict), (Some(69), AgentVerdict::NotBack), "{reload:?}");
    assert!(reload.explanation.contains("tester ALL=(root) NOPASSWD: "), "{reload:?}");
    assert!(reload.duration_ms < 10_000, "{reload:?}");
    fs::remove_file(scene.bench.folder.path("asks")).unwrap();
    fs::remove_file(scene.bench.folder.path("stopped")).unwrap();
    scene.end();
}

/// As `switch-to-configuration` does, which restarts the units that have changed.
#[test]
fn a_switch_that_restarts_its_agent_is_reported_by_the_next_one() {
    let Some(scene) = Scene::new() else { return };
    let old = scene.wait_for_agent(None);
    let pid = scene.bench.folder.path("main-pid").display().to_string();
    scene.bench.scenario(&format!("kill $(cat {pid}); sleep 1"));
    let command = scene.dashboard.command(HOST, "switch").unwrap();
    let told = scene.dashboard.wait_for_result(HOST, &command).unwrap().result.unwrap();
    assert_eq!((told.outcome, told.exit_code), (Outcome::Succeeded, Some(0)));
    scene.wait_for_agent(Some(&old));
    scene.end();
}

#[test]
fn there_is_no_watchdog_to_install_and_doctor_knows_it() {
    let Some(scene) = Scene::new() else { return };
    let refused = scene.bench.switch(&["install"]);
    assert_eq!(refused.status.code(), Some(78), "{refused:?}");
    assert!(text(&refused.stderr).contains("Restart=always"), "{refused:?}");
    let looked = scene.bench.switch(&["doctor", "--json"]);
    let report: serde_json::Value = serde_json::from_slice(&looked.stdout).unwrap();
    assert_eq!(report["service_manager"], "systemd-system");
    let ids: Vec<&str> = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|finding| finding["id"].as_str())
        .collect();
    assert!(
        ids.contains(&"switch-program") && !ids.iter().any(|id| id.starts_with("watchdog")),
        "{ids:?}"
    );
    scene.end();
}
