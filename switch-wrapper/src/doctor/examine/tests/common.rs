//! What is found of everything but the service manager.

use jiff::SignedDuration;
use nixfleet_protocol::{
    journal::{
        lock::Holder,
        records::{DashboardContact, Initiator, SwitchId},
    },
    lifecycle::Phase,
};

use super::*;
use crate::doctor::observations::{
    BrokenFile, Misconfigured, NewestSwitch, OpenSwitch, SwitchLock, Unsent,
};

fn ago(seconds: i64) -> Timestamp {
    now() - SignedDuration::from_secs(seconds)
}

fn with(change: impl FnOnce(&mut Host)) -> Host {
    let mut host = mac();
    change(&mut host);
    host
}

fn journal(change: impl FnOnce(&mut JournalView)) -> Host {
    with(|host| change(host.journal.as_mut().unwrap()))
}

fn contact(contact: DashboardContact) -> Host {
    with(|host| {
        host.agent.record =
            Found::Present(RunningProgram { dashboard: Some(contact), ..program() });
    })
}

#[test]
fn a_configuration_that_makes_no_sense() {
    let wrong = |file| Misconfigured { why: "line 3".to_owned(), file };
    let seen = |configuration, host| Observations { now: now(), configuration, host };
    let findings = examine(&seen(Err(wrong(Some(PathBuf::from("/c d.toml")))), Some(mac())));
    assert_eq!(remedy(&findings, "configuration-unusable"), ["${EDITOR:-vi} '/c d.toml'"]);
    assert!(findings.len() > 5, "the rest is looked at: {findings:#?}");
    let findings = examine(&seen(Err(wrong(None)), None));
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].severity, Severity::Error);
}

#[test]
fn a_home_of_somebody_else() {
    for (home_owner, expected) in [(Some(502), true), (Some(0), false), (None, false)] {
        let host = with(|host| {
            host.names.home_owner = home_owner;
            host.wrapper = Installed::Absent(PathBuf::from("/bin/nixfleet-switch"));
        });
        let id = if expected { "wrong-user" } else { "wrapper-not-installed" };
        let severity = if expected { Severity::Error } else { Severity::Warning };
        check("home", host, &[(id, severity)]);
    }
}

#[test]
fn a_dashboard_that_the_agent_does_not_get_on_with() {
    let failing = |seconds, http_status| DashboardContact {
        failing_since: Some(ago(seconds)),
        http_status,
        failure: Some("no".to_owned()),
        ..DashboardContact::default()
    };
    for (seconds, status, expected, severity) in [
        (5, Some(401), "dashboard-token-rejected", Severity::Error),
        (5, Some(403), "dashboard-token-rejected", Severity::Error),
        (5, None, "dashboard-unreachable", Severity::Info),
        (500, None, "dashboard-unreachable", Severity::Warning),
        (500, Some(503), "dashboard-unreachable", Severity::Warning),
        // A failure from the future: the clock was set back.
        (-500, None, "dashboard-unreachable", Severity::Warning),
    ] {
        check(expected, contact(failing(seconds, status)), &[(expected, severity)]);
    }
    for (ahead, expected) in
        [(60, None), (61, Some("ahead of")), (-60, None), (-3600, Some("behind"))]
    {
        let host = contact(DashboardContact {
            clock_ahead_seconds: Some(ahead),
            ..DashboardContact::default()
        });
        let wrong = [("clock-wrong", Severity::Warning)];
        let found = check("clock", host, if expected.is_some() { &wrong } else { &[] });
        let way = expected.unwrap_or_default();
        assert!(found.iter().any(|finding| finding.summary.contains(way)), "{found:#?}");
    }
    let says_nothing = with(|host| {
        host.agent.record = Found::Present(RunningProgram { dashboard: None, ..program() });
    });
    check("an agent that says nothing", says_nothing, &[("dashboard-unknown", Severity::Unknown)]);
}

