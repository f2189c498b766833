//! Rules for sudo: what the wrapper runs as root, and what sudo itself reads of a rule.

use std::{ffi::OsString, fs, path::Path, process::Command};

use nixfleet_protocol::{
    config_file,
    switch_kind::{Purpose, Runner, SwitchKind},
    switch_settings::{MergedSwitch, Surroundings},
};
use serde_json::{Map, Value, json};

use crate::{
    evaluated::{has, text},
    written::write_config,
};

/// What the wrapper of this user runs as root for a switch that the dashboard asks for, with this config. The words are
/// joined as sudo joins them.
pub(crate) fn switch_of_wrapper(
    place: &Path,
    config: &Map<String, Value>,
    user: &str,
    home: &Path,
) -> String {
    let loaded = config_file::load(&write_config(place, config)).unwrap();
    let file = &loaded.file;
    let in_home = home.join(".local/state/nixfleet");
    let around = Surroundings {
        state_dir: file.state_dir.as_ref().unwrap_or(&in_home),
        xdg_state_home: None,
        home,
        user: Some(user),
    };
    let command = MergedSwitch::of(&loaded, |_name| None).check(around).unwrap().command;
    let program = match command.kind {
        SwitchKind::NixosRebuild => file.nixos_rebuild.clone(),
        SwitchKind::DarwinRebuild => file.darwin_rebuild.clone(),
        SwitchKind::HomeManager | SwitchKind::Command => None,
    };
    let arguments = command.arguments::<String>(&[]);
    let arguments: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
    let line = command.line(Purpose::Switch, program.unwrap(), &arguments, Runner::Own);
    line.iter().map(|word: &OsString| word.to_str().unwrap()).collect::<Vec<_>>().join(" ")
}

/// Without the backslashes, which say that what follows is meant literally.
pub(crate) fn literal(pattern: &str) -> String {
    let mut characters = pattern.chars();
    let mut text = String::new();
    while let Some(character) = characters.next() {
        if character == '\\' {
            text.extend(characters.next());
        } else {
            assert!(!"*?[!".contains(character), "a wildcard in {pattern}");
            text.push(character);
        }
    }
    text
}

/// What sudo itself reads of this text: who may run which commands as root without a password. It checks the text as NixOS
/// does when it builds a system, and tells what it takes for the commands, with wildcards still escaped. `None`, and said,
/// where there is no sudo.
pub(crate) fn read_by_sudo(place: &Path, sudoers: &str) -> Option<Vec<(String, Vec<String>)>> {
    if !has("cvtsudoers", "on Debian, `apt-get install sudo` brings it") {
        return None;
    }
    let path = place.join("sudoers");
    fs::write(&path, sudoers).unwrap();
    let checked = Command::new("visudo").arg("-cf").arg(&path).output();
    let checked =
        checked.or_else(|_| Command::new("/usr/sbin/visudo").arg("-cf").arg(&path).output());
    let checked = checked.unwrap();
    assert!(checked.status.success() && checked.stderr.is_empty(), "{}", text(&checked));
    let mut convert = Command::new("cvtsudoers");
    let converted = convert.args(["-c", "/dev/null", "-f", "json"]).arg(&path).output().unwrap();
    let json: Value = serde_json::from_slice(&converted.stdout).unwrap();
    Some(json["User_Specs"].as_array().unwrap().iter().map(allowed).collect())
}

fn allowed(rule: &Value) -> (String, Vec<String>) {
    let user = rule["User_List"][0]["username"].as_str().unwrap().to_owned();
    let lines = rule["Cmnd_Specs"].as_array().unwrap().iter();
    let commands = lines.flat_map(|line| {
        assert_eq!(line["Options"], json!([{"authenticate": false}]));
        assert_eq!(line["runasusers"], json!([{"username": "root"}]));
        line["Commands"].as_array().unwrap()
    });
    (user, commands.map(|command| literal(command["command"].as_str().unwrap())).collect())
}
