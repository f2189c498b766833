//! Installing the watchdog, and what it does when nobody else can.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is a failure with its place")]

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, SystemTime},
};

use nixfleet_protocol::{
    installed,
    journal::{
        lock, read,
        records::{AgentVerdict, Healing, HealingCause, RunningProgram},
    },
};
use nixfleet_tests::stage::{
    Trouble,
    dashboard::Dashboard,
    folder::HOST,
    mac::{LABEL, Mac, MacOptions},
    processes, wait,
};
use rustix::process::Signal;
use tempfile::TempDir;

const WATCHDOG: &str = "com.nixfleet.watchdog";

struct Scene {
    mac: Mac,
    dashboard: Dashboard,
    folder: TempDir,
}

impl Scene {
    /// A Mac with agent and watchdog.
    fn ready() -> (Self, RunningProgram) {
        let folder = tempfile::tempdir().unwrap();
        let dashboard = Dashboard::start(folder.path()).unwrap();
        let mac = Mac::new(dashboard.url(), MacOptions::default()).unwrap();
        let scene = Self { mac, dashboard, folder };
        let agent = scene.mac.wait_for_agent().unwrap();
        let installed = scene.switch(&["install"]);
        assert!(installed.status.success(), "{installed:?}");
        (scene, agent)
    }

    fn switch(&self, words: &[&str]) -> Output {
        self.mac.folder.user_command("nixfleet-switch").args(words).output().unwrap()
    }

    fn stable_wrapper(&self) -> PathBuf {
        installed::stable_wrapper(&self.mac.folder.home())
    }

