//! A dashboard that lies, floods, hangs or turns us away.

mod support;

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    time::{Duration, Instant},
};

use nixfleet_protocol::journal::records::Outcome;
use serde_json::json;
use support::{
    agent::{Home, SHARED_TOKEN, text_of},
    dashboard::{Answer, Dashboard, Speaks},
    eventually, journal,
    wrapper::SUCCEEDS,
};

#[test]
fn nonsense_is_survived_and_good_answers_are_taken_again() {
    let text = |status, header, text: &str| Answer::Text(status, header, text.to_owned());
    for (name, answer) in [
        ("not JSON", text(200, "", "<html>Please log in</html>")),
        ("empty", text(200, "", "")),
        ("wrong types", text(200, "", "{\"status\":[],\"host_id\":7}")),
        ("an array", text(200, "", "[1,2,3]")),
        ("deeply nested", text(200, "", &"[".repeat(100_000))),
        ("internal error", text(500, "", "Internal Server Error")),
        ("redirect", text(302, "Location: http://127.0.0.1:1/\r\n", "")),
        ("teapot", text(418, "", "no")),
        (
            "a bad token",
            text(200, "", "{\"status\":\"\",\"host_id\":\"\",\"agent_token\":\"a b\"}"),
        ),
        ("100 MB", Answer::Flood(100 * 1024 * 1024)),
    ] {
        let dashboard = Dashboard::new(Speaks::V2);
        dashboard.script(move |_| Some(answer.clone()));
        let home = Home::new(&dashboard.url(), SUCCEEDS);
        let id = journal::finished(&home.state(), Outcome::Succeeded);
        let mut agent = home.start();
        agent.wait_until_logged("heartbeat fails");
        assert!(agent.peak_memory().is_none_or(|peak| peak < 40_000), "{name}");
        dashboard.behave();
        text_of(&journal::directory(&home.state(), id).reported());
        assert!(agent.is_running(), "{name}");
        assert!(!agent.log().contains(SHARED_TOKEN), "{name}: {}", agent.log());
    }
}

#[test]
fn a_200_that_is_no_answer_does_not_count_as_taken() {
    let dashboard = Dashboard::new(Speaks::V2);
    let home = Home::new(&dashboard.url(), SUCCEEDS);
    let id = journal::finished(&home.state(), Outcome::Succeeded);
    dashboard.script(|call| {
        let login_page = "<html>Please log in</html>".to_owned();
        call.is("PUT", "/switches/").then_some(Answer::Text(200, "", login_page))
    });
    let agent = home.start();
    agent.wait_until_logged("report of a switch fails");
    assert!(!journal::directory(&home.state(), id).reported().exists());
    dashboard.behave();
    text_of(&journal::directory(&home.state(), id).reported());
}

#[test]
fn commands_that_make_no_sense_harm_nothing() {
    let dashboard = Dashboard::new(Speaks::V2);
    dashboard.script(|call| {
        let bad = json!({"command": {"id": "../../etc", "verb": "switch", "lease_seconds": 1,
            "queued_at": "2026-01-01T00:00:00Z"}});
        call.is("GET", "/poll").then_some(Answer::Json(200, bad))
    });
    let home = Home::new(&dashboard.url(), SUCCEEDS);
    let agent = home.start();
    agent.wait_until_logged("poll for commands fails");
    dashboard.behave();
    dashboard.queue("c-1", "no-such-verb");
    dashboard.first("PUT", "/commands/c-1/answer");
    assert_eq!(home.runs(), 0);
}

#[test]
fn a_dashboard_that_answers_polls_at_once_is_not_asked_without_pause() {
    let dashboard = Dashboard::new(Speaks::V2);
    dashboard.script(|call| {
        call.is("GET", "/poll").then(|| Answer::Json(200, json!({"command": null})))
    });
    let home = Home::new(&dashboard.url(), SUCCEEDS);
    let _agent = home.start();
    let began = dashboard.first("GET", "/poll").at;
    let polls = eventually("three polls", || {
        Some(dashboard.calls("GET", "/poll")).filter(|polls| polls.len() >= 3)
    });
    assert!(polls[2].at - began >= Duration::from_millis(1900));
}

