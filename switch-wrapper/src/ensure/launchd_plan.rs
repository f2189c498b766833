//! What to do next about a job under launchd. Pure: an observation, what was done so far, and the time since
//! the beginning go in; one step comes out.
//!
//! What it rests on, all of it in launchd's nature: `bootout` answers before the job is gone, and `bootstrap` fails
//! with 5 until it is; a job that is bootstrapped may never be started by itself, but a `kickstart` always starts it;
//! a loaded job keeps the definition it was loaded with, whatever is on disk; a label that is not loaded is not
//! restarted by anybody.
//!
//! - [`memory`]: what was done so far, and what was seen of it.
//! - [`no_definition`]: there is no definition on disk that can be used.
//! - [`unseen`]: what launchctl does not tell.
//! - [`ending`]: ending a process, and waiting for one that was told to end.
//! - [`giving_up`]: what is said when everything was tried.

use std::time::Duration;

use nixfleet_protocol::{installed::Difference, journal::records::AgentVerdict};

use super::{
    LOOK_AGAIN, Limits, READY_LIMIT, SETTLED_AFTER,
    definition::{Definition, Domain, Domains, OnDisk},
    is_left_alone,
    job::{JobKind, Trace},
    launchctl::{Job, JobView},
    program::ProgramView,
    unknown_process,
};

mod ending;
mod giving_up;
mod memory;
mod no_definition;
mod unseen;

use ending::{end_stray, patience_with, stray, terminate, wait_for_leaving};
use giving_up::{give_up, not_let_go};
pub(super) use memory::Memory;
use memory::Restoration;
use no_definition::without_definition;
use unseen::{not_answered, unreadable};

/// Waits between tries of `bootstrap`: the first, doubled each time up to the last.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(4));

/// How long a `kickstart` may take to show before the next.
const KICK_EVERY: Duration = Duration::from_secs(2);

/// Beyond the job's own exit timeout: how long it may take to be gone before it is killed.
const GONE_SLACK: Duration = Duration::from_secs(10);

/// How long a process that was seen to react to nothing may take to end all the same.
const STUCK_PATIENCE: Duration = Duration::from_secs(3);

/// How long a program must have been none of the job's before it counts as one that has outlived it.
const OUTSIDE_FOR: Duration = Duration::from_secs(2);

/// So many starts since it was loaded, the last of which has ended badly, are a record.
const MANY_RUNS: u64 = 3;

/// How long a program with such a record must have been up: longer than launchd's own throttle of ten seconds.
const SETTLED_AFTER_CRASHES: Duration = Duration::from_secs(11);

/// Between two reloads of a job that launchd will not start: only loading it again lets it out of the penalty box.
const RELOAD_EVERY: Duration = Duration::from_secs(8);

/// The longest that a process which was told to end is waited for before it is killed.
const LONGEST_PATIENCE: Duration = Duration::from_secs(20);

/// How often a job with the wrong definition is booted out before giving up on that.
const MAX_BOOTOUTS: u32 = 5;

/// How often `bootstrap` may say that the domain is not there although `print` sees it.
const MAX_NO_DOMAIN: u32 = 3;

/// All that can be seen.
#[derive(Debug, Clone)]
pub(super) struct Observation {
    /// Which job it is about.
    pub(super) kind: JobKind,
    /// The job in `gui/UID`.
    pub(super) gui: JobView,
    /// The job in `user/UID`.
    pub(super) user: JobView,
    /// The definition on disk.
    pub(super) on_disk: OnDisk,
    /// home-manager's generation has a definition for the place on disk.
    pub(super) is_in_generation: bool,
    /// There is something that worked to go back to, and it is another than what is on disk.
    pub(super) has_other_that_worked: bool,
    /// The copy of the last definition that worked, where it can be loaded from.
    pub(super) copy: Option<Definition>,
    /// The program that is up.
    pub(super) program: Option<ProgramView>,
    /// What the job has left in our state directory.
    pub(super) trace: Trace,
}

/// One step. Each is one call, one signal, or one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Lift an override that forbids the job.
    Enable(Domain),
    /// Take the job out of the domain.
    Bootout(Domain),
    /// Load the definition on disk.
    Bootstrap(Domain),
    /// Load the copy of the last definition that worked: nothing can be put on disk where it belongs.
    BootstrapCopy(Domain),
    /// Start the loaded job on demand.
    Kickstart(Domain),
    /// Ask the job's process to end.
    Terminate(Domain, u32),
    /// Ask a process that this job has left behind, and that is not the job's any more, to end.
    TerminateStray(u32),
    /// Kill the job's process.
    Kill(u32),
    /// Put a definition on disk where there is none that can be used: that of home-manager's generation, or the last that
    /// worked.
    Install,
    /// Put what worked last back on disk.
    Restore,
}

/// What this plan says.
pub(super) type Decision = super::Decision<Step>;