    /// The same programs under another digest, as the next version would be.
    fn newer(&self, number: u8) -> PathBuf {
        let folder = self.folder.path().join(format!("newer-{number}"));
        fs::create_dir(&folder).unwrap();
        for name in [installed::WRAPPER, installed::WATCHDOG] {
            let mut content =
                fs::read(self.stable_wrapper().canonicalize().unwrap().with_file_name(name))
                    .unwrap();
            content.push(number);
            fs::write(folder.join(name), content).unwrap();
            fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        folder.join(installed::WRAPPER)
    }

    /// A verb of another wrapper than the one on the user's PATH.
    fn by(&self, wrapper: &Path, verb: &str) -> Command {
        let user = self.mac.folder.user_command("nixfleet-switch");
        let mut command = Command::new(wrapper);
        command.env_clear().arg(verb);
        command.envs(user.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command
    }

    fn watchdog(&self) -> Option<RunningProgram> {
        let path = self.mac.folder.state_dir().join("watchdog.json");
        read::read::<RunningProgram>(&path)
            .present()
            .filter(|record| record.process.is_alive().unwrap())
    }

    fn healings(&self) -> Vec<Healing> {
        let journal = self.mac.folder.journal().unwrap();
        let ids = journal.healing_ids().unwrap();
        ids.into_iter().filter_map(|id| journal.healing(id).healing.present()).collect()
    }

    fn is_loaded(&self, label: &str) -> bool {
        let target = format!("{}/{label}", self.mac.domain());
        self.mac.launchctl(&["print", &target]).is_ok()
    }
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[test]
fn an_agent_that_was_booted_out_by_hand_is_back_within_a_minute() {
    let (scene, agent) = Scene::ready();
    scene.mac.launchctl(&["bootout", &format!("{}/{LABEL}", scene.mac.domain())]).unwrap();
    let next = scene.mac.wait_for_next_agent(&agent).unwrap();
    let dark = scene.mac.dark_time(&agent, &next).unwrap();
    assert!(dark < Duration::from_secs(40), "{dark:?}");
    let healed =
        wait::until("the healing is in the journal", wait::PATIENCE, || Ok(scene.healings().pop()))
            .unwrap();
    assert_eq!(healed.cause, HealingCause::AgentMissing);
    assert_eq!(healed.reload.verdict, AgentVerdict::Back);
    assert!(healed.missed_for_ms >= Some(9_000), "{healed:?}");
    let told = wait::until("the healing is in the dashboard", wait::PATIENCE, || {
        Ok(scene.dashboard.healings(HOST)?.pop())
    })
    .unwrap();
    assert_eq!((told.id, told.cause.as_str()), (healed.id.to_string(), "agent_missing"));
    assert_eq!(told.verdict, "back");
}

#[test]
fn installing_again_changes_nothing_and_uninstalling_leaves_the_journal() {
    let (scene, _agent) = Scene::ready();
    let watchdog = scene.watchdog().unwrap();
    let stable = scene.mac.folder.home().join(".local/state/nixfleet/bin/nixfleet-switch");
    assert!(stable.exists() && scene.is_loaded(WATCHDOG));

    let again = scene.switch(&["install", "--json"]);
    let done: serde_json::Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!(done["changes"][0]["changed"], false, "{done}");
    assert_eq!(done["changes"][1]["changed"], false, "{done}");
    assert_eq!(done["watchdog"]["verdict"], "healthy");
    assert_eq!(scene.watchdog().unwrap().process, watchdog.process);

    let removed = scene.switch(&["uninstall"]);
    assert!(removed.status.success(), "{}", text(&removed));
    assert!(!scene.is_loaded(WATCHDOG) && scene.is_loaded(LABEL));
    assert!(!stable.exists());
    assert_eq!(scene.watchdog(), None);
    assert!(scene.mac.folder.state_dir().join("switches").is_dir());
    assert!(scene.switch(&["uninstall"]).status.success());
}

#[test]
fn an_activation_installs_without_touching_the_agent_and_once() {
    let (scene, agent) = Scene::ready();
    let watchdog = scene.watchdog().unwrap();
    let again = scene.switch(&["install", "--in-activation"]);
    assert!(again.status.success() && text(&again).is_empty(), "{}", text(&again));
    let told = scene.switch(&["install", "--in-activation", "--json"]);
    let told: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    assert!(told.get("watchdog").is_none() && told.get("agent").is_none(), "{told}");

    // Another version: the watchdog is looked after, the agent is not.
    let newer = scene.newer(0);
    let updated = scene.by(&newer, "install").args(["--in-activation", "--json"]).output().unwrap();
    let told: serde_json::Value = serde_json::from_slice(&updated.stdout).unwrap();
    assert_eq!(told["changes"][0]["changed"], true, "{told}");
    assert!(told.get("watchdog").is_some() && told.get("agent").is_none(), "{told}");
    wait::until("the watchdog is the new one", wait::PATIENCE, || {
        Ok(scene.watchdog().filter(|record| record.exe != watchdog.exe))
    })
    .unwrap();
    assert_eq!(scene.mac.wait_for_agent().unwrap().process, agent.process);
}

#[test]
fn a_wrapper_without_a_watchdog() {
    let (scene, _agent) = Scene::ready();
    assert!(scene.is_loaded(WATCHDOG));
    let alone = scene.switch(&["install", "--no-watchdog"]);
    assert!(alone.status.success(), "{}", text(&alone));
    assert!(!scene.is_loaded(WATCHDOG) && scene.is_loaded(LABEL));
    assert!(scene.stable_wrapper().exists());
    assert!(!scene.mac.folder.state_dir().join("installation.json").exists());
    let again = scene.switch(&["install", "--no-watchdog", "--in-activation"]);
    assert!(again.status.success() && text(&again).is_empty(), "{}", text(&again));

    let back = scene.switch(&["install"]);
    assert!(back.status.success() && scene.is_loaded(WATCHDOG), "{}", text(&back));
}

/// home-manager is at work under the wrapper that its activation takes away.
#[test]
fn an_activation_uninstalls_under_its_own_switch() {
    let (scene, _agent) = Scene::ready();
    let stable = scene.stable_wrapper();
    scene.mac.folder.scenario("BUILD_SECONDS=3").unwrap();
    let mut switch = scene.mac.folder.user_command("nixfleet-switch");
    let mut running = switch.arg0(&stable).stdout(Stdio::null()).spawn().unwrap();
    wait::until_true("home-manager runs", wait::PATIENCE, || {
        Ok(scene.mac.folder.home_manager_runs() == 1)
    })
    .unwrap();
    assert_eq!(scene.switch(&["uninstall"]).status.code(), Some(75));
    assert!(stable.exists() && scene.is_loaded(WATCHDOG));
    let removed = scene.switch(&["uninstall", "--in-activation"]);
    assert!(removed.status.success(), "{}", text(&removed));
    assert!(!stable.exists() && !scene.is_loaded(WATCHDOG));

    assert!(running.wait().unwrap().success());
    let state = scene.mac.folder.state_dir();
    let journal = scene.mac.folder.journal().unwrap();
    let id = scene.mac.folder.newest_switch().unwrap().unwrap();
    assert!(journal.entry(id).result.present().is_some());
    assert!(!state.join("installation.json").exists());
}

#[test]
fn an_installation_that_cannot_be_finished_is_not_begun() {
    let folder = tempfile::tempdir().unwrap();
    let dashboard = Dashboard::start(folder.path()).unwrap();
    let mac = Mac::new(dashboard.url(), MacOptions::default()).unwrap();
    let plist = mac.folder.home().join(format!("Library/LaunchAgents/{WATCHDOG}.plist"));
    let other =
        "<plist version=\"1.0\"><dict><key>Label</key><string>org.else</string></dict></plist>";
    fs::write(&plist, other).unwrap();
    let refused = mac.folder.user_command("nixfleet-switch").arg("install").output().unwrap();
    assert_eq!(refused.status.code(), Some(78), "{}", text(&refused));
    assert!(text(&refused).contains("org.else"), "{}", text(&refused));
    assert_eq!(fs::read_to_string(&plist).unwrap(), other);
    assert!(!mac.folder.home().join(".local/state/nixfleet/bin").exists());
}

#[test]
fn a_watchdog_becomes_the_program_that_is_installed() {
    let (scene, _agent) = Scene::ready();
    let old = scene.watchdog().unwrap();
    // Another file at the stable path, as an upgrade leaves it.
    let stable = scene.mac.folder.home().join(".local/state/nixfleet/bin/nixfleet-switch");
    let copy = scene.mac.folder.path("another-nixfleet-switch");
    fs::copy(&stable, &copy).unwrap();
    fs::remove_file(&stable).unwrap();
    std::os::unix::fs::symlink(&copy, &stable).unwrap();
    let new = wait::until("the watchdog is the other program", wait::PATIENCE, || {
        Ok(scene.watchdog().filter(|record| record.exe != old.exe))
    })
    .unwrap();
    assert_eq!(new.process, old.process, "it goes on under the same pid");
}

#[test]
fn an_upgrade_while_a_switch_runs_hurts_neither() {
    let (scene, agent) = Scene::ready();
    let stable = scene.stable_wrapper();
    let newer = scene.newer(0);
    scene.mac.next_switch_replaces_the_agent(2, "BUILD_SECONDS=3").unwrap();
    let mut switch = scene.mac.folder.user_command("nixfleet-switch");
    switch.arg0(&stable).stdout(Stdio::null());
    let mut running = switch.spawn().unwrap();
    wait::until_true("home-manager runs", wait::PATIENCE, || {
        Ok(scene.mac.folder.home_manager_runs() == 1)
    })
    .unwrap();
    let installed = scene.by(&newer, "install").output().unwrap();
    assert!(installed.status.success(), "{}", text(&installed));

    assert!(running.wait().unwrap().success());
    scene.mac.wait_for_next_agent(&agent).unwrap();
    wait::until("the watchdog is the new one", wait::PATIENCE, || {
        let target = stable.canonicalize().ok();
        Ok(scene.watchdog().filter(|record| Some(&record.exe) == target.as_ref()))
    })
    .unwrap();
}

/// Each try is another version, and each is killed a little later.
#[test]
fn an_installation_that_is_killed_at_any_moment_is_finished_by_the_next() {
    let (scene, agent) = Scene::ready();
    let moments = [0, 2, 4, 6, 8, 10, 13, 16, 20, 25, 30, 40, 60, 100, 300, 1000];
    for (number, moment) in (1..).zip(moments) {
        let newer = scene.newer(number);
        let mut install = scene.by(&newer, "install").stdout(Stdio::null()).spawn().unwrap();
        thread::sleep(Duration::from_millis(moment));
        // One that has ended meanwhile is none to kill.
        let _ = install.kill();
        install.wait().unwrap();
        let usable = Command::new(scene.stable_wrapper()).arg("--version").output().unwrap();
        assert!(usable.status.success(), "after {moment} ms: {}", text(&usable));
    }
    let last = scene.newer(0);
    let installed = scene.by(&last, "install").output().unwrap();
    assert!(installed.status.success(), "{}", text(&installed));
    let leads_to = scene.stable_wrapper().canonicalize().unwrap();
    for name in [installed::WRAPPER, installed::WATCHDOG] {
        let (copy, original) = (leads_to.with_file_name(name), last.with_file_name(name));
        assert_eq!(fs::read(copy).unwrap(), fs::read(original).unwrap(), "{name}");
    }
    wait::until("the watchdog is the last one", wait::PATIENCE, || {
        Ok(scene.watchdog().filter(|record| record.exe == leads_to))
    })
    .unwrap();
    // The link, the copy that it leads to and the one before: nothing is left of those that were cut.
    let bin = scene.stable_wrapper().parent().unwrap().to_owned();
    assert_eq!(fs::read_dir(&bin).unwrap().count(), 3, "{:?}", fs::read_dir(&bin));
    assert!(agent.process.is_alive().unwrap(), "the agent is none of its business");
}

#[test]
fn a_watchdog_that_is_killed_is_started_again() {
    let (scene, _agent) = Scene::ready();
    let old = scene.watchdog().unwrap();
    processes::signal(old.process.pid, Signal::KILL);
    wait::until("another watchdog runs", wait::PATIENCE, || {
        Ok(scene.watchdog().filter(|record| record.process != old.process))
    })
    .unwrap();
}

/// What stays in memory for as long as the machine is up is not the whole wrapper.
#[test]
fn the_watchdog_runs_as_a_small_program() {
    let (scene, _agent) = Scene::ready();
    let watchdog = scene.watchdog().unwrap();
    let runs = processes::executable(watchdog.process.pid).unwrap();
    assert_eq!(runs, watchdog.exe.with_file_name("nixfleet-watchdog"));
}

#[test]
fn a_watchdog_that_does_not_react_is_replaced() {
    let (scene, _agent) = Scene::ready();
    let old = scene.watchdog().unwrap();
    let lock = scene.mac.folder.state_dir().join("watchdog.lock");
    assert!(lock::stamp_of(&lock).unwrap() > SystemTime::from(old.started_at));
    processes::signal(old.process.pid, Signal::STOP);
    let ensured = scene.switch(&["ensure-watchdog", "--cause", "watchdog_stuck"]);
    assert!(ensured.status.success(), "{}", text(&ensured));
    assert_ne!(scene.watchdog().unwrap().process, old.process);
    let healed = scene.healings().pop().unwrap();
    assert_eq!(healed.cause, HealingCause::WatchdogStuck);
    assert_eq!(healed.reload.verdict, AgentVerdict::Back);
}

/// Whoever installs with a variable in his shell that the agent's job does not have.
#[test]
fn an_agent_with_another_state_directory_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let dashboard = Dashboard::start(folder.path()).unwrap();
    let mac = Mac::new(dashboard.url(), MacOptions::default()).unwrap();
    let agent = mac.wait_for_agent().unwrap();
    let other = mac.folder.path("another-state-directory");
    let ensured = mac
        .folder
        .user_command("nixfleet-switch")
        .arg("ensure-agent")
        .env("NIXFLEET_STATE_DIR", &other)
        .output()
        .unwrap();
    assert_eq!(ensured.status.code(), Some(69), "{}", text(&ensured));
    assert!(text(&ensured).contains("NIXFLEET_STATE_DIR"), "{}", text(&ensured));
    assert!(agent.process.is_alive().unwrap());
}

#[test]
fn an_agent_that_came_to_a_stop_before_the_watchdog_came_up_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let dashboard = Dashboard::start(folder.path()).unwrap();
    let mac = Mac::new(dashboard.url(), MacOptions::default()).unwrap();
    let agent = mac.wait_for_agent().unwrap();
    let lock = mac.folder.state_dir().join("agent.lock");
    wait::until_true("the agent has given a sign of life", wait::PATIENCE, || {
        Ok(lock::stamp_of(&lock).is_some_and(|stamp| stamp > SystemTime::from(agent.started_at)))
    })
    .unwrap();
    processes::signal(agent.process.pid, Signal::STOP);
    let installed = mac.folder.user_command("nixfleet-switch").arg("install").output().unwrap();
    assert!(installed.status.success(), "{}", text(&installed));
    mac.wait_for_next_agent(&agent).unwrap();
}

/// Whoever is stopped with the lock in hand would keep everybody else from bringing the agent back.
#[test]
fn looking_after_the_agent_cannot_be_stopped_with_a_key() {
    let folder = tempfile::tempdir().unwrap();
    let dashboard = Dashboard::start(folder.path()).unwrap();
    let mac = Mac::new(dashboard.url(), MacOptions::default()).unwrap();
    let agent = mac.wait_for_agent().unwrap();
    fs::write(mac.installed_plist(), mac.plist_text(2)).unwrap();
    // A group of its own in our session, as a shell makes one: there SIGTSTP stops.
    let mut ensuring = mac
        .folder
        .user_command("nixfleet-switch")
        .arg("ensure-agent")
        .process_group(0)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let lock = mac.folder.state_dir().join("ensure.lock");
    wait::until_true("the agent is booted out", wait::PATIENCE, || {
        Ok(lock::look(&lock).is_ok_and(|state| state != lock::LockState::Free)
            && !agent.process.is_alive().unwrap())
    })
    .unwrap();
    processes::signal(ensuring.id(), Signal::TSTP);
    let ended = wait::until("it ends", wait::PATIENCE, || {
        ensuring.try_wait().map_err(Trouble::run("nixfleet-switch"))
    });
    // Also where it was stopped: it is not to outlive the test.
    let _ = ensuring.kill();
    assert!(ended.unwrap().success());
    mac.wait_for_next_agent(&agent).unwrap();
}
