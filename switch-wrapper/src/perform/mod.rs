//! The child of an operation that is more than one program: it takes the steps one after the other, and becomes the last.
//!
//! It stands where home-manager stands in a plain switch: behind the gate, leader of its own session, known to the journal
//! by `started.json` before it does anything. So all that is said of home-manager's process is said of it: it goes on when
//! the wrapper is killed, it is found again, it is ended with all that it has started. Where a switch is the last step it
//! becomes what switches, under the same pid, so the exit code is that one's own.
//!
//! How far it is stands in `progress.json`, which nobody else writes.
//!
//! - [`steps`]: programs with a time limit each, and the record of how far it is.
//! - [`git`]: the user's git, without prompts.
//! - [`checkout`]: our own clone, or one that was given.
//! - [`host_tests`]: the scripts that say whether the host is well.
//! - [`update`]: newer inputs for the flake.
//! - [`rollback`]: the generation before this one.
//! - [`dry_run`]: what a switch would change.

mod checkout;
mod dry_run;
mod git;
mod host_tests;
pub(crate) mod rollback;
mod steps;
mod update;

use std::{ffi::OsString, io, os::unix::process::CommandExt as _, path::PathBuf, process::Command};

use nixfleet_protocol::{
    journal::{
        records::{Request, SwitchId},
        store::Journal,
    },
    operation::{Operation, Step},
    state_dir::StateDir,
};

use crate::{
    Failure, exit,
    messages::{fail, with_causes},
    settings::Settings,
};
use steps::{Performance, StepError};

/// The hidden verb under which this program is that child.
const VERB: &str = "internal-perform";

/// Why an operation did not come to its end.
#[derive(Debug, thiserror::Error)]
enum PerformError {
    /// A step.
    #[error(transparent)]
    Step(#[from] StepError),
    /// Something of the file system.
    #[error("cannot {action} {}", path.display())]
    Files {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The program that the operation ends with.
    #[error("cannot run {program}")]
    Exec {
        program: String,
        #[source]
        source: io::Error,
    },
    /// There is nothing to do it with, or on. The text says what to do.
    #[error("{0}")]
    Impossible(String),
}

impl PerformError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Step(error) => error.exit_code(),
            Self::Files { .. } | Self::Exec { .. } | Self::Impossible(_) => exit::FAILURE,
        }
    }
}

/// The words of the child: this program again, and what it is to become at the end.
pub(crate) fn words(id: SwitchId, last: &[OsString]) -> io::Result<Vec<OsString>> {
    let own: OsString = std::env::current_exe()?.into();
    let verb = [own, VERB.into(), id.to_string().into(), "--".into()];
    Ok(verb.into_iter().chain(last.iter().cloned()).collect())
}

/// What [`words`] has made of them, if these are its words.
pub(crate) fn arguments(arguments: &[OsString]) -> Option<(SwitchId, Vec<OsString>)> {
    match arguments {
        [verb, id, parted, last @ ..] if verb == VERB && parted == "--" => {
            Some((id.to_str()?.parse().ok()?, last.to_vec()))
        }
        _ => None,
    }
}

/// Performs the operation of this request. `last` is the program that it ends with, where it ends with one. Returns only
/// if nothing was to be become, or nothing could.
pub(crate) fn perform(id: SwitchId, last: &[OsString]) -> Result<u8, Failure> {
    let settings = Settings::load()?;
    let directory = StateDir::look(&settings.state_dir)?;
    let journal = Journal::new(directory.clone());
    let entry = journal.entry(id);
    let Some(request) = entry.request.as_present() else {
        return Err(Failure::NoRequest { id, trouble: entry.request.trouble() });
    };
    let mut performance = Performance::new(id, &directory);
    match take_steps(&settings, &directory, request, last, &mut performance) {
        Ok(code) => Ok(code),
        Err(error) => {
            fail(&with_causes(&error));
            Ok(error.exit_code())
        }
    }
}

fn take_steps(
    settings: &Settings,
    directory: &StateDir,
    request: &Request,
    last: &[OsString],
    performance: &mut Performance,
) -> Result<u8, PerformError> {
    match request.operation {
        // A plain switch comes here only to make the checkout that it is to.
        Operation::Switch | Operation::PullSwitch => {
            checkout::pull(settings, directory, request, performance)?;
            performance.begin(Step::Switch)?;
            become_last(request, last)
        }
        Operation::Pull => {
            checkout::pull(settings, directory, request, performance)?;
            Ok(0)
        }
        Operation::Test => host_tests::run(settings, directory, request, performance),
        Operation::Update => update::run(settings, directory, request, performance),
        Operation::Rollback => rollback::run(settings, request, last, performance),
        Operation::DryRun => dry_run::run(settings, directory, request, last, performance),
    }
}

/// Becomes the program that the operation ends with, where the request says.
fn become_last(request: &Request, last: &[OsString]) -> Result<u8, PerformError> {
    let Some((program, arguments)) = last.split_first() else {
        return Err(PerformError::Impossible("there is no program to go on with".to_owned()));
    };
    let folder = request.cwd.as_path();
    if !folder.is_dir() {
        let why = format!("{} is not there any more; set repo_dir", folder.display());
        return Err(PerformError::Impossible(why));
    }
    let source = Command::new(program).args(arguments).current_dir(folder).exec();
    Err(PerformError::Exec { program: program.to_string_lossy().into_owned(), source })
}
