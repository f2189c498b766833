//! S7, S8, S11: overrides, logins, moods (chapters 2, 3, 5).

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
};

use nixfleet_tests::launchd::{Control, LaunchdSim, Session, domain::ServiceTarget};
use rustix::process::{Pid, Signal, kill_process};

use crate::common::{
    Bed, FOREVER, KEEP_ALIVE, LABEL, QUICK, RUN_AT_LOAD, as_root, bed_of_501, bootstrap_failed_5,
    lives, refused, running, silent, start, wait_until,
};

/// Chapters 2, 5.4: 119 for root, 5 for everybody else [C nix-installer#530]; survives reboot [C];
/// F7.
#[test]
fn a_disabled_label_does_not_load_and_the_override_outlives_a_reboot() {
    let bed = bed_of_501();
    let plist = bed.agent(LABEL, FOREVER, RUN_AT_LOAD);
    let path = plist.to_str().unwrap();
    assert_eq!(bed.launchctl(&["disable", &bed.target(LABEL)]), silent(0));
    assert_eq!(bed.bootstrap(&plist), bootstrap_failed_5());
    assert_eq!(
        as_root(&bed, &["bootstrap", "gui/501", path]),
        refused(119, "Bootstrap failed: 119: Service is disabled\n")
    );
    let Bed { simulation, options, .. } = &bed;
    let listed = || bed.launchctl(&["print-disabled", "user/501"]).stdout;
    assert_eq!(listed(), format!("\tdisabled services = {{\n\t\t\"{LABEL}\" => disabled\n\t}}\n"));
    bed.simulation.control(Control::Logout).unwrap();
    kill_process(Pid::from_raw(simulation.pid().cast_signed()).unwrap(), Signal::TERM).unwrap();
    wait_until("launchd has ended", || !bed.path("launchd/socket").exists());
    let after_reboot = LaunchdSim::start(&bed.path(""), options).unwrap();
    assert!(listed().contains("=> disabled"));
    assert_eq!(bed.launchctl(&["enable", &bed.target(LABEL)]), silent(0));
    assert_eq!(bed.bootstrap(&plist), silent(0));
    after_reboot.stop();
}

/// Chapter 4, the plist file: owner, mode, links from 14 on [C, L]; the override database [C].
#[test]
fn a_login_loads_what_it_may_and_a_logout_ends_it() {
    let bed = Bed::with(|options| options.session = Session::Background);
    bed.agent("good", FOREVER, RUN_AT_LOAD);
    bed.agent("unwanted", FOREVER, RUN_AT_LOAD);
    let writable = bed.agent("writable", FOREVER, RUN_AT_LOAD);
    fs::set_permissions(writable, fs::Permissions::from_mode(0o666)).unwrap();
    bed.write_plist(&bed.path("linked.plist"), "linked", FOREVER, RUN_AT_LOAD);
    symlink(bed.path("linked.plist"), bed.agent_path("linked")).unwrap();
    bed.launchctl(&["disable", &bed.target("unwanted")]);
    bed.simulation.control(Control::Login).unwrap();
    bed.wait_for_field("good", "state", "running");
    for label in ["unwanted", "writable", "linked"] {
        assert_eq!(bed.print(label).code, Some(113), "{label}");
    }
    bed.simulation.control(Control::Logout).unwrap();
    wait_until("the domain is gone", || bed.launchctl(&["print", &bed.gui()]).code == Some(112));
}

/// Chapter 0: "symlinked agent plists reportedly ignored at login" from 14 on [L idx 60670016421].
#[test]
fn links_are_loaded_at_login_before_macos_14() {
    let bed = Bed::with(|options| {
        options.session = Session::Background;
        options.macos = 13;
    });
    bed.write_plist(&bed.path("linked.plist"), "linked", FOREVER, RUN_AT_LOAD);
    symlink(bed.path("linked.plist"), bed.agent_path("linked")).unwrap();
    bed.simulation.control(Control::Login).unwrap();
    bed.wait_for_field("linked", "state", "running");
}

/// Chapter 5.3: pended until a kickstart [C openbase#15]; the count in the header [C idx
/// 58506309793]; F4.
#[test]
fn in_on_demand_only_mode_a_job_is_pended_until_somebody_asks() {
    let bed = Bed::new();
    bed.simulation.control(Control::OnDemandCount(2)).unwrap();
    assert!(bed.launchctl(&["print", &bed.gui()]).stdout.contains("\n\ton-demand count = 2\n"));
    assert_eq!(bed.bootstrap(&bed.agent(LABEL, FOREVER, KEEP_ALIVE)), silent(0));
    assert_eq!(bed.field(LABEL, "pended nondemand spawn").unwrap(), "speculative");
    assert_eq!(bed.field(LABEL, "state").unwrap(), "not running");
    assert_eq!(bed.field(LABEL, "runs").unwrap(), "0");
    assert_eq!(bed.launchctl(&["kickstart", &bed.target(LABEL)]), silent(0));
    running(&bed);
    assert_eq!(bed.field(LABEL, "pended nondemand spawn"), None);
}

/// Chapter 5.6: "launchd may remove the job" [L agent-portal#1589]; F13.
#[test]
fn a_job_can_be_thrown_out_after_it_was_accepted() {
    let bed = Bed::new();
    let pid = start(&bed, FOREVER, KEEP_ALIVE);
    let target = ServiceTarget::parse(&bed.target(LABEL)).unwrap();
    bed.simulation.control(Control::Remove(target.clone())).unwrap();
    bed.wait_until_gone(LABEL);
    assert!(!lives(pid));
    assert!(bed.simulation.control(Control::Remove(target)).is_err());
}

/// Chapter 5.3: Low Power Mode, load; F5: "inefficient pended forever" [L idx 65721559124].
#[test]
fn low_power_pends_a_respawn_for_as_long_as_it_likes() {
    let bed = Bed::new();
    let pid = start(&bed, FOREVER, &format!("{KEEP_ALIVE}{QUICK}"));
    bed.simulation.control(Control::PendedStay(true)).unwrap();
    bed.simulation.control(Control::LowPower(true)).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
    bed.wait_for_field(LABEL, "pended nondemand spawn", "inefficient");
    bed.simulation.control(Control::LowPower(false)).unwrap();
    assert_eq!(bed.field(LABEL, "pended nondemand spawn").unwrap(), "inefficient");
    assert!(!bed.launchctl(&["print", &bed.gui()]).stdout.contains("on-demand count"));
    assert_eq!(bed.launchctl(&["kickstart", &bed.target(LABEL)]), silent(0));
    running(&bed);
}

/// Chapter 3: "`=> true|false` (seen 2021; true = disabled); parse both" [C nix-installer mod.rs].
#[test]
fn the_override_database_is_printed_in_the_words_of_its_time() {
    for (macos, disabled, enabled) in [(12, "true", "false"), (15, "disabled", "enabled")] {
        let bed = Bed::with(|options| options.macos = macos);
        bed.launchctl(&["disable", &bed.target("a")]);
        bed.launchctl(&["enable", &bed.target("b")]);
        assert_eq!(
            bed.launchctl(&["print-disabled", &bed.gui()]).stdout,
            format!(
                "\tdisabled services = {{\n\t\t\"a\" => {disabled}\n\t\t\"b\" => {enabled}\n\t}}\n"
            )
        );
    }
}
