//! A sandbox in which home-manager has switched once.

use std::{
    fs,
    os::unix::{fs::symlink, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use nixfleet_tests::launchd::Options;

pub(crate) use crate::launchd_support::{Bed, Said, drains_until, said, wait_until};

pub(crate) const LABEL: &str = "com.nixfleet.agent";
pub(crate) const KEEP_ALIVE: &str = "<key>KeepAlive</key><true/>";
pub(crate) const SIGPIPE: i32 = 13;
/// A job that ends as soon as it is told to.
pub(crate) const PROMPT_JOB: &str = "while :; do sleep 0.05; done";

/// A sandbox in which home-manager has put the first plist in place, and the agent runs.
pub(crate) struct Mac {
    pub(crate) bed: Bed,
}

impl Mac {
    pub(crate) fn new(release: &str, macos: u32, old_script: &str) -> Self {
        Self::with(release, macos, old_script, |_| {})
    }

    pub(crate) fn with(
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

    pub(crate) fn scenario(&self, text: &str) {
        fs::create_dir_all(self.bed.path("home-manager")).unwrap();
        fs::write(self.bed.path("home-manager/scenario.sh"), text).unwrap();
    }

    pub(crate) fn add_to_scenario(&self, text: &str) {
        let path = self.bed.path("home-manager/scenario.sh");
        let scenario = fs::read_to_string(&path).unwrap();
        fs::write(path, format!("{scenario}{text}\n")).unwrap();
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.bed.path("bin/home-manager"));
        command
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
            .env("HOME", &self.bed.options.home)
            .env("USER", "tester");
        command
    }

    pub(crate) fn switch(&self) -> Said {
        said(&mut self.command(&["switch", "--flake", ".", "-v"]))
    }

    /// Starts a switch whose output is read through a pipe.
    pub(crate) fn start_switch(&self) -> Child {
        self.command(&["switch"]).process_group(0).stdout(Stdio::piped()).spawn().unwrap()
    }

    pub(crate) fn trace(&self) -> String {
        fs::read_to_string(self.bed.path("home-manager/trace.log")).unwrap_or_default()
    }

    pub(crate) fn wait_for_step(&self, step: &str) {
        wait_until(step, || self.trace().lines().any(|line| line.ends_with(step)));
    }

    /// Starts the count of steps anew.
    pub(crate) fn forget_steps(&self) {
        fs::write(self.bed.path("home-manager/trace.log"), "").unwrap();
    }

    pub(crate) fn installed(&self) -> Installed {
        let text = fs::read_to_string(self.bed.agent_path(LABEL)).unwrap();
        if text.contains("# new") { Installed::New } else { Installed::Old }
    }

    /// The definition that launchd holds, if the label is registered at all.
    pub(crate) fn loaded(&self) -> Option<Installed> {
        let said = self.bed.print(LABEL);
        match said.code {
            Some(113) => None,
            Some(0) if said.stdout.contains("# new") => Some(Installed::New),
            Some(0) => Some(Installed::Old),
            code => panic!("print answered {code:?}"),
        }
    }

    pub(crate) fn link(&self, name: &str) -> Option<PathBuf> {
        fs::read_link(self.bed.options.home.join(".local/state").join(name)).ok()
    }

    pub(crate) fn current_home(&self) -> PathBuf {
        self.link("home-manager/gcroots/current-home").unwrap()
    }

    pub(crate) fn profile(&self) -> PathBuf {
        let link = self.link("nix/profiles/home-manager").unwrap();
        self.link(&format!("nix/profiles/{}", link.display())).unwrap()
    }

    pub(crate) fn activation_is_complete(&self) -> bool {
        self.current_home() == self.profile()
            && self.link("home-manager/gcroots/new-home").is_none()
    }

    /// Nobody comes: the label stays away although the old process is long gone.
    pub(crate) fn is_dark(&self) -> bool {
        self.loaded().is_none()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Installed {
    Old,
    New,
}

pub(crate) fn program() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("programs/home-manager")
}

pub(crate) fn scenario(release: &str, macos: u32, plist: &Path) -> String {
    format!(
        "RELEASE={release}\nMACOS_MAJOR={macos}\nAGENT_LABEL={LABEL}\nNEW_PLIST='{}'\n",
        plist.display()
    )
}
