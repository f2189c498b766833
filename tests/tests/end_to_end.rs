//! The whole path, with the programs that users run: a dashboard, an agent as a job of launchd, the wrapper, and
//! home-manager's stand-in.
//!
//! Each scene ends with the same questions: is the agent back, and how long was the host dark; does the dashboard
//! have exactly one result, and is it the true one; did home-manager run as often as it should; is nothing left
//! behind.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is a failure with its place")]

use std::{fs, process::Stdio, time::Duration};

use nixfleet_protocol::journal::records::{Activation, AgentVerdict, Outcome, RunningProgram};
use nixfleet_tests::{
    launchd::{Fault, command::VerbName},
    stage::{
        dashboard::{Dashboard, Switch},
        folder::HOST,
        mac::{Mac, MacOptions},
        processes, wait,
    },
};
use rustix::process::Signal;
use tempfile::TempDir;

/// The promise. What is aimed at is measured by the benchmarks; here a busy machine must not fail a test.
const NEVER_DARKER_THAN: Duration = Duration::from_mins(1);

/// A Mac and its dashboard.
struct Scene {
    mac: Mac,
    dashboard: Dashboard,
    _place: TempDir,
}

impl Scene {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let dashboard = Dashboard::start(&place.path().join("dashboard")).unwrap();
        let mac = Mac::new(dashboard.url(), MacOptions::default()).unwrap();
        Self { mac, dashboard, _place: place }
    }

    /// With an agent that the dashboard knows.
    fn ready() -> (Self, RunningProgram) {
        let scene = Self::new();
        let agent = scene.mac.wait_for_agent().unwrap();
        (scene, agent)
    }

    fn replace_agent(&self, more: &str) {
        self.mac.next_switch_replaces_the_agent(2, more).unwrap();
    }

    fn switch(&self) -> String {
        self.dashboard.command(HOST, "switch").unwrap()
    }

    fn result_of(&self, command: &str) -> Switch {
        self.dashboard.wait_for_result(HOST, command).unwrap()
    }

    fn wait_for_step(&self, step: &str) {
        wait::until_true(&format!("home-manager is at {step}"), wait::PATIENCE, || {
            Ok(self.mac.folder.home_manager_trace().iter().any(|(_, at)| at.starts_with(step)))
        })
        .unwrap();
    }

    /// The pid of the driver of home-manager that started last.
    fn home_manager(&self) -> u32 {
        let trace = self.mac.folder.home_manager_trace();
        trace.iter().rev().find(|(_, step)| step.starts_with("start")).unwrap().0
    }

    /// The wrapper of the newest switch.
    fn wrapper(&self) -> u32 {
        wait::until("the switch is started", wait::PATIENCE, || {
            let Some(id) = self.mac.folder.newest_switch()? else { return Ok(None) };
            let entry = self.mac.folder.journal()?.entry(id);
            Ok(entry.started.present().map(|started| started.wrapper.pid))
        })
        .unwrap()
    }

    fn assert_back(&self, old: &RunningProgram) -> RunningProgram {
        let new = self.mac.wait_for_next_agent(old).unwrap();
        let dark = self.mac.dark_time(old, &new).unwrap();
        assert!(dark < NEVER_DARKER_THAN, "dark for {dark:?}");
        new
    }

    /// The dashboard has these outcomes, newest first, and no more.
    #[track_caller]
    fn assert_outcomes(&self, expected: &[Outcome]) {
        let mut outcomes = Vec::new();
        let reached = wait::until_true("the dashboard has all results", wait::PATIENCE, || {
            let switches = self.dashboard.switches(HOST)?;
            outcomes = switches
                .iter()
                .map(|switch| switch.result.as_ref().map(|result| result.outcome))
                .collect();
            Ok(outcomes == expected.iter().copied().map(Some).collect::<Vec<_>>())
        });
        assert!(reached.is_ok(), "the dashboard has {outcomes:?}, not {expected:?}");
    }

    /// Ends the Mac and looks whether anything of it is left.
    fn end(self) {
        let root = self.mac.folder.root();
        wait::until_true("no wrapper is at work", wait::PATIENCE, || {
            Ok(!processes::of(root).iter().any(|found| found.command.contains("nixfleet-switch")))
        })
        .unwrap();
        let root = self.mac.folder.root().to_owned();
        let Self { mac, dashboard, _place } = self;
        let Mac { launchd, folder, .. } = mac;
        launchd.stop();
        // A look-after that begins at this moment finds no launchd and gives up within its minute.
        processes::none_left(&root, Duration::from_secs(75)).unwrap();
        drop(folder);
        drop(dashboard);
    }
}

