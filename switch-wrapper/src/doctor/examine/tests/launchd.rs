//! What is found of a job under launchd.

use std::time::Duration;

use super::*;

/// A Mac of which this is not as it should be.
fn with(change: impl FnOnce(&mut Host, &mut Launchd)) -> Host {
    let mut host = mac();
    let Service::Launchd(launchd) = host.service.clone() else { panic!() };
    let mut launchd = *launchd;
    change(&mut host, &mut launchd);
    host.service = Service::Launchd(Box::new(launchd));
    host
}

fn not_loaded(host: &mut Host, launchd: &mut Launchd) {
    launchd.in_gui = look(JobView::NotLoaded);
    gone(&mut host.agent);
}

fn idle(host: &mut Host, launchd: &mut Launchd, change: impl FnOnce(&mut Job)) {
    let mut idle = job(None);
    change(&mut idle);
    launchd.in_gui = look(JobView::Loaded(idle));
    gone(&mut host.agent);
}

fn domains(launchd: &mut Launchd, domains: Domains) {
    launchd.plist.on_disk =
        OnDisk::Good(Definition { arguments: arguments(), domains, ..Definition::default() });
}

/// What is unknown wherever no agent runs as the job.
const UNKNOWN: [(&str, Severity); 2] =
    [("login-items", Severity::Unknown), ("dashboard-unknown", Severity::Unknown)];

#[track_caller]
fn check_dark(name: &str, host: Host, expected: &[(&str, Severity)]) -> Vec<Finding> {
    check(name, host, &[expected, &UNKNOWN].concat())
}

#[test]
fn a_label_that_is_not_loaded() {
    let found =
        check_dark("missing", with(not_loaded), &[("agent-label-missing", Severity::Error)]);
    assert_eq!(remedy(&found, "agent-label-missing"), ["nixfleet-switch ensure-agent"]);
    let disabled = with(|host, launchd| {
        not_loaded(host, launchd);
        launchd.disabled = Ok([LABEL.to_owned()].into());
    });
    let found = check_dark(
        "disabled and gone",
        disabled,
        &[("agent-disabled", Severity::Error), ("agent-label-missing", Severity::Error)],
    );
    assert_eq!(
        remedy(&found, "agent-disabled"),
        ["/bin/launchctl enable gui/501/com.nixfleet.agent", "nixfleet-switch ensure-agent"]
    );
    let uninstalled = with(|host, launchd| {
        not_loaded(host, launchd);
        launchd.plist.on_disk = OnDisk::Absent;
    });
    check_dark("gone with its file", uninstalled, &[("agent-not-installed", Severity::Error)]);
    let outside = with(|_, launchd| launchd.in_gui = look(JobView::NotLoaded));
    check(
        "an agent outside of launchd",
        outside,
        &[("agent-label-missing", Severity::Error), ("login-items", Severity::Unknown)],
    );
}

#[test]
fn where_there_never_was_an_agent_nothing_is_wrong() {
    let host = with(|host, launchd| {
        not_loaded(host, launchd);
        host.agent.record = Found::Absent;
        launchd.plist.on_disk = OnDisk::Absent;
        host.watchdog.installation = Found::Absent;
        host.wrapper = Installed::Absent(PathBuf::from("/bin/nixfleet-switch"));
        host.state = State::Missing;
    });
    check(
        "never",
        host,
        &[
            ("agent-not-installed", Severity::Info),
            ("watchdog-not-installed", Severity::Info),
            ("wrapper-not-installed", Severity::Info),
            ("state-directory-missing", Severity::Info),
        ],
    );
}

#[test]
fn a_session_that_is_not_there() {
    let logged_out = |host: &mut Host, launchd: &mut Launchd| {
        not_loaded(host, launchd);
        launchd.gui = Domain::Absent;
        launchd.in_gui = look(JobView::NoDomain);
    };
    let found = check_dark("logged out", with(logged_out), &[("no-gui-session", Severity::Error)]);
    assert!(remedy(&found, "no-gui-session").is_empty());
    let both = with(|host, launchd| {
        logged_out(host, launchd);
        domains(launchd, Domains::Both);
    });
    check_dark(
        "it could run in the background",
        both,
        &[("no-gui-session", Severity::Info), ("agent-label-missing", Severity::Error)],
    );
    let background = with(|_, launchd| {
        launchd.gui = Domain::Absent;
        launchd.in_user = std::mem::replace(&mut launchd.in_gui, look(JobView::NoDomain));
        domains(launchd, Domains::User);
    });
    check("it runs in the background", background, &[("no-gui-session", Severity::Info)]);
}

