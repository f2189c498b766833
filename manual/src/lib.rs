//! What NixFleet's programs say of themselves: the end of `--help`, completions for shells, manual pages.
//!
//! A program writes down once, in a [`Manual`], what its flags cannot say: examples, exit codes, files, variables. Its
//! [`Verb`]s are the same in every program. All of it is made when it is asked for, by the program itself, so it is that of
//! the program that is installed. The only files that are written are the pages, where the user says.
//!
//! - `help`: the end of `--help`.
//! - `completions`: a script for a shell.
//! - `page`: a manual page.

mod completions;
mod help;
mod page;

use std::{
    ffi::OsString,
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use clap::{Arg, Args, Command, Parser, Subcommand, ValueHint, error::ErrorKind};
use clap_complete::Shell;

/// Something and what is to be said of it, a row each.
pub type Table = &'static [(&'static str, &'static str)];

/// What a command says beyond its flags. Words in backticks are words to be typed; `{program}` is the program's name.
#[derive(Debug, Clone, Copy)]
pub struct Words {
    /// Paragraphs, in `--help` and in the page.
    pub description: &'static [&'static str],
    /// Command lines and what they do, in `--help` and in the page.
    pub examples: Table,
    /// Exit codes and what they mean, in `--help` and in the page.
    pub exit_codes: Table,
    /// Variables and what they set, in the page alone.
    pub environment: Table,
    /// Files and what they are for, in the page alone.
    pub files: Table,
}

impl Words {
    /// None.
    pub const NONE: Self =
        Self { description: &[], examples: &[], exit_codes: &[], environment: &[], files: &[] };
}

/// What a program says beyond its flags.
#[derive(Debug, Clone, Copy)]
pub struct Manual {
    /// Of itself.
    pub program: Words,
    /// Of its commands, by their names. Those of [`Verb`] bring their own.
    pub commands: &'static [(&'static str, Words)],
    /// The other pages to read, such as `nixfleet-agent(1)`.
    pub see_also: &'static [&'static str],
}

/// The words of [`Verb`].
const OWN: [(&str, Words); 2] = [
    (
        "completions",
        Words {
            description: &[
                "Let the shell run it when it starts, or put it where the shell looks for such scripts. The package for Nix does the latter.",
            ],
            exit_codes: &[
                ("0", "done"),
                ("64", "the command line makes no sense"),
                ("74", "it cannot be written"),
            ],
            examples: &[
                ("eval \"$({program} completions bash)\"", "in ~/.bashrc"),
                ("eval \"$({program} completions zsh)\"", "in ~/.zshrc, after `compinit`"),
                ("{program} completions fish | source", "in ~/.config/fish/config.fish"),
            ],
            ..Words::NONE
        },
    ),
    (
        "man",
        Words {
            description: &[
                "Without --dir it prints the program's own page. With it, that page and one for each command go into the folder; pages of these names that are there are replaced.",
            ],
            exit_codes: &[
                ("0", "done"),
                ("64", "the command line makes no sense"),
                ("74", "a page cannot be written"),
            ],
            examples: &[
                ("{program} man | man -l -", "read the page, on Linux"),
                (
                    "{program} man --dir ~/.local/share/man/man1",
                    "put all pages where `man` finds them",
                ),
            ],
            ..Words::NONE
        },
    ),
];

/// What each program does to be learned and used.
#[derive(Debug, Clone, Subcommand)]
pub enum Verb {
    /// Print a script that completes the command line in a shell
    Completions(Completions),
    /// Print the manual page, or write a page for each command
    Man(Man),
}

/// `completions`.
#[derive(Debug, Clone, Copy, Args)]
pub struct Completions {
    /// bash, elvish, fish, powershell or zsh
    #[arg(value_name = "SHELL", hide_possible_values = true)]
    pub shell: Shell,
}

/// `man`.
#[derive(Debug, Clone, Args)]
pub struct Man {
    /// Write all pages into this folder; it is made if it is not there
    #[arg(long, value_name = "DIRECTORY", value_hint = ValueHint::DirPath)]
    pub dir: Option<PathBuf>,
}

