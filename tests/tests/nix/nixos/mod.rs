//! The NixOS module: unit, config file, and the rules for sudo, which have to be to the letter what the wrapper runs.

mod host;

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use host::{NixosHost, Rule};
use nixfleet_protocol::installed;
use nixfleet_tests::stage::{folder, programs::Programs};
use serde_json::{Value, json};

use crate::{
    evaluated::{LINUX, evaluate, has, has_nix, root, text},
    sudoers::{literal, read_by_sudo, switch_of_wrapper},
    written::write_config,
};

/// Everything set that a system can have beside the user.
const ALL: &str = r##"
    hostname = "srv"; interval = 5; location = "work"; deviceType = "server"; themeColor = "#f7768e"; logLevel = "debug"; logFormat = "json"; metrics = false;
    repoUrl = "git@github.com:me/nixcfg.git"; branch = "live"; sshKeyFile = "/run/key";
    switch = { timeout = "90min"; arguments = [ "-L" ]; };
    settings = { criticality = "high"; };
"##;

#[test]
fn both_linuxes_get_a_unit_that_never_changes() {
    if !has_nix() {
        return;
    }
    for system in LINUX {
        let evaluated = NixosHost::new(system, "").evaluate().unwrap();
        assert_eq!((&evaluated.failed, &evaluated.warnings), (&Vec::new(), &Vec::new()));
        assert_eq!(evaluated.packages, ["nixfleet-agent-1", "nixfleet-switch-1"]);
        let written = evaluated.unit();
        for line in [
            "Type=notify",
            "User=admin",
            "Restart=always",
            "WatchdogSec=60",
            "KillMode=process",
            "StateDirectory=nixfleet",
            "StateDirectoryMode=0700",
            "X-RestartIfChanged=false",
            "X-StopIfChanged=false",
            "ExecStart=/run/current-system/sw/bin/nixfleet-agent run --config /etc/nixfleet/config.toml",
            "Environment=\"PATH=/run/wrappers/bin:/run/current-system/sw/bin\"",
        ] {
            assert!(written.lines().any(|present| present == line), "{line}: {written}");
        }
        for absent in ["/nix/store", "NoNewPrivileges", "network", "MemoryMax"] {
            assert!(!written.contains(absent), "{absent}: {written}");
        }
        let other = NixosHost::new(system, ALL).with("version = \"2\";").evaluate().unwrap();
        assert_eq!(other.unit(), written);
    }
    let disabled = NixosHost { definitions: "enable = false;".to_owned(), ..host("") };
    let disabled = disabled.evaluate().unwrap();
    assert!(disabled.service.is_none() && disabled.config.is_none());
    assert!(
        disabled.packages.is_empty() && disabled.sudo.is_empty() && disabled.sudo_rs.is_empty()
    );
}

