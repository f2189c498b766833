//! The simulation's own manners.

use std::{
    process::Command,
    thread,
    time::{Duration, Instant},
};

use nixfleet_tests::launchd::{Control, Session};
use rustix::process::{Pid, Signal, kill_process};

use crate::common::{Bed, FOREVER, LABEL, RUN_AT_LOAD, lives, running, said, start};

#[test]
fn when_launchd_ends_all_its_jobs_end() {
    let bed = Bed::new();
    let keys = format!("{RUN_AT_LOAD}<key>ExitTimeOut</key><integer>0</integer>");
    let stubborn = start(&bed, &format!("trap '' TERM; {FOREVER}"), &keys);
    let launchctl = bed.simulation.launchctl();
    let stopped = Instant::now();
    bed.simulation.stop();
    assert!(stopped.elapsed() < Duration::from_secs(5));
    assert!(!lives(stubborn));
    let said = said(Command::new(launchctl).arg("list"));
    assert_eq!(said.code, Some(1));
    assert!(said.stderr.contains("launchd is gone"), "{said:?}");
}

#[test]
fn a_second_launchd_in_the_same_sandbox_is_refused() {
    let bed = Bed::new();
    let pid = start(&bed, FOREVER, RUN_AT_LOAD);
    let mut second = Command::new(&bed.options.programs.launchd);
    let said = said(second.arg("--dir").arg(bed.path("launchd")).arg("--home").arg("/"));
    assert_eq!(said.code, Some(1));
    assert!(said.stderr.contains("another launchd-sim answers"), "{said:?}");
    assert_eq!(running(&bed), pid);
}

#[test]
fn launchctl_finds_its_launchd_by_path_and_by_name() {
    let bed = Bed::new();
    let mut by_name = Command::new("/bin/sh");
    by_name.args(["-c", "launchctl managername"]).env_clear();
    by_name.env("PATH", format!("{}:/usr/bin:/bin", bed.path("bin").display()));
    assert_eq!(said(&mut by_name).stdout, "Aqua\n");
    let mut by_path = Command::new("/bin/sh");
    by_path.args(["-c", "cd bin && ./launchctl managername"]).env_clear();
    assert_eq!(said(by_path.current_dir(bed.path(""))).stdout, "Aqua\n");
}

#[test]
fn a_sleeping_launchd_ends_with_all_its_jobs_too() {
    let bed = Bed::new();
    let pid = start(&bed, FOREVER, RUN_AT_LOAD);
    bed.simulation.control(Control::Sleep).unwrap();
    let stopped = Instant::now();
    bed.simulation.stop();
    assert!(stopped.elapsed() < Duration::from_secs(5));
    assert!(!lives(pid));
}

#[test]
fn launchd_can_be_ended_while_it_reboots() {
    let bed = Bed::new();
    let pid = start(&bed, &format!("trap '' TERM; {FOREVER}"), RUN_AT_LOAD);
    let simulation = &bed.simulation;
    thread::scope(|scope| {
        let rebooting = scope.spawn(|| simulation.control(Control::Reboot(Session::GuiLogin)));
        bed.wait_for_field(LABEL, "state", "SIGTERMed");
        let launchd = Pid::from_raw(simulation.pid().cast_signed()).unwrap();
        kill_process(launchd, Signal::TERM).unwrap();
        assert!(rebooting.join().unwrap().is_err(), "it never came up again");
    });
    assert!(!lives(pid));
}
