//! Ending a process, and waiting for one that was told to end.

use std::time::Duration;

use super::{Decision, GONE_SLACK, LONGEST_PATIENCE, Memory, Observation, STUCK_PATIENCE, Step};
use crate::ensure::{LOOK_AGAIN, definition::Domain, launchctl::Job, program::ProgramView};

/// A program that was started as this job and is not the job's process any more: it has left the job's group, outlived it,
/// and holds what the next one needs. One that somebody has started by hand is not ours to end.
pub(super) fn stray<'a>(
    job: &Job,
    observation: &'a Observation,
    memory: &Memory,
    now: Duration,
) -> Option<&'a ProgramView> {
    observation.program.as_ref().filter(|program| {
        !program.belongs_to(job.pid)
            && program.was_started_as_job
            && memory.is_outside(program.pid(), now)
    })
}

pub(super) fn end_stray(stray: &ProgramView, memory: &Memory, now: Duration) -> Decision {
    let pid = stray.pid();
    match memory.stray {
        Some((old, since)) if old == pid => {
            let is_overdue = now >= since + STUCK_PATIENCE;
            if is_overdue && memory.killed != Some(pid) {
                Decision::Do(Step::Kill(pid))
            } else {
                Decision::Wait(LOOK_AGAIN)
            }
        }
        Some(_) | None => Decision::Do(Step::TerminateStray(pid)),
    }
}

/// How long a process that was told to end may take. launchd kills it after its exit timeout; where that is longer than a
/// host may be dark, this is not waited for.
pub(super) fn patience_with(exit_timeout: Duration) -> Duration {
    (exit_timeout + GONE_SLACK).min(LONGEST_PATIENCE)
}

pub(super) fn wait_for_leaving(job: &Job, memory: &Memory, now: Duration) -> Decision {
    let is_overdue =
        memory.leaving_since.is_some_and(|since| now >= since + patience_with(job.exit_timeout));
    match job.pid {
        Some(pid) if is_overdue && memory.killed != Some(pid) => Decision::Do(Step::Kill(pid)),
        Some(_) | None => Decision::Wait(LOOK_AGAIN),
    }
}

/// Ends a process that is not what it should be. launchd starts the next one, or `kickstart` does.
pub(super) fn terminate(domain: Domain, pid: u32, memory: &Memory, now: Duration) -> Decision {
    let patience = if memory.is_to_be_ended(pid) {
        STUCK_PATIENCE
    } else {
        patience_with(memory.exit_timeout)
    };
    match memory.terminated {
        Some((old, since)) if old == pid => {
            let is_overdue = now >= since + patience;
            if is_overdue && memory.killed != Some(pid) {
                Decision::Do(Step::Kill(pid))
            } else {
                Decision::Wait(LOOK_AGAIN)
            }
        }
        Some(_) | None => Decision::Do(Step::Terminate(domain, pid)),
    }
}
