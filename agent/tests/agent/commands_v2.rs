//! Commands from a dashboard that speaks protocol 2.

use std::{
    fs,
    time::{Duration, Instant},
};

use crate::support::{
    agent::{Home, text_of},
    dashboard::{Answer, Dashboard, Speaks},
    eventually, journal,
    sleeper::Sleeper,
    wrapper::{FAILS, SUCCEEDS},
};
use nixfleet_protocol::{
    journal::records::{Initiator, Outcome, SwitchId},
    process::ProcessIdentity,
};
use serde_json::{Value, json};

fn up(switch: &str) -> (Dashboard, Home) {
    let dashboard = Dashboard::new(Speaks::V2);
    let home = Home::new(&dashboard.url(), switch);
    (dashboard, home)
}

fn is_finished(body: &Value) -> bool {
    body["state"] == "finished"
}

#[test]
fn a_queued_command_is_on_disk_and_acknowledged_within_a_tenth_of_a_second() {
    let (dashboard, home) = up(SUCCEEDS);
    let _agent = home.start();
    dashboard.first("GET", "/poll");
    let mut took = Vec::new();
    for number in 0..5 {
        let id = format!("probe-{number}");
        let polls = dashboard.calls("GET", "/poll").len();
        let began = Instant::now();
        dashboard.queue(&id, "no-such-verb");
        took.push(dashboard.first("POST", &format!("/commands/{id}/ack")).at - began);
        eventually("it polls again", || {
            (dashboard.calls("GET", "/poll").len() > polls).then_some(())
        });
        let answer = dashboard.first("PUT", &format!("/commands/{id}/answer"));
        assert_eq!(answer.body["outcome"], "refused");
        assert_eq!(answer.body["message"], "Unknown command: no-such-verb");
        text_of(&home.state().join(format!("commands/{id}/reported.json")));
    }
    took.sort();
    assert!(took[2] < Duration::from_millis(100), "{took:?}");
}

#[test]
fn a_switch_runs_and_its_result_arrives() {
    for (script, outcome, exit_code) in [(SUCCEEDS, "succeeded", 0), (FAILS, "failed", 1)] {
        let (dashboard, home) = up(script);
        let state = home.state();
        // At the moment of the acknowledgement the request is on disk.
        let at_ack = state.clone();
        dashboard.script(move |call| {
            let has_request = || {
                fs::read_dir(at_ack.join("switches"))
                    .unwrap()
                    .any(|entry| entry.unwrap().path().join("request.json").exists())
            };
            (call.is("POST", "/ack") && !has_request()).then_some(Answer::Silence)
        });
        let _agent = home.start();
        dashboard.queue("c-1", "switch");
        dashboard.first("POST", "/commands/c-1/ack");
        let report = dashboard.call("PUT", "/switches/", |call| is_finished(&call.body));
        assert_eq!(report.body["command_id"], "c-1");
        assert_eq!(report.body["initiator"], "agent");
        assert_eq!(report.body["result"]["outcome"], outcome);
        assert_eq!(report.body["result"]["exit_code"], exit_code);
        let id = report.body["id"].as_str().unwrap().to_owned();
        let reported = text_of(&state.join(format!("switches/{id}/reported.json")));
        let reported: Value = serde_json::from_str(&reported).unwrap();
        assert_eq!(reported["protocol"], 2);
        assert_eq!(reported["with_reload"], true);
        let log = fs::read(state.join(format!("switches/{id}/output.log"))).unwrap();
        assert_eq!(dashboard.output(&id), log);
    }
}

#[test]
fn the_wrapper_gets_what_it_needs_and_no_secret() {
    let (dashboard, home) = up(SUCCEEDS);
    let config = home.write_private("config.toml", "switch_arguments = [\"--flake\", \".#me\"]\n");
    let home = home
        .with("NIXFLEET_TOKEN", "secret-in-the-environment")
        .with("NIXFLEET_CONFIG", config.to_str().unwrap())
        .with("NIXFLEET_REPO_DIR", "/tmp")
        .with("NOTIFY_SOCKET", "/nonexistent/notify");
    let _agent = home.start();
    dashboard.queue("c-1", "switch");
    let report = dashboard.call("PUT", "/switches/", |call| is_finished(&call.body));
    let environment = text_of(&home.state().join("wrapper-environment"));
    let has = |line: String| environment.lines().any(|other| other == line);
    assert!(has(format!("NIXFLEET_STATE_DIR={}", home.state().display())), "{environment}");
    assert!(has(format!("NIXFLEET_CONFIG={}", config.display())), "{environment}");
    assert!(!environment.contains("secret-in-the-environment"), "{environment}");
    assert!(!environment.contains("NOTIFY_SOCKET"), "{environment}");
    let id = report.body["id"].as_str().unwrap();
    let request = fs::read(home.state().join(format!("switches/{id}/request.json"))).unwrap();
    let request: Value = serde_json::from_slice(&request).unwrap();
    assert_eq!(request["argv"], json!(["--flake", ".#me"]));
    assert_eq!(request["cwd"], "/tmp");
    assert_eq!(request["host"], "host");
}

