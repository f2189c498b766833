//! The stand-in itself: what a scenario can make it do.

use std::{
    fs,
    io::Read,
    os::unix::fs::{PermissionsExt, symlink},
    os::unix::process::ExitStatusExt,
};

use crate::common::{Bed, Installed, LABEL, Mac, PROMPT_JOB, program, said, wait_until};

#[test]
fn a_failure_at_each_place_leaves_what_the_real_one_would() {
    for (place, profile_moved, gone) in [
        ("build", false, false),
        ("before-bootout", true, false),
        ("after-bootout", true, true),
        ("after-bootstrap", true, false),
    ] {
        let mac = Mac::new("master", 26, PROMPT_JOB);
        let before = mac.current_home();
        mac.add_to_scenario(&format!("FAIL_AT={place} EXIT_CODE=7"));
        let said = mac.switch();
        assert_eq!(said.code, Some(7), "{place}: {said:?}");
        assert_eq!(mac.profile() != before, profile_moved, "{place}");
        assert_eq!(mac.current_home(), before, "{place}");
        assert_eq!(mac.is_dark(), gone, "{place}");
    }
}

#[test]
fn an_exit_code_alone_comes_after_a_complete_activation() {
    let mac = Mac::new("master", 26, PROMPT_JOB);
    mac.add_to_scenario("EXIT_CODE=9");
    assert_eq!(mac.switch().code, Some(9));
    assert!(mac.activation_is_complete());
    assert_eq!(mac.loaded(), Some(Installed::New));
}

#[test]
fn it_needs_a_user_a_home_and_what_it_is_asked_to() {
    let mac = Mac::new("master", 26, PROMPT_JOB);
    let without = |name: &str| said(mac.command(&["switch"]).env_remove(name));
    for name in ["USER", "HOME"] {
        let said = without(name);
        assert_eq!(said.code, Some(1));
        assert!(said.stderr.contains(&format!("{name}: unbound variable")), "{said:?}");
    }
    mac.add_to_scenario("REQUIRE_PROGRAM=nix-of-a-profile");
    let said = mac.switch();
    assert_eq!(said.code, Some(127));
    assert!(said.stderr.contains("nix-of-a-profile: command not found"), "{said:?}");
}

#[test]
fn it_writes_as_much_as_it_is_told_and_colours_only_for_a_terminal() {
    let mac = Mac::new("master", 26, PROMPT_JOB);
    mac.add_to_scenario("OUTPUT_LINES=50 OUTPUT_BYTES=300000 COLOUR=1");
    let said = mac.switch();
    assert_eq!(said.code, Some(0));
    assert!(said.stdout.contains("building line 50\n"));
    assert!(said.stdout.len() > 300_000 && said.stdout.len() < 310_000);
    assert!(said.stdout.contains("building in colour") && !said.stdout.contains('\u{1b}'));
}

#[test]
fn it_lists_its_generations_and_names_its_release() {
    let mac = Mac::new("25.05", 15, PROMPT_JOB);
    assert_eq!(said(&mut mac.command(&["--version"])).stdout, "25.05\n");
    assert_eq!(mac.switch().code, Some(0));
    let listing = said(&mut mac.command(&["generations"])).stdout;
    let lines: Vec<_> = listing.lines().collect();
    assert_eq!(lines.len(), 2, "{listing}");
    assert!(lines[0].contains(" : id 2 -> ") && lines[0].ends_with(" (current)"), "{listing}");
    assert!(lines[1].contains(" : id 1 -> ") && !lines[1].contains("current"), "{listing}");
}

#[test]
fn the_same_generation_twice_makes_no_new_profile_link() {
    let mac = Mac::new("master", 26, PROMPT_JOB);
    mac.add_to_scenario("GENERATION=same");
    assert_eq!(mac.switch().code, Some(0));
    let link = mac.link("nix/profiles/home-manager");
    assert_eq!(mac.switch().code, Some(0));
    assert_eq!(mac.link("nix/profiles/home-manager"), link);
}

