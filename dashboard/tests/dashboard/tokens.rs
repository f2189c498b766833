//! Who gets in, and how tokens are given out.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Stdio};

use serde_json::{Value, json};

use crate::stage::{AGENT, Dashboard, OPERATOR, program, wait_for_end, write_private};

fn poll_status(dashboard: &Dashboard, host: &str, token: &str) -> u16 {
    dashboard.request("GET", &format!("/api/hosts/{host}/poll")).token(token).send().status
}

fn token_of(reply: &Value) -> String {
    reply["agent_token"].as_str().unwrap_or_else(|| panic!("{reply}")).to_owned()
}

#[test]
fn a_host_gets_its_own_token_once() {
    let dashboard = Dashboard::start();
    let own = token_of(&dashboard.register_v1("a").value());
    let other = token_of(&dashboard.agent("GET", "/api/hosts/b/poll").send().value());
    assert_ne!(own, other);
    assert_eq!(dashboard.register_v1("a").value().get("agent_token"), None, "sent once");
    for (host, token, status) in [
        ("a", own.as_str(), 200),
        ("a", AGENT, 200),
        ("a", other.as_str(), 401),
        ("b", own.as_str(), 401),
        ("unknown", own.as_str(), 401),
        ("a", OPERATOR, 401),
    ] {
        assert_eq!(poll_status(&dashboard, host, token), status, "{host} {token}");
    }
}

#[test]
fn without_the_shared_token_only_hosts_with_their_own_get_in() {
    let mut dashboard = Dashboard::start();
    let own = token_of(&dashboard.register_v1("a").value());
    dashboard.kill();
    dashboard.set("NIXFLEET_ALLOW_SHARED_AGENT_TOKEN", "false");
    dashboard.go_up();
    assert_eq!(poll_status(&dashboard, "a", &own), 200, "the token has outlived the kill");
    assert_eq!(poll_status(&dashboard, "a", AGENT), 401);
    assert_eq!(poll_status(&dashboard, "new", AGENT), 401);
}

#[test]
fn hosts_get_no_tokens_where_they_are_not_provisioned() {
    let dashboard = Dashboard::start_with(&[("NIXFLEET_AUTO_PROVISION_AGENT_TOKENS", "false")]);
    let expected = r#"{"status":"registered","host_id":"a","command":null}"#;
    assert_eq!(dashboard.register_v1("a").text(), expected);
    assert_eq!(dashboard.see("/api/hosts/a")["has_own_token"], false);
}

#[test]
fn an_operator_can_replace_a_hosts_token() {
    let dashboard = Dashboard::start();
    let old = token_of(&dashboard.register_v1("a").value());
    let replace =
        |host: &str| dashboard.operator("POST", &format!("/api/hosts/{host}/agent-token")).send();
    let new = token_of(&replace("a").value());
    assert_eq!(poll_status(&dashboard, "a", &old), 401);
    assert_eq!(poll_status(&dashboard, "a", &new), 200);
    assert_eq!(replace("unknown").status, 404);
}

#[test]
fn no_token_is_in_the_database_or_in_what_operators_see() {
    let mut dashboard = Dashboard::start();
    let own = token_of(&dashboard.register_v1("a").value());
    let seen = dashboard.see("/api/hosts").to_string();
    assert!(!seen.contains(&own) && !seen.contains("hash"), "{seen}");
    dashboard.end(rustix::process::Signal::TERM);
    let database = fs::read(dashboard.database()).unwrap();
    for token in [own.as_str(), AGENT, OPERATOR] {
        let found = database.windows(token.len()).any(|window| window == token.as_bytes());
        assert!(!found, "{token}");
    }
}

#[test]
fn operator_calls_take_the_operators_token_alone() {
    let dashboard = Dashboard::start();
    let own = token_of(&dashboard.register_v1("a").value());
    let switch = "/api/hosts/a/switches/0193b0a4-7c1e-7000-8000-000000000001";
    let output = format!("{switch}/output");
    for (method, path) in [
        ("GET", "/api/hosts"),
        ("GET", "/api/hosts/a"),
        ("POST", "/api/hosts/a/command"),
        ("GET", "/api/hosts/a/commands"),
        ("GET", "/api/hosts/a/switches"),
        ("GET", switch),
        ("GET", &output),
        ("POST", "/api/hosts/a/agent-token"),
        ("GET", "/api/hosts/unknown"),
    ] {
        for token in [AGENT, own.as_str(), "", "operator-toke", "operator-token2"] {
            let reply = dashboard.request(method, path).token(token).send();
            assert_eq!(reply.status, 401, "{method} {path} {token}");
            assert_eq!(reply.value(), json!({ "detail": "Invalid operator token" }));
        }
        assert_eq!(dashboard.request(method, path).send().status, 401, "{method} {path}");
    }
}

/// Starts the program in vain; says how it ended and what it said.
fn refusal(dashboard: &Dashboard) -> (i32, String) {
    let child = dashboard.command().stderr(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = child.unwrap();
    let status = wait_for_end(&mut child);
    let said = child.wait_with_output().unwrap();
    assert_eq!(said.stdout, b"", "it does not claim to listen");
    (status.code().unwrap(), String::from_utf8(said.stderr).unwrap())
}

#[test]
fn token_files_that_others_can_read_are_refused_with_the_remedy() {
    let mut dashboard = Dashboard::start();
    dashboard.kill();
    let file = dashboard.folder().join("agent-token");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let (code, said) = refusal(&dashboard);
    assert_eq!(code, 78);
    assert!(said.contains(&format!("chmod 600 {}", file.display())), "{said}");
    assert!(!said.contains(AGENT), "{said}");
}

#[test]
fn tokens_that_cannot_be_used_are_refused() {
    let mut dashboard = Dashboard::start();
    dashboard.kill();
    let file = dashboard.folder().join("agent-token");
    for (text, expected) in [
        (OPERATOR, "the agent token and the operator token are the same"),
        ("two words", "the agent token cannot be used"),
        (" \n", "there is no agent token"),
    ] {
        write_private(&file, text);
        let (code, said) = refusal(&dashboard);
        assert_eq!((code, said.contains(expected)), (78, true), "{text:?}: {said}");
    }
    fs::remove_file(&file).unwrap();
    let (code, said) = refusal(&dashboard);
    assert_eq!(code, 78);
    assert!(said.contains("cannot read the token file"), "{said}");
}

#[test]
fn tokens_may_come_from_the_environment_but_have_to_come() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = program();
    command.args(["serve", "--listen", "127.0.0.1:0", "--database"]);
    command.arg(folder.path().join("fleet.sqlite")).env("NIXFLEET_API_TOKEN", "one");
    command.stderr(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    assert_eq!(wait_for_end(&mut child).code(), Some(78));
    let said = String::from_utf8(child.wait_with_output().unwrap().stderr).unwrap();
    assert!(said.contains("NIXFLEET_OPERATOR_TOKEN"), "{said}");
}
