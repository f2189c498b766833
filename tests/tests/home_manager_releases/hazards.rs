//! H1 to H8: the ways in which the real ones leave an agent dark (chapter 1).

use std::{
    fs,
    time::{Duration, Instant},
};

use nixfleet_tests::launchd::{Control, Disguise, Fault, command::VerbName};

use crate::common::{Installed, LABEL, Mac, PROMPT_JOB, SIGPIPE, drains_until};

fn goes_dark_and_says_up_to_date_for_ever(release: &str) {
    let mac = Mac::new(release, 15, &drains_until("go"));
    let said = mac.switch();
    assert_eq!(said.code, Some(0), "the failure is logged only: {said:?}");
    assert!(said.stdout.contains("with I/O error (code 5)"), "{}", said.stdout);
    assert_eq!(mac.installed(), Installed::New);
    assert!(mac.activation_is_complete());
    fs::write(mac.bed.path("go"), "").unwrap();
    mac.bed.wait_until_gone(LABEL);

    let again = mac.switch();
    assert_eq!(again.code, Some(0));
    assert!(again.stdout.contains("is already up-to-date"), "{}", again.stdout);
    assert!(mac.is_dark());
}

#[test]
fn h1_release_25_05() {
    goes_dark_and_says_up_to_date_for_ever("25.05");
}

#[test]
fn h1_release_25_11() {
    goes_dark_and_says_up_to_date_for_ever("25.11");
}

#[test]
fn h1_release_24_11_gives_up_after_ten_seconds_and_leaves_the_old_plist() {
    let mac = Mac::new("24.11", 15, &drains_until("go"));
    let started = Instant::now();
    let said = mac.switch();
    assert!(started.elapsed() >= Duration::from_secs(10));
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stdout.contains("Failed to stop"), "{}", said.stdout);
    assert_eq!(mac.installed(), Installed::Old);
    assert!(mac.activation_is_complete(), "profile and root move before the agents");
    fs::write(mac.bed.path("go"), "").unwrap();
    mac.bed.wait_until_gone(LABEL);
}

/// H1 and H4 on one run: the restore meets the same race as the bootstrap before it.
#[test]
fn h1_master_on_macos_15_restores_into_the_same_race() {
    let mac = Mac::new("master", 15, &drains_until("go"));
    let before = mac.current_home();
    let said = mac.switch();
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stdout.contains("Restoring previous agent"), "{}", said.stdout);
    assert_eq!(mac.trace().matches("bootstrap failed").count(), 2, "{}", mac.trace());
    assert_eq!(mac.installed(), Installed::Old);
    assert_eq!(mac.current_home(), before);
    assert_ne!(mac.profile(), before, "the profile is set before anything is activated");
    fs::write(mac.bed.path("go"), "").unwrap();
    mac.bed.wait_until_gone(LABEL);
}

#[test]
fn master_finds_an_agent_that_is_not_loaded_and_earlier_releases_do_not() {
    for (release, expected) in [("25.11", None), ("master", Some(Installed::New))] {
        let mac = Mac::new(release, 15, PROMPT_JOB);
        assert_eq!(mac.switch().code, Some(0));
        mac.bed.launchctl(&["bootout", &mac.bed.target(LABEL)]);
        mac.bed.wait_until_gone(LABEL);
        assert_eq!(mac.switch().code, Some(0));
        assert_eq!(mac.loaded(), expected, "{release}");
    }
}

#[test]
fn h2_release_26_05_on_macos_15_keeps_the_old_definition_running() {
    let mac = Mac::new("26.05", 15, PROMPT_JOB);
    let pid = mac.bed.field(LABEL, "pid");
    let said = mac.switch();
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.stdout.contains("Unrecognized target specifier"), "{}", said.stdout);
    assert!(said.stdout.contains("with I/O error (code 5)"), "{}", said.stdout);
    assert_eq!((mac.installed(), mac.loaded()), (Installed::New, Some(Installed::Old)));
    assert_eq!(mac.bed.field(LABEL, "pid"), pid);
    let again = mac.switch();
    assert!(again.stdout.contains("is already up-to-date"), "{}", again.stdout);
    assert_eq!(mac.loaded(), Some(Installed::Old));
}

#[test]
fn h3_a_switch_inside_the_agents_group_dies_between_bootout_and_bootstrap() {
    let agent = "until [ -e go ]; do sleep 0.02; done; bin/home-manager switch > log 2>&1; \
                 sleep 300";
    let mac = Mac::new("25.11", 15, agent);
    let before = mac.current_home();
    mac.forget_steps();
    fs::write(mac.bed.path("go"), "").unwrap();
    mac.bed.wait_until_gone(LABEL);
    mac.wait_for_step("activation ended");
    assert!(mac.trace().contains("bootout") && !mac.trace().contains("bootstrap"));
    assert_eq!(mac.installed(), Installed::Old);
    assert_eq!(mac.current_home(), before);
    assert_ne!(mac.profile(), before);
    assert_eq!(mac.link("home-manager/gcroots/new-home"), None, "removed on the way out");
    assert!(mac.is_dark());
}

