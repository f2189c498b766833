//! `nixfleet-switch doctor`, with the programs that users run, on a Mac with a simulated launchd: one thing after the
//! other is broken, the doctor names it and nothing else, and what it says mends it.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is a failure with its place")]

mod doctor_support;

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    process::Stdio,
    time::{Duration, Instant, SystemTime},
};

use jiff::Timestamp;
use nixfleet_protocol::{
    installed,
    journal::{
        atomic,
        lock::{Holder, Lock},
        records::{DashboardContact, Initiator, RunningProgram, SwitchId},
    },
    operation::Operation,
    process::ProcessIdentity,
    switch_kind::SwitchKind,
};
use nixfleet_tests::{
    launchd::{Control, Fault, JobEvent, command::VerbName},
    stage::{
        dashboard::Dashboard,
        folder::HOST,
        linux::{self, Linux},
        mac::LABEL,
        not_run, processes,
    },
};
use rustix::process::Signal;

use doctor_support::{Patient, plist, report, until};

/// One look of the doctor at launchd.
const CALLS_OF_LAUNCHCTL: usize = 4;

const ENSURE: &str = "nixfleet-switch ensure-agent";

#[test]
fn a_mac_that_is_well_is_left_as_it_is() {
    let patient = Patient::well();
    let calls = patient.mac.launchd.calls().unwrap().len();
    let agent = patient.agent_pid();
    let report = patient.assert_found(&[]);
    for id in ["agent-running", "agent-definition", "watchdog-running", "login-items"] {
        assert_eq!(report.finding(id).severity, "ok");
    }
    let made = patient.mac.launchd.calls().unwrap().split_off(calls);
    assert_eq!(made.len(), CALLS_OF_LAUNCHCTL);
    let verbs: BTreeSet<String> = made.iter().map(|call| call.verb().to_owned()).collect();
    assert_eq!(verbs, ["print", "print-disabled"].map(str::to_owned).into());
    assert_eq!(patient.agent_pid(), agent);
    assert_eq!(patient.folder().home_manager_runs(), 0);

    let output = patient.doctor().output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0));
    assert!(text.contains("  ok      the agent runs"), "{text}");
    assert!(text.contains("Nothing needs attention."), "{text}");
    assert!(!text.contains('\u{1b}'), "{text}");
    patient.end();
}

#[test]
fn a_host_that_has_nothing_yet_gets_nothing() {
    let patient = Patient::well();
    let empty = patient.folder().path("empty");
    fs::create_dir_all(&empty).unwrap();
    let mut doctor = patient.doctor();
    doctor.env("HOME", &empty).env("NIXFLEET_STATE_DIR", empty.join("state"));
    doctor.env("NIXFLEET_AGENT_PLIST", empty.join("x.plist")).env("NIXFLEET_AGENT_LABEL", "x");
    let report = report(&mut doctor);
    report.assert_found(&[]);
    assert_eq!(report.finding("state-directory-missing").severity, "info");
    assert_eq!(report.finding("agent-not-installed").severity, "info");
    assert_eq!(fs::read_dir(&empty).unwrap().count(), 0);
    patient.end();
}

#[test]
fn a_label_that_was_booted_out() {
    let patient = Patient::well();
    let agent = patient.agent_pid();
    patient.launchctl(&["bootout", &patient.target()]);
    patient.wait_until_gone(agent);
    let report = patient.assert_found(&[("agent-label-missing", "error")]);
    assert_eq!(report.finding("login-items").severity, "unknown");

    let output = patient.doctor().output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1));
    assert!(text.starts_with("Agent\n  fail    launchd does not know"), "{text}");
    assert!(text.contains(&format!("\n            $ {ENSURE}\n")), "{text}");
    patient.mend(&report);
    patient.end();
}

#[test]
fn a_label_that_is_disabled() {
    let patient = Patient::well();
    patient.launchctl(&["disable", &patient.target()]);
    patient.mend(&patient.assert_found(&[("agent-disabled", "error")]));

    patient.mac.launchd.control(Control::Disable("com.nixfleet.watchdog".to_owned())).unwrap();
    patient.assert_found(&[("watchdog-disabled", "warning")]);
    patient.end();
}

