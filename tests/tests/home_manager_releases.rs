//! The fake home-manager against the simulated launchd: what each release does when all goes
//! well, and the ways in which the real ones leave an agent dark.
//!
//! H1 to H6 are the names these ways have in the collected facts about launchd, chapter 1.

#[cfg(test)]
mod launchd_support;

#[cfg(test)]
mod tests {
    use std::{
        fs,
        io::Read,
        os::unix::{
            fs::{PermissionsExt, symlink},
            process::{CommandExt, ExitStatusExt},
        },
        path::{Path, PathBuf},
        process::{Child, Command, Stdio},
        time::{Duration, Instant},
    };

    use nixfleet_tests::launchd::Options;

    use crate::launchd_support::{Bed, Said, drains_until, said, wait_until};

    const LABEL: &str = "com.nixfleet.agent";
    const KEEP_ALIVE: &str = "<key>KeepAlive</key><true/>";
    const SIGPIPE: i32 = 13;
    /// A job that ends as soon as it is told to.
    const PROMPT_JOB: &str = "while :; do sleep 0.05; done";

    /// A sandbox in which home-manager has put the first plist in place, and the agent runs.
    struct Mac {
        bed: Bed,
    }

    impl Mac {
        fn new(release: &str, macos: u32, old_script: &str) -> Self {
            Self::with(release, macos, old_script, |_| {})
        }

        fn with(
            release: &str,
            macos: u32,
            old_script: &str,
            change: impl FnOnce(&mut Options),
        ) -> Self {
            let bed = Bed::with(|options| {
                options.macos = macos;
                change(options);
            });
            symlink(program(), bed.path("bin/home-manager")).unwrap();
            let mac = Self { bed };
            let keys = format!("{KEEP_ALIVE}<key>ExitTimeOut</key><integer>60</integer>");
            let old = mac.bed.path("old.plist");
            mac.bed.write_plist(&old, LABEL, &format!("{old_script} # old"), &keys);
            mac.scenario(&scenario(release, macos, &old));
            let said = mac.switch();
            assert_eq!(said.code, Some(0), "{said:?}");
            mac.bed.wait_for_field(LABEL, "state", "running");
            let new = mac.bed.path("new.plist");
            mac.bed.write_plist(&new, LABEL, &format!("{PROMPT_JOB} # new"), &keys);
            mac.scenario(&scenario(release, macos, &new));
            mac
        }

        fn scenario(&self, text: &str) {
            fs::create_dir_all(self.bed.path("home-manager")).unwrap();
            fs::write(self.bed.path("home-manager/scenario.sh"), text).unwrap();
        }

        fn add_to_scenario(&self, text: &str) {
            let path = self.bed.path("home-manager/scenario.sh");
            let scenario = fs::read_to_string(&path).unwrap();
            fs::write(path, format!("{scenario}{text}\n")).unwrap();
        }

        fn command(&self, arguments: &[&str]) -> Command {
            let mut command = Command::new(self.bed.path("bin/home-manager"));
            command
                .args(arguments)
                .env_clear()
                .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
                .env("HOME", &self.bed.options.home)
                .env("USER", "tester");
            command
        }

        fn switch(&self) -> Said {
            said(&mut self.command(&["switch", "--flake", ".", "-v"]))
        }

        /// Starts a switch whose output is read through a pipe.
        fn start_switch(&self) -> Child {
            self.command(&["switch"]).process_group(0).stdout(Stdio::piped()).spawn().unwrap()
        }

        fn trace(&self) -> String {
            fs::read_to_string(self.bed.path("home-manager/trace.log")).unwrap_or_default()
        }

        fn wait_for_step(&self, step: &str) {
            wait_until(step, || self.trace().lines().any(|line| line.ends_with(step)));
        }

        /// Starts the count of steps anew.
        fn forget_steps(&self) {
            fs::write(self.bed.path("home-manager/trace.log"), "").unwrap();
        }

        fn installed(&self) -> Installed {
            let text = fs::read_to_string(self.bed.agent_path(LABEL)).unwrap();
            if text.contains("# new") { Installed::New } else { Installed::Old }
        }

        /// The definition that launchd holds, if the label is registered at all.
        fn loaded(&self) -> Option<Installed> {
            let said = self.bed.print(LABEL);
            match said.code {
                Some(113) => None,
                Some(0) if said.stdout.contains("# new") => Some(Installed::New),
                Some(0) => Some(Installed::Old),
                code => panic!("print answered {code:?}"),
            }
        }

        fn link(&self, name: &str) -> Option<PathBuf> {
            fs::read_link(self.bed.options.home.join(".local/state").join(name)).ok()
        }

