//! A v1 agent's conversation, byte for byte, and what the operator sees of it.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::stage::{AGENT, Dashboard};

/// A registration as a v1 agent sends it.
const REGISTRATION: &str = r##"{
  "hostname": "peermac",
  "host_type": "macos",
  "location": "home",
  "device_type": "laptop",
  "theme_color": "#769ff0",
  "criticality": "low",
  "current_generation": "5a6f0e1025338fe22bd8ce2059654cf9cb615227",
  "config_repo": "/Users/peer/.local/state/nixfleet-agent/repo",
  "poll_interval": 2,
  "agent_version": "1.0.0",
  "nixpkgs_version": null,
  "os_version": "14.7.1",
  "os_name": "macOS"
}"##;

const SWITCHED: &str = r#"{
  "status": "ok",
  "current_generation": "5a6f0e1025338fe22bd8ce2059654cf9cb615227",
  "output": "Switch: home-manager switch --flake .#peer@peermac \nActivating step1\nActivating step2\nActivating step3",
  "test_status": null
}"#;

const TESTED: &str = r#"{
  "current": 2,
  "total": 2,
  "passed": 2,
  "running": false,
  "result": "2/2 pass",
  "comment": null
}"#;

fn post(dashboard: &Dashboard, token: &str, call: &str, body: &str) -> String {
    let path = format!("/api/hosts/peermac/{call}");
    let reply = dashboard.request("POST", &path).token(token).json(body).send();
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.header("content-type"), Some("application/json"));
    reply.text().to_owned()
}