/// The next step.
pub(super) fn next(
    observation: &Observation,
    memory: &Memory,
    limits: Limits,
    now: Duration,
) -> Decision {
    let decision = match &observation.on_disk {
        OnDisk::Absent => {
            without_definition(observation, "its definition is not on disk", memory, now)
        }
        OnDisk::Bad(why) | OnDisk::SomebodyElses(why) => {
            without_definition(observation, why, memory, now)
        }
        OnDisk::Good(definition) => with_definition(observation, definition, memory, limits, now),
    };
    decision.or_at_the_limit(now, limits.total, || give_up(observation, memory, limits))
}

fn with_definition(
    observation: &Observation,
    definition: &Definition,
    memory: &Memory,
    limits: Limits,
    now: Duration,
) -> Decision {
    let domain = wanted_domain(definition.domains, &observation.gui);
    let (here, there) = match domain {
        Domain::Gui => (&observation.gui, &observation.user),
        Domain::User => (&observation.user, &observation.gui),
    };
    if let JobView::Loaded(job) = there {
        return in_the_other_domain(domain.other(), here, job, observation, memory, now);
    }
    match here {
        JobView::Unclear(_) | JobView::NoTool(_) => not_answered(here, observation, memory, now),
        JobView::NoDomain => at_next_login(observation.kind),
        JobView::NotLoaded if memory.no_domain_answers >= MAX_NO_DOMAIN => {
            at_next_login(observation.kind)
        }
        JobView::NotLoaded => load(domain, Step::Bootstrap(domain), observation, memory, now),
        JobView::Loaded(job) => judge(domain, job, definition, observation, memory, limits, now),
    }
}

fn wanted_domain(allowed: Domains, gui: &JobView) -> Domain {
    match (allowed, gui) {
        (Domains::User, _) | (Domains::Both, JobView::NoDomain) => Domain::User,
        (Domains::Gui, _)
        | (
            Domains::Both,
            JobView::NotLoaded | JobView::Loaded(_) | JobView::Unclear(_) | JobView::NoTool(_),
        ) => Domain::Gui,
    }
}

/// The job is loaded where it should not be. It is only taken out of there if there is somewhere to load it.
fn in_the_other_domain(
    there: Domain,
    here: &JobView,
    job: &Job,
    observation: &Observation,
    memory: &Memory,
    now: Duration,
) -> Decision {
    match (here, &observation.program) {
        (JobView::NotLoaded | JobView::Loaded(_), _) => leave(there, job, observation, memory, now),
        (JobView::Unclear(_) | JobView::NoTool(_), _) => {
            not_answered(here, observation, memory, now)
        }
        (JobView::NoDomain, Some(program)) => {
            let why =
                "in a domain that its definition does not name; the one that it names is not there";
            let noun = observation.kind.noun();
            Decision::end(
                verdict_of(program, memory),
                format!("the {noun} runs (pid {}), {why}", program.pid()),
            )
        }
        (JobView::NoDomain, None) => at_next_login(observation.kind),
    }
}

fn at_next_login(kind: JobKind) -> Decision {
    let noun = kind.noun();
    Decision::end(
        AgentVerdict::AtNextLogin,
        format!(
            "nobody is logged in at the screen, so launchd has no place for the {noun}; it starts at the next login"
        ),
    )
}

/// The job is loaded where it should be.
fn judge(
    domain: Domain,
    job: &Job,
    definition: &Definition,
    observation: &Observation,
    memory: &Memory,
    limits: Limits,
    now: Duration,
) -> Decision {
    if job.is_leaving {
        return wait_for_leaving(job, memory, now);
    }
    if !job.is_readable {
        return unreadable(domain, observation, memory, now);
    }
    let program = observation.program.as_ref().filter(|program| program.belongs_to(job.pid));
    if restore_is_due(job, program, observation, memory, limits, now) {
        return Decision::Do(Step::Restore);
    }
    if let Some(stray) = stray(job, observation, memory, now) {
        return end_stray(stray, memory, now);
    }
    if memory.restoration == Restoration::OnDisk
        || !is_loaded_as_on_disk(job, definition, program, memory)
    {
        return leave(domain, job, observation, memory, now);
    }
    match (job.pid, program) {
        (None, _) if is_penalised(job, memory, now) => Decision::Do(Step::Bootout(domain)),
        (None, _) => start(domain, memory, now),
        (Some(pid), Some(program))
            if program.is_outdated() && memory.terminated.is_none_or(|(old, _)| old == pid) =>
        {
            terminate(domain, pid, memory, now)
        }
        (Some(_), Some(program)) if program.age < settled_after(job) => Decision::Wait(LOOK_AGAIN),
        (Some(pid), Some(_)) if memory.is_to_be_ended(pid) => terminate(domain, pid, memory, now),
        (Some(_), Some(program)) => {
            let verdict = verdict_of(program, memory);
            let back = if verdict == AgentVerdict::Back { "is back" } else { "runs" };
            let how = if memory.restoration == Restoration::Done { RESTORED } else { "" };
            let noun = observation.kind.noun();
            Decision::end(verdict, format!("the {noun} {back} (pid {}){how}", program.pid()))
        }
        (Some(_), None) if now < memory.job_pid_since + READY_LIMIT => Decision::Wait(LOOK_AGAIN),
        (Some(pid), None) if is_left_alone(observation.trace, memory.was_there_before(pid)) => {
            Decision::End(unknown_process(pid, observation.kind, observation.trace))
        }
        (Some(pid), None) => terminate(domain, pid, memory, now),
    }
}

