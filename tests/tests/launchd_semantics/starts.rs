//! S6: starting, starting again, and the pause between (chapter 4).

use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};

use crate::common::{
    Bed, FOREVER, KEEP_ALIVE, LABEL, QUICK, RUN_AT_LOAD, lives, pid_of, refused, running, silent,
    spawn_times, start, wait_until,
};

/// Chapter 4: "measured from start", "applies to kickstart too" [C A842].
#[test]
fn keep_alive_starts_again_no_sooner_than_the_throttle() {
    let bed = Bed::new();
    start(&bed, "echo run >> out; sleep 0.2", &format!("{KEEP_ALIVE}{QUICK}"));
    bed.wait_for_field(LABEL, "state", "spawn scheduled");
    // A demand does not bypass the throttle.
    assert_eq!(bed.launchctl(&["kickstart", &bed.target(LABEL)]), silent(0));
    wait_until("three starts", || spawn_times(&bed).len() >= 3);
    let times = spawn_times(&bed);
    for pair in times.windows(2) {
        let gap = pair[1] - pair[0];
        // The throttle runs on the monotonic clock, the log on the wall clock in whole
        // milliseconds.
        assert!((995..2500).contains(&gap), "{times:?}");
    }
    assert_eq!(bed.field(LABEL, "minimum runtime").unwrap(), "1");
}

/// Chapter 4: SuccessfulExit false and exit 0 stays dead [C first-tree#1270].
#[test]
fn keep_alive_after_failure_only() {
    let bed = Bed::new();
    let keys = format!("<key>KeepAlive</key><dict><key>SuccessfulExit</key><false/></dict>{QUICK}");
    let script = "if [ -e tried ]; then exit 0; fi; touch tried; exit 1";
    assert_eq!(bed.bootstrap(&bed.agent(LABEL, script, &keys)), silent(0));
    bed.wait_for_field(LABEL, "runs", "2");
    bed.wait_for_field(LABEL, "state", "not running");
    assert_eq!(bed.field(LABEL, "last exit code").unwrap(), "0");
}

/// What the simulation owes its tests: it waits for the exit and does not poll.
#[test]
fn an_exit_is_noticed_within_milliseconds() {
    let bed = Bed::new();
    let pid = start(&bed, FOREVER, RUN_AT_LOAD);
    kill_process(pid, Signal::KILL).unwrap();
    let killed = Instant::now();
    bed.wait_for_field(LABEL, "state", "not running");
    assert!(killed.elapsed() < Duration::from_millis(500), "{:?}", killed.elapsed());
    assert_eq!(bed.field(LABEL, "last terminating signal").unwrap(), "Killed: 9");
}

/// Chapter 2: `-p` prints the pid, `-k` kills first [C]; a running job gives 0 [U, chosen].
#[test]
fn kickstart_starts_prints_and_restarts() {
    let bed = Bed::new();
    let target = bed.target(LABEL);
    assert_eq!(bed.bootstrap(&bed.agent(LABEL, FOREVER, QUICK)), silent(0));
    assert_eq!(bed.field(LABEL, "state").unwrap(), "not running");
    let said = bed.launchctl(&["kickstart", "-p", &target]);
    let first = pid_of(&said.stdout);
    assert_eq!(running(&bed), first);
    assert_eq!(bed.field(LABEL, "immediate reason").unwrap(), "non-ipc demand");
    assert_eq!(bed.launchctl(&["kickstart", &target]), silent(0));
    let second = pid_of(&bed.launchctl(&["kickstart", "-k", "-p", &target]).stdout);
    assert!(second != first && !lives(first));
    assert_eq!(running(&bed), second);
}

/// Chapter 2: `kill`; "No process to signal." [L PRC].
#[test]
fn kill_signals_the_main_process_and_keeps_the_job() {
    let bed = Bed::new();
    let target = bed.target(LABEL);
    let first = start(&bed, FOREVER, RUN_AT_LOAD);
    assert_eq!(bed.launchctl(&["kill", "SIGTERM", &target]), silent(0));
    wait_until("it ended", || !lives(first));
    bed.wait_for_field(LABEL, "last terminating signal", "Terminated: 15");
    assert_eq!(bed.launchctl(&["kill", "TERM", &target]), refused(3, "No process to signal.\n"));
}

/// "Modern adds exponential backoff on repeated crashes" [L idx 60670016421]: the pause doubles.
#[test]
fn a_job_that_crashes_again_and_again_waits_longer_and_longer() {
    let bed = Bed::new();
    let script = "kill -SEGV $$";
    let plist = bed.agent(LABEL, script, &format!("{KEEP_ALIVE}{QUICK}"));
    assert_eq!(bed.bootstrap(&plist), silent(0));
    wait_until("three starts", || spawn_times(&bed).len() >= 3);
    let times = spawn_times(&bed);
    let (first, second) = (times[1] - times[0], times[2] - times[1]);
    assert!(first >= 995 && second >= 1995 && first < second, "{times:?}");
    wait_until("the pause has doubled again", || {
        bed.field(LABEL, "minimum runtime").as_deref() == Some("4")
    });
    assert_eq!(bed.field(LABEL, "base minimum runtime").unwrap(), "1");
    assert_eq!(bed.field(LABEL, "last terminating signal").unwrap(), "Segmentation fault: 11");
}

/// StartInterval (chapter 4).
#[test]
fn an_interval_starts_a_job_again_and_again() {
    let bed = Bed::new();
    let keys = format!("{QUICK}<key>StartInterval</key><integer>1</integer>");
    assert_eq!(bed.bootstrap(&bed.agent(LABEL, "exit 0", &keys)), silent(0));
    assert!(spawn_times(&bed).is_empty(), "not at load");
    wait_until("two starts", || spawn_times(&bed).len() >= 2);
    let times = spawn_times(&bed);
    assert!(times[1] - times[0] >= 995, "{times:?}");
    assert_eq!(bed.field(LABEL, "immediate reason").unwrap(), "interval");
}