        fn current_home(&self) -> PathBuf {
            self.link("home-manager/gcroots/current-home").unwrap()
        }

        fn profile(&self) -> PathBuf {
            let link = self.link("nix/profiles/home-manager").unwrap();
            self.link(&format!("nix/profiles/{}", link.display())).unwrap()
        }

        fn activation_is_complete(&self) -> bool {
            self.current_home() == self.profile()
                && self.link("home-manager/gcroots/new-home").is_none()
        }

        /// Nobody comes: the label stays away although the old process is long gone.
        fn is_dark(&self) -> bool {
            self.loaded().is_none()
        }
    }

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Installed {
        Old,
        New,
    }

    fn program() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("programs/home-manager")
    }

    fn scenario(release: &str, macos: u32, plist: &Path) -> String {
        format!(
            "RELEASE={release}\nMACOS_MAJOR={macos}\nAGENT_LABEL={LABEL}\nNEW_PLIST='{}'\n",
            plist.display()
        )
    }

    // --- when all goes well --------------------------------------------------------------------

    fn replaces_the_agent(release: &str, macos: u32) {
        let mac = Mac::new(release, macos, PROMPT_JOB);
        let old_pid = mac.bed.field(LABEL, "pid");
        let said = mac.switch();
        assert_eq!(said.code, Some(0), "{said:?}");
        assert_eq!((mac.installed(), mac.loaded()), (Installed::New, Some(Installed::New)));
        mac.bed.wait_for_field(LABEL, "state", "running");
        assert_ne!(mac.bed.field(LABEL, "pid"), old_pid);
        assert!(mac.activation_is_complete());
        let mode = fs::metadata(mac.bed.agent_path(LABEL)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o444);

        // A second switch finds nothing to do.
        mac.forget_steps();
        let pid = mac.bed.field(LABEL, "pid");
        assert_eq!(mac.switch().code, Some(0));
        assert!(mac.trace().contains("up to date") && !mac.trace().contains("bootout"));
        assert_eq!(mac.bed.field(LABEL, "pid"), pid);
    }

    #[test]
    fn release_24_11_replaces_a_prompt_agent() {
        replaces_the_agent("24.11", 15);
    }

    #[test]
    fn release_25_05_replaces_a_prompt_agent() {
        replaces_the_agent("25.05", 15);
    }

    #[test]
    fn release_25_11_replaces_a_prompt_agent() {
        replaces_the_agent("25.11", 15);
    }

    #[test]
    fn release_26_05_replaces_an_agent_on_macos_26() {
        replaces_the_agent("26.05", 26);
    }

    #[test]
    fn master_replaces_a_prompt_agent_on_macos_15() {
        replaces_the_agent("master", 15);
    }

    #[test]
    fn master_replaces_an_agent_on_macos_26() {
        replaces_the_agent("master", 26);
    }

    #[test]
    fn an_agent_that_the_new_generation_does_not_have_is_removed() {
        let mac = Mac::new("master", 26, PROMPT_JOB);
        mac.add_to_scenario("NEW_PLIST=none");
        assert_eq!(mac.switch().code, Some(0));
        assert!(mac.is_dark() && !mac.bed.agent_path(LABEL).exists());
    }

    #[test]
    fn an_unchanged_plist_is_carried_over_and_the_agent_left_alone() {
        let mac = Mac::new("25.11", 15, PROMPT_JOB);
        mac.add_to_scenario("NEW_PLIST=");
        let pid = mac.bed.field(LABEL, "pid");
        assert_eq!(mac.switch().code, Some(0));
        assert_eq!(mac.bed.field(LABEL, "pid"), pid);
        assert!(mac.activation_is_complete());
        assert_eq!(
            mac.link("nix/profiles/home-manager").unwrap(),
            Path::new("home-manager-2-link")
        );
    }

    // --- H1: the job outlives the wait -----------------------------------------------------------

    fn goes_dark_and_says_up_to_date_for_ever(release: &str) {
        let mac = Mac::new(release, 15, &drains_until("go"));
        let said = mac.switch();
        assert_eq!(said.code, Some(0), "the failure is logged only: {said:?}");
        assert!(said.stdout.contains("with I/O error (code 5)"), "{}", said.stdout);
        assert_eq!(mac.installed(), Installed::New);
        assert!(mac.activation_is_complete());
        fs::write(mac.bed.path("go"), "").unwrap();
        mac.bed.wait_until_gone(LABEL);

        let again = mac.switch();
        assert_eq!(again.code, Some(0));
        assert!(again.stdout.contains("is already up-to-date"), "{}", again.stdout);
        assert!(mac.is_dark());
    }

    #[test]
    fn h1_release_25_05() {
        goes_dark_and_says_up_to_date_for_ever("25.05");
    }

    #[test]
    fn h1_release_25_11() {
        goes_dark_and_says_up_to_date_for_ever("25.11");
    }

    #[test]
    fn h1_release_24_11_gives_up_after_ten_seconds_and_leaves_the_old_plist() {
        let mac = Mac::new("24.11", 15, &drains_until("go"));
        let started = Instant::now();
        let said = mac.switch();
        assert!(started.elapsed() >= Duration::from_secs(10));
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.stdout.contains("Failed to stop"), "{}", said.stdout);
        assert_eq!(mac.installed(), Installed::Old);
        assert!(!mac.activation_is_complete());
        fs::write(mac.bed.path("go"), "").unwrap();
        mac.bed.wait_until_gone(LABEL);
    }

    /// H1 and H4 on one run: the restore meets the same race as the bootstrap before it.
    #[test]
    fn h1_master_on_macos_15_restores_into_the_same_race() {
        let mac = Mac::new("master", 15, &drains_until("go"));
        let before = mac.current_home();
        let said = mac.switch();
        assert_eq!(said.code, Some(1), "{said:?}");
        assert!(said.stdout.contains("Restoring previous agent"), "{}", said.stdout);
        assert_eq!(mac.trace().matches("bootstrap failed").count(), 2, "{}", mac.trace());
        assert_eq!(mac.installed(), Installed::Old);
        assert_eq!(mac.current_home(), before);
        assert_ne!(mac.profile(), before, "the profile is set before anything is activated");
        fs::write(mac.bed.path("go"), "").unwrap();
        mac.bed.wait_until_gone(LABEL);
    }

    #[test]
    fn master_finds_an_agent_that_is_not_loaded_and_earlier_releases_do_not() {
        for (release, expected) in [("25.11", None), ("master", Some(Installed::New))] {
            let mac = Mac::new(release, 15, PROMPT_JOB);
            assert_eq!(mac.switch().code, Some(0));
            mac.bed.launchctl(&["bootout", &mac.bed.target(LABEL)]);
            mac.bed.wait_until_gone(LABEL);
            assert_eq!(mac.switch().code, Some(0));
            assert_eq!(mac.loaded(), expected, "{release}");
        }
    }

    // --- H2: `--wait` on a macOS that does not know it ----------------------------------------------

    #[test]
    fn h2_release_26_05_on_macos_15_keeps_the_old_definition_running() {
        let mac = Mac::new("26.05", 15, PROMPT_JOB);
        let pid = mac.bed.field(LABEL, "pid");
        let said = mac.switch();
        assert_eq!(said.code, Some(0), "{said:?}");
        assert!(said.stdout.contains("Unrecognized target specifier"), "{}", said.stdout);
        assert!(said.stdout.contains("with I/O error (code 5)"), "{}", said.stdout);
        assert_eq!((mac.installed(), mac.loaded()), (Installed::New, Some(Installed::Old)));
        assert_eq!(mac.bed.field(LABEL, "pid"), pid);
        let again = mac.switch();
        assert!(again.stdout.contains("is already up-to-date"), "{}", again.stdout);
        assert_eq!(mac.loaded(), Some(Installed::Old));
    }

    // --- H3: home-manager dies with the agent that started it ----------------------------------------

    #[test]
    fn h3_a_switch_inside_the_agents_group_dies_between_bootout_and_bootstrap() {
        let agent = "until [ -e go ]; do sleep 0.02; done; bin/home-manager switch > log 2>&1; \
                     sleep 300";
        let mac = Mac::new("25.11", 15, agent);
        let before = mac.current_home();
        mac.forget_steps();
        fs::write(mac.bed.path("go"), "").unwrap();
        mac.bed.wait_until_gone(LABEL);
        mac.wait_for_step("activation ended");
        assert!(mac.trace().contains("bootout") && !mac.trace().contains("bootstrap"));
        assert_eq!(mac.installed(), Installed::Old);
        assert_eq!(mac.current_home(), before);
        assert_ne!(mac.profile(), before);
        assert_eq!(mac.link("home-manager/gcroots/new-home"), None, "removed on the way out");
        assert!(mac.is_dark());
    }

    // --- H6: home-manager writes to a pipe that nobody reads any more ---------------------------------

    #[test]
    fn h6_a_line_after_bootout_kills_a_switch_whose_reader_is_gone() {
        let mac = Mac::new("25.11", 15, PROMPT_JOB);
        mac.add_to_scenario("PRINT_AFTER_BOOTOUT='Processing'");
        mac.forget_steps();
        let mut switch = mac.start_switch();
        mac.wait_for_step(&format!("bootout {LABEL}"));
        drop(switch.stdout.take());
        let status = switch.wait().unwrap();
        assert_eq!(status.code(), Some(128 + SIGPIPE), "{status:?}");
        assert_eq!(mac.installed(), Installed::Old);
        assert!(!mac.trace().contains("bootstrap"), "{}", mac.trace());
        assert!(mac.is_dark());
    }

    #[test]
    fn h6_a_silent_switch_survives_its_reader_until_the_next_word() {
        let mac = Mac::new("25.11", 15, PROMPT_JOB);
        mac.forget_steps();
        let mut switch = mac.start_switch();
        mac.wait_for_step(&format!("bootout {LABEL}"));
        drop(switch.stdout.take());
        assert!(switch.wait().unwrap().success());
        assert_eq!(mac.loaded(), Some(Installed::New));
    }

    // --- the stand-in itself -----------------------------------------------------------------------

    #[test]
    fn a_failure_at_each_place_leaves_what_the_real_one_would() {
        for (place, profile_moved, gone) in [
            ("build", false, false),
            ("before-bootout", true, false),
            ("after-bootout", true, true),
            ("after-bootstrap", true, false),
        ] {
            let mac = Mac::new("master", 26, PROMPT_JOB);
            let before = mac.current_home();
            mac.add_to_scenario(&format!("FAIL_AT={place} EXIT_CODE=7"));
            let said = mac.switch();
            assert_eq!(said.code, Some(7), "{place}: {said:?}");
            assert_eq!(mac.profile() != before, profile_moved, "{place}");
            assert_eq!(mac.current_home(), before, "{place}");
            assert_eq!(mac.is_dark(), gone, "{place}");
        }
    }

    #[test]
    fn an_exit_code_alone_comes_after_a_complete_activation() {
        let mac = Mac::new("master", 26, PROMPT_JOB);
        mac.add_to_scenario("EXIT_CODE=9");
        assert_eq!(mac.switch().code, Some(9));
        assert!(mac.activation_is_complete());
        assert_eq!(mac.loaded(), Some(Installed::New));
    }

    #[test]
    fn it_needs_a_user_a_home_and_where_asked_nix() {
        let mac = Mac::new("master", 26, PROMPT_JOB);
        let without = |name: &str| said(mac.command(&["switch"]).env_remove(name));
        for name in ["USER", "HOME"] {
            let said = without(name);
            assert_eq!(said.code, Some(1));
            assert!(said.stderr.contains(&format!("{name}: unbound variable")), "{said:?}");
        }
        mac.add_to_scenario("REQUIRE_NIX=1");
        let said = mac.switch();
        assert_eq!(said.code, Some(127));
        assert!(said.stderr.contains("nix: command not found"), "{said:?}");
    }

    #[test]
    fn it_writes_as_much_as_it_is_told_and_colours_only_for_a_terminal() {
        let mac = Mac::new("master", 26, PROMPT_JOB);
        mac.add_to_scenario("OUTPUT_LINES=50 OUTPUT_BYTES=300000 COLOUR=1");
        let said = mac.switch();
        assert_eq!(said.code, Some(0));
        assert!(said.stdout.contains("building line 50\n"));
        assert!(said.stdout.len() > 300_000 && said.stdout.len() < 310_000);
        assert!(said.stdout.contains("building in colour") && !said.stdout.contains('\u{1b}'));
    }

    #[test]
    fn it_lists_its_generations_and_names_its_release() {
        let mac = Mac::new("25.05", 15, PROMPT_JOB);
        assert_eq!(said(&mut mac.command(&["--version"])).stdout, "25.05\n");
        assert_eq!(mac.switch().code, Some(0));
        let listing = said(&mut mac.command(&["generations"])).stdout;
        let lines: Vec<_> = listing.lines().collect();
        assert_eq!(lines.len(), 2, "{listing}");
        assert!(lines[0].contains(" : id 2 -> ") && lines[0].ends_with(" (current)"), "{listing}");
        assert!(lines[1].contains(" : id 1 -> ") && !lines[1].contains("current"), "{listing}");
    }

    #[test]
    fn the_same_generation_twice_makes_no_new_profile_link() {
        let mac = Mac::new("master", 26, PROMPT_JOB);
        mac.add_to_scenario("GENERATION=same");
        assert_eq!(mac.switch().code, Some(0));
        let link = mac.link("nix/profiles/home-manager");
        assert_eq!(mac.switch().code, Some(0));
        assert_eq!(mac.link("nix/profiles/home-manager"), link);
    }

    #[test]
    fn a_dry_run_touches_nothing() {
        let mac = Mac::new("master", 15, PROMPT_JOB);
        let before = (mac.profile(), mac.current_home(), mac.bed.field(LABEL, "pid"));
        let said = said(&mut mac.command(&["switch", "--dry-run"]));
        assert_eq!(said.code, Some(0), "{said:?}");
        // As with the real one, the most interesting lines go into a variable.
        assert!(said.stdout.contains("install -m 444") && !said.stdout.contains("bootout"));
        assert_eq!((mac.profile(), mac.current_home(), mac.bed.field(LABEL, "pid")), before);
        assert_eq!(mac.installed(), Installed::Old);
    }

    #[test]
    fn what_it_leaves_behind_holds_the_output_open() {
        let mac = Mac::new("master", 26, PROMPT_JOB);
        mac.add_to_scenario("LEAVE_BACKGROUND=300");
        let mut switch = mac.start_switch();
        let status = switch.wait().unwrap();
        assert!(status.success(), "{status:?}");
        let trace = mac.trace();
        let line = trace.lines().find(|line| line.contains(" background ")).unwrap();
        let pid = line.rsplit(' ').next().unwrap().parse().unwrap();
        let left = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::test_kill_process(left).unwrap();
        rustix::process::kill_process(left, rustix::process::Signal::KILL).unwrap();
        // With the last holder gone the pipe ends.
        let mut output = String::new();
        switch.stdout.take().unwrap().read_to_string(&mut output).unwrap();
        assert!(output.contains("Activating setupLaunchAgents"), "{output}");
    }

    #[test]
    fn sigterm_ends_it_unless_it_ignores_signals() {
        use rustix::process::{Pid, Signal, kill_process_group};
        for (lines, signal) in [
            ("BUILD_SECONDS=300", Signal::TERM),
            ("BUILD_SECONDS=300 IGNORE_TERM=1", Signal::KILL),
            ("SPAWN_CHILD=300", Signal::TERM),
        ] {
            let mac = Mac::new("master", 26, PROMPT_JOB);
            mac.add_to_scenario(lines);
            mac.forget_steps();
            let mut switch = mac.start_switch();
            mac.wait_for_step("build");
            let group = Pid::from_raw(switch.id().cast_signed()).unwrap();
            if lines.contains("IGNORE_TERM") {
                // Were it not ignored, this one would be the signal that ends it.
                kill_process_group(group, Signal::TERM).unwrap();
            }
            if lines.contains("SPAWN_CHILD") {
                mac.wait_for_step("child starts");
            }
            kill_process_group(group, signal).unwrap();
            let status = switch.wait().unwrap();
            assert_eq!(status.signal(), Some(signal.as_raw()), "{lines}: {status:?}");
            wait_until("the group is empty", || {
                rustix::process::test_kill_process_group(group).is_err()
            });
        }
    }

    #[test]
    fn on_linux_it_replaces_the_unit_and_restarts_it() {
        let bed = Bed::new();
        symlink(program(), bed.path("bin/home-manager")).unwrap();
        let systemctl = bed.path("bin/systemctl");
        fs::write(&systemctl, "#!/bin/sh\necho \"$@\" >> \"$(dirname \"$0\")/../systemctl.log\"\n")
            .unwrap();
        fs::set_permissions(&systemctl, fs::Permissions::from_mode(0o755)).unwrap();
        let mac = Mac { bed };
        let unit = mac.bed.path("nixfleet-agent.service");
        fs::write(&unit, "[Service]\nExecStart=/bin/true\n").unwrap();
        mac.scenario(&format!("PLATFORM=linux\nNEW_UNIT='{}'\n", unit.display()));
        assert_eq!(mac.switch().code, Some(0));
        let log = || fs::read_to_string(mac.bed.path("systemctl.log")).unwrap();
        let expected = "--user daemon-reload\n--user restart nixfleet-agent.service\n";
        assert_eq!(log(), expected);
        let installed = mac.bed.options.home.join(".config/systemd/user/nixfleet-agent.service");
        assert_eq!(fs::read(installed).unwrap(), fs::read(&unit).unwrap());
        assert_eq!(mac.switch().code, Some(0));
        assert_eq!(log(), expected, "an unchanged unit is left alone");
        assert!(mac.activation_is_complete());
    }
}