#[test]
fn h6_a_line_after_bootout_kills_a_switch_whose_reader_is_gone() {
    let mac = Mac::new("25.11", 15, PROMPT_JOB);
    mac.add_to_scenario("PRINT_AFTER_BOOTOUT='Processing'");
    mac.forget_steps();
    let mut switch = mac.start_switch();
    mac.wait_for_step(&format!("bootout {LABEL}"));
    drop(switch.stdout.take());
    let status = switch.wait().unwrap();
    assert_eq!(status.code(), Some(128 + SIGPIPE), "{status:?}");
    assert_eq!(mac.installed(), Installed::Old);
    assert!(!mac.trace().contains("bootstrap"), "{}", mac.trace());
    assert!(mac.is_dark());
}

#[test]
fn h6_a_silent_switch_survives_its_reader_until_the_next_word() {
    let mac = Mac::new("25.11", 15, PROMPT_JOB);
    mac.forget_steps();
    let mut switch = mac.start_switch();
    mac.wait_for_step(&format!("bootout {LABEL}"));
    drop(switch.stdout.take());
    assert!(switch.wait().unwrap().success());
    assert_eq!(mac.loaded(), Some(Installed::New));
}

// H5: the job drains already when home-manager comes.

/// bootout answers 5: master gives up before it has installed or bootstrapped anything; earlier
/// releases install and fail to bootstrap [L code + local-operator#1231 M-03].
#[test]
fn h5_a_job_that_drains_already() {
    for (release, macos, code, installed) in [
        ("25.11", 15, 0, Installed::New),
        ("26.05", 15, 0, Installed::New),
        ("master", 15, 1, Installed::Old),
    ] {
        let mac = Mac::new(release, macos, &drains_until("go"));
        assert_eq!(mac.bed.launchctl(&["bootout", &mac.bed.target(LABEL)]).code, Some(0));
        let said = mac.switch();
        assert_eq!(said.code, Some(code), "{release}: {said:?}");
        assert!(said.stdout.contains("Failed to stop agent"), "{release}: {}", said.stdout);
        assert_eq!(mac.installed(), installed, "{release}");
        fs::write(mac.bed.path("go"), "").unwrap();
        mac.bed.wait_until_gone(LABEL);
    }
}

// H7: bootstrapped, and never spawned.

/// "HM never checks" [C].
#[test]
fn h7_a_pended_spawn_goes_unnoticed() {
    for (release, macos) in [("25.11", 15), ("26.05", 26), ("master", 15), ("master", 26)] {
        let mac = Mac::new(release, macos, PROMPT_JOB);
        mac.bed.simulation.control(Control::OnDemandCount(1)).unwrap();
        assert_eq!(mac.switch().code, Some(0), "{release}");
        assert_eq!(mac.loaded(), Some(Installed::New));
        assert_eq!(mac.bed.field(LABEL, "runs").unwrap(), "0", "{release}");
        assert_eq!(mac.bed.field(LABEL, "pended nondemand spawn").unwrap(), "speculative");
        assert!(mac.activation_is_complete());
    }
}

// H8: the plist cannot be installed.

/// `install` is denied after bootout [C report nixos-unified-template#139]; master tries to put the
/// old one back, which is denied too.
#[test]
fn h8_a_folder_that_belongs_to_root() {
    for (release, macos, code) in
        [("24.11", 15, 1), ("25.11", 15, 0), ("26.05", 26, 0), ("master", 26, 1)]
    {
        let mac = Mac::new(release, macos, PROMPT_JOB);
        mac.add_to_scenario("INSTALL_FAILS=1");
        let said = mac.switch();
        assert_eq!(said.code, Some(code), "{release}: {said:?}");
        assert!(said.stderr.contains("Permission denied"), "{release}: {said:?}");
        assert_eq!(mac.installed(), Installed::Old, "{release}");
        mac.bed.wait_until_gone(LABEL);
    }
}

/// What launchctl says is compared as text: in another language "No such process" is a failure.
#[test]
fn a_launchctl_in_another_language_stops_master() {
    let mac = Mac::new("master", 26, PROMPT_JOB);
    mac.bed.launchctl(&["bootout", &mac.bed.target(LABEL)]);
    mac.bed.wait_until_gone(LABEL);
    let german = Fault::on(VerbName::Bootout).disguise(Disguise::Localized);
    mac.bed.simulation.set_faults(&[german]).unwrap();
    let said = mac.switch();
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stdout.contains("Kein passender Prozess"), "{said:?}");
    assert!(mac.is_dark());
}
