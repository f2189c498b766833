//! The step of home-manager's activation, played.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    process::{Command, Output, Stdio},
};

use crate::evaluated::{Host, has, has_nix, text};

/// A home in which a step of the activation is played, with a wrapper that writes down how it was called.
struct Activation {
    home: tempfile::TempDir,
}

/// What the wrapper would write into the definition of the watchdog's job (switch-wrapper/src/install/definition.rs).
const OF_THE_SESSION: [&str; 4] =
    ["NIXFLEET_CONFIG", "NIXFLEET_STATE_DIR", "XDG_CONFIG_HOME", "XDG_STATE_HOME"];

/// What the wrapper does.
const CALLED: &str = "#!/bin/sh\necho \"$0 $*\" >> \"$HOME/calls\"\nenv >> \"$HOME/environment\"\n";

impl Activation {
    fn new() -> Self {
        Self { home: tempfile::tempdir().unwrap() }
    }

    fn program(&self, path: &str, text: &str) {
        let path = self.home.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Runs the step as home-manager does: `run` prints in a dry run, and a failure ends the activation.
    fn play(&self, system: &'static str, definitions: &str, is_dry: bool) -> Output {
        let host = Host { home: self.home.path().to_owned(), ..Host::new(system, definitions) };
        self.run(&host, is_dry)
    }

    fn run(&self, host: &Host, is_dry: bool) -> Output {
        let step = host.evaluate().unwrap().activation.data;
        let store = "/nix/store/00000000000000000000000000000000-";
        let step = step
            .replace(&format!("{store}coreutils/bin/"), "")
            .replace(&format!("{store}nixfleet-switch-1"), "$HOME/new");
        let run = if is_dry { "echo \"$@\"" } else { "\"$@\"" };
        let script = format!("set -eu -o pipefail\nrun() {{ {run}; }}\n{step}\necho went on\n");
        let played = Command::new("bash")
            .args(["-c", &script])
            .env("HOME", self.home.path())
            .envs(OF_THE_SESSION.map(|variable| (variable, "/of/the/session")))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(played.status.success() && text(&played).contains("went on"), "{}", text(&played));
        played
    }

    fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.home.path().join("calls")).unwrap_or_default();
        let home = self.home.path().display().to_string();
        text.lines().map(|line| line.replace(&home, "~")).collect()
    }
}

#[test]
fn an_activation_installs_and_never_fails() {
    if !has_nix() || !has("timeout", "it is in GNU coreutils") {
        return;
    }
    for system in ["aarch64-darwin", "x86_64-linux"] {
        let stage = Activation::new();
        stage.program("new/bin/nixfleet-switch", CALLED);
        let dry = stage.play(system, "", true);
        assert!(text(&dry).contains("nixfleet-switch install --in-activation"), "{}", text(&dry));
        assert_eq!(stage.calls(), [""; 0]);
        assert!(!stage.home.path().join("Library").exists());

        stage.play(system, "", false);
        stage.play(system, "watchdog.enable = false;", false);
        let install = "~/new/bin/nixfleet-switch install --in-activation";
        assert_eq!(stage.calls(), [install, &format!("{install} --no-watchdog")]);
        let environment = fs::read_to_string(stage.home.path().join("environment")).unwrap();
        assert!(!environment.contains("/of/the/session"), "{environment}");
        assert_eq!(stage.home.path().join("Library/Logs").is_dir(), system == "aarch64-darwin");

        stage.program("new/bin/nixfleet-switch", "#!/bin/sh\nexit 69\n");
        let failed = stage.play(system, "", false);
        assert!(String::from_utf8_lossy(&failed.stderr).contains("nixfleet-switch doctor"));
    }
}

#[test]
fn an_activation_without_the_agent_takes_away_what_was_installed() {
    if !has_nix() || !has("timeout", "it is in GNU coreutils") {
        return;
    }
    let disabled = "enable = false;";
    for system in ["aarch64-darwin", "x86_64-linux"] {
        let host = Host { definitions: disabled.to_owned(), ..Host::new(system, "") };
        let evaluated = host.evaluate().unwrap();
        assert!(evaluated.launchd.is_none() && evaluated.systemd.is_none());
        assert!(evaluated.config.is_none() && evaluated.packages.is_empty());
        assert!(evaluated.files.is_empty());
        assert_eq!(evaluated.activation.after, ["writeBoundary"]);
        assert!(evaluated.activation.before.contains(&"setupLaunchAgents".to_owned()));
        // Nothing of ours has to be built for it.
        assert!(!evaluated.activation.data.contains("nixfleet-switch-1"));
    }
    let play = |stage: &Activation, is_dry| {
        let host = Host {
            home: stage.home.path().to_owned(),
            definitions: disabled.to_owned(),
            ..Host::new("x86_64-linux", "")
        };
        stage.run(&host, is_dry)
    };
    let stage = Activation::new();
    let played = play(&stage, false);
    assert_eq!(text(&played), "went on\n");
    let installed = ".local/state/nixfleet/bin/nixfleet-switch";
    stage.program(installed, CALLED);
    play(&stage, true);
    assert_eq!(stage.calls(), [""; 0]);
    play(&stage, false);
    assert_eq!(stage.calls(), [format!("~/{installed} uninstall --in-activation")]);
    stage.program(installed, "#!/bin/sh\nexit 75\n");
    let failed = play(&stage, false);
    assert!(String::from_utf8_lossy(&failed.stderr).contains("nixfleet-switch uninstall"));
}

/// Only between these two: launchd puts a job aside whose program is not there yet.
#[test]
fn the_step_stands_between_the_links_and_the_jobs() {
    if !has_nix() {
        return;
    }
    let activation = Host::new("aarch64-darwin", "").evaluate().unwrap().activation;
    assert_eq!(activation.after, ["linkGeneration"]);
    assert_eq!(activation.before, ["reloadSystemd", "setupLaunchAgents"]);
}
