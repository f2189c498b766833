//! Transcripts: events in, effects out, at times that the test names.

mod legacy;
mod paths;
mod pauses;
mod pending;
mod random;
mod sessions;
mod texts;

use std::{path::PathBuf, time::Duration};

use super::*;
use crate::launchd::{answer::Answer, definition::Definition, record::JobEvent};

const UID: u32 = 501;
const LABEL: &str = "com.example.job";

/// A launchd with one screen session, and a clock that the test turns.
struct World {
    launchd: Launchd,
    now: Duration,
    next_call: u64,
    next_pid: i32,
    log: Vec<String>,
}

impl World {
    fn new(macos: u32) -> Self {
        let settings = Settings {
            macos,
            uid: UID,
            kickstart_signal: Signal::KILL,
            spawn_delay: Duration::ZERO,
        };
        let domains = [Domain::Gui(UID), Domain::User(UID)].into();
        let launchd = Launchd::new(settings, Overrides::new(), domains);
        Self { launchd, now: Duration::ZERO, next_call: 0, next_pid: 100, log: Vec::new() }
    }

    /// Hands in an event, plays a willing doing half, and notes everything.
    fn event(&mut self, event: Event) -> &mut Self {
        let effects = self.launchd.handle(event, Moment::at(self.now));
        for effect in effects {
            self.log.push(words(&effect));
            if let Effect::Spawn { target, .. } = effect {
                let pid = Pid::from_raw(self.next_pid).unwrap();
                self.next_pid += 1;
                self.event(Event::Spawned { target, pid });
            }
        }
        self
    }

    fn call_as(&mut self, caller: Privilege, line: &str, plists: Vec<LoadedPlist>) -> &mut Self {
        let argv: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let call = CallId(self.next_call);
        self.next_call += 1;
        match Command::parse(&argv, self.launchd.settings.macos) {
            Ok(command) => {
                let caller = Who { privilege: caller, session: None };
                self.event(Event::Called { call, caller, command, plists })
            }
            Err(answer) => {
                self.log.push(reply(&answer));
                self
            }
        }
    }

    fn call(&mut self, line: &str) -> &mut Self {
        self.call_as(Privilege::Owner, line, Vec::new())
    }

    fn bootstrap(&mut self, keys: &str) -> &mut Self {
        self.call_as(
            Privilege::Owner,
            "bootstrap gui/501 /job.plist",
            vec![LoadedPlist { path: PathBuf::from("/job.plist"), job: Ok(job(keys)) }],
        )
    }

    fn at(&mut self, seconds: f64) -> &mut Self {
        self.now = Duration::from_secs_f64(seconds);
        self.event(Event::Tick)
    }

    fn crash(&mut self, pid: i32) -> &mut Self {
        let end = ProcessEnd::Signalled(Signal::SEGV.as_raw());
        self.event(Event::Exited { pid: Pid::from_raw(pid).unwrap(), end })
    }

    /// What `print` says of a field, at one tab.
    fn field(&self, name: &str) -> Option<String> {
        let text = print::service(self.launchd.job(&target())?);
        let prefix = format!("\t{name} = ");
        text.lines().find_map(|line| line.strip_prefix(&prefix)).map(str::to_owned)
    }

    fn exit(&mut self, pid: i32, code: i32) -> &mut Self {
        self.event(Event::Exited {
            pid: Pid::from_raw(pid).unwrap(),
            end: ProcessEnd::Exited(code),
        })
    }

    /// Compares what was noted since the last look.
    fn gives(&mut self, expected: &[&str]) -> &mut Self {
        let log = std::mem::take(&mut self.log);
        assert_eq!(log, expected, "at {:?}", self.now);
        self
    }

    fn state(&self) -> String {
        let target = ServiceTarget::parse(&format!("gui/{UID}/{LABEL}")).unwrap();
        let text = print::service(self.launchd.job(&target).unwrap());
        let line = text.lines().find(|line| line.starts_with("\tstate = ")).unwrap();
        line.trim_start_matches("\tstate = ").to_owned()
    }
}

fn target() -> ServiceTarget {
    ServiceTarget { domain: Domain::Gui(UID), label: LABEL.to_owned() }
}

fn plist(keys: &str) -> LoadedPlist {
    LoadedPlist { path: PathBuf::from("/job.plist"), job: Ok(job(keys)) }
}

