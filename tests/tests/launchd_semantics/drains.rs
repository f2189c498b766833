//! S3, S4: what stops a job, and the label that drains (chapters 2, 5.1).

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use nixfleet_tests::launchd::{JobEvent, process_end::ProcessEnd};
use rustix::process::Signal;

use crate::common::{
    Bed, FOREVER, KEEP_ALIVE, LABEL, RUN_AT_LOAD, as_root, bed_of_501, bootstrap_failed_5,
    drains_until, events, lives, refused, running, silent, start, wait_until,
};

/// Chapter 5.1, the drain race [C headroom#1289, local-operator#1231]; kickstart 37 without a word
/// [C openclaw#112731].
#[test]
fn bootout_returns_at_once_and_the_label_stays_until_the_process_is_gone() {
    let bed = Bed::new();
    let pid = start(&bed, &drains_until("go"), KEEP_ALIVE);
    let called = Instant::now();
    assert_eq!(bed.launchctl(&["bootout", &bed.target(LABEL)]), silent(0));
    assert!(called.elapsed() < Duration::from_secs(2) && lives(pid));
    assert_eq!(bed.field(LABEL, "state").unwrap(), "SIGTERMed");
    assert_eq!(bed.bootstrap(&bed.agent_path(LABEL)), bootstrap_failed_5());
    assert_eq!(bed.launchctl(&["kickstart", &bed.target(LABEL)]), silent(37));
    assert_eq!(bed.launchctl(&["kickstart", "-k", &bed.target(LABEL)]), silent(37));
    assert_eq!(bed.launchctl(&["bootout", &bed.target(LABEL)]).code, Some(5));
    fs::write(bed.path("go"), "").unwrap();
    bed.wait_until_gone(LABEL);
    assert!(!lives(pid));
    assert_eq!(bed.bootstrap(&bed.agent_path(LABEL)), silent(0));
    assert_ne!(running(&bed), pid);
}

/// Chapter 2, privilege: 37 for root, 5 for everybody else [C d-inference#1102].
#[test]
fn root_is_told_the_real_code() {
    let bed = bed_of_501();
    start(&bed, &drains_until("go"), RUN_AT_LOAD);
    let path = bed.agent_path(LABEL);
    let arguments = ["bootstrap", "gui/501", path.to_str().unwrap()];
    let already = refused(37, "Bootstrap failed: 37: Operation already in progress\n");
    assert_eq!(as_root(&bed, &arguments), already);
    assert_eq!(bed.launchctl(&arguments), bootstrap_failed_5());
    assert_eq!(as_root(&bed, &["bootout", &bed.target(LABEL)]), silent(0));
    assert_eq!(as_root(&bed, &arguments), already);
}

/// Chapter 4: "SIGKILL to main pid after ExitTimeOut" [C A842]; F1.
#[test]
fn a_job_that_ignores_sigterm_is_killed_after_its_exit_timeout() {
    let bed = Bed::new();
    let keys = format!("{RUN_AT_LOAD}<key>ExitTimeOut</key><integer>1</integer>");
    let pid = start(&bed, &format!("trap '' TERM; {FOREVER}"), &keys);
    assert_eq!(bed.field(LABEL, "exit timeout").unwrap(), "1");
    let called = Instant::now();
    bed.launchctl(&["bootout", &bed.target(LABEL)]);
    bed.wait_until_gone(LABEL);
    assert!(called.elapsed() >= Duration::from_secs(1) && !lives(pid));
    assert!(events(&bed).contains(&JobEvent::Exited {
        pid: pid.as_raw_nonzero().get(),
        end: ProcessEnd::Signalled(Signal::KILL.as_raw()),
    }));
}

/// Chapter 0: 64, "nothing is stopped" [C HM#9585].
#[test]
fn wait_is_a_usage_error_up_to_macos_15_and_stops_nothing() {
    let bed = Bed::new();
    let pid = start(&bed, FOREVER, RUN_AT_LOAD);
    let said = bed.launchctl(&["bootout", "--wait", &bed.target(LABEL)]);
    assert_eq!(said.code, Some(64));
    assert!(said.stderr.starts_with("Unrecognized target specifier.\nUsage:"), "{said:?}");
    assert_eq!(running(&bed), pid);
    assert!(!events(&bed).iter().any(|event| matches!(event, JobEvent::Signalled { .. })));
}

