//! When all goes well: what each row of the release matrix calls, waits for, installs and exits with.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    time::{Duration, Instant},
};

use nixfleet_tests::launchd::Control;

use crate::common::{Installed, KEEP_ALIVE, LABEL, Mac, PROMPT_JOB, said, wait_until};

fn replaces_the_agent(release: &str, macos: u32) {
    let mac = Mac::new(release, macos, PROMPT_JOB);
    let old_pid = mac.bed.field(LABEL, "pid");
    let said = mac.switch();
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!((mac.installed(), mac.loaded()), (Installed::New, Some(Installed::New)));
    mac.bed.wait_for_field(LABEL, "state", "running");
    assert_ne!(mac.bed.field(LABEL, "pid"), old_pid);
    assert!(mac.activation_is_complete());
    let mode = fs::metadata(mac.bed.agent_path(LABEL)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o444);

    // A second switch finds nothing to do.
    mac.forget_steps();
    let pid = mac.bed.field(LABEL, "pid");
    assert_eq!(mac.switch().code, Some(0));
    assert!(mac.trace().contains("up to date") && !mac.trace().contains("bootout"));
    assert_eq!(mac.bed.field(LABEL, "pid"), pid);
}

#[test]
fn release_24_11_replaces_a_prompt_agent() {
    replaces_the_agent("24.11", 15);
}

#[test]
fn release_25_05_replaces_a_prompt_agent() {
    replaces_the_agent("25.05", 15);
}

#[test]
fn release_25_11_replaces_a_prompt_agent() {
    replaces_the_agent("25.11", 15);
}

#[test]
fn release_26_05_replaces_an_agent_on_macos_26() {
    replaces_the_agent("26.05", 26);
}

#[test]
fn master_replaces_a_prompt_agent_on_macos_15() {
    replaces_the_agent("master", 15);
}

#[test]
fn master_replaces_an_agent_on_macos_26() {
    replaces_the_agent("master", 26);
}

#[test]
fn an_agent_that_the_new_generation_does_not_have_is_removed() {
    let mac = Mac::new("master", 26, PROMPT_JOB);
    mac.add_to_scenario("NEW_PLIST=none");
    assert_eq!(mac.switch().code, Some(0));
    assert!(mac.is_dark() && !mac.bed.agent_path(LABEL).exists());
}

#[test]
fn an_unchanged_plist_is_carried_over_and_the_agent_left_alone() {
    let mac = Mac::new("25.11", 15, PROMPT_JOB);
    mac.add_to_scenario("NEW_PLIST=");
    let pid = mac.bed.field(LABEL, "pid");
    assert_eq!(mac.switch().code, Some(0));
    assert_eq!(mac.bed.field(LABEL, "pid"), pid);
    assert!(mac.activation_is_complete());
    assert_eq!(mac.link("nix/profiles/home-manager").unwrap(), Path::new("home-manager-2-link"));
}

/// The verbs of launchctl that a switch used, and what each answered.
fn calls_of(mac: &Mac, work: impl FnOnce()) -> Vec<String> {
    let before = mac.bed.simulation.calls().unwrap().len();
    work();
    let calls = mac.bed.simulation.calls().unwrap();
    let told = calls.into_iter().skip(before).map(|call| {
        let shown: Vec<_> = call.argv.iter().map(|word| short(word)).collect();
        format!("{} = {}", shown.join(" "), call.code)
    });
    told.collect()
}

/// A target without its uid, a path without its folder.
fn short(word: &str) -> String {
    match word.split_once('/') {
        Some(("gui" | "user", rest)) => {
            let domain = word.split('/').next().unwrap();
            rest.split_once('/').map_or(domain.to_owned(), |(_, label)| format!("{domain}/{label}"))
        }
        Some(_) => word.rsplit('/').next().unwrap().to_owned(),
        None => word.to_owned(),
    }
}