fn job(keys: &str) -> Definition {
    Definition::parse(
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?><plist version=\"1.0\"><dict>\
             <key>Label</key><string>{LABEL}</string>\
             <key>Program</key><string>/bin/job</string>{keys}</dict></plist>"
        )
        .as_bytes(),
    )
    .unwrap()
}

fn words(effect: &Effect) -> String {
    match effect {
        Effect::Reply { answer, .. } => reply(answer),
        Effect::Spawn { .. } => "spawn".to_owned(),
        Effect::Signal { pid, signal } => {
            format!("signal {} {}", pid.as_raw_nonzero(), signal.as_raw())
        }
        Effect::Reap { pid, group } => format!("reap {} {group:?}", pid.as_raw_nonzero()),
        Effect::Record { event, .. } => match event {
            JobEvent::Registered => "registered".to_owned(),
            JobEvent::Refused { reason } => format!("refused: {reason}"),
            JobEvent::Pended { reason } => format!("pended {reason}"),
            JobEvent::Spawned { pid } => format!("spawned {pid}"),
            JobEvent::SpawnFailed { .. } => "spawn failed".to_owned(),
            JobEvent::Signalled { .. } => "noted signal".to_owned(),
            JobEvent::Exited { end, .. } => format!("{end}"),
            JobEvent::GroupSignalled { .. } => "noted group".to_owned(),
            JobEvent::Removed => "removed".to_owned(),
        },
        Effect::KeepOverrides(_) => "overrides kept".to_owned(),
        Effect::Booted => "booted".to_owned(),
        Effect::End => "end".to_owned(),
    }
}

fn reply(answer: &Answer) -> String {
    format!("reply {}", answer.code)
}

const RUN_AT_LOAD: &str = "<key>RunAtLoad</key><true/>";
const KEEP_ALIVE: &str = "<key>KeepAlive</key><true/>";
const BOOTOUT: &str = "bootout gui/501/com.example.job";
const KICKSTART: &str = "kickstart gui/501/com.example.job";
const PRINT: &str = "print gui/501/com.example.job";

const STARTED: [&str; 4] = ["registered", "reply 0", "spawn", "spawned 100"];

#[test]
fn bootout_answers_at_once_and_the_label_drains() {
    let mut world = World::new(15);
    world.bootstrap(KEEP_ALIVE).gives(&STARTED);
    world.call(BOOTOUT).gives(&["noted signal", "signal 100 15", "reply 0"]);
    assert_eq!(world.state(), "SIGTERMed");
    world.call(PRINT).gives(&["reply 0"]);
    world.call(KICKSTART).gives(&["reply 37"]);
    world.call(BOOTOUT).gives(&["reply 5"]);
    let in_use = "refused: Operation already in progress";
    world.bootstrap(KEEP_ALIVE).gives(&[in_use, "reply 5"]);
    world.exit(100, 0).gives(&["exit code 0", "noted group", "reap 100 Terminated", "removed"]);
    world.call(PRINT).gives(&["reply 113"]);
    world.bootstrap(KEEP_ALIVE).gives(&["registered", "reply 0", "spawn", "spawned 101"]);
}

#[test]
fn root_is_told_that_the_label_drains() {
    let mut world = World::new(15);
    world.bootstrap(RUN_AT_LOAD).call(BOOTOUT).log.clear();
    let plist = LoadedPlist { path: PathBuf::from("/job.plist"), job: Ok(job("")) };
    world
        .call_as(Privilege::Root, "bootstrap gui/501 /job.plist", vec![plist])
        .gives(&["refused: Operation already in progress", "reply 37"]);
}

#[test]
fn sigkill_comes_after_the_exit_timeout_and_only_once() {
    let mut world = World::new(15);
    world.bootstrap(RUN_AT_LOAD).call(BOOTOUT).log.clear();
    world.at(4.9).gives(&[]);
    world.at(5.0).gives(&["noted signal", "signal 100 9"]);
    assert_eq!(world.state(), "SIGKILLed");
    world.at(60.0).gives(&[]);
    assert_eq!(world.launchd.next_deadline(), None);
}

