use jiff::Timestamp;
use nixfleet_protocol::{
    journal::records::{Activation, FORMAT, Initiator, SwitchId},
    operation::Operation,
    process::ProcessIdentity,
    switch_kind::SwitchKind,
};

use super::*;
use crate::crash::{facts::Command, watch::Heartbeat};

fn result(outcome: Outcome, exit_code: Option<i32>, signal: Option<i32>) -> SwitchResult {
    SwitchResult {
        format: FORMAT,
        id: SwitchId::generate(),
        outcome,
        exit_code,
        signal,
        started_at: Timestamp::UNIX_EPOCH,
        finished_at: Timestamp::UNIX_EPOCH,
        duration_ms: 1,
        operation: Operation::default(),
        kind: SwitchKind::default(),
        argv: Vec::new(),
        initiator: Initiator::Agent,
        generation_before: None,
        generation_after: None,
        activation: Activation::Complete,
        output_bytes: 0,
        output_tail: String::new(),
        wrapper_version: "1".to_owned(),
        host: "host".to_owned(),
        steps: None,
        note: None,
    }
}

fn succeeded() -> SwitchResult {
    result(Outcome::Succeeded, Some(0), None)
}

fn heartbeat(at: i64) -> Heartbeat {
    Heartbeat { agent: ProcessIdentity { pid: 1, start: String::new() }, at }
}

/// One switch that the dashboard asked for, that boots the agent out and is well.
fn good() -> Facts {
    let command = Some("c".to_owned());
    Facts {
        accepted: vec![Accepted {
            id: "s".to_owned(),
            command: command.clone(),
            child: Some((7, 1_000)),
            result: Some(succeeded()),
            wrapper_may_have_died: false,
        }],
        told: vec![Told { id: "s".to_owned(), command, result: Some(succeeded()) }],
        commands: vec![Command {
            id: "c".to_owned(),
            status: "succeeded".to_owned(),
            is_switch: true,
        }],
        runs: vec![Run { pid: 7, began: 1_010, last: 3_000, exit_code: Some(0) }],
        ends: vec![2_000],
        heartbeats: vec![heartbeat(1_900), heartbeat(4_000)],
        until: 5_000,
        ..Facts::default()
    }
}

/// What is found when this is changed.
fn found(change: impl FnOnce(&mut Facts)) -> Vec<Violation> {
    let mut facts = good();
    change(&mut facts);
    violations(&facts)
}

#[test]
fn what_is_well_is_well() {
    assert_eq!(found(|_facts| ()), []);
    assert_eq!(darkest(&good()), 2_000);
}

#[test]
fn every_violation_is_seen() {
    let s = || "s".to_owned();
    let told_failed = |facts: &mut Facts| {
        facts.told[0].result = Some(result(Outcome::Failed, Some(1), None));
    };
    assert_eq!(found(told_failed), [Violation::ToldDifferently(s())]);
    assert_eq!(found(|facts| facts.told.clear()), [Violation::NotTold(s())]);
    assert_eq!(found(|facts| facts.told[0].result = None), [Violation::NotTold(s())]);
    assert_eq!(found(|facts| facts.told.push(facts.told[0].clone())), [Violation::Invented(s())]);
    let other = |facts: &mut Facts| {
        let told = Told { id: "x".to_owned(), command: None, result: None };
        facts.told.push(told);
    };
    assert_eq!(found(other), [Violation::Invented("x".to_owned())]);
    let unknown = |facts: &mut Facts| {
        facts.runs.push(Run { pid: 8, began: 3_001, last: 3_002, exit_code: Some(0) });
    };
    assert_eq!(found(unknown), [Violation::UnknownRun(8)]);
    let plain_beside = |facts: &mut Facts| {
        facts.plain_runs.push(8);
        facts.runs.push(Run { pid: 8, began: 2_000, last: 2_500, exit_code: Some(0) });
    };
    assert_eq!(found(plain_beside), [Violation::TwoAtOnce(7, 8)]);
    let open = |facts: &mut Facts| facts.commands[0].status = "queued".to_owned();
    assert!(matches!(found(open).as_slice(), [Violation::Command(_)]));
    let lost = |facts: &mut Facts| facts.commands[0].status = "lost".to_owned();
    assert!(matches!(found(lost).as_slice(), [Violation::Command(_)]));
    let failed = |facts: &mut Facts| facts.commands[0].status = "failed".to_owned();
    assert!(matches!(found(failed).as_slice(), [Violation::Command(_)]));
    let twice = |facts: &mut Facts| {
        let mut again = facts.accepted[0].clone();
        again.id = "t".to_owned();
        again.child = None;
        again.result = Some(result(Outcome::NotStarted, None, None));
        let result = again.result.clone();
        facts.told.push(Told { id: "t".to_owned(), command: again.command.clone(), result });
        facts.accepted.push(again);
    };
    assert_eq!(found(twice), [Violation::CommandRanTwice("c".to_owned())]);
    let name = |facts: &mut Facts| facts.strange_names.push("a.unreadable".to_owned());
    assert_eq!(found(name), [Violation::StrangeName("a.unreadable".to_owned())]);
    let broken = |facts: &mut Facts| {
        name(facts);
        facts.files_were_broken = true;
    };
    assert_eq!(found(broken), []);
}

