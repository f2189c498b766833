//! Closing a switch whose wrapper did not: nobody started it, or it was killed.
//!
//! Agent and wrapper both may do it, whichever sees it first; the switch lock makes them take turns, and a result is
//! written once, so the second finds the first one's.

use std::{
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use rustix::process::Signal;

use super::{
    atomic::WriteError,
    lock::Lock,
    read::{self, Found},
    records::{FORMAT, Initiator, Outcome, Started, SwitchResult},
    result_file,
    store::{Entry, Journal, JournalError},
};
use crate::{
    generations::GenerationLinks, nix_log::NixLog, operation::Operation, output_tail, process,
    redactor::Redactor, switch_kind::SwitchKind,
};

/// How long what a dead home-manager has left behind may finish by itself.
pub const REMAINS_MAY_FINISH: Duration = Duration::from_secs(10);

/// How long it has between SIGTERM and SIGKILL.
pub const REMAINS_GRACE: Duration = Duration::from_secs(5);

/// Time between two looks at it.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What the one who closes knows.
#[derive(Debug, Clone)]
pub struct Closer {
    /// Its version, for the result.
    pub version: String,
    /// The host's name.
    pub host: String,
    /// What a switch is on this host, for one whose request cannot be read.
    pub kind: SwitchKind,
    /// Where it is seen which generation is set and activated.
    pub links: GenerationLinks,
    /// What must not get into a result.
    pub redactor: Redactor,
}

impl Closer {
    /// Writes down that a switch was not started, and why. Only for one who holds the switch lock, or who has taken
    /// the request itself and handed it to nobody: else its wrapper could be starting at this moment.
    pub fn close_not_started(
        &self,
        journal: &Journal,
        entry: &Entry,
        why: &str,
    ) -> Result<(), JournalError> {
        let result = self.result(journal, entry, Outcome::NotStarted, why.to_owned());
        write_result(journal, &result)
    }

    /// Writes down that a switch was interrupted. Broken files of it are set aside, and the result says so.
    pub fn close_interrupted(
        &self,
        journal: &Journal,
        entry: &Entry,
        _under: &Lock,
    ) -> Result<(), JournalError> {
        let result_path = journal.directory().switch(entry.id).result();
        let mut note = "the wrapper was killed before it could see how the switch ended".to_owned();
        let broken = broken_files(journal, entry);
        for (path, trouble) in &broken {
            note = format!(
                "{note}; {} could not be read ({trouble}) and was set aside as *.unreadable",
                path.display()
            );
        }
        if let Some(doing) = doing_at_the_end(&journal.directory().switch(entry.id).output_log()) {
            note = format!("{note}; {doing}");
        }
        // What stands where the result goes has to make room. The rest goes only when the result is there: until then
        // it is the trace of a run.
        let (in_the_way, others): (Vec<_>, Vec<_>) =
            broken.into_iter().partition(|(path, _)| *path == result_path);
        for (path, _) in in_the_way {
            set_aside(&path)?;
        }
        let result = self.result(journal, entry, Outcome::Interrupted, note);
        write_result(journal, &result)?;
        for (path, _) in others {
            set_aside(&path)?;
        }
        Ok(())
    }

    fn result(
        &self,
        journal: &Journal,
        entry: &Entry,
        outcome: Outcome,
        note: String,
    ) -> SwitchResult {
        let now = Timestamp::now();
        let request = entry.request.as_present();
        let started = entry.started.as_present();
        let log = journal.directory().switch(entry.id).output_log();
        // A log that cannot be read must not keep the result from being written; the note says it.
        let (output_tail, output_bytes, note) = match output_tail::of_file(&log, &self.redactor) {
            Ok((tail, bytes)) => (tail, bytes, note),
            Err(error) => (String::new(), 0, format!("{note}; the output cannot be read: {error}")),
        };
        let generations = self.links.read();
        let began = started
            .map(|started| started.started_at)
            .or_else(|| request.map(|request| request.requested_at))
            .unwrap_or(now);
        SwitchResult {
            format: FORMAT,
            id: entry.id,
            outcome,
            exit_code: None,
            signal: None,
            started_at: began,
            finished_at: now,
            // Nobody measured it: the wall clock is the best there is, and it may have jumped.
            duration_ms: elapsed_ms(started, now),
            operation: request.map_or_else(Operation::default, |request| request.operation),
            kind: request.map_or(self.kind, |request| request.kind),
            argv: request.map(|request| request.argv.clone()).unwrap_or_default(),
            initiator: request.map_or(Initiator::Agent, |request| request.initiator),
            generation_before: started.and_then(|started| started.generation_before.clone()),
            generation_after: generations.profile.clone(),
            activation: generations.activation(),
            output_bytes,
            output_tail,
            wrapper_version: self.version.clone(),
            host: self.host.clone(),
            steps: entry.progress.as_present().map(|progress| progress.steps.clone().ended()),
            note: Some(note),
        }
    }
}

/// What was being done when the output ended, in words; nothing where it does not say.
pub fn doing_at_the_end(log: &Path) -> Option<String> {
    // The note is the better for it; without, the result is as true.
    let phase = NixLog::phase_of_file(log).ok().flatten()?;
    Some(format!("it was {phase}"))
}

fn elapsed_ms(started: Option<&Started>, now: Timestamp) -> u64 {
    started
        .map(|started| now.duration_since(started.started_at).as_millis())
        .and_then(|elapsed| u64::try_from(elapsed).ok())
        .unwrap_or(0)
}

fn write_result(journal: &Journal, result: &SwitchResult) -> Result<(), JournalError> {
    match result_file::write(&journal.directory().switch(result.id), result) {
        // Somebody else closed it first: then it is closed.
        Ok(()) | Err(WriteError::AlreadyThere { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn broken_files(journal: &Journal, entry: &Entry) -> Vec<(PathBuf, String)> {
    let directory = journal.directory().switch(entry.id);
    [
        (directory.request(), entry.request.trouble()),
        (directory.started(), entry.started.trouble()),
        (directory.result(), entry.result.trouble()),
    ]
    .into_iter()
    .filter_map(|(path, trouble)| trouble.map(|trouble| (path, trouble)))
    .collect()
}

fn set_aside(path: &Path) -> Result<PathBuf, JournalError> {
    read::set_aside(path).map_err(|source| JournalError::Directory {
        action: "set aside",
        path: path.to_owned(),
        source,
    })
}

/// Ends what a dead home-manager has left behind of its process group: it may finish for
/// [`REMAINS_MAY_FINISH`], then it is asked to end, then it is ended. Blocks for at most the sum of the two limits.
pub fn end_remains(entry: &Entry, _under: &Lock) -> Result<(), JournalError> {
    let Found::Present(started) = &entry.started else { return Ok(()) };
    if wait_until_gone(started, REMAINS_MAY_FINISH)? {
        return Ok(());
    }
    process::signal_group(&started.child, Signal::TERM)?;
    if wait_until_gone(started, REMAINS_GRACE)? {
        return Ok(());
    }
    process::signal_group(&started.child, Signal::KILL)?;
    Ok(())
}

fn wait_until_gone(started: &Started, limit: Duration) -> Result<bool, JournalError> {
    let deadline = Instant::now() + limit;
    while process::group_runs(&started.child)? {
        if Instant::now() >= deadline {
            return Ok(false);
        }
        thread::sleep(LOOK_EVERY);
    }
    Ok(true)
}
