//! What is more than a switch: how its steps and tests are told.

use nixfleet_protocol::{
    nix_log::NixPhase,
    operation::{Operation, Step, Steps, Tests},
};

use super::*;

#[test]
fn a_v1_dashboard_hears_how_the_tests_stand_before_it_hears_the_result() {
    let (mut core, _) = Core::with(Protocol::V1, Look::default());
    let standing = |tests: &Tests| Standing {
        steps: Some(Steps { tests: Some(tests.clone()), ..Steps::at(Step::Test) }),
        phase: None,
    };
    let mut tests = Tests { total: 2, current: 1, ..Tests::default() };
    let running = SwitchView {
        operation: Operation::Test,
        standing: standing(&tests),
        ..switch(Initiator::Agent, Phase::Running)
    };
    let id = running.id;
    core.look.switches = vec![running.clone()];
    let told = |tests: &Tests| Action::ReportTests { switch: id, tests: tests.clone() };
    assert!(core.look().contains(&told(&tests)));

    // What has changed meanwhile is told when the call has ended, and the result waits for it.
    let begun = tests.clone();
    tests = Tests { current: 2, passed: 2, is_over: true, ..tests };
    let over = SwitchView {
        standing: standing(&tests),
        ended: Some(Ended { outcome: Outcome::Succeeded, age: Duration::ZERO, has_reload: true }),
        phase: Phase::Finished { to_ensure: false, to_report: true },
        ..running
    };
    core.look.switches = vec![over];
    assert_eq!(reports(&core.look()), []);
    let answered =
        |tests: &Tests, reply| Event::TestsReported { switch: id, tests: tests.clone(), reply };
    let actions = core.event(answered(&begun, Ok(())));
    assert!(actions.contains(&told(&tests)));
    assert_eq!(reports(&actions), []);

    // A dashboard that fails does not keep the result from the others for ever.
    let failure = Failure::unreachable("down".to_owned());
    assert_eq!(reports(&core.event(answered(&tests, Err(failure)))), []);
    assert_eq!(reports(&core.passes(Duration::from_secs(30))), [(id, FINAL)]);
}

#[test]
fn a_v2_dashboard_hears_how_far_it_is_once_a_second() {
    let (mut core, _) = Core::with(Protocol::V2, Look::default());
    let at = |step, phase| Standing { steps: Some(Steps::at(step)), phase };
    let mut running = SwitchView {
        operation: Operation::PullSwitch,
        standing: at(Step::Pull, None),
        ..switch(Initiator::Agent, Phase::Running)
    };
    let id = running.id;
    core.look.switches = vec![running.clone()];
    assert_eq!(reports(&core.look()), [(id, Stage::Running)]);
    let told = |standing| Event::Reported {
        switch: id,
        stage: Stage::Running,
        standing,
        reply: Ok(Some(0)),
    };
    assert_eq!(reports(&core.event(told(at(Step::Pull, None)))), []);
    for standing in [
        at(Step::Switch, None),
        at(Step::Switch, Some(NixPhase::Building { number: 1, of: Some(2) })),
        at(Step::Switch, Some(NixPhase::Building { number: 2, of: Some(2) })),
    ] {
        running.standing = standing.clone();
        core.look.switches = vec![running.clone()];
        assert_eq!(reports(&core.look()), []);
        assert_eq!(reports(&core.passes(Duration::from_secs(1))), [(id, Stage::Running)]);
        assert_eq!(reports(&core.event(told(standing))), []);
    }
}