#[test]
fn retry_after_is_honoured() {
    let dashboard = Dashboard::new(Speaks::V1);
    dashboard.script(|_| Some(Answer::Text(429, "Retry-After: 4\r\n", "{}".to_owned())));
    let home = Home::new(&dashboard.url(), SUCCEEDS);
    let began = Instant::now();
    let _agent = home.start();
    let first = dashboard.first("POST", "/register").at;
    assert!(first - began < Duration::from_secs(3), "the first call is never delayed");
    let second =
        eventually("a second call", || dashboard.calls("POST", "/register").get(1).cloned());
    assert!(second.at - first >= Duration::from_millis(3900), "{:?}", second.at - first);
}

#[test]
fn a_token_of_the_host_s_own_is_stored_and_used_also_after_a_restart() {
    let dashboard = Dashboard::new(Speaks::V1);
    dashboard.script(|call| {
        (call.token == SHARED_TOKEN).then(|| {
            Answer::Json(
                200,
                json!({"status": "registered", "host_id": "host", "command": null,
                "agent_token": "own-token-1"}),
            )
        })
    });
    let home = Home::new(&dashboard.url(), SUCCEEDS);
    let agent = home.start();
    dashboard.call("POST", "/register", |call| call.token == "own-token-1");
    let stored = home.state().join("token");
    assert_eq!(fs::read_to_string(&stored).unwrap(), "own-token-1\n");
    assert_eq!(fs::metadata(&stored).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!agent.log().contains("own-token-1"));
    drop(agent);
    let before = dashboard.calls("POST", "/register").len();
    let _agent = home.start();
    let next =
        eventually("it registers", || dashboard.calls("POST", "/register").get(before).cloned());
    assert_eq!(next.token, "own-token-1");
}

#[test]
fn when_the_own_token_is_turned_away_the_shared_one_gets_a_new_one() {
    let dashboard = Dashboard::new(Speaks::V2);
    dashboard.script(|call| match call.token.as_str() {
        "own-token-2" => None,
        SHARED_TOKEN => Some(Answer::Json(
            200,
            json!({"status": "registered", "host_id": "host", "command": null,
                "agent_token": "own-token-2", "protocol": 2}),
        )),
        _ => Some(Answer::Json(401, json!({"detail": "Invalid API token"}))),
    });
    let home = Home::new(&dashboard.url(), SUCCEEDS);
    let id = journal::finished(&home.state(), Outcome::Succeeded);
    home.write_private(".local/state/nixfleet/token", "own-token-1\n");
    let _agent = home.start();
    let calls = dashboard.call("POST", "/register", |call| call.token == SHARED_TOKEN);
    let first = dashboard.first("POST", "/register");
    assert_eq!(first.token, "own-token-1");
    assert!(calls.at - first.at < Duration::from_millis(800), "the other token is tried at once");
    let report = dashboard.first("PUT", "/switches/");
    assert_eq!(report.token, "own-token-2");
    text_of(&journal::directory(&home.state(), id).reported());
}

#[test]
fn a_dashboard_that_takes_no_token_is_not_asked_without_pause() {
    let dashboard = Dashboard::new(Speaks::V2);
    dashboard.script(|_| Some(Answer::Json(401, json!({"detail": "Invalid API token"}))));
    let home = Home::new(&dashboard.url(), SUCCEEDS);
    journal::open(&home.state());
    home.write_private(".local/state/nixfleet/token", "own-token-1\n");
    let agent = home.start();
    let calls = eventually("five calls", || {
        Some(dashboard.calls("POST", "")).filter(|calls| calls.len() >= 5)
    });
    // Two at once, one for each token; then with growing pauses of at least 1, 2 and 4 s.
    assert!(calls[4].at - calls[0].at >= Duration::from_millis(6900));
    assert!(agent.log().contains("does not take the token"), "{}", agent.log());
}

#[test]
fn a_dashboard_that_changes_its_protocol_is_followed() {
    let dashboard = Dashboard::new(Speaks::V2);
    let old = json!({"status": "registered", "host_id": "host", "command": null});
    dashboard
        .script(move |call| call.is("POST", "/register").then(|| Answer::Json(200, old.clone())));
    let home = Home::new(&dashboard.url(), SUCCEEDS);
    let first = journal::finished(&home.state(), Outcome::Succeeded);
    let _agent = home.start();
    dashboard.first("POST", "/status");
    text_of(&journal::directory(&home.state(), first).reported());
    dashboard.behave();
    dashboard.first("GET", "/poll");
    let second = journal::finished(&home.state(), Outcome::Succeeded);
    dashboard.first("PUT", &format!("/switches/{second}"));
}
