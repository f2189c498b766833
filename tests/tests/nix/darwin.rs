//! The nix-darwin module: the rule for sudo, which has to be to the letter what the wrapper runs, and what home-manager's
//! module makes of a user whose home-manager is a part of the system.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

use nixfleet_tests::stage::{folder, programs::Programs};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    evaluated::{ALL, GOOD, Host, evaluate, has_nix, root, text},
    sudoers::{literal, read_by_sudo, switch_of_wrapper},
    written::write_config,
};

const SYSTEMS: [&str; 2] = ["aarch64-darwin", "x86_64-darwin"];

const FLAKE: &str = "switch.flake = \"/Users/me/nixcfg\"; switch.attribute = \"mac\";";

/// What the module makes of a system.
#[derive(Debug, Deserialize)]
struct Evaluated {
    /// The assertions that do not hold.
    failed: Vec<String>,
    /// The modules that every user of home-manager gets.
    modules: Vec<String>,
    /// The text for sudoers, if there is one.
    sudoers: Option<String>,
    /// The config files, by user.
    configs: BTreeMap<String, Option<Map<String, Value>>>,
    /// What home-manager's module warns of, by user.
    warnings: BTreeMap<String, Vec<String>>,
}

/// A system with these users, each with what `tests/nix/home.nix` takes beside the rest, without the braces.
fn system(system: &str, users: &[(&str, &str)], more: &str) -> Result<Evaluated, String> {
    let users = users.iter().map(|(user, more)| format!("\"{user}\" = {{ {more} }};"));
    let users = users.collect::<Vec<_>>().join(" ");
    let expression = format!(
        "import {}/tests/nix/evaluate-darwin.nix {{ system = \"{system}\"; users = {{ {users} }}; {more} }}",
        root().display()
    );
    serde_json::from_value(evaluate(&expression)?).map_err(|error| error.to_string())
}

/// A system whose only user has these definitions beside those of [`GOOD`].
fn mac(definitions: &str) -> Evaluated {
    let definitions = format!("definitions = {{ {GOOD} {definitions} }};");
    system("aarch64-darwin", &[("me", &definitions)], "").unwrap()
}

/// Who may run what, by the text for sudoers, which is checked by sudo where that is there.
fn allowed(place: &Path, sudoers: &str) -> Vec<(String, Vec<String>)> {
    let lines = sudoers.lines().filter(|line| !line.starts_with('#'));
    let rules: Vec<_> = lines
        .map(|line| {
            let (user, command) = line.split_once(" ALL=(root) NOPASSWD: ").unwrap();
            (user.to_owned(), vec![literal(command)])
        })
        .collect();
    if let Some(read) = read_by_sudo(place, sudoers) {
        assert_eq!(read, rules);
    }
    rules
}

#[test]
fn sudo_allows_to_the_letter_what_the_wrapper_of_a_mac_runs() {
    if !has_nix() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    for definitions in [
        "",
        ALL,
        FLAKE,
        "repoUrl = \"git@h:x\";",
        "configRepo = \"/Users/me/nixcfg\"; hostname = \"mac\";",
        "switch = { flake = \"git+ssh://git@h:22/x?ref=main&dir=a,b\"; attribute = \"mac\"; };",
        "switch = { flake = \"/cfg\"; arguments = [ \"-L\" \"--option\" \"a=b,c:d#e\" \"~/x\" \"%h\" ]; };",
        "settings = { darwin_rebuild = \"/opt/a:b/darwin-rebuild\"; state_dir = \"/srv/state\"; }; repoUrl = \"git@h:x\";",
    ] {
        let evaluated = mac(definitions);
        assert_eq!(evaluated.failed, [""; 0], "{definitions}");
        let config = evaluated.configs["me"].as_ref().unwrap();
        let switch = switch_of_wrapper(place.path(), config, "me", Path::new("/Users/me"));
        let rules = allowed(place.path(), &evaluated.sudoers.unwrap());
        assert_eq!(rules, [("me".to_owned(), vec![switch])], "{definitions}");
    }
}

#[test]
fn each_user_who_has_an_agent_gets_a_rule_and_nobody_else() {
    if !has_nix() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let with = |more: &str| format!("definitions = {{ {GOOD} {more} }};");
    let repository = with("repoUrl = \"git@h:x\"; hostname = \"mac\";");
    let moved = format!("{repository} xdg.stateHome = \"/Users/moved/state\";");
    let home_manager = with("settings.switch_kind = \"home-manager\";");
    let own = with(
        "settings = { switch_kind = \"command\"; switch_command = [ \"/deploy\" \"a b\" ]; };",
    );
    let users = [
        ("me", &*repository),
        ("moved", &moved),
        ("without", "definitions = { };"),
        ("standalone", &home_manager),
        ("own", &own),
    ];
    for name in SYSTEMS {
        let evaluated = system(name, &users, "").unwrap();
        assert_eq!(evaluated.failed, [""; 0]);
        let module = root().join("nix/modules/home-manager.nix");
        assert_eq!(evaluated.modules, [module.to_str().unwrap()]);
        let rules = allowed(place.path(), evaluated.sudoers.as_ref().unwrap());
        let rebuild = "/run/current-system/sw/bin/darwin-rebuild switch --flake";
        let expected = [
            ("me", format!("{rebuild} /Users/me/.local/state/nixfleet/repo#mac")),
            ("moved", format!("{rebuild} /Users/moved/state/nixfleet/repo#mac")),
        ];
        assert_eq!(rules, expected.map(|(user, line)| (user.to_owned(), vec![line])));
        let warned: Vec<_> =
            evaluated.warnings.iter().filter(|(_, said)| !said.is_empty()).collect();
        let [(user, said)] = &*warned else { panic!("{warned:?}") };
        assert_eq!(*user, "standalone");
        assert!(said[0].contains("Take settings.switch_kind out"), "{said:?}");
    }
    let nobody = system("aarch64-darwin", &[("without", "definitions = { };")], "").unwrap();
    assert_eq!((nobody.failed, nobody.sudoers), (Vec::new(), None));
}

