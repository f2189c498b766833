//! Commands with an id: waiting for them, leases, acknowledgements, answers.

use std::{
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::stage::{Dashboard, OpenRequest, wait_until};

fn poll(dashboard: &Dashboard, wait: u32) -> OpenRequest {
    dashboard.agent("GET", &format!("/api/hosts/mac/poll?wait={wait}")).open()
}

/// The command that a poll gets at once.
fn command_now(dashboard: &Dashboard) -> Value {
    poll(dashboard, 0).reply().value()["command"].clone()
}

fn acknowledge(dashboard: &Dashboard, id: &str) -> u16 {
    let path = format!("/api/hosts/mac/commands/{id}/ack");
    let reply = dashboard.agent("POST", &path).send();
    if reply.status == 200 {
        assert_eq!(reply.text(), r#"{"status":"acknowledged"}"#);
    }
    reply.status
}

fn answer(dashboard: &Dashboard, id: &str, outcome: &str, message: &str) -> u16 {
    let body = json!({
        "outcome": outcome, "message": message, "answered_at": "2026-11-23T02:00:00Z",
    });
    let path = format!("/api/hosts/mac/commands/{id}/answer");
    dashboard.agent("PUT", &path).json(&body.to_string()).send().status
}

fn started(variables: &[(&'static str, &str)]) -> Dashboard {
    let mut all = vec![("NIXFLEET_RATE_LIMITS", "false")];
    all.extend(variables);
    let dashboard = Dashboard::start_with(&all);
    let reply = dashboard.register_v2("mac").value();
    assert_eq!((&reply["protocol"], &reply["command"]), (&json!(2), &Value::Null));
    dashboard
}

/// A poll that the dashboard holds: the host has been seen because of it, and it is not answered.
fn waiting_poll(dashboard: &Dashboard) -> OpenRequest {
    let seen = || -> Timestamp {
        let host = dashboard.see("/api/hosts/mac");
        host["last_seen"].as_str().unwrap().parse().unwrap()
    };
    let before = seen();
    // The dashboard counts in milliseconds; in this one it may have been seen already.
    wait_until("it is later", || {
        (Timestamp::now().as_millisecond() > before.as_millisecond()).then_some(())
    });
    let waiting = poll(dashboard, 25);
    wait_until("the poll has arrived", || (seen() > before).then_some(()));
    waiting
}

#[test]
fn a_waiting_poll_gets_a_command_within_a_tenth_of_a_second() {
    let dashboard = started(&[]);
    let mut times = Vec::new();
    for _ in 0..5 {
        let waiting = waiting_poll(&dashboard);
        let queued = Instant::now();
        let id = dashboard.queue("mac", "switch");
        let command = waiting.reply().value()["command"].clone();
        times.push(queued.elapsed());
        assert_eq!((&command["id"], &command["verb"]), (&json!(id), &json!("switch")));
        assert_eq!(command["lease_seconds"], 30);
        assert!(command["queued_at"].as_str().unwrap().ends_with('Z'));
        assert_eq!(acknowledge(&dashboard, &id), 200);
    }
    times.sort();
    assert!(times[2] < Duration::from_millis(100), "{times:?}");
}

#[test]
fn a_poll_without_a_command_ends_after_its_wait() {
    let dashboard = started(&[]);
    let begun = Instant::now();
    assert_eq!(poll(&dashboard, 1).reply().text(), r#"{"command":null}"#);
    let elapsed = begun.elapsed();
    assert!(elapsed >= Duration::from_secs(1) && elapsed < Duration::from_secs(5), "{elapsed:?}");
    let wrong = dashboard.agent("GET", "/api/hosts/mac/poll?wait=soon").send();
    assert_eq!(wrong.status, 422);
}

#[test]
fn commands_are_leased_in_order_and_come_again_unless_acknowledged() {
    let dashboard = started(&[("NIXFLEET_LEASE_SECONDS", "1")]);
    let (first, second) = (dashboard.queue("mac", "pull"), dashboard.queue("mac", "test"));
    assert_eq!(command_now(&dashboard)["id"], json!(first));
    assert_eq!(command_now(&dashboard)["id"], json!(second));
    assert_eq!(command_now(&dashboard), Value::Null);
    assert_eq!(acknowledge(&dashboard, &second), 200);
    let begun = Instant::now();
    let again = poll(&dashboard, 20).reply().value()["command"].clone();
    assert_eq!(again["id"], json!(first), "the end of the lease wakes the poll");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(acknowledge(&dashboard, &first), 200);
    assert_eq!(acknowledge(&dashboard, &first), 200, "again is the same as once");
    assert_eq!(poll(&dashboard, 2).reply().text(), r#"{"command":null}"#);
    let statuses: Vec<Value> =
        dashboard.commands("mac").iter().map(|command| command["status"].clone()).collect();
    assert_eq!(statuses, ["acknowledged", "acknowledged"]);
}

#[test]
fn the_first_answer_counts() {
    let dashboard = started(&[]);
    let id = dashboard.queue("mac", "restart");
    assert_eq!(answer(&dashboard, &id, "succeeded", "restarting"), 200);
    assert_eq!(answer(&dashboard, &id, "failed", "too late"), 200);
    let command = dashboard.commands("mac").remove(0);
    assert_eq!(
        (&command["status"], &command["output"]),
        (&json!("succeeded"), &json!("restarting"))
    );
    assert_eq!(command["answered_at"], "2026-11-23T02:00:00.000Z");
    assert_eq!(command_now(&dashboard), Value::Null, "what is closed is not sent");
    assert_eq!(answer(&dashboard, &id, "done", "what"), 422);
}

#[test]
fn commands_that_are_not_the_hosts_are_unknown() {
    let dashboard = started(&[]);
    dashboard.register_v2("other");
    let id = dashboard.queue("other", "pull");
    for id in [id.as_str(), "0193b0a4-7c1e-7000-8000-000000000001", "a_b", "%2e%2e"] {
        assert_eq!(acknowledge(&dashboard, id), 404, "{id}");
        assert_eq!(answer(&dashboard, id, "succeeded", ""), 404, "{id}");
    }
    assert_eq!(dashboard.commands("other")[0]["status"], "queued");
}

#[test]
fn a_poll_whose_agent_has_gone_takes_no_command() {
    let dashboard = started(&[]);
    let waiting = waiting_poll(&dashboard);
    drop(waiting);
    let id = dashboard.queue("mac", "switch");
    assert_eq!(command_now(&dashboard)["id"], json!(id), "nobody holds a lease on it");
}

#[test]
fn a_newer_poll_sends_the_older_one_home() {
    let dashboard = started(&[]);
    let older = waiting_poll(&dashboard);
    let newer = poll(&dashboard, 25);
    assert_eq!(older.reply().text(), r#"{"command":null}"#);
    let id = dashboard.queue("mac", "switch");
    assert_eq!(newer.reply().value()["command"]["id"], json!(id));
}

#[test]
fn a_lease_and_an_acknowledgement_outlive_a_kill() {
    let mut dashboard = started(&[("NIXFLEET_LEASE_SECONDS", "3")]);
    let (first, second) = (dashboard.queue("mac", "pull"), dashboard.queue("mac", "test"));
    assert_eq!(command_now(&dashboard)["id"], json!(first));
    assert_eq!(acknowledge(&dashboard, &first), 200);
    assert_eq!(command_now(&dashboard)["id"], json!(second));
    let leased = Instant::now();
    dashboard.kill();
    dashboard.go_up();
    let polled = command_now(&dashboard);
    assert!(
        polled == Value::Null || leased.elapsed() > Duration::from_secs(3),
        "leased is leased: {polled}"
    );
    let again = poll(&dashboard, 20).reply().value()["command"].clone();
    assert_eq!(again["id"], json!(second));
    assert!(leased.elapsed() >= Duration::from_millis(2500), "{:?}", leased.elapsed());
}

#[test]
fn a_command_waits_for_a_host_that_is_away() {
    let mut dashboard = started(&[]);
    let id = dashboard.queue("mac", "switch");
    dashboard.kill();
    dashboard.go_up();
    assert_eq!(command_now(&dashboard)["id"], json!(id));
}

#[test]
fn a_host_that_speaks_v2_gets_nothing_by_registering() {
    let dashboard = started(&[]);
    dashboard.queue("mac", "switch");
    assert_eq!(dashboard.register_v2("mac").value()["command"], Value::Null);
    let without_wait = dashboard.agent("GET", "/api/hosts/mac/poll").send();
    assert_eq!(without_wait.text(), r#"{"command":null}"#);
    let old_agent = dashboard.register_v1("mac").value();
    assert_eq!(old_agent["command"], "switch", "an older agent gets it the old way");
    assert_eq!(command_now(&dashboard), Value::Null);
}

#[test]
fn the_queue_takes_the_fixed_verbs_and_has_an_end() {
    let dashboard = started(&[]);
    let queue = |host: &str, command: &str| {
        let body = json!({ "command": command }).to_string();
        let path = format!("/api/hosts/{host}/command");
        dashboard.operator("POST", &path).json(&body).send().status
    };
    assert_eq!(queue("unknown", "switch"), 404);
    assert_eq!(queue("a_b", "switch"), 400);
    assert_eq!(queue("mac", "rm -rf"), 422);
    for number in 0..100 {
        let verb = ["pull", "switch", "pull-switch", "test", "restart", "stop"][number % 6];
        assert_eq!(queue("mac", verb), 200, "{number}");
    }
    assert_eq!(queue("mac", "pull"), 409);
    let host = dashboard.see("/api/hosts/mac");
    assert_eq!(host["waiting_commands"], 100);
    let listed = dashboard.see("/api/hosts/mac/commands?limit=3");
    assert_eq!(listed["commands"].as_array().unwrap().len(), 3);
}

#[test]
fn a_stop_answers_waiting_polls_and_takes_less_than_a_second() {
    let mut dashboard = started(&[]);
    let waiting = waiting_poll(&dashboard);
    let reading = thread::spawn(move || waiting.reply());
    let before = dashboard.see("/api/hosts/mac")["last_seen"].clone();
    let begun = Instant::now();
    let status = dashboard.end(rustix::process::Signal::TERM);
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    assert_eq!(status.code(), Some(0));
    assert_eq!(reading.join().unwrap().text(), r#"{"command":null}"#);
    dashboard.go_up();
    let after = dashboard.see("/api/hosts/mac")["last_seen"].clone();
    assert!(after.as_str() >= before.as_str(), "what was only in memory was written: {after}");
}
