//! The Nix files: what the modules make of a user's definitions, without nixpkgs and home-manager.
//!
//! `tests/nix/` has what they use of both, written anew. `tests/nix/real-home-manager` does the same with the real ones.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is a failure with its place")]

mod nix_support;

use std::{
    collections::BTreeSet,
    error::Error as _,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use nix_support::{
    evaluated::{Host, evaluate, has, has_nix, nix, root},
    written::{RELEASES, unit},
};
use nixfleet_protocol::{config_file, installed};
use nixfleet_tests::stage::{folder, programs::Programs};
use serde_json::{Map, Value, json};

const DARWIN: [&str; 2] = ["aarch64-darwin", "x86_64-darwin"];
const LINUX: [&str; 2] = ["aarch64-linux", "x86_64-linux"];

/// Everything set, by the options that NixFleet's modules had before and by those beside them.
const ALL: &str = r##"
    hostname = "imac0"; interval = 5; location = "work"; deviceType = "laptop"; themeColor = "#f7768e"; logLevel = "debug";
    repoUrl = "git@github.com:me/nixcfg.git"; branch = "live"; sshKeyFile = "/Users/me/.ssh/key";
    switch = { timeout = "90min"; arguments = [ "-b" "backup" ]; };
    settings = { criticality = "high"; environment.NIX_CONFIG = "max-jobs = 2"; };
"##;

/// All files of the project that end in `.nix`.
fn nix_files() -> Vec<PathBuf> {
    let folders = [".", "nix", "nix/modules", "tests/nix", "tests/nix-switch"]
        .map(|folder| root().join(folder));
    let entries = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap());
    let files = entries.map(|entry| entry.unwrap().path());
    let files: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|it| it == "nix")).collect();
    assert!(files.len() >= 6, "{files:?}");
    files
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[test]
fn every_nix_file_is_sound() {
    if has_nix() {
        for file in nix_files() {
            let parsed = nix([Path::new("--parse"), &file]);
            assert!(parsed.status.success(), "{}", text(&parsed));
        }
    }
    if has("nixfmt", "`cargo install nixfmt_rs` brings it") {
        let checked = Command::new("nixfmt").arg("--check").args(nix_files()).output().unwrap();
        assert!(checked.status.success(), "{}", text(&checked));
    }
    if has("deadnix", "`cargo install deadnix` brings it") {
        let checked = Command::new("deadnix").arg("--fail").args(nix_files()).output().unwrap();
        assert!(checked.status.success(), "{}", text(&checked));
    }
}

#[test]
fn the_launchd_job_names_a_stable_path_and_nothing_that_changes() {
    if !has_nix() {
        return;
    }
    let job = |definitions: &str, more: &str| {
        let host = Host::new("aarch64-darwin", definitions).with(more);
        let launchd = host.evaluate().unwrap().launchd.unwrap();
        assert_eq!((&launchd["enable"], &launchd["domain"]), (&json!(true), &json!("gui")));
        launchd["config"].as_object().unwrap().clone()
    };
    let first = job("", "");
    for release in RELEASES {
        let written = release.plist(&first);
        let plist: plist::Dictionary = plist::from_bytes(written.as_bytes()).unwrap();
        assert_eq!(plist["Label"].as_string(), Some(installed::DEFAULT_LABEL));
        let arguments = plist["ProgramArguments"].as_array().unwrap();
        let arguments: Vec<_> = arguments.iter().filter_map(plist::Value::as_string).collect();
        assert!(
            arguments.join(" ").ends_with("/Users/me/.local/state/nixfleet/bin/nixfleet-agent run"),
            "{}: {arguments:?}",
            release.name
        );
        assert_eq!(plist["KeepAlive"].as_boolean(), Some(true));
        assert_eq!(plist["RunAtLoad"].as_boolean(), Some(true));
        assert_eq!(plist["ExitTimeOut"].as_signed_integer(), Some(5));
        assert!(!plist.contains_key("EnvironmentVariables"));

        // Another version of everything, and every setting another: the same bytes.
        for (definitions, more) in
            [("", "version = \"2\";"), (ALL, "version = \"3\";"), ("watchdog.enable = false;", "")]
        {
            assert_eq!(release.plist(&job(definitions, more)), written, "{definitions} {more}");
        }
    }
    let values = serde_json::to_string(&first).unwrap();
    assert!(!values.contains("/nix/store"), "{values}");
    assert!(!values.contains(['&', '<', '>']), "{values}");
}

