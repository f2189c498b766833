//! S6: `KeepAlive` with `PathState` (chapter 4). `launchd-392` is the last open source in which launchd
//! itself looks at the paths: `launchd_core_logic.c`, `job_keepalive`. From 442 on it is told by the
//! event system, with the same outcome: `job_keepalive` asks whether the event's state is the wanted one.

use super::*;

const WHILE_THERE: &str = "<key>KeepAlive</key><dict><key>PathState</key>\
                           <dict><key>/flag</key><true/></dict></dict>";
const WHILE_MISSING: &str = "<key>KeepAlive</key><dict><key>PathState</key>\
                             <dict><key>/flag</key><false/></dict></dict>";

impl World {
    /// From now on these paths exist and no others.
    fn there_is(&mut self, existing: &[&str]) -> &mut Self {
        self.launchd.see(existing.iter().map(PathBuf::from).collect());
        self.event(Event::Tick)
    }
}

/// "the job will be kept alive as long as the path exists" [C man, launchd-392].
#[test]
fn a_job_is_started_when_the_path_comes_and_kept_alive_while_it_is_there() {
    let mut world = World::new(15);
    world.bootstrap(WHILE_THERE).gives(&["registered", "reply 0"]);
    assert_eq!(world.state(), "not running");
    world.there_is(&["/another"]).gives(&[]);
    world.there_is(&["/flag"]).gives(&["spawn", "spawned 100"]);
    assert_eq!(world.field("immediate reason").unwrap(), "inefficient");
    world.at(60.0).exit(100, 0);
    world.gives(&["exit code 0", "noted group", "reap 100 Terminated", "spawn", "spawned 101"]);
}

/// "If false, the job will be kept alive in the inverse condition" [C man, launchd-392].
#[test]
fn a_job_is_started_when_the_path_goes_and_kept_alive_while_it_is_missing() {
    let mut world = World::new(15);
    world.there_is(&["/flag"]).bootstrap(WHILE_MISSING).gives(&["registered", "reply 0"]);
    world.there_is(&[]).gives(&["spawn", "spawned 100"]);
    world.at(60.0).exit(100, 0);
    world.gives(&["exit code 0", "noted group", "reap 100 Terminated", "spawn", "spawned 101"]);
    world.there_is(&["/flag"]).at(120.0).exit(101, 0);
    world.gives(&["exit code 0", "noted group", "reap 101 Terminated"]);
    assert_eq!(world.state(), "not running");
}

/// A fresh job is dispatched, and `job_keepalive` looks at the path [C launchd-392].
#[test]
fn a_condition_that_holds_at_load_starts_the_job() {
    let mut world = World::new(15);
    world.there_is(&["/flag"]).bootstrap(WHILE_THERE).gives(&STARTED);
    assert_eq!(world.field("immediate reason").unwrap(), "speculative");
    World::new(15).bootstrap(WHILE_MISSING).gives(&STARTED);
}

/// `job_dispatch` leaves an active job alone; `job_keepalive` counts after the end [C launchd-392].
#[test]
fn a_job_that_runs_is_not_ended_when_the_path_goes_and_not_started_again() {
    let mut world = World::new(15);
    world.there_is(&["/flag"]).bootstrap(WHILE_THERE).log.clear();
    world.there_is(&[]).at(60.0).gives(&[]);
    assert_eq!(world.state(), "running");
    world.exit(100, 1).gives(&["exit code 1", "noted group", "reap 100 Terminated"]);
    assert_eq!(world.state(), "not running");
    world.at(3600.0).gives(&[]);
    world.there_is(&["/flag"]).gives(&["spawn", "spawned 101"]);
}

/// `job_start` throttles whoever dispatched the job, and its timer starts the job without another look
/// at the conditions [C A842 job_start, job_callback_timer].
#[test]
fn the_throttle_holds_a_start_back_and_the_path_does_not_call_it_off() {
    let mut world = World::new(15);
    world.there_is(&["/flag"]).bootstrap(WHILE_THERE).log.clear();
    world.there_is(&[]).at(2.0).exit(100, 0).log.clear();
    world.at(3.0).there_is(&["/flag"]).gives(&[]);
    assert_eq!(world.state(), "spawn scheduled");
    world.there_is(&[]).at(9.9).gives(&[]);
    world.at(10.0).gives(&["spawn", "spawned 101"]);
}

/// "exponential backoff on repeated crashes" [L idx 60670016421] is there for this start too.
#[test]
fn a_path_does_not_shorten_the_pause_after_crashes() {
    let mut world = World::new(15);
    world.there_is(&["/flag"]).bootstrap(WHILE_THERE);
    world.at(1.0).crash(100).at(10.0).at(11.0);
    world.there_is(&[]).crash(101).log.clear();
    world.there_is(&["/flag"]).at(29.9).gives(&[]);
    world.at(30.0).gives(&["spawn", "spawned 102"]);
}