#[test]
fn a_job_in_the_wrong_domain() {
    let moved = |launchd: &mut Launchd| {
        launchd.in_user = std::mem::replace(&mut launchd.in_gui, look(JobView::NotLoaded));
    };
    let wrong = [("agent-wrong-domain", Severity::Error)];
    check("user for gui", with(|_, launchd| moved(launchd)), &wrong);
    check("gui for user", with(|_, launchd| domains(launchd, Domains::User)), &wrong);
    check("twice", with(|_, launchd| launchd.in_user = launchd.in_gui.clone()), &wrong);
    let allowed = with(|_, launchd| {
        moved(launchd);
        domains(launchd, Domains::Both);
    });
    check("either will do", allowed, &[]);
}

#[test]
fn a_job_that_is_loaded_and_not_well() {
    check_dark(
        "idle",
        with(|host, launchd| idle(host, launchd, |_| {})),
        &[("agent-not-running", Severity::Error)],
    );
    let pended = with(|host, launchd| {
        idle(host, launchd, |_| {});
        launchd.in_gui.pended = Some("speculative".to_owned());
        launchd.in_gui.runs = Some(0);
        launchd.gui = Domain::There { on_demand_count: 2 };
    });
    let found = check_dark(
        "pended",
        pended,
        &[("domain-on-demand-only", Severity::Warning), ("agent-spawn-pended", Severity::Error)],
    );
    assert!(
        found
            .iter()
            .any(|f| f.summary.ends_with("(pended nondemand spawn = speculative, runs = 0)"))
    );
    check_dark(
        "cannot run",
        with(|host, launchd| idle(host, launchd, |job| job.cannot_run = true)),
        &[("agent-cannot-be-executed", Severity::Error)],
    );
    let other = |job: &mut Job| job.arguments = Some("/bin/other".to_owned());
    check_dark(
        "another definition, and idle",
        with(|host, launchd| idle(host, launchd, other)),
        &[("agent-definition-differs", Severity::Warning), ("agent-not-running", Severity::Error)],
    );
    let leaving = with(|host, launchd| {
        idle(host, launchd, |job| {
            job.pid = Some(PID);
            job.is_leaving = true;
        });
    });
    check_dark("leaving", leaving, &[("agent-not-running", Severity::Warning)]);
    let silent = with(|host, _| gone(&mut host.agent));
    check_dark("no agent in the process", silent, &[("agent-unrecorded", Severity::Error)]);
}

#[test]
fn a_job_that_runs_and_is_not_what_it_should_be() {
    let differs = [("agent-definition-differs", Severity::Warning)];
    let arguments = with(|_, launchd| {
        let loaded = Job { arguments: Some("/bin/other".to_owned()), ..job(Some(PID)) };
        launchd.in_gui = look(JobView::Loaded(loaded));
    });
    check("other arguments", arguments, &differs);
    let file = with(|host, _| host.agent.difference = Some(Difference::Definition));
    check("another file than at its start", file, &differs);
    let stuck = with(|host, _| host.agent.stuck_for = Some(Duration::from_secs(95)));
    let found = check("stuck", stuck, &[("agent-stuck", Severity::Error)]);
    assert_eq!(remedy(&found, "agent-stuck")[0], format!("kill -KILL {PID}"));
    assert!(found.iter().any(|finding| finding.summary.contains("1m 35s")));
    let other_pid = with(|host, launchd| {
        launchd.in_gui = look(JobView::Loaded(job(Some(PID + 1))));
        host.agent.group = Some(PID);
    });
    check(
        "an agent beside the job",
        other_pid,
        &[("agent-outside-job", Severity::Error), ("login-items", Severity::Unknown)],
    );
    let shell = with(|host, launchd| {
        launchd.in_gui = look(JobView::Loaded(job(Some(PID - 1))));
        host.agent.group = Some(PID - 1);
    });
    check("a shell around the agent", shell, &[]);
    let pending = with(|_, launchd| launchd.gui = Domain::There { on_demand_count: 1 });
    check("on demand only", pending, &[("domain-on-demand-only", Severity::Info)]);
    let disabled = with(|_, launchd| launchd.disabled = Ok([LABEL.to_owned()].into()));
    check("disabled while it runs", disabled, &[("agent-disabled", Severity::Error)]);
}