#[test]
fn both_macs_and_both_linuxes_get_their_kind_of_job() {
    if !has_nix() {
        return;
    }
    for system in DARWIN.into_iter().chain(LINUX) {
        let evaluated = Host::new(system, ALL).evaluate().unwrap();
        let is_mac = DARWIN.contains(&system);
        let has =
            |job: &Option<Map<String, Value>>| job.as_ref().is_some_and(|job| !job.is_empty());
        assert_eq!(
            (has(&evaluated.launchd), has(&evaluated.systemd)),
            (is_mac, !is_mac),
            "{system}"
        );
        assert_eq!(evaluated.failed, [""; 0]);
        assert_eq!(evaluated.warnings, [""; 0]);
        assert_eq!(evaluated.packages, ["nixfleet-agent-1", "nixfleet-switch-1"]);
        let stable = installed::stable_folder(Path::new("")).join("nixfleet-agent");
        let link = evaluated.files[stable.to_str().unwrap()].as_str().unwrap();
        assert!(link.ends_with("-nixfleet-agent-1/bin/nixfleet-agent"), "{link}");
    }
}

#[test]
fn the_user_domain_is_for_a_home_manager_that_knows_it() {
    if !has_nix() {
        return;
    }
    let host = || Host::new("aarch64-darwin", "domain = \"user\";");
    let evaluated = host().evaluate().unwrap();
    assert_eq!(evaluated.failed, [""; 0]);
    let launchd = evaluated.launchd.unwrap();
    assert_eq!(launchd["domain"], "user");
    assert_eq!(launchd["config"]["LimitLoadToSessionType"], "Background");

    let evaluated = host().with("hasDomains = false;").evaluate().unwrap();
    assert!(evaluated.failed[0].contains("launchd.agents.<name>.domain"), "{:?}", evaluated.failed);
    let evaluated = Host::new("aarch64-darwin", "").with("hasDomains = false;").evaluate().unwrap();
    assert_eq!(evaluated.failed, [""; 0]);
    assert!(!evaluated.launchd.unwrap().contains_key("domain"));
}

#[test]
fn systemd_takes_the_unit_and_it_never_changes() {
    if !has_nix() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let stable = installed::stable_folder(place.path());
    fs::create_dir_all(&stable).unwrap();
    let agent = stable.join("nixfleet-agent");
    fs::write(&agent, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&agent, fs::Permissions::from_mode(0o755)).unwrap();
    let unit_of = |definitions: &str, more: &str| {
        let host = Host { home: place.path().to_owned(), ..Host::new("x86_64-linux", definitions) };
        unit(&host.with(more).evaluate().unwrap().systemd.unwrap())
    };
    let written = unit_of("", "");
    for line in ["Type=notify", "Restart=always", "WatchdogSec=60", "WantedBy=default.target"] {
        assert!(written.lines().any(|present| present == line), "{line} is missing: {written}");
    }
    assert!(written.contains(&format!("ExecStart=\"{}\" \"run\"\n", agent.display())), "{written}");
    assert!(!written.contains("/nix/store"), "{written}");
    assert_eq!(unit_of(ALL, "version = \"2\";"), written);

    if has("systemd-analyze", "on Debian, `apt-get install systemd` brings it") {
        let path = place.path().join(installed::DEFAULT_UNIT);
        let moved = format!("xdg.stateHome = \"{}/100% $x\";", place.path().display());
        for text in [written, unit_of("", &moved)] {
            fs::write(&path, &text).unwrap();
            let mut verify = Command::new("systemd-analyze");
            verify.args(["verify", "--user"]).arg(&path);
            verify.env("HOME", place.path()).env("XDG_RUNTIME_DIR", place.path());
            let verified = verify.output().unwrap();
            let said = String::from_utf8_lossy(&verified.stderr);
            assert!(verified.status.success() && said.is_empty(), "{said}{text}");
        }
    }
}

/// Writes the config file as nixpkgs' `formats.toml` would.
fn write_config(folder: &Path, config: &Map<String, Value>) -> PathBuf {
    let path = folder.join("config.toml");
    fs::write(&path, toml::to_string(config).unwrap()).unwrap();
    path
}