#[test]
fn a_plist_that_changes_under_a_loaded_job() {
    let patient = Patient::well();
    let healing = patient.keep_everybody_from_healing();
    fs::copy(patient.mac.new_plist(2).unwrap(), plist(&patient)).unwrap();
    let by_file = patient.assert_found(&[("agent-definition-differs", "warning")]);
    drop(healing);
    patient.mend(&by_file);

    let healing = patient.keep_everybody_from_healing();
    let agent = patient.freeze_agent();
    let text = fs::read_to_string(plist(&patient)).unwrap();
    let other = text
        .replace("<string>run</string>", "<string>--log-level=info</string><string>run</string>");
    assert_ne!(text, other);
    fs::write(plist(&patient), other).unwrap();
    let by_arguments = patient.assert_found(&[("agent-definition-differs", "warning")]);
    processes::signal(agent, Signal::CONT);
    drop(healing);
    patient.mend(&by_arguments);
    patient.end();
}

#[test]
fn a_plist_that_is_none_or_somebody_else_s() {
    let patient = Patient::well();
    let healing = patient.keep_everybody_from_healing();
    let good = fs::read_to_string(plist(&patient)).unwrap();
    for (text, expected) in [
        ("not a plist".to_owned(), "cannot be used"),
        (good.replace(LABEL, "com.example.other"), "com.example.other"),
        (String::new(), "cannot be used"),
    ] {
        fs::write(plist(&patient), text).unwrap();
        let report = patient.assert_found(&[("agent-plist-unusable", "error")]);
        let summary = &report.finding("agent-plist-unusable").summary;
        assert!(summary.contains(expected), "{summary}");
    }
    fs::remove_file(plist(&patient)).unwrap();
    let report = patient.assert_found(&[("agent-not-installed", "error")]);
    drop(healing);
    // What mends it is a switch: home-manager writes the file and loads it.
    patient.mac.next_switch_replaces_the_agent(3, "").unwrap();
    patient.mend(&report);
    patient.end();
}

#[test]
fn a_plist_that_launchd_would_not_take() {
    let patient = Patient::well();
    let path = plist(&patient);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    patient.mend(&patient.assert_found(&[("agent-plist-wrong-mode", "error")]));

    let real = patient.folder().path("real.plist");
    fs::rename(&path, &real).unwrap();
    symlink(&real, &path).unwrap();
    patient.mend(&patient.assert_found(&[("agent-plist-is-link", "warning")]));
    assert!(!path.is_symlink());

    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&path, Some(12345), None).unwrap();
        patient.assert_found(&[("agent-plist-wrong-owner", "error")]);
    } else {
        not_run("a plist of somebody else: only root can make one");
    }
    patient.end();
}

#[test]
fn a_program_that_is_gone_or_another() {
    let patient = Patient::well();
    let agent = patient.freeze_agent();
    let link = patient.folder().path("bin/nixfleet-agent");
    let program = fs::read_link(&link).unwrap();
    fs::remove_file(&link).unwrap();
    patient.assert_found(&[("agent-program-missing", "error")]);

    let other = patient.folder().path("other-agent");
    fs::copy(&program, &other).unwrap();
    symlink(&other, &link).unwrap();
    let report = patient.assert_found(&[("agent-outdated", "warning")]);
    processes::signal(agent, Signal::CONT);
    patient.mend(&report);
    patient.end();
}

#[test]
fn a_start_that_launchd_has_put_off() {
    let patient = Patient::well();
    let agent = patient.agent_pid();
    let healing = patient.keep_everybody_from_healing();
    patient.mac.launchd.control(Control::OnDemandCount(1)).unwrap();
    let report = patient.assert_found(&[]);
    assert_eq!(report.finding("domain-on-demand-only").severity, "info");
    processes::signal(agent, Signal::KILL);
    until("the start is put off", || {
        let records = patient.mac.launchd.job_records(LABEL)?;
        Ok(records.iter().any(|record| matches!(record.event, JobEvent::Pended { .. })))
    });
    let report = patient
        .assert_found(&[("domain-on-demand-only", "warning"), ("agent-spawn-pended", "error")]);
    drop(healing);
    patient.mend(&report);
    patient.end();
}

