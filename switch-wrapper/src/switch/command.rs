//! The command of a switch: which programs, found where, and who runs them.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use nixfleet_protocol::{
    external,
    switch_kind::{Runner, SwitchKind},
};

use super::environment::{self, ProgramError, Wanted};
use crate::settings::Settings;

/// Where NixOS has the programs that run as root. What `PATH` finds there first is the same program without the right to.
const NIXOS_SUDO: &str = "/run/wrappers/bin/sudo";

/// How long sudo may take to say what it allows.
const RULE_LIMIT: Duration = Duration::from_secs(10);

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
    /// Where in the words that begins which root runs.
    begins_at: usize,
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
    if !command.kind.is_under_sudo(is_root) {
        let words = command.line(program, arguments, Runner::Own);
        return Ok(SwitchLine { words, sudo: None });
    }
    let sudo = find_sudo(settings, variables)?;
    let runner = Runner::Sudo { sudo: sudo.clone(), may_ask };
    let words = command.line(program.clone(), arguments, runner);
    let begins_at = words.iter().position(|word| *word == program).unwrap_or_default();
    Ok(SwitchLine { words, sudo: Some(Sudo { program: sudo, may_ask, begins_at }) })
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

fn find_sudo(
    settings: &Settings,
    variables: &BTreeMap<OsString, OsString>,
) -> Result<PathBuf, ProgramError> {
    let on_nixos = Path::new(NIXOS_SUDO);
    let set = settings.programs.sudo.as_ref();
    if set.is_none() && environment::is_program(on_nixos) {
        return Ok(on_nixos.to_owned());
    }
    environment::find(&Wanted { name: "sudo", variable: "NIXFLEET_SUDO", set }, variables)
}

impl SwitchLine {
    /// Whether sudo runs the switch: then signals go to sudo alone.
    pub(super) const fn is_under_sudo(&self) -> bool {
        self.sudo.is_some()
    }

    /// After a switch that has failed: the sudo rule that is missing, if that is why. Only asked where nobody could type a
    /// password. What sudo says is not read, for it says it in the user's language: it is asked what it allows.
    pub(super) fn missing_rule(
        &self,
        output_tail: &str,
        variables: &BTreeMap<OsString, OsString>,
    ) -> Option<String> {
        let sudo = self.sudo.as_ref().filter(|sudo| !sudo.may_ask)?;
        let of_root = self.words.get(sudo.begins_at..)?;
        let mut command = Command::new(&sudo.program);
        command.args(["-n", "-l", "--"]).args(of_root);
        command.env_clear().envs(variables).stdin(Stdio::null());
        // A rule that asks for the password may be listed without one; then the refusal itself is the last thing said.
        let is_allowed =
            external::run(&mut command, RULE_LIMIT).is_ok_and(|ended| ended.exit_code == Some(0));
        let was_refused =
            output_tail.lines().next_back().is_some_and(|line| line.starts_with("sudo: "));
        (!is_allowed || was_refused).then(|| sudo_rule(of_root.first(), variables))
    }
}

/// What to write into sudoers(5).
fn sudo_rule(program: Option<&OsString>, variables: &BTreeMap<OsString, OsString>) -> String {
    let shown = |word: Option<&OsString>| {
        word.map_or_else(|| "?".to_owned(), |word| word.to_string_lossy().into_owned())
    };
    let user = shown(variables.get(OsStr::new("USER")));
    let program = shown(program);
    format!(
        "sudo does not run it without a password; allow it by a rule in sudoers: `{user} ALL=(root) NOPASSWD: {program} switch, {program} switch *`"
    )
}