/// The release matrix, row by row: bootout, wait, bootstrap, skip test [C, source of each release].
#[test]
fn each_release_calls_what_its_row_says() {
    let bootout = format!("bootout gui/{LABEL} = 0");
    let bootstrap = format!("bootstrap gui {LABEL}.plist = 0");
    let waiting = format!("bootout --wait gui/{LABEL} = 0");
    let gone = format!("print gui/{LABEL} = 113");
    for (release, macos, seconds, expected) in [
        ("24.11", 15, 0, vec![&bootout, &gone, &bootstrap]),
        ("25.05", 15, 1, vec![&bootout, &bootstrap]),
        ("25.11", 15, 1, vec![&bootout, &bootstrap]),
        ("26.05", 26, 0, vec![&waiting, &bootstrap]),
        ("master", 15, 1, vec![&bootout, &bootstrap]),
        ("master", 26, 0, vec![&waiting, &bootstrap]),
    ] {
        let mac = Mac::new(release, macos, "exec sleep 300");
        let started = Instant::now();
        let mut calls = calls_of(&mac, || assert_eq!(mac.switch().code, Some(0)));
        assert!(started.elapsed() >= Duration::from_secs(seconds), "{release}");
        // 24.11 may look once before the process has ended, and then boots out once more.
        if release == "24.11" {
            let first_gone = calls.iter().position(|call| call == &gone).unwrap();
            calls = [&calls[..1], &calls[first_gone..]].concat();
        }
        assert_eq!(calls.iter().collect::<Vec<_>>(), expected, "{release} on {macos}");
    }
}

/// "set +e ... while in the main shell" and the `return 1` of 24.11: one broken agent stops the
/// others in 24.11 only [C HM#6656].
#[test]
fn a_broken_agent_stops_the_others_in_24_11_only() {
    for (release, code, others_run) in
        [("24.11", 5, false), ("25.11", 0, true), ("26.05", 0, true), ("master", 1, true)]
    {
        let mac = Mac::new(release, 26, PROMPT_JOB);
        // Its name comes first.
        let broken = mac.bed.path("a.broken.plist");
        fs::write(&broken, "no property list").unwrap();
        mac.add_to_scenario(&format!("MORE_PLISTS='{}'", broken.display()));
        let said = mac.switch();
        assert_eq!(said.code, Some(code), "{release}: {said:?}");
        let expected = if others_run { Installed::New } else { Installed::Old };
        assert_eq!(mac.loaded(), Some(expected), "{release}");
    }
}

/// When the profile and the root move: 24.11 both in the middle, 25.05 the profile in the activation,
/// later releases the profile before it; the root of all but 24.11 at the very end [C, source].
#[test]
fn a_failure_before_the_agents_leaves_profile_and_root_as_the_release_would() {
    for (release, profile_moved, root_moved) in [
        ("24.11", true, true),
        ("25.05", true, false),
        ("25.11", true, false),
        ("26.05", true, false),
        ("master", true, false),
    ] {
        let mac = Mac::new(release, 26, PROMPT_JOB);
        let before = mac.current_home();
        mac.add_to_scenario("FAIL_AT=before-bootout");
        assert_eq!(mac.switch().code, Some(1), "{release}");
        assert_eq!(mac.profile() != before, profile_moved, "{release}");
        assert_eq!(mac.current_home() != before, root_moved, "{release}");
    }
}

/// A dry run touches nothing, and hides what would happen: what launchctl would be told goes into a
/// variable from 25.05 on [C code].
#[test]
fn a_dry_run_of_any_release_touches_nothing() {
    for (release, shows_bootout) in
        [("24.11", true), ("25.05", false), ("25.11", false), ("26.05", false), ("master", false)]
    {
        let mac = Mac::new(release, 15, PROMPT_JOB);
        let state = || (mac.profile(), mac.current_home(), mac.bed.field(LABEL, "pid"));
        let before = state();
        let calls = calls_of(&mac, || {
            let said = said(&mut mac.command(&["switch", "--dry-run"]));
            assert_eq!(said.code, Some(0), "{release}: {said:?}");
            assert_eq!(said.stdout.contains("bootout"), shows_bootout, "{release}: {said:?}");
            assert!(said.stdout.contains("install -m 444"), "{release}: {said:?}");
        });
        assert!(calls.is_empty(), "{release}: {calls:?}");
        assert_eq!(state(), before, "{release}");
        assert_eq!(mac.installed(), Installed::Old, "{release}");
    }
}

