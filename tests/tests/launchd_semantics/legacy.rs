//! S9: the old verbs (chapter 2).

use std::{fs, process::Command};

use crate::common::{
    Bed, FOREVER, KEEP_ALIVE, LABEL, QUICK, RUN_AT_LOAD, Said, as_root, bed_of_501,
    bootstrap_failed_5, lives, refused, running, said, silent, start,
};

const LOAD_FAILED: &str = "Load failed: 5: Input/output error\n\
     Try running `launchctl bootstrap` as root for richer errors.\n";
const UNLOAD_FAILED: &str = "Unload failed: 5: Input/output error\n\
     Try running `launchctl bootout` as root for richer errors.\n";

fn over_ssh(bed: &Bed, arguments: &[&str]) -> Said {
    let mut command = Command::new(bed.simulation.launchctl());
    command.env("NIXFLEET_SIM_CALLER_UID", bed.uid().to_string());
    said(command.args(arguments).env("NIXFLEET_SIM_CALLER_SESSION", "background"))
}

/// F17: "exit 0 even when it printed an error" [C LifeOS#2068, homebrew-services#111].
#[test]
fn load_and_unload_exit_with_zero_and_name_the_new_verb() {
    let bed = Bed::new();
    let plist = bed.agent(LABEL, FOREVER, RUN_AT_LOAD);
    let path = plist.to_str().unwrap();
    assert_eq!(bed.launchctl(&["load", path]), silent(0));
    let pid = running(&bed);
    assert_eq!(bed.launchctl(&["load", path]), refused(0, LOAD_FAILED));
    assert_eq!(bed.launchctl(&["unload", path]), silent(0));
    bed.wait_until_gone(LABEL);
    assert!(!lives(pid));
    assert_eq!(bed.launchctl(&["unload", path]), refused(0, UNLOAD_FAILED));
    let missing = bed.launchctl(&["load", "/nonexistent/a.plist"]);
    assert_eq!(missing, refused(0, "Load failed: 2: No such file or directory\n"));
}

/// "`-w` also flips override DB" [C]; the database is on disk.
#[test]
fn unload_w_disables_for_good_and_load_w_enables() {
    let bed = Bed::new();
    let plist = bed.agent(LABEL, FOREVER, RUN_AT_LOAD);
    let path = plist.to_str().unwrap();
    start(&bed, FOREVER, RUN_AT_LOAD);
    assert_eq!(bed.launchctl(&["unload", "-w", path]), silent(0));
    bed.wait_until_gone(LABEL);
    let database = fs::read_to_string(bed.path(&format!("launchd/disabled.{}.json", bed.uid())));
    assert!(database.unwrap().contains("disabled"));
    assert_eq!(bed.bootstrap(&plist), bootstrap_failed_5());
    assert_eq!(bed.launchctl(&["load", path]), refused(0, LOAD_FAILED));
    assert_eq!(bed.launchctl(&["load", "-w", path]), silent(0));
    running(&bed);
}

/// "domain = caller's session (gui on console, user over ssh)" [C collie#235].
#[test]
fn load_over_ssh_loads_into_the_background_domain() {
    let bed = Bed::new();
    let background = "<key>LimitLoadToSessionType</key><string>Background</string>";
    let plist = bed.agent(LABEL, FOREVER, background);
    let path = plist.to_str().unwrap();
    assert_eq!(bed.launchctl(&["load", path]), refused(0, LOAD_FAILED), "not at the screen");
    assert_eq!(over_ssh(&bed, &["load", path]), silent(0));
    assert_eq!(bed.print(LABEL).code, Some(113));
    assert_eq!(bed.launchctl(&["print", &format!("user/{}/{LABEL}", bed.uid())]).code, Some(0));
    assert_eq!(over_ssh(&bed, &["managername"]).stdout, "Background\n");
    assert_eq!(over_ssh(&bed, &["list", LABEL]).code, Some(0));
    assert_eq!(bed.launchctl(&["list", LABEL]).code, Some(113));
    assert_eq!(over_ssh(&bed, &["remove", LABEL]), silent(0));
}

/// `load` takes folders of plists as well (man).
#[test]
fn load_takes_a_folder() {
    let bed = Bed::new();
    for label in ["a", "b"] {
        bed.agent(label, FOREVER, RUN_AT_LOAD);
    }
    let folder = bed.options.home.join("Library/LaunchAgents");
    assert_eq!(bed.launchctl(&["load", folder.to_str().unwrap()]), silent(0));
    for label in ["a", "b"] {
        bed.wait_for_field(label, "state", "running");
    }
}

/// "`stop` on KeepAlive job just restarts it", "remove: exit 0 if absent" [L PRC].
#[test]
fn start_stop_and_remove_by_label() {
    let bed = Bed::new();
    let first = start(&bed, FOREVER, &format!("{KEEP_ALIVE}{QUICK}"));
    assert_eq!(bed.launchctl(&["stop", LABEL]), silent(0));
    bed.wait_for_field(LABEL, "runs", "2");
    assert!(!lives(first));
    running(&bed);
    assert_eq!(bed.launchctl(&["start", LABEL]), silent(0));
    assert_eq!(bed.launchctl(&["remove", LABEL]), silent(0));
    bed.wait_until_gone(LABEL);
    assert_eq!(bed.launchctl(&["remove", LABEL]), silent(0));
    assert_eq!(bed.launchctl(&["start", LABEL]), silent(3));
}

/// `submit` infers KeepAlive: "never use as one-shot helper" [C A842, macprovider#651].
#[test]
fn a_submitted_job_is_kept_alive() {
    let bed = Bed::new();
    let out = bed.path("out");
    let words = ["submit", "-l", LABEL, "-o", out.to_str().unwrap(), "--", "/bin/echo", "once"];
    assert_eq!(bed.launchctl(&words), silent(0));
    // It has ended, and waits for its throttle to run again.
    bed.wait_for_field(LABEL, "runs", "1");
    bed.wait_for_field(LABEL, "state", "spawn scheduled");
    assert_eq!(fs::read_to_string(out).unwrap(), "once\n");
    assert_eq!(bed.field(LABEL, "properties").unwrap(), "keepalive | inferred program");
}

/// `asuser`: "run in that user's bootstrap context; keeps caller uid; needs root" [C nix-darwin#1758].
#[test]
fn asuser_moves_a_program_into_the_users_session() {
    let bed = bed_of_501();
    let plist = bed.agent(LABEL, FOREVER, RUN_AT_LOAD);
    let path = plist.to_str().unwrap();
    let launchctl = bed.simulation.launchctl();
    let launchctl = launchctl.to_str().unwrap();
    assert_eq!(bed.launchctl(&["asuser", "501", launchctl, "load", path]).code, Some(1));
    assert_eq!(as_root(&bed, &["asuser", "502", launchctl, "load", path]).code, Some(1));
    assert_eq!(as_root(&bed, &["managername"]).stdout, "System\n");
    assert_eq!(as_root(&bed, &["asuser", "501", launchctl, "load", path]), silent(0));
    running(&bed);
}
