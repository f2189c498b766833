//! An agent that dies at any point: the next one carries on, nothing is lost and nothing is run twice.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper that cannot go on fails its test")]

use std::os::unix::process::ExitStatusExt as _;

use crate::support::{
    agent::{Home, text_of},
    dashboard::{Dashboard, Speaks},
    eventually, journal,
};
use nixfleet_protocol::crash_point::CrashPoint;
use rustix::process::Signal;

/// Of two wrappers of the same switch one runs home-manager, as the switch lock sees to; this fake holds none, so the
/// other one says nothing.
const ONCE: &str = "mkdir $dir/running 2>/dev/null || exit 0; echo ran >> $state/ran; \
    echo building > $dir/output.log; result succeeded 0; reload healthy";

/// The points that an agent passes between its start and the last word on a switch.
const POINTS: [CrashPoint; 8] = [
    CrashPoint::AgentLocked,
    CrashPoint::AgentUp,
    CrashPoint::AgentCommandCame,
    CrashPoint::AgentCommandTaken,
    CrashPoint::AgentAcknowledged,
    CrashPoint::AgentWrapperStarted,
    CrashPoint::AgentReported,
    CrashPoint::AgentReportMarked,
];

/// Starts agents until one lives, as launchd does; says how many died.
fn keep_alive(home: &Home, points: &[CrashPoint]) -> usize {
    let mut deaths = 0;
    while points.iter().any(|point| home.is_armed(*point)) {
        let mut agent = home.start();
        let status = agent.wait();
        assert_eq!(status.signal(), Some(Signal::KILL.as_raw()), "{status}: {}", agent.log());
        deaths += 1;
    }
    deaths
}

fn check(points: &[CrashPoint]) {
    let dashboard = Dashboard::new(Speaks::V2);
    let home = Home::new(&dashboard.url(), ONCE);
    for point in points {
        home.arm(*point);
    }
    dashboard.queue("c-1", "switch");
    let deaths = keep_alive(&home, points);
    assert_eq!(deaths, points.len(), "each point kills once");
    let _agent = home.start();
    let report = dashboard.call("PUT", "/switches/", |call| {
        call.body["state"] == "finished" && call.body["reload"].is_object()
    });
    assert_eq!(report.body["command_id"], "c-1", "{points:?}");
    assert_eq!(report.body["result"]["outcome"], "succeeded", "{points:?}");
    let journal = journal::open(&home.state());
    let [switch] = journal.switch_ids().unwrap()[..] else {
        panic!("{points:?}: {:?}", journal.switch_ids())
    };
    text_of(&journal.directory().switch(switch).reported());
    dashboard.first("POST", "/commands/c-1/ack");
    assert_eq!(text_of(&home.state().join("ran")), "ran\n", "{points:?}");
    let outcomes = dashboard.calls("PUT", "/switches/");
    let finals = outcomes.iter().filter(|call| call.body["state"] == "finished");
    assert!(finals.clone().all(|call| call.body["id"] == switch.to_string().as_str()));
    assert!(finals.clone().all(|call| call.body["result"]["outcome"] == "succeeded"));
}

#[test]
fn at_every_point_alone() {
    std::thread::scope(|scope| {
        for point in POINTS {
            scope.spawn(move || check(&[point]));
        }
    });
}

#[test]
fn at_several_points_one_after_the_other() {
    check(&[CrashPoint::AgentLocked, CrashPoint::AgentCommandTaken, CrashPoint::AgentReported]);
    check(&POINTS);
}

#[test]
fn a_command_that_is_no_switch_and_a_healing_are_told_too() {
    let points = [CrashPoint::AgentReported, CrashPoint::AgentReportMarked];
    for point in points {
        let dashboard = Dashboard::new(Speaks::V2);
        let home = Home::new(&dashboard.url(), ONCE);
        home.arm(point);
        let healing = journal::heal(&home.state());
        assert_eq!(keep_alive(&home, &[point]), 1);
        let mut agent = home.start();
        text_of(&journal::healing_directory(&home.state(), healing).reported());
        home.arm(CrashPoint::AgentReported);
        dashboard.queue("c-2", "dance");
        assert_eq!(agent.wait().signal(), Some(Signal::KILL.as_raw()));
        let _next = home.start();
        text_of(&home.state().join("commands/c-2/reported.json"));
        let answers = dashboard.calls("PUT", "/commands/c-2/answer");
        assert_eq!(answers.len(), 2, "the dashboard's word was lost, and came again");
        assert_eq!(answers[0].body, answers[1].body);
    }
}

#[test]
fn a_point_that_is_not_armed_kills_nobody() {
    let dashboard = Dashboard::new(Speaks::V2);
    let home = Home::new(&dashboard.url(), ONCE);
    let mut agent = home.start();
    dashboard.queue("c-1", "switch");
    eventually("it is reported", || {
        let journal = journal::open(&home.state());
        let switch = *journal.switch_ids().unwrap().first()?;
        journal.directory().switch(switch).reported().exists().then_some(())
    });
    assert!(agent.is_running());
}
