//! What launchctl does not tell: the program's own record has to do.

use std::time::Duration;

use nixfleet_protocol::{installed::Difference, journal::records::AgentVerdict};

use super::{Decision, Memory, Observation, Step, ending::terminate, start, verdict_of};
use crate::ensure::{
    LOOK_AGAIN, LOOK_AGAIN_LATER, SETTLED_AFTER, definition::Domain, job::JobKind,
    launchctl::JobView, program::ProgramView,
};

/// How long launchctl may not answer before a program that is up is enough.
pub(super) const UNCLEAR_PATIENCE: Duration = Duration::from_secs(3);

/// Nothing is known of the job. A program that is up and as installed is as good as can be known then.
pub(super) fn not_answered(
    view: &JobView,
    observation: &Observation,
    memory: &Memory,
    now: Duration,
) -> Decision {
    let is_final = matches!(view, JobView::NoTool(_));
    let why = match view {
        JobView::Unclear(why) | JobView::NoTool(why) => why.as_str(),
        JobView::NoDomain | JobView::NotLoaded | JobView::Loaded(_) => "it is read",
    };
    match observation.program.as_ref().filter(|program| is_good(program)) {
        Some(program) if is_final || now >= UNCLEAR_PATIENCE => {
            runs_unseen(program, observation.kind, why, memory)
        }
        None if is_final => {
            Decision::end(AgentVerdict::NotBack, format!("launchctl cannot be asked: {why}"))
        }
        Some(_) | None => Decision::Wait(LOOK_AGAIN_LATER),
    }
}

/// The job is registered, and no more can be read of it: the program's own record has to do. Nothing is put back for that.
pub(super) fn unreadable(
    domain: Domain,
    observation: &Observation,
    memory: &Memory,
    now: Duration,
) -> Decision {
    let Some(program) = &observation.program else { return start(domain, memory, now) };
    if program.age < SETTLED_AFTER {
        return Decision::Wait(LOOK_AGAIN);
    }
    match program.difference {
        Some(Difference::Definition) if memory.bootouts == 0 => Decision::Do(Step::Bootout(domain)),
        Some(Difference::Executable | Difference::Config)
            if memory.terminated.is_none_or(|(old, _)| old == program.pid()) =>
        {
            terminate(domain, program.pid(), memory, now)
        }
        Some(Difference::Definition) if memory.loaded_at.is_none() => Decision::Wait(LOOK_AGAIN),
        Some(_) | None => {
            let why = "it does not show the job in a way that can be read";
            runs_unseen(program, observation.kind, why, memory)
        }
    }
}

fn is_good(program: &ProgramView) -> bool {
    program.age >= SETTLED_AFTER && program.difference.is_none()
}

fn runs_unseen(program: &ProgramView, kind: JobKind, why: &str, memory: &Memory) -> Decision {
    let (noun, pid) = (kind.noun(), program.pid());
    let explanation =
        format!("the {noun} runs (pid {pid}), but launchctl does not tell about it: {why}");
    Decision::end(verdict_of(program, memory), explanation)
}