#[test]
fn an_exit_timeout_of_zero_waits_for_ever() {
    let mut world = World::new(15);
    world.bootstrap("<key>RunAtLoad</key><true/><key>ExitTimeOut</key><integer>0</integer>");
    world.call(BOOTOUT).log.clear();
    assert_eq!(world.launchd.next_deadline(), None);
    world.at(3600.0).gives(&[]);
}

#[test]
fn wait_answers_when_the_label_is_gone() {
    let mut world = World::new(26);
    world.bootstrap(RUN_AT_LOAD).log.clear();
    world.call("bootout --wait gui/501/com.example.job").gives(&["noted signal", "signal 100 15"]);
    world.exit(100, 0).gives(&[
        "exit code 0",
        "noted group",
        "reap 100 Terminated",
        "reply 0",
        "removed",
    ]);
    let mut older = World::new(15);
    older.bootstrap(RUN_AT_LOAD).log.clear();
    older.call("bootout --wait gui/501/com.example.job").gives(&["reply 64"]);
    assert_eq!(older.state(), "running");
}

#[test]
fn macos_11_says_now_in_progress_after_a_while() {
    let mut world = World::new(11);
    world.bootstrap(RUN_AT_LOAD).log.clear();
    world.call(BOOTOUT).gives(&["noted signal", "signal 100 15"]);
    world.at(1.0).gives(&["reply 36"]);
    world.exit(100, 0).gives(&["exit code 0", "noted group", "reap 100 Terminated", "removed"]);
}

#[test]
fn keep_alive_waits_for_the_throttle_counted_from_the_start() {
    let mut world = World::new(15);
    world.bootstrap(KEEP_ALIVE).gives(&STARTED);
    world.at(7.0).exit(100, 1).gives(&["exit code 1", "noted group", "reap 100 Terminated"]);
    assert_eq!(world.state(), "spawn scheduled");
    world.call(KICKSTART).gives(&["reply 0"]);
    world.at(9.9).gives(&[]);
    world.at(10.0).gives(&["spawn", "spawned 101"]);
    // It ran longer than the throttle: no wait.
    world.at(60.0).exit(101, 1);
    world.gives(&["exit code 1", "noted group", "reap 101 Terminated", "spawn", "spawned 102"]);
}

#[test]
fn a_fresh_bootstrap_has_a_clean_record() {
    let mut world = World::new(15);
    world.bootstrap(KEEP_ALIVE).at(1.0).call(BOOTOUT).exit(100, 0).log.clear();
    world.bootstrap(KEEP_ALIVE).gives(&["registered", "reply 0", "spawn", "spawned 101"]);
}

#[test]
fn an_exit_that_keep_alive_does_not_mind_ends_the_matter() {
    let mut world = World::new(15);
    let on_failure = "<key>KeepAlive</key><dict><key>SuccessfulExit</key><false/></dict>";
    world.bootstrap(on_failure).gives(&STARTED);
    world.at(60.0).exit(100, 0).log.clear();
    assert_eq!(world.state(), "not running");
    world.call(KICKSTART).gives(&["spawn", "spawned 101", "reply 0"]);
}

#[test]
fn kickstart_with_k_restarts_and_answers_after_the_new_start() {
    let mut world = World::new(15);
    world.bootstrap(RUN_AT_LOAD).at(30.0).log.clear();
    world.call("kickstart -k -p gui/501/com.example.job").gives(&["noted signal", "signal 100 9"]);
    world.event(Event::Exited { pid: Pid::from_raw(100).unwrap(), end: ProcessEnd::Signalled(9) });
    world.gives(&[
        "signal 9",
        "noted group",
        "reap 100 Terminated",
        "spawn",
        "spawned 101",
        "reply 0",
    ]);
}

#[test]
fn only_a_demand_starts_a_job_in_on_demand_only_mode() {
    let mut world = World::new(15);
    world.event(Event::Mood(Mood::OnDemandCount(1)));
    world.bootstrap(KEEP_ALIVE).gives(&["registered", "pended speculative", "reply 0"]);
    assert_eq!(world.state(), "not running");
    world.at(600.0).gives(&[]);
    world.call(KICKSTART).gives(&["spawn", "spawned 100", "reply 0"]);
    world.at(700.0).exit(100, 1);
    world.gives(&["exit code 1", "noted group", "reap 100 Terminated", "pended inefficient"]);
    world.event(Event::Mood(Mood::OnDemandCount(0))).gives(&["spawn", "spawned 101"]);
}

