//! What is said when everything was tried.

use nixfleet_protocol::journal::records::AgentVerdict;

use super::{Decision, Memory, Observation, memory::Taken};
use crate::ensure::{
    Limits,
    definition::OnDisk,
    job::JobKind,
    launchctl::{Job, JobView},
    program::ProgramView,
};

/// Everything was tried.
pub(super) fn give_up(observation: &Observation, memory: &Memory, limits: Limits) -> Decision {
    let tried = limits.total.as_secs();
    let why = match (&observation.gui, &observation.user) {
        (JobView::Unclear(why) | JobView::NoTool(why), _)
        | (_, JobView::Unclear(why) | JobView::NoTool(why)) => {
            format!("launchctl does not answer ({why})")
        }
        (JobView::Loaded(job), _) | (_, JobView::Loaded(job)) => does_not_come_up(job, observation),
        (JobView::NoDomain | JobView::NotLoaded, JobView::NoDomain | JobView::NotLoaded) => {
            cannot_be_loaded(memory)
        }
    };
    Decision::end(AgentVerdict::NotBack, format!("after {tried} s of trying: {why}"))
}

/// It runs, but not as it is on disk by now.
pub(super) fn not_let_go(program: &ProgramView, kind: JobKind) -> Decision {
    let (noun, pid) = (kind.noun(), program.pid());
    Decision::end(
        AgentVerdict::NotBack,
        format!(
            "the {noun} runs (pid {pid}) with the definition that it had before: launchd does not take its job out, although `bootout` says so; it has the new one after the next login"
        ),
    )
}

fn does_not_come_up(job: &Job, observation: &Observation) -> String {
    let mut why = "its job is loaded but does not come up".to_owned();
    let is_there =
        matches!(&observation.on_disk, OnDisk::Good(definition) if definition.has_program);
    if job.cannot_run && is_there {
        why = format!("{why}, although its program is there: {FORBIDDEN}");
    }
    if let Some(end) = &job.last_end {
        why = format!("{why} (its last process ended with {end})");
    }
    if let Some(pended) = &job.pended {
        why = format!("{why} (launchd holds its start back: {pended})");
    }
    why
}

/// What a program of the user's own cannot look into, and cannot mend.
const FORBIDDEN: &str = "it may be forbidden in System Settings > General > Login Items, its program not be allowed to run, or its log file not be one that can be opened";

fn cannot_be_loaded(memory: &Memory) -> String {
    match &memory.last_answer {
        None => "its job cannot be loaded (it was not tried)".to_owned(),
        Some(answer) if memory.taken == Taken::Dropped => format!(
            "launchd takes its job and drops it again (the last bootstrap: {answer}): {FORBIDDEN}"
        ),
        Some(answer) => format!("its job cannot be loaded (the last bootstrap: {answer})"),
    }
}
