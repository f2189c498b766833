//! Every command that the dashboard's page can queue, and what the dashboard keeps of it.

use std::{fs, path::Path};

use nixfleet_tests::stage::{folder::HOST, mac::Mac, wait};

use crate::{
    Real,
    operator::{Operator, Row},
    recorder::Recorder,
    remote::Remote,
};

#[test]
fn every_command_is_closed_by_its_own_result() {
    let Some(real) = Real::there() else { return };
    let place = tempfile::tempdir().unwrap();
    let Some(remote) = Remote::new(place.path()) else { return };
    let recorder = Recorder::before(&real.url, &real.token);
    let config = format!("repo_url = {:?}", place.path().join("remote"));
    let mac = real.mac(HOST, &recorder.url(), &config);
    let operator = Operator::log_in(&real);
    operator.wait_until_online(HOST);
    the_host_s_row_says_what_it_is(&operator);

    says(&operator.ask(HOST, "pull"), "ok", "Pull: succeeded", "");
    switches_that_replace_the_agent(&mac, &operator, &remote);
    a_switch_that_fails(&mac, &operator);
    tests_that_are_counted(&operator, &remote, &place.path().join("go-on"));
    a_restart_with_the_host_s_own_token(&mac, &operator, &recorder);
    a_stop_that_no_agent_hears_of(&operator, &recorder);

    for exchange in recorder.exchanges() {
        assert_eq!(exchange.status, 200, "{exchange:?}");
    }
    if let Some(file) = std::env::var_os("NIXFLEET_TEST_V1_CONVERSATION") {
        recorder.write(Path::new(&file), &[mac.folder.root(), place.path()]);
    }
}

/// What a row has to say.
fn says(row: &Row, status: &str, beginning: &str, part: &str) {
    let output = row.output.as_deref().unwrap_or_default();
    assert_eq!(row.status, status, "{row}");
    assert!(output.starts_with(beginning), "{beginning:?}: {row}");
    assert!(output.contains(part), "{part:?}: {output}");
}

fn the_host_s_row_says_what_it_is(operator: &Operator) {
    let host = operator.host(HOST);
    assert_eq!(host["hostname"], HOST);
    assert_eq!(host["poll_interval"], crate::INTERVAL);
    assert_eq!(host["agent_version"], env!("CARGO_PKG_VERSION"));
    for key in ["host_type", "device_type", "os_name", "os_version", "last_seen"] {
        assert!(host[key].is_string(), "{key}: {host}");
    }
    assert!(host["agent_token_hash"].is_string(), "it has given the host a token: {host}");
    assert!(operator.rows(HOST).is_empty(), "nobody has asked for anything");
}

fn switches_that_replace_the_agent(mac: &Mac, operator: &Operator, remote: &Remote) {
    for (version, command, title) in
        [(2, "switch", "Switch"), (3, "pull-switch", "Pull and switch")]
    {
        let old = mac.agent().unwrap().unwrap();
        let generation = format!("GENERATION=generation{version}");
        mac.next_switch_replaces_the_agent(version, &generation).unwrap();
        remote.publish("number", &version.to_string());
        let row = operator.ask(HOST, command);
        says(&row, "ok", &format!("{title}: succeeded"), "Activating setupLaunchAgents");
        let new = mac.wait_for_next_agent(&old).unwrap();
        assert_ne!(new.process, old.process);
        let host = operator.host(HOST);
        assert_eq!(host["status"], "ok");
        assert!(host["current_generation"].is_string(), "{host}");
    }
    let checkout = mac.folder.state_dir().join("repo/number");
    assert_eq!(fs::read_to_string(checkout).unwrap(), "3", "it has pulled before it switched");
}

fn a_switch_that_fails(mac: &Mac, operator: &Operator) {
    mac.folder.scenario("FAIL_AT=build\nEXIT_CODE=3").unwrap();
    let row = operator.ask(HOST, "switch");
    let beginning = "Switch: failed with exit code 3";
    says(&row, "error", beginning, "error: made to fail at build");
    let comment = operator.host(HOST)["comment"].clone();
    assert!(comment.as_str().unwrap().starts_with(beginning), "{comment}");
}

fn tests_that_are_counted(operator: &Operator, remote: &Remote, go_on: &Path) {
    let waits = format!("until [ -e {} ]; do sleep 0.1; done", go_on.display());
    remote.publish_test("T01-well.sh", "exit 0");
    remote.publish_test("T02-slow.sh", &waits);
    remote.publish_test("T03-ill.sh", "echo this is why; exit 1");
    operator.ask(HOST, "pull");
    let row = operator.deliver(HOST, "test");
    let counters = |host: &serde_json::Value| {
        ["test_running", "test_current", "test_total", "test_passed_count"]
            .map(|key| host[key].clone())
    };
    wait::until_true("the page shows the second of three tests", wait::PATIENCE, || {
        let host = operator.host(HOST);
        Ok(counters(&host)[1..] == [2, 3, 1] && host["test_running"] != 0)
    })
    .unwrap();
    fs::write(go_on, "").unwrap();
    let row = operator.wait_until_closed(HOST, &row);
    says(&row, "error", "Test: failed", "this is why");
    let host = operator.host(HOST);
    assert_eq!(counters(&host), [0, 3, 3, 2]);
    assert_eq!(host["test_status"], "2/3 pass, 1 fail");
}

fn a_restart_with_the_host_s_own_token(mac: &Mac, operator: &Operator, recorder: &Recorder) {
    let old = mac.agent().unwrap().unwrap();
    says(&operator.ask(HOST, "restart"), "ok", "Agent restarting...", "");
    let before = recorder.exchanges().len();
    mac.wait_for_next_agent(&old).unwrap();
    let exchanges = recorder.exchanges();
    assert!(exchanges[before..].iter().all(|exchange| exchange.token == "host"));
    let first_of_host = exchanges.iter().position(|exchange| exchange.token == "host").unwrap();
    assert!(
        exchanges[..first_of_host]
            .iter()
            .any(|exchange| exchange.answer["agent_token"].is_string()),
        "a token that nobody has given it"
    );
}

fn a_stop_that_no_agent_hears_of(operator: &Operator, recorder: &Recorder) {
    let rows = operator.rows(HOST).len();
    operator.queue(HOST, "stop");
    let heartbeats = || {
        recorder.exchanges().iter().filter(|exchange| exchange.path.ends_with("/register")).count()
    };
    let before = heartbeats();
    wait::until_true("two heartbeats more", wait::PATIENCE, || Ok(heartbeats() >= before + 2))
        .unwrap();
    let left = operator.rows(HOST);
    assert_eq!(left.len(), rows, "the page keeps a stop to itself: {left:?}");
    assert!(left.iter().all(|row| row.completed_at.is_some()), "{left:?}");
}
