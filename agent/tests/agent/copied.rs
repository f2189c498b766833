//! A state directory that comes from another machine, or from before a restart of this one.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

use std::{
    fs::{self, File},
    time::{Duration, SystemTime},
};

use crate::support::{
    agent::{Home, text_of},
    dashboard::{Dashboard, Speaks},
    eventually, journal,
    sleeper::Sleeper,
    wrapper::SUCCEEDS,
};
use nixfleet_protocol::{
    journal::{
        atomic,
        records::{Initiator, Request, SwitchId},
    },
    process::ProcessIdentity,
};

/// A request that an agent of this name has just accepted.
fn accepted_on(home: &Home, host: &str) -> SwitchId {
    let id = journal::accept(&home.state(), Initiator::Agent, 1);
    let path = journal::directory(&home.state(), id).request();
    let request: Request = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    atomic::replace(&path, &Request { host: host.to_owned(), ..request }).unwrap();
    id
}

#[test]
fn a_process_of_another_boot_is_none_of_ours() {
    let dashboard = Dashboard::new(Speaks::V2);
    let home = Home::new(&dashboard.url(), SUCCEEDS);
    let mut stranger = Sleeper::start();
    let id = journal::accept(&home.state(), Initiator::Agent, 100);
    journal::start(&home.state(), id, stranger.identity(), stranger.identity());
    let path = journal::directory(&home.state(), id).started();
    let text = fs::read_to_string(&path).unwrap();
    let boot = nixfleet_protocol::process::boot_id().unwrap();
    assert!(text.contains(&boot));
    fs::write(&path, text.replace(&boot, "another-boot")).unwrap();
    dashboard.queue("c-1", "stop");
    let _agent = home.start();
    let report = dashboard.call("PUT", &format!("/switches/{id}"), |call| {
        call.body["state"] == "finished" && call.body["reload"].is_object()
    });
    assert_eq!(report.body["result"]["outcome"], "interrupted");
    dashboard.first("PUT", "/commands/c-1/answer");
    text_of(&journal::directory(&home.state(), id).reported());
    assert!(stranger.is_running(), "the same pid, and another process");
}

#[test]
fn what_another_host_s_agent_has_accepted_is_not_started_here_and_said() {
    let dashboard = Dashboard::new(Speaks::V2);
    let home = Home::new(&dashboard.url(), SUCCEEDS);
    let foreign = accepted_on(&home, "the-other-mac");
    let own = journal::accept(&home.state(), Initiator::Agent, 1);
    let agent = home.start();
    for (id, outcome) in [(foreign, "not_started"), (own, "succeeded")] {
        let report = dashboard.call("PUT", &format!("/switches/{id}"), |call| {
            call.body["state"] == "finished" && call.body["reload"].is_object()
        });
        assert_eq!(report.body["result"]["outcome"], outcome, "{id}");
        if id == foreign {
            let note = report.body["result"]["note"].as_str().unwrap();
            assert!(note.contains("the-other-mac") && note.contains("this is host"), "{note}");
        }
    }
    assert_eq!(home.runs(), 1);
    let log = agent.log();
    assert_eq!(log.matches("an agent of another name has accepted").count(), 1, "{log}");
    assert!(log.contains("the-other-mac"), "{log}");
}

#[test]
fn names_and_stamps_of_another_agent_stop_nobody() {
    let dashboard = Dashboard::new(Speaks::V2);
    let home = Home::new(&dashboard.url(), SUCCEEDS);
    // The record of an agent whose process is alive here by accident, and locks that nobody holds.
    let mut first = home.start();
    let record = first.wait_until_up();
    first.terminate();
    let stranger = Sleeper::start();
    let mine = ProcessIdentity { pid: stranger.pid(), ..stranger.identity() };
    let path = home.state().join("agent.json");
    let copied = nixfleet_protocol::journal::records::RunningProgram { process: mine, ..record };
    atomic::replace(&path, &copied).unwrap();
    let locks = ["agent.lock", "switch.lock"].map(|name| home.state().join(name));
    let switch = journal::accept(&home.state(), Initiator::User, 100);
    drop(journal::hold_lock(&home.state(), switch));
    let ahead = SystemTime::now() + Duration::from_secs(1_000_000);
    for lock in &locks {
        File::open(lock).unwrap().set_modified(ahead).unwrap();
    }
    let agent = home.start();
    agent.wait_until_up();
    eventually("it stamps its own lock", || {
        let stamp = fs::metadata(&locks[0]).unwrap().modified().unwrap();
        (stamp < ahead).then_some(())
    });
    let report = dashboard
        .call("PUT", &format!("/switches/{switch}"), |call| call.body["state"] == "finished");
    assert_eq!(report.body["result"]["outcome"], "not_started");
    assert!(!agent.log().contains("another agent"), "{}", agent.log());
}
