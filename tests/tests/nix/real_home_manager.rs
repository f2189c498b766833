//! What the real home-manager makes of the module, and the real nix-darwin that it is a part of. `tests/nix/real-home-manager`
//! says where they are; without, nothing runs.

use std::{
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use nixfleet_protocol::{config_file, installed};
use nixfleet_tests::stage::not_run;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::{
    evaluated::{ALL, GOOD},
    sudoers::{read_by_sudo, switch_of_wrapper},
    written::write_config,
};

/// What home-manager would write, and do.
#[derive(Debug, Deserialize)]
struct Written {
    failed: Vec<String>,
    warnings: Vec<String>,
    config: Option<Map<String, Value>>,
    plist: Option<String>,
    unit: Option<String>,
    link: String,
    order: Vec<String>,
    activation: String,
}

/// What nix-darwin would write, and do.
#[derive(Debug, Deserialize)]
struct DarwinWritten {
    failed: Vec<String>,
    warnings: Vec<String>,
    sudoers: Option<String>,
    config: Option<Map<String, Value>>,
    order: Vec<String>,
    jobs: Vec<String>,
    packages: Vec<String>,
}

/// Checkouts of home-manager, nixpkgs and perhaps nix-darwin, and a home.
struct Sources {
    home_manager: String,
    nixpkgs: String,
    nix_darwin: Option<String>,
    home: tempfile::TempDir,
}

impl Sources {
    fn find() -> Option<Self> {
        let named = |name| env::var(name).ok().filter(|path| Path::new(path).is_dir());
        Some(Self {
            home_manager: named("NIXFLEET_TEST_HOME_MANAGER")?,
            nixpkgs: named("NIXFLEET_TEST_NIXPKGS")?,
            nix_darwin: named("NIXFLEET_TEST_NIX_DARWIN"),
            home: tempfile::tempdir().unwrap(),
        })
    }

    fn evaluate(&self, system: &str, definitions: &str, version: &str) -> Result<Written, String> {
        let home = self.home.path().to_str().unwrap();
        self.ask("real.nix", system, definitions, &[("version", version), ("home", home)])
    }

    /// Asks one of the files in `tests/nix`; more arguments are texts.
    fn ask<T: DeserializeOwned>(
        &self,
        file: &str,
        system: &str,
        definitions: &str,
        more: &[(&str, &str)],
    ) -> Result<T, String> {
        let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("nix").join(file);
        let mut command = Command::new("nix-instantiate");
        command
            .args(["--store", "dummy://", "--eval", "--strict", "--json"])
            .arg(place)
            .args(["--arg", "homeManager", &self.home_manager, "--arg", "nixpkgs", &self.nixpkgs])
            .args(["--argstr", "system", system])
            .args(["--arg", "definitions", &format!("{{ {definitions} }}")]);
        for (name, value) in more {
            command.args(["--argstr", name, value]);
        }
        if let Some(nix_darwin) = self.nix_darwin.as_ref().filter(|_| file == "real-darwin.nix") {
            command.args(["--arg", "nixDarwin", nix_darwin]);
        }
        let output = command.env_remove("NIX_PATH").stdin(Stdio::null()).output().unwrap();
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())
    }

    fn good(&self, system: &str, definitions: &str, version: &str) -> Written {
        let written = self.evaluate(system, &format!("{GOOD} {definitions}"), version).unwrap();
        assert_eq!(written.failed, [""; 0], "{system} {definitions}");
        assert_eq!(written.warnings, [""; 0], "{system} {definitions}");
        written
    }

    fn agent(&self) -> PathBuf {
        installed::stable_folder(self.home.path()).join("nixfleet-agent")
    }
}

impl Written {
    fn comes_in_order(&self, steps: &[&str]) {
        comes_in_order(&self.order, steps);
    }
}

fn comes_in_order(order: &[String], steps: &[&str]) {
    let found: Vec<&str> = order.iter().map(String::as_str).collect();
    let found: Vec<&str> = found.into_iter().filter(|step| steps.contains(step)).collect();
    assert_eq!(found, steps, "{order:?}");
}

