//! Tokens that change while the agent runs: in their file, by their command, at the dashboard.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    sync::{Arc, Mutex},
};

use crate::support::{
    agent::{Agent, Home, SHARED_TOKEN},
    dashboard::{Answer, Dashboard, Speaks},
    eventually,
    wrapper::SUCCEEDS,
};
use serde_json::json;

/// A dashboard that takes this token and no other.
struct Picky {
    dashboard: Dashboard,
    takes: Arc<Mutex<String>>,
}

impl Picky {
    fn new(takes: &str) -> Self {
        let dashboard = Dashboard::new(Speaks::V2);
        let takes = Arc::new(Mutex::new(takes.to_owned()));
        let asked = Arc::clone(&takes);
        dashboard.script(move |call| {
            let is_good = call.token == *asked.lock().unwrap();
            (!is_good).then(|| Answer::Json(401, json!({"detail": "Invalid API token"})))
        });
        Self { dashboard, takes }
    }

    fn takes(&self, token: &str) {
        token.clone_into(&mut self.takes.lock().unwrap());
    }

    #[track_caller]
    fn hears(&self, token: &str) {
        self.dashboard.call("POST", "/register", |call| call.token == token);
    }
}

#[track_caller]
fn wait_until_well(agent: &Agent) {
    eventually("it gets on with the dashboard", || {
        let contact = agent.record()?.dashboard?;
        (contact.protocol.is_some() && contact.failing_since.is_none()).then_some(())
    });
}

fn nowhere_but_in_its_place(home: &Home, agent: &Agent, tokens: &[&str]) {
    let record = fs::read_to_string(home.state().join("agent.json")).unwrap();
    for token in tokens {
        assert!(!agent.log().contains(token) && !record.contains(token), "{}", agent.log());
    }
}

#[test]
fn a_token_file_that_changes_is_read_again() {
    let picky = Picky::new(SHARED_TOKEN);
    let home = Home::new(&picky.dashboard.url(), SUCCEEDS);
    let agent = home.start();
    wait_until_well(&agent);
    // First at the dashboard, and some time later at the host; and the other way round.
    picky.takes("second-token");
    eventually("it is turned away", || agent.record()?.dashboard?.failure);
    home.write_private("token", "second-token\n");
    picky.hears("second-token");
    wait_until_well(&agent);
    home.write_private("token", "NIXFLEET_TOKEN=third-token\n");
    picky.hears("third-token");
    picky.takes("third-token");
    wait_until_well(&agent);
    agent.wait_until_logged("its file has changed");
    nowhere_but_in_its_place(&home, &agent, &[SHARED_TOKEN, "second-token", "third-token"]);
}

#[test]
fn a_token_file_that_cannot_be_used_leaves_the_token_as_it_is() {
    let picky = Picky::new(SHARED_TOKEN);
    let home = Home::new(&picky.dashboard.url(), SUCCEEDS);
    let agent = home.start();
    wait_until_well(&agent);
    let path = home.folder.path().join("token");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    agent.wait_until_logged("chmod 600");
    fs::remove_file(&path).unwrap();
    agent.wait_until_logged("cannot read token file");
    let calls = picky.dashboard.calls("POST", "/register").len();
    eventually("it goes on", || {
        (picky.dashboard.calls("POST", "/register").len() >= calls + 3).then_some(())
    });
    assert_eq!(agent.log().matches("chmod 600").count(), 1, "{}", agent.log());
    assert_eq!(agent.log().matches("cannot read token file").count(), 1, "{}", agent.log());
    home.write_private("token", "second-token\n");
    picky.takes("second-token");
    picky.hears("second-token");
    wait_until_well(&agent);
}

