//! S6: throttle, the longer and longer pause after crashes, `StartInterval`, `KeepAlive` that looks
//! at other jobs (chapter 4).

use super::*;

const INTERVAL: &str = "<key>StartInterval</key><integer>60</integer>";

/// "Modern adds exponential backoff on repeated crashes, cap 1200 s, never gives up" [L idx
/// 60670016421]; the throttle counts from the start [C A842].
#[test]
fn each_crash_in_a_row_doubles_the_pause_up_to_twenty_minutes() {
    let mut world = World::new(15);
    world.bootstrap(KEEP_ALIVE).gives(&STARTED);
    let (mut now, mut pid) = (0.0, 100);
    for pause in [10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0, 1200.0, 1200.0] {
        world.at(now + 1.0).crash(pid).log.clear();
        assert_eq!(world.field("minimum runtime").unwrap(), format!("{pause}"));
        world.at(now + pause - 0.1).gives(&[]);
        world.at(now + pause);
        pid += 1;
        world.gives(&["spawn", &format!("spawned {pid}")]);
        now += pause;
    }
}

/// Exit 1, SIGKILL and SIGTERM are no crash [C A842 job_keepalive]; "10 min after exit 0" is
/// unsupported.
#[test]
fn an_end_that_is_no_crash_has_the_plain_throttle_and_cleans_the_record() {
    let mut world = World::new(15);
    world.bootstrap(KEEP_ALIVE);
    for (now, pid) in [(0.0, 100), (10.0, 101)] {
        world.at(now).at(now + 1.0).crash(pid);
    }
    world.at(30.0).at(31.0).exit(102, 1).log.clear();
    world.at(39.9).gives(&[]);
    world.at(40.0).gives(&["spawn", "spawned 103"]);
}

#[test]
fn a_run_longer_than_the_throttle_cleans_the_record_too() {
    let mut world = World::new(15);
    world.bootstrap(KEEP_ALIVE);
    for (now, pid) in [(0.0, 100), (10.0, 101)] {
        world.at(now).at(now + 1.0).crash(pid);
    }
    world.at(30.0).at(100.0).log.clear();
    world.crash(102);
    world.gives(&["signal 11", "noted group", "reap 102 Terminated", "spawn", "spawned 103"]);
}

/// "a fresh bootstrap starts with a clean record" [C A842]; `kickstart` waits like everybody.
#[test]
fn a_demand_waits_for_the_pause_and_a_fresh_bootstrap_does_not() {
    let mut world = World::new(15);
    world.bootstrap(KEEP_ALIVE);
    for (now, pid) in [(0.0, 100), (10.0, 101), (30.0, 102)] {
        world.at(now).at(now + 1.0).crash(pid);
    }
    world.log.clear();
    world.call(KICKSTART).gives(&["reply 0"]);
    world.at(69.9).gives(&[]);
    assert_eq!(world.state(), "spawn scheduled");
    world.call(BOOTOUT).gives(&["removed", "reply 0"]);
    world.bootstrap(KEEP_ALIVE).gives(&["registered", "reply 0", "spawn", "spawned 103"]);
}

/// "firing due while asleep or while running is missed" [C man].
#[test]
fn start_interval_starts_an_idle_job_and_misses_what_falls_into_a_run() {
    let mut world = World::new(15);
    world.bootstrap(INTERVAL).gives(&["registered", "reply 0"]);
    world.at(59.9).gives(&[]);
    world.at(60.0).gives(&["spawn", "spawned 100"]);
    assert_eq!(world.field("immediate reason").unwrap(), "interval");
    world.at(125.0).exit(100, 0).log.clear();
    world.at(179.0).gives(&[]);
    world.at(180.0).gives(&["spawn", "spawned 101"]);
}

#[test]
fn start_interval_misses_what_falls_into_a_sleep_and_keeps_its_beat() {
    let mut world = World::new(15);
    world.bootstrap(INTERVAL).log.clear();
    // Asleep from 50 s to 150 s; the clock stands still meanwhile.
    world.at(50.0).event(Event::Woke { slept: Duration::from_secs(100) }).gives(&[]);
    // 180 s of all time are 80 s of the clock.
    world.at(79.9).gives(&[]);
    world.at(80.0).gives(&["spawn", "spawned 100"]);
    // A short sleep only brings the next firing nearer.
    world.exit(100, 0).log.clear();
    world.at(90.0).event(Event::Woke { slept: Duration::from_secs(20) });
    world.at(119.9).gives(&[]);
    world.at(120.0).gives(&["spawn", "spawned 101"]);
}

/// The throttle is monotonic, so time asleep does not count [C A842].
#[test]
fn the_throttle_does_not_run_on_while_asleep() {
    let mut world = World::new(15);
    world.bootstrap(KEEP_ALIVE).at(2.0).exit(100, 0).log.clear();
    world.event(Event::Woke { slept: Duration::from_hours(1) }).gives(&[]);
    world.at(9.9).gives(&[]);
    world.at(10.0).gives(&["spawn", "spawned 101"]);
}

/// OtherJobEnabled [C A842 job_keepalive].
#[test]
fn a_job_is_started_when_the_other_one_comes() {
    let mut world = World::new(15);
    let other = "<key>KeepAlive</key><dict><key>OtherJobEnabled</key>\
                 <dict><key>other</key><true/></dict></dict>";
    world.bootstrap(other).gives(&["registered", "reply 0"]);
    let mut definition = job("");
    "other".clone_into(&mut definition.label);
    let plist = LoadedPlist { path: PathBuf::from("/other.plist"), job: Ok(definition) };
    world.call_as(Privilege::Owner, "bootstrap gui/501 /other.plist", vec![plist]);
    world.gives(&["registered", "reply 0", "spawn", "spawned 100"]);
    world.at(60.0).exit(100, 0).log.clear();
    world.at(60.1);
    world.gives(&[]);
    assert_eq!(world.state(), "running");
    world.call("bootout gui/501/other").log.clear();
    world.at(120.0).exit(101, 0).log.clear();
    assert_eq!(world.state(), "not running");
}

/// AfterInitialDemand: "nothing until first demand" [C A842].
#[test]
fn a_job_that_waits_for_its_first_demand() {
    let mut world = World::new(15);
    let keys = "<key>KeepAlive</key><dict><key>AfterInitialDemand</key><true/></dict>";
    world.bootstrap(keys).gives(&["registered", "reply 0"]);
    world.call(KICKSTART).gives(&["spawn", "spawned 100", "reply 0"]);
    world.at(60.0).exit(100, 1);
    world.gives(&["exit code 1", "noted group", "reap 100 Terminated", "spawn", "spawned 101"]);
}