#[test]
fn the_config_file_has_what_is_set_and_the_agent_takes_it() {
    if !has_nix() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let token = place.path().join("token");
    folder::write_private(&token, "secret").unwrap();
    let with_token = format!("token_file = \"{}\";", token.display());
    let plain = json!({
        "url": "https://fleet.example.org", "token_file": token, "interval": 30, "location": "home",
        "device_type": "desktop", "log_level": "info",
    });
    let all = json!({
        "url": "https://fleet.example.org", "token_file": token, "interval": 5, "location": "work",
        "device_type": "laptop", "log_level": "debug", "hostname": "imac0", "theme_color": "#f7768e",
        "repo_url": "git@github.com:me/nixcfg.git", "branch": "live", "ssh_key_file": "/Users/me/.ssh/key",
        "flake_attribute": "imac0", "switch_timeout": "90min", "switch_arguments": ["-b", "backup"],
        "criticality": "high", "environment": {"NIX_CONFIG": "max-jobs = 2"},
    });
    // Where the token is comes from `settings` here: the options of `GOOD` name another file, and `settings` wins.
    for (settings, expected) in [("settings = { };".to_owned(), &plain), (ALL.to_owned(), &all)] {
        let definitions = settings.replace("settings = {", &format!("settings = {{ {with_token}"));
        let config = Host::new("x86_64-linux", &definitions).evaluate().unwrap().config.unwrap();
        assert_eq!(&Value::Object(config.clone()), expected);
        let path = write_config(place.path(), &config);
        assert!(config_file::load(&path).unwrap().file.url.is_some());
        let checked = Command::new(Programs::get().unwrap().agent())
            .args(["check-config", "--config"])
            .arg(&path)
            .env_clear()
            .env("HOME", place.path())
            .env("NIXFLEET_HOSTNAME", "host")
            .output()
            .unwrap();
        assert!(checked.status.success(), "{}", text(&checked));
    }
}

#[test]
fn where_a_switch_goes_is_as_it_was() {
    if !has_nix() {
        return;
    }
    let repo = "repoUrl = \"git@host:me/x\";";
    for (definitions, expected) in [
        ("", json!({})),
        ("hostname = \"mac\";", json!({})),
        (repo, json!({})),
        (&*format!("{repo} hostname = \"mac\";"), json!({"flake_attribute": "mac"})),
        (
            "configRepo = \"/src\"; hostname = \"mac\";",
            json!({"flake": "/src", "flake_attribute": "mac", "repo_dir": "/src"}),
        ),
        (
            &*format!("{repo} hostname = \"mac\"; switch.attribute = \"me@mac\";"),
            json!({"flake_attribute": "me@mac"}),
        ),
        (
            &*format!("{repo} hostname = \"mac\"; switch.flake = \"github:me/y\";"),
            json!({"flake": "github:me/y"}),
        ),
        (
            "switch.arguments = [ \"--flake\" \".#me\" ];",
            json!({"switch_arguments": ["--flake", ".#me"]}),
        ),
        (
            &*format!(
                "{repo} hostname = \"mac\"; settings = {{ switch_kind = \"command\"; switch_command = [ \"/deploy\" ]; }};"
            ),
            json!({"switch_kind": "command", "switch_command": ["/deploy"]}),
        ),
    ] {
        let evaluated = Host::new("x86_64-linux", definitions).evaluate().unwrap();
        assert_eq!(evaluated.failed, [""; 0], "{definitions}");
        let keys = [
            "flake",
            "flake_attribute",
            "repo_dir",
            "switch_arguments",
            "switch_kind",
            "switch_command",
        ];
        let config = evaluated.config.unwrap().into_iter();
        let config: Map<_, _> = config.filter(|(key, _)| keys.contains(&&**key)).collect();
        assert_eq!(Value::Object(config), expected, "{definitions}");
    }
}

/// A key that the module takes and the agent does not would keep the agent from starting.
#[test]
fn module_and_agent_know_the_same_keys() {
    if !has_nix() {
        return;
    }
    let expression = format!(
        "builtins.attrNames (import {0}/nix/modules/settings.nix {{ lib = import {0}/tests/nix/lib.nix; }}).keys",
        root().display()
    );
    let of_module: BTreeSet<String> =
        serde_json::from_value(evaluate(&expression).unwrap()).unwrap();
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("config.toml");
    fs::write(&path, "no-such-key = 1\n").unwrap();
    let refused = config_file::load(&path).unwrap_err().source().unwrap().to_string();
    let (_, known) = refused.split_once("expected one of").unwrap();
    let of_agent: BTreeSet<String> =
        known.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    assert_eq!(of_module, of_agent);
}