fn status(dashboard: &Dashboard, word: &str, output: &str) {
    let body = json!({ "status": word, "output": output }).to_string();
    assert_eq!(post(dashboard, AGENT, "status", &body), r#"{"status":"updated"}"#);
}

/// The next heartbeat's command.
fn command(dashboard: &Dashboard) -> Value {
    let reply = post(dashboard, AGENT, "register", REGISTRATION);
    serde_json::from_str::<Value>(&reply).unwrap()["command"].clone()
}

/// `status` and `output` of the host's commands, newest first.
fn outcomes(dashboard: &Dashboard) -> Vec<(String, Value)> {
    let commands = dashboard.commands("peermac");
    let outcome = |command: &Value| {
        (command["status"].as_str().unwrap().to_owned(), command["output"].clone())
    };
    commands.iter().map(outcome).collect()
}

#[test]
fn the_recorded_conversation() {
    let dashboard = Dashboard::start();
    let first = post(&dashboard, AGENT, "register", REGISTRATION);
    let own = first
        .strip_prefix(
            r#"{"status":"registered","host_id":"peermac","command":null,"agent_token":""#,
        )
        .and_then(|rest| rest.strip_suffix(r#""}"#))
        .unwrap_or_else(|| panic!("{first}"));
    assert_eq!(own.len(), 43);
    let idle = r#"{"status":"registered","host_id":"peermac","command":null}"#;
    assert_eq!(post(&dashboard, own, "register", REGISTRATION), idle);
    dashboard.queue("peermac", "switch");
    assert_eq!(
        post(&dashboard, own, "register", REGISTRATION),
        r#"{"status":"registered","host_id":"peermac","command":"switch"}"#
    );
    assert_eq!(outcomes(&dashboard)[0].0, "running");
    assert_eq!(post(&dashboard, own, "register", REGISTRATION), idle, "it is sent once");
    assert_eq!(post(&dashboard, own, "status", SWITCHED), r#"{"status":"updated"}"#);
    let (word, output) = outcomes(&dashboard).remove(0);
    assert_eq!(word, "succeeded");
    assert!(output.as_str().unwrap().ends_with("\nActivating step3"), "{output}");
    assert_eq!(post(&dashboard, own, "test-progress", TESTED), r#"{"status":"updated"}"#);
    let host = dashboard.see("/api/hosts/peermac");
    assert_eq!(host["tests"]["status"], "2/2 passed");
    assert_eq!(host["tests"]["result"], "2/2 pass");
    assert_eq!((&host["online"], &host["protocol"]), (&json!(true), &json!(1)));
    assert_eq!(host["status"], "ok");
    assert!(host["last_switch"].is_string());
}

#[test]
fn health_and_unknown_routes() {
    let dashboard = Dashboard::start();
    let version = env!("CARGO_PKG_VERSION");
    let healthy = format!(r#"{{"status":"healthy","version":"{version}"}}"#);
    let not_allowed = r#"{"detail":"Method Not Allowed"}"#;
    let not_found = r#"{"detail":"Not Found"}"#;
    for (method, path, status, body) in [
        ("GET", "/health", 200, healthy.as_str()),
        ("HEAD", "/health", 405, ""),
        ("POST", "/health", 405, not_allowed),
        ("GET", "/api/hosts/a/register", 405, not_allowed),
        ("PUT", "/api/hosts/a/status", 405, not_allowed),
        ("POST", "/api/hosts/a/poll", 405, not_allowed),
        ("GET", "/", 404, not_found),
        ("POST", "/api/hosts/a/b/c/d", 404, not_found),
        ("POST", "/api/hosts//register", 404, not_found),
    ] {
        let reply = dashboard.request(method, path).send();
        assert_eq!((reply.status, reply.text()), (status, body), "{method} {path}");
    }
}

#[test]
fn a_poll_delivers_once_and_makes_unknown_hosts() {
    let dashboard = Dashboard::start();
    let poll = |host: &str| dashboard.agent("GET", &format!("/api/hosts/{host}/poll")).send();
    let first = poll("NewBox");
    assert!(first.text().starts_with(r#"{"command":null,"agent_token":""#), "{}", first.text());
    let host = dashboard.see("/api/hosts/newbox");
    assert_eq!((&host["host_type"], &host["location"]), (&json!("nixos"), &json!("home")));
    dashboard.queue("newbox", "pull");
    assert_eq!(poll("newbox").text(), r#"{"command":"pull"}"#);
    assert_eq!(poll("newbox").text(), r#"{"command":null}"#);
}

#[test]
fn commands_wait_in_line_and_a_test_run_leaves_them_alone() {
    let dashboard = Dashboard::start();
    dashboard.register_v1("peermac");
    for verb in ["pull", "test", "switch"] {
        dashboard.queue("peermac", verb);
    }
    assert_eq!(command(&dashboard), "pull");
    status(&dashboard, "error", "Pull failed: no network");
    assert_eq!(dashboard.see("/api/hosts/peermac")["comment"], "Pull failed: no network");
    assert_eq!(command(&dashboard), "test");
    assert_eq!(dashboard.see("/api/hosts/peermac")["status"], "error", "a heartbeat is no success");
    post(&dashboard, AGENT, "test-progress", TESTED);
    status(&dashboard, "ok", "Test: fine");
    assert_eq!(command(&dashboard), "switch");
    status(&dashboard, "unknown", "Switch: who knows");
    let words: Vec<String> = outcomes(&dashboard).into_iter().map(|(word, _)| word).collect();
    assert_eq!(words, ["unknown", "succeeded", "failed"]);
}

#[test]
fn an_agent_that_has_just_started_has_done_nothing() {
    let dashboard = Dashboard::start();
    dashboard.register_v1("peermac");
    dashboard.queue("peermac", "switch");
    assert_eq!(command(&dashboard), "switch");
    status(&dashboard, "ok", "Agent started (1.0.0)");
    assert_eq!(outcomes(&dashboard)[0].0, "lost");
    assert_eq!(dashboard.see("/api/hosts/peermac")["last_switch"], Value::Null);
}

#[test]
fn a_pull_switch_ends_with_its_switch() {
    let dashboard = Dashboard::start();
    dashboard.register_v1("peermac");
    dashboard.queue("peermac", "pull-switch");
    assert_eq!(command(&dashboard), "pull-switch");
    status(&dashboard, "ok", "Pull: Already up to date.");
    status(&dashboard, "error", "Switch failed: it broke");
    status(&dashboard, "ok", "of nothing");
    let expected = "Pull: Already up to date.\nSwitch failed: it broke";
    assert_eq!(outcomes(&dashboard), [("failed".to_owned(), json!(expected))]);
}

#[test]
fn stop_is_never_sent_to_an_agent_that_does_not_know_it() {
    let dashboard = Dashboard::start();
    dashboard.register_v1("peermac");
    dashboard.queue("peermac", "stop");
    dashboard.queue("peermac", "pull");
    assert_eq!(command(&dashboard), "pull");
    assert_eq!(outcomes(&dashboard)[1].0, "refused");
}

#[test]
fn a_status_never_closes_a_command_with_an_id() {
    let dashboard = Dashboard::start();
    dashboard.register_v2("peermac");
    dashboard.queue("peermac", "switch");
    let poll = dashboard.agent("GET", "/api/hosts/peermac/poll?wait=0").send();
    assert_eq!(poll.value()["command"]["verb"], "switch");
    status(&dashboard, "ok", "Switch: not mine");
    assert_eq!(outcomes(&dashboard), [("queued".to_owned(), Value::Null)]);
}

#[test]
fn output_is_made_printable_after_it_is_counted() {
    let dashboard = Dashboard::start();
    dashboard.register_v1("peermac");
    let run = |output: &str| {
        dashboard.queue("peermac", "pull");
        assert_eq!(command(&dashboard), "pull");
        status(&dashboard, "ok", output);
        outcomes(&dashboard).remove(0).1
    };
    assert_eq!(run("a\tb\r\n\u{1b}[31mred\u{1b}[0m é✅"), "ab\n[31mred[0m ");
    assert_eq!(run(&"é".repeat(10_000)), "");
    let too_long = json!({ "status": "ok", "output": "é".repeat(10_001) }).to_string();
    let reply = dashboard.agent("POST", "/api/hosts/peermac/status").json(&too_long).send();
    assert_eq!(reply.status, 422);
    assert_eq!(reply.value()["detail"][0]["ctx"], json!({ "max_length": 10_000 }));
}

#[test]
fn what_a_host_does_not_say_stays_and_its_generation_is_cleared() {
    let dashboard = Dashboard::start();
    post(&dashboard, AGENT, "register", REGISTRATION);
    let second = r#"{"hostname":"Other","host_type":"nixos","criticality":"high","icon":"x","metrics":{"cpu":1.5}}"#;
    post(&dashboard, AGENT, "register", second);
    let host = dashboard.see("/api/hosts/peermac");
    let mut shown = String::new();
    for key in ["hostname", "host_type", "location", "device_type", "criticality", "icon"] {
        write!(shown, "{} ", host[key]).unwrap();
    }
    assert_eq!(shown, r#""other" "nixos" "home" "server" "low" null "#);
    assert_eq!(host["current_generation"], Value::Null);
    assert_eq!(host["metrics"], json!({ "cpu": 1.5 }));
    post(&dashboard, AGENT, "register", r#"{"hostname":"a","host_type":"macos","metrics":{}}"#);
    assert_eq!(dashboard.see("/api/hosts/peermac")["metrics"], json!({ "cpu": 1.5 }));
}

#[test]
fn the_status_of_a_host_that_is_not_known_is_answered_and_dropped() {
    let dashboard = Dashboard::start();
    assert_eq!(post(&dashboard, AGENT, "status", SWITCHED), r#"{"status":"updated"}"#);
    assert_eq!(post(&dashboard, AGENT, "test-progress", TESTED), r#"{"status":"updated"}"#);
    assert_eq!(dashboard.see("/api/hosts"), json!({ "hosts": [] }));
}
