//! The module with the programs that users run: what it says of a job, of settings and of the activation, on a Mac with a
//! simulated launchd.

use std::{
    fs,
    os::unix::{fs::symlink, process::CommandExt as _},
    process::Stdio,
};

use nixfleet_protocol::installed;
use nixfleet_tests::stage::{
    dashboard::Dashboard,
    mac::{Mac, MacOptions},
    programs::Programs,
};
use serde_json::{Map, Value};

use crate::{
    evaluated::{Evaluated, Host, has, has_nix, text},
    written::{RELEASES, write_config},
};

const WATCHDOG: &str = "com.nixfleet.watchdog";

/// What home-manager does with what the module says, apart from the activation.
fn link_generation(mac: &Mac, evaluated: &Evaluated, agent: &std::path::Path) {
    let home = mac.folder.home();
    let stable = installed::stable_folder(&home).join("nixfleet-agent");
    fs::create_dir_all(stable.parent().unwrap()).unwrap();
    let _ = fs::remove_file(&stable);
    symlink(agent, &stable).unwrap();
    let folder = home.join(".config/nixfleet");
    fs::create_dir_all(&folder).unwrap();
    write_config(&folder, evaluated.config.as_ref().unwrap());
}

fn activate(mac: &Mac, step: &str) {
    let store = "/nix/store/00000000000000000000000000000000-";
    let bin = mac.folder.path("bin");
    let step = step
        .replace(&format!("{store}coreutils/bin/"), "")
        .replace(&format!("{store}nixfleet-switch-1/bin"), &bin.to_string_lossy());
    let mut bash = std::process::Command::new("bash");
    let user = mac.folder.user_command("nixfleet-switch");
    bash.args(["-c", &format!("set -eu -o pipefail\nrun() {{ \"$@\"; }}\n{step}")])
        .env_clear()
        .envs(user.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .current_dir(mac.folder.home())
        .stdin(Stdio::null())
        .process_group(0);
    let activated = bash.output().unwrap();
    assert!(activated.status.success() && activated.stderr.is_empty(), "{}", text(&activated));
}

fn is_loaded(mac: &Mac, label: &str) -> bool {
    mac.launchctl(&["print", &format!("{}/{label}", mac.domain())]).is_ok()
}

#[test]
fn the_job_runs_takes_another_version_over_and_goes_away() {
    if !has_nix() || !has("timeout", "it is in GNU coreutils") {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let dashboard = Dashboard::start(place.path()).unwrap();
    let mac = Mac::without_agent(dashboard.url(), MacOptions::default()).unwrap();
    // What has to be told of this Mac, and is not so on a real one.
    let config = fs::read_to_string(mac.folder.path("config.toml")).unwrap();
    let settings: Map<String, Value> = toml::from_str(&config).unwrap();
    let settings = serde_json::to_string(&settings).unwrap();
    let host = |more: &str| Host {
        home: mac.folder.home(),
        ..Host::new(
            "aarch64-darwin",
            &format!("settings = builtins.fromJSON ''{settings}'' // {{ {more} }};"),
        )
    };

    let evaluated = host("").evaluate().unwrap();
    assert_eq!(evaluated.failed, [""; 0]);
    let programs = Programs::get().unwrap();
    link_generation(&mac, &evaluated, &programs.agent());
    activate(&mac, &evaluated.activation.data);
    assert!(is_loaded(&mac, WATCHDOG));
    let job = evaluated.launchd.unwrap();
    let plist = RELEASES[0].plist(job["config"].as_object().unwrap());
    fs::write(mac.installed_plist(), &plist).unwrap();
    mac.load_agent().unwrap();
    let first = mac.wait_for_agent().unwrap();
    assert!(first.invoked_as.unwrap().ends_with(".local/state/nixfleet/bin/nixfleet-agent"));
    let log = mac.folder.home().join("Library/Logs/nixfleet-agent.log");
    assert!(log.is_file(), "{} is missing", log.display());

    // Another version and another setting: the plist is the same, so home-manager does nothing, and the agent hands over.
    let evaluated = host("interval = 2;").evaluate().unwrap();
    let copy = mac.folder.path("another-nixfleet-agent");
    fs::copy(programs.agent(), &copy).unwrap();
    let job = evaluated.launchd.as_ref().unwrap();
    assert_eq!(RELEASES[0].plist(job["config"].as_object().unwrap()), plist);
    let before = mac.agent().unwrap().unwrap();
    link_generation(&mac, &evaluated, &copy);
    activate(&mac, &evaluated.activation.data);
    let second = mac.wait_for_next_agent(&before).unwrap();
    assert_eq!(second.exe, copy.canonicalize().unwrap());

    // Disabled: the wrapper that is installed takes watchdog and itself away.
    let disabled = Host { definitions: "enable = false;".to_owned(), ..host("") };
    activate(&mac, &disabled.evaluate().unwrap().activation.data);
    assert!(!is_loaded(&mac, WATCHDOG));
    assert!(!installed::stable_wrapper(&mac.folder.home()).exists());
    assert!(mac.folder.state_dir().join("switches").is_dir());
}