#[test]
fn systemd_takes_the_unit_of_the_system() {
    if !has_nix() || !has("systemd-analyze", "on Debian, `apt-get install systemd` brings it") {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let agent = place.path().join("nixfleet-agent");
    fs::write(&agent, "#!/bin/sh\n").unwrap();
    fs::set_permissions(&agent, fs::Permissions::from_mode(0o755)).unwrap();
    // systemd looks whether the program is there.
    let installed = "/run/current-system/sw/bin/nixfleet-agent";
    let unit = host("").evaluate().unwrap().unit();
    let unit = unit.replace(installed, agent.to_str().unwrap());
    let path = place.path().join(installed::DEFAULT_UNIT);
    fs::write(&path, &unit).unwrap();
    let verified = Command::new("systemd-analyze").arg("verify").arg(&path).output().unwrap();
    let said = String::from_utf8_lossy(&verified.stderr);
    assert!(verified.status.success() && said.is_empty(), "{said}{unit}");
}

#[test]
fn the_system_s_config_is_one_that_the_agent_takes() {
    if !has_nix() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let token = place.path().join("token");
    folder::write_private(&token, "secret").unwrap();
    let plain = json!({
        "url": "https://fleet.example.org", "token_file": token, "interval": 30, "location": "home",
        "device_type": "desktop", "log_level": "info",
        "state_dir": "/var/lib/nixfleet", "service_manager": "systemd-system", "switch_kind": "nixos-rebuild",
        "switch": "/run/current-system/sw/bin/nixfleet-switch",
        "nixos_rebuild": "/run/current-system/sw/bin/nixos-rebuild",
        "systemctl": "/run/current-system/sw/bin/systemctl",
        "sudo": "/run/wrappers/bin/sudo",
    });
    for (definitions, expected) in [("settings = { };", Some(plain)), (ALL, None)] {
        let with_token = format!("settings = {{ token_file = \"{}\";", token.display());
        let definitions = definitions.replace("settings = {", &with_token);
        let config = host(&definitions).evaluate().unwrap().config.unwrap();
        if let Some(expected) = expected {
            assert_eq!(Value::Object(config.clone()), expected);
        }
        let checked = Command::new(Programs::get().unwrap().agent())
            .args(["check-config", "--config"])
            .arg(write_config(place.path(), &config))
            .env_clear()
            .env("HOME", place.path())
            .env("NIXFLEET_HOSTNAME", "host")
            .output()
            .unwrap();
        assert!(checked.status.success(), "{}", text(&checked));
    }
}

/// Hosts, by what they switch to.
const HOSTS: [&str; 7] = [
    "",
    ALL,
    "repoUrl = \"git@h:x\";",
    "configRepo = \"/home/admin/nixcfg\"; hostname = \"srv\";",
    "switch = { flake = \"git+ssh://git@h:22/x?ref=main&dir=a,b\"; attribute = \"srv\"; };",
    "switch = { flake = \"/cfg\"; arguments = [ \"-L\" \"--option\" \"a=b,c:d#e\" \"~/x\" \"%h\" ]; };",
    "settings = { nixos_rebuild = \"/opt/a:b/nixos-rebuild\"; state_dir = \"/srv/state\"; }; repoUrl = \"git@h:x\";",
];

/// What `switch-wrapper/src/ensure/systemd.rs` has root do.
const SYSTEMCTL: [&str; 3] = [
    "/run/current-system/sw/bin/systemctl daemon-reload",
    "/run/current-system/sw/bin/systemctl reset-failed -- nixfleet-agent.service",
    "/run/current-system/sw/bin/systemctl restart --no-block -- nixfleet-agent.service",
];

fn only_rule(rules: &[Rule]) -> &Rule {
    assert_eq!(rules.len(), 1, "{rules:?}");
    let rule = &rules[0];
    assert_eq!((&*rule.users, &*rule.run_as), (&["admin".to_owned()][..], "root"));
    assert!(rule.commands.iter().all(|command| command.options == ["NOPASSWD"]), "{rule:?}");
    rule
}

#[test]
fn sudo_allows_to_the_letter_what_the_wrapper_runs() {
    if !has_nix() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    for definitions in HOSTS {
        let evaluated = host(definitions).evaluate().unwrap();
        assert_eq!(evaluated.failed, [""; 0], "{definitions}");
        let config = evaluated.config.as_ref().unwrap();
        let home = Path::new("/home/admin");
        let switch = switch_of_wrapper(place.path(), config, "admin", home);
        let expected: Vec<_> = [&*switch].into_iter().chain(SYSTEMCTL).collect();

        let rule = only_rule(&evaluated.sudo);
        let allowed = rule.commands.iter().map(|command| literal(&command.command));
        assert_eq!(allowed.collect::<Vec<_>>(), expected);
        // sudo-rs takes a backslash only before these, and `?` as it is.
        let rule_rs = only_rule(&evaluated.sudo_rs);
        let allowed = rule_rs.commands.iter().map(|command| {
            for (at, _) in command.command.match_indices('\\') {
                assert!(command.command[at + 1..].starts_with([',', ':', '=', '#']), "{command:?}");
            }
            literal(&command.command.replace('?', "\\?"))
        });
        assert_eq!(allowed.collect::<Vec<_>>(), expected);

        let expected = expected.into_iter().map(str::to_owned).collect();
        if let Some(read) = read_by_sudo(place.path(), &rule.sudoers()) {
            assert_eq!(read, [("admin".to_owned(), expected)]);
        }
    }
}

#[test]
fn a_command_of_one_s_own_gets_no_rule() {
    if !has_nix() {
        return;
    }
    let own =
        "settings = { switch_kind = \"command\"; switch_command = [ \"/deploy\" \"a b\" ]; };";
    let evaluated = host(own).evaluate().unwrap();
    assert_eq!(evaluated.failed, [""; 0]);
    let commands = only_rule(&evaluated.sudo).commands.iter();
    assert_eq!(commands.map(|command| &*command.command).collect::<Vec<_>>(), SYSTEMCTL);
}

#[test]
fn what_is_wrong_with_a_system_is_said_with_what_to_do() {
    if !has_nix() {
        return;
    }
    for (definitions, more, expected) in [
        ("switch.flake = \"/my cfg\";", "", "\"/my cfg\""),
        ("switch.flake = \"/cfg\"; switch.attribute = \"a*\";", "", "\"/cfg#a*\""),
        ("switch.arguments = [ \"a\\\\b\" ];", "", "settings.switch_kind to \"command\""),
        ("switch.arguments = [ \"\" ];", "", "a sudo rule can not say exactly this: \"\""),
        ("settings.systemctl = \"systemctl\";", "", "Give the path in full"),
        ("", "sudo = false;", "Set security.sudo.enable or security.sudo-rs.enable"),
        ("settings.nonsense = 1;", "", "no agent knows: nonsense"),
    ] {
        let failed = host(definitions).with(more).evaluate().unwrap().failed;
        assert_eq!(failed.len(), 1, "{definitions}: {failed:?}");
        assert!(failed[0].contains(expected), "{definitions}: {failed:?}");
    }
    let with_sudo_rs = host("").with("sudo = false; sudo-rs = true;").evaluate().unwrap();
    assert_eq!(with_sudo_rs.failed, [""; 0]);
    for (definitions, option) in [
        ("watchdog.enable = true;", "watchdog"),
        ("domain = \"gui\";", "domain"),
        ("user = \"ADMIN\";", "user"),
    ] {
        let refused = host(definitions).evaluate().unwrap_err();
        assert!(refused.contains(option), "{definitions}: {refused}");
    }
    let no_user = NixosHost { user: None, ..host("") };
    assert!(no_user.evaluate().unwrap_err().contains("services.nixfleet-agent.user"));
}

#[test]
fn root_and_unknown_users_are_warned_about() {
    if !has_nix() {
        return;
    }
    for (user, expected) in [("root", "Take another user"), ("nobody", "not in users.users")] {
        let host = NixosHost { user: Some(user), ..host("switch.arguments = [ \"a b\" ];") };
        let evaluated = host.evaluate().unwrap();
        assert_eq!(evaluated.warnings.len(), 1, "{:?}", evaluated.warnings);
        assert!(evaluated.warnings[0].contains(expected), "{:?}", evaluated.warnings);
        // root needs no rule, so no rule has to be possible.
        let is_root = user == "root";
        assert_eq!((evaluated.failed.is_empty(), evaluated.sudo.is_empty()), (is_root, is_root));
    }
}

#[test]
fn the_module_is_there_with_and_without_flakes() {
    if !has_nix() {
        return;
    }
    let root = root();
    let root = root.display();
    let pkgs = format!("import {root}/tests/nix/pkgs.nix {{ system = \"x86_64-linux\"; }}");
    let expected = json!(format!("{root}/nix/modules/nixos.nix"));
    for name in ["default", "nixfleet-agent"] {
        let without = format!("toString (import {root} {{ pkgs = {pkgs}; }}).nixosModules.{name}");
        assert_eq!(evaluate(&without).unwrap(), expected);
        let flake = format!(
            "toString (builtins.head (((import {root}/flake.nix).outputs {{ self.packages.x86_64-linux = {{ }}; \
               nixpkgs.lib.genAttrs = _: _: {{ }}; }}).nixosModules.{name} \
               {{ lib = {{ }}; pkgs = {pkgs}; }}).imports)"
        );
        assert_eq!(evaluate(&flake).unwrap(), expected);
    }
}

fn host(definitions: &str) -> NixosHost {
    NixosHost::new("x86_64-linux", definitions)
}
