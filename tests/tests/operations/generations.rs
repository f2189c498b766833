//! `rollback` and `dry-run`: generations, back and ahead.

use std::{fs, path::Path};

use nixfleet_protocol::{journal::records::Outcome, operation::Operation};

use crate::bench::Bench;

fn switch_to(bench: &Bench, name: &str) {
    bench.folder.scenario(&format!("PLATFORM=linux\nGENERATION={name}\n")).unwrap();
    let (code, result) = bench.run(&[]);
    assert_eq!(code, Some(0), "{result:?}");
}

fn name(generation: Option<&String>) -> String {
    let path = Path::new(generation.unwrap());
    path.file_name().unwrap().to_string_lossy().replace("-home-manager-generation", "")
}

#[test]
fn a_rollback_goes_to_what_was_there_before_and_never_forward_again() {
    for release in ["24.11", "25.05", "25.11", "26.05", "master"] {
        let Some(bench) = Bench::new("") else { return };
        let scenario = |name: &str| {
            let text = format!("PLATFORM=linux\nRELEASE={release}\nGENERATION={name}\n");
            bench.folder.scenario(&text).unwrap();
        };
        let (_, result) = bench.run(&["rollback"]);
        assert_eq!(result.outcome, Outcome::NotStarted, "{result:?}");
        for name in ["one", "two", "three"] {
            scenario(name);
            assert_eq!(bench.run(&[]).0, Some(0));
        }
        for (from, to) in [("three", "two"), ("two", "one")] {
            let (code, result) = bench.run(&["rollback"]);
            assert_eq!(
                (code, result.outcome),
                (Some(0), Outcome::Succeeded),
                "{release}: {result:?}"
            );
            assert_eq!(result.operation, Operation::Rollback);
            assert_eq!(name(result.generation_before.as_ref()), from, "{release}");
            assert_eq!(name(result.generation_after.as_ref()), to, "{release}");
        }
        let (code, result) = bench.run(&["rollback"]);
        assert_eq!((code, result.outcome), (Some(78), Outcome::NotStarted), "{release}");
        assert!(result.note.unwrap().contains("no switch is recorded"));
    }
}

#[test]
fn a_generation_that_was_collected_is_not_gone_to() {
    let Some(bench) = Bench::new("") else { return };
    switch_to(&bench, "one");
    switch_to(&bench, "two");
    fs::remove_dir_all(bench.folder.path("store/one-home-manager-generation")).unwrap();
    let (_, result) = bench.run(&["rollback"]);
    assert_eq!(result.outcome, Outcome::NotStarted);
    assert!(result.note.unwrap().contains("not in the store any more"));
    assert_eq!(name(result.generation_after.as_ref()), "two");
}

#[test]
fn a_dry_run_says_what_would_change_and_changes_nothing() {
    let Some(bench) = Bench::new("") else { return };
    bench.program("nix", "#!/bin/sh\necho \"compared: $*\"\n");
    switch_to(&bench, "one");
    let (code, result) = bench.run(&["dry-run"]);
    assert_eq!((code, result.operation), (Some(0), Operation::DryRun), "{result:?}");
    assert!(bench.log().contains("nothing would change"), "{}", bench.log());

    bench.folder.scenario("PLATFORM=linux\nGENERATION=two\n").unwrap();
    let (code, result) = bench.run(&["dry-run"]);
    assert_eq!((code, result.outcome), (Some(0), Outcome::Succeeded), "{result:?}");
    assert!(bench.log().contains("store diff-closures"), "{}", bench.log());
    assert_eq!(name(result.generation_after.as_ref()), "one");
    let id = bench.folder.newest_switch().unwrap().unwrap();
    assert!(!bench.folder.journal().unwrap().directory().switch(id).build().exists());

    bench.folder.scenario("PLATFORM=linux\nFAIL_AT=build\nEXIT_CODE=5\n").unwrap();
    let (code, result) = bench.run(&["dry-run"]);
    assert_eq!((code, result.outcome), (Some(5), Outcome::Failed));
}