#[test]
fn a_watchdog_that_does_not_watch() {
    let watchdog = |change: fn(&mut Watchdog)| with(|host| change(&mut host.watchdog));
    for (host, expected) in [
        (watchdog(|dog| dog.installation = Found::Absent), "watchdog-not-installed"),
        (watchdog(|dog| dog.is_running = Some(false)), "watchdog-not-running"),
        (watchdog(|dog| dog.has_definition = false), "watchdog-definition-missing"),
    ] {
        let found = check(expected, host, &[(expected, Severity::Warning)]);
        assert_eq!(remedy(&found, expected), ["nixfleet-switch install"]);
    }
    let unclear = watchdog(|dog| dog.is_running = None);
    check("unclear", unclear, &[("watchdog-not-running", Severity::Unknown)]);
    let disabled = with(|host| {
        let Service::Launchd(launchd) = &mut host.service else { panic!() };
        launchd.disabled = Ok(["com.nixfleet.watchdog".to_owned()].into());
    });
    check("disabled", disabled, &[("watchdog-disabled", Severity::Warning)]);
    let path = PathBuf::from("/bin/nixfleet-switch");
    let absent = with(|host| host.wrapper = Installed::Absent(path.clone()));
    check("no wrapper", absent, &[("wrapper-not-installed", Severity::Warning)]);
    let target = PathBuf::from("/nix/store/gone");
    let broken = with(|host| host.wrapper = Installed::LeadsNowhere { path, target });
    check("broken link", broken, &[("wrapper-link-broken", Severity::Warning)]);
}

#[test]
fn what_switches_have_left() {
    let holder = || {
        Box::new(Holder {
            process: ProcessIdentity { pid: 5, start: "1".to_owned() },
            switch: SwitchId::generate(),
            initiator: Initiator::User,
            operation: nixfleet_protocol::operation::Operation::default(),
            kind: SwitchKind::HomeManager,
            argv: Vec::new(),
            since: now(),
        })
    };
    for (lock, expected, severity) in [
        (SwitchLock::Held(holder()), "switch-running", Severity::Info),
        (SwitchLock::Stale(holder()), "switch-lock-stale", Severity::Warning),
        (SwitchLock::HeldByStranger, "switch-lock-unclear", Severity::Warning),
        (SwitchLock::Unusable("a folder".to_owned()), "switch-lock-unclear", Severity::Error),
    ] {
        check(expected, journal(|journal| journal.lock = lock), &[(expected, severity)]);
    }
    for (phase, seconds, expected) in [
        (Phase::Orphaned, 1, Some("home-manager-orphaned")),
        (Phase::Remains, 1, Some("home-manager-orphaned")),
        (Phase::Interrupted, 1, Some("switch-left-open")),
        (Phase::Accepted, 59, None),
        (Phase::Accepted, 61, Some("switch-left-open")),
        (Phase::Running, 9999, None),
    ] {
        let (id, since) = (SwitchId::generate(), Some(ago(seconds)));
        let open = OpenSwitch { id, phase, child: Some(9), since };
        let expected: Vec<_> = expected.map(|id| (id, Severity::Warning)).into_iter().collect();
        check(phase.as_str(), journal(|journal| journal.open = vec![open]), &expected);
    }
    let cut = with(|host| host.activation = Activation::Incomplete);
    check("cut", cut.clone(), &[("activation-incomplete", Severity::Warning)]);
    let mut under_way = cut;
    under_way.journal.as_mut().unwrap().lock = SwitchLock::Held(holder());
    check("under way", under_way, &[("switch-running", Severity::Info)]);
}

#[test]
fn what_the_dashboard_was_not_told() {
    let unsent = |seconds: Option<i64>| {
        let since = seconds.map(ago);
        journal(|journal| {
            journal.unsent = Unsent { results: 1, healings: 2, answers: 0, since };
        })
    };
    for (seconds, severity) in [
        (Some(10), Severity::Info),
        (Some(400), Severity::Warning),
        (Some(-400), Severity::Warning),
        (None, Severity::Warning),
    ] {
        let found = check("unsent", unsent(seconds), &[("results-unsent", severity)]);
        let summary = &found.iter().find(|f| f.id.as_str() == "results-unsent").unwrap().summary;
        assert!(summary.contains("1 result, 2 healings ("), "{summary}");
    }
}

