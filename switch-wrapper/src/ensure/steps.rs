//! What was done to the agent's job, step by step, as `reload.json` keeps it.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use nixfleet_protocol::{
    external::{self, Ended, ExternalError},
    journal::records::ReloadStep,
};

use crate::messages::with_causes;

/// How long one call of the service manager's tool may take.
const CALL_LIMIT: Duration = Duration::from_secs(10);

/// What a call gets at least, however little time is left.
const LEAST_CALL_LIMIT: Duration = Duration::from_secs(1);

/// What is kept of what a step said, in characters.
const MAX_SAID: usize = 500;

/// What is kept of the steps; a plan that needs more does not come to an end.
const MAX_STEPS: usize = 400;

/// The steps taken so far.
#[derive(Debug)]
pub(super) struct Steps {
    began: Instant,
    limit: Duration,
    taken: Vec<ReloadStep>,
}

impl Steps {
    /// None yet, with this much time for all.
    pub(super) fn begin(limit: Duration) -> Self {
        Self { began: Instant::now(), limit, taken: Vec::new() }
    }

    /// Time since the beginning.
    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// The same in milliseconds.
    pub(super) fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// All of them.
    pub(super) fn into_taken(self) -> Vec<ReloadStep> {
        self.taken
    }

    /// Runs the step's command and writes it down with what came of it.
    pub(super) fn call(
        &mut self,
        step: &str,
        command: &mut Command,
    ) -> Result<Ended, ExternalError> {
        let at_ms = self.elapsed_ms();
        let argv = argv(command);
        let outcome = external::run(command, self.call_limit());
        let (exit_code, said) = match &outcome {
            Ok(ended) => (ended.exit_code, said_by(ended)),
            Err(error) => (None, with_causes(error)),
        };
        self.push(ReloadStep { at_ms, step: step.to_owned(), argv, exit_code, said });
        outcome
    }

    /// Runs a command that only looks; it is not written down.
    pub(super) fn look(&self, command: &mut Command) -> Result<Ended, ExternalError> {
        external::run(command, self.call_limit())
    }

    /// A call must not outlast the whole.
    fn call_limit(&self) -> Duration {
        let left = self.limit.saturating_sub(self.elapsed());
        left.clamp(LEAST_CALL_LIMIT, CALL_LIMIT)
    }

    /// Writes down a step that runs no command.
    pub(super) fn note(&mut self, step: &str, said: String) {
        let at_ms = self.elapsed_ms();
        let step = step.to_owned();
        self.push(ReloadStep { at_ms, step, argv: Vec::new(), exit_code: None, said });
    }

    fn push(&mut self, step: ReloadStep) {
        if self.taken.len() < MAX_STEPS {
            self.taken.push(step);
        }
    }
}

fn argv(command: &Command) -> Vec<String> {
    [command.get_program()]
        .into_iter()
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .collect()
}

/// The beginning of what a tool said, without what a terminal would obey.
pub(super) fn shortened(text: &str) -> String {
    let plain = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.take(MAX_SAID).collect()
}

fn said_by(ended: &Ended) -> String {
    let said = if ended.stderr.trim().is_empty() { &ended.stdout } else { &ended.stderr };
    shortened(said)
}
