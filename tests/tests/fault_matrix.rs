//! The fault matrix as a program: a handful of quick cells, run as a user runs them.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is a failure with its place")]

use std::process::{Command, Output};

use serde_json::Value;

/// Cells of every initiator that are over soon.
const QUICK: [&str; 4] = [
    "baseline/plist-changed/agent/25.11/macos15",
    "F2/once/user/24.11/macos26",
    "F6/home-manager-at-build/plain/master/macos26",
    "F9/36-and-stopped/agent/26.05/macos15",
];

fn fault_matrix(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fault-matrix")).args(arguments).output().unwrap()
}

#[test]
fn cells_are_run_and_what_came_of_them_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().to_str().unwrap();
    let mut arguments = vec!["--json", "--write", place];
    for cell in QUICK {
        arguments.extend(["--filter", cell]);
    }
    let output = fault_matrix(&arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said} {report:#}");
    let summary = &report["summary"];
    assert_eq!(summary["cells"], QUICK.len());
    for nothing in ["not_run", "dark_over_60s", "false_results", "hands", "left_processes"] {
        assert_eq!(summary[nothing], 0, "{nothing}: {report:#}");
    }
    assert_eq!(summary["true_results"], 3);
    let names: Vec<&str> = report["cells"]
        .as_array()
        .unwrap()
        .iter()
        .map(|cell| cell["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, QUICK);
    let table = std::fs::read_to_string(folder.path().join("fault-matrix.md")).unwrap();
    for cell in QUICK {
        assert!(table.contains(&format!("| {cell} | back |")), "{table}");
    }
}

#[test]
fn the_sample_is_listed_and_a_filter_that_means_nothing_is_an_error() {
    let listed = fault_matrix(&["--sample", "--list"]);
    assert_eq!(listed.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&listed.stdout).lines().count() >= 100);
    let nothing = fault_matrix(&["--filter", "F99"]);
    assert_eq!(nothing.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&nothing.stderr).contains("--list"));
}