#[test]
fn with_the_real_home_manager() {
    let Some(sources) = Sources::find() else {
        not_run(
            "no checkouts of home-manager and nixpkgs are named; tests/nix/real-home-manager takes them",
        );
        return;
    };
    for system in ["aarch64-darwin", "x86_64-darwin"] {
        a_launchd_job_that_never_changes(&sources, system);
        its_domain(&sources, system);
    }
    for system in ["aarch64-linux", "x86_64-linux"] {
        a_unit_that_never_changes(&sources, system);
    }
    for system in ["aarch64-darwin", "x86_64-linux"] {
        the_config_file(&sources, system);
        nothing_is_left_when_disabled(&sources, system);
        wrong_types_are_refused(&sources, system);
    }
}

#[test]
fn with_the_real_home_manager_as_a_part_of_the_real_nix_darwin() {
    let Some(sources) = Sources::find().filter(|sources| sources.nix_darwin.is_some()) else {
        not_run("no checkout of nix-darwin is named; tests/nix/real-home-manager takes one");
        return;
    };
    let ask = |system: &str, definitions: &str| {
        sources.ask::<DarwinWritten>("real-darwin.nix", system, definitions, &[]).unwrap()
    };
    for system in ["aarch64-darwin", "x86_64-darwin"] {
        let written = ask(system, &format!("{GOOD} {ALL}"));
        if !written.failed.is_empty() {
            assert!(written.failed[0].contains("older than 25.05"), "{:?}", written.failed);
            not_run("this nix-darwin is older than 25.05, and says so");
            return;
        }
        assert_eq!(
            (&*written.warnings, &*written.jobs),
            (&[][..], &["nixfleet-agent".to_owned()][..])
        );
        assert_eq!(written.packages, ["nixfleet-agent-1", "nixfleet-switch-1"]);
        comes_in_order(&written.order, &["linkGeneration", "nixfleetAgent", "setupLaunchAgents"]);
        let place = sources.home.path();
        let config = written.config.unwrap();
        assert_eq!(config["switch_kind"], "darwin-rebuild");
        let switch = switch_of_wrapper(place, &config, "me", Path::new("/Users/me"));
        if let Some(read) = read_by_sudo(place, &written.sudoers.unwrap()) {
            assert_eq!(read, [("me".to_owned(), vec![switch])]);
        }

        let disabled = ask(system, "");
        assert_eq!((&*disabled.failed, &*disabled.jobs), (&[][..], &[][..]));
        assert!(!disabled.sudoers.is_some_and(|text| text.contains("NOPASSWD")));
    }
}

fn a_launchd_job_that_never_changes(sources: &Sources, system: &str) {
    let written = sources.good(system, "", "1");
    written.comes_in_order(&[
        "writeBoundary",
        "linkGeneration",
        "nixfleetAgent",
        "setupLaunchAgents",
    ]);
    assert!(written.link.ends_with("-nixfleet-agent-1/bin/nixfleet-agent"), "{}", written.link);
    assert!(written.activation.contains("nixfleet-switch-1/bin/nixfleet-switch install"));
    let text = written.plist.unwrap();
    let plist: plist::Dictionary = plist::from_bytes(text.as_bytes()).unwrap();
    assert_eq!(plist["Label"].as_string(), Some(installed::DEFAULT_LABEL));
    let arguments = plist["ProgramArguments"].as_array().unwrap();
    let arguments: Vec<_> = arguments.iter().filter_map(plist::Value::as_string).collect();
    let expected = format!("{} run", sources.agent().display());
    assert!(arguments.join(" ").ends_with(&expected), "{arguments:?}");
    for key in ["KeepAlive", "RunAtLoad"] {
        assert_eq!(plist[key].as_boolean(), Some(true), "{key}");
    }
    assert!(!text.contains("/nix/store/"), "{text}");
    assert_eq!(
        sources.good(system, &format!("{ALL} watchdog.enable = false;"), "2").plist,
        Some(text),
        "{system}"
    );
}

