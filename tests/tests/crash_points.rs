//! `kill -9` at named crash points: every point once, and a handful of pairs. `cargo crash-points` plays the rest.

use nixfleet_tests::crash::{
    cell,
    report::{CellReport, Report},
    side_by_side,
};

/// Cells at a time: they mostly wait.
const JOBS: usize = 14;

#[test]
fn whoever_dies_at_whatever_point_the_agent_comes_back_and_the_results_are_true() {
    if !cfg!(debug_assertions) {
        nixfleet_tests::stage::not_run("programs built for release have no crash points");
        return;
    }
    let cells = cell::sample();
    let played = side_by_side::play(&cells, JOBS, |_cell, _played| ()).unwrap();
    let report = Report::of(&cells, &played);
    let bad = report.cells.iter().filter(|cell| !cell.good).map(CellReport::text);
    let bad: Vec<String> = bad.collect();
    assert!(bad.is_empty(), "{} of {} cells:\n{}", bad.len(), cells.len(), bad.join("\n"));
}