/// Chapter 0: from 26 on [C HM#9587]; whether for the label or the exit is open, here both are
/// gone.
#[test]
fn wait_returns_from_macos_26_on_when_the_label_is_gone() {
    let bed = Bed::with(|options| options.macos = 26);
    let pid = start(&bed, "trap 'sleep 0.3; exit' TERM; while :; do sleep 0.02; done", KEEP_ALIVE);
    assert_eq!(bed.launchctl(&["bootout", "--wait", &bed.target(LABEL)]), silent(0));
    assert!(!lives(pid));
    assert_eq!(bed.bootstrap(&bed.agent_path(LABEL)), silent(0));
}

/// Chapter 0: "up to 11, bootout of a slow job returned 36" [C brew cli.rb]; F9.
#[test]
fn macos_11_answers_36_for_a_slow_job() {
    let bed = Bed::with(|options| options.macos = 11);
    start(&bed, &drains_until("go"), RUN_AT_LOAD);
    assert_eq!(
        bed.launchctl(&["bootout", &bed.target(LABEL)]),
        refused(36, "Boot-out failed: 36: Operation now in progress\n")
    );
    fs::write(bed.path("go"), "").unwrap();
    bed.wait_until_gone(LABEL);
}

/// From 12 on the client sends `no-einprogress`: 0 while the job still drains [C PRC, osquery#5698].
#[test]
fn macos_12_answers_0_for_a_slow_job() {
    let bed = Bed::with(|options| options.macos = 12);
    start(&bed, &drains_until("go"), RUN_AT_LOAD);
    assert_eq!(bed.launchctl(&["bootout", &bed.target(LABEL)]), silent(0));
    assert_eq!(bed.field(LABEL, "state").unwrap(), "SIGTERMed");
    let path = bed.agent_path(LABEL);
    assert_eq!(bed.bootstrap(&path), bootstrap_failed_5());
    fs::write(bed.path("go"), "").unwrap();
    bed.wait_until_gone(LABEL);
}

/// Chapter 2: "measured to block until exit"; a plist never loaded gives 5 [L].
#[test]
fn bootout_by_plist_blocks_until_the_exit() {
    let bed = Bed::new();
    let script = "trap 'sleep 0.3; exit' TERM; while :; do sleep 0.02; done";
    let pid = start(&bed, script, RUN_AT_LOAD);
    let path = bed.agent_path(LABEL);
    let arguments = ["bootout", &bed.gui(), path.to_str().unwrap()];
    assert_eq!(bed.launchctl(&arguments), silent(0));
    assert!(!lives(pid));
    assert_eq!(bed.launchctl(&arguments).code, Some(5));
}

/// `bootout gui/UID` takes everything that is in it (chapter 2).
#[test]
fn bootout_of_a_domain_ends_all_its_jobs() {
    let bed = Bed::new();
    let pid = start(&bed, FOREVER, KEEP_ALIVE);
    assert_eq!(bed.launchctl(&["bootout", &bed.gui()]), silent(0));
    wait_until("the domain is gone", || bed.launchctl(&["print", &bed.gui()]).code == Some(112));
    assert!(!lives(pid));
}

/// F1, F11: `bootout --wait` "may block forever" [C]: it does for a job without an exit timeout.
#[test]
fn wait_goes_on_as_long_as_the_job_does() {
    let bed = Bed::with(|options| options.macos = 26);
    let keys = format!("{RUN_AT_LOAD}<key>ExitTimeOut</key><integer>0</integer>");
    start(&bed, &drains_until("go"), &keys);
    let mut waiting = Command::new(bed.simulation.launchctl())
        .args(["bootout", "--wait", &bed.target(LABEL)])
        .spawn()
        .unwrap();
    bed.wait_for_field(LABEL, "state", "SIGTERMed");
    assert!(waiting.try_wait().unwrap().is_none());
    fs::write(bed.path("go"), "").unwrap();
    assert!(waiting.wait().unwrap().success());
}