#[test]
fn a_switch_that_boots_its_agent_out_is_reported_by_the_next_agent() {
    let (scene, old) = Scene::ready();
    scene.replace_agent("OUTPUT_LINES=50");
    let command = scene.switch();
    let switch = scene.result_of(&command);
    let result = switch.result.unwrap();
    assert_eq!((result.outcome, result.exit_code), (Outcome::Succeeded, Some(0)));
    assert_eq!(result.activation, Activation::Complete);
    assert_ne!(result.generation_before, result.generation_after);
    let new = scene.assert_back(&old);
    assert_eq!(scene.mac.job_pid().unwrap(), Some(new.process.pid));
    assert_eq!(scene.mac.folder.home_manager_runs(), 1);
    scene.assert_outcomes(&[Outcome::Succeeded]);
    wait::until_true("the dashboard has the output", wait::PATIENCE, || {
        Ok(scene.dashboard.output(HOST, &switch.id)?.contains("building line 50"))
    })
    .unwrap();
    let kept_awake = fs::read_to_string(scene.mac.folder.path("caffeinate.log")).unwrap();
    assert!(kept_awake.starts_with("-i -w "), "{kept_awake}");
    scene.end();
}

#[test]
fn an_agent_that_home_manager_cannot_load_again_is_loaded_by_the_wrapper() {
    let (scene, old) = Scene::ready();
    scene.mac.launchd.set_faults(&[Fault::on(VerbName::Bootstrap).times(1).code(5)]).unwrap();
    scene.replace_agent("");
    let command = scene.switch();
    scene.assert_back(&old);
    let switch = scene.result_of(&command);
    assert_eq!(switch.result.unwrap().outcome, Outcome::Succeeded);
    let reload = wait::until("the dashboard knows of the reload", wait::PATIENCE, || {
        let switches = scene.dashboard.switches(HOST)?;
        Ok(switches.into_iter().next().and_then(|switch| switch.reload))
    })
    .unwrap();
    assert_eq!(reload.verdict, AgentVerdict::Back);
    assert!(reload.steps.iter().any(|step| step.step == "bootstrap" && step.exit_code == Some(0)));
    scene.assert_outcomes(&[Outcome::Succeeded]);
    scene.end();
}

#[test]
fn a_user_s_switch_is_reported_too() {
    let (scene, old) = Scene::ready();
    scene.replace_agent("OUTPUT_LINES=3");
    let output =
        scene.mac.folder.user_command("nixfleet-switch").args(["--flake", "."]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("building line 3"), "{said}");
    // The wrapper returns when the agent is back, so it is there already.
    let new = scene.assert_back(&old);
    assert!(new.process.is_alive().unwrap());
    scene.assert_outcomes(&[Outcome::Succeeded]);
    let switch = scene.dashboard.switches(HOST).unwrap().remove(0);
    assert_eq!((switch.initiator.as_str(), switch.command_id), ("user", None));
    assert_eq!(switch.result.unwrap().argv, ["--flake", "."]);
    scene.end();
}

#[test]
fn a_switch_that_fails_is_a_failure_and_costs_no_agent() {
    let (scene, old) = Scene::ready();
    scene.replace_agent("FAIL_AT=build\nEXIT_CODE=7");
    let command = scene.switch();
    let result = scene.result_of(&command).result.unwrap();
    assert_eq!((result.outcome, result.exit_code), (Outcome::Failed, Some(7)));
    assert!(result.output_tail.contains("made to fail at build"), "{}", result.output_tail);
    assert_eq!(scene.mac.agent().unwrap().unwrap().process, old.process);
    scene.end();
}

#[test]
fn a_switch_that_fails_after_the_bootout_is_incomplete_and_the_agent_back() {
    let (scene, old) = Scene::ready();
    scene.replace_agent("FAIL_AT=after-bootout");
    let command = scene.switch();
    let result = scene.result_of(&command).result.unwrap();
    assert_eq!((result.outcome, result.exit_code), (Outcome::Failed, Some(1)));
    scene.assert_back(&old);
    scene.assert_outcomes(&[Outcome::Failed]);
    scene.end();
}

#[test]
fn an_agent_that_is_killed_during_a_switch_changes_nothing() {
    let (scene, old) = Scene::ready();
    scene.mac.folder.scenario("BUILD_SECONDS=2").unwrap();
    let command = scene.switch();
    scene.wait_for_step("build");
    processes::signal(old.process.pid, Signal::KILL);
    let result = scene.result_of(&command).result.unwrap();
    assert_eq!(result.outcome, Outcome::Succeeded);
    scene.assert_back(&old);
    assert_eq!(scene.mac.folder.home_manager_runs(), 1);
    scene.assert_outcomes(&[Outcome::Succeeded]);
    scene.end();
}