#[test]
fn what_is_wrong_is_said_with_what_to_do() {
    if !has_nix() {
        return;
    }
    for (definitions, expected) in [
        ("url = \"\";", "\"https://fleet.example.org\""),
        ("url = \"wss://fleet.example.org/ws\";", "it is \"https://fleet.example.org\""),
        ("url = \"http://fleet.example.org\";", "settings.allow_insecure_http = true"),
        ("tokenFile = null;", "tokenFile is not set"),
        ("tokenFile = \"/nix/store/x-token\";", "/nix/store/x-token, a file in the Nix store"),
        ("settings.token_file = \"/nix/store/x-token\";", "in the Nix store"),
        ("repoUrl = \"git@h:x\"; sshKeyFile = \"/nix/store/x-key\";", "sshKeyFile is /nix/store"),
        ("repoUrl = \"git@h:x\"; configRepo = \"/x\";", "Keep repoUrl"),
        ("repoUrl = \"https://me:secret@host/x\";", "has a password in it"),
        ("switch.attribute = \"me\";", "Set switch.flake or repoUrl"),
        (
            "switch.flake = \"/x\"; switch.arguments = [ \"--flake\" \"/y\" ];",
            "Take it out of switch.arguments",
        ),
        ("settings.intervall = 5;", "no agent knows: intervall"),
        ("settings.interval = \"5\";", "interval is not of type `integer"),
        ("settings.environment.A = 1;", "environment is not of type"),
    ] {
        let mut host = Host::new("aarch64-darwin", "");
        for option in ["url", "tokenFile"] {
            if definitions.starts_with(option) {
                let start = host.definitions.find(&format!("{option} =")).unwrap();
                let end = start + host.definitions[start..].find(';').unwrap();
                host.definitions.replace_range(start..=end, "");
            }
        }
        host.definitions += definitions;
        let failed = host.evaluate().unwrap().failed;
        assert_eq!(failed.len(), 1, "{definitions}: {failed:?}");
        assert!(failed[0].contains(expected), "{definitions}: {failed:?}");
        assert!(failed[0].starts_with("services.nixfleet-agent"), "{failed:?}");
        assert!(!failed[0].contains("secret"), "{failed:?}");
    }
    let host = Host { home: PathBuf::from("/Users/a&b"), ..Host::new("aarch64-darwin", "") };
    let failed = host.evaluate().unwrap().failed;
    assert!(failed[0].contains("/Users/a&b"), "{failed:?}");
}

#[test]
fn a_value_of_another_type_does_not_evaluate() {
    if !has_nix() {
        return;
    }
    for (definitions, option) in [
        ("interval = 0;", "interval"),
        ("interval = \"5\";", "interval"),
        ("hostname = \"imac0.lan\";", "hostname"),
        ("themeColor = \"red\";", "themeColor"),
        ("location = \"moon\";", "location"),
        ("sshKeyFile = \"~/.ssh/key\";", "sshKeyFile"),
        ("domain = \"system\";", "domain"),
        ("watchdog.enabled = true;", "watchdog.enabled"),
    ] {
        let refused = Host::new("aarch64-darwin", definitions).evaluate().unwrap_err();
        assert!(refused.contains(option), "{definitions}: {refused}");
    }
}

#[test]
fn what_has_had_its_day_is_taken_with_a_warning() {
    if !has_nix() {
        return;
    }
    for (definitions, more, expected) in [
        ("configRepo = \"/src\";", "", "Set repoUrl instead"),
        ("sshKeyFile = \"/key\";", "", "sshKeyFile is for repoUrl"),
        ("version = \"2.1.0-dev\";", "", "version has no effect"),
        ("nixpkgsVersion = \"24.05\";", "", "nixpkgsVersion has no effect"),
        ("", "isSubmodule = true;", "switch_kind"),
    ] {
        let evaluated = Host::new("x86_64-linux", definitions).with(more).evaluate().unwrap();
        assert_eq!(evaluated.failed, [""; 0], "{definitions}");
        assert_eq!(evaluated.warnings.len(), 1, "{definitions}: {:?}", evaluated.warnings);
        assert!(evaluated.warnings[0].contains(expected), "{:?}", evaluated.warnings);
    }
    let system = "settings.switch_kind = \"nixos-rebuild\";";
    let host = Host::new("x86_64-linux", system).with("isSubmodule = true;");
    assert_eq!(host.evaluate().unwrap().warnings, [""; 0]);
}