fn its_domain(sources: &Sources, system: &str) {
    let definitions = format!("{GOOD} domain = \"user\";");
    let written = sources.evaluate(system, &definitions, "1").unwrap();
    if written.failed.is_empty() {
        let text = written.plist.unwrap();
        let plist: plist::Dictionary = plist::from_bytes(text.as_bytes()).unwrap();
        assert_eq!(plist["LimitLoadToSessionType"].as_string(), Some("Background"));
    } else {
        assert!(written.failed[0].contains("launchd.agents.<name>.domain"), "{:?}", written.failed);
    }
}

fn a_unit_that_never_changes(sources: &Sources, system: &str) {
    let written = sources.good(system, "", "1");
    written.comes_in_order(&["writeBoundary", "linkGeneration", "nixfleetAgent", "reloadSystemd"]);
    let text = written.unit.unwrap();
    assert!(!text.contains("/nix/store/"), "{text}");
    let agent = sources.agent();
    fs::create_dir_all(agent.parent().unwrap()).unwrap();
    fs::write(&agent, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&agent, fs::Permissions::from_mode(0o755)).unwrap();
    let path = sources.home.path().join(installed::DEFAULT_UNIT);
    fs::write(&path, &text).unwrap();
    let verified = Command::new("systemd-analyze")
        .args(["verify", "--user"])
        .arg(&path)
        .env("HOME", sources.home.path())
        .env("XDG_RUNTIME_DIR", sources.home.path())
        .output();
    match verified {
        Ok(verified) => {
            let said = String::from_utf8_lossy(&verified.stderr);
            assert!(verified.status.success() && said.is_empty(), "{said}{text}");
        }
        Err(error) => not_run(&format!("systemd-analyze cannot be started: {error}")),
    }
    assert_eq!(
        sources.good(system, &format!("{ALL} watchdog.enable = false;"), "2").unit,
        Some(text),
        "{system}"
    );
}

fn the_config_file(sources: &Sources, system: &str) {
    let config = sources.good(system, ALL, "1").config.unwrap();
    let path = write_config(sources.home.path(), &config);
    let file = config_file::load(&path).unwrap().file;
    assert_eq!(file.token_file, Some(PathBuf::from("/run/token")));
    assert_eq!(file.repo_url.as_deref(), Some("git@github.com:me/nixcfg.git"));
    assert_eq!((file.interval, file.criticality.as_deref()), (Some(5), Some("high")));
}

fn nothing_is_left_when_disabled(sources: &Sources, system: &str) {
    let written = sources.evaluate(system, "", "1").unwrap();
    assert!(written.failed.is_empty() && written.warnings.is_empty());
    assert!(written.config.is_none() && written.plist.is_none() && written.unit.is_none());
    assert!(!written.activation.contains("nixfleet-switch-1"), "{}", written.activation);
    written.comes_in_order(&["writeBoundary", "nixfleetAgent", "linkGeneration"]);
}

fn wrong_types_are_refused(sources: &Sources, system: &str) {
    for (definitions, option) in [
        ("interval = 0;", "interval"),
        ("hostname = \"imac0.lan\";", "hostname"),
        ("themeColor = \"red\";", "themeColor"),
        ("location = \"moon\";", "location"),
        ("sshKeyFile = \"~/.ssh/key\";", "sshKeyFile"),
    ] {
        let definitions = format!("{GOOD} repoUrl = \"git@h:x\"; {definitions}");
        let refused = sources.evaluate(system, &definitions, "1").unwrap_err();
        assert!(refused.contains(option), "{definitions}: {refused}");
    }
    let definitions = format!("{GOOD} settings.intervall = 5;");
    let failed = sources.evaluate(system, &definitions, "1").unwrap().failed;
    assert!(failed[0].contains("no agent knows: intervall"), "{failed:?}");
}
