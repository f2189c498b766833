//! `nixfleet-switch selftest`, under the simulated launchd: it finds what is so, says what is not, and leaves nothing.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is a failure with its place")]

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use crate::selftest_report::{Report, Step};
use nixfleet_tests::{
    launchd::{Fault, LaunchdSim, Options, Session},
    stage::{processes, programs::Programs, wait},
};
use rustix::process::Signal;
use tempfile::TempDir;

/// What the labels of all selftests begin with.
const LABELS: &str = "com.nixfleet.selftest.";

/// It says itself that it ends within three minutes.
const LIMIT: Duration = Duration::from_mins(3);

/// The steps of one that runs to its end, in order.
const STEPS: [&str; 18] = [
    "system",
    "leftovers",
    "bootstrap",
    "bootout of a slow job",
    "kickstart",
    "KeepAlive",
    "disabled override",
    "child in a session of its own",
    "switch by the user, as 25.11",
    "switch by the user, as 26.05",
    "switch by the agent",
    "home-manager killed",
    "other executable, same definition",
    "definition that cannot run",
    "install",
    "wrapper and home-manager killed",
    "uninstall",
    "cleaning up",
];

impl Report {
    #[track_caller]
    fn of(output: &Output) -> Self {
        let report = serde_json::from_slice(&output.stdout);
        report.map_err(|error| format!("{error}: {output:?}")).unwrap()
    }

    fn step(&self, name: &str) -> &Step {
        self.steps.iter().find(|step| step.name == name).unwrap()
    }

    fn answer(&self, part: &str) -> &str {
        let mut questions = self.questions.iter();
        &questions.find(|question| question.question.contains(part)).unwrap().answer
    }

    /// All steps are there, and each is as expected.
    #[track_caller]
    fn check_all_ok(&self) {
        let names: Vec<&str> = self.steps.iter().map(|step| step.name.as_str()).collect();
        assert_eq!(names, STEPS);
        let failed: Vec<&Step> = self.steps.iter().filter(|step| !step.ok).collect();
        assert!(failed.is_empty(), "{failed:#?}");
        assert_eq!((self.passed, self.failed), (STEPS.len(), 0));
        assert!(
            self.steps.iter().all(|step| !step.fact.is_empty() && !step.expectation.is_empty())
        );
        let answered: Vec<&str> =
            self.questions.iter().map(|question| question.answer.as_str()).collect();
        assert!(answered.iter().all(|answer| !answer.starts_with("no answer")), "{answered:?}");
    }
}

/// A user's Mac, with a temporary folder of its own.
struct Bed {
    // First: launchd with its jobs, then the files.
    launchd: LaunchdSim,
    folder: TempDir,
}

