//! Healings: what a host had put right without a switch.

use nixfleet_protocol::journal::records::{HealingCause, HealingId};
use serde_json::{Value, json};

use crate::stage::{Dashboard, reports::healing};

const RECORDED: &str = r#"{"status":"recorded"}"#;

fn started() -> Dashboard {
    let dashboard = Dashboard::start();
    dashboard.register_v2("mac");
    dashboard
}

fn seen(dashboard: &Dashboard, query: &str) -> Vec<Value> {
    let seen = dashboard.see(&format!("/api/hosts/mac/healings{query}"));
    seen["healings"].as_array().unwrap().clone()
}

#[test]
fn a_healing_is_shown_as_it_was_told_and_told_twice_is_one() {
    let dashboard = started();
    let told = healing(HealingCause::AgentMissing, 20);
    assert_eq!(dashboard.heal("mac", &told).text(), RECORDED);
    let shown = seen(&dashboard, "");
    let [only] = &shown[..] else { panic!("{shown:?}") };
    assert!(only["received_at"].is_string());
    let expected = json!({
        "id": told.id.to_string(),
        "cause": "agent_missing",
        "missed_for_ms": 12_000,
        "verdict": "back",
        "explanation": "as it should be",
        "began_at": "2026-11-23T02:13:40.000Z",
        "duration_ms": 400,
        "steps": [{
            "at_ms": 3, "step": "kickstart", "argv": ["launchctl", "kickstart"], "exit_code": 0,
        }],
        "received_at": only["received_at"],
    });
    assert_eq!(*only, expected);
    let mut other = told;
    other.cause = HealingCause::Asked;
    assert_eq!(dashboard.heal("mac", &other).text(), RECORDED);
    assert_eq!(seen(&dashboard, ""), shown, "the first one counts");
}

#[test]
fn the_newest_comes_first_and_hosts_are_apart() {
    let dashboard = started();
    dashboard.register_v2("other");
    let causes = [HealingCause::AgentStuck, HealingCause::WatchdogMissing, HealingCause::Asked];
    for (second, cause) in [(30, causes[1]), (20, causes[0]), (40, causes[2])] {
        assert_eq!(dashboard.heal("mac", &healing(cause, second)).status, 200);
    }
    let order: Vec<Value> = seen(&dashboard, "").iter().map(|one| one["cause"].clone()).collect();
    assert_eq!(order, [json!("asked"), json!("watchdog_missing"), json!("agent_stuck")]);
    assert_eq!(seen(&dashboard, "?limit=1").len(), 1);
    assert_eq!(dashboard.see("/api/hosts/other/healings"), json!({ "healings": [] }));
}

#[test]
fn healings_that_make_no_sense_are_refused() {
    let dashboard = started();
    let good = healing(HealingCause::AgentOutdated, 20);
    let path = format!("/api/hosts/mac/healings/{}", good.id);
    let put = |path: &str, body: &str| dashboard.agent("PUT", path).json(body).send().status;
    let body = serde_json::to_value(&good).unwrap();
    let with = |field: &str, value: Value| {
        let mut body = body.clone();
        body[field] = value;
        body.to_string()
    };
    for bad in [
        String::new(),
        "[]".to_owned(),
        with("id", json!(HealingId::generate())),
        with("cause", json!("boredom")),
        with("missed_for_ms", json!(-1)),
        with("reload", json!(null)),
    ] {
        assert_eq!(put(&path, &bad), 422, "{bad}");
    }
    let body = body.to_string();
    assert_eq!(put("/api/hosts/mac/healings/not-an-id", &body), 404);
    assert_eq!(put(&format!("/api/hosts/unknown/healings/{}", good.id), &body), 404);
    let stranger = dashboard.request("PUT", &path).token("stranger").json(&body).send();
    assert_eq!(stranger.status, 401);
    assert_eq!(dashboard.agent("GET", "/api/hosts/mac/healings").send().status, 401);
    assert_eq!(seen(&dashboard, ""), Vec::<Value>::new());
    let huge = with("missed_for_ms", json!(u64::MAX));
    assert_eq!(put(&path, &huge), 200);
    assert_eq!(seen(&dashboard, "")[0]["missed_for_ms"], json!(i64::MAX));
}

#[test]
fn only_the_newest_are_kept_and_they_outlive_a_kill() {
    let mut dashboard = started();
    let ahead = healing(HealingCause::AgentMissing, 1_000_000);
    assert_eq!(dashboard.heal("mac", &ahead).status, 200);
    let mut ids = Vec::new();
    for second in 0..200 {
        let one = healing(HealingCause::AgentMissing, second);
        assert_eq!(dashboard.heal("mac", &one).status, 200);
        ids.push(one.id.to_string());
    }
    dashboard.kill();
    dashboard.go_up();
    let shown = seen(&dashboard, "?limit=2000");
    let shown: Vec<&str> = shown.iter().map(|one| one["id"].as_str().unwrap()).collect();
    ids.reverse();
    assert_eq!(shown, ids);
}
