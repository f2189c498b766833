//! The same against a dashboard that speaks only protocol 1.

use std::fs;

use crate::support::{
    agent::{Home, SHARED_TOKEN, text_of},
    dashboard::{Dashboard, Speaks},
    eventually, journal,
    wrapper::{FAILS, SUCCEEDS},
};
use nixfleet_protocol::journal::records::{Initiator, Outcome};
use serde_json::json;

fn up(switch: &str) -> (Dashboard, Home) {
    let dashboard = Dashboard::new(Speaks::V1);
    let home = Home::new(&dashboard.url(), switch);
    (dashboard, home)
}

#[test]
fn a_registration_says_what_a_v1_dashboard_takes() {
    let (dashboard, home) = up(SUCCEEDS);
    let config = home.write_private(
        "config.toml",
        "location = \"home\"\ndevice_type = \"laptop\"\ntheme_color = \"#769ff0\"\ncriticality = \"low\"\n",
    );
    let home = home.with("NIXFLEET_CONFIG", config.to_str().unwrap());
    let _agent = home.start();
    let call = dashboard.first("POST", "/register");
    assert_eq!(call.path, "/api/hosts/host/register");
    assert_eq!(call.token, SHARED_TOKEN);
    for (key, value) in [
        ("hostname", "host"),
        ("location", "home"),
        ("device_type", "laptop"),
        ("theme_color", "#769ff0"),
        ("criticality", "low"),
        ("agent_version", env!("CARGO_PKG_VERSION")),
    ] {
        assert_eq!(call.body[key], value, "{key}");
    }
    assert_eq!(call.body["poll_interval"], 1);
    assert_eq!(call.body["protocol"], 2);
    assert!(["nixos", "macos"].contains(&call.body["host_type"].as_str().unwrap()));
    eventually("heartbeats", || (dashboard.calls("POST", "/register").len() >= 3).then_some(()));
    assert!(dashboard.calls("GET", "/poll").is_empty(), "it polls a v1 dashboard");
    assert!(dashboard.calls("POST", "/status").is_empty(), "a status that nobody asked for");
}

#[test]
fn a_switch_runs_and_its_one_status_tells_how_it_ended() {
    for (script, word, headline, end) in [
        (SUCCEEDS, "ok", "Switch: succeeded in 1.2 s", "the end"),
        (FAILS, "error", "Switch: failed with exit code 1 after 1.2 s", "the end"),
    ] {
        let (dashboard, home) = up(script);
        let _agent = home.start();
        dashboard.queue("", "switch");
        let status = dashboard.first("POST", "/status").body;
        assert_eq!(status["status"], word);
        assert_eq!(status["comment"], headline);
        assert_eq!(status["output"], format!("{headline}\n{end}"));
        let mut switches = fs::read_dir(home.state().join("switches")).unwrap();
        text_of(&switches.next().unwrap().unwrap().path().join("reported.json"));
        assert_eq!(home.runs(), 1);
        assert_eq!(dashboard.calls("POST", "/status").len(), 1);
        assert!(dashboard.calls("PUT", "/").is_empty(), "a v1 dashboard knows no PUT");
    }
}

#[test]
fn what_is_not_known_is_answered_as_an_error() {
    let (dashboard, home) = up(SUCCEEDS);
    let _agent = home.start();
    dashboard.queue("", "pull-reset");
    let status = dashboard.first("POST", "/status").body;
    assert_eq!(status["status"], "error");
    assert_eq!(status["output"], "Unknown command: pull-reset");
}

/// Runs two tests, and waits in between for the word to go on.
const TESTS: &str = r#"
progress() { # current, passed, is over
    put "$dir/progress.json" <<END
{"format":1,"id":"$id","step":"test","tests":{"total":2,"current":$1,"passed":$2,"failed":$4,"is_over":$3}}
END
}
progress 1 0 false '[]'
until [ -e "$state/go-on" ] || [ ! -d "$state" ]; do sleep 0.05; done
progress 2 1 true '["T02"]'
put "$dir/result.json" <<END
{"format":1,"id":"$id","outcome":"failed","exit_code":1,"signal":null,"started_at":"$(now)","finished_at":"$(now)",
"duration_ms":1200,"operation":"test","argv":[],"initiator":"agent","generation_before":null,"generation_after":null,
"activation":"complete","output_bytes":0,"output_tail":"the end","wrapper_version":"fake","host":"host",
"steps":{"step":"test","tests":{"total":2,"current":2,"passed":1,"failed":["T02"],"is_over":true}}}
END
reload healthy"#;