#[test]
fn the_config_of_a_mac_is_one_that_the_agent_takes() {
    if !has_nix() {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let token = place.path().join("token");
    folder::write_private(&token, "secret").unwrap();
    let token = format!("settings.token_file = \"{}\";", token.display());
    let config = mac(&format!("{token} {FLAKE}")).configs["me"].clone().unwrap();
    for (key, expected) in [
        ("switch_kind", "darwin-rebuild"),
        ("darwin_rebuild", "/run/current-system/sw/bin/darwin-rebuild"),
        ("sudo", "/usr/bin/sudo"),
        ("flake", "/Users/me/nixcfg"),
    ] {
        assert_eq!(config[key], expected);
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

    // By itself, home-manager's kind of switch is its own, and the others find their programs likewise.
    let alone = Host::new("aarch64-darwin", FLAKE).evaluate().unwrap().config.unwrap();
    assert!(!alone.contains_key("switch_kind") && !alone.contains_key("sudo"));
    let other = format!("{FLAKE} settings.switch_kind = \"darwin-rebuild\";");
    let other = Host::new("aarch64-darwin", &other).evaluate().unwrap().config.unwrap();
    assert_eq!(other["sudo"], json!("/usr/bin/sudo"));
}

/// Whether home-manager is a part of the system or not, its job is the same: who changes that keeps the agent.
#[test]
fn the_job_is_that_of_home_manager_alone() {
    if !has_nix() {
        return;
    }
    let host = || Host { home: PathBuf::from("/Users/me"), ..Host::new("aarch64-darwin", FLAKE) };
    let alone = host().evaluate().unwrap();
    let part = host().with("isSubmodule = true;").evaluate().unwrap();
    assert_eq!((&part.failed, &part.warnings), (&Vec::new(), &Vec::new()));
    assert_eq!(part.launchd, alone.launchd);
    assert_eq!(part.activation.data, alone.activation.data);
}

#[test]
fn what_is_wrong_with_a_mac_is_said_with_what_to_do() {
    if !has_nix() {
        return;
    }
    let good = format!("definitions = {{ {GOOD} {FLAKE} }};");
    for (user, definitions, more, expected) in [
        ("me", "", "hasHomeManager = false;", "home-manager.darwinModules.home-manager"),
        ("me", "", "isLate = false;", "older than 25.05"),
        ("me", "", "hasRebuild = false;", "system.tools.darwin-rebuild.enable"),
        ("ADMIN", "", "", "a sudo rule can not say this name"),
        ("a b", "", "", "a sudo rule can not say this name"),
        ("me", "switch.flake = \"/my cfg\";", "", "\"/my cfg\""),
        ("me", "switch.arguments = [ \"a*\" ];", "", "home-manager.users.me.services"),
        ("me", "settings.darwin_rebuild = \"darwin-rebuild\";", "", "Give the path in full"),
    ] {
        let own = format!("definitions = {{ {GOOD} {definitions} }};");
        let definitions = if definitions.is_empty() { &good } else { &own };
        let failed = system("aarch64-darwin", &[(user, definitions)], more).unwrap().failed;
        assert_eq!(failed.len(), 1, "{definitions} {more}: {failed:?}");
        assert!(failed[0].contains(expected), "{definitions} {more}: {failed:?}");
    }
    // Without an agent nothing of that is wanted.
    let none = [("me", "definitions = { };")];
    let old = system("aarch64-darwin", &none, "isLate = false; hasRebuild = false;").unwrap();
    assert_eq!(old.failed, [""; 0]);
}

#[test]
fn the_module_for_nix_darwin_is_there_with_and_without_flakes() {
    if !has_nix() {
        return;
    }
    let root = root();
    let root = root.display();
    let pkgs = format!("import {root}/tests/nix/pkgs.nix {{ system = \"aarch64-darwin\"; }}");
    let expected = json!(format!("{root}/nix/modules/darwin.nix"));
    for name in ["default", "nixfleet-agent"] {
        let without = format!("toString (import {root} {{ pkgs = {pkgs}; }}).darwinModules.{name}");
        assert_eq!(evaluate(&without).unwrap(), expected);
        let flake = |options: &str, show: &str| {
            evaluate(&format!(
                "let module = ((import {root}/flake.nix).outputs {{ self.packages.aarch64-darwin = {{ }}; \
                   nixpkgs.lib.genAttrs = _: _: {{ }}; }}).darwinModules.{name} \
                   {{ lib = import {root}/tests/nix/lib.nix; options = {options}; }}; in {show}"
            ))
            .unwrap()
        };
        let show = "toString (builtins.head module.imports)";
        assert_eq!(flake("{ }", show), expected);
        assert_eq!(flake("{ }", "module.config"), json!({}));
        // Its packages are those of the flake.
        let show = "(builtins.head module.config.home-manager.sharedModules \
            { lib = { }; pkgs.stdenv.hostPlatform.system = \"aarch64-darwin\"; }).key";
        let key = format!("{root}/nix/modules/home-manager.nix with packages");
        assert_eq!(flake("{ home-manager = { }; }", show), json!(key));
    }
}
