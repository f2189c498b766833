//! Where the operator's token is from, and getting it from there.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use nixfleet_protocol::{
    external::{self, Ended, ExternalError},
    wire::fields::{FieldError, Token},
};

use super::token_file::{self, FileVersion};
use crate::wrapper::PRIVATE_VARIABLES;

/// How long the command for a token may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(30);

/// What is repeated of what it said, in characters.
const MAX_SAID: usize = 200;

/// Where the token is from. `Debug` of a token does not show it.
#[derive(Debug, Clone)]
pub(crate) enum TokenSource {
    /// The environment, which does not change.
    Given(Token),
    /// A file, which may: as it was when it was read.
    File { path: PathBuf, token: Token, version: FileVersion },
    /// What a command prints. These are its words.
    Command(Vec<String>),
}

/// Why a command gave no token. What it printed on its standard output is not repeated: it may be most of one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenCommandError {
    /// It did not run to its end.
    #[error(
        "token_command gives no token; see that it runs and ends for the user that runs the agent"
    )]
    External(#[source] ExternalError),
    /// It failed.
    #[error(
        "token_command `{program}` gives no token: it {how}{said}; run it by hand as the user that runs the agent"
    )]
    Failed { program: String, how: String, said: String },
    /// What it printed is none.
    #[error("token_command `{program}` does not print a token and nothing else")]
    Content {
        program: String,
        #[source]
        source: FieldError,
    },
}

/// Runs the command for a token. It takes up to half a minute.
pub(crate) fn run(words: &[String]) -> Result<Token, TokenCommandError> {
    let (program, arguments) =
        words.split_first().map_or(("", &[][..]), |(first, rest)| (first, rest));
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    for variable in PRIVATE_VARIABLES {
        command.env_remove(variable);
    }
    let ended = external::run(&mut command, COMMAND_LIMIT).map_err(TokenCommandError::External)?;
    let program = program.to_owned();
    if ended.exit_code != Some(0) {
        let (how, said) = (ending(&ended), said(&ended));
        return Err(TokenCommandError::Failed { program, how, said });
    }
    token_file::parse(&ended.stdout)
        .map_err(|source| TokenCommandError::Content { program, source })
}

fn ending(ended: &Ended) -> String {
    match (ended.exit_code, ended.signal) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

/// The first line of what it complained of, if it printed nothing else: what it has printed may be in its complaint.
fn said(ended: &Ended) -> String {
    let line = ended.stderr.lines().find(|line| !line.trim().is_empty());
    let Some(line) = line.filter(|_| ended.stdout.trim().is_empty()) else { return String::new() };
    let line: String = line.chars().filter(|c| !c.is_control()).take(MAX_SAID).collect();
    format!(" and says {line:?}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages;

    fn shell(script: &str) -> Result<Token, TokenCommandError> {
        run(&["/bin/sh".to_owned(), "-c".to_owned(), script.to_owned()])
    }

    #[test]
    fn what_a_command_prints_is_the_token() {
        for script in ["echo; echo ' s3cret-1 '", "printf s3cret-1; echo warning >&2"] {
            assert_eq!(shell(script).unwrap().reveal(), "s3cret-1");
        }
        assert_eq!(shell("echo \"<$NIXFLEET_TOKEN>\"").unwrap().reveal(), "<>");
    }

    #[test]
    fn one_that_fails_is_explained_without_what_it_printed() {
        for (script, parts) in [
            ("echo locked >&2; exit 3", &["/bin/sh", "exit code 3", "\"locked\""][..]),
            ("echo s3cret; echo not s3cret >&2; exit 1", &["exit code 1"]),
            ("echo s3cret and more", &["does not print a token", "visible ASCII"]),
            ("true", &["does not print a token"]),
            ("kill -9 $$", &["signal 9"]),
        ] {
            let error = messages::with_causes(&shell(script).unwrap_err());
            for part in parts {
                assert!(error.contains(part), "{script}: {error}");
            }
            assert!(!error.contains("s3cret"), "{script}: {error}");
        }
        let error = run(&["/nonexistent/show".to_owned()]).unwrap_err();
        assert!(messages::with_causes(&error).contains("cannot run /nonexistent/show"));
    }
}