#[test]
fn the_same_command_twice_runs_once_even_after_a_restart_of_the_agent() {
    let (dashboard, home) = up(SUCCEEDS);
    let mut agent = home.start();
    dashboard.queue("c-1", "switch");
    dashboard.queue("c-1", "switch");
    let acks = |at_least: usize| {
        eventually("it is acknowledged each time", || {
            (dashboard.calls("POST", "/commands/c-1/ack").len() >= at_least).then_some(())
        });
    };
    acks(2);
    dashboard.call("PUT", "/switches/", |call| is_finished(&call.body));
    agent.terminate();
    let _agent = home.start();
    dashboard.queue("c-1", "switch");
    acks(3);
    dashboard.queue("c-2", "no-such-verb");
    dashboard.first("PUT", "/commands/c-2/answer");
    assert_eq!(home.runs(), 1, "{:?}", home.wrapper_calls());
}

#[test]
fn a_wrapper_that_is_not_there_or_fails_is_a_result() {
    for (script, expected) in [
        (None, "there is no nixfleet-switch"),
        (Some("echo 'no home-manager here' >&2; exit 78"), "exit code 78"),
    ] {
        let (dashboard, home) = up(script.unwrap_or_default());
        let home = match script {
            Some(_) => home,
            None => home.with("NIXFLEET_SWITCH", "/nonexistent/nixfleet-switch"),
        };
        let _agent = home.start();
        dashboard.queue("c-1", "switch");
        let report = dashboard.call("PUT", "/switches/", |call| is_finished(&call.body));
        let result = &report.body["result"];
        assert_eq!(result["outcome"], "not_started");
        let note = result["note"].as_str().unwrap();
        assert!(note.contains(expected), "{note}");
        if script.is_some() {
            assert!(note.contains("no home-manager here"), "{note}");
        }
    }
}

#[test]
fn while_a_switch_runs_another_one_is_not_started_and_says_why() {
    let (dashboard, home) = up(SUCCEEDS);
    let other = SwitchId::generate();
    let _lock = journal::hold_lock(&home.state(), other);
    let _agent = home.start();
    dashboard.queue("c-1", "switch");
    let report = dashboard.call("PUT", "/switches/", |call| is_finished(&call.body));
    assert_eq!(report.body["result"]["outcome"], "not_started");
    let note = report.body["result"]["note"].as_str().unwrap();
    assert!(note.contains(&other.to_string()) && note.contains("a user"), "{note}");
    assert_eq!(home.runs(), 0);
}

#[test]
fn stop_ends_the_wrapper_and_answers_with_the_result() {
    let (dashboard, home) = up(SUCCEEDS);
    let id = journal::accept(&home.state(), Initiator::User, 1);
    let lock = journal::hold_lock(&home.state(), id);
    let (mut wrapper, child) = (Sleeper::start(), Sleeper::start());
    journal::start(&home.state(), id, child.identity(), wrapper.identity());
    let _agent = home.start();
    dashboard.call("PUT", "/switches/", |call| call.body["state"] == "running");
    dashboard.queue("stop-1", "stop");
    wrapper.wait_until_ended();
    journal::end(&home.state(), id, Outcome::Cancelled);
    lock.release();
    let answer = dashboard.first("PUT", "/commands/stop-1/answer");
    assert_eq!(answer.body["outcome"], "succeeded");
    assert_eq!(answer.body["message"], format!("switch {id}: cancelled"));
}