#[test]
fn a_program_that_cannot_be_executed_is_not_tried_again() {
    let mut world = World::new(15);
    let target = ServiceTarget { domain: Domain::Gui(UID), label: LABEL.to_owned() };
    world.bootstrap("").log.clear();
    world.event(Event::SpawnFailed { target: target.clone(), reason: "gone".to_owned() });
    world.gives(&["spawn failed"]);
    let text = print::service(world.launchd.job(&target).unwrap());
    assert!(text.contains("\n\tlast exit code = 78: EX_CONFIG\n"), "{text}");
    world.call(KICKSTART).gives(&["spawn failed", "reply 0"]);
    world.call(BOOTOUT).gives(&["removed", "reply 0"]);
}

#[test]
fn overrides_hold_against_the_plist_both_ways() {
    let mut world = World::new(15);
    world.call("disable gui/501/com.example.job").gives(&["overrides kept", "reply 0"]);
    world.bootstrap("").gives(&["refused: Service is disabled", "reply 5"]);
    world.call("enable user/501/com.example.job").gives(&["overrides kept", "reply 0"]);
    world.bootstrap("<key>Disabled</key><true/>").gives(&["registered", "reply 0"]);
}

#[test]
fn domains_and_callers() {
    let check = |caller, line: &str, expected: &str| {
        World::new(15).call_as(caller, line, Vec::new()).gives(&[expected]);
    };
    check(Privilege::Owner, "bootout gui/501/none", "reply 3");
    check(Privilege::Owner, "print gui/501/none", "reply 113");
    check(Privilege::Owner, "kickstart gui/501/none", "reply 113");
    check(Privilege::Owner, "print gui/502", "reply 1");
    check(Privilege::Root, "print gui/502", "reply 112");
    check(Privilege::Root, "bootout gui/502/none", "reply 125");
    check(Privilege::Owner, "bootout system/none", "reply 1");
    check(Privilege::Stranger, "print gui/501", "reply 1");
    check(Privilege::Stranger, "print system", "reply 0");
}

#[test]
fn logging_out_stops_the_jobs_and_then_the_domain_is_gone() {
    let mut world = World::new(15);
    world.bootstrap(KEEP_ALIVE).log.clear();
    world.event(Event::LoggedOut).gives(&["noted signal", "signal 100 15"]);
    world.call(BOOTOUT).gives(&["reply 124"]);
    world.exit(100, 0).log.clear();
    world.call("print gui/501").gives(&["reply 112"]);
    world.call(BOOTOUT).gives(&["reply 125"]);
}

#[test]
fn ending_gives_every_job_two_seconds() {
    let mut world = World::new(15);
    world.bootstrap("<key>RunAtLoad</key><true/><key>ExitTimeOut</key><integer>0</integer>");
    world.log.clear();
    world.event(Event::ShutdownRequested).gives(&["noted signal", "signal 100 15"]);
    world.at(2.0).gives(&["noted signal", "signal 100 9"]);
    world.exit(100, 0);
    world.gives(&["exit code 0", "noted group", "reap 100 Terminated", "removed", "end"]);
}

#[test]
fn a_job_forgotten_while_it_starts_leaves_no_process() {
    let mut world = World::new(15);
    let target = ServiceTarget { domain: Domain::Gui(UID), label: LABEL.to_owned() };
    let pid = Pid::from_raw(7).unwrap();
    world.event(Event::Spawned { target, pid }).gives(&["noted signal", "signal 7 9"]);
    world.exit(7, 0).gives(&["reap 7 Terminated"]);
}

#[test]
fn a_job_thrown_out_while_it_drains_still_answers_who_waits() {
    let mut world = World::new(26);
    let target = ServiceTarget { domain: Domain::Gui(UID), label: LABEL.to_owned() };
    world.bootstrap(RUN_AT_LOAD).call("bootout --wait gui/501/com.example.job").log.clear();
    world.event(Event::ThrownOut(target)).gives(&["noted signal", "signal 100 9"]);
    world.at(60.0).gives(&[]);
    world.exit(100, 0);
    let end = ["exit code 0", "noted group", "reap 100 Terminated", "reply 0", "removed"];
    world.gives(&end);
}