#[test]
fn the_host_s_tests_are_told_as_they_get_on_and_then_their_result() {
    let (dashboard, home) = up(TESTS);
    let _agent = home.start();
    dashboard.queue("", "test");
    let begun = dashboard.first("POST", "/test-progress").body;
    assert_eq!(
        begun,
        json!({"current": 1, "total": 2, "passed": 0, "running": true, "result": null, "comment": null})
    );
    fs::write(home.state().join("go-on"), "").unwrap();
    let status = dashboard.first("POST", "/status");
    assert_eq!(status.body["status"], "error");
    assert_eq!(status.body["test_status"], "1/2 pass, 1 fail");
    let headline =
        "Test: failed with exit code 1 after 1.2 s, at the step `test`: 1/2 pass, 1 fail: T02";
    assert_eq!(status.body["comment"], headline);
    let told = dashboard.calls("POST", "/test-progress");
    let over = told.last().unwrap();
    assert_eq!(
        over.body,
        json!({"current": 2, "total": 2, "passed": 1, "running": false,
            "result": "1/2 pass, 1 fail", "comment": "T02 failed"})
    );
    assert!(over.at < status.at, "the end of the tests comes before the result");
}

#[test]
fn a_restart_is_said_once_and_done_once() {
    let (dashboard, home) = up(SUCCEEDS);
    let mut agent = home.start();
    dashboard.queue("", "restart");
    assert!(agent.wait().success());
    assert_eq!(dashboard.first("POST", "/status").body["output"], "Agent restarting...");
    let mut next = home.start();
    next.wait_until_up();
    let before = dashboard.calls("POST", "/register").len();
    eventually("heartbeats of the next agent", || {
        (dashboard.calls("POST", "/register").len() >= before + 3).then_some(())
    });
    assert!(next.is_running());
    assert_eq!(dashboard.calls("POST", "/status").len(), 1);
}

#[test]
fn a_user_s_result_waits_for_the_dashboard_s_own_switch() {
    let script = "until [ -e $state/go-on ] || [ ! -d $state ]; do sleep 0.05; done; result succeeded 0; reload healthy";
    let (dashboard, home) = up(script);
    let _agent = home.start();
    dashboard.queue("", "switch");
    eventually("it runs", || (home.runs() == 1).then_some(()));
    let users = journal::finished(&home.state(), Outcome::Failed);
    let before = dashboard.calls("POST", "/register").len();
    eventually("heartbeats go on", || {
        (dashboard.calls("POST", "/register").len() >= before + 2).then_some(())
    });
    assert!(dashboard.calls("POST", "/status").is_empty(), "it would close the wrong command");
    fs::write(home.state().join("go-on"), "").unwrap();
    text_of(&journal::directory(&home.state(), users).reported());
    let words: Vec<_> =
        dashboard.calls("POST", "/status").iter().map(|call| call.body["status"].clone()).collect();
    assert_eq!(words, ["ok", "error"]);
}

#[test]
fn an_agent_whose_job_was_not_looked_after_has_that_done_before_it_tells() {
    let (dashboard, home) = up(SUCCEEDS);
    let id = journal::accept(&home.state(), Initiator::User, 1);
    journal::end(&home.state(), id, Outcome::Succeeded);
    let _agent = home.start();
    dashboard.first("POST", "/status");
    assert_eq!(home.wrapper_calls(), [format!("ensure-agent --switch {id}")]);
    let reported = text_of(&journal::directory(&home.state(), id).reported());
    assert!(reported.contains("\"with_reload\": true"), "{reported}");
}
