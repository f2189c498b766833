//! Results reach the dashboard, whatever happens in between.

use std::{fs, net::TcpListener, os::unix::fs::symlink};

use crate::support::{
    agent::{Home, text_of},
    dashboard::{Answer, Dashboard, Speaks},
    eventually, journal,
    wrapper::SUCCEEDS,
};
use nixfleet_protocol::{
    journal::records::{Initiator, Outcome, SwitchId},
    process::ProcessIdentity,
};
use serde_json::json;

/// The ids of the final reports, in the order in which they came.
fn finals(dashboard: &Dashboard) -> Vec<String> {
    let calls = dashboard.calls("PUT", "/switches/");
    calls
        .iter()
        .filter(|call| call.body["state"] == "finished")
        .filter_map(|call| call.body["id"].as_str().map(str::to_owned))
        .collect()
}

fn is_reported(home: &Home, id: SwitchId) {
    text_of(&journal::directory(&home.state(), id).reported());
}

#[test]
fn what_happened_during_an_outage_arrives_oldest_first_and_once() {
    // A port on which nobody answers yet.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let home = Home::new(&format!("http://{address}"), SUCCEEDS);
    let before_start = journal::finished(&home.state(), Outcome::Succeeded);
    let agent = home.start();
    agent.wait_until_logged("heartbeat fails");
    let during = journal::finished(&home.state(), Outcome::Failed);
    drop(agent);

    let mut agent = home.start();
    agent.wait_until_up();
    let after = journal::finished(&home.state(), Outcome::Succeeded);
    let dashboard = Dashboard::on(TcpListener::bind(address).unwrap(), Speaks::V2);
    let expected = [before_start, during, after];
    for id in expected {
        is_reported(&home, id);
    }
    assert_eq!(finals(&dashboard), expected.map(|id| id.to_string()));
    agent.terminate();
    let _next = home.start();
    let beats = dashboard.calls("POST", "/register").len();
    eventually("the next agent beats", || {
        (dashboard.calls("POST", "/register").len() >= beats + 2).then_some(())
    });
    assert_eq!(finals(&dashboard).len(), 3);
}

#[test]
fn an_outage_is_said_when_it_begins_and_when_it_ends() {
    let dashboard = Dashboard::new(Speaks::V1);
    dashboard.script(|_| Some(Answer::Text(500, "", "Internal Server Error".to_owned())));
    let home = Home::new(&dashboard.url(), SUCCEEDS);
    let agent = home.start();
    eventually("three tries", || (dashboard.calls("POST", "/register").len() >= 3).then_some(()));
    dashboard.behave();
    agent.wait_until_logged("heartbeat works again");
    assert_eq!(agent.log().matches("heartbeat fails").count(), 1, "{}", agent.log());
    assert!(!agent.log().contains(crate::support::agent::SHARED_TOKEN));
}

#[test]
fn a_result_that_is_refused_for_good_is_set_aside_and_the_next_one_goes() {
    let dashboard = Dashboard::new(Speaks::V2);
    let home = Home::new(&dashboard.url(), SUCCEEDS);
    let refused = journal::finished(&home.state(), Outcome::Failed);
    let taken = journal::finished(&home.state(), Outcome::Succeeded);
    let path = refused.to_string();
    dashboard.script(move |call| {
        let is_it = call.is("PUT", &path);
        is_it.then(|| Answer::Json(422, json!({"detail": "no such field"})))
    });
    let _agent = home.start();
    let mark = text_of(&journal::directory(&home.state(), refused).refused());
    assert!(mark.contains("422") && mark.contains("no such field"), "{mark}");
    is_reported(&home, taken);
    assert_eq!(dashboard.calls("PUT", &refused.to_string()).len(), 1);
}

#[test]
fn a_result_goes_out_at_once_and_again_when_the_agent_was_looked_after() {
    let dashboard = Dashboard::new(Speaks::V2);
    let home = Home::new(&dashboard.url(), SUCCEEDS);
    let id = journal::accept(&home.state(), Initiator::User, 1);
    let lock = journal::hold_lock(&home.state(), id);
    journal::end(&home.state(), id, Outcome::Succeeded);
    let _agent = home.start();
    let of_it = |reload: bool| {
        dashboard.call("PUT", "/switches/", |call| {
            call.body["state"] == "finished" && call.body["reload"].is_object() == reload
        })
    };
    of_it(false);
    assert!(!journal::directory(&home.state(), id).reported().exists());
    journal::reload(&home.state(), id);
    lock.release();
    assert_eq!(of_it(true).body["reload"]["verdict"], "healthy");
    is_reported(&home, id);
    assert!(home.wrapper_calls().is_empty(), "the wrapper was at it itself");
}

