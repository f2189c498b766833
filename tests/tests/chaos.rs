//! One seed of the randomised run. `cargo chaos` runs others, for as long as you like.

use std::thread;

use nixfleet_tests::chaos::{
    named::CASES,
    run::{self, Until},
};

/// A seed whose first steps have something of everything.
const SEED: u64 = 7;

/// So many of them take most of a minute.
const STEPS: u32 = 5;

#[test]
fn whatever_a_seed_does_the_invariants_hold_after_each_step() {
    if !cfg!(debug_assertions) {
        nixfleet_tests::stage::not_run("programs built for release have no crash points");
        return;
    }
    let report = run::run(SEED, Until::Steps(STEPS), |_step| ()).unwrap();
    assert_eq!(report.history.len(), usize::try_from(STEPS).unwrap(), "{report:#?}");
    assert!(report.good, "{report:#?}");
}

#[test]
fn what_went_wrong_once_does_not_any_more() {
    thread::scope(|scope| {
        let runs = CASES.map(|case| scope.spawn(move || run::run_case(case, |_step| ())));
        for (case, run) in CASES.iter().zip(runs) {
            let report = run.join().unwrap().unwrap();
            assert!(report.good, "{}: {report:#?}", case.name);
        }
    });
}