#[test]
fn stop_ends_a_home_manager_whose_wrapper_is_gone() {
    let (dashboard, home) = up(SUCCEEDS);
    let id = journal::accept(&home.state(), Initiator::User, 1);
    let mut child = Sleeper::start();
    let gone = ProcessIdentity { pid: child.pid(), start: "another".to_owned() };
    journal::start(&home.state(), id, child.identity(), gone);
    let _agent = home.start();
    dashboard.queue("stop-1", "stop");
    child.wait_until_ended();
    let answer = dashboard.first("PUT", "/commands/stop-1/answer");
    assert_eq!(answer.body["message"], format!("switch {id}: interrupted"));
    let report = dashboard.call("PUT", "/switches/", |call| is_finished(&call.body));
    assert_eq!(report.body["result"]["outcome"], "interrupted");
}

#[test]
fn stop_without_a_switch_is_refused() {
    let (dashboard, home) = up(SUCCEEDS);
    let _agent = home.start();
    dashboard.queue("stop-1", "stop");
    let answer = dashboard.first("PUT", "/commands/stop-1/answer");
    assert_eq!(answer.body["outcome"], "refused");
    assert_eq!(answer.body["message"], "no switch is running");
}

#[test]
fn restart_ends_the_agent_and_the_next_one_answers() {
    let (dashboard, home) = up(SUCCEEDS);
    let mut agent = home.start();
    dashboard.queue("r-1", "restart");
    assert!(agent.wait().success());
    dashboard.first("POST", "/commands/r-1/ack");
    assert!(dashboard.calls("PUT", "/commands/r-1/answer").is_empty());
    let mut next = home.start();
    let answer = dashboard.first("PUT", "/commands/r-1/answer");
    assert_eq!(answer.body["outcome"], "succeeded");
    let message = answer.body["message"].as_str().unwrap();
    assert!(message.ends_with(&format!("pid {}", next.pid())), "{message}");
    // Sent again, it is acknowledged and not obeyed again.
    dashboard.queue("r-1", "restart");
    eventually("it is acknowledged again", || {
        (dashboard.calls("POST", "/commands/r-1/ack").len() == 2).then_some(())
    });
    dashboard.queue("c-2", "no-such-verb");
    dashboard.first("PUT", "/commands/c-2/answer");
    assert!(next.is_running());
}

#[test]
fn a_large_output_arrives_whole_with_little_memory() {
    let script =
        "head -c 30000000 /dev/urandom > $dir/output.log; result succeeded 0; reload healthy";
    let (dashboard, home) = up(script);
    let agent = home.start();
    dashboard.queue("c-1", "switch");
    let report = dashboard.call("PUT", "/switches/", |call| is_finished(&call.body));
    let id = report.body["id"].as_str().unwrap().to_owned();
    text_of(&home.state().join(format!("switches/{id}/reported.json")));
    let log = fs::read(home.state().join(format!("switches/{id}/output.log"))).unwrap();
    eventually("all output is there", || (dashboard.output(&id).len() == log.len()).then_some(()));
    assert!(dashboard.output(&id) == log, "the output differs from the log");
    assert!(agent.peak_memory().is_none_or(|peak| peak < 40_000), "{:?}", agent.peak_memory());
}

#[test]
fn an_output_that_the_dashboard_has_lost_is_sent_again() {
    let (dashboard, home) = up(SUCCEEDS);
    // It says that it has the first bytes, and then that it has none.
    dashboard.script(|call| {
        (call.is("PUT", "/switches/") && is_finished(&call.body))
            .then(|| Answer::Json(200, json!({"status": "recorded", "output_offset": 5})))
    });
    let _agent = home.start();
    dashboard.queue("c-1", "switch");
    let report = dashboard.call("PUT", "/switches/", |call| is_finished(&call.body));
    let id = report.body["id"].as_str().unwrap().to_owned();
    eventually("all output is there", || (dashboard.output(&id) == b"building\n").then_some(()));
}

#[test]
fn heartbeats_go_on_during_a_switch() {
    let script = "until [ -e $state/go-on ] || [ ! -d $state ]; do sleep 0.05; done; result succeeded 0; reload healthy";
    let (dashboard, home) = up(script);
    let agent = home.start();
    dashboard.queue("c-1", "switch");
    eventually("it runs", || (home.runs() == 1).then_some(()));
    let before = dashboard.calls("POST", "/register").len();
    eventually("two more heartbeats", || {
        (dashboard.calls("POST", "/register").len() >= before + 2).then_some(())
    });
    fs::write(home.state().join("go-on"), "").unwrap();
    dashboard.call("PUT", "/switches/", |call| is_finished(&call.body));
    assert!(agent.wait_until_up().last_heartbeat_at.is_some());
}
