//! What was healed without a switch reaches the dashboard, once.

use std::{fs, os::unix::fs::symlink};

use crate::support::{
    agent::{Home, text_of},
    dashboard::{Answer, Dashboard, Speaks},
    eventually, journal,
    wrapper::SUCCEEDS,
};
use nixfleet_protocol::journal::records::HealingId;
use serde_json::json;

fn told(dashboard: &Dashboard) -> Vec<String> {
    let calls = dashboard.calls("PUT", "/healings/");
    calls.iter().filter_map(|call| call.body["id"].as_str().map(str::to_owned)).collect()
}

fn is_reported(home: &Home, id: HealingId) {
    text_of(&journal::healing_directory(&home.state(), id).reported());
}

#[test]
fn they_arrive_oldest_first_and_once_also_while_the_agent_runs() {
    let dashboard = Dashboard::new(Speaks::V2);
    let home = Home::new(&dashboard.url(), SUCCEEDS);
    let first = journal::heal(&home.state());
    let second = journal::heal(&home.state());
    let mut agent = home.start();
    is_reported(&home, second);
    let third = journal::heal(&home.state());
    is_reported(&home, third);
    let expected = [first, second, third];
    assert_eq!(told(&dashboard), expected.map(|id| id.to_string()));
    let call = dashboard.first("PUT", "/healings/");
    assert_eq!(call.path, format!("/api/hosts/host/healings/{first}"));
    let written = fs::read(journal::healing_directory(&home.state(), first).healing()).unwrap();
    assert_eq!(call.body, serde_json::from_slice::<serde_json::Value>(&written).unwrap());

    agent.terminate();
    let _next = home.start();
    let fourth = journal::heal(&home.state());
    is_reported(&home, fourth);
    assert_eq!(told(&dashboard).len(), 4);
}

#[test]
fn a_record_that_comes_after_its_folder_is_not_missed() {
    let dashboard = Dashboard::new(Speaks::V2);
    let home = Home::new(&dashboard.url(), SUCCEEDS);
    let agent = home.start();
    agent.wait_until_up();
    let healing = journal::healing();
    let directory = journal::healing_directory(&home.state(), healing.id);
    fs::create_dir(directory.root()).unwrap();
    // The stamp of the folder of all healings has become old meanwhile, and changes no more.
    let beats = dashboard.calls("POST", "/register").len();
    eventually("some seconds pass", || {
        (dashboard.calls("POST", "/register").len() > beats + 4).then_some(())
    });
    journal::open(&home.state()).record_healing(&healing).unwrap();
    is_reported(&home, healing.id);
}

#[test]
fn what_is_refused_or_cannot_be_read_lets_the_others_pass() {
    let dashboard = Dashboard::new(Speaks::V2);
    let home = Home::new(&dashboard.url(), SUCCEEDS);
    let state = home.state();
    let refused = journal::heal(&state);
    let broken = |content: &str| {
        let id = journal::heal(&state);
        fs::write(journal::healing_directory(&state, id).healing(), content).unwrap();
        id
    };
    let half = broken("{\"format\":1,\"id\":");
    let too_new = broken("{\"format\":99}");
    let linked = journal::heal(&state);
    let path = journal::healing_directory(&state, linked).healing();
    fs::remove_file(&path).unwrap();
    symlink("/etc/passwd", &path).unwrap();
    fs::create_dir(state.join("healings/not-a-healing")).unwrap();
    fs::write(state.join("healings/a-file"), "").unwrap();
    let good = journal::heal(&state);
    let id = refused.to_string();
    dashboard.script(move |call| {
        call.is("PUT", &id).then(|| Answer::Json(422, json!({"detail": "no such cause"})))
    });
    let agent = home.start();
    is_reported(&home, good);
    let mark = text_of(&journal::healing_directory(&state, refused).refused());
    assert!(mark.contains("422") && mark.contains("no such cause"), "{mark}");
    for id in [half, too_new, linked] {
        let root = journal::healing_directory(&state, id).root().to_owned();
        assert!(root.join("healing.json.unreadable").symlink_metadata().is_ok(), "{id}");
        assert!(agent.log().contains(&id.to_string()), "{id}: {}", agent.log());
    }
    assert_eq!(told(&dashboard), [refused, good].map(|id| id.to_string()));
}

#[test]
fn they_wait_for_a_dashboard_that_has_a_place_for_them() {
    let dashboard = Dashboard::new(Speaks::V1);
    let home = Home::new(&dashboard.url(), SUCCEEDS);
    let healing = journal::heal(&home.state());
    let agent = home.start();
    agent.wait_until_logged("the dashboard speaks protocol 1");
    eventually("some heartbeats", || {
        (dashboard.calls("POST", "/register").len() > 3).then_some(())
    });
    assert!(told(&dashboard).is_empty());
    dashboard.script(|call| {
        let welcome = json!({"status": "registered", "host_id": "host", "protocol": 2});
        call.is("POST", "/register").then_some(Answer::Json(200, welcome))
    });
    is_reported(&home, healing);
    assert_eq!(told(&dashboard), [healing.to_string()]);
}

#[test]
fn an_outage_costs_none() {
    let dashboard = Dashboard::new(Speaks::V2);
    dashboard.script(|call| {
        call.is("PUT", "/healings/").then(|| Answer::Text(503, "", "not now".to_owned()))
    });
    let home = Home::new(&dashboard.url(), SUCCEEDS);
    let healing = journal::heal(&home.state());
    let agent = home.start();
    agent.wait_until_logged("report of a healing fails");
    dashboard.behave();
    is_reported(&home, healing);
    agent.wait_until_logged("report of a healing works again");
}