#[test]
fn a_command_gives_the_token_when_it_is_needed_and_is_not_run_all_the_time() {
    let picky = Picky::new("own-token");
    let home = Home::new(&picky.dashboard.url(), SUCCEEDS).without("NIXFLEET_TOKEN_FILE");
    let folder = home.folder.path().to_owned();
    let vault = home.write_private("vault", "first-token\n");
    let command = home.write_private(
        "show",
        "#!/bin/sh\necho x >> \"$HOME/runs\"\necho 'first-token, second-token' >&2\ncat \"$1\"\n",
    );
    fs::set_permissions(&command, fs::Permissions::from_mode(0o700)).unwrap();
    let config = home.write_private(
        "config.toml",
        &format!("token_command = [{:?}, {:?}]\n", command.display(), vault.display()),
    );
    let home = home.with("NIXFLEET_CONFIG", config.to_str().unwrap());
    fs::create_dir_all(home.state()).unwrap();
    home.write_private(".local/state/nixfleet/token", "own-token\n");
    let agent = home.start();
    wait_until_well(&agent);
    let runs = || fs::read_to_string(folder.join("runs")).unwrap_or_default().lines().count();
    assert_eq!(runs(), 0, "the host has a token of its own");
    picky.takes("first-token");
    picky.hears("first-token");
    wait_until_well(&agent);
    assert_eq!(runs(), 1);
    picky.takes("second-token");
    eventually("it is turned away", || agent.record()?.dashboard?.failure);
    let calls = picky.dashboard.calls("POST", "/register").len();
    eventually("it tries again", || {
        (picky.dashboard.calls("POST", "/register").len() >= calls + 3).then_some(())
    });
    assert_eq!(runs(), 1, "it was run a moment ago");
    nowhere_but_in_its_place(&home, &agent, &["first-token", "second-token", "own-token"]);
}

#[test]
fn without_a_token_the_agent_is_up_and_says_why_it_says_nothing() {
    let picky = Picky::new("some-token");
    let home = Home::new(&picky.dashboard.url(), SUCCEEDS)
        .without("NIXFLEET_TOKEN_FILE")
        .with("NIXFLEET_TOKEN_COMMAND", "/bin/sh -c echo");
    let agent = home.start();
    let why = eventually("it says so", || agent.record()?.dashboard?.failure);
    assert!(why.contains("token_command `/bin/sh` does not print a token"), "{why}");
    assert!(picky.dashboard.calls("", "").is_empty());
    assert_eq!(agent.log().matches("does not print a token").count(), 1, "{}", agent.log());
}

#[test]
fn a_host_that_is_deleted_comes_back_by_the_operator_s_token() {
    let dashboard = Dashboard::new(Speaks::V2);
    let known = Arc::new(Mutex::new("own-token-1".to_owned()));
    let asked = Arc::clone(&known);
    dashboard.script(move |call| {
        let mut known = asked.lock().unwrap();
        if call.token == *known {
            return None;
        }
        if call.token == SHARED_TOKEN && call.is("POST", "/register") {
            "own-token-2".clone_into(&mut known);
            return Some(Answer::Json(
                200,
                json!({"status": "registered", "host_id": "host", "command": null,
                    "agent_token": "own-token-2", "protocol": 2}),
            ));
        }
        Some(Answer::Json(401, json!({"detail": "Invalid API token"})))
    });
    let home = Home::new(&dashboard.url(), SUCCEEDS);
    home.write_private("token", SHARED_TOKEN);
    fs::create_dir_all(home.state()).unwrap();
    home.write_private(".local/state/nixfleet/token", "own-token-1\n");
    let agent = home.start();
    wait_until_well(&agent);
    "deleted".clone_into(&mut known.lock().unwrap());
    dashboard.call("POST", "/register", |call| call.token == "own-token-2");
    wait_until_well(&agent);
    let stored = fs::read_to_string(home.state().join("token")).unwrap();
    assert_eq!(stored, "own-token-2\n");
    nowhere_but_in_its_place(&home, &agent, &["own-token-1", "own-token-2", SHARED_TOKEN]);
}

#[test]
fn a_dashboard_that_gives_another_token_each_time_is_followed_quietly() {
    let dashboard = Dashboard::new(Speaks::V2);
    let given = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&given);
    dashboard.script(move |call| {
        call.is("POST", "/register").then(|| {
            let mut given = counted.lock().unwrap();
            *given += 1;
            Answer::Json(
                200,
                json!({"status": "registered", "host_id": "host", "command": null,
                    "agent_token": format!("own-token-{given}"), "protocol": 2}),
            )
        })
    });
    let home = Home::new(&dashboard.url(), SUCCEEDS);
    let agent = home.start();
    dashboard.call("POST", "/register", |call| call.token == "own-token-4");
    assert_eq!(agent.log().matches("token of its own").count(), 1, "{}", agent.log());
    nowhere_but_in_its_place(&home, &agent, &["own-token-1", "own-token-4", SHARED_TOKEN]);
}
