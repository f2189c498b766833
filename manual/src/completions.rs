//! A script that completes a program's command line in a shell.

use clap::Command;
use clap_complete::Shell;

/// The script. It is made in memory: clap_complete panics where it cannot write.
pub(crate) fn script(command: &Command, shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    let name = command.get_name().to_owned();
    clap_complete::generate(shell, &mut visible(command), name, &mut script);
    script
}

/// A command without what is hidden in it: clap_complete would offer that too.
fn visible(command: &Command) -> Command {
    let arguments = command.get_arguments().filter(|argument| !argument.is_hide_set());
    let verbs = command.get_subcommands().filter(|verb| !verb.is_hide_set());
    let copy = Command::new(command.get_name().to_owned())
        .disable_help_subcommand(true)
        .args(arguments.cloned())
        .subcommands(verbs.map(visible));
    let copy = match command.get_about() {
        Some(about) => copy.about(about.clone()),
        None => copy,
    };
    match command.get_version() {
        Some(version) => copy.version(version.to_owned()),
        None => copy,
    }
}
