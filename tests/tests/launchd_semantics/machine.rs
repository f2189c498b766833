//! S11, S13: what happens to the whole machine (chapters 4, 9): reboot, sleep, wake.

use std::{
    fs,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nixfleet_tests::launchd::{Control, Fault, Session, command::VerbName, domain::ServiceTarget};
use rustix::process::Pid;

use crate::common::{
    Bed, FOREVER, KEEP_ALIVE, LABEL, QUICK, RUN_AT_LOAD, drains_until, lives, pid_in, refused,
    running, silent, spawn_times, start, wait_until,
};

fn target(bed: &Bed) -> ServiceTarget {
    ServiceTarget::parse(&bed.target(LABEL)).unwrap()
}

/// F22: jobs, domains and every process are gone; what is on disk is what comes back.
#[test]
fn a_reboot_takes_every_process_and_the_login_scan_brings_back_what_it_may() {
    let bed = Bed::new();
    let script = "set -m; sleep 300 & echo $! > departed; set +m; \
                  (trap '' TERM; sleep 300 & echo $! > stubborn; wait) & \
                  while :; do sleep 0.05; done";
    let main = start(&bed, script, RUN_AT_LOAD);
    let [stubborn, departed] = ["stubborn", "departed"].map(|file| pid_in(&bed, file));
    bed.agent("unwanted", FOREVER, RUN_AT_LOAD);
    bed.launchctl(&["disable", &bed.target("unwanted")]);
    bed.simulation.control(Control::OnDemandCount(1)).unwrap();
    // The next login reads the file anew; this one leaves nobody behind when the test ends.
    bed.agent(LABEL, FOREVER, RUN_AT_LOAD);
    bed.simulation.control(Control::Reboot(Session::GuiLogin)).unwrap();
    for pid in [main, stubborn, departed] {
        wait_until("the process is gone", || !lives(pid) || is_zombie(pid));
    }
    let again = running(&bed);
    assert_ne!(again, main);
    assert_eq!(bed.field(LABEL, "runs").unwrap(), "1", "a reboot cleans the record");
    assert!(!bed.print(LABEL).stdout.contains("departed"), "the definition is the file's");
    assert_eq!(bed.print("unwanted").code, Some(113));
}

/// A descendant that left its group is a child of whoever collects orphans, perhaps of nobody.
fn is_zombie(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    stat.is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" Z")))
}

/// Chapter 1, HM#9656: a `user` agent is not loaded by the login scan [L].
#[test]
fn after_a_reboot_to_the_login_window_nobody_is_there() {
    let bed = Bed::new();
    start(&bed, FOREVER, RUN_AT_LOAD);
    bed.simulation.control(Control::Reboot(Session::Background)).unwrap();
    assert_eq!(bed.launchctl(&["print", &bed.gui()]).code, Some(112));
    assert_eq!(bed.bootstrap(&bed.agent_path(LABEL)).code, Some(125));
    bed.simulation.control(Control::Login).unwrap();
    running(&bed);
}

/// F22: a reboot in the middle of a call; nobody gets an answer.
#[test]
fn a_reboot_bound_to_a_call_ends_the_caller() {
    let bed = Bed::new();
    start(&bed, FOREVER, RUN_AT_LOAD);
    let reboot = Fault {
        after: vec![Control::Reboot(Session::GuiLogin)],
        ..Fault::on(VerbName::Bootout).times(1)
    };
    bed.simulation.set_faults(&[reboot]).unwrap();
    let said = bed.launchctl(&["bootout", &bed.target(LABEL)]);
    assert_ne!(said.code, Some(0), "{said:?}");
    bed.wait_for_field(LABEL, "state", "running");
    assert_eq!(bed.field(LABEL, "runs").unwrap(), "1");
}

