//! The command of a switch, or of another operation: which programs, found where, and who runs them.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};

use nixfleet_protocol::{
    journal::records::SwitchId,
    switch_kind::{Purpose, Runner, SwitchKind},
};

use super::environment::{self, ProgramError, Wanted};
use crate::{
    perform::{self, rollback},
    settings::Settings,
    sudo,
};

/// The whole command of a switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SwitchLine {
    /// Every word, the program first.
    pub(super) words: Vec<OsString>,
    /// sudo stands between us and the switch.
    pub(super) sudo: Option<Sudo>,
    /// Steps come before it: it is our own program that is started.
    pub(super) has_steps: bool,
}

/// A sudo that runs the switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sudo {
    program: PathBuf,
    may_ask: bool,
    /// What root runs.
    of_root: Vec<Vec<OsString>>,
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
    let own = command.line(Purpose::Switch, program.clone(), arguments, Runner::Own);
    if !command.kind.is_under_sudo(is_root) {
        return Ok(SwitchLine { words: own, sudo: None, has_steps: false });
    }
    let sudo = sudo::find(settings, variables)?;
    let runner = Runner::Sudo { sudo: sudo.clone(), may_ask };
    let words = command.line(Purpose::Switch, program, arguments, runner);
    let sudo = Sudo { program: sudo, may_ask, of_root: vec![own] };
    Ok(SwitchLine { words, sudo: Some(sudo), has_steps: false })
}

/// The command that only builds what a switch would activate. It needs no rights.
pub(super) fn build_line(
    settings: &Settings,
    variables: &BTreeMap<OsString, OsString>,
    arguments: &[OsString],
) -> Result<SwitchLine, String> {
    let command = &settings.switching.command;
    if command.kind == SwitchKind::Command {
        return Err(
            "what switch_command would change cannot be found out without running it".to_owned()
        );
    }
    let program = program(settings, variables).map_err(|error| error.to_string())?;
    let words = command.line(Purpose::Build, program, arguments, Runner::Own);
    Ok(SwitchLine { words, sudo: None, has_steps: false })
}

/// The command that goes back to this generation.
pub(super) fn rollback_line(
    settings: &Settings,
    variables: &BTreeMap<OsString, OsString>,
    generation: &Path,
    may_ask: bool,
) -> Result<SwitchLine, String> {
    let kind = settings.switching.command.kind;
    let nix_env = || {
        let wanted = Wanted { name: "nix-env", variable: "PATH", set: None };
        environment::find(&wanted, variables).map_err(|error| error.to_string())
    };
    let nix_env = if kind.needs_root() { nix_env()? } else { PathBuf::new() };
    let profile = settings.switching.links.profile();
    let Some(commands) = rollback::commands(kind, generation, profile, &nix_env) else {
        return Err(
            "which generation switch_command has made is not known, so there is none to go back to"
                .to_owned(),
        );
    };
    let of_root: Vec<Vec<OsString>> =
        commands.set.iter().cloned().chain([commands.activate.clone()]).collect();
    let is_root = rustix::process::geteuid().is_root();
    let (runner, sudo) = if kind.is_under_sudo(is_root) {
        let program = sudo::find(settings, variables).map_err(|error| error.to_string())?;
        let runner = Runner::Sudo { sudo: program.clone(), may_ask };
        (runner, Some(Sudo { program, may_ask, of_root }))
    } else {
        (Runner::Own, None)
    };
    let by_whom = |words: Vec<OsString>| runner.clone().runs(words);
    let set = commands.set.map(by_whom);
    let then = set.is_some().then(|| OsString::from(rollback::THEN));
    let words = set.into_iter().flatten().chain(then).chain(by_whom(commands.activate)).collect();
    Ok(SwitchLine { words, sudo, has_steps: false })
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

impl Sudo {
    /// Whether it lets root run all of it.
    fn allows(&self, variables: &BTreeMap<OsString, OsString>) -> bool {
        self.of_root.iter().all(|words| sudo::allows(&self.program, words, variables))
    }
}

impl SwitchLine {
    /// Nothing but steps.
    pub(super) const fn nothing() -> Self {
        Self { words: Vec::new(), sudo: None, has_steps: false }
    }

    /// The same, with the steps of the operation before it.
    pub(super) fn after_steps(self, id: SwitchId) -> io::Result<Self> {
        Ok(Self { words: perform::words(id, &self.words)?, sudo: self.sudo, has_steps: true })
    }

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
        let is_missing = was_refused || !sudo.allows(variables);
        is_missing.then(|| sudo::missing_rule(variables, &sudo.of_root))
    }
}
