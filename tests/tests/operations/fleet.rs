//! The same, asked for by a dashboard: through the agent, which some of it takes out.

use std::{fs, io::Write as _, os::unix::fs::PermissionsExt as _, time::Duration};

use nixfleet_protocol::{
    journal::records::Outcome,
    nix_log::NixPhase,
    operation::{Operation, Step},
};
use nixfleet_tests::stage::{
    dashboard::{Dashboard, Switch},
    folder::HOST,
    mac::{Mac, MacOptions},
    wait,
};
use tempfile::TempDir;

use crate::remote::Remote;

struct Fleet {
    mac: Mac,
    dashboard: Dashboard,
    remote: Remote,
    place: TempDir,
}

impl Fleet {
    /// A Mac that is switched from its own clone.
    fn ready() -> Option<Self> {
        let place = tempfile::tempdir().unwrap();
        let remote = Remote::new(place.path())?;
        let dashboard = Dashboard::start(&place.path().join("dashboard")).unwrap();
        let mac = Mac::without_agent(dashboard.url(), MacOptions::default()).unwrap();
        let config = mac.folder.path("config.toml");
        let mut config = fs::OpenOptions::new().append(true).open(config).unwrap();
        writeln!(config, "repo_url = {:?}", place.path().join("remote").display().to_string())
            .unwrap();
        mac.load_agent().unwrap();
        mac.wait_for_agent().unwrap();
        Some(Self { mac, dashboard, remote, place })
    }

    fn ask(&self, verb: &str) -> Switch {
        let command = self.dashboard.command(HOST, verb).unwrap();
        self.dashboard.wait_for_result(HOST, &command).unwrap()
    }
}

#[test]
fn every_operation_of_a_dashboard_has_its_one_true_result() {
    let Some(fleet) = Fleet::ready() else { return };
    let old = fleet.mac.agent().unwrap().unwrap();
    fleet.mac.next_switch_replaces_the_agent(2, "GENERATION=one").unwrap();
    let switch = fleet.ask("pull-switch");
    let result = switch.result.unwrap();
    assert_eq!((result.outcome, result.operation), (Outcome::Succeeded, Operation::PullSwitch));
    assert!(result.steps.unwrap().pulled.unwrap().is_fresh);
    let new = fleet.mac.wait_for_next_agent(&old).unwrap();
    assert!(fleet.mac.dark_time(&old, &new).unwrap() < Duration::from_mins(1));

    fleet.remote.publish_test("T01-ill.sh", "exit 1");
    let pulled = fleet.ask("pull").result.unwrap();
    assert_eq!((pulled.outcome, pulled.operation), (Outcome::Succeeded, Operation::Pull));
    let tested = fleet.ask("test").result.unwrap();
    assert_eq!((tested.outcome, tested.operation), (Outcome::Failed, Operation::Test));
    let host = fleet.dashboard.host(HOST).unwrap().unwrap();
    assert_eq!(host.tests["status"], "0/1 pass, 1 fail");
    assert_eq!(host.tests["running"], false);

    fleet.mac.next_switch_replaces_the_agent(3, "GENERATION=two").unwrap();
    let old = fleet.mac.agent().unwrap().unwrap();
    let two = fleet.ask("switch").result.unwrap();
    fleet.mac.wait_for_next_agent(&old).unwrap();
    let old = fleet.mac.agent().unwrap().unwrap();
    let back = fleet.ask("rollback").result.unwrap();
    assert_eq!(
        (back.outcome, back.operation),
        (Outcome::Succeeded, Operation::Rollback),
        "{back:?}"
    );
    assert_eq!(back.generation_after, two.generation_before);
    fleet.mac.wait_for_next_agent(&old).unwrap();

    let looked_ahead = fleet.ask("dry-run").result.unwrap();
    assert_eq!(looked_ahead.operation, Operation::DryRun);
    assert_eq!(looked_ahead.generation_after, back.generation_after);
    assert_eq!(fleet.dashboard.switches(HOST).unwrap().len(), 6);
}

