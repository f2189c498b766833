//! S5: real processes, their groups and their environment (chapter 4).

use std::{fs, thread, time::Duration};

use nixfleet_tests::launchd::JobEvent;
use rustix::process::{Signal, getpgid, getsid, kill_process};

use crate::common::{
    Bed, FOREVER, LABEL, RUN_AT_LOAD, events, lives, pid_in, pid_of, silent, spawned, start,
    wait_until,
};

/// Chapter 4: "one SIGTERM to its process group", no SIGKILL [C A842 job_reap; idx 57817695081
/// measured on 15].
#[test]
fn the_group_gets_one_sigterm_and_who_left_it_lives_on() {
    let bed = Bed::new();
    let script = "sleep 300 & echo $! > member; \
                  (trap '' TERM; sleep 300 & echo $! > stubborn; wait) & \
                  set -m; sleep 300 & echo $! > departed; set +m; while :; do sleep 0.05; done";
    let main = start(&bed, script, RUN_AT_LOAD);
    let [member, stubborn, departed] =
        ["member", "stubborn", "departed"].map(|file| pid_in(&bed, file));
    assert_eq!(getpgid(Some(main)).unwrap(), main);
    assert_eq!(getpgid(Some(member)).unwrap(), main);
    assert_ne!(getpgid(Some(departed)).unwrap(), main);
    bed.launchctl(&["bootout", &bed.target(LABEL)]);
    bed.wait_until_gone(LABEL);
    wait_until("the member ends", || !lives(member));
    assert!(lives(stubborn), "the group is never killed");
    assert!(lives(departed), "another group is not touched");
    bed.simulation.stop();
    wait_until("the simulation leaves nothing in its groups", || !lives(stubborn));
    kill_process(departed, Signal::KILL).unwrap();
}

/// Chapter 4: "unless AbandonProcessGroup" [C A842].
#[test]
fn an_abandoned_group_is_left_alone() {
    let bed = Bed::new();
    let keys = format!("{RUN_AT_LOAD}<key>AbandonProcessGroup</key><true/>");
    start(&bed, &format!("sleep 300 & echo $! > member; {FOREVER}"), &keys);
    let member = pid_in(&bed, "member");
    bed.launchctl(&["bootout", &bed.target(LABEL)]);
    bed.wait_until_gone(LABEL);
    assert!(lives(member));
    assert!(!events(&bed).iter().any(|event| matches!(event, JobEvent::GroupSignalled { .. })));
}

/// Chapter 5.2, self-kill [C hermes-agent#43842]; H3, F6.
#[test]
fn a_caller_inside_the_group_dies_with_it() {
    let bed = Bed::new();
    let target = bed.target(LABEL);
    let script = format!(
        "(until [ -e go ]; do sleep 0.02; done; bin/launchctl bootout {target}; sleep 1; \
         touch survived) & wait; sleep 300"
    );
    start(&bed, &script, RUN_AT_LOAD);
    fs::write(bed.path("go"), "").unwrap();
    bed.wait_until_gone(LABEL);
    let processes = || {
        let group = spawned(&bed)[0];
        rustix::process::test_kill_process_group(group).is_ok()
    };
    wait_until("the group is empty", || !processes());
    assert!(!bed.path("survived").exists());
}

/// Chapters 4, 9: PATH and XPC_SERVICE_NAME; launchd makes missing log folders [C, L].
#[test]
fn a_job_has_a_bare_environment_and_what_its_plist_says() {
    let bed = Bed::with(|options| options.user = None);
    let out = bed.path("logs/deep/out");
    let keys = format!(
        "{RUN_AT_LOAD}<key>StandardOutPath</key><string>{}</string>\
         <key>StandardErrorPath</key><string>{}</string>\
         <key>EnvironmentVariables</key><dict><key>OWN</key><string>value</string></dict>",
        out.display(),
        bed.path("err").display(),
    );
    assert_eq!(bed.bootstrap(&bed.agent(LABEL, "env; pwd; echo oops >&2", &keys)), silent(0));
    bed.wait_for_field(LABEL, "last exit code", "0");
    let text = fs::read_to_string(out).unwrap();
    let has = |line: String| assert!(text.lines().any(|have| have == line), "{line}: {text}");
    has("PATH=/usr/bin:/bin:/usr/sbin:/sbin".to_owned());
    has(format!("HOME={}", bed.options.home.display()));
    has(format!("XPC_SERVICE_NAME={LABEL}"));
    has("OWN=value".to_owned());
    has(format!("TMPDIR={}", bed.path("launchd/tmp").display()));
    has(bed.path("").canonicalize().unwrap().display().to_string());
    assert!(!text.contains("USER=") && !text.contains("CARGO"), "{text}");
    assert_eq!(fs::read_to_string(bed.path("err")).unwrap(), "oops\n");
}

/// "A child that called setsid() survives bootout" [C loom#5081]; F18. launchd-sim itself is a
/// program that calls it.
#[test]
fn a_child_with_a_session_of_its_own_survives() {
    let bed = Bed::new();
    let script = format!(
        "{} --dir inner --home home < /dev/null & echo $! > departed; {FOREVER}",
        bed.options.programs.launchd.display()
    );
    fs::create_dir(bed.path("inner")).unwrap();
    start(&bed, &script, RUN_AT_LOAD);
    let departed = pid_in(&bed, "departed");
    wait_until("it leads its session", || getsid(Some(departed)).ok() == Some(departed));
    bed.launchctl(&["bootout", &bed.target(LABEL)]);
    bed.wait_until_gone(LABEL);
    assert!(lives(departed));
    kill_process(departed, Signal::TERM).unwrap();
}

/// `kickstart -s`: suspended [C].
#[test]
fn a_suspended_start_has_a_pid_and_does_nothing_until_continued() {
    let bed = Bed::new();
    let target = bed.target(LABEL);
    assert_eq!(bed.bootstrap(&bed.agent(LABEL, "echo $0 $$ > out; exit 3", "")), silent(0));
    let pid = pid_of(&bed.launchctl(&["kickstart", "-s", "-p", &target]).stdout);
    assert_eq!(bed.field(LABEL, "state").unwrap(), "running");
    // Long enough for a program that runs to have written its line.
    thread::sleep(Duration::from_millis(200));
    assert!(!bed.path("out").exists() && lives(pid));
    assert_eq!(bed.launchctl(&["kill", "CONT", &target]), silent(0));
    bed.wait_for_field(LABEL, "last exit code", "3");
    let expected = format!("/bin/bash {}\n", pid.as_raw_nonzero());
    assert_eq!(fs::read_to_string(bed.path("out")).unwrap(), expected);
}
