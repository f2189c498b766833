//! `test`: the host's own tests.

use std::{fs, os::unix::fs::PermissionsExt as _};

use nixfleet_protocol::{
    journal::records::Outcome,
    operation::{Operation, Step, Tests},
};

use nixfleet_tests::stage::{folder::HOST, processes};

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
    // The clone is made where there is none.
    let (code, outcome, none) = tests(&["test"]);
    assert_eq!((code, outcome, none.verdict().as_str()), (Some(0), Outcome::Succeeded, "no tests"));

    bench.remote.publish_test("T01-well.sh", "pwd; exit 0");
    bench.remote.publish_test("T02-ill.sh", "echo this is why; exit 3");
    bench.remote.publish_test("T03-well.sh", "[ -e number ]");
    // One that does not say what runs it, and one that may not be run.
    let test = |name: &str| format!("hosts/{HOST}/tests/{name}");
    bench.remote.publish(&test("T04-well.sh"), "# nothing\n[[ -n $BASH ]]\n");
    let path = bench.remote.author().join(test("T04-well.sh"));
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    bench.remote.publish(&test("T05-well.sh"), "[[ -n $BASH ]]\n");
    bench.run(&["pull"]);
    let (code, outcome, some) = tests(&["test"]);
    assert_eq!((code, outcome), (Some(1), Outcome::Failed));
    assert_eq!(
        some,
        Tests {
            total: 5,
            current: 5,
            passed: 4,
            failed: vec!["T02-ill".to_owned()],
            is_over: true
        }
    );
    let log = bench.log();
    for part in ["test 2 of 5: T02-ill", "this is why", "T02-ill failed with exit code 3"] {
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
