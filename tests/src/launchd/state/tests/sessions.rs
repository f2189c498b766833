//! S8 and S11: reboots, and what they leave (chapters 2, 3, 4).

use super::*;

#[test]
fn a_reboot_ends_everything_but_what_is_on_disk() {
    let mut world = World::new(15);
    world.call("disable gui/501/other").event(Event::Mood(Mood::OnDemandCount(1)));
    world.bootstrap(RUN_AT_LOAD).call(KICKSTART).log.clear();
    world.event(Event::RebootRequested([Domain::User(UID)].into()));
    world.gives(&["noted signal", "signal 100 15"]);
    world.call(BOOTOUT).gives(&["reply 124"]);
    world.at(2.0).gives(&["noted signal", "signal 100 9"]);
    world.exit(100, 0);
    world.gives(&["exit code 0", "noted group", "reap 100 Terminated", "removed", "booted"]);
    world.call("print gui/501").gives(&["reply 112"]);
    world.call("print user/501").gives(&["reply 0"]);
    world.event(Event::LoggedIn { plists: vec![plist(KEEP_ALIVE)] });
    world.gives(&["registered", "spawn", "spawned 101"]);
    assert_eq!(world.launchd.overrides.get("other"), Some(&Override::Disabled));
}

#[test]
fn a_reboot_without_jobs_is_over_at_once_and_a_second_wish_is_none() {
    let mut world = World::new(15);
    world.event(Event::RebootRequested(BTreeSet::new())).gives(&["booted"]);
    world.call("print user/501").gives(&["reply 112"]);
    world.bootstrap(RUN_AT_LOAD).gives(&["reply 125"]);
}

/// Chapter 3: `user/UID` is "created at any login incl. ssh" [L sops-nix#966].
#[test]
fn a_login_over_ssh_makes_the_background_domain_and_loads_nothing() {
    let mut world = World::new(15);
    world.event(Event::RebootRequested(BTreeSet::new())).log.clear();
    world.call("print user/501").gives(&["reply 112"]);
    world.event(Event::LoggedInOverSsh).call("print user/501").gives(&["reply 0"]);
    world.call("print gui/501").gives(&["reply 112"]);
    world.call("managername").gives(&["reply 0"]);
    world.event(Event::LoggedIn { plists: Vec::new() }).call("print gui/501").gives(&["reply 0"]);
}

/// Chapter 1: "a domain=user agent does not come back after reboot/login by itself" [L HM#9656].
#[test]
fn the_login_scan_loads_into_the_screen_session_only() {
    let mut world = World::new(15);
    let background = "<key>RunAtLoad</key><true/>\
                      <key>LimitLoadToSessionType</key><string>Background</string>";
    world.event(Event::LoggedIn { plists: vec![plist(background)] });
    world.gives(&["refused: Service cannot load in requested session"]);
}

/// Chapter 4: the login scan honours the override database.
#[test]
fn the_login_scan_passes_over_what_is_disabled() {
    let mut world = World::new(15);
    world.call("disable gui/501/com.example.job").log.clear();
    world.event(Event::LoggedIn { plists: vec![plist(RUN_AT_LOAD)] });
    world.gives(&["refused: Service is disabled"]);
}

#[test]
fn launchd_can_be_ended_in_the_middle_of_a_reboot() {
    let mut world = World::new(15);
    world.bootstrap(RUN_AT_LOAD).log.clear();
    world.event(Event::RebootRequested(BTreeSet::new())).event(Event::ShutdownRequested);
    world.gives(&["noted signal", "signal 100 15"]);
    world.exit(100, 0);
    world.gives(&["exit code 0", "noted group", "reap 100 Terminated", "removed", "end"]);
    world.event(Event::ShutdownRequested).gives(&[]);
}