#[test]
fn a_switch_waits_for_a_pull_and_a_pull_does_not_wait_for_a_switch() {
    let Some(fleet) = Fleet::ready() else { return };
    fleet.remote.publish_test("T01.sh", "sleep 2");
    assert_eq!(fleet.ask("pull").result.unwrap().outcome, Outcome::Succeeded);
    let test = fleet.dashboard.command(HOST, "test").unwrap();
    let switch = fleet.dashboard.command(HOST, "switch").unwrap();
    let outcome = |command: &str| {
        fleet.dashboard.wait_for_result(HOST, command).unwrap().result.unwrap().outcome
    };
    assert_eq!((outcome(&test), outcome(&switch)), (Outcome::Succeeded, Outcome::Succeeded));

    fleet.mac.folder.scenario("BUILD_SECONDS=2\n").unwrap();
    let runs = fleet.mac.folder.home_manager_runs();
    let switch = fleet.dashboard.command(HOST, "switch").unwrap();
    wait::until_true("home-manager runs", wait::PATIENCE, || {
        Ok(fleet.mac.folder.home_manager_runs() > runs)
    })
    .unwrap();
    let pull = fleet.dashboard.command(HOST, "pull").unwrap();
    assert_eq!((outcome(&switch), outcome(&pull)), (Outcome::Succeeded, Outcome::NotStarted));
}

#[test]
fn a_stop_says_what_was_cut() {
    let Some(fleet) = Fleet::ready() else { return };
    let flag = fleet.place.path().join("fetching");
    let script = format!("touch {}\nsleep 777", flag.display());
    fleet.remote.publish_test("T01.sh", &script);
    assert_eq!(fleet.ask("pull").result.unwrap().outcome, Outcome::Succeeded);
    let test = fleet.dashboard.command(HOST, "test").unwrap();
    wait::until_true("the test runs", wait::PATIENCE, || Ok(flag.exists())).unwrap();
    fleet.dashboard.command(HOST, "stop").unwrap();
    let result = fleet.dashboard.wait_for_result(HOST, &test).unwrap().result.unwrap();
    assert_eq!(result.outcome, Outcome::Cancelled);
    let steps = result.steps.unwrap();
    assert_eq!(steps.step, Step::Test);
    let tests = steps.tests.unwrap();
    assert_eq!((tests.total, tests.current, tests.passed, tests.is_over), (1, 1, 0, true));
}

/// Says what Nix says, and stays there.
const BUILDS: &str = r#"#!/bin/sh
echo "these 2 derivations will be built:"
echo "building '/nix/store/a.drv'..."
sleep 777
"#;

#[test]
fn the_dashboard_sees_what_nix_is_doing_and_where_it_was_cut() {
    let Some(fleet) = Fleet::ready() else { return };
    let program = fleet.mac.folder.write("bin/home-manager", BUILDS).unwrap();
    fs::set_permissions(program, fs::Permissions::from_mode(0o755)).unwrap();
    let switch = fleet.dashboard.command(HOST, "pull-switch").unwrap();
    let phase = NixPhase::Building { number: 1, of: Some(2) };
    wait::until_true("the dashboard sees it building", wait::PATIENCE, || {
        let switches = fleet.dashboard.switches(HOST)?;
        Ok(switches.iter().any(|switch| switch.phase.as_ref() == Some(&phase)))
    })
    .unwrap();
    fleet.dashboard.command(HOST, "stop").unwrap();
    let told = fleet.dashboard.wait_for_result(HOST, &switch).unwrap();
    let result = told.result.unwrap();
    assert_eq!(result.outcome, Outcome::Cancelled);
    assert_eq!(result.note.as_deref(), Some("it was building 1 of 2"));
    assert_eq!(told.phase, None);
}
