//! S6: `KeepAlive` with `PathState` (chapter 4), on real files.

use std::fs;

use nixfleet_tests::launchd::Control;
use rustix::process::{Signal, kill_process};

use crate::common::{Bed, FOREVER, LABEL, QUICK, lives, running, silent, spawned, wait_until};

const OTHER: &str = "com.example.other";

/// The keys of a job that is kept alive while the sandbox has a file `flag`, or has none.
fn path_state(bed: &Bed, wanted: bool) -> String {
    let path = bed.path("flag").display().to_string();
    let entry = format!("<key>{path}</key><{wanted}/>");
    let condition = format!("<key>PathState</key><dict>{entry}</dict>");
    format!("<key>KeepAlive</key><dict>{condition}</dict>{QUICK}")
}

/// `true`: "as long as the path exists"; `false`: "the inverse condition" [C man]. Who runs is left
/// alone when the condition ends, and not started again [C launchd-392 job_dispatch, job_keepalive].
#[test]
fn a_file_that_comes_and_goes_keeps_one_job_or_the_other_alive() {
    let bed = Bed::new();
    let flag = bed.path("flag");
    let while_there = bed.agent(LABEL, FOREVER, &path_state(&bed, true));
    let while_missing = bed.agent(OTHER, FOREVER, &path_state(&bed, false));
    assert_eq!(bed.bootstrap(&while_there), silent(0));
    assert_eq!(bed.bootstrap(&while_missing), silent(0));
    bed.wait_for_field(OTHER, "state", "running");
    assert_eq!(bed.field(LABEL, "runs").unwrap(), "0");

    fs::write(&flag, "").unwrap();
    let first = running(&bed);
    assert_eq!(bed.launchctl(&["kill", "KILL", &bed.target(OTHER)]), silent(0));
    bed.wait_for_field(OTHER, "state", "not running");

    // That the other one runs shows that launchd knows.
    fs::remove_file(&flag).unwrap();
    bed.wait_for_field(OTHER, "state", "running");
    assert!(lives(first));
    assert_eq!(running(&bed), first);
    kill_process(first, Signal::KILL).unwrap();
    bed.wait_for_field(LABEL, "state", "not running");
    assert_eq!(bed.field(LABEL, "runs").unwrap(), "1");

    fs::write(&flag, "").unwrap();
    bed.wait_for_field(LABEL, "runs", "2");
    kill_process(running(&bed), Signal::KILL).unwrap();
    bed.wait_for_field(LABEL, "runs", "3");
    assert_eq!(bed.field(LABEL, "immediate reason").unwrap(), "inefficient");
}

/// What the simulation owes its tests: a change is noticed though nothing else happens.
#[test]
fn a_file_is_noticed_though_nobody_asks() {
    let bed = Bed::new();
    let script = format!("touch started; {FOREVER}");
    assert_eq!(bed.bootstrap(&bed.agent(LABEL, &script, &path_state(&bed, true))), silent(0));
    fs::write(bed.path("flag"), "").unwrap();
    wait_until("the job runs", || bed.path("started").exists());
}

/// The path is looked at when the job has ended, and not before [C launchd-392 job_keepalive].
#[test]
fn a_job_that_takes_its_path_away_before_it_ends_is_not_started_again() {
    let bed = Bed::new();
    fs::write(bed.path("flag"), "").unwrap();
    let plist = bed.agent(LABEL, "rm flag", &path_state(&bed, true));
    assert_eq!(bed.bootstrap(&plist), silent(0));
    wait_until("it ran", || bed.field(LABEL, "last exit code").as_deref() == Some("0"));
    assert_eq!(bed.field(LABEL, "state").unwrap(), "not running");
    assert_eq!(spawned(&bed).len(), 1);
}

/// Chapter 5.3: pended while the domain is in on-demand-only mode [C DTS thread 706985]; a demand is not.
#[test]
fn a_file_starts_nothing_in_on_demand_only_mode() {
    let bed = Bed::new();
    assert_eq!(bed.bootstrap(&bed.agent(LABEL, FOREVER, &path_state(&bed, true))), silent(0));
    bed.simulation.control(Control::OnDemandCount(1)).unwrap();
    fs::write(bed.path("flag"), "").unwrap();
    bed.wait_for_field(LABEL, "pended nondemand spawn", "inefficient");
    assert_eq!(bed.field(LABEL, "runs").unwrap(), "0");
    assert_eq!(bed.launchctl(&["kickstart", &bed.target(LABEL)]), silent(0));
    running(&bed);
}

/// What comes while the machine sleeps is seen when it wakes (chapter 9).
#[test]
fn a_file_that_came_while_asleep_starts_the_job_after_the_wake() {
    let bed = Bed::new();
    let keys = path_state(&bed, true);
    assert_eq!(bed.bootstrap(&bed.agent(LABEL, FOREVER, &keys)), silent(0));
    bed.simulation.control(Control::Sleep).unwrap();
    fs::write(bed.path("flag"), "").unwrap();
    bed.simulation.control(Control::Wake).unwrap();
    running(&bed);
}
