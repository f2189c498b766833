//! S2: the definition and its file (chapter 4).

use std::{fs, os::unix::fs::PermissionsExt};

use crate::common::{
    Bed, FOREVER, KEEP_ALIVE, LABEL, QUICK, as_root, bed_of_501, bootstrap_failed_5, refused,
    silent, start, wait_until,
};

/// Chapter 4: "launchd ignores it; cached definition stays"; `kickstart -k` does not re-read it [C
/// repowire#397]; F21.
#[test]
fn the_plist_is_read_at_bootstrap_and_ignored_afterwards() {
    let bed = Bed::new();
    start(&bed, "echo old >> out; sleep 60", &format!("{KEEP_ALIVE}{QUICK}"));
    wait_until("first run", || bed.path("out").exists());
    bed.agent(LABEL, "echo new >> out; sleep 60", &format!("{KEEP_ALIVE}{QUICK}"));
    bed.launchctl(&["kickstart", "-k", &bed.target(LABEL)]);
    bed.wait_for_field(LABEL, "runs", "2");
    let out = || fs::read_to_string(bed.path("out")).unwrap_or_default();
    wait_until("second run", || out().lines().count() == 2);
    assert_eq!(out(), "old\nold\n");
    assert!(bed.print(LABEL).stdout.contains("echo old"));
    bed.launchctl(&["bootout", &bed.target(LABEL)]);
    bed.wait_until_gone(LABEL);
    assert_eq!(bed.bootstrap(&bed.agent_path(LABEL)), silent(0));
    wait_until("third run", || out() == "old\nold\nnew\n");
}

/// Chapters 2, 4: 122, 109 and 2 for root, 5 for everybody else [C]; F15.
#[test]
fn a_plist_must_be_a_sound_file() {
    let bed = bed_of_501();
    let plist = bed.agent(LABEL, FOREVER, "");
    let path = plist.to_str().unwrap();
    let both = |user: i32, root: i32| {
        assert_eq!(bed.launchctl(&["bootstrap", "gui/501", path]).code, Some(user));
        assert_eq!(as_root(&bed, &["bootstrap", "gui/501", path]).code, Some(root));
    };
    fs::set_permissions(&plist, fs::Permissions::from_mode(0o664)).unwrap();
    both(5, 122);
    fs::write(&plist, "<plist><dict>").unwrap();
    fs::set_permissions(&plist, fs::Permissions::from_mode(0o644)).unwrap();
    both(5, 109);
    fs::remove_file(&plist).unwrap();
    both(5, 2);
}

/// Chapter 2: 109, 110 and 111 for root, 5 for everybody else.
#[test]
fn a_plist_that_is_no_job_says_which_part_is_missing_to_root() {
    let bed = bed_of_501();
    let path = bed.agent_path(LABEL);
    let check = |body: &str, code: i32, text: &str| {
        let xml = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><plist version=\"1.0\"><dict>";
        fs::write(&path, format!("{xml}{body}</dict></plist>")).unwrap();
        let arguments = ["bootstrap", "gui/501", path.to_str().unwrap()];
        assert_eq!(bed.launchctl(&arguments), bootstrap_failed_5(), "{body}");
        let expected = refused(code, &format!("Bootstrap failed: {code}: {text}\n"));
        assert_eq!(as_root(&bed, &arguments), expected);
    };
    let program = "<key>Program</key><string>/bin/a</string>";
    check("<key>Label</key><integer>1</integer>", 109, "Invalid property list");
    check(program, 110, "Invalid or missing service identifier");
    let label = format!("<key>Label</key><string>{LABEL}</string>");
    check(&label, 111, "Invalid or missing Program/ProgramArguments");
    let background = "<key>LimitLoadToSessionType</key><string>Background</string>";
    check(
        &format!("{label}{program}{background}"),
        134,
        "Service cannot load in requested session",
    );
}

/// Chapter 4: a regular file, owned by the user or root [C].
#[test]
fn a_plist_of_somebody_else_or_that_is_no_file_does_not_load() {
    let bed = bed_of_501();
    let folder = bed.path("folder.plist");
    fs::create_dir(&folder).unwrap();
    let arguments = ["bootstrap", "gui/501", folder.to_str().unwrap()];
    assert_eq!(as_root(&bed, &arguments).code, Some(122));
    // Only root can give a file away.
    if rustix::process::getuid().is_root() {
        let plist = bed.agent(LABEL, FOREVER, "");
        std::os::unix::fs::chown(&plist, Some(77_777), None).unwrap();
        let arguments = ["bootstrap", "gui/501", plist.to_str().unwrap()];
        assert_eq!(bed.launchctl(&arguments), bootstrap_failed_5());
        assert_eq!(as_root(&bed, &arguments).code, Some(122));
    }
}
