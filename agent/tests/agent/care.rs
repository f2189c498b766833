//! An agent that is no longer what is installed, and a watchdog that is gone.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

use std::{
    collections::HashSet,
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
};

use crate::support::{
    agent::{Home, text_of},
    dashboard::{Dashboard, Speaks},
    eventually, journal,
    wrapper::{SUCCEEDS, heal_by},
};
use jiff::Timestamp;
use nixfleet_protocol::journal::{
    atomic,
    lock::{self, Lock},
    records::{FORMAT, Installation},
};

/// As the real wrapper does for an agent that is outdated; launchd is played by the test.
const END_IT: &str = "kill -TERM $agent";

const HAND_OVER: &str = "ensure-agent --cause agent_outdated";
const MEND: &str = "ensure-watchdog --cause watchdog_missing";

fn calls(home: &Home, call: &str) -> usize {
    home.wrapper_calls().iter().filter(|called| *called == call).count()
}

fn with_config(dashboard: &Dashboard, text: &str) -> Home {
    let home = Home::new(&dashboard.url(), SUCCEEDS);
    let config = home.write_private("config.toml", text);
    let home = home.with("NIXFLEET_CONFIG", config.to_str().unwrap());
    heal_by(home.folder.path(), END_IT);
    home
}

#[test]
fn another_config_is_changed_over_to_once() {
    let dashboard = Dashboard::new(Speaks::V2);
    let home = with_config(&dashboard, "location = \"here\"\n");
    let mut agent = home.start();
    agent.wait_until_up();
    home.write_private("config.toml", "location = \"there\"\n");
    assert_eq!(agent.wait().code(), Some(0), "ended by the wrapper");
    assert!(agent.log().contains("another agent is installed by now"), "{}", agent.log());
    let next = home.start();
    next.wait_until_up();
    dashboard.call("POST", "/register", |call| call.body["location"] == "there");
    assert_eq!(calls(&home, HAND_OVER), 1);
    let log = home.state().join("wrapper.log");
    assert_eq!(fs::read_to_string(&log).unwrap(), "ensure-agent was here\n");
    assert_eq!(fs::metadata(&log).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn another_executable_at_the_same_path_is_changed_over_to() {
    let dashboard = Dashboard::new(Speaks::V2);
    // Beside the real one, so that a second name for it can be made.
    let store = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let generation = |name: &str| {
        let folder = store.path().canonicalize().unwrap().join(name);
        fs::create_dir(&folder).unwrap();
        let program = folder.join("nixfleet-agent");
        fs::hard_link(env!("CARGO_BIN_EXE_nixfleet-agent"), &program).unwrap();
        program
    };
    let (old, new) = (generation("old"), generation("new"));
    let stable = store.path().join("nixfleet-agent");
    symlink(&old, &stable).unwrap();
    let home = Home::new(&dashboard.url(), SUCCEEDS).started_as(&stable);
    heal_by(home.folder.path(), END_IT);
    let mut agent = home.start();
    let record = agent.wait_until_up();
    assert_eq!((record.exe, record.invoked_as), (old, Some(stable.clone())));
    fs::remove_file(&stable).unwrap();
    two_looks(&home);
    assert_eq!(calls(&home, HAND_OVER), 0, "there is nothing to change over to");
    symlink(&new, &stable).unwrap();
    assert_eq!(agent.wait().code(), Some(0));
    assert_eq!(home.start().wait_until_up().exe, new);
    assert_eq!(calls(&home, HAND_OVER), 1);
}

#[test]
fn a_typo_ends_no_agent_and_is_said() {
    let dashboard = Dashboard::new(Speaks::V2);
    let home = with_config(&dashboard, "location = \"here\"\n");
    let mut agent = home.start();
    agent.wait_until_up();
    home.write_private("config.toml", "location = here\n");
    agent.wait_until_logged("the config has changed and cannot be used");
    home.write_private("config.toml", "interval = \"often\"\n");
    eventually("the other typo is said too", || {
        (agent.log().matches("the config has changed and cannot be used").count() == 2)
            .then_some(())
    });
    assert!(agent.is_running());
    assert_eq!(calls(&home, HAND_OVER), 0);
    home.write_private("config.toml", "location = \"there\"\n");
    assert_eq!(agent.wait().code(), Some(0));
}

#[test]
fn another_definition_is_changed_over_to_and_the_log_does_not_grow() {
    let dashboard = Dashboard::new(Speaks::V1);
    let home = Home::new(&dashboard.url(), SUCCEEDS);
    heal_by(home.folder.path(), END_IT);
    let plist = home.write_private("agent.plist", "old");
    let home = home
        .with("NIXFLEET_AGENT_PLIST", plist.to_str().unwrap())
        .with("XPC_SERVICE_NAME", "com.nixfleet.agent");
    let mut agent = home.start();
    let record = agent.wait_until_up();
    assert_eq!(record.definition_path.as_deref(), Some(plist.as_path()));
    assert_eq!(record.definition_digest, nixfleet_protocol::digest::of_file(&plist));
    let log = home.state().join("wrapper.log");
    fs::write(&log, "x".repeat(300 * 1024)).unwrap();
    fs::write(&plist, "new").unwrap();
    assert_eq!(agent.wait().code(), Some(0));
    assert_eq!(text_of(&log), "ensure-agent was here\n");
}

#[test]
fn a_wrapper_that_fails_leaves_the_agent_at_its_work() {
    let dashboard = Dashboard::new(Speaks::V2);
    let home = with_config(&dashboard, "location = \"here\"\n");
    heal_by(home.folder.path(), "exit 69");
    let mut agent = home.start();
    agent.wait_until_up();
    home.write_private("config.toml", "location = \"there\"\n");
    agent.wait_until_logged("nixfleet-switch ended with exit code 69");
    assert!(agent.log().contains("wrapper.log"), "{}", agent.log());
    let beats = dashboard.calls("POST", "/register").len();
    eventually("it beats on", || {
        (dashboard.calls("POST", "/register").len() > beats + 2).then_some(())
    });
    assert!(agent.is_running());
}

fn install_watchdog(home: &Home) {
    let directory = journal::open(&home.state());
    let installation = Installation {
        format: FORMAT,
        installed_at: Timestamp::now(),
        version: "1".to_owned(),
        wrapper: "/somewhere".into(),
        leads_to: "/elsewhere".into(),
        watchdog_label: "com.nixfleet.watchdog".to_owned(),
        watchdog_definition: "/nowhere".into(),
    };
    atomic::replace(&directory.directory().installation(), &installation).unwrap();
}

/// Waits until the agent has looked around twice and a little more.
fn two_looks(home: &Home) {
    let path = journal::open(&home.state()).directory().agent_lock();
    let mut stamps = HashSet::new();
    eventually("it has looked around twice", || {
        stamps.insert(lock::stamp_of(&path));
        (stamps.len() > 6).then_some(())
    });
}

#[test]
fn a_watchdog_that_was_installed_and_is_gone_is_brought_back() {
    let dashboard = Dashboard::new(Speaks::V2);
    let home = Home::new(&dashboard.url(), SUCCEEDS);
    install_watchdog(&home);
    let directory = journal::open(&home.state());
    let watchdog = Lock::take(&directory.directory().watchdog_lock()).unwrap();
    let agent = home.start();
    agent.wait_until_up();
    two_looks(&home);
    assert_eq!(calls(&home, MEND), 0, "it runs");
    drop(watchdog);
    eventually("it is brought back", || (calls(&home, MEND) == 1).then_some(()));
    assert!(agent.log().contains("the watchdog does not run"), "{}", agent.log());
}

#[test]
fn where_no_watchdog_was_installed_none_is_missed() {
    let dashboard = Dashboard::new(Speaks::V2);
    let home = Home::new(&dashboard.url(), SUCCEEDS);
    let agent = home.start();
    agent.wait_until_up();
    two_looks(&home);
    assert!(home.wrapper_calls().is_empty(), "{:?}", home.wrapper_calls());
}