/// master only: from gui to user, with a plist that asks for it [C 2f3da3d45]; 24.11 to 26.05 know no
/// domains.
#[test]
fn an_agent_moves_from_the_screen_to_the_background_and_back() {
    let mac = Mac::new("master", 26, PROMPT_JOB);
    let user = format!("user/{}/{LABEL}", mac.bed.uid());
    let in_user = || mac.bed.launchctl(&["print", &user]).code == Some(0);
    let background = "<key>LimitLoadToSessionType</key><string>Background</string>";
    let keys = format!("{KEEP_ALIVE}{background}");
    mac.bed.write_plist(&mac.bed.path("new.plist"), LABEL, &format!("{PROMPT_JOB} # new"), &keys);
    mac.add_to_scenario("AGENT_DOMAIN=user");
    let calls = calls_of(&mac, || assert_eq!(mac.switch().code, Some(0)));
    let expected = [
        format!("bootout --wait gui/{LABEL} = 0"),
        format!("bootout --wait user/{LABEL} = 3"),
        format!("bootstrap user {LABEL}.plist = 0"),
    ];
    assert_eq!(calls, expected);
    assert!(mac.is_dark() && in_user(), "gone from gui, there in user");

    // Unchanged: it is looked for where it belongs.
    let calls = calls_of(&mac, || assert_eq!(mac.switch().code, Some(0)));
    assert_eq!(calls, [format!("print user/{LABEL} = 0")]);

    mac.bed.write_plist(
        &mac.bed.path("new.plist"),
        LABEL,
        &format!("{PROMPT_JOB} # new"),
        KEEP_ALIVE,
    );
    mac.add_to_scenario("AGENT_DOMAIN=gui");
    assert_eq!(mac.switch().code, Some(0));
    assert!(!in_user() && mac.loaded() == Some(Installed::New));
}

/// The default session type is Aqua, so a plist that does not say Background fails in `user`; the old
/// one is put back into gui [L idx 68439692847; C restoreAgent].
#[test]
fn an_agent_that_cannot_move_is_put_back() {
    let mac = Mac::new("master", 26, PROMPT_JOB);
    mac.add_to_scenario("AGENT_DOMAIN=user");
    let calls = calls_of(&mac, || assert_eq!(mac.switch().code, Some(1)));
    let expected = [
        format!("bootout --wait gui/{LABEL} = 0"),
        format!("bootout --wait user/{LABEL} = 3"),
        format!("bootstrap user {LABEL}.plist = 5"),
        format!("bootstrap gui {LABEL}.plist = 0"),
    ];
    assert_eq!(calls, expected);
    assert_eq!((mac.installed(), mac.loaded()), (Installed::Old, Some(Installed::Old)));
}

/// Removed agents (chapter 1, step 8): booted out and deleted; one that was changed by hand is left
/// alone, though 24.11 boots it out before it looks [C, source].
#[test]
fn a_removed_agent_goes_and_one_changed_by_hand_stays() {
    for (release, macos, stays_loaded) in [
        ("24.11", 15, false),
        ("25.05", 15, true),
        ("25.11", 15, true),
        ("26.05", 26, true),
        ("master", 15, true),
        ("master", 26, true),
    ] {
        let mac = Mac::new(release, macos, PROMPT_JOB);
        mac.add_to_scenario("NEW_PLIST=none");
        assert_eq!(mac.switch().code, Some(0), "{release}");
        mac.bed.wait_until_gone(LABEL);
        assert!(!mac.bed.agent_path(LABEL).exists(), "{release}");

        let mac = Mac::new(release, macos, PROMPT_JOB);
        mac.bed.write_plist(&mac.bed.agent_path(LABEL), LABEL, "by hand # new", KEEP_ALIVE);
        mac.add_to_scenario("NEW_PLIST=none");
        let said = mac.switch();
        assert_eq!(said.code, Some(0), "{release}");
        assert!(said.stdout.contains("contents have diverged"), "{release}: {said:?}");
        assert!(mac.bed.agent_path(LABEL).exists(), "{release}");
        if stays_loaded {
            assert_eq!(mac.loaded(), Some(Installed::Old), "{release}");
        } else {
            mac.bed.wait_until_gone(LABEL);
        }
    }
}

/// What lies in the agent's place when the second switch begins.
#[derive(Debug, Clone, Copy)]
enum Lies {
    /// What the last generation has.
    Unchanged,
    /// The same, behind a link.
    Linked,
    /// A link that leads nowhere.
    LinkedNowhere,
    /// What the next generation has.
    NewAlready,
    /// What somebody has written.
    ByHand,
    Nothing,
}

impl Lies {
    fn there(self, mac: &Mac) {
        let place = mac.bed.agent_path(LABEL);
        let elsewhere = mac.bed.path("elsewhere.plist");
        match self {
            Self::Unchanged => return,
            Self::Linked => drop(fs::copy(mac.bed.path("old.plist"), &elsewhere).unwrap()),
            Self::NewAlready | Self::ByHand | Self::LinkedNowhere | Self::Nothing => {}
        }
        fs::remove_file(&place).unwrap();
        match self {
            Self::Unchanged | Self::Nothing => {}
            Self::Linked | Self::LinkedNowhere => symlink(&elsewhere, &place).unwrap(),
            Self::NewAlready => drop(fs::copy(mac.bed.path("new.plist"), &place).unwrap()),
            Self::ByHand => mac.bed.write_plist(&place, LABEL, "by hand # new", KEEP_ALIVE),
        }
    }
}

