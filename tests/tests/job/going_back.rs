//! After a definition with which no agent comes up: what worked is back, home-manager has another file on disk than its
//! own, and the next switches have to work all the same, without a hand.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is a failure with its place")]

use std::{fs, path::PathBuf, process::Stdio, time::Duration};

use jiff::{SignedDuration, Timestamp};
use nixfleet_protocol::journal::records::{AgentVerdict, Outcome, Reload, RunningProgram};
use nixfleet_tests::stage::{
    dashboard::{Dashboard, Switch},
    folder::HOST,
    mac::{Mac, MacOptions},
    wait,
};
use tempfile::TempDir;

/// The promise.
const NEVER_DARKER_THAN: Duration = Duration::from_mins(1);

/// So long an agent has to be up to count as one that works.
const SETTLED: SignedDuration = SignedDuration::from_millis(11_200);

/// A definition that worked.
const WORKED: &str = "<string>1</string>";

/// home-manager's own, with which no agent comes up.
const BROKEN: &str = "bin/not-there";

struct Scene {
    mac: Mac,
    dashboard: Dashboard,
    release: &'static str,
    _place: TempDir,
}

impl Scene {
    /// home-manager has switched to a definition whose program is not there, and the agent is back under the one before.
    fn gone_back(release: &'static str) -> (Self, RunningProgram) {
        let place = tempfile::tempdir().unwrap();
        let dashboard = Dashboard::start(&place.path().join("dashboard")).unwrap();
        let mac = Mac::new(dashboard.url(), MacOptions::default()).unwrap();
        let scene = Self { mac, dashboard, release, _place: place };
        let old = scene.mac.wait_for_agent().unwrap();
        scene.mac.first_generation().unwrap();
        // From it the wrapper has its copy of what works.
        let ensured = scene.mac.folder.user_command("nixfleet-switch").arg("ensure-agent").status();
        assert!(ensured.unwrap().success());
        scene.next(&scene.broken(), "GENERATION=broken");
        let result = scene.switch_by_dashboard();
        assert_eq!(result.result.unwrap().outcome, Outcome::Succeeded);
        let agent = scene.back(&old);
        assert_eq!(scene.reload().verdict, AgentVerdict::Back);
        assert!(scene.on_disk().contains(WORKED) && scene.restored().exists());
        (scene, agent)
    }

    fn broken(&self) -> PathBuf {
        let broken = self.mac.new_plist(2).unwrap();
        let text = fs::read_to_string(&broken).unwrap().replace("bin/nixfleet-agent", BROKEN);
        fs::write(&broken, text).unwrap();
        broken
    }

    fn next(&self, plist: &std::path::Path, more: &str) {
        let (release, plist) = (self.release, plist.display());
        let text = format!("RELEASE={release}\nNEW_PLIST={plist}\n{more}\n");
        self.mac.folder.scenario(&text).unwrap();
    }

    fn mended(&self, more: &str) {
        self.next(&self.mac.new_plist(3).unwrap(), more);
    }

    fn switch_by_dashboard(&self) -> Switch {
        let command = self.dashboard.command(HOST, "switch").unwrap();
        self.dashboard.wait_for_result(HOST, &command).unwrap()
    }

    /// A user's switch: its exit code and what it printed.
    fn switch(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = self.mac.folder.user_command("nixfleet-switch");
        let output = command.args(arguments).output().unwrap();
        let [stdout, stderr] =
            [&output.stdout, &output.stderr].map(|it| String::from_utf8_lossy(it));
        (output.status.code(), format!("{stdout}{stderr}"))
    }

    fn on_disk(&self) -> String {
        fs::read_to_string(self.mac.installed_plist()).unwrap()
    }

    fn restored(&self) -> PathBuf {
        self.mac.folder.journal().unwrap().directory().restored_definition()
    }

    fn wait_for_home_manager_s_own(&self) {
        wait::until_true("home-manager has its own file", wait::PATIENCE, || {
            Ok(self.on_disk().contains(BROKEN))
        })
        .unwrap();
    }

    fn back(&self, old: &RunningProgram) -> RunningProgram {
        let new = self.mac.wait_for_next_agent(old).unwrap();
        let dark = self.mac.dark_time(old, &new).unwrap();
        assert!(dark < NEVER_DARKER_THAN, "dark for {dark:?}");
        new
    }

    /// What was done to the agent after the newest switch, as soon as that is written down.
    fn reload(&self) -> Reload {
        wait::until("the agent was looked after", wait::PATIENCE, || {
            let Some(id) = self.mac.folder.newest_switch()? else { return Ok(None) };
            Ok(self.mac.folder.journal()?.entry(id).reload.present())
        })
        .unwrap()
    }

    /// The agent that was there is there still, and is what it was.
    fn assert_untouched(&self, agent: &RunningProgram) {
        assert_eq!(self.mac.agent().unwrap().unwrap().process, agent.process);
        assert!(self.on_disk().contains(WORKED), "{}", self.on_disk());
        assert!(self.restored().exists());
    }
}