#[test]
fn what_was_cut_short_is_closed_and_reported_truly() {
    let dashboard = Dashboard::new(Speaks::V2);
    let home = Home::new(&dashboard.url(), SUCCEEDS);
    let state = home.state();
    let nobody = || ProcessIdentity { pid: std::process::id(), start: "another".to_owned() };

    let interrupted = journal::accept(&state, Initiator::Agent, 100);
    journal::start(&state, interrupted, nobody(), nobody());
    let never_started = journal::accept(&state, Initiator::Agent, 100);
    let fresh = journal::accept(&state, Initiator::Agent, 1);
    let _agent = home.start();
    for (id, outcome) in
        [(interrupted, "interrupted"), (never_started, "not_started"), (fresh, "succeeded")]
    {
        let report = dashboard.call("PUT", &format!("/switches/{id}"), |call| {
            call.body["state"] == "finished" && call.body["reload"].is_object()
        });
        assert_eq!(report.body["result"]["outcome"], outcome);
        is_reported(&home, id);
    }
    assert_eq!(home.runs(), 1);
}

#[test]
fn broken_files_stop_nothing_and_are_said() {
    let dashboard = Dashboard::new(Speaks::V2);
    let home = Home::new(&dashboard.url(), SUCCEEDS);
    let state = home.state();
    let broken = |name: &str, content: &str| {
        let id = journal::accept(&state, Initiator::User, 100);
        fs::write(journal::directory(&state, id).root().join(name), content).unwrap();
        id
    };
    let half_result = broken("result.json", "{\"format\":1,\"id\":");
    let too_new = broken("result.json", "{\"format\":99}");
    let lying = journal::finished(&state, Outcome::Succeeded);
    let text = fs::read_to_string(journal::directory(&state, lying).result()).unwrap();
    let lie = text.replace("\"exit_code\": 0", "\"exit_code\": 1");
    assert_ne!(text, lie);
    fs::write(journal::directory(&state, lying).result(), lie).unwrap();
    let half_request = journal::finished(&state, Outcome::Failed);
    fs::write(journal::directory(&state, half_request).request(), "{").unwrap();
    let linked = journal::accept(&state, Initiator::User, 100);
    symlink("/etc/passwd", journal::directory(&state, linked).result()).unwrap();
    fs::create_dir_all(state.join("switches/not-a-switch")).unwrap();
    fs::create_dir_all(state.join("commands/c-1")).unwrap();
    fs::write(state.join("commands/c-1/accepted.json"), "nonsense").unwrap();
    fs::write(state.join("agent.json"), "nonsense").unwrap();
    let good = journal::finished(&state, Outcome::Succeeded);

    let agent = home.start();
    for (id, outcome) in [
        (half_result, "interrupted"),
        (too_new, "interrupted"),
        (lying, "interrupted"),
        (linked, "interrupted"),
        (half_request, "failed"),
        (good, "succeeded"),
    ] {
        let report = dashboard
            .call("PUT", &format!("/switches/{id}"), |call| call.body["state"] == "finished");
        assert_eq!(report.body["result"]["outcome"], outcome, "{id}");
        is_reported(&home, id);
    }
    assert!(journal::directory(&state, half_result).root().join("result.json.unreadable").exists());
    let answer = dashboard.first("PUT", "/commands/c-1/answer");
    assert_eq!(answer.body["outcome"], "failed");
    assert!(agent.log().contains("cannot be read"), "{}", agent.log());
    assert_eq!(home.runs(), 0);
}

#[test]
fn a_host_that_was_deleted_registers_again_and_reports() {
    let dashboard = Dashboard::new(Speaks::V2);
    let home = Home::new(&dashboard.url(), SUCCEEDS);
    let id = journal::finished(&home.state(), Outcome::Succeeded);
    let is_known = std::sync::atomic::AtomicUsize::new(0);
    dashboard.script(move |call| {
        let seen = is_known.fetch_add(
            usize::from(call.is("POST", "/register")),
            std::sync::atomic::Ordering::SeqCst,
        );
        let is_unknown = call.is("PUT", "/switches/") && seen < 2;
        is_unknown.then(|| Answer::Json(404, json!({"detail": "no such host"})))
    });
    let _agent = home.start();
    is_reported(&home, id);
}