#[test]
fn a_wrapper_that_is_killed_leaves_an_interrupted_switch_and_no_second_home_manager() {
    let (scene, _agent) = Scene::ready();
    scene.mac.folder.scenario("BUILD_SECONDS=4").unwrap();
    let command = scene.switch();
    let wrapper = scene.wrapper();
    scene.wait_for_step("build");
    processes::signal(wrapper, Signal::KILL);
    wait::until_true("the wrapper is dead", wait::PATIENCE, || {
        Ok(!processes::of(scene.mac.folder.root()).iter().any(|found| found.pid == wrapper))
    })
    .unwrap();
    // home-manager goes on; the lock is free, and yet nobody may start a second one.
    let second = scene.mac.folder.user_command("nixfleet-switch").output().unwrap();
    assert_eq!(second.status.code(), Some(75), "{second:?}");
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(said.contains(&scene.home_manager().to_string()), "{said}");
    assert_eq!(scene.mac.folder.home_manager_runs(), 1);
    let result = scene.result_of(&command).result.unwrap();
    assert_eq!((result.outcome, result.exit_code), (Outcome::Interrupted, None));
    // It was not ended: its activation came to its end.
    assert_eq!(result.activation, Activation::Complete);
    let third = scene.mac.folder.user_command("nixfleet-switch").output().unwrap();
    assert_eq!(third.status.code(), Some(0), "{third:?}");
    scene.assert_outcomes(&[Outcome::Succeeded, Outcome::Interrupted]);
    scene.end();
}

/// The agent has the wrapper look after its job, and the wrapper takes the job out: the agent dies over what it asked
/// for, and what it asked for must not die with it.
#[test]
fn an_agent_that_has_its_own_job_looked_after_comes_back() {
    let (scene, old) = Scene::ready();
    scene.mac.folder.scenario("BUILD_SECONDS=2").unwrap();
    let command = scene.switch();
    let wrapper = scene.wrapper();
    scene.wait_for_step("build");
    processes::signal(wrapper, Signal::KILL);
    // As home-manager leaves it when its bootout was ignored: a new definition on disk, the old one loaded.
    let new = scene.mac.new_plist(2).unwrap();
    fs::copy(new, scene.mac.installed_plist()).unwrap();
    let result = scene.result_of(&command).result.unwrap();
    assert_eq!(result.outcome, Outcome::Interrupted);
    let new = scene.assert_back(&old);
    wait::until_true("the reload is written down", wait::PATIENCE, || {
        let id = scene.mac.folder.newest_switch()?;
        let journal = scene.mac.folder.journal()?;
        Ok(id.is_some_and(|id| journal.entry(id).reload.present().is_some()))
    })
    .unwrap();
    let environment = fs::read_to_string(format!("/proc/{}/environ", new.process.pid)).unwrap();
    assert!(
        environment.contains("GENERATION_OF_THE_PLIST=2"),
        "the old definition is still loaded"
    );
    scene.end();
}

/// launchd loads a definition whose program is not there, and says so by its exit code only.
#[test]
fn a_definition_that_cannot_run_gives_way_to_the_last_that_worked() {
    let (scene, old) = Scene::ready();
    // One look-after with everything in order, as after any switch: from it the wrapper has its copy.
    let output = scene.mac.folder.user_command("nixfleet-switch").arg("ensure-agent").output();
    assert_eq!(output.unwrap().status.code(), Some(0));
    let broken = scene.mac.new_plist(2).unwrap();
    let text = fs::read_to_string(&broken).unwrap().replace("bin/nixfleet-agent", "bin/not-there");
    fs::write(&broken, text).unwrap();
    scene.mac.folder.scenario(&format!("RELEASE=25.11\nNEW_PLIST={}", broken.display())).unwrap();
    let command = scene.switch();
    scene.assert_back(&old);
    assert_eq!(scene.result_of(&command).result.unwrap().outcome, Outcome::Succeeded);
    let reload = wait::until("the dashboard knows of the reload", wait::PATIENCE, || {
        let switches = scene.dashboard.switches(HOST)?;
        Ok(switches.into_iter().next().and_then(|switch| switch.reload))
    })
    .unwrap();
    assert_eq!(reload.verdict, AgentVerdict::Back);
    assert!(reload.explanation.contains("last definition that worked"), "{}", reload.explanation);
    scene.end();
}

