//! What a v1 agent gets that sends something wrong: the recorded replies of a v1 dashboard, and the order of checks.

use serde::Deserialize;
use serde_json::json;

use crate::stage::{AGENT, Dashboard, OPERATOR};

/// A body, and what a v1 dashboard answered to it.
#[derive(Deserialize)]
struct Recorded {
    endpoint: String,
    content_type: Option<String>,
    body: String,
    status: u16,
    /// Only of refusals.
    reply: Option<String>,
}

const RECORDED: &str = include_str!("fixtures/v1-bodies.json");

/// The commands that a v1 dashboard lets an operator queue, as it says them in a refusal, and ours, which are more.
const V1_COMMANDS: &str = "^(pull|switch|pull-switch|test|stop|restart)$";
const OUR_COMMANDS: &str = "^(pull|switch|pull-switch|test|update|rollback|dry-run|stop|restart)$";

impl Recorded {
    /// The same as we answer it where that is meant to differ.
    fn into_ours(self) -> Self {
        let reply = self.reply.map(|reply| reply.replace(V1_COMMANDS, OUR_COMMANDS));
        if self.endpoint == "command" && self.body == r#"{"command": "update"}"# {
            return Self { status: 200, reply: None, ..self };
        }
        Self { reply, ..self }
    }
}

#[test]
fn every_recorded_body_is_taken_or_refused_as_recorded() {
    let dashboard = Dashboard::start();
    dashboard.register_v1("a");
    let recorded: Vec<Recorded> = serde_json::from_str(RECORDED).unwrap();
    assert!(recorded.len() > 250);
    let mut differences = Vec::new();
    for case in recorded.into_iter().map(Recorded::into_ours) {
        let path = format!("/api/hosts/a/{}", case.endpoint);
        let mut request = match case.endpoint.as_str() {
            "command" => dashboard.operator("POST", &path),
            _ => dashboard.agent("POST", &path),
        };
        if let Some(content_type) = &case.content_type {
            request = request.header("Content-Type", content_type);
        }
        let reply = request.body(case.body.as_bytes()).send();
        let is_same = reply.status == case.status
            && case.reply.as_ref().is_none_or(|recorded| recorded == reply.text());
        if !is_same {
            let expected = case.reply.unwrap_or_default();
            let got = format!("{} {}", reply.status, reply.text());
            differences.push(format!("{}: {expected}\n     got {got}", case.body));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn the_order_of_checks_is_body_then_host_then_token() {
    let dashboard = Dashboard::start();
    let good = r#"{"hostname":"a","host_type":"macos"}"#;
    let bad_host = json!({ "detail": "Invalid host ID format" });
    let bad_token = json!({ "detail": "Invalid API token" });
    let longest = format!("a{}", "b".repeat(62));
    let too_long = format!("{longest}b");
    for (host, token, body, status, detail) in [
        ("a_b", None, "{}", 422, None),
        ("a", None, "{}", 422, None),
        ("a_b", None, good, 400, Some(&bad_host)),
        ("1a", Some("wrong"), good, 400, Some(&bad_host)),
        ("a.b", Some(AGENT), good, 400, Some(&bad_host)),
        ("nl%0A", Some(AGENT), good, 400, Some(&bad_host)),
        ("%ff", Some(AGENT), good, 400, Some(&bad_host)),
        (too_long.as_str(), Some(AGENT), good, 400, Some(&bad_host)),
        ("a", None, good, 401, Some(&bad_token)),
        ("a", Some("wrong"), good, 401, Some(&bad_token)),
        ("a", Some(OPERATOR), good, 401, Some(&bad_token)),
        (longest.as_str(), Some(AGENT), good, 200, None),
        ("MiXed", Some(AGENT), good, 200, None),
    ] {
        let mut request =
            dashboard.request("POST", &format!("/api/hosts/{host}/register")).json(body);
        if let Some(token) = token {
            request = request.token(token);
        }
        let reply = request.send();
        assert_eq!(reply.status, status, "{host} {token:?} {body}: {}", reply.text());
        if let Some(detail) = detail {
            assert_eq!(&reply.value(), detail);
        }
    }
    assert_eq!(dashboard.see("/api/hosts/mixed")["id"], "mixed");
}

#[test]
fn only_a_bearer_token_is_taken() {
    let dashboard = Dashboard::start();
    for (value, status) in [
        (format!("Basic {AGENT}"), 401),
        (AGENT.to_owned(), 401),
        ("Bearer".to_owned(), 401),
        (format!("bearer {AGENT}"), 200),
    ] {
        let request = dashboard.request("GET", "/api/hosts/a/poll");
        let reply = request.header("Authorization", &value).send();
        assert_eq!(reply.status, status, "{value}");
        assert_eq!(reply.header("www-authenticate"), None);
    }
}

#[test]
fn trailing_newlines_are_no_part_of_a_name() {
    let dashboard = Dashboard::start();
    for body in [
        r#"{"hostname":"a\n","host_type":"macos"}"#,
        r#"{"hostname":"a","host_type":"macos","current_generation":"abc\n"}"#,
        r#"{"hostname":"a","host_type":"macos","poll_interval":NaN}"#,
    ] {
        let reply = dashboard.agent("POST", "/api/hosts/a/register").json(body).send();
        assert_eq!(reply.status, 422, "{body}: {}", reply.text());
    }
}

#[test]
fn too_many_calls_are_told_when_to_come_back() {
    let dashboard = Dashboard::start_with(&[]);
    let limit = |call: &str, body: &str, limit: usize| {
        let path = format!("/api/hosts/a/{call}");
        let send = || match body {
            "" => dashboard.agent("GET", &path).send(),
            body => dashboard.agent("POST", &path).json(body).send(),
        };
        for number in 1..=limit {
            assert_eq!(send().status, 200, "{call} {number}");
        }
        let reply = send();
        assert_eq!(reply.status, 429, "{call}");
        assert_eq!(reply.text(), r#"{"detail":"Rate limit exceeded"}"#);
        let wait: u64 = reply.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=60).contains(&wait), "{wait}");
    };
    limit("register", r#"{"hostname":"a","host_type":"macos"}"#, 30);
    limit("status", r#"{"status":"ok"}"#, 30);
    limit("test-progress", r#"{"current":1,"total":2}"#, 60);
    limit("poll", "", 60);
    assert_eq!(dashboard.register_v1("b").status, 200, "each host has a window of its own");
    let invalid = dashboard.agent("POST", "/api/hosts/a/register").json("{}").send();
    assert_eq!(invalid.status, 422, "a bad body is refused before it is counted");
}

#[test]
fn a_body_that_is_no_text_or_too_large() {
    let dashboard = Dashboard::start();
    let register = || dashboard.agent("POST", "/api/hosts/a/register");
    let reply = register().header("Content-Type", "application/json").body(b"\xff{}").send();
    assert_eq!(reply.status, 400);
    assert_eq!(reply.text(), r#"{"detail":"There was an error parsing the body"}"#);
    let large = format!(
        r#"{{"hostname":"a","host_type":"macos","metrics":{{"x":"{}"}}}}"#,
        "x".repeat(2 * 1024 * 1024)
    );
    let reply = register().json(&large).send();
    assert_eq!(reply.status, 413);
    let deep = "[".repeat(100_000);
    assert_eq!(register().json(&deep).send().status, 422);
    assert_eq!(dashboard.register_v1("a").status, 200, "it still serves");
}
