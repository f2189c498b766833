//! There is no definition on disk that can be used.

use std::time::Duration;

use nixfleet_protocol::journal::records::AgentVerdict;

use super::{
    Decision, Memory, Observation, Step, at_next_login,
    ending::wait_for_leaving,
    load,
    memory::Placing,
    start,
    unseen::{not_answered, unreadable},
    verdict_of, wanted_domain,
};
use crate::ensure::{
    LOOK_AGAIN, SETTLED_AFTER,
    definition::{Domain, OnDisk},
    launchctl::{Job, JobView},
};

/// There is no definition on disk that can be used. One is put there where there is a source for it; a job that is loaded
/// goes on without, for launchd has its definition; else the copy is loaded from where it is.
pub(super) fn without_definition(
    observation: &Observation,
    why: &str,
    memory: &Memory,
    now: Duration,
) -> Decision {
    let views = [(Domain::Gui, &observation.gui), (Domain::User, &observation.user)];
    let unanswered = views.iter().find(|(_, view)| view.is_unanswered());
    let loaded = views.into_iter().find_map(|(domain, view)| match view {
        JobView::Loaded(job) => Some((domain, job)),
        JobView::NoDomain | JobView::NotLoaded | JobView::Unclear(_) | JobView::NoTool(_) => None,
    });
    if has_source(observation) && memory.installing == Placing::Untried {
        return Decision::Do(Step::Install);
    }
    match (loaded, unanswered) {
        (Some((domain, job)), _) => {
            loaded_without_definition(domain, job, observation, why, memory, now)
        }
        (None, Some((_, view))) => not_answered(view, observation, memory, now),
        (None, None) => not_loaded_without_definition(observation, why, memory, now),
    }
}

/// What is torn gives way to what home-manager wants there, or to what worked last. What is missing was meant to go, unless
/// home-manager's generation has it. What is somebody else's stays.
fn has_source(observation: &Observation) -> bool {
    match observation.on_disk {
        OnDisk::Absent => observation.is_in_generation,
        OnDisk::Bad(_) => observation.is_in_generation || observation.copy.is_some(),
        OnDisk::SomebodyElses(_) | OnDisk::Good(_) => false,
    }
}

fn loaded_without_definition(
    domain: Domain,
    job: &Job,
    observation: &Observation,
    why: &str,
    memory: &Memory,
    now: Duration,
) -> Decision {
    if job.is_leaving {
        return wait_for_leaving(job, memory, now);
    }
    if !job.is_readable {
        return unreadable(domain, observation, memory, now);
    }
    let program = observation.program.as_ref().filter(|program| program.belongs_to(job.pid));
    match (job.pid, program) {
        (None, _) => start(domain, memory, now),
        (Some(_), Some(program)) if program.age < SETTLED_AFTER => Decision::Wait(LOOK_AGAIN),
        (Some(_), Some(program)) => {
            let noun = observation.kind.noun();
            let explanation = format!("the {noun} runs (pid {}), but {why}", program.pid());
            Decision::end(verdict_of(program, memory), explanation)
        }
        (Some(_), None) => Decision::Wait(LOOK_AGAIN),
    }
}

fn not_loaded_without_definition(
    observation: &Observation,
    why: &str,
    memory: &Memory,
    now: Duration,
) -> Decision {
    let is_meant_to_be = observation.is_in_generation || observation.on_disk != OnDisk::Absent;
    if !is_meant_to_be {
        let why = format!("no {} is installed here", observation.kind.noun());
        return Decision::end(AgentVerdict::NotInstalled, why);
    }
    let Some(copy) = &observation.copy else {
        return Decision::end(AgentVerdict::NotBack, why);
    };
    match wanted_domain(copy.domains, &observation.gui) {
        Domain::Gui if observation.gui == JobView::NoDomain => at_next_login(observation.kind),
        domain @ (Domain::Gui | Domain::User) => {
            load(domain, Step::BootstrapCopy(domain), observation, memory, now)
        }
    }
}