#[test]
fn nobody_is_logged_in() {
    let patient = Patient::well();
    let agent = patient.agent_pid();
    patient.mac.launchd.control(Control::Logout).unwrap();
    patient.wait_until_gone(agent);
    patient.assert_found(&[("no-gui-session", "error")]);
    patient.mac.launchd.control(Control::Login).unwrap();
    patient.wait_until_well();
    patient.end();
}

#[test]
fn a_launchctl_that_is_no_help_is_named() {
    let patient = Patient::well();
    let mut doctor = patient.doctor();
    report(doctor.env("NIXFLEET_LAUNCHCTL", "/nonexistent/launchctl"))
        .assert_found(&[("launchctl-silent", "error")]);

    let answers = |output: &str| Fault {
        output: Some(output.to_owned()),
        ..Fault::on(VerbName::Print).code(0)
    };
    let french = "gui/501/com.nixfleet.agent = {\n\tétat = en cours\n}\n";
    let endless = "x".repeat(3_000_000);
    for fault in [
        answers("garbled\u{1b}[2J\n"),
        answers(""),
        answers(french),
        answers(&endless),
        Fault::on(VerbName::Print).code(64),
        Fault::on(VerbName::PrintDisabled).code(64),
        Fault { output: Some("rien\n".to_owned()), ..Fault::on(VerbName::PrintDisabled).code(0) },
    ] {
        patient.mac.launchd.set_faults(&[fault]).unwrap();
        patient.assert_found(&[("launchctl-not-understood", "warning")]);
    }

    patient
        .mac
        .launchd
        .set_faults(&[Fault { hang_seconds: 120.0, ..Fault::on(VerbName::Print) }])
        .unwrap();
    let began = Instant::now();
    let report = patient.assert_found(&[("launchctl-silent", "error")]);
    // One call is waited for, not all of them.
    assert!(began.elapsed() < Duration::from_secs(16), "{:?}", began.elapsed());
    assert_eq!(report.finding("agent-running").severity, "ok");
    patient.mac.launchd.set_faults(&[]).unwrap();
    patient.wait_until_well();
    patient.end();
}

#[test]
fn a_lock_that_names_the_dead() {
    let patient = Patient::well();
    let mut lock = Lock::take(&patient.state().switch_lock()).unwrap();
    let process = ProcessIdentity { pid: patient.agent_pid(), start: "another".to_owned() };
    let holder = Holder {
        process,
        switch: SwitchId::generate(),
        initiator: Initiator::User,
        operation: Operation::default(),
        kind: SwitchKind::default(),
        argv: Vec::new(),
        since: Timestamp::now(),
    };
    lock.name_holder(&holder).unwrap();
    patient.assert_found(&[("switch-lock-unclear", "warning")]);
    drop(lock);
    patient.mend(&patient.assert_found(&[("switch-lock-stale", "warning")]));
    patient.end();
}

#[test]
fn a_home_manager_whose_wrapper_was_killed() {
    let patient = Patient::well();
    patient.folder().scenario("RELEASE=25.11\nBUILD_SECONDS=120").unwrap();
    let mut wrapper =
        patient.folder().user_command("nixfleet-switch").stdout(Stdio::null()).spawn().unwrap();
    until("home-manager builds", || {
        Ok(patient.folder().home_manager_trace().iter().any(|(_, step)| step.starts_with("build")))
    });
    let report = patient.assert_found(&[]);
    assert_eq!(report.finding("switch-running").severity, "info");
    wrapper.kill().unwrap();
    wrapper.wait().unwrap();
    let report = patient
        .assert_found(&[("switch-lock-stale", "warning"), ("home-manager-orphaned", "warning")]);
    patient.mend(&report);
    patient.end();
}

