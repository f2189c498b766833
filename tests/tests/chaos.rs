//! One seed of the randomised run. `cargo chaos` runs others, for as long as you like.

use nixfleet_tests::chaos::run::{self, Until};

/// A seed whose first steps have something of everything.
const SEED: u64 = 1;

/// So many of them take about a minute.
const STEPS: u32 = 4;

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