/// `checkLaunchAgents` of 22.05 to 24.11: before anything is written, a dry run or not, a file in the place of an agent of
/// the new generation has to be that of the last one; `-e` sees no file behind a link that leads nowhere. Taken out on
/// 2025-03-18, before 25.05 [C 86d2e3b00, source of 24.11].
#[test]
fn what_is_not_the_last_generation_s_is_in_the_way_of_24_11() {
    for (release, lies, flag, more, code) in [
        ("24.11", Lies::Unchanged, "-v", "", 0),
        ("24.11", Lies::Linked, "-v", "", 0),
        // Not in the way, but then nobody takes the loaded agent out, and launchctl answers 5.
        ("24.11", Lies::LinkedNowhere, "-v", "", 5),
        ("24.11", Lies::Nothing, "-v", "", 5),
        ("24.11", Lies::NewAlready, "-v", "", 1),
        ("24.11", Lies::ByHand, "-v", "", 1),
        ("24.11", Lies::ByHand, "--dry-run", "", 1),
        ("24.11", Lies::Unchanged, "--dry-run", "", 0),
        // Only agents that the new generation has are looked at.
        ("24.11", Lies::ByHand, "-v", "NEW_PLIST=none", 0),
        ("25.05", Lies::ByHand, "-v", "", 0),
    ] {
        let mac = Mac::new(release, 15, PROMPT_JOB);
        lies.there(&mac);
        mac.add_to_scenario(more);
        let before = (mac.profile(), mac.current_home());
        let said = said(&mut mac.command(&["switch", flag]));
        let case = format!("{release} {lies:?} {flag} {more}: {said:?}");
        assert_eq!(said.code, Some(code), "{case}");
        let is_in_the_way = said.stdout.contains("is in the way of");
        assert_eq!(is_in_the_way, code == 1, "{case}");
        if is_in_the_way {
            assert_eq!((mac.profile(), mac.current_home()), before, "{case}");
            assert_eq!(mac.loaded(), Some(Installed::Old), "{case}");
        }
    }
}

/// Where there is no generation yet, nothing is home-manager's own [C source of 24.11].
#[test]
fn without_a_generation_any_file_is_in_the_way_of_24_11() {
    let mac = Mac::new("24.11", 15, PROMPT_JOB);
    let profile = mac.bed.options.home.join(".local/state/nix/profiles/home-manager");
    fs::remove_file(profile).unwrap();
    let said = mac.switch();
    assert!(said.stdout.contains("is in the way of"), "{said:?}");
    assert_eq!(said.code, Some(1), "{said:?}");
}

/// The skip test of all releases compares files only, never what launchd has loaded; F21 [C code]. 24.11 does not come so
/// far.
#[test]
fn a_file_that_is_new_already_hides_a_definition_that_is_old() {
    for (release, macos) in [("25.05", 15), ("25.11", 15), ("26.05", 26), ("master", 26)] {
        let mac = Mac::new(release, macos, PROMPT_JOB);
        fs::remove_file(mac.bed.agent_path(LABEL)).unwrap();
        fs::copy(mac.bed.path("new.plist"), mac.bed.agent_path(LABEL)).unwrap();
        mac.forget_steps();
        assert_eq!(mac.switch().code, Some(0), "{release}");
        assert!(mac.trace().contains("up to date"), "{release}: {}", mac.trace());
        assert_eq!(mac.loaded(), Some(Installed::Old), "{release}");
    }
}

/// "Domain does not support specified action" counts as not running in master, and is a warning in
/// 25.05 to 26.05 [C 79e608258]; without a screen session the bootstrap fails with 125 everywhere.
#[test]
fn without_a_screen_session_the_plist_is_installed_and_not_loaded() {
    for (release, macos, code, installed) in [
        ("24.11", 15, 125, Installed::New),
        ("25.11", 15, 0, Installed::New),
        ("26.05", 26, 0, Installed::New),
        ("master", 26, 1, Installed::New),
    ] {
        let mac = Mac::new(release, macos, PROMPT_JOB);
        mac.bed.simulation.control(Control::Logout).unwrap();
        wait_until("the screen session is over", || {
            mac.bed.launchctl(&["print", &mac.bed.gui()]).code == Some(112)
        });
        let said = mac.switch();
        assert_eq!(said.code, Some(code), "{release}: {said:?}");
        assert_eq!(mac.installed(), installed, "{release}");
        mac.bed.simulation.control(Control::Login).unwrap();
        mac.bed.wait_for_field(LABEL, "state", "running");
        assert_eq!(mac.loaded(), Some(Installed::New), "{release}: the next login loads it");
    }
}
