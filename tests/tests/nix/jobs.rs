//! The definitions of the agent's job: the same from one version to the next, and whatever is set.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use nixfleet_protocol::installed;
use serde_json::{Map, Value, json};

use crate::{
    evaluated::{ALL, Host, LINUX, has, has_nix},
    written::{RELEASES, unit},
};

const DARWIN: [&str; 2] = ["aarch64-darwin", "x86_64-darwin"];

#[test]
fn the_launchd_job_names_a_stable_path_and_nothing_that_changes() {
    if !has_nix() {
        return;
    }
    let job = |definitions: &str, more: &str| {
        let host = Host::new("aarch64-darwin", definitions).with(more);
        let launchd = host.evaluate().unwrap().launchd.unwrap();
        assert_eq!((&launchd["enable"], &launchd["domain"]), (&json!(true), &json!("gui")));
        launchd["config"].as_object().unwrap().clone()
    };
    let first = job("", "");
    for release in RELEASES {
        let written = release.plist(&first);
        let plist: plist::Dictionary = plist::from_bytes(written.as_bytes()).unwrap();
        assert_eq!(plist["Label"].as_string(), Some(installed::DEFAULT_LABEL));
        let arguments = plist["ProgramArguments"].as_array().unwrap();
        let arguments: Vec<_> = arguments.iter().filter_map(plist::Value::as_string).collect();
        assert!(
            arguments.join(" ").ends_with("/Users/me/.local/state/nixfleet/bin/nixfleet-agent run"),
            "{}: {arguments:?}",
            release.name
        );
        assert_eq!(plist["KeepAlive"].as_boolean(), Some(true));
        assert_eq!(plist["RunAtLoad"].as_boolean(), Some(true));
        assert_eq!(plist["ExitTimeOut"].as_signed_integer(), Some(5));
        assert!(!plist.contains_key("EnvironmentVariables"));

        // Another version of everything, and every setting another: the same bytes.
        for (definitions, more) in
            [("", "version = \"2\";"), (ALL, "version = \"3\";"), ("watchdog.enable = false;", "")]
        {
            assert_eq!(release.plist(&job(definitions, more)), written, "{definitions} {more}");
        }
    }
    let values = serde_json::to_string(&first).unwrap();
    assert!(!values.contains("/nix/store"), "{values}");
    assert!(!values.contains(['&', '<', '>']), "{values}");
}

#[test]
fn both_macs_and_both_linuxes_get_their_kind_of_job() {
    if !has_nix() {
        return;
    }
    for system in DARWIN.into_iter().chain(LINUX) {
        let evaluated = Host::new(system, ALL).evaluate().unwrap();
        let is_mac = DARWIN.contains(&system);
        let has =
            |job: &Option<Map<String, Value>>| job.as_ref().is_some_and(|job| !job.is_empty());
        assert_eq!(
            (has(&evaluated.launchd), has(&evaluated.systemd)),
            (is_mac, !is_mac),
            "{system}"
        );
        assert_eq!(evaluated.failed, [""; 0]);
        assert_eq!(evaluated.warnings, [""; 0]);
        assert_eq!(evaluated.packages, ["nixfleet-agent-1", "nixfleet-switch-1"]);
        let stable = installed::stable_folder(Path::new("")).join("nixfleet-agent");
        let link = evaluated.files[stable.to_str().unwrap()].as_str().unwrap();
        assert!(link.ends_with("-nixfleet-agent-1/bin/nixfleet-agent"), "{link}");
    }
}

#[test]
fn the_user_domain_is_for_a_home_manager_that_knows_it() {
    if !has_nix() {
        return;
    }
    let host = || Host::new("aarch64-darwin", "domain = \"user\";");
    let evaluated = host().evaluate().unwrap();
    assert_eq!(evaluated.failed, [""; 0]);
    let launchd = evaluated.launchd.unwrap();
    assert_eq!(launchd["domain"], "user");
    assert_eq!(launchd["config"]["LimitLoadToSessionType"], "Background");

    let evaluated = host().with("hasDomains = false;").evaluate().unwrap();
    assert!(evaluated.failed[0].contains("launchd.agents.<name>.domain"), "{:?}", evaluated.failed);
    let evaluated = Host::new("aarch64-darwin", "").with("hasDomains = false;").evaluate().unwrap();
    assert_eq!(evaluated.failed, [""; 0]);
    assert!(!evaluated.launchd.unwrap().contains_key("domain"));
}

#[test]
fn systemd_takes_the_unit_and_it_never_changes() {
    if !has_nix() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let stable = installed::stable_folder(place.path());
    fs::create_dir_all(&stable).unwrap();
    let agent = stable.join("nixfleet-agent");
    fs::write(&agent, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&agent, fs::Permissions::from_mode(0o755)).unwrap();
    let unit_of = |definitions: &str, more: &str| {
        let host = Host { home: place.path().to_owned(), ..Host::new("x86_64-linux", definitions) };
        unit(&host.with(more).evaluate().unwrap().systemd.unwrap())
    };
    let written = unit_of("", "");
    for line in ["Type=notify", "Restart=always", "WatchdogSec=60", "WantedBy=default.target"] {
        assert!(written.lines().any(|present| present == line), "{line} is missing: {written}");
    }
    assert!(written.contains(&format!("ExecStart=\"{}\" \"run\"\n", agent.display())), "{written}");
    assert!(!written.contains("/nix/store"), "{written}");
    assert_eq!(unit_of(ALL, "version = \"2\";"), written);

    if has("systemd-analyze", "on Debian, `apt-get install systemd` brings it") {
        let path = place.path().join(installed::DEFAULT_UNIT);
        let moved = format!("xdg.stateHome = \"{}/100% $x\";", place.path().display());
        for text in [written, unit_of("", &moved)] {
            fs::write(&path, &text).unwrap();
            let mut verify = Command::new("systemd-analyze");
            verify.args(["verify", "--user"]).arg(&path);
            verify.env("HOME", place.path()).env("XDG_RUNTIME_DIR", place.path());
            let verified = verify.output().unwrap();
            let said = String::from_utf8_lossy(&verified.stderr);
            assert!(verified.status.success() && said.is_empty(), "{said}{text}");
        }
    }
}

/// A job does not get the session's variables, so what is moved is named in its definition.
#[test]
fn moved_folders_are_named_where_nobody_would_find_them() {
    if !has_nix() {
        return;
    }
    let moved = "xdg = { configHome = \"/Users/me/conf\"; stateHome = \"/Users/me/state\"; };";
    let evaluated = Host::new("aarch64-darwin", "").with(moved).evaluate().unwrap();
    let job = &evaluated.launchd.unwrap()["config"];
    let agent = "/Users/me/.local/state/nixfleet/bin/nixfleet-agent";
    let arguments = json!([agent, "run", "--config", "/Users/me/conf/nixfleet/config.toml"]);
    assert_eq!(job["ProgramArguments"], arguments);
    assert_eq!(job["EnvironmentVariables"], json!({"XDG_STATE_HOME": "/Users/me/state"}));
    assert_eq!(evaluated.config.unwrap()["state_dir"], "/Users/me/state/nixfleet");
    for variable in ["XDG_CONFIG_HOME='/Users/me/conf'", "XDG_STATE_HOME='/Users/me/state'"] {
        assert!(evaluated.activation.data.contains(variable), "{}", evaluated.activation.data);
    }
    let evaluated = Host::new("x86_64-linux", "").with(moved).evaluate().unwrap();
    let unit = unit(&evaluated.systemd.unwrap());
    assert!(unit.contains("Environment=\"XDG_STATE_HOME=/Users/me/state\"\n"), "{unit}");
}