#[test]
fn a_switch_without_a_result_is_one_violation() {
    let none = |facts: &mut Facts| {
        facts.accepted[0].result = None;
        facts.told[0].result = None;
        facts.commands.clear();
    };
    assert_eq!(found(none), [Violation::NoResult("s".to_owned())]);
}

#[test]
fn which_results_are_true() {
    let ran = |exit_code| Some(Run { pid: 7, began: 0, last: 1, exit_code });
    for (outcome, exit_code, signal, run, a_wrapper_died, is_true) in [
        (Outcome::Succeeded, Some(0), None, ran(Some(0)), false, true),
        (Outcome::Succeeded, Some(0), None, ran(Some(1)), false, false),
        (Outcome::Succeeded, Some(0), None, ran(None), true, false),
        (Outcome::Succeeded, Some(0), None, None, true, false),
        (Outcome::Failed, Some(3), None, ran(Some(3)), false, true),
        (Outcome::Failed, Some(3), None, ran(Some(0)), false, false),
        (Outcome::Failed, None, Some(9), ran(None), false, true),
        (Outcome::Failed, Some(1), None, None, false, false),
        (Outcome::Interrupted, None, None, ran(Some(0)), false, false),
        (Outcome::Interrupted, None, None, ran(Some(0)), true, true),
        (Outcome::NotStarted, None, None, None, false, true),
        (Outcome::NotStarted, None, None, ran(Some(0)), true, false),
    ] {
        let said = result(outcome, exit_code, signal);
        let instead = what_was_instead(&said, run.as_ref(), a_wrapper_died);
        assert_eq!(instead.is_none(), is_true, "{outcome} {exit_code:?} {run:?}");
    }
}

#[test]
fn the_darkest_time_is_up_to_the_next_heartbeat_of_anybody() {
    for (ends, heartbeats, excused, expected) in [
        (vec![], vec![], vec![], 0),
        (vec![1_000], vec![900, 3_000], vec![], 2_000),
        // A second one that was never heard changes nothing.
        (vec![1_000, 2_000], vec![900, 3_500], vec![], 2_500),
        // Never back: dark until now.
        (vec![1_000], vec![900], vec![], 99_000),
        (vec![1_000], vec![900], vec![(500, 2_000), (50_000, 60_000)], 88_000),
        (vec![1_000, 10_000], vec![900, 3_000, 15_000], vec![], 5_000),
    ] {
        let facts = Facts {
            ends,
            heartbeats: heartbeats.into_iter().map(heartbeat).collect(),
            excused,
            until: 100_000,
            ..Facts::default()
        };
        assert_eq!(darkest(&facts), expected, "{facts:?}");
    }
    let dark = |facts: &mut Facts| facts.heartbeats = vec![heartbeat(62_100)];
    assert_eq!(found(dark), [Violation::Dark(60_100)]);
}
