//! sudo(8): where it is, and what it lets this user do.
//!
//! What it says is not read, for it says it in the user's language. It is asked what it allows.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use nixfleet_protocol::external;

use crate::{
    settings::Settings,
    switch::environment::{self, ProgramError, Wanted},
};

/// Where NixOS has the programs that run as root. What `PATH` finds there first is the same program without the right to.
const ON_NIXOS: &str = "/run/wrappers/bin/sudo";

/// How long it may take to say what it allows.
const RULE_LIMIT: Duration = Duration::from_secs(10);

/// The sudo to run, as an absolute path.
pub(crate) fn find(
    settings: &Settings,
    variables: &BTreeMap<OsString, OsString>,
) -> Result<PathBuf, ProgramError> {
    let on_nixos = Path::new(ON_NIXOS);
    let set = settings.programs.sudo.as_ref();
    if set.is_none() && environment::is_program(on_nixos) {
        return Ok(on_nixos.to_owned());
    }
    environment::find(&Wanted { name: "sudo", variable: "NIXFLEET_SUDO", set }, variables)
}

/// Whether it would run this command as root. A rule that asks for a password may be listed without one, so a yes is not
/// quite certain; a no is.
pub(crate) fn allows<Word: AsRef<OsStr>>(
    sudo: &Path,
    words: &[Word],
    variables: &BTreeMap<OsString, OsString>,
) -> bool {
    let mut command = Command::new(sudo);
    command.args(["-n", "-l", "--"]).args(words);
    command.env_clear().envs(variables).stdin(Stdio::null());
    external::run(&mut command, RULE_LIMIT).is_ok_and(|ended| ended.exit_code == Some(0))
}

/// What to write into sudoers(5) so that exactly these commands, and no others, need no password.
pub(crate) fn missing_rule(
    variables: &BTreeMap<OsString, OsString>,
    commands: &[Vec<OsString>],
) -> String {
    let commands: Vec<String> = commands.iter().map(|words| in_sudoers(words)).collect();
    let user = variables.get(OsStr::new("USER")).map(|user| user.to_string_lossy());
    format!(
        "sudo does not run it without a password; allow it by a rule in sudoers: `{} ALL=(root) NOPASSWD: {}`",
        user.as_deref().unwrap_or("USER"),
        commands.join(", ")
    )
}

/// A command as sudoers(5) takes it to the letter: without escapes, some characters part or match others.
fn in_sudoers(words: &[OsString]) -> String {
    let mut line = String::new();
    for (number, word) in words.iter().enumerate() {
        if number > 0 {
            line.push(' ');
        }
        for character in word.to_string_lossy().chars() {
            if " ,:=\\#*?[]!\"".contains(character) {
                line.push('\\');
            }
            line.push(character);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_allows_what_is_run_and_nothing_else() {
        let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        let variables = BTreeMap::from([("USER".into(), "me".into())]);
        let commands =
            [words("/bin/nixos-rebuild switch --flake /cfg#host"), words("/bin/x a:b *")];
        let rule = missing_rule(&variables, &commands);
        let expected = r"`me ALL=(root) NOPASSWD: /bin/nixos-rebuild switch --flake /cfg\#host, /bin/x a\:b \*`";
        assert!(rule.ends_with(expected), "{rule}");
    }
}