#[test]
fn results_that_the_dashboard_was_not_told() {
    let mut patient = Patient::well();
    patient.dashboard.kill();
    patient.write_switch(HOST, Duration::from_mins(10), false);
    let report = patient.report();
    let unsent = report.finding("results-unsent");
    assert_eq!(unsent.severity, "warning", "{report:#?}");
    assert!(unsent.summary.contains("1 result ("), "{}", unsent.summary);
    assert_eq!(report.code, Some(1));
    patient.dashboard.go_up().unwrap();
    patient.wait_until_well();
    patient.end();
}

#[test]
fn an_activation_that_was_cut() {
    let patient = Patient::well();
    let switch = || patient.folder().user_command("nixfleet-switch").output().unwrap();
    let output = switch();
    assert!(output.status.success(), "{output:?}");
    patient.folder().scenario("RELEASE=25.11\nFAIL_AT=after-bootstrap").unwrap();
    assert_eq!(switch().status.code(), Some(1));
    let report = patient.assert_found(&[("activation-incomplete", "warning")]);
    patient.folder().scenario("RELEASE=25.11").unwrap();
    patient.mend(&report);
    patient.end();
}

#[test]
fn a_dashboard_that_does_not_want_the_agent() {
    let patient = Patient::well();
    let agent = patient.freeze_agent();
    let failing = |http_status, minutes: u64| DashboardContact {
        failing_since: Some(Timestamp::now() - Duration::from_mins(minutes)),
        http_status,
        failure: Some("the dashboard says \"Invalid token\"".to_owned()),
        ..DashboardContact::default()
    };
    patient.write_contact(failing(Some(401), 0));
    let report = patient.assert_found(&[("dashboard-token-rejected", "error")]);
    let summary = &report.finding("dashboard-token-rejected").summary;
    assert!(summary.contains("HTTP 401") && summary.contains("Invalid token"), "{summary}");
    patient.write_contact(failing(None, 10));
    patient.assert_found(&[("dashboard-unreachable", "warning")]);
    patient.write_contact(DashboardContact {
        clock_ahead_seconds: Some(-7200),
        ..DashboardContact::default()
    });
    let report = patient.assert_found(&[("clock-wrong", "warning")]);
    assert!(report.finding("clock-wrong").summary.contains("2h behind"));
    processes::signal(agent, Signal::CONT);
    patient.end();
}

#[test]
fn an_agent_that_does_not_react() {
    let patient = Patient::well();
    patient.freeze_agent();
    // Up for an hour, and for five minutes without a sign of life.
    let record = patient.folder().agent_record().unwrap().unwrap();
    let started_at = record.started_at - Duration::from_hours(1);
    let record = RunningProgram { started_at, ..record };
    atomic::replace(&patient.state().agent_record(), &record).unwrap();
    let lock = fs::File::open(patient.state().agent_lock()).unwrap();
    let stamp = |ago| lock.set_modified(SystemTime::now() - ago).unwrap();
    stamp(Duration::from_mins(5));
    let report = patient.assert_found(&[("agent-stuck", "error")]);

    // One that has only slept gives a sign during the second look.
    stamp(Duration::from_mins(5));
    let calls = patient.mac.launchd.calls().unwrap().len();
    let doctor = patient.doctor().arg("--json").stdout(Stdio::piped()).spawn().unwrap();
    until("the doctor is done with launchd", || {
        Ok(patient.mac.launchd.calls()?.len() >= calls + CALLS_OF_LAUNCHCTL)
    });
    stamp(Duration::ZERO);
    let output = doctor.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    patient.mend(&report);
    patient.end();
}