/// Chapter 2: 124 while the domain is tearing down; then there is none [L].
#[test]
fn during_a_logout_the_domain_tears_down() {
    let bed = Bed::new();
    start(&bed, &drains_until("go"), KEEP_ALIVE);
    bed.simulation.control(Control::Logout).unwrap();
    let tearing_down = "failed: 124: Domain is tearing down\n";
    let path = bed.agent_path(LABEL);
    assert_eq!(bed.bootstrap(&path), refused(124, &format!("Bootstrap {tearing_down}")));
    assert_eq!(
        bed.launchctl(&["bootout", &bed.target(LABEL)]),
        refused(124, &format!("Boot-out {tearing_down}"))
    );
    fs::write(bed.path("go"), "").unwrap();
    wait_until("the domain is gone", || bed.launchctl(&["print", &bed.gui()]).code == Some(112));
    assert_eq!(bed.bootstrap(&path).code, Some(125));
}

/// S13: jobs stand still, calls are not answered, the clock does not run on.
#[test]
fn a_sleeping_machine_does_nothing_until_it_wakes() {
    let bed = Bed::new();
    let script = "while :; do echo . >> beats; sleep 0.02; done";
    start(&bed, script, RUN_AT_LOAD);
    let beats = || fs::read(bed.path("beats")).map_or(0, |bytes| bytes.len());
    wait_until("it beats", || beats() > 0);
    bed.simulation.control(Control::Sleep).unwrap();
    let before = beats();
    let mut caller = Command::new(bed.simulation.launchctl());
    let mut caller = caller.args(["print", &bed.gui()]).stdout(Stdio::null()).spawn().unwrap();
    thread::sleep(Duration::from_millis(300));
    // One beat of two bytes may have been under way.
    assert!(beats() <= before + 2, "the job stands still");
    assert!(caller.try_wait().unwrap().is_none(), "nobody answers");
    bed.simulation.control(Control::Wake).unwrap();
    assert!(caller.wait().unwrap().success());
    wait_until("it beats again", || beats() > before);
}

/// Chapter 9: monotonic time stops during sleep, so the throttle does too [C A842].
#[test]
fn a_throttled_start_is_later_by_the_time_asleep() {
    let bed = Bed::new();
    start(&bed, "sleep 0.1", &format!("{KEEP_ALIVE}{QUICK}"));
    bed.wait_for_field(LABEL, "state", "spawn scheduled");
    bed.simulation.control(Control::SleepFor(1500)).unwrap();
    wait_until("two starts", || spawn_times(&bed).len() >= 2);
    let times = spawn_times(&bed);
    let gap = times[1] - times[0];
    // Less the wall clock's own unevenness.
    assert!(gap >= 2400, "{times:?}");
}

/// F19: sleep in the middle of a wait.
#[test]
fn a_machine_can_fall_asleep_between_the_work_and_the_answer() {
    let bed = Bed::new();
    start(&bed, FOREVER, RUN_AT_LOAD);
    let asleep =
        Fault { after: vec![Control::SleepFor(700)], ..Fault::on(VerbName::Bootout).times(1) };
    bed.simulation.set_faults(&[asleep]).unwrap();
    let called = Instant::now();
    assert_eq!(bed.launchctl(&["bootout", &bed.target(LABEL)]), silent(0));
    assert!(called.elapsed() >= Duration::from_millis(700), "{:?}", called.elapsed());
    bed.wait_until_gone(LABEL);
}

/// StartCalendarInterval: "coalesced, fires on wake" [C man].
#[test]
fn what_the_calendar_wanted_during_a_sleep_happens_once_on_waking() {
    let bed = Bed::new();
    let keys = "<key>StartCalendarInterval</key><dict><key>Minute</key><integer>0</integer></dict>";
    assert_eq!(bed.bootstrap(&bed.agent(LABEL, "echo run >> out", keys)), silent(0));
    bed.simulation.control(Control::Sleep).unwrap();
    for _firing in 0..3 {
        bed.simulation.control(Control::CalendarDue(target(&bed))).unwrap();
    }
    assert!(spawn_times(&bed).is_empty());
    bed.simulation.control(Control::Wake).unwrap();
    bed.wait_for_field(LABEL, "last exit code", "0");
    assert_eq!(bed.field(LABEL, "runs").unwrap(), "1");
    assert!(bed.simulation.control(Control::Wake).is_err(), "it is awake");
}
