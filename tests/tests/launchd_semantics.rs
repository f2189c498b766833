//! The simulated launchd, semantic by semantic, through `launchctl` and with real jobs.
//!
//! The number in each test's comment is the chapter of the collected facts about launchd that it
//! stands for; the crate's `README.md` lists them.

#[cfg(test)]
mod launchd_support;

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{PermissionsExt, symlink},
        path::{Path, PathBuf},
        process::Command,
        time::{Duration, Instant},
    };

    use nixfleet_tests::launchd::{
        Control, Fault, JobEvent, LaunchdSim, Record, Session,
        command::VerbName,
        domain::ServiceTarget,
        fault::{Hang, Work},
        process_end::ProcessEnd,
    };
    use rustix::process::{Pid, Signal, getpgid, kill_process, test_kill_process};

    use crate::launchd_support::{Bed, Said, drains_until, said, wait_until};

    const LABEL: &str = "com.example.job";
    const FOREVER: &str = "while :; do sleep 0.05; done";
    const RUN_AT_LOAD: &str = "<key>RunAtLoad</key><true/>";
    const KEEP_ALIVE: &str = "<key>KeepAlive</key><true/>";
    const QUICK: &str = "<key>ThrottleInterval</key><integer>1</integer>";

    impl Bed {
        fn bootstrap(&self, plist: &Path) -> Said {
            self.launchctl(&["bootstrap", &self.gui(), plist.to_str().unwrap()])
        }

        /// Writes the plist of an agent into the user's home.
        fn agent(&self, label: &str, script: &str, keys: &str) -> PathBuf {
            let path = self.agent_path(label);
            self.write_plist(&path, label, script, keys);
            path
        }
    }

    fn silent(code: i32) -> Said {
        Said { code: Some(code), stdout: String::new(), stderr: String::new() }
    }

    fn refused(code: i32, stderr: &str) -> Said {
        Said { stderr: stderr.to_owned(), ..silent(code) }
    }

    fn bootstrap_failed_5() -> Said {
        refused(
            5,
            "Bootstrap failed: 5: Input/output error\n\
             Try re-running the command as root for richer errors.\n",
        )
    }

    fn as_root(bed: &Bed, arguments: &[&str]) -> Said {
        let mut command = Command::new(bed.simulation.launchctl());
        said(command.args(arguments).env("NIXFLEET_SIM_CALLER_UID", "0"))
    }

    /// A bed whose user is not root, so that root is somebody else.
    fn bed_of_501() -> Bed {
        Bed::with(|options| options.uid = Some(501))
    }

    fn start(bed: &Bed, script: &str, keys: &str) -> Pid {
        assert_eq!(bed.bootstrap(&bed.agent(LABEL, script, keys)), silent(0));
        running(bed)
    }

    fn running(bed: &Bed) -> Pid {
        bed.wait_for_field(LABEL, "state", "running");
        pid_of(&bed.field(LABEL, "pid").unwrap())
    }

    fn pid_of(text: &str) -> Pid {
        Pid::from_raw(text.trim().parse().unwrap()).unwrap()
    }

    fn lives(pid: Pid) -> bool {
        test_kill_process(pid).is_ok()
    }

    /// Reads a pid that a job writes into a file.
    fn pid_in(bed: &Bed, file: &str) -> Pid {
        let path = bed.path(file);
        wait_until(file, || fs::read_to_string(&path).is_ok_and(|text| text.ends_with('\n')));
        pid_of(&fs::read_to_string(&path).unwrap())
    }

    fn events(bed: &Bed) -> Vec<JobEvent> {
        let records = bed.simulation.job_records(LABEL).unwrap();
        records.into_iter().map(|record| record.event).collect()
    }

    fn spawn_times(bed: &Bed) -> Vec<i64> {
        let records = bed.simulation.job_records(LABEL).unwrap();
        records
            .into_iter()
            .filter(|record| matches!(record.event, JobEvent::Spawned { .. }))
            .map(|record| record.unix_ms)
            .collect()
    }

    // --- domains (2, 3; S1) -----------------------------------------------------------------

    #[test]
    fn without_a_screen_session_there_is_no_gui_domain() {
        let bed = Bed::with(|options| options.session = Session::Background);
        let (uid, gui) = (bed.uid(), bed.gui());
        assert_eq!(
            bed.launchctl(&["print", &gui]),
            refused(112, &format!("Bad request.\nCould not find domain for user gui: {uid}\n"))
        );
        let plist = bed.agent(LABEL, FOREVER, RUN_AT_LOAD);
        let unsupported = "failed: 125: Domain does not support specified action\n";
        assert_eq!(bed.bootstrap(&plist), refused(125, &format!("Bootstrap {unsupported}")));
        assert_eq!(
            bed.launchctl(&["bootout", &bed.target(LABEL)]),
            refused(125, &format!("Boot-out {unsupported}"))
        );
        assert_eq!(bed.launchctl(&["print", &format!("user/{uid}")]).code, Some(0));
        assert_eq!(bed.launchctl(&["managername"]).stdout, "Background\n");
    }

    #[test]
    fn a_label_that_is_not_registered() {
        let bed = Bed::new();
        let uid = bed.uid();
        let not_found = format!("Bad request.\nCould not find service \"{LABEL}\" in domain for ");
        assert_eq!(bed.print(LABEL), refused(113, &format!("{not_found}user gui: {uid}\n")));
        assert_eq!(
            bed.launchctl(&["print", &format!("user/{uid}/{LABEL}")]),
            refused(113, &format!("{not_found}uid: {uid}\n"))
        );
        assert_eq!(
            bed.launchctl(&["bootout", &bed.target(LABEL)]),
            refused(3, "Boot-out failed: 3: No such process\n")
        );
        assert_eq!(bed.launchctl(&["kickstart", &bed.target(LABEL)]).code, Some(113));
        assert_eq!(bed.launchctl(&["managername"]).stdout, "Aqua\n");
    }

    #[test]
    fn the_session_type_decides_where_a_job_loads() {
        let bed = Bed::new();
        let check = |keys: &str, domain: &str, code: i32| {
            let plist = bed.agent(LABEL, FOREVER, keys);
            let target = format!("{domain}/{}", bed.uid());
            let said = bed.launchctl(&["bootstrap", &target, plist.to_str().unwrap()]);
            assert_eq!(said.code, Some(code), "{domain} {keys}");
            bed.launchctl(&["bootout", &format!("{target}/{LABEL}")]);
        };
        let aqua = "<key>LimitLoadToSessionType</key><string>Aqua</string>";
        let background = "<key>LimitLoadToSessionType</key><string>Background</string>";
        for (keys, gui, user) in [("", 0, 5), (aqua, 0, 5), (background, 5, 0)] {
            check(keys, "gui", gui);
            check(keys, "user", user);
        }
    }

    #[test]
    fn the_same_label_may_be_loaded_in_both_domains() {
        let bed = Bed::new();
        let both = "<key>LimitLoadToSessionType</key>\
                    <array><string>Aqua</string><string>Background</string></array>";
        let plist = bed.agent(LABEL, FOREVER, both);
        let user = format!("user/{}", bed.uid());
        assert_eq!(bed.bootstrap(&plist).code, Some(0));
        let said = bed.launchctl(&["bootstrap", &user, plist.to_str().unwrap()]);
        assert_eq!(said.code, Some(0));
        assert_eq!(bed.launchctl(&["bootout", &bed.target(LABEL)]).code, Some(0));
        assert_eq!(bed.print(LABEL).code, Some(113));
        assert_eq!(bed.launchctl(&["print", &format!("{user}/{LABEL}")]).code, Some(0));
    }

    #[test]
    fn another_users_domain_is_closed() {
        let bed = Bed::new();
        let said = bed.launchctl(&["print", "gui/77777"]);
        assert_eq!(said, refused(1, "Could not print domain: 1: Operation not permitted\n"));
        assert_eq!(bed.launchctl(&["bootout", "gui/77777/a"]).code, Some(1));
    }

    // --- the definition (4; S2) ---------------------------------------------------------------

    #[test]
    fn the_plist_is_read_at_bootstrap_and_ignored_afterwards() {
        let bed = Bed::new();
        start(&bed, "echo old >> out; sleep 60", &format!("{KEEP_ALIVE}{QUICK}"));
        wait_until("first run", || bed.path("out").exists());
        bed.agent(LABEL, "echo new >> out; sleep 60", &format!("{KEEP_ALIVE}{QUICK}"));
        bed.launchctl(&["kickstart", "-k", &bed.target(LABEL)]);
        bed.wait_for_field(LABEL, "runs", "2");
        let out = || fs::read_to_string(bed.path("out")).unwrap_or_default();
        wait_until("second run", || out().lines().count() == 2);
        assert_eq!(out(), "old\nold\n");
        assert!(bed.print(LABEL).stdout.contains("echo old"));
        bed.launchctl(&["bootout", &bed.target(LABEL)]);
        bed.wait_until_gone(LABEL);
        assert_eq!(bed.bootstrap(&bed.agent_path(LABEL)), silent(0));
        wait_until("third run", || out() == "old\nold\nnew\n");
    }

    #[test]
    fn a_plist_must_be_a_sound_file() {
        let bed = bed_of_501();
        let plist = bed.agent(LABEL, FOREVER, "");
        let path = plist.to_str().unwrap();
        let both = |user: i32, root: i32| {
            assert_eq!(bed.launchctl(&["bootstrap", "gui/501", path]).code, Some(user));
            assert_eq!(as_root(&bed, &["bootstrap", "gui/501", path]).code, Some(root));
        };
        fs::set_permissions(&plist, fs::Permissions::from_mode(0o664)).unwrap();
        both(5, 122);
        fs::write(&plist, "<plist><dict>").unwrap();
        fs::set_permissions(&plist, fs::Permissions::from_mode(0o644)).unwrap();
        both(5, 109);
        fs::remove_file(&plist).unwrap();
        both(5, 2);
    }

    // --- bootout drains (2, 5.1; S3, S4) --------------------------------------------------------

    #[test]
    fn bootout_returns_at_once_and_the_label_stays_until_the_process_is_gone() {
        let bed = Bed::new();
        let pid = start(&bed, &drains_until("go"), KEEP_ALIVE);
        let called = Instant::now();
        assert_eq!(bed.launchctl(&["bootout", &bed.target(LABEL)]), silent(0));
        assert!(called.elapsed() < Duration::from_secs(2) && lives(pid));
        assert_eq!(bed.field(LABEL, "state").unwrap(), "SIGTERMed");
        assert_eq!(bed.bootstrap(&bed.agent_path(LABEL)), bootstrap_failed_5());
        assert_eq!(bed.launchctl(&["kickstart", &bed.target(LABEL)]), silent(37));
        assert_eq!(bed.launchctl(&["kickstart", "-k", &bed.target(LABEL)]), silent(37));
        assert_eq!(bed.launchctl(&["bootout", &bed.target(LABEL)]).code, Some(5));
        fs::write(bed.path("go"), "").unwrap();
        bed.wait_until_gone(LABEL);
        assert!(!lives(pid));
        assert_eq!(bed.bootstrap(&bed.agent_path(LABEL)), silent(0));
        assert_ne!(running(&bed), pid);
    }

    #[test]
    fn root_is_told_the_real_code() {
        let bed = bed_of_501();
        start(&bed, &drains_until("go"), RUN_AT_LOAD);
        let path = bed.agent_path(LABEL);
        let arguments = ["bootstrap", "gui/501", path.to_str().unwrap()];
        let already = refused(37, "Bootstrap failed: 37: Operation already in progress\n");
        assert_eq!(as_root(&bed, &arguments), already);
        assert_eq!(bed.launchctl(&arguments), bootstrap_failed_5());
        assert_eq!(as_root(&bed, &["bootout", &bed.target(LABEL)]), silent(0));
        assert_eq!(as_root(&bed, &arguments), already);
    }

    #[test]
    fn a_job_that_ignores_sigterm_is_killed_after_its_exit_timeout() {
        let bed = Bed::new();
        let keys = format!("{RUN_AT_LOAD}<key>ExitTimeOut</key><integer>1</integer>");
        let pid = start(&bed, &format!("trap '' TERM; {FOREVER}"), &keys);
        assert_eq!(bed.field(LABEL, "exit timeout").unwrap(), "1");
        let called = Instant::now();
        bed.launchctl(&["bootout", &bed.target(LABEL)]);
        bed.wait_until_gone(LABEL);
        assert!(called.elapsed() >= Duration::from_secs(1) && !lives(pid));
        assert!(events(&bed).contains(&JobEvent::Exited {
            pid: pid.as_raw_nonzero().get(),
            end: ProcessEnd::Signalled(Signal::KILL.as_raw()),
        }));
    }

    #[test]
    fn wait_is_a_usage_error_up_to_macos_15_and_stops_nothing() {
        let bed = Bed::new();
        let pid = start(&bed, FOREVER, RUN_AT_LOAD);
        let said = bed.launchctl(&["bootout", "--wait", &bed.target(LABEL)]);
        assert_eq!(said.code, Some(64));
        assert!(said.stderr.starts_with("Unrecognized target specifier.\nUsage:"), "{said:?}");
        assert_eq!(running(&bed), pid);
        assert!(!events(&bed).iter().any(|event| matches!(event, JobEvent::Signalled { .. })));
    }

    #[test]
    fn wait_returns_from_macos_26_on_when_the_label_is_gone() {
        let bed = Bed::with(|options| options.macos = 26);
        let pid =
            start(&bed, "trap 'sleep 0.3; exit' TERM; while :; do sleep 0.02; done", KEEP_ALIVE);
        assert_eq!(bed.launchctl(&["bootout", "--wait", &bed.target(LABEL)]), silent(0));
        assert!(!lives(pid));
        assert_eq!(bed.bootstrap(&bed.agent_path(LABEL)), silent(0));
    }

    #[test]
    fn macos_11_answers_36_for_a_slow_job() {
        let bed = Bed::with(|options| options.macos = 11);
        start(&bed, &drains_until("go"), RUN_AT_LOAD);
        assert_eq!(
            bed.launchctl(&["bootout", &bed.target(LABEL)]),
            refused(36, "Boot-out failed: 36: Operation now in progress\n")
        );
        fs::write(bed.path("go"), "").unwrap();
        bed.wait_until_gone(LABEL);
    }

    #[test]
    fn bootout_by_plist_blocks_until_the_exit() {
        let bed = Bed::new();
        let script = "trap 'sleep 0.3; exit' TERM; while :; do sleep 0.02; done";
        let pid = start(&bed, script, RUN_AT_LOAD);
        let path = bed.agent_path(LABEL);
        let arguments = ["bootout", &bed.gui(), path.to_str().unwrap()];
        assert_eq!(bed.launchctl(&arguments), silent(0));
        assert!(!lives(pid));
        assert_eq!(bed.launchctl(&arguments).code, Some(5));
    }

    // --- real processes (4; S5) -----------------------------------------------------------------

    #[test]
    fn the_group_gets_one_sigterm_and_who_left_it_lives_on() {
        let bed = Bed::new();
        let script = "sleep 300 & echo $! > member; \
                      (trap '' TERM; sleep 300 & echo $! > stubborn; wait) & \
                      set -m; sleep 300 & echo $! > departed; set +m; while :; do sleep 0.05; done";
        let main = start(&bed, script, RUN_AT_LOAD);
        let [member, stubborn, departed] =
            ["member", "stubborn", "departed"].map(|file| pid_in(&bed, file));
        assert_eq!(getpgid(Some(main)).unwrap(), main);
        assert_eq!(getpgid(Some(member)).unwrap(), main);
        assert_ne!(getpgid(Some(departed)).unwrap(), main);
        bed.launchctl(&["bootout", &bed.target(LABEL)]);
        bed.wait_until_gone(LABEL);
        wait_until("the member ends", || !lives(member));
        assert!(lives(stubborn), "the group is never killed");
        assert!(lives(departed), "another group is not touched");
        bed.simulation.stop();
        wait_until("the simulation leaves nothing in its groups", || !lives(stubborn));
        kill_process(departed, Signal::KILL).unwrap();
    }

    #[test]
    fn an_abandoned_group_is_left_alone() {
        let bed = Bed::new();
        let keys = format!("{RUN_AT_LOAD}<key>AbandonProcessGroup</key><true/>");
        start(&bed, &format!("sleep 300 & echo $! > member; {FOREVER}"), &keys);
        let member = pid_in(&bed, "member");
        bed.launchctl(&["bootout", &bed.target(LABEL)]);
        bed.wait_until_gone(LABEL);
        assert!(lives(member));
        assert!(!events(&bed).iter().any(|event| matches!(event, JobEvent::GroupSignalled { .. })));
    }

    #[test]
    fn a_caller_inside_the_group_dies_with_it() {
        let bed = Bed::new();
        let target = bed.target(LABEL);
        let script = format!(
            "(until [ -e go ]; do sleep 0.02; done; bin/launchctl bootout {target}; sleep 1; \
             touch survived) & wait; sleep 300"
        );
        start(&bed, &script, RUN_AT_LOAD);
        fs::write(bed.path("go"), "").unwrap();
        bed.wait_until_gone(LABEL);
        let processes = || {
            let group = spawned(&bed)[0];
            rustix::process::test_kill_process_group(group).is_ok()
        };
        wait_until("the group is empty", || !processes());
        assert!(!bed.path("survived").exists());
    }

    fn spawned(bed: &Bed) -> Vec<Pid> {
        events(bed)
            .into_iter()
            .filter_map(|event| {
                if let JobEvent::Spawned { pid } = event { Pid::from_raw(pid) } else { None }
            })
            .collect()
    }

    #[test]
    fn a_job_has_a_bare_environment_and_what_its_plist_says() {
        let bed = Bed::with(|options| options.user = None);
        let out = bed.path("logs/deep/out");
        let keys = format!(
            "{RUN_AT_LOAD}<key>StandardOutPath</key><string>{}</string>\
             <key>StandardErrorPath</key><string>{}</string>\
             <key>EnvironmentVariables</key><dict><key>OWN</key><string>value</string></dict>",
            out.display(),
            bed.path("err").display(),
        );
        assert_eq!(bed.bootstrap(&bed.agent(LABEL, "env; pwd; echo oops >&2", &keys)), silent(0));
        bed.wait_for_field(LABEL, "last exit code", "0");
        let text = fs::read_to_string(out).unwrap();
        let has = |line: String| assert!(text.lines().any(|have| have == line), "{line}: {text}");
        has("PATH=/usr/bin:/bin:/usr/sbin:/sbin".to_owned());
        has(format!("HOME={}", bed.options.home.display()));
        has(format!("XPC_SERVICE_NAME={LABEL}"));
        has("OWN=value".to_owned());
        has(format!("TMPDIR={}", bed.path("launchd/tmp").display()));
        has(bed.path("").canonicalize().unwrap().display().to_string());
        assert!(!text.contains("USER=") && !text.contains("CARGO"), "{text}");
        assert_eq!(fs::read_to_string(bed.path("err")).unwrap(), "oops\n");
    }

    // --- starting again (4; S6) -------------------------------------------------------------------

    #[test]
    fn keep_alive_starts_again_no_sooner_than_the_throttle() {
        let bed = Bed::new();
        start(&bed, "echo run >> out; sleep 0.2", &format!("{KEEP_ALIVE}{QUICK}"));
        bed.wait_for_field(LABEL, "state", "spawn scheduled");
        // A demand does not bypass the throttle.
        assert_eq!(bed.launchctl(&["kickstart", &bed.target(LABEL)]), silent(0));
        wait_until("three starts", || spawn_times(&bed).len() >= 3);
        let times = spawn_times(&bed);
        for pair in times.windows(2) {
            let gap = pair[1] - pair[0];
            // The throttle runs on the monotonic clock, the log on the wall clock in whole
            // milliseconds.
            assert!((995..2500).contains(&gap), "{times:?}");
        }
        assert_eq!(bed.field(LABEL, "minimum runtime").unwrap(), "1");
    }

    #[test]
    fn keep_alive_after_failure_only() {
        let bed = Bed::new();
        let keys =
            format!("<key>KeepAlive</key><dict><key>SuccessfulExit</key><false/></dict>{QUICK}");
        let script = "if [ -e tried ]; then exit 0; fi; touch tried; exit 1";
        assert_eq!(bed.bootstrap(&bed.agent(LABEL, script, &keys)), silent(0));
        bed.wait_for_field(LABEL, "runs", "2");
        bed.wait_for_field(LABEL, "state", "not running");
        assert_eq!(bed.field(LABEL, "last exit code").unwrap(), "0");
    }

    #[test]
    fn an_exit_is_noticed_within_milliseconds() {
        let bed = Bed::new();
        let pid = start(&bed, FOREVER, RUN_AT_LOAD);
        kill_process(pid, Signal::KILL).unwrap();
        let killed = Instant::now();
        bed.wait_for_field(LABEL, "state", "not running");
        assert!(killed.elapsed() < Duration::from_millis(500), "{:?}", killed.elapsed());
        assert_eq!(bed.field(LABEL, "last terminating signal").unwrap(), "Killed: 9");
    }

    #[test]
    fn kickstart_starts_prints_and_restarts() {
        let bed = Bed::new();
        let target = bed.target(LABEL);
        assert_eq!(bed.bootstrap(&bed.agent(LABEL, FOREVER, QUICK)), silent(0));
        assert_eq!(bed.field(LABEL, "state").unwrap(), "not running");
        let said = bed.launchctl(&["kickstart", "-p", &target]);
        let first = pid_of(&said.stdout);
        assert_eq!(running(&bed), first);
        assert_eq!(bed.field(LABEL, "immediate reason").unwrap(), "non-ipc demand");
        assert_eq!(bed.launchctl(&["kickstart", &target]), silent(0));
        let second = pid_of(&bed.launchctl(&["kickstart", "-k", "-p", &target]).stdout);
        assert!(second != first && !lives(first));
        assert_eq!(running(&bed), second);
    }

    #[test]
    fn kill_signals_the_main_process_and_keeps_the_job() {
        let bed = Bed::new();
        let target = bed.target(LABEL);
        let first = start(&bed, FOREVER, RUN_AT_LOAD);
        assert_eq!(bed.launchctl(&["kill", "SIGTERM", &target]), silent(0));
        wait_until("it ended", || !lives(first));
        bed.wait_for_field(LABEL, "last terminating signal", "Terminated: 15");
        assert_eq!(
            bed.launchctl(&["kill", "TERM", &target]),
            refused(3, "No process to signal.\n")
        );
    }

    // --- programs that cannot be executed (4; S10) --------------------------------------------------

    #[test]
    fn a_missing_program_loads_and_then_stays_down_with_78() {
        let bed = Bed::new();
        let missing = format!(
            "{KEEP_ALIVE}<key>Program</key><string>{}</string>",
            bed.path("missing").display()
        );
        let plist = bed.agent(LABEL, FOREVER, &missing);
        assert_eq!(bed.bootstrap(&plist), silent(0));
        bed.wait_for_field(LABEL, "last exit code", "78: EX_CONFIG");
        symlink("/bin/bash", bed.path("missing")).unwrap();
        assert_eq!(bed.launchctl(&["kickstart", &bed.target(LABEL)]), silent(0));
        assert_eq!(bed.field(LABEL, "state").unwrap(), "not running");
        bed.launchctl(&["bootout", &bed.target(LABEL)]);
        assert_eq!(bed.bootstrap(&plist), silent(0));
        running(&bed);
    }

    #[test]
    fn an_output_file_that_cannot_be_opened_gives_78_too() {
        let bed = Bed::new();
        let keys = format!(
            "{RUN_AT_LOAD}<key>StandardOutPath</key><string>{}</string>",
            bed.path("").display()
        );
        assert_eq!(bed.bootstrap(&bed.agent(LABEL, FOREVER, &keys)), silent(0));
        bed.wait_for_field(LABEL, "last exit code", "78: EX_CONFIG");
    }

    // --- overrides, logins, moods (2, 3, 5; S7, S8, S11) ----------------------------------------------

    #[test]
    fn a_disabled_label_does_not_load_and_the_override_outlives_a_reboot() {
        let bed = bed_of_501();
        let plist = bed.agent(LABEL, FOREVER, RUN_AT_LOAD);
        let path = plist.to_str().unwrap();
        assert_eq!(bed.launchctl(&["disable", &bed.target(LABEL)]), silent(0));
        assert_eq!(bed.bootstrap(&plist), bootstrap_failed_5());
        assert_eq!(
            as_root(&bed, &["bootstrap", "gui/501", path]),
            refused(119, "Bootstrap failed: 119: Service is disabled\n")
        );
        let Bed { simulation, options, .. } = &bed;
        let listed = || bed.launchctl(&["print-disabled", "user/501"]).stdout;
        assert_eq!(
            listed(),
            format!("\tdisabled services = {{\n\t\t\"{LABEL}\" => disabled\n\t}}\n")
        );
        bed.simulation.control(Control::Logout).unwrap();
        kill_process(Pid::from_raw(simulation.pid().cast_signed()).unwrap(), Signal::TERM).unwrap();
        wait_until("launchd has ended", || !bed.path("launchd/socket").exists());
        let after_reboot = LaunchdSim::start(&bed.path(""), options).unwrap();
        assert!(listed().contains("=> disabled"));
        assert_eq!(bed.launchctl(&["enable", &bed.target(LABEL)]), silent(0));
        assert_eq!(bed.bootstrap(&plist), silent(0));
        after_reboot.stop();
    }

    #[test]
    fn a_login_loads_what_it_may_and_a_logout_ends_it() {
        let bed = Bed::with(|options| options.session = Session::Background);
        bed.agent("good", FOREVER, RUN_AT_LOAD);
        bed.agent("unwanted", FOREVER, RUN_AT_LOAD);
        let writable = bed.agent("writable", FOREVER, RUN_AT_LOAD);
        fs::set_permissions(writable, fs::Permissions::from_mode(0o666)).unwrap();
        bed.write_plist(&bed.path("linked.plist"), "linked", FOREVER, RUN_AT_LOAD);
        symlink(bed.path("linked.plist"), bed.agent_path("linked")).unwrap();
        bed.launchctl(&["disable", &bed.target("unwanted")]);
        bed.simulation.control(Control::Login).unwrap();
        bed.wait_for_field("good", "state", "running");
        for label in ["unwanted", "writable", "linked"] {
            assert_eq!(bed.print(label).code, Some(113), "{label}");
        }
        bed.simulation.control(Control::Logout).unwrap();
        wait_until("the domain is gone", || {
            bed.launchctl(&["print", &bed.gui()]).code == Some(112)
        });
    }

    #[test]
    fn links_are_loaded_at_login_before_macos_14() {
        let bed = Bed::with(|options| {
            options.session = Session::Background;
            options.macos = 13;
        });
        bed.write_plist(&bed.path("linked.plist"), "linked", FOREVER, RUN_AT_LOAD);
        symlink(bed.path("linked.plist"), bed.agent_path("linked")).unwrap();
        bed.simulation.control(Control::Login).unwrap();
        bed.wait_for_field("linked", "state", "running");
    }

    #[test]
    fn in_on_demand_only_mode_a_job_is_pended_until_somebody_asks() {
        let bed = Bed::new();
        bed.simulation.control(Control::OnDemandCount(2)).unwrap();
        assert!(bed.launchctl(&["print", &bed.gui()]).stdout.contains("\n\ton-demand count = 2\n"));
        assert_eq!(bed.bootstrap(&bed.agent(LABEL, FOREVER, KEEP_ALIVE)), silent(0));
        assert_eq!(bed.field(LABEL, "pended nondemand spawn").unwrap(), "speculative");
        assert_eq!(bed.field(LABEL, "state").unwrap(), "not running");
        assert_eq!(bed.field(LABEL, "runs").unwrap(), "0");
        assert_eq!(bed.launchctl(&["kickstart", &bed.target(LABEL)]), silent(0));
        running(&bed);
        assert_eq!(bed.field(LABEL, "pended nondemand spawn"), None);
    }

    #[test]
    fn a_job_can_be_thrown_out_after_it_was_accepted() {
        let bed = Bed::new();
        let pid = start(&bed, FOREVER, KEEP_ALIVE);
        let target = ServiceTarget::parse(&bed.target(LABEL)).unwrap();
        bed.simulation.control(Control::Remove(target.clone())).unwrap();
        bed.wait_until_gone(LABEL);
        assert!(!lives(pid));
        assert!(bed.simulation.control(Control::Remove(target)).is_err());
    }

    // --- texts (3; S12) -----------------------------------------------------------------------------

    #[test]
    fn lists_in_the_old_style() {
        let bed = Bed::new();
        let pid = start(&bed, FOREVER, KEEP_ALIVE).as_raw_nonzero();
        let listing = bed.launchctl(&["list"]).stdout;
        assert_eq!(listing, format!("PID\tStatus\tLabel\n{pid}\t0\t{LABEL}\n"));
        let job = bed.launchctl(&["list", LABEL]).stdout;
        assert!(job.starts_with("{\n") && job.ends_with("};\n"), "{job}");
        for line in [
            format!("\t\"Label\" = \"{LABEL}\";"),
            "\t\"OnDemand\" = false;".to_owned(),
            "\t\"LastExitStatus\" = 0;".to_owned(),
            format!("\t\"PID\" = {pid};"),
        ] {
            assert!(job.lines().any(|have| have == line), "{line}: {job}");
        }
        assert_eq!(bed.launchctl(&["list", "none"]).code, Some(113));
    }

    #[test]
    fn nonsense_is_a_usage_error() {
        let bed = Bed::new();
        for arguments in [&["frobnicate"][..], &["print"], &["print", LABEL], &[]] {
            let said = bed.launchctl(arguments);
            assert_eq!(said.code, Some(64), "{arguments:?}");
            assert!(said.stderr.contains("Usage:"), "{said:?}");
        }
        assert_eq!(bed.launchctl(&["version"]).code, Some(0));
    }

    // --- faults and the log (8; S14) -----------------------------------------------------------------

    #[test]
    fn a_fault_meets_as_many_calls_as_it_says() {
        let bed = Bed::new();
        let plist = bed.agent(LABEL, FOREVER, RUN_AT_LOAD);
        bed.simulation.set_faults(&[Fault::on(VerbName::Bootstrap).times(2).code(5)]).unwrap();
        assert_eq!(bed.bootstrap(&plist), bootstrap_failed_5());
        assert_eq!(bed.print(LABEL).code, Some(113));
        assert_eq!(bed.bootstrap(&plist), bootstrap_failed_5());
        assert_eq!(bed.bootstrap(&plist), silent(0));
    }

    #[test]
    fn a_fault_can_lie_about_work_that_was_done_or_not() {
        let bed = Bed::new();
        start(&bed, FOREVER, RUN_AT_LOAD);
        let no_op = Fault::on(VerbName::Bootout).code(0).times(1);
        let lying = Fault { work: Some(Work::Done), ..Fault::on(VerbName::Bootout).code(36) };
        bed.simulation.set_faults(&[no_op, lying]).unwrap();
        assert_eq!(bed.launchctl(&["bootout", &bed.target(LABEL)]), silent(0));
        running(&bed);
        assert_eq!(bed.launchctl(&["bootout", &bed.target(LABEL)]).code, Some(36));
        bed.wait_until_gone(LABEL);
    }

    #[test]
    fn a_fault_can_hang_a_call_and_change_its_output() {
        let bed = Bed::new();
        let hang = Fault { hang_seconds: 0.4, hang: Hang::After, ..Fault::on(VerbName::Version) };
        let garbled = Fault {
            output: Some("garbled\n".to_owned()),
            label: Some(LABEL.to_owned()),
            ..Fault::on(VerbName::Print)
        };
        bed.simulation.set_faults(&[hang, garbled]).unwrap();
        let called = Instant::now();
        assert_eq!(bed.launchctl(&["version"]).code, Some(0));
        assert!(called.elapsed() >= Duration::from_millis(400));
        assert_eq!(bed.print(LABEL), Said { stdout: "garbled\n".to_owned(), ..silent(0) });
        assert_eq!(bed.print("other").code, Some(113));
    }

    #[test]
    fn a_fault_can_make_things_happen_around_a_call() {
        let bed = Bed::new();
        let plist = bed.agent(LABEL, FOREVER, RUN_AT_LOAD);
        let disabling = Fault {
            after: vec![Control::Disable(LABEL.to_owned())],
            ..Fault::on(VerbName::Enable)
        };
        let leaving = Fault { before: vec![Control::Logout], ..Fault::on(VerbName::Kickstart) };
        bed.simulation.set_faults(&[disabling, leaving]).unwrap();
        assert_eq!(bed.launchctl(&["enable", &bed.target(LABEL)]), silent(0));
        assert_eq!(bed.bootstrap(&plist).code, Some(5));
        assert_eq!(bed.launchctl(&["kickstart", &bed.target(LABEL)]).code, Some(112));
    }

    #[test]
    fn faults_that_cannot_be_read_are_loud() {
        let bed = Bed::new();
        fs::write(bed.path("launchd/faults.json"), "[{\"verb\":\"print\",\"cod\":5}]").unwrap();
        let said = bed.print(LABEL);
        assert_eq!(said.code, Some(70));
        assert!(said.stderr.contains("faults.json"), "{said:?}");
    }

    #[test]
    fn every_call_and_every_happening_is_in_the_log() {
        let bed = Bed::new();
        let pid = start(&bed, FOREVER, RUN_AT_LOAD).as_raw_nonzero().get();
        bed.launchctl(&["bootout", &bed.target(LABEL)]);
        bed.wait_until_gone(LABEL);
        let end = ProcessEnd::Signalled(15);
        assert_eq!(
            events(&bed),
            [
                JobEvent::Registered,
                JobEvent::Spawned { pid },
                JobEvent::Signalled { pid, signal: 15 },
                JobEvent::Exited { pid, end },
                JobEvent::GroupSignalled { group: pid },
                JobEvent::Removed,
            ]
        );
        let calls = bed.simulation.calls().unwrap();
        let (first, last) = (calls.first().unwrap(), calls.last().unwrap());
        assert_eq!((first.verb(), first.code), ("bootstrap", 0));
        assert_eq!((last.verb(), last.code), ("print", 113));
        let records = bed.simulation.records().unwrap();
        assert!(records.iter().all(|record| match record {
            Record::Call(call) => call.unix_ms > 0 && call.pid > 0 && call.duration_ms < 5000,
            Record::Job(record) => record.unix_ms > 0,
        }));
    }

    // --- the simulation's own manners ------------------------------------------------------------------

    #[test]
    fn when_launchd_ends_all_its_jobs_end() {
        let bed = Bed::new();
        let keys = format!("{RUN_AT_LOAD}<key>ExitTimeOut</key><integer>0</integer>");
        let stubborn = start(&bed, &format!("trap '' TERM; {FOREVER}"), &keys);
        let launchctl = bed.simulation.launchctl();
        let stopped = Instant::now();
        bed.simulation.stop();
        assert!(stopped.elapsed() < Duration::from_secs(5));
        assert!(!lives(stubborn));
        let said = said(Command::new(launchctl).arg("list"));
        assert_eq!(said.code, Some(1));
        assert!(said.stderr.contains("launchd is gone"), "{said:?}");
    }

    #[test]
    fn a_second_launchd_in_the_same_sandbox_is_refused() {
        let bed = Bed::new();
        let pid = start(&bed, FOREVER, RUN_AT_LOAD);
        let mut second = Command::new(&bed.options.programs.launchd);
        let said = said(second.arg("--dir").arg(bed.path("launchd")).arg("--home").arg("/"));
        assert_eq!(said.code, Some(1));
        assert!(said.stderr.contains("another launchd-sim answers"), "{said:?}");
        assert_eq!(running(&bed), pid);
    }

    #[test]
    fn launchctl_finds_its_launchd_by_path_and_by_name() {
        let bed = Bed::new();
        let mut by_name = Command::new("/bin/sh");
        by_name.args(["-c", "launchctl managername"]).env_clear();
        by_name.env("PATH", format!("{}:/usr/bin:/bin", bed.path("bin").display()));
        assert_eq!(said(&mut by_name).stdout, "Aqua\n");
        let mut by_path = Command::new("/bin/sh");
        by_path.args(["-c", "cd bin && ./launchctl managername"]).env_clear();
        assert_eq!(said(by_path.current_dir(bed.path(""))).stdout, "Aqua\n");
    }
}