#[test]
fn a_watchdog_and_a_wrapper_that_are_not_there() {
    let mut patient = Patient::well();
    patient.folder().scenario("RELEASE=master").unwrap();
    patient.watchdog = None;
    patient.assert_found(&[("watchdog-not-running", "warning")]);
    fs::remove_file(patient.folder().path("watchdog.definition")).unwrap();
    patient.assert_found(&[("watchdog-definition-missing", "warning")]);
    let wrapper = installed::stable_wrapper(&patient.folder().home());
    fs::remove_file(&wrapper).unwrap();
    symlink("/nix/store/gone/bin/nixfleet-switch", &wrapper).unwrap();
    fs::remove_file(patient.state().installation()).unwrap();
    patient
        .assert_found(&[("watchdog-not-installed", "warning"), ("wrapper-link-broken", "warning")]);
    fs::remove_file(&wrapper).unwrap();
    patient.folder().scenario("RELEASE=25.11").unwrap();
    patient.assert_found(&[
        ("watchdog-not-installed", "warning"),
        ("wrapper-not-installed", "warning"),
        ("home-manager-known-bug", "warning"),
    ]);
    patient.end();
}

#[test]
fn a_state_directory_that_is_not_as_it_should_be() {
    let patient = Patient::well();
    let state = patient.folder().state_dir();
    fs::set_permissions(&state, fs::Permissions::from_mode(0o755)).unwrap();
    patient.mend(&patient.assert_found(&[("state-directory-open", "warning")]));

    fs::write(patient.state().watchdog_record(), "{").unwrap();
    patient.mend(&patient.assert_found(&[("journal-unreadable", "warning")]));

    patient.write_switch("another-mac.local", Duration::from_mins(1), true);
    patient.assert_found(&[("state-directory-foreign", "warning")]);
    patient.write_switch(HOST, Duration::from_mins(1), true);
    patient.assert_found(&[]);

    let file = patient.folder().write("file", "").unwrap();
    let mut doctor = patient.doctor();
    let report = report(doctor.env("NIXFLEET_STATE_DIR", &file));
    assert_eq!(report.finding("state-directory-unusable").severity, "error");
    patient.end();
}

#[test]
fn a_config_that_makes_no_sense_does_not_end_the_look() {
    let patient = Patient::well();
    for text in ["interval = \"soon\"", "nonsense", "\u{0}"] {
        let path = patient.folder().write("bad.toml", text).unwrap();
        let mut doctor = patient.doctor();
        let report = report(doctor.env("NIXFLEET_CONFIG", &path));
        let finding = report.finding("configuration-unusable");
        assert!(finding.summary.contains("bad.toml"), "{}", finding.summary);
        assert_eq!(report.code, Some(1));
        assert!(report.findings.len() > 4, "{report:#?}");
    }
    let mut doctor = patient.doctor();
    let report = report(doctor.env("NIXFLEET_SERVICE_MANAGER", "sysvinit"));
    report.assert_found(&[("configuration-unusable", "error")]);
    patient.end();
}

#[test]
fn under_a_real_systemd() {
    if let Some(missing) = linux::missing() {
        not_run(&format!("no user manager can run here: {missing}"));
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let dashboard = Dashboard::start(&place.path().join("dashboard")).unwrap();
    let linux = Linux::new(dashboard.url()).unwrap();
    let root = linux.folder.root().to_owned();
    linux.wait_for_agent(None).unwrap();
    let look = || {
        let mut doctor = linux.user_command("nixfleet-switch");
        report(doctor.arg("doctor"))
    };
    let about_the_unit = |id: &str| {
        let report = look();
        let found = report.findings.iter().any(|finding| finding.id == id);
        assert!(found, "there is no {id}: {report:#?}");
    };
    about_the_unit("agent-running");
    linux.systemctl(&["stop", linux::UNIT]).unwrap();
    about_the_unit("agent-not-running");
    let unit = linux.folder.path(&format!("home/.config/systemd/user/{}", linux::UNIT));
    fs::remove_file(&unit).unwrap();
    symlink("/dev/null", &unit).unwrap();
    linux.systemctl(&["daemon-reload"]).unwrap();
    about_the_unit("unit-masked");
    drop(linux);
    processes::none_left(&root, Duration::from_secs(20)).unwrap();
}
