//! The command of a switch: which programs, found where, and who runs them.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
};

use nixfleet_protocol::switch_kind::{Runner, SwitchKind};

use super::environment::{self, ProgramError, Wanted};
use crate::{settings::Settings, sudo};

/// The whole command of a switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SwitchLine {
    /// Every word, the program first.
    pub(super) words: Vec<OsString>,
    /// sudo stands between us and the switch.
    pub(super) sudo: Option<Sudo>,
}

/// A sudo that runs the switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sudo {
    program: PathBuf,
    may_ask: bool,
    /// What root runs.
    of_root: Vec<OsString>,
}

/// Finds the programs and puts the words together. `may_ask`: somebody is there to type a password.
pub(super) fn line(
    settings: &Settings,
    variables: &BTreeMap<OsString, OsString>,
    arguments: &[OsString],
    may_ask: bool,
) -> Result<SwitchLine, ProgramError> {
    let command = &settings.switching.command;
    let program = program(settings, variables)?;
    let is_root = rustix::process::geteuid().is_root();
    let own = command.line(program.clone(), arguments, Runner::Own);
    if !command.kind.is_under_sudo(is_root) {
        return Ok(SwitchLine { words: own, sudo: None });
    }
    let sudo = sudo::find(settings, variables)?;
    let runner = Runner::Sudo { sudo: sudo.clone(), may_ask };
    let words = command.line(program, arguments, runner);
    Ok(SwitchLine { words, sudo: Some(Sudo { program: sudo, may_ask, of_root: own }) })
}

/// The program of this host's kind of switch, as an absolute path.
pub(crate) fn program(
    settings: &Settings,
    variables: &BTreeMap<OsString, OsString>,
) -> Result<PathBuf, ProgramError> {
    let programs = &settings.programs;
    let words = &settings.switching.command.words;
    let own = words.first().map(PathBuf::from);
    let (name, key, set) = match settings.switching.command.kind {
        SwitchKind::HomeManager => {
            ("home-manager", "NIXFLEET_HOME_MANAGER", programs.home_manager.as_ref())
        }
        SwitchKind::NixosRebuild => {
            ("nixos-rebuild", "NIXFLEET_NIXOS_REBUILD", programs.nixos_rebuild.as_ref())
        }
        SwitchKind::DarwinRebuild => {
            ("darwin-rebuild", "NIXFLEET_DARWIN_REBUILD", programs.darwin_rebuild.as_ref())
        }
        SwitchKind::Command => {
            let name = words.first().map_or("", String::as_str);
            (name, "NIXFLEET_SWITCH_COMMAND", own.as_ref())
        }
    };
    environment::find(&Wanted { name, variable: key, set }, variables)
}

impl SwitchLine {
    /// Whether sudo runs the switch, ours or the one of a configured command: then signals go to sudo alone.
    pub(super) fn is_under_sudo(&self) -> bool {
        let program = self.words.first().map(Path::new).and_then(Path::file_name);
        self.sudo.is_some() || program.is_some_and(|name| name == "sudo")
    }

    /// After a switch that has failed: the sudo rule that is missing, if that is why. Only asked where nobody could type a
    /// password.
    pub(super) fn missing_rule(
        &self,
        output_tail: &str,
        variables: &BTreeMap<OsString, OsString>,
    ) -> Option<String> {
        let sudo = self.sudo.as_ref().filter(|sudo| !sudo.may_ask)?;
        // Where it seems to be allowed, the refusal itself is the last thing said.
        let was_refused =
            output_tail.lines().next_back().is_some_and(|line| line.starts_with("sudo: "));
        let is_missing = was_refused || !sudo::allows(&sudo.program, &sudo.of_root, variables);
        is_missing.then(|| sudo::missing_rule(variables, std::slice::from_ref(&sudo.of_root)))
    }
}