#[test]
fn a_plist_that_launchd_does_not_take() {
    let file =
        |change: fn(&mut Entry)| with(|_, launchd| change(launchd.plist.file.as_mut().unwrap()));
    for mode in [0o664, 0o646, 0o666] {
        let host = with(|_, launchd| launchd.plist.file = Some(entry(mode)));
        check("mode", host, &[("agent-plist-wrong-mode", Severity::Error)]);
    }
    for mode in [0o400, 0o444, 0o644] {
        let host = with(|_, launchd| launchd.plist.file = Some(entry(mode)));
        check("mode", host, &[]);
    }
    let owner = file(|file| file.owner = 502);
    let found = check("owner", owner, &[("agent-plist-wrong-owner", Severity::Error)]);
    assert!(remedy(&found, "agent-plist-wrong-owner")[0].starts_with("sudo chown 501 "));
    check("root's", file(|file| file.owner = 0), &[]);
    // A link's own mode says nothing.
    let link = file(|file| (file.is_link, file.mode) = (true, 0o777));
    check("link", link, &[("agent-plist-is-link", Severity::Warning)]);
    let bad = with(|_, launchd| launchd.plist.on_disk = OnDisk::Bad("no plist".to_owned()));
    check("garbage", bad, &[("agent-plist-unusable", Severity::Error)]);
    let folder = with(|_, launchd| {
        launchd.plist.folder = Some(Entry { owner: 0, is_writable: false, ..entry(0o755) });
    });
    check("folder", folder, &[("agent-plist-folder-not-ours", Severity::Warning)]);
    let missing =
        with(|_, launchd| launchd.plist.missing = vec![PathBuf::from("/nix/store/x/bin/agent")]);
    let found = check("program", missing, &[("agent-program-missing", Severity::Error)]);
    assert!(found.iter().any(|finding| finding.summary.contains("/nix/store/x/bin/agent")));
}

#[test]
fn a_launchctl_that_is_no_help() {
    let silent = with(|_, launchd| {
        let why = "launchctl did not answer within 8 s and was ended";
        launchd.silent = Some(why.to_owned());
        launchd.gui = Domain::Unclear(why.to_owned());
        launchd.in_gui = JobLook::unclear(why);
        launchd.in_user = JobLook::unclear(why);
        launchd.disabled = Err(why.to_owned());
    });
    let unknown = [("launchctl-silent", Severity::Error), ("login-items", Severity::Unknown)];
    check("silent", silent.clone(), &unknown);
    let mut dark = silent;
    gone(&mut dark.agent);
    check_dark("silent, and no agent", dark, &[unknown[0], ("agent-not-running", Severity::Error)]);
    let garbled = with(|_, launchd| launchd.in_gui = JobLook::unclear("no state"));
    let expected =
        [("launchctl-not-understood", Severity::Warning), ("login-items", Severity::Unknown)];
    check("garbled", garbled, &expected);
    let list = with(|_, launchd| launchd.disabled = Err("print-disabled exited 64".to_owned()));
    check("no list", list, &[expected[0]]);
}

#[test]
fn releases_of_home_manager() {
    let known = |severity| [("home-manager-known-bug", severity)];
    for (release, macos, watched, expected) in [
        ((26, 11), Some(15), false, None),
        ((26, 5), Some(15), true, Some(Severity::Warning)),
        ((26, 5), Some(26), true, Some(Severity::Info)),
        ((26, 5), None, true, Some(Severity::Info)),
        ((25, 11), Some(15), true, Some(Severity::Info)),
        ((25, 11), Some(26), false, Some(Severity::Warning)),
        ((24, 11), Some(14), true, Some(Severity::Info)),
    ] {
        let host = with(|host, launchd| {
            launchd.macos = macos;
            host.watchdog.is_running = Some(watched);
            host.home_manager = HomeManager::Release { path: PathBuf::new(), release };
        });
        let watchdog = [("watchdog-not-running", Severity::Warning)];
        let watchdog: &[_] = if watched { &[] } else { &watchdog };
        let expected = expected.map(known).into_iter().flatten().collect::<Vec<_>>();
        check(&format!("{release:?} {macos:?}"), host, &[watchdog, &expected].concat());
    }
}