/// The on-demand count comes before every condition [C A842 job_keepalive]; chapter 5.3: pended
/// nondemand spawns, "demand spawns are not pended" [C openbase#15].
#[test]
fn a_start_for_a_path_is_pended_and_a_demand_is_not() {
    let mut world = World::new(15);
    world.bootstrap(WHILE_THERE).event(Event::Mood(Mood::OnDemandCount(1))).log.clear();
    world.there_is(&["/flag"]).gives(&["pended inefficient"]);
    assert_eq!(world.field("pended nondemand spawn").unwrap(), "inefficient");
    world.there_is(&[]).there_is(&["/flag"]).gives(&[]);
    world.event(Event::Mood(Mood::OnDemandCount(0))).gives(&["spawn", "spawned 100"]);
    world.event(Event::Mood(Mood::LowPower(true))).at(60.0).exit(100, 0);
    world.gives(&["exit code 0", "noted group", "reap 100 Terminated", "pended inefficient"]);
    world.call(KICKSTART).gives(&["spawn", "spawned 101", "reply 0"]);
}

/// "If multiple keys are provided, launchd ORs them" [C man]; so are the entries [C launchd-392].
#[test]
fn keys_and_entries_are_alternatives() {
    let keys = "<key>KeepAlive</key><dict>\
                <key>SuccessfulExit</key><false/>\
                <key>PathState</key><dict><key>/a</key><true/><key>/b</key><true/></dict>\
                <key>OtherJobEnabled</key><dict><key>other</key><true/></dict></dict>";
    let check = |existing: &[&str], code: i32, expected: &str| {
        let mut world = World::new(15);
        // SuccessfulExit implies RunAtLoad.
        world.bootstrap(keys).gives(&STARTED);
        world.there_is(existing).at(60.0).exit(100, code);
        assert_eq!(world.state(), expected, "{existing:?}, exit code {code}");
    };
    check(&[], 0, "not running");
    check(&[], 1, "running");
    check(&["/a"], 0, "running");
    check(&["/b"], 0, "running");
    check(&["/a", "/b"], 1, "running");
}

/// `needs_kickoff` comes before every condition [C A842 job_keepalive].
#[test]
fn no_path_starts_a_job_that_waits_for_its_first_demand() {
    let mut world = World::new(15);
    let keys = "<key>KeepAlive</key><dict><key>AfterInitialDemand</key><true/>\
                <key>PathState</key><dict><key>/flag</key><true/></dict></dict>";
    world.bootstrap(keys).there_is(&["/flag"]).gives(&["registered", "reply 0"]);
    world.call(KICKSTART).log.clear();
    world.at(60.0).exit(100, 0);
    world.gives(&["exit code 0", "noted group", "reap 100 Terminated", "spawn", "spawned 101"]);
    world.there_is(&[]).at(120.0).exit(101, 0);
    world.gives(&["exit code 0", "noted group", "reap 101 Terminated"]);
}

/// Chapter 2: a demand asks for no condition [C A842 job_dispatch].
#[test]
fn a_demand_starts_the_job_without_its_path() {
    let mut world = World::new(15);
    world.bootstrap(WHILE_THERE).call(KICKSTART);
    world.gives(&["registered", "reply 0", "spawn", "spawned 100", "reply 0"]);
    world.at(60.0).exit(100, 0);
    world.gives(&["exit code 0", "noted group", "reap 100 Terminated"]);
}

/// "Job cannot exec(3). Not dispatching." [C A842 job_dispatch].
#[test]
fn no_path_brings_a_job_out_of_the_penalty_box() {
    let mut world = World::new(15);
    world.bootstrap(WHILE_THERE);
    world.event(Event::SpawnFailed { target: target(), reason: "gone".to_owned() }).log.clear();
    world.there_is(&["/flag"]).there_is(&[]).there_is(&["/flag"]).gives(&[]);
}

/// Chapter 0: the label drains, and nothing is started under it any more [C].
#[test]
fn no_path_starts_a_job_on_its_way_out() {
    let mut world = World::new(15);
    world.there_is(&["/flag"]).bootstrap(WHILE_THERE).there_is(&[]).call(BOOTOUT).log.clear();
    world.there_is(&["/flag"]).gives(&[]);
    world.exit(100, 0).gives(&["exit code 0", "noted group", "reap 100 Terminated", "removed"]);
}

/// What the simulation owes its tests: nobody looks at a path that no job goes by.
#[test]
fn only_paths_that_a_job_goes_by_are_looked_at() {
    let mut world = World::new(15);
    let tick = |world: &World| world.launchd.paths_for(&Event::Tick);
    world.bootstrap(KEEP_ALIVE).call(BOOTOUT).exit(100, 0);
    assert!(tick(&world).is_empty() && !world.launchd.goes_by_paths());
    let login = Event::LoggedIn { plists: vec![plist(WHILE_THERE), plist(KEEP_ALIVE)] };
    let flag = [PathBuf::from("/flag")].into();
    assert_eq!(world.launchd.paths_for(&login), flag);
    world.event(login);
    assert_eq!(tick(&world), flag);
    assert!(world.launchd.goes_by_paths());
    world.call(BOOTOUT);
    assert!(tick(&world).is_empty() && !world.launchd.goes_by_paths());
}
