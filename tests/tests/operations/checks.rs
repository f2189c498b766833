//! `test`: the host's own tests.

use nixfleet_protocol::{
    journal::records::Outcome,
    operation::{Operation, Step, Tests},
};

use nixfleet_tests::stage::processes;

use crate::bench::Bench;

#[test]
fn all_tests_run_and_those_that_fail_are_named() {
    let Some(bench) = Bench::with_own_clone() else { return };
    let tests = |words: &[&str]| {
        let (code, result) = bench.run(words);
        assert_eq!(result.operation, Operation::Test);
        let steps = result.steps.clone().unwrap();
        assert_eq!(steps.step, Step::Test);
        (code, result.outcome, steps.tests.unwrap())
    };
    bench.run(&["pull"]);
    let (code, outcome, none) = tests(&["test"]);
    assert_eq!((code, outcome, none.verdict().as_str()), (Some(0), Outcome::Succeeded, "no tests"));

    bench.remote.publish_test("T01-well.sh", "pwd; exit 0");
    bench.remote.publish_test("T02-ill.sh", "echo this is why; exit 3");
    bench.remote.publish_test("T03-well.sh", "[ -e number ]");
    bench.run(&["pull"]);
    let (code, outcome, some) = tests(&["test"]);
    assert_eq!((code, outcome), (Some(1), Outcome::Failed));
    assert_eq!(
        some,
        Tests {
            total: 3,
            current: 3,
            passed: 2,
            failed: vec!["T02-ill".to_owned()],
            is_over: true
        }
    );
    let log = bench.log();
    for part in ["test 2 of 3: T02-ill", "this is why", "T02-ill failed with exit code 3"] {
        assert!(log.contains(part), "{part}: {log}");
    }
}

#[test]
fn what_a_test_leaves_at_work_is_ended() {
    let Some(bench) = Bench::with_own_clone() else { return };
    bench.remote.publish_test("T01.sh", "(trap '' TERM; exec sleep 778) >/dev/null 2>&1 & exit 0");
    bench.run(&["pull"]);
    let (code, result) = bench.run(&["test"]);
    assert_eq!((code, result.outcome), (Some(0), Outcome::Succeeded));
    assert!(processes::of(bench.folder.root()).is_empty());
}