#[test]
fn an_agent_is_not_given_up_for_a_config_with_which_none_comes_up() {
    let (scene, agent) = Scene::ready();
    let config = scene.mac.folder.path("config.toml");
    let good = fs::read_to_string(&config).unwrap();
    let wrong = good.replace("interval = 1\n", "interval = 0\n");
    assert_ne!(good, wrong);
    scene.mac.folder.write("config.toml", &wrong).unwrap();
    let ensured =
        scene.mac.folder.user_command("nixfleet-switch").arg("ensure-agent").output().unwrap();
    let said = String::from_utf8_lossy(&ensured.stdout);
    assert!(ensured.status.success() && said.contains("goes on with the config"), "{ensured:?}");
    assert!(said.contains("interval"), "{said}");
    assert_eq!(scene.mac.agent().unwrap().unwrap().process, agent.process);

    scene
        .mac
        .folder
        .write("config.toml", &good.replace("interval = 1\n", "interval = 2\n"))
        .unwrap();
    let ensured = scene.mac.folder.user_command("nixfleet-switch").arg("ensure-agent").status();
    assert!(ensured.unwrap().success());
    scene.assert_back(&agent);
    scene.end();
}

#[test]
fn a_home_manager_that_is_killed_is_a_failure_by_signal() {
    let (scene, _agent) = Scene::ready();
    scene.mac.folder.scenario("BUILD_SECONDS=30").unwrap();
    let command = scene.switch();
    scene.wait_for_step("build");
    processes::signal(scene.home_manager(), Signal::KILL);
    let result = scene.result_of(&command).result.unwrap();
    assert_eq!(
        (result.outcome, result.exit_code, result.signal),
        (Outcome::Failed, None, Some(Signal::KILL.as_raw()))
    );
    scene.assert_outcomes(&[Outcome::Failed]);
    scene.end();
}

#[test]
fn agent_and_wrapper_killed_together_lose_nothing() {
    let (scene, old) = Scene::ready();
    scene.mac.folder.scenario("BUILD_SECONDS=2").unwrap();
    let command = scene.switch();
    let wrapper = scene.wrapper();
    scene.wait_for_step("build");
    processes::signal(wrapper, Signal::KILL);
    processes::signal(old.process.pid, Signal::KILL);
    let result = scene.result_of(&command).result.unwrap();
    assert_eq!(result.outcome, Outcome::Interrupted);
    scene.assert_back(&old);
    assert_eq!(scene.mac.folder.home_manager_runs(), 1);
    scene.assert_outcomes(&[Outcome::Interrupted]);
    scene.end();
}

#[test]
fn a_dashboard_that_is_down_all_the_while_gets_everything_later() {
    let (mut scene, old) = Scene::ready();
    scene.replace_agent("BUILD_SECONDS=1");
    let command = scene.switch();
    scene.wait_for_step("build");
    scene.dashboard.kill();
    wait::until_true("the switch is over and the next agent is up", wait::PATIENCE, || {
        Ok(scene.mac.agent()?.is_some_and(|agent| agent.process != old.process))
    })
    .unwrap();
    let user = scene.mac.folder.user_command("nixfleet-switch").arg("--wait").output().unwrap();
    assert_eq!(user.status.code(), Some(0), "{user:?}");
    scene.dashboard.go_up().unwrap();
    assert_eq!(scene.result_of(&command).result.unwrap().outcome, Outcome::Succeeded);
    scene.assert_outcomes(&[Outcome::Succeeded, Outcome::Succeeded]);
    assert_eq!(scene.mac.folder.home_manager_runs(), 2);
    scene.end();
}

