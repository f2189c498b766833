//! A Mac whose home-manager is a part of nix-darwin: `darwin-rebuild` is what switches, and the agent's job is
//! home-manager's still.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
};

use nixfleet_protocol::{
    journal::records::{Activation, Outcome},
    switch_kind::SwitchKind,
};
use nixfleet_tests::stage::{
    dashboard::Dashboard,
    folder::HOST,
    mac::{LABEL, Mac, MacOptions},
    processes, wait,
};

/// Sets the system's generation, activates the home without the variables of the user's session, and then makes the system
/// the current one.
const REBUILD: &str = r#"#!/bin/bash
set -e
generation=FOLDER/store/$$-system
mkdir -p "$generation"
ln -sfn "$generation" FOLDER/system
env -i HOME=FOLDER/home USER=tester PATH="$PATH" FOLDER/bin/home-manager switch
ln -sfn "$generation" FOLDER/current
"#;

/// Runs what it is given as whoever called it.
const SUDO: &str = "#!/bin/sh\nwhile [ \"$1\" != -- ]; do shift; done\nshift\nexec \"$@\"\n";

const CONFIG: &str = r#"
switch_kind = "darwin-rebuild"
darwin_rebuild = "FOLDER/bin/darwin-rebuild"
sudo = "FOLDER/bin/sudo"
profile = "FOLDER/system"
current_generation = "FOLDER/current"
"#;

fn mac(url: &str) -> Mac {
    let mac = Mac::without_agent(url, MacOptions::default()).unwrap();
    let root = mac.folder.root().display().to_string();
    for (name, text) in [("sudo", SUDO), ("darwin-rebuild", REBUILD)] {
        let path = mac.folder.write(&format!("bin/{name}"), &text.replace("FOLDER", &root));
        fs::set_permissions(path.unwrap(), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let config = fs::read_to_string(mac.folder.path("config.toml")).unwrap();
    let more = CONFIG.replace("FOLDER", &root);
    mac.folder.write("config.toml", &(config + &more)).unwrap();
    mac.load_agent().unwrap();
    mac
}

#[test]
fn an_agent_that_its_own_darwin_rebuild_takes_out_is_back() {
    let place = tempfile::tempdir().unwrap();
    let dashboard = Dashboard::start(place.path()).unwrap();
    let mac = mac(dashboard.url());
    let first = mac.wait_for_agent().unwrap();
    mac.next_switch_replaces_the_agent(2, "").unwrap();
    let command = dashboard.command(HOST, "switch").unwrap();
    let second = mac.wait_for_next_agent(&first).unwrap();
    let switch = dashboard.wait_for_result(HOST, &command).unwrap();
    let result = switch.result.unwrap();
    assert_eq!((result.outcome, result.activation), (Outcome::Succeeded, Activation::Complete));
    let id = mac.folder.newest_switch().unwrap().unwrap();
    let written = mac.folder.journal().unwrap().entry(id).result.present().unwrap();
    assert_eq!(written.kind, SwitchKind::DarwinRebuild);
    assert!(written.generation_after.unwrap().ends_with("-system"));

    // Without job, definition and what has worked before, it comes from home-manager's generation. The profile is of a
    // release that kept one there, and leads elsewhere.
    let home = mac.folder.home();
    let profiles = home.join(".local/state/nix/profiles");
    fs::remove_file(profiles.join("home-manager")).unwrap();
    symlink(&home, profiles.join("home-manager")).unwrap();
    let state = mac.folder.state_dir();
    for name in ["last-good.plist", "last-good.json"] {
        let _ = fs::remove_file(state.join(name));
    }
    let plist = mac.installed_plist();
    fs::remove_file(&plist).unwrap();
    mac.launchctl(&["bootout", &format!("{}/{LABEL}", mac.domain())]).unwrap();
    let ensured = mac.folder.user_command("nixfleet-switch").arg("ensure-agent").output().unwrap();
    assert!(ensured.status.success(), "{ensured:?}");
    mac.wait_for_next_agent(&second).unwrap();
    assert_eq!(fs::read_to_string(plist).unwrap(), mac.plist_text(2));

    wait::until_true("no wrapper is at work", wait::PATIENCE, || {
        let found = processes::of(mac.folder.root());
        Ok(!found.iter().any(|found| found.command.contains("nixfleet-switch")))
    })
    .unwrap();
}
