//! `nixfleet-switch` by itself: what a user sees of it, and what it does with what it is given. No agent and no
//! service manager here.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is a failure with its place")]

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::{fs::PermissionsExt as _, fs::symlink, process::ExitStatusExt as _},
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use nixfleet_protocol::journal::records::{Activation, Outcome, SwitchResult};
use nixfleet_tests::stage::{
    folder::{Config, Folder},
    not_run, processes, wait,
};
use rustix::process::Signal;

/// A machine with nothing but the wrapper and home-manager.
struct Bench {
    folder: Folder,
}

impl Bench {
    fn new(scenario: &str) -> Self {
        let folder = Folder::new().unwrap();
        folder
            .write_config(&Config {
                url: "http://127.0.0.1:9".to_owned(),
                service_manager: "none",
                label: "com.example.none".to_owned(),
                interval: 30,
            })
            .unwrap();
        let bench = Self { folder };
        bench.scenario(scenario);
        bench
    }

    fn scenario(&self, text: &str) {
        self.folder.scenario(&format!("PLATFORM=linux\n{text}\n")).unwrap();
    }

    fn switch(&self, arguments: &[&str]) -> Output {
        self.folder.user_command("nixfleet-switch").args(arguments).output().unwrap()
    }

    /// Starts the wrapper in a terminal of its own, by script(1).
    fn in_terminal(&self, arguments: &str) -> Child {
        let switch = self.folder.path("bin/nixfleet-switch");
        let command = format!("stty cols 91 rows 33; {} {arguments}", switch.display());
        let environment = self.folder.user_command("nixfleet-switch");
        let mut script = Command::new("script");
        if Path::new("/proc").exists() {
            script.args(["-qefc", &command, "/dev/null"]);
        } else {
            script.args(["-q", "/dev/null", "/bin/sh", "-c", &command]);
        }
        script
            .env_clear()
            .envs(environment.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .env("TERM", "xterm")
            .env("SHELL", "/bin/sh")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// home-manager is in the midst of its build: a bash that is about to start a program may lose a signal.
    fn wait_until_it_builds(&self) {
        self.wait_for_step("build");
        wait::until_true("the build sleeps", wait::PATIENCE, || {
            let found = processes::of(self.folder.root());
            Ok(found.iter().any(|process| process.command.starts_with("sleep ")))
        })
        .unwrap();
    }

    fn wait_for_step(&self, step: &str) {
        wait::until_true(&format!("home-manager is at {step}"), wait::PATIENCE, || {
            Ok(self.folder.home_manager_trace().iter().any(|(_, at)| at.starts_with(step)))
        })
        .unwrap();
    }

    fn result(&self) -> SwitchResult {
        let id = self.folder.newest_switch().unwrap().unwrap();
        self.folder.journal().unwrap().entry(id).result.present().unwrap()
    }

    fn wrapper_pid(&self) -> u32 {
        let id = self.folder.newest_switch().unwrap().unwrap();
        let entry = self.folder.journal().unwrap().entry(id);
        entry.started.present().unwrap().wrapper.pid
    }

    fn log(&self) -> String {
        let id = self.folder.newest_switch().unwrap().unwrap();
        let directory = self.folder.journal().unwrap().directory().switch(id);
        String::from_utf8_lossy(&fs::read(directory.output_log()).unwrap()).into_owned()
    }

    fn end(self) {
        processes::none_left(self.folder.root(), Duration::from_secs(15)).unwrap();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn arguments_streams_and_exit_code_are_home_manager_s() {
    let bench = Bench::new("EXIT_CODE=3");
    let plain = bench.folder.user_command("home-manager").args(["switch", "-b", "bak"]).output();
    let plain = plain.unwrap();
    let wrapped = bench.switch(&["-b", "bak"]);
    assert_eq!(wrapped.status.code(), plain.status.code());
    assert_eq!(text(&wrapped.stdout), text(&plain.stdout));
    assert_eq!(text(&wrapped.stderr), text(&plain.stderr));
    let starts: Vec<String> = bench
        .folder
        .home_manager_trace()
        .into_iter()
        .filter(|(_, step)| step.starts_with("start"))
        .map(|(_, step)| step)
        .collect();
    assert_eq!(starts[0], starts[1]);
    let result = bench.result();
    assert_eq!((result.outcome, result.exit_code), (Outcome::Failed, Some(3)));
    assert_eq!(result.argv, ["-b", "bak"]);
    bench.end();
}

#[test]
fn in_a_terminal_home_manager_has_a_terminal_of_the_same_size() {
    let bench = Bench::new("COLOUR=1\nstty size </dev/tty");
    let mut child = bench.in_terminal("");
    drop(child.stdin.take());
    let output = child.wait_with_output().unwrap();
    let shown = text(&output.stdout);
    assert!(shown.contains("\u{1b}[1;36mbuilding in colour"), "{shown:?}");
    assert!(shown.contains("33 91"), "{shown:?}");
    assert_eq!(output.status.code(), Some(0));
    assert!(bench.log().contains("\u{1b}[1;36mbuilding in colour"));
    let tail = bench.result().output_tail;
    assert!(tail.contains("building in colour") && !tail.contains('\u{1b}'), "{tail:?}");
    // Without a terminal there is no colour.
    let plain = bench.switch(&[]);
    assert!(!text(&plain.stdout).contains('\u{1b}'), "{plain:?}");
    bench.end();
}

#[test]
fn a_question_on_the_terminal_is_asked_and_answered() {
    check_question("");
}

#[test]
fn a_question_is_answered_although_the_standard_input_is_elsewhere() {
    check_question("</dev/null");
}

fn check_question(redirection: &str) {
    let bench = Bench::new("PROMPT='password?'");
    let mut child = bench.in_terminal(redirection);
    let mut keys = child.stdin.take().unwrap();
    let mut shown = child.stdout.take().unwrap();
    let mut seen = Vec::new();
    while !text(&seen).contains("password?") {
        let mut piece = [0; 256];
        let length = shown.read(&mut piece).unwrap();
        assert!(length > 0, "it ended without asking: {}", text(&seen));
        seen.extend(&piece[..length]);
    }
    keys.write_all(b"sesame\n").unwrap();
    shown.read_to_end(&mut seen).unwrap();
    assert!(text(&seen).contains("answer: sesame"), "{}", text(&seen));
    assert!(child.wait().unwrap().success());
    bench.end();
}

#[test]
fn what_an_activation_leaves_in_the_background_outlives_the_terminal() {
    let bench = Bench::new("LEAVE_BACKGROUND=60");
    let mut child = bench.in_terminal("");
    let keys = child.stdin.take();
    assert!(child.wait_with_output().unwrap().status.success());
    drop(keys);
    let trace = bench.folder.home_manager_trace();
    let left = trace.iter().find_map(|(_, step)| step.strip_prefix("background ")).unwrap();
    let left: u32 = left.parse().unwrap();
    let is_there = processes::of(bench.folder.root()).iter().any(|found| found.pid == left);
    processes::signal(left, Signal::KILL);
    assert!(is_there, "the process in the background was ended with the terminal");
    bench.end();
}

#[test]
fn ctrl_c_in_the_terminal_cancels() {
    let bench = Bench::new("BUILD_SECONDS=60");
    let mut child = bench.in_terminal("");
    let mut keys = child.stdin.take().unwrap();
    bench.wait_until_it_builds();
    keys.write_all(b"\x03").unwrap();
    let output = child.wait_with_output().unwrap();
    drop(keys);
    assert_eq!(output.status.code(), Some(130), "{}", text(&output.stdout));
    assert_eq!(bench.result().outcome, Outcome::Cancelled);
    bench.end();
}

#[test]
fn a_signal_is_passed_on_and_means_cancelled() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::INT, 130)] {
        let bench = Bench::new("BUILD_SECONDS=60");
        let mut child =
            bench.folder.user_command("nixfleet-switch").stdout(Stdio::null()).spawn().unwrap();
        bench.wait_until_it_builds();
        processes::signal(child.id(), signal);
        let status = child.wait().unwrap();
        assert_eq!(status.code(), Some(code));
        assert_eq!(bench.result().outcome, Outcome::Cancelled);
        bench.end();
    }
}

#[test]
fn what_does_not_end_when_told_is_killed_after_the_grace() {
    let bench = Bench::new("BUILD_SECONDS=100\nIGNORE_TERM=1");
    let began = Instant::now();
    let output = bench.switch(&["--timeout=1s"]);
    assert_eq!(output.status.code(), Some(124));
    let result = bench.result();
    assert_eq!((result.outcome, result.signal), (Outcome::TimedOut, Some(9)));
    assert!(began.elapsed() < Duration::from_secs(40));
    bench.end();
}

#[test]
fn a_terminal_that_goes_away_ends_nothing() {
    let bench = Bench::new("BUILD_SECONDS=2\nOUTPUT_LINES=10");
    let mut child = bench.in_terminal("");
    let keys = child.stdin.take();
    bench.wait_for_step("build");
    let wrapper = bench.wrapper_pid();
    // The terminal's owner dies: the kernel hangs up.
    child.kill().unwrap();
    child.wait().unwrap();
    drop(keys);
    processes::signal(wrapper, Signal::HUP);
    wait::until_true("the switch has ended", wait::PATIENCE, || {
        let id = bench.folder.newest_switch()?;
        let journal = bench.folder.journal()?;
        Ok(id.is_some_and(|id| journal.entry(id).result.present().is_some()))
    })
    .unwrap();
    let result = bench.result();
    assert_eq!((result.outcome, result.exit_code), (Outcome::Succeeded, Some(0)));
    assert_eq!(result.activation, Activation::Complete);
    bench.end();
}

#[test]
fn a_terminal_that_takes_nothing_does_not_keep_the_result_back() {
    let bench = Bench::new("OUTPUT_BYTES=2000000");
    let mut child = bench.in_terminal("--timeout=2s");
    let keys = child.stdin.take();
    // Nobody reads what script(1) shows, so it soon takes nothing from the terminal any more.
    wait::until_true("the result is there", wait::PATIENCE, || {
        let id = bench.folder.newest_switch()?;
        let journal = bench.folder.journal()?;
        Ok(id.is_some_and(|id| journal.entry(id).result.present().is_some()))
    })
    .unwrap();
    assert_eq!(bench.result().outcome, Outcome::TimedOut);
    drop(keys);
    child.kill().unwrap();
    child.wait().unwrap();
    bench.end();
}

#[test]
fn a_reader_that_has_seen_enough_ends_nothing() {
    let bench = Bench::new("OUTPUT_BYTES=3000000");
    let mut child =
        bench.folder.user_command("nixfleet-switch").stdout(Stdio::piped()).spawn().unwrap();
    let mut first = [0; 10];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(bench.result().output_bytes > 3_000_000);
    bench.end();
}

#[test]
fn in_the_bare_environment_of_launchd_everything_is_found() {
    // One that is in no other place of this machine.
    let nix = "nix-of-a-profile";
    let bench = Bench::new(&format!("REQUIRE_PROGRAM={nix}"));
    let profile = bench.folder.path("home/.nix-profile/bin");
    fs::create_dir_all(&profile).unwrap();
    for name in [nix, "home-manager"] {
        fs::write(profile.join(name), "#!/bin/sh\nexit 0\n").unwrap();
        fs::set_permissions(profile.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let config = bench.folder.path("config.toml");
    let bare = |configured: bool| {
        let mut command = Command::new(bench.folder.path("bin/nixfleet-switch"));
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
            .env("HOME", bench.folder.home())
            .env("NIXFLEET_SERVICE_MANAGER", "none")
            .current_dir("/");
        if configured {
            command.env("NIXFLEET_CONFIG", &config);
        }
        command.output().unwrap()
    };
    // The stand-in, which needs USER and nix.
    let output = bare(true);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    // The one in the profile, which nobody has named.
    let output = bare(false);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    fs::remove_file(profile.join("home-manager")).unwrap();
    let output = bare(false);
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    let said = text(&output.stderr);
    assert!(said.contains(&profile.display().to_string()), "{said}");
    assert!(said.contains("NIXFLEET_HOME_MANAGER"), "{said}");
    bench.end();
}

#[test]
fn an_activation_that_was_cut_is_called_incomplete() {
    let bench = Bench::new("FAIL_AT=after-bootstrap");
    let output = bench.switch(&[]);
    assert_eq!(output.status.code(), Some(1));
    // The first one ever: there is no current-home to compare with.
    assert_eq!(bench.result().activation, Activation::Unknown);
    bench.scenario("");
    bench.switch(&[]);
    assert_eq!(bench.result().activation, Activation::Complete);
    bench.scenario("FAIL_AT=after-bootstrap");
    let output = bench.switch(&[]);
    assert_eq!(bench.result().activation, Activation::Incomplete);
    assert!(text(&output.stderr).contains("did not run to its end"), "{output:?}");
    bench.end();
}

#[test]
fn a_state_directory_that_cannot_be_used_is_said_and_nothing_runs() {
    let bench = Bench::new("");
    let with_state_dir = |path: &Path| {
        let mut command = bench.folder.user_command("nixfleet-switch");
        command.env("NIXFLEET_STATE_DIR", path).output().unwrap()
    };
    let file = bench.folder.write("file", "").unwrap();
    let relative = Path::new("relative/path");
    let linked_lock = bench.folder.path("linked");
    fs::create_dir_all(&linked_lock).unwrap();
    symlink("/dev/null", linked_lock.join("switch.lock")).unwrap();
    let mut cases = vec![(file, "not a directory"), (relative.to_owned(), "absolute")];
    cases.push((linked_lock, "switch.lock"));
    if rustix::process::geteuid().is_root() {
        let others = bench.folder.path("others");
        fs::create_dir_all(&others).unwrap();
        std::os::unix::fs::chown(&others, Some(12345), None).unwrap();
        cases.push((others, "belongs to user 12345"));
    }
    for (path, expected) in cases {
        let output = with_state_dir(&path);
        let said = text(&output.stderr).to_lowercase();
        assert_eq!(output.status.code(), Some(74), "{} {said}", path.display());
        assert!(said.contains(expected) || said.contains("file exists"), "{said}");
    }
    assert_eq!(bench.folder.home_manager_runs(), 0);
    bench.end();
}

#[test]
fn a_config_that_makes_no_sense_is_said_with_its_place() {
    let bench = Bench::new("");
    for (config, expected) in [
        ("switch_timeout = \"soon\"", "switch_timeout"),
        ("service_manager = \"sysvinit\"", "sysvinit"),
        ("homemanager = \"x\"", "homemanager"),
        ("state_dir = 5", "state_dir"),
    ] {
        let path = bench.folder.write("bad.toml", config).unwrap();
        let mut command = bench.folder.user_command("nixfleet-switch");
        let output = command.env("NIXFLEET_CONFIG", &path).output().unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{said}");
        assert!(said.contains(expected) && said.contains("bad.toml"), "{said}");
    }
    let mut command = bench.folder.user_command("nixfleet-switch");
    let output = command.env("NIXFLEET_SWITCH_TIMEOUT", "x").output().unwrap();
    assert!(text(&output.stderr).contains("NIXFLEET_SWITCH_TIMEOUT"), "{output:?}");
    assert_eq!(bench.folder.home_manager_runs(), 0);
    bench.end();
}

/// A full disk, as a small file system of its own: only root can have one.
#[test]
fn a_disk_that_home_manager_has_filled_still_yields_the_result() {
    if !rustix::process::geteuid().is_root() || !Path::new("/proc").exists() {
        not_run("a full disk needs root on Linux, to mount a small one");
        return;
    }
    let bench = Bench::new("");
    let disk = bench.folder.path("disk");
    fs::create_dir_all(&disk).unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m,mode=700", "none"])
        .arg(&disk)
        .status()
        .unwrap();
    if !mounted.success() {
        not_run("no small file system can be mounted here");
        return;
    }
    bench.scenario("OUTPUT_BYTES=3000000\nEXIT_CODE=9");
    let mut command = bench.folder.user_command("nixfleet-switch");
    let output = command.env("NIXFLEET_STATE_DIR", &disk).output().unwrap();
    let switch = fs::read_dir(disk.join("switches")).unwrap().next().unwrap().unwrap().path();
    let result = fs::read_to_string(switch.join("result.json"));
    let unmounted = Command::new("umount").arg(&disk).status().unwrap();
    assert!(unmounted.success());
    assert_eq!(output.status.code(), Some(9), "{}", text(&output.stderr));
    // The user has seen everything all the same.
    assert!(output.stdout.len() > 3_000_000);
    let result: SwitchResult = serde_json::from_str(&result.unwrap()).unwrap();
    assert_eq!((result.outcome, result.exit_code), (Outcome::Failed, Some(9)));
    bench.end();
}

#[test]
fn status_history_and_logs_tell_what_the_journal_says() {
    let bench = Bench::new("OUTPUT_LINES=2");
    let json = |arguments: &[&str]| -> serde_json::Value {
        let output = bench.switch(arguments);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    };
    // Before anything: nothing is there, and nothing is made by looking.
    assert_eq!(json(&["status", "--json"])["last"], serde_json::Value::Null);
    assert_eq!(json(&["history", "--json"]), serde_json::json!([]));
    assert_eq!(bench.switch(&["logs"]).status.code(), Some(64));
    assert!(!bench.folder.state_dir().exists());

    bench.switch(&["--flake", "."]);
    bench.scenario("EXIT_CODE=4");
    bench.switch(&[]);
    let status = json(&["status", "--json"]);
    assert_eq!(status["busy"], false);
    assert_eq!(status["last"]["result"]["exit_code"], 4);
    assert_eq!(status["unreported"], 2);
    let history = json(&["history", "--json"]);
    let outcomes: Vec<_> =
        history.as_array().unwrap().iter().map(|s| &s["result"]["outcome"]).collect();
    assert_eq!(outcomes, ["failed", "succeeded"]);
    let first = history[1]["id"].as_str().unwrap();
    let log = bench.switch(&["logs", first]);
    assert!(text(&log.stdout).contains("building line 2"), "{log:?}");
    assert_eq!(
        json(&["logs", first, "--json"])["request"]["argv"],
        serde_json::json!(["--flake", "."])
    );
    let ambiguous = bench.switch(&["logs", &first[..8]]);
    assert_eq!(ambiguous.status.code(), Some(64), "{ambiguous:?}");
    assert_eq!(bench.switch(&["logs", "ffff"]).status.code(), Some(64));
    let human = text(&bench.switch(&["status"]).stdout) + &text(&bench.switch(&["history"]).stdout);
    assert!(human.contains("failed (exit code 4)") && human.contains("succeeded"), "{human}");
    bench.end();
}

#[test]
fn the_wrapper_s_end_by_kill_is_no_exit_code() {
    let bench = Bench::new("BUILD_SECONDS=1");
    let mut child =
        bench.folder.user_command("nixfleet-switch").stdout(Stdio::null()).spawn().unwrap();
    bench.wait_for_step("build");
    processes::signal(child.id(), Signal::KILL);
    assert_eq!(child.wait().unwrap().signal(), Some(Signal::KILL.as_raw()));
    // The next one closes it, and runs.
    let next = bench.switch(&["--wait=30s"]);
    assert_eq!(next.status.code(), Some(0), "{next:?}");
    let ids = bench.folder.journal().unwrap().switch_ids().unwrap();
    let outcomes: Vec<Outcome> = ids
        .iter()
        .map(|id| bench.folder.journal().unwrap().entry(*id).result.present().unwrap().outcome)
        .collect();
    assert_eq!(outcomes, [Outcome::Interrupted, Outcome::Succeeded]);
    bench.end();
}
