//! Programs with a time limit each, and the record of how far the operation is.
//!
//! A step's program is in our own process group, so whoever ends us ends it too; it writes where we write.

use std::{
    io,
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use nixfleet_protocol::{
    external::{self, Ended, ExternalError},
    journal::{
        atomic::{self, WriteError},
        records::{FORMAT, Progress, SwitchId},
    },
    operation::{Step, Steps},
    process,
    state_dir::StateDir,
};

use crate::{
    exit,
    messages::{say, warn, with_causes},
};

/// How long a program that took too long has between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(5);

/// Time between two looks at a program that runs: at first, and later.
const LOOK_EVERY: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(100));

/// Why a step did not come to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum StepError {
    /// The program could not be started.
    #[error("cannot run {program}")]
    Spawn {
        program: String,
        #[source]
        source: io::Error,
    },
    /// It took longer than it may, and was ended.
    #[error("{what} did not end within {} s and was ended", limit.as_secs())]
    TooLong { what: String, limit: Duration },
    /// It did not succeed.
    #[error("{what} failed {how}")]
    Failed { what: String, how: String, code: u8 },
    /// It was asked something and gave no answer.
    #[error(transparent)]
    Ask(#[from] ExternalError),
    /// How far it is cannot be written down.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl StepError {
    pub(super) const fn exit_code(&self) -> u8 {
        match self {
            Self::TooLong { .. } | Self::Ask(ExternalError::TimedOut { .. }) => exit::TIMED_OUT,
            Self::Failed { code, .. } => *code,
            Self::Spawn { .. } | Self::Ask(ExternalError::Spawn { .. }) | Self::Write(_) => {
                exit::FAILURE
            }
        }
    }
}

/// An operation under way.
#[derive(Debug)]
pub(super) struct Performance {
    id: SwitchId,
    path: PathBuf,
    steps: Option<Steps>,
}

impl Performance {
    pub(super) fn new(id: SwitchId, directory: &StateDir) -> Self {
        Self { id, path: directory.switch(id).progress(), steps: None }
    }

    /// The next step begins.
    pub(super) fn begin(&mut self, step: Step) -> Result<(), StepError> {
        self.change(step, |_| {})
    }

    /// This step has brought something, or has come further.
    pub(super) fn change(
        &mut self,
        step: Step,
        change: impl FnOnce(&mut Steps),
    ) -> Result<(), StepError> {
        let steps = self.steps.get_or_insert_with(|| Steps::at(step));
        steps.step = step;
        change(steps);
        let progress = Progress { format: FORMAT, id: self.id, steps: steps.clone() };
        // A power cut takes the operation along, so this need not outlive one.
        Ok(atomic::replace_lazily(&self.path, &progress)?)
    }
}

/// Runs a program to its end, or to `limit`. Its output is the operation's.
pub(super) fn run(what: &str, command: &mut Command, limit: Duration) -> Result<(), StepError> {
    let status = run_to_its_end(what, command, limit)?;
    if status.success() {
        return Ok(());
    }
    let (how, code) = match (status.code(), status.signal()) {
        (Some(code), _) => {
            (format!("with exit code {code}"), u8::try_from(code).unwrap_or(exit::FAILURE))
        }
        (None, Some(signal)) => (format!("by signal {signal}"), exit::FAILURE),
        (None, None) => ("without an exit code".to_owned(), exit::FAILURE),
    };
    Err(StepError::Failed { what: what.to_owned(), how, code })
}

/// As [`run`]; how the program ended is for the caller to judge.
pub(super) fn run_to_its_end(
    what: &str,
    command: &mut Command,
    limit: Duration,
) -> Result<ExitStatus, StepError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let failed = |source| StepError::Spawn { program: program.clone(), source };
    let mut child = command.stdin(Stdio::null()).spawn().map_err(failed)?;
    if let Some(status) = wait(&mut child, limit).map_err(failed)? {
        return Ok(status);
    }
    say(&format!("{what} takes longer than {} s and is ended", limit.as_secs()));
    if let Err(error) = process::end_own_group(GRACE) {
        warn(&with_causes(&error));
        // Only this one can be found then.
        let _ = child.kill();
    }
    child.wait().map_err(failed)?;
    Err(StepError::TooLong { what: what.to_owned(), limit })
}

fn wait(child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let deadline = Instant::now() + limit;
    let mut pause = LOOK_EVERY.0;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        let now = Instant::now();
        if now >= deadline {
            return Ok(None);
        }
        thread::sleep(pause.min(deadline - now));
        pause = (pause * 2).min(LOOK_EVERY.1);
    }
}

/// Asks a program something: its output is not the operation's, and is short.
pub(super) fn ask(command: &mut Command, limit: Duration) -> Result<Ended, StepError> {
    Ok(external::run_in_our_group(command.stdin(Stdio::null()), limit)?)
}