impl Bed {
    fn new(macos: u32, session: Session) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["home/Library/LaunchAgents", "tmp"] {
            fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        let programs = Programs::get().unwrap();
        let mut options = Options::new(programs.launchd(), folder.path().join("home"));
        (options.macos, options.session) = (macos, session);
        Self { launchd: LaunchdSim::start(folder.path(), &options).unwrap(), folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(Programs::get().unwrap().switch());
        command
            .arg("selftest")
            .env_clear()
            .env("HOME", self.path("home"))
            .env("PATH", std::env::var("PATH").unwrap())
            .env("TMPDIR", self.path("tmp"))
            .env("NIXFLEET_SERVICE_MANAGER", "launchd")
            .env("NIXFLEET_LAUNCHCTL", self.launchd.launchctl())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn start(&self) -> Child {
        self.command().arg("--json").spawn().unwrap()
    }

    /// The labels of selftests that are loaded, in either domain.
    fn labels(&self) -> Vec<String> {
        let uid = rustix::process::getuid().as_raw();
        let print = |domain: String| {
            let mut launchctl = Command::new(self.launchd.launchctl());
            let output = launchctl.args(["print", &domain]).output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        let text = print(format!("gui/{uid}")) + &print(format!("user/{uid}"));
        text.split_whitespace().filter(|word| word.starts_with(LABELS)).map(str::to_owned).collect()
    }

    /// Waits until the agent of this selftest is loaded.
    fn wait_for_agent_of(&self, selftest: &Child) -> String {
        let label = format!("{LABELS}{}.agent", selftest.id());
        wait::until_true("the selftest has loaded its agent", wait::PATIENCE, || {
            Ok(self.labels().contains(&label))
        })
        .unwrap();
        label
    }

    /// Nothing is left: no job, no process, no file, and the user's own folder is as it was.
    #[track_caller]
    fn check_nothing_is_left(&self) {
        assert_eq!(self.labels(), Vec::<String>::new());
        processes::none_left(&self.path("tmp"), wait::PATIENCE).unwrap();
        let files: Vec<_> = fs::read_dir(self.path("tmp")).unwrap().collect();
        assert!(files.is_empty(), "{files:?}");
        let agents: Vec<_> =
            fs::read_dir(self.path("home/Library/LaunchAgents")).unwrap().collect();
        assert!(agents.is_empty(), "{agents:?}");
        assert!(!self.path("home/.local").exists());
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        // What a failed test has left.
        processes::kill_all(&self.path("tmp"));
    }
}

/// Waits for the end, which comes in time.
fn output_of(mut selftest: Child) -> Output {
    let id = selftest.id();
    let ended = wait::until_true("the selftest has ended", LIMIT, || {
        Ok(selftest.try_wait().unwrap().is_some())
    });
    if ended.is_err() {
        processes::signal(id, Signal::KILL);
    }
    ended.unwrap();
    selftest.wait_with_output().unwrap()
}

/// They mostly wait, so all of them wait at the same time: on macOS 15, on 26 two beside each other, and on a Mac that
/// nobody sits at.
#[test]
fn every_step_is_as_expected() {
    let macs =
        [Bed::new(15, Session::Gui), Bed::new(26, Session::Gui), Bed::new(15, Session::Background)];
    let [on_15, on_26, without_screen] = &macs;
    let selftests = [on_15, on_26, on_26, without_screen].map(Bed::start);
    let reports = selftests.map(output_of).map(|output| {
        let report = Report::of(&output);
        report.check_all_ok();
        assert_eq!(output.status.code(), Some(0));
        report
    });
    for mac in &macs {
        mac.check_nothing_is_left();
    }
    let [on_15, first_on_26, second_on_26, without_screen] = &reports;

    assert!(on_15.answer("bootout --wait").starts_with("no: usage error 64"));
    assert!(on_15.answer("bootout DOMAIN PLIST").starts_with("yes"));
    assert!(on_15.answer("kickstart -k").contains("Killed: 9"));
    assert!(on_15.answer("program is missing").contains("78: EX_CONFIG"));
    assert!(on_15.answer("WatchPaths").starts_with("not asked: "));
    // home-manager could not stop the agent and has left the old definition loaded; the wrapper has mended that.
    assert!(on_15.step("switch by the user, as 26.05").said.contains("done: bootout"));
    // launchd lets ten seconds pass between two starts.
    assert!(on_15.step("KeepAlive").seconds > 9.0);

    for report in [first_on_26, second_on_26] {
        assert_eq!(report.step("leftovers").said, "none");
        assert!(report.answer("bootout --wait").starts_with("for the removal"));
    }

    assert!(without_screen.step("system").said.contains("gui not there (112)"));
    let missing = without_screen.answer("domain have that is not there");
    assert!(missing.contains("of this user: print DOMAIN 112"), "{missing}");
    assert!(missing.contains("bootstrap 125"), "{missing}");
}

#[test]
fn a_launchd_that_takes_no_job_is_said_to_be_one() {
    let bed = Bed::new(15, Session::Gui);
    let refuse: Fault = serde_json::from_str(r#"{"verb": "bootstrap", "code": 5}"#).unwrap();
    bed.launchd.set_faults(&[refuse]).unwrap();
    let output = output_of(bed.start());
    assert_eq!(output.status.code(), Some(1));
    let report = Report::of(&output);
    assert_eq!(report.passed + report.failed, STEPS.len());
    for name in ["bootstrap", "switch by the agent", "wrapper and home-manager killed"] {
        let step = report.step(name);
        assert!(!step.ok && step.said.contains("answered 5"), "{step:?}");
    }
    assert!(report.step("system").ok && report.step("cleaning up").ok);
    bed.check_nothing_is_left();
}

#[test]
fn one_that_is_interrupted_cleans_up() {
    for signal in [Signal::INT, Signal::TERM] {
        let bed = Bed::new(15, Session::Gui);
        let selftest = bed.start();
        bed.wait_for_agent_of(&selftest);
        processes::signal(selftest.id(), signal);
        let output = output_of(selftest);
        assert_eq!(output.status.code(), Some(1));
        let report = Report::of(&output);
        assert_eq!(report.steps.len(), STEPS.len());
        let last = report.step("uninstall");
        assert!(!last.ok && last.said == "not run: interrupted", "{last:?}");
        assert!(report.step("cleaning up").ok, "{:?}", report.step("cleaning up"));
        bed.check_nothing_is_left();
    }
}

#[test]
fn what_one_that_was_killed_has_left_is_taken_away_by_the_next() {
    let bed = Bed::new(15, Session::Gui);
    let mut killed = bed.start();
    let label = bed.wait_for_agent_of(&killed);
    killed.kill().unwrap();
    killed.wait().unwrap();
    // Another one's folder is gone; only launchd knows of it.
    let mut orphaned = bed.start();
    let orphan = bed.wait_for_agent_of(&orphaned);
    wait::until_true("the second has taken away what the first has left", wait::PATIENCE, || {
        Ok(!bed.labels().contains(&label))
    })
    .unwrap();
    orphaned.kill().unwrap();
    orphaned.wait().unwrap();
    let folder = bed.path("tmp").join(format!("nixfleet-selftest-{}", orphaned.id()));
    assert!(folder.exists() && bed.labels().contains(&orphan));
    fs::remove_dir_all(&folder).unwrap();

    let next = bed.start();
    bed.wait_for_agent_of(&next);
    processes::signal(next.id(), Signal::TERM);
    let report = Report::of(&output_of(next));
    let leftovers = report.step("leftovers");
    assert!(leftovers.ok && leftovers.said.contains(&orphan), "{leftovers:?}");
    bed.check_nothing_is_left();
}

#[test]
fn what_is_kept_is_the_folder_alone() {
    let bed = Bed::new(15, Session::Gui);
    let selftest = bed.command().arg("--keep").spawn().unwrap();
    bed.wait_for_agent_of(&selftest);
    let folder = bed.path("tmp").join(format!("nixfleet-selftest-{}", selftest.id()));
    processes::signal(selftest.id(), Signal::INT);
    let output = output_of(selftest);
    let said = String::from_utf8(output.stdout).unwrap();
    let kept = format!("kept: {}", folder.canonicalize().unwrap().display());
    assert!(said.contains(&kept), "{said}");
    assert!(folder.join("home/.local/state/nixfleet/agent.json").exists());
    assert_eq!(bed.labels(), Vec::<String>::new());
    processes::none_left(&bed.path("tmp"), wait::PATIENCE).unwrap();
}

#[test]
fn without_launchd_there_is_nothing_to_prove() {
    let bed = Bed::new(15, Session::Gui);
    for manager in ["systemd", "none"] {
        let mut command = bed.command();
        let output = command.env("NIXFLEET_SERVICE_MANAGER", manager).output().unwrap();
        assert_eq!(output.status.code(), Some(78));
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains("launchd") && said.contains(manager), "{said}");
        assert!(output.stdout.is_empty());
    }
    bed.check_nothing_is_left();
}