#[test]
fn a_dry_run_touches_nothing() {
    let mac = Mac::new("master", 15, PROMPT_JOB);
    let before = (mac.profile(), mac.current_home(), mac.bed.field(LABEL, "pid"));
    let said = said(&mut mac.command(&["switch", "--dry-run"]));
    assert_eq!(said.code, Some(0), "{said:?}");
    // As with the real one, the most interesting lines go into a variable.
    assert!(said.stdout.contains("install -m 444") && !said.stdout.contains("bootout"));
    assert_eq!((mac.profile(), mac.current_home(), mac.bed.field(LABEL, "pid")), before);
    assert_eq!(mac.installed(), Installed::Old);
}

#[test]
fn what_it_leaves_behind_holds_the_output_open() {
    let mac = Mac::new("master", 26, PROMPT_JOB);
    mac.add_to_scenario("LEAVE_BACKGROUND=300");
    let mut switch = mac.start_switch();
    let status = switch.wait().unwrap();
    assert!(status.success(), "{status:?}");
    let trace = mac.trace();
    let line = trace.lines().find(|line| line.contains(" background ")).unwrap();
    let pid = line.rsplit(' ').next().unwrap().parse().unwrap();
    let left = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::test_kill_process(left).unwrap();
    rustix::process::kill_process(left, rustix::process::Signal::KILL).unwrap();
    // With the last holder gone the pipe ends.
    let mut output = String::new();
    switch.stdout.take().unwrap().read_to_string(&mut output).unwrap();
    assert!(output.contains("Activating setupLaunchAgents"), "{output}");
}

#[test]
fn sigterm_ends_it_unless_it_ignores_signals() {
    use rustix::process::{Pid, Signal, kill_process_group};
    for (lines, signal) in [
        ("BUILD_SECONDS=300", Signal::TERM),
        ("BUILD_SECONDS=300 IGNORE_TERM=1", Signal::KILL),
        ("SPAWN_CHILD=300", Signal::TERM),
    ] {
        let mac = Mac::new("master", 26, PROMPT_JOB);
        mac.add_to_scenario(lines);
        mac.forget_steps();
        let mut switch = mac.start_switch();
        mac.wait_for_step("build");
        let group = Pid::from_raw(switch.id().cast_signed()).unwrap();
        if lines.contains("IGNORE_TERM") {
            // Were it not ignored, this one would be the signal that ends it.
            kill_process_group(group, Signal::TERM).unwrap();
        }
        if lines.contains("SPAWN_CHILD") {
            mac.wait_for_step("child starts");
        }
        kill_process_group(group, signal).unwrap();
        let status = switch.wait().unwrap();
        assert_eq!(status.signal(), Some(signal.as_raw()), "{lines}: {status:?}");
        // A bash that has just forked may miss the first one, before it becomes another program.
        wait_until("the group is empty", || kill_process_group(group, signal).is_err());
    }
}

#[test]
fn on_linux_it_replaces_the_unit_and_restarts_it() {
    let bed = Bed::new();
    symlink(program(), bed.path("bin/home-manager")).unwrap();
    let systemctl = bed.path("bin/systemctl");
    fs::write(&systemctl, "#!/bin/sh\necho \"$@\" >> \"$(dirname \"$0\")/../systemctl.log\"\n")
        .unwrap();
    fs::set_permissions(&systemctl, fs::Permissions::from_mode(0o755)).unwrap();
    let mac = Mac { bed };
    let unit = mac.bed.path("nixfleet-agent.service");
    fs::write(&unit, "[Service]\nExecStart=/bin/true\n").unwrap();
    mac.scenario(&format!("PLATFORM=linux\nNEW_UNIT='{}'\n", unit.display()));
    assert_eq!(mac.switch().code, Some(0));
    let log = || fs::read_to_string(mac.bed.path("systemctl.log")).unwrap();
    let expected = "--user daemon-reload\n--user restart nixfleet-agent.service\n";
    assert_eq!(log(), expected);
    let installed = mac.bed.options.home.join(".config/systemd/user/nixfleet-agent.service");
    assert_eq!(fs::read(installed).unwrap(), fs::read(&unit).unwrap());
    assert_eq!(mac.switch().code, Some(0));
    assert_eq!(log(), expected, "an unchanged unit is left alone");
    assert!(mac.activation_is_complete());
}