/// What is said of a program that is back, but not as it was meant to be.
const RESTORED: &str =
    " with its last definition that worked, since it does not run with the new one";

/// How long the job's program must have been up to count as back. One of a job that has been started again and again, and
/// has ended badly, has to outlast the time within which launchd starts it again.
fn settled_after(job: &Job) -> Duration {
    let has_a_record = job.runs.is_some_and(|runs| runs >= MANY_RUNS) && job.last_end.is_some();
    if has_a_record { SETTLED_AFTER_CRASHES } else { SETTLED_AFTER }
}

/// Once, and only if there is something to go back to.
fn can_restore(observation: &Observation, memory: &Memory) -> bool {
    observation.has_other_that_worked && memory.restoration == Restoration::None
}

/// The definition on disk cannot run: launchd says so, a run of it has ended by itself before our eyes, or it has had its
/// time.
fn restore_is_due(
    job: &Job,
    program: Option<&ProgramView>,
    observation: &Observation,
    memory: &Memory,
    limits: Limits,
    now: Duration,
) -> bool {
    let is_up = program.is_some_and(|program| program.age >= settled_after(job));
    let was_kicked = memory.last_kick.is_some_and(|last| now >= last + KICK_EVERY);
    let cannot_run = job.cannot_run && job.pid.is_none() && was_kicked;
    let is_hopeless = cannot_run || memory.has_crashed_again(job) || now >= limits.restore_after;
    !is_up && can_restore(observation, memory) && is_hopeless
}

/// launchd has put the job aside because it could not run it, and a start on demand has changed nothing: it has to be loaded
/// anew. What kept it from running may be gone by now.
fn is_penalised(job: &Job, memory: &Memory, now: Duration) -> bool {
    let was_kicked = memory.last_kick.is_some_and(|last| now >= last + KICK_EVERY);
    let was_long_ago = memory.loaded_at.is_none_or(|last| now >= last + RELOAD_EVERY);
    job.cannot_run && was_kicked && was_long_ago
}

/// launchd does not re-read the file: a program that came up beside another file has another definition, even if what
/// `print` shows of its arguments is the same. One reload settles that.
fn is_loaded_as_on_disk(
    job: &Job,
    definition: &Definition,
    program: Option<&ProgramView>,
    memory: &Memory,
) -> bool {
    let has_other =
        program.is_some_and(|program| program.difference == Some(Difference::Definition));
    let looks_other = job.differs_in(definition).is_some();
    job.has_arguments(&definition.arguments) && (!(has_other || looks_other) || memory.is_reloaded)
}

/// Takes the job out, and waits until it is gone. launchd may say that it does, and do nothing: then what runs goes on, and
/// that is said.
fn leave(
    domain: Domain,
    job: &Job,
    observation: &Observation,
    memory: &Memory,
    now: Duration,
) -> Decision {
    if job.is_leaving {
        return wait_for_leaving(job, memory, now);
    }
    let was_just_told = memory.last_bootout.is_some_and(|last| now < last + BACKOFF.1);
    let runs = observation.program.as_ref().filter(|program| program.belongs_to(job.pid));
    match runs {
        _ if was_just_told => Decision::Wait(LOOK_AGAIN),
        _ if memory.bootouts < MAX_BOOTOUTS => Decision::Do(Step::Bootout(domain)),
        Some(program) => not_let_go(program, observation.kind),
        None => Decision::Wait(LOOK_AGAIN),
    }
}

fn start(domain: Domain, memory: &Memory, now: Duration) -> Decision {
    if memory.last_kick.is_some_and(|last| now < last + KICK_EVERY) {
        Decision::Wait(LOOK_AGAIN)
    } else {
        Decision::Do(Step::Kickstart(domain))
    }
}

/// The label is gone; the process that it had must be too, or the new one finds the old one's lock.
fn load(
    domain: Domain,
    bootstrap: Step,
    observation: &Observation,
    memory: &Memory,
    now: Duration,
) -> Decision {
    let lingering = observation.program.as_ref().map(ProgramView::pid);
    if let Some(pid) = lingering.filter(|pid| Some(*pid) == memory.job_pid) {
        let since = memory.last_bootout.unwrap_or(memory.job_pid_since);
        if now < since + patience_with(memory.exit_timeout) {
            return Decision::Wait(LOOK_AGAIN);
        }
        if memory.killed != Some(pid) {
            return Decision::Do(Step::Kill(pid));
        }
    }
    if !memory.enabled {
        return Decision::Do(Step::Enable(domain));
    }
    match memory.bootstrap_is_due(now) {
        Some(wait) if wait > Duration::ZERO => Decision::Wait(wait.min(LOOK_AGAIN)),
        Some(_) | None => Decision::Do(bootstrap),
    }
}

fn verdict_of(program: &ProgramView, memory: &Memory) -> AgentVerdict {
    if memory.acted || program.is_new { AgentVerdict::Back } else { AgentVerdict::Healthy }
}

#[cfg(test)]
mod tests;