/// Why a program cannot say something of itself.
#[derive(Debug, thiserror::Error)]
pub enum ManualError {
    /// Nobody takes it.
    #[error("cannot write to the standard output")]
    Output(#[source] io::Error),
    /// The folder for the pages.
    #[error("cannot make the folder {} for the manual pages; name another with --dir", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A page.
    #[error("cannot write the manual page {}; name a folder that you may write to with --dir", path.display())]
    Page {
        /// The page.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl ManualError {
    /// Whether the only trouble is that whoever asked has stopped reading.
    pub fn is_closed_pipe(&self) -> bool {
        match self {
            Self::Output(source) => source.kind() == io::ErrorKind::BrokenPipe,
            Self::Folder { .. } | Self::Page { .. } => false,
        }
    }
}

impl Manual {
    /// Reads a command line, the program's name in front. The error is clap's own answer: what is wrong, or the text that
    /// `--help` or `--version` asks for.
    pub fn parse<Line: Parser>(
        &self,
        words: impl IntoIterator<Item = OsString>,
    ) -> Result<Line, clap::Error> {
        let words: Vec<OsString> = words.into_iter().collect();
        Line::try_parse_from(&words).map_err(|answer| {
            // The manual's words are put together for who wants to read them: a switch need not wait for that.
            if !is_help(answer.kind()) {
                return answer;
            }
            let command = self.complete(Line::command());
            command.try_get_matches_from(words).err().unwrap_or(answer)
        })
    }

    /// Adds to a program and its commands what `--help` says at the end.
    pub fn complete(&self, command: Command) -> Command {
        let program = command.get_name().to_owned();
        let hidden: Vec<Arg> = command
            .get_arguments()
            .filter(|argument| argument.is_global_set())
            .map(|argument| argument.clone().hide(true))
            .collect();
        let complete = |verb: Command| {
            // A program's global flags have no say in what is the same in every program: they are taken, and not shown.
            let is_own = OWN.iter().any(|(name, _)| *name == verb.get_name());
            let verb = if is_own { verb.args(hidden.clone()) } else { verb };
            match self.words(verb.get_name()) {
                Some(words) => verb.after_help(help::end(words, &program)),
                None => verb,
            }
        };
        command.after_help(help::end(&self.program, &program)).mut_subcommands(complete)
    }

    /// The words of a command.
    fn words(&self, name: &str) -> Option<&Words> {
        let mut all = self.commands.iter().chain(&OWN);
        all.find_map(|(command, words)| (*command == name).then_some(words))
    }
}

impl Verb {
    /// Does it, for the program that is described by these two.
    pub fn perform(&self, command: Command, manual: &Manual) -> Result<(), ManualError> {
        let command = &manual.complete(command);
        match self {
            Self::Completions(wish) => print(&completions::script(command, wish.shell)),
            Self::Man(Man { dir: Some(folder) }) => write_pages(command, manual, folder),
            Self::Man(Man { dir: None }) => {
                let page = page::of_program(command, manual).map_err(ManualError::Output)?;
                print(page.text.as_bytes())
            }
        }
    }
}

fn is_help(answer: ErrorKind) -> bool {
    matches!(answer, ErrorKind::DisplayHelp | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand)
}

fn write_pages(command: &Command, manual: &Manual, folder: &Path) -> Result<(), ManualError> {
    fs::create_dir_all(folder)
        .map_err(|source| ManualError::Folder { path: folder.to_owned(), source })?;
    let failed = |path: &Path| {
        let path = path.to_owned();
        |source| ManualError::Page { path, source }
    };
    for page in page::all(command, manual).map_err(failed(folder))? {
        let path = folder.join(page.file_name);
        fs::write(&path, page.text).map_err(failed(&path))?;
    }
    Ok(())
}

fn print(text: &[u8]) -> Result<(), ManualError> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text).and_then(|()| stdout.flush()).map_err(ManualError::Output)
}

#[cfg(test)]
mod tests;
