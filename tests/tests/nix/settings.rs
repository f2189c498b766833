//! The config file, and what is wrong with a user's definitions.

use std::{collections::BTreeSet, error::Error as _, fs, path::PathBuf, process::Command};

use nixfleet_protocol::config_file;
use nixfleet_tests::stage::{folder, programs::Programs};
use serde_json::{Map, Value, json};

use crate::{
    evaluated::{ALL, Host, evaluate, has_nix, root, text},
    written::write_config,
};

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
        "device_type": "laptop", "log_level": "debug", "log_format": "json", "metrics": false, "hostname": "imac0", "theme_color": "#f7768e",
        "repo_url": "git@github.com:me/nixcfg.git", "branch": "live", "ssh_key_file": "/Users/me/.ssh/key",
        "flake_attribute": "imac0", "switch_timeout": "90min", "switch_arguments": ["-b", "backup"],
        "pinned_public_key": ["sha256//47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="],
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

#[test]
fn token_and_trust_are_said_by_options() {
    if !has_nix() {
        return;
    }
    let definitions = "tokenFile = null; tokenCommand = [ \"/bin/show\" \"it\" ]; caFile = \"/ca.pem\"; \
        pinnedPublicKey = [ \"sha256//a\" \"sha256//b\" ];";
    let mut host = Host::new("aarch64-darwin", "");
    host.definitions = host.definitions.replace("tokenFile = \"/run/token\";", definitions);
    let evaluated = host.evaluate().unwrap();
    assert_eq!(evaluated.failed, [""; 0]);
    let config = evaluated.config.unwrap();
    assert!(!config.contains_key("token_file"));
    assert_eq!(config["token_command"], json!(["/bin/show", "it"]));
    assert_eq!(config["ca_file"], json!("/ca.pem"));
    assert_eq!(config["pinned_public_key"], json!(["sha256//a", "sha256//b"]));
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
        ("tokenCommand = [ \"show\" ];", "Remove the other"),
        ("settings.pinned_public_key = 5;", "pinned_public_key is not of type"),
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