/// A job does not get the session's variables, so what is moved is named in its definition.
#[test]
fn moved_folders_are_named_where_nobody_would_find_them() {
    if !has_nix() {
        return;
    }
    let moved = "xdg = { configHome = \"/Users/me/conf\"; stateHome = \"/Users/me/state\"; };";
    let evaluated = Host::new("aarch64-darwin", "").with(moved).evaluate().unwrap();
    let job = &evaluated.launchd.unwrap()["config"];
    let agent = "/Users/me/.local/state/nixfleet/bin/nixfleet-agent";
    let arguments = json!([agent, "run", "--config", "/Users/me/conf/nixfleet/config.toml"]);
    assert_eq!(job["ProgramArguments"], arguments);
    assert_eq!(job["EnvironmentVariables"], json!({"XDG_STATE_HOME": "/Users/me/state"}));
    assert_eq!(evaluated.config.unwrap()["state_dir"], "/Users/me/state/nixfleet");
    for variable in ["XDG_CONFIG_HOME=/Users/me/conf", "XDG_STATE_HOME=/Users/me/state"] {
        assert!(evaluated.activation.data.contains(variable), "{}", evaluated.activation.data);
    }
    let evaluated = Host::new("x86_64-linux", "").with(moved).evaluate().unwrap();
    let unit = unit(&evaluated.systemd.unwrap());
    assert!(unit.contains("Environment=\"XDG_STATE_HOME=/Users/me/state\"\n"), "{unit}");
}

/// A home in which a step of the activation is played, with a wrapper that writes down how it was called.
struct Activation {
    home: tempfile::TempDir,
}

/// What the wrapper would write into the definition of the watchdog's job (switch-wrapper/src/install/definition.rs).
const OF_THE_SESSION: [&str; 11] = [
    "NIXFLEET_AGENT_LABEL",
    "NIXFLEET_AGENT_PLIST",
    "NIXFLEET_CONFIG",
    "NIXFLEET_LAUNCHCTL",
    "NIXFLEET_SERVICE_MANAGER",
    "NIXFLEET_STATE_DIR",
    "NIXFLEET_SYSTEMCTL",
    "NIXFLEET_SYSTEMD_RUN",
    "NIXFLEET_WATCHDOG_LABEL",
    "XDG_CONFIG_HOME",
    "XDG_STATE_HOME",
];

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

#[test]
fn packages_are_there_with_and_without_flakes() {
    if !has_nix() {
        return;
    }
    let root = root();
    let root = root.display();
    let shown = "builtins.mapAttrs (_: p: { inherit (p) pname version cargoBuildFlags; inherit (p.meta) mainProgram; })";
    let pkgs = format!("import {root}/tests/nix/pkgs.nix {{ system = \"x86_64-linux\"; }}");
    let package = |name: &str| {
        json!({
            "pname": name, "version": env!("CARGO_PKG_VERSION"), "mainProgram": name,
            "cargoBuildFlags": ["--package", name],
        })
    };
    let expected: Map<_, _> = ["nixfleet-agent", "nixfleet-switch", "nixfleet-dashboard"]
        .map(|name| (name.to_owned(), package(name)))
        .into_iter()
        .collect();
    let expected = Value::Object(expected);
    let without = format!("{shown} (import {root} {{ pkgs = {pkgs}; }}).packages");
    assert_eq!(evaluate(&without).unwrap(), expected);

    let flake = format!(
        "let outputs = (import {root}/flake.nix).outputs {{ self = outputs; nixpkgs = {{ \
           lib.genAttrs = names: f: builtins.listToAttrs (map (name: {{ inherit name; value = f name; }}) names); \
           legacyPackages.x86_64-linux = {pkgs}; }}; }}; in \
         {shown} (removeAttrs outputs.packages.x86_64-linux [ \"default\" ])"
    );
    assert_eq!(evaluate(&flake).unwrap(), expected);

    let overlay = format!("{shown} ((import {root} {{ pkgs = null; }}).overlay ({pkgs}) null)");
    assert_eq!(evaluate(&overlay).unwrap(), expected);

    let old = format!("({pkgs}) // {{ rustc.version = \"1.80.0\"; }}");
    let refused =
        evaluate(&format!("(import {root} {{ pkgs = {old}; }}).packages.nixfleet-agent.pname"));
    let refused = refused.unwrap_err();
    assert!(refused.contains("docs/install.md"), "{refused}");
}