#[test]
fn of_two_switches_at_once_one_runs_and_the_other_is_told() {
    let (scene, _agent) = Scene::ready();
    scene.mac.folder.scenario("BUILD_SECONDS=3").unwrap();
    let mut first = scene
        .mac
        .folder
        .user_command("nixfleet-switch")
        .args(["--flake", ".#me"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    scene.wait_for_step("build");
    let second = scene.mac.folder.user_command("nixfleet-switch").output().unwrap();
    assert_eq!(second.status.code(), Some(75));
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(said.contains("home-manager switch --flake .#me"), "{said}");
    assert!(said.contains(&first.id().to_string()), "{said}");
    // The dashboard's is answered at once as well, and not run.
    let command = scene.switch();
    let result = scene.result_of(&command).result.unwrap();
    assert_eq!(result.outcome, Outcome::NotStarted);
    assert_eq!(scene.mac.folder.home_manager_runs(), 1);
    let waiting = scene.mac.folder.user_command("nixfleet-switch").arg("--wait").output().unwrap();
    assert_eq!(waiting.status.code(), Some(0), "{waiting:?}");
    assert!(first.wait().unwrap().success());
    let trace = scene.mac.folder.home_manager_trace();
    let order: Vec<&str> = trace
        .iter()
        .map(|(_, step)| step.split(' ').next().unwrap())
        .filter(|step| matches!(*step, "start" | "end"))
        .collect();
    assert_eq!(order, ["start", "end", "start", "end"], "two ran at once");
    scene.end();
}

/// The result is in the dashboard while the wrapper still looks after the agent: who then asks again is not refused.
#[test]
fn switches_one_after_the_other_all_run() {
    let (scene, mut agent) = Scene::ready();
    scene.mac.first_generation().unwrap();
    for version in 2..6 {
        scene.mac.next_switch_replaces_the_agent(version, "RELEASE=24.11").unwrap();
        let command = scene.switch();
        let result = scene.result_of(&command).result.unwrap();
        assert_eq!(result.outcome, Outcome::Succeeded, "{result:?}");
        agent = scene.assert_back(&agent);
    }
    scene.assert_outcomes(&[Outcome::Succeeded; 4]);
    scene.end();
}

#[test]
fn a_process_left_in_the_background_blocks_nobody() {
    let (scene, _agent) = Scene::ready();
    scene.mac.folder.scenario("LEAVE_BACKGROUND=60").unwrap();
    for _ in 0..2 {
        let output = scene.mac.folder.user_command("nixfleet-switch").output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }
    let command = scene.switch();
    let result = scene.result_of(&command).result.unwrap();
    assert_eq!(result.outcome, Outcome::Succeeded, "{result:?}");
    for (_, step) in scene.mac.folder.home_manager_trace() {
        if let Some(pid) = step.strip_prefix("background ") {
            processes::signal(pid.parse().unwrap(), Signal::KILL);
        }
    }
    scene.end();
}

#[test]
fn stop_cancels_what_runs() {
    let (scene, agent) = Scene::ready();
    scene.mac.folder.scenario("BUILD_SECONDS=60").unwrap();
    let command = scene.switch();
    scene.wait_for_step("build");
    let stop = scene.dashboard.command(HOST, "stop").unwrap();
    let result = scene.result_of(&command).result.unwrap();
    assert_eq!(result.outcome, Outcome::Cancelled);
    wait::until_true("the stop is answered", wait::PATIENCE, || {
        let commands = scene.dashboard.commands(HOST)?;
        Ok(commands.iter().any(|known| known.id == stop && known.status == "succeeded"))
    })
    .unwrap();
    assert_eq!(scene.mac.agent().unwrap().unwrap().process, agent.process);
    scene.end();
}

#[test]
fn restart_brings_another_agent_and_says_so() {
    let (scene, old) = Scene::ready();
    let command = scene.dashboard.command(HOST, "restart").unwrap();
    scene.assert_back(&old);
    wait::until_true("the restart is answered", wait::PATIENCE, || {
        let commands = scene.dashboard.commands(HOST)?;
        Ok(commands.iter().any(|known| known.id == command && known.status == "succeeded"))
    })
    .unwrap();
    scene.end();
}

#[test]
fn files_that_are_broken_are_set_aside_and_said() {
    let (scene, agent) = Scene::ready();
    scene.mac.folder.scenario("BUILD_SECONDS=3").unwrap();
    let command = scene.switch();
    scene.wait_for_step("build");
    let id = scene.mac.folder.newest_switch().unwrap().unwrap();
    let directory = scene.mac.folder.journal().unwrap().directory().switch(id);
    // A result from nowhere, cut in the middle; an agent's record that is no JSON; strangers in the folder.
    fs::write(directory.result(), "{\"format\": 1, \"id\"").unwrap();
    fs::write(scene.mac.folder.state_dir().join("agent.json"), "\0\0\0").unwrap();
    fs::create_dir(scene.mac.folder.state_dir().join("switches/not-an-id")).unwrap();
    fs::write(scene.mac.folder.state_dir().join("switches/file"), "x").unwrap();
    processes::signal(scene.wrapper(), Signal::KILL);
    processes::signal(agent.process.pid, Signal::KILL);
    let result = scene.result_of(&command).result.unwrap();
    assert_eq!(result.outcome, Outcome::Interrupted);
    let note = result.note.unwrap();
    assert!(note.contains("result.json could not be read"), "{note}");
    scene.mac.wait_for_next_agent(&agent).unwrap();
    assert_eq!(scene.mac.folder.home_manager_runs(), 1);
    scene.end();
}
