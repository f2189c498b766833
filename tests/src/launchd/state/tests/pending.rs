//! S7 and S10: what is pended, what is refused, what is thrown out (chapters 4, 5, 7).

use super::*;

/// Chapter 5.3: Low Power Mode and load pend too, without a count to be seen [L idx 65721559124].
#[test]
fn low_power_pends_what_launchd_wants_and_no_demand() {
    let mut world = World::new(15);
    world.bootstrap(KEEP_ALIVE).event(Event::Mood(Mood::LowPower(true))).log.clear();
    world.at(60.0).exit(100, 1);
    world.gives(&["exit code 1", "noted group", "reap 100 Terminated", "pended inefficient"]);
    assert_eq!(world.field("pended nondemand spawn").unwrap(), "inefficient");
    assert_eq!(world.field("state").unwrap(), "not running");
    world.call(KICKSTART).gives(&["spawn", "spawned 101", "reply 0"]);
    assert_eq!(world.field("pended nondemand spawn"), None);
}

/// Chapter 5.3: "Lasts minutes to days; may never fire"; F4, F5.
#[test]
fn what_is_pended_may_stay_so_when_the_cause_is_over() {
    let mut world = World::new(15);
    world.event(Event::Mood(Mood::OnDemandCount(1))).event(Event::Mood(Mood::PendedStay(true)));
    world.bootstrap(KEEP_ALIVE).log.clear();
    world.event(Event::Mood(Mood::OnDemandCount(0))).at(86_400.0).gives(&[]);
    assert_eq!(world.field("runs").unwrap(), "0");
    assert_eq!(world.field("pended nondemand spawn").unwrap(), "speculative");
    world.call(KICKSTART).gives(&["spawn", "spawned 100", "reply 0"]);
}

/// Chapter 5.3: RunAtLoad, KeepAlive and StartInterval are affected; StartCalendarInterval was seen
/// to fire [L idx 70990740607].
#[test]
fn an_interval_is_pended_and_the_calendar_is_not() {
    let mut world = World::new(15);
    world.event(Event::Mood(Mood::OnDemandCount(3)));
    world.bootstrap("<key>StartInterval</key><integer>60</integer>").log.clear();
    world.at(60.0).gives(&["pended interval"]);
    world.event(Event::CalendarDue(target())).gives(&["spawn", "spawned 100"]);
}

/// Chapter 5.3: user/Background was seen to fire [L idx 68439692847].
#[test]
fn the_background_domain_has_no_on_demand_mode() {
    let mut world = World::new(15);
    world.event(Event::Mood(Mood::OnDemandCount(1))).event(Event::Mood(Mood::LowPower(true)));
    let keys = "<key>RunAtLoad</key><true/>\
                <key>LimitLoadToSessionType</key><string>Background</string>";
    world.call_as(Privilege::Owner, "bootstrap user/501 /job.plist", vec![plist(keys)]);
    world.gives(&["registered", "reply 0", "spawn", "spawned 100"]);
}

/// Chapter 5.3, F5: the count may change in the middle of a run.
#[test]
fn a_count_that_comes_during_a_throttled_wait_does_not_stop_it() {
    let mut world = World::new(15);
    world.bootstrap(KEEP_ALIVE).at(1.0).exit(100, 1).log.clear();
    world.event(Event::Mood(Mood::OnDemandCount(1)));
    world.at(10.0).gives(&["spawn", "spawned 101"]);
}

/// Chapter 4: "cannot spawn: service is in penalty box"; bootout and bootstrap clear it [C
/// nix-darwin#1709]. The setup event may or may not come.
#[test]
fn a_job_leaves_the_penalty_box_by_its_setup_event_only() {
    let mut world = World::new(15);
    world.bootstrap("").event(Event::SpawnFailed { target: target(), reason: String::new() });
    world.log.clear();
    let effects = world.launchd.handle(Event::CalendarDue(target()), Moment::at(Duration::ZERO));
    let Some(Effect::Record { event: JobEvent::SpawnFailed { reason }, .. }) = effects.first()
    else {
        panic!("{effects:?}");
    };
    assert_eq!(reason, "cannot spawn: service is in penalty box");
    world.event(Event::SetupEvent(target())).gives(&["spawn", "spawned 100"]);
    world.event(Event::SetupEvent(target())).gives(&[]);
}

fn judge(world: &mut World, verdict: Verdict) {
    world.event(Event::Judged { label: LABEL.to_owned(), verdict });
}

/// Chapter 5.6 and F13: "launchd may remove the job" after it was accepted [L agent-portal#1589].
#[test]
fn a_job_is_accepted_spawned_and_removed() {
    let mut world = World::new(15);
    judge(&mut world, Verdict::KilledAfterSpawn);
    world.bootstrap(KEEP_ALIVE);
    world.gives(&["registered", "reply 0", "spawn", "spawned 100", "noted signal", "signal 100 9"]);
    world.event(Event::Exited { pid: Pid::from_raw(100).unwrap(), end: ProcessEnd::Signalled(9) });
    world.gives(&["signal 9", "noted group", "reap 100 Terminated", "removed"]);
    world.call(PRINT).gives(&["reply 113"]);
}

/// Chapter 7: disallowed in Login Items, a spawn is refused with 161 [L].
#[test]
fn background_items_refuse_a_spawn() {
    let mut world = World::new(15);
    judge(&mut world, Verdict::SpawnRefused);
    world.bootstrap(KEEP_ALIVE).gives(&["registered", "reply 0", "spawn failed"]);
    assert_eq!(world.field("last exit code").unwrap(), "78: EX_CONFIG");
    world.call(KICKSTART).gives(&["spawn failed", "reply 0"]);
    judge(&mut world, Verdict::Allowed);
    world.call(BOOTOUT).log.clear();
    world.bootstrap(KEEP_ALIVE).gives(&["registered", "reply 0", "spawn", "spawned 100"]);
}

/// Chapter 7: "job may be silently absent after login with plist present" [L].
#[test]
fn background_items_keep_a_job_out_of_the_login_scan() {
    let mut world = World::new(15);
    judge(&mut world, Verdict::NotAtLogin);
    world.event(Event::LoggedIn { plists: vec![plist(KEEP_ALIVE)] });
    world.gives(&["refused: Background Items do not allow it"]);
    world.bootstrap(KEEP_ALIVE).gives(&["registered", "reply 0", "spawn", "spawned 100"]);
}