#[test]
fn a_mended_definition_is_switched_to_after_switches_that_fail() {
    let (scene, agent) = Scene::gone_back("24.11");
    scene.mended("");
    let plain = scene.mac.folder.user_command("home-manager").arg("switch").output().unwrap();
    let said = String::from_utf8_lossy(&plain.stdout);
    assert!(!plain.status.success() && said.contains("is in the way of"), "{said}");

    // While home-manager switches, its own definition is there, and the agent at work; afterwards what worked.
    for _ in 0..2 {
        scene.mended("BUILD_SECONDS=2\nFAIL_AT=build\nEXIT_CODE=7");
        let mut command = scene.mac.folder.user_command("nixfleet-switch");
        let command = command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut switch = command.spawn().unwrap();
        scene.wait_for_home_manager_s_own();
        assert_eq!(scene.mac.agent().unwrap().unwrap().process, agent.process);
        assert_eq!(switch.wait().unwrap().code(), Some(7));
        let reload = scene.reload();
        assert_eq!(reload.verdict, AgentVerdict::Healthy, "{reload:?}");
        let steps: Vec<&str> = reload.steps.iter().map(|step| step.step.as_str()).collect();
        assert_eq!(steps, ["restore"], "{reload:?}");
        scene.assert_untouched(&agent);
    }
    // The profile moves, and no agent is touched: the file of yet another generation is home-manager's own now.
    scene.mended("FAIL_AT=before-bootout");
    assert_eq!(scene.switch(&[]).0, Some(1));
    scene.assert_untouched(&agent);

    scene.mac.next_switch_replaces_the_agent(4, "RELEASE=24.11").unwrap();
    let result = scene.switch_by_dashboard().result.unwrap();
    assert_eq!(result.outcome, Outcome::Succeeded, "{result:?}");
    scene.back(&agent);
    wait::until_true("nothing of it is left", wait::PATIENCE, || Ok(!scene.restored().exists()))
        .unwrap();
    assert_eq!(scene.on_disk(), scene.mac.plist_text(4));
}

/// The watchdog asks for such a look-after when an agent has stayed up for a while.
#[test]
fn a_look_after_beside_a_switch_leaves_home_manager_its_file() {
    let (scene, agent) = Scene::gone_back("24.11");
    wait::until_true("the agent has been up for a while", wait::PATIENCE, || {
        Ok(Timestamp::now().duration_since(agent.started_at) > SETTLED)
    })
    .unwrap();
    scene.mended("BUILD_SECONDS=4");
    let mut command = scene.mac.folder.user_command("nixfleet-switch");
    let mut switch = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    scene.wait_for_home_manager_s_own();
    let (code, said) = scene.switch(&["ensure-agent"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("a switch is under way"), "{said}");
    assert!(scene.on_disk().contains(BROKEN));
    assert_eq!(scene.mac.agent().unwrap().unwrap().process, agent.process);
    assert_eq!(switch.wait().unwrap().code(), Some(0));
    scene.back(&agent);
    assert_eq!(scene.on_disk(), scene.mac.plist_text(3));
}

#[test]
fn what_a_user_has_written_is_home_manager_s_matter() {
    let (scene, _agent) = Scene::gone_back("24.11");
    let by_hand = scene.mac.plist_text(9);
    fs::write(scene.mac.installed_plist(), &by_hand).unwrap();
    scene.mended("");
    let result = scene.switch_by_dashboard().result.unwrap();
    assert_eq!((result.outcome, result.exit_code), (Outcome::Failed, Some(1)));
    assert!(result.output_tail.contains("is in the way of"), "{}", result.output_tail);
    assert_eq!(scene.on_disk(), by_hand);
    scene.reload();
    assert_eq!(scene.on_disk(), by_hand);
    assert!(!scene.restored().exists());
}

#[test]
fn a_dry_run_changes_nothing_and_is_not_refused() {
    let (scene, agent) = Scene::gone_back("24.11");
    scene.next(&scene.broken(), "GENERATION=broken");
    let (code, said) = scene.switch(&["--dry-run"]);
    assert_eq!(code, Some(0), "{said}");
    scene.reload();
    scene.assert_untouched(&agent);
}

/// As nix-darwin's module and other commands do it: whoever runs home-manager for the user has its check as well.
#[test]
fn home_manager_within_another_switch_finds_its_own_too() {
    let (scene, agent) = Scene::gone_back("24.11");
    scene.mended("");
    let home_manager = scene.mac.folder.path("bin/home-manager").display().to_string();
    let mut command = scene.mac.folder.user_command("nixfleet-switch");
    command.env("NIXFLEET_SWITCH_KIND", "command").env("NIXFLEET_SWITCH_COMMAND", home_manager);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    scene.back(&agent);
    assert_eq!(scene.on_disk(), scene.mac.plist_text(3));
}

/// A switch that comes to its end and leaves the file as it is wants that definition.
#[test]
fn what_home_manager_still_wants_is_tried_anew() {
    let (scene, agent) = Scene::gone_back("24.11");
    scene.next(&scene.broken(), "");
    let (code, said) = scene.switch(&[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("last definition that worked"), "{said}");
    let agent = scene.back(&agent);
    scene.assert_untouched(&agent);

    // The program is there by now.
    let program = scene.mac.folder.path("bin/nixfleet-agent").canonicalize().unwrap();
    scene.mac.folder.link(BROKEN, &program).unwrap();
    let (code, said) = scene.switch(&[]);
    assert_eq!(code, Some(0), "{said}");
    scene.back(&agent);
    assert!(scene.on_disk().contains(BROKEN) && !scene.restored().exists());
}

/// Every release leaves a file that is not its own where it is.
#[test]
fn an_agent_that_is_to_go_goes() {
    for release in ["24.11", "25.11"] {
        let (scene, _agent) = Scene::gone_back(release);
        scene.next(std::path::Path::new("none"), "");
        let (code, said) = scene.switch(&[]);
        assert_eq!(code, Some(0), "{release}: {said}");
        assert_eq!(scene.reload().verdict, AgentVerdict::NotInstalled, "{release}");
        assert!(!scene.mac.installed_plist().exists(), "{release}");
    }
}