#[test]
fn switching_again_is_the_last_switch_once_more() {
    let newest = NewestSwitch {
        argv: vec!["--flake".to_owned(), ".#me@laptop".to_owned()],
        cwd: PathBuf::from("/Users/me/nix cfg"),
        host: "laptop".to_owned(),
        is_of_this_boot: Some(false),
    };
    let mut cut = journal(|journal| journal.newest = Some(newest));
    cut.activation = Activation::Incomplete;
    let found = check("cut", cut, &[("activation-incomplete", Severity::Warning)]);
    assert_eq!(
        remedy(&found, "activation-incomplete"),
        ["cd '/Users/me/nix cfg' && nixfleet-switch --flake '.#me@laptop'"]
    );
}

#[test]
fn a_state_directory_that_is_not_as_it_should_be() {
    let state = |entry, free_bytes| with(|host| host.state = State::There { entry, free_bytes });
    let open = state(entry(0o755), None);
    check("open", open, &[("state-directory-open", Severity::Warning)]);
    let other = Entry { owner: 0, is_writable: false, ..entry(0o700) };
    check("other's", state(other, None), &[("state-directory-wrong-owner", Severity::Error)]);
    let closed = Entry { is_writable: false, ..entry(0o500) };
    check("closed", state(closed, None), &[("state-directory-unusable", Severity::Error)]);
    let full = state(entry(0o700), Some(1024 * 1024));
    check("full", full, &[("disk-nearly-full", Severity::Warning)]);
    let file = with(|host| host.state = State::Unusable("a file".to_owned()));
    let found = check("file", file, &[("state-directory-unusable", Severity::Error)]);
    assert!(remedy(&found, "state-directory-unusable")[0].starts_with("mv /home/me/"));
    let trouble = journal(|journal| journal.trouble = Some("denied".to_owned()));
    check("trouble", trouble, &[("state-directory-unusable", Severity::Error)]);
}

#[test]
fn files_that_cannot_be_read_and_a_copied_state_directory() {
    let broken = |is_too_new| BrokenFile {
        path: PathBuf::from("/s/x.json"),
        why: "why".to_owned(),
        is_too_new,
    };
    let unreadable = ("journal-unreadable", Severity::Warning);
    let garbage = journal(|journal| journal.broken = vec![broken(false), broken(false)]);
    let found = check("garbage", garbage, &[unreadable]);
    assert_eq!(remedy(&found, "journal-unreadable")[0], "mv /s/x.json /s/x.json.unreadable");
    let later = journal(|journal| journal.broken = vec![broken(true), broken(false)]);
    check("both kinds", later, &[unreadable, unreadable]);

    let foreign = [("state-directory-foreign", Severity::Warning)];
    for (host, is_of_this_boot, is_said) in [
        ("laptop", None, false),
        ("LAPTOP.fritz.box", Some(false), false),
        ("tower", Some(true), false),
        ("tower", Some(false), true),
        ("tower", None, true),
    ] {
        let newest = NewestSwitch {
            argv: Vec::new(),
            cwd: PathBuf::from("/"),
            host: host.to_owned(),
            is_of_this_boot,
        };
        let host = journal(|journal| journal.newest = Some(newest));
        check("another host", host, if is_said { &foreign } else { &[] });
    }
}

#[test]
fn a_home_manager_that_is_no_help() {
    for (home_manager, expected, severity) in [
        (
            HomeManager::NotUsed(SwitchKind::NixosRebuild, Err("x".to_owned())),
            "switch-program-missing",
            Severity::Error,
        ),
        (HomeManager::Missing("x".to_owned()), "home-manager-missing", Severity::Error),
        (HomeManager::Silent("x".to_owned()), "home-manager-silent", Severity::Warning),
        (HomeManager::Unnamed("x".to_owned()), "home-manager-silent", Severity::Unknown),
    ] {
        let host = with(|host| host.home_manager = home_manager);
        check(expected, host, &[(expected, severity)]);
    }
}
