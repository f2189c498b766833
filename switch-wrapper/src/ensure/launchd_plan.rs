//! What to do next about the agent's job under launchd. Pure: an observation, what was done so far, and the time since
//! the beginning go in; one step comes out.
//!
//! What it rests on, all of it in launchd's nature: `bootout` answers before the job is gone, and `bootstrap` fails
//! with 5 until it is; a job that is bootstrapped may never be started by itself, but a `kickstart` always starts it;
//! a loaded job keeps the definition it was loaded with, whatever is on disk; a label that is not loaded is not
//! restarted by anybody.

use std::time::Duration;

use nixfleet_protocol::{installed::Difference, journal::records::AgentVerdict};

use super::{
    LOOK_AGAIN, LOOK_AGAIN_LATER, READY_LIMIT, SETTLED_AFTER, TOTAL_LIMIT,
    agent::AgentView,
    definition::{Definition, Domain, Domains, OnDisk},
    launchctl::{Job, JobView, NO_DOMAIN},
};

/// Waits between tries of `bootstrap`: the first, doubled each time up to the last.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(4));

/// How long a `kickstart` may take to show before the next.
const KICK_EVERY: Duration = Duration::from_secs(2);

/// Beyond the job's own exit timeout: how long it may take to be gone before it is killed.
const GONE_SLACK: Duration = Duration::from_secs(10);

/// When a definition that is loaded and does not come to a running agent is given up for the last one that worked. What
/// is left of the time has to do for that one.
const RESTORE_AFTER: Duration = Duration::from_secs(25);

/// How often a job with the wrong definition is booted out before giving up on that.
const MAX_BOOTOUTS: u32 = 5;

/// How often `bootstrap` may say that the domain is not there although `print` sees it.
const MAX_NO_DOMAIN: u32 = 3;

/// All that can be seen.
#[derive(Debug, Clone)]
pub(super) struct Observation {
    /// The job in `gui/UID`.
    pub(super) gui: JobView,
    /// The job in `user/UID`.
    pub(super) user: JobView,
    /// The definition on disk.
    pub(super) on_disk: OnDisk,
    /// There is a copy of a definition that worked, and it is another than the one on disk.
    pub(super) has_other_that_worked: bool,
    /// The agent that is up.
    pub(super) agent: Option<AgentView>,
}

/// One step. Each is one call, or one signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Lift an override that forbids the job.
    Enable(Domain),
    /// Take the job out of the domain.
    Bootout(Domain),
    /// Load the definition on disk.
    Bootstrap(Domain),
    /// Start the loaded job on demand.
    Kickstart(Domain),
    /// Ask the job's process to end.
    Terminate(Domain, u32),
    /// Kill the job's process.
    Kill(u32),
    /// Put the last definition that worked back on disk.
    Restore,
}

/// What this plan says.
pub(super) type Decision = super::Decision<Step>;

/// What was done so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Memory {
    acted: bool,
    enabled: bool,
    bootouts: u32,
    last_bootout: Option<Duration>,
    bootstraps: u32,
    last_bootstrap: Option<Duration>,
    no_domain_answers: u32,
    last_answer: Option<String>,
    last_kick: Option<Duration>,
    terminated: Option<(u32, Duration)>,
    killed: Option<u32>,
    /// The job's process, as last seen.
    job_pid: Option<u32>,
    /// Since when that process is expected to come up or to go.
    job_pid_since: Duration,
    leaving_since: Option<Duration>,
    exit_timeout: Duration,
    restoration: Restoration,
}

/// How far going back to the last definition that worked has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Restoration {
    /// There was no need so far.
    #[default]
    None,
    /// It is on disk; what is loaded is still the other one.
    OnDisk,
    /// The other one was taken out, or this one loaded.
    Done,
}

impl Memory {
    /// Takes note of what is seen.
    pub(super) fn saw(&mut self, observation: &Observation, now: Duration) {
        let job = [&observation.gui, &observation.user].into_iter().find_map(|view| match view {
            JobView::Loaded(job) => Some(job),
            JobView::NoDomain | JobView::NotLoaded | JobView::Unclear(_) => None,
        });
        let Some(job) = job else { return };
        self.exit_timeout = job.exit_timeout;
        if job.pid.is_some() && job.pid != self.job_pid {
            self.job_pid = job.pid;
            self.job_pid_since = now;
        }
        self.leaving_since = if job.is_leaving { self.leaving_since.or(Some(now)) } else { None };
    }

    /// Takes note of a step and of what came of it: its exit code, `None` for one that hung.
    pub(super) fn did(&mut self, step: Step, code: Option<i32>, said: &str, now: Duration) {
        self.acted = true;
        match step {
            Step::Enable(_) => self.enabled = true,
            Step::Bootout(_) => {
                self.bootouts += 1;
                self.last_bootout = Some(now);
                self.restoration.is_taken_up();
            }
            Step::Bootstrap(_) => {
                self.bootstraps += 1;
                self.last_bootstrap = Some(now);
                self.restoration.is_taken_up();
                self.no_domain_answers +=
                    u32::from(code.is_some_and(|code| NO_DOMAIN.contains(&code)));
                self.last_answer = Some(answer(code, said));
                // It may have been forbidden in between: only root is told so, others get a 5 as for anything else.
                self.enabled = code == Some(0);
                // launchd starts it, if it does, from now on.
                self.last_kick = None;
            }
            Step::Kickstart(_) => self.last_kick = Some(now),
            Step::Terminate(_, pid) => self.terminated = Some((pid, now)),
            Step::Kill(pid) => self.killed = Some(pid),
            Step::Restore => {
                self.restoration = Restoration::OnDisk;
                // Whatever was tried, was tried with the other one.
                (self.bootouts, self.last_bootout, self.last_kick) = (0, None, None);
            }
        }
    }

    fn bootstrap_is_due(&self, now: Duration) -> Option<Duration> {
        let Some(last) = self.last_bootstrap else { return Some(Duration::ZERO) };
        let (first, longest) = BACKOFF;
        let doublings = self.bootstraps.saturating_sub(1).min(8);
        let due = last + first.saturating_mul(1 << doublings).min(longest);
        due.checked_sub(now)
    }
}

impl Restoration {
    /// The job was taken out or loaded: from now on the definition on disk counts.
    fn is_taken_up(&mut self) {
        if *self == Self::OnDisk {
            *self = Self::Done;
        }
    }
}

fn answer(code: Option<i32>, said: &str) -> String {
    match code {
        Some(code) => format!("exit code {code}: {said}"),
        None => format!("no exit code: {said}"),
    }
}

/// The next step.
pub(super) fn next(observation: &Observation, memory: &Memory, now: Duration) -> Decision {
    let decision = match &observation.on_disk {
        OnDisk::Absent => without_definition(observation, memory, "its definition is not on disk"),
        OnDisk::Bad(why) => without_definition(observation, memory, why),
        OnDisk::Good(definition) => with_definition(observation, definition, memory, now),
    };
    decision.or_at_the_limit(now, || give_up(observation, memory))
}

/// Without a definition nothing can be loaded; an agent that runs all the same is left alone.
fn without_definition(observation: &Observation, memory: &Memory, why: &str) -> Decision {
    let views = [&observation.gui, &observation.user];
    let is_unclear = views.iter().any(|view| matches!(view, JobView::Unclear(_)));
    let is_loaded = views.iter().any(|view| matches!(view, JobView::Loaded(_)));
    match (is_loaded, is_unclear, &observation.agent) {
        (true, _, Some(agent)) => {
            let explanation = format!("the agent runs (pid {}), but {why}", agent.pid());
            Decision::end(verdict_of(agent, memory), explanation)
        }
        (true, _, None) | (false, true, _) => Decision::Wait(LOOK_AGAIN_LATER),
        (false, false, _)
            if can_restore(observation, memory) && observation.on_disk != OnDisk::Absent =>
        {
            Decision::Do(Step::Restore)
        }
        (false, false, _) if observation.on_disk == OnDisk::Absent => {
            Decision::end(AgentVerdict::NotInstalled, "no agent is installed here")
        }
        (false, false, _) => Decision::end(AgentVerdict::NotBack, why),
    }
}

fn with_definition(
    observation: &Observation,
    definition: &Definition,
    memory: &Memory,
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
        JobView::Unclear(_) => Decision::Wait(LOOK_AGAIN_LATER),
        JobView::NoDomain => at_next_login(),
        JobView::NotLoaded if memory.no_domain_answers >= MAX_NO_DOMAIN => at_next_login(),
        JobView::NotLoaded => load(domain, observation, memory, now),
        JobView::Loaded(job) => judge(domain, job, definition, observation, memory, now),
    }
}

fn wanted_domain(allowed: Domains, gui: &JobView) -> Domain {
    match (allowed, gui) {
        (Domains::User, _) | (Domains::Both, JobView::NoDomain) => Domain::User,
        (Domains::Gui, _)
        | (Domains::Both, JobView::NotLoaded | JobView::Loaded(_) | JobView::Unclear(_)) => {
            Domain::Gui
        }
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
    match (here, &observation.agent) {
        (JobView::NotLoaded | JobView::Loaded(_), _) => leave(there, job, memory, now),
        (JobView::Unclear(_), _) => Decision::Wait(LOOK_AGAIN_LATER),
        (JobView::NoDomain, Some(agent)) => {
            let why =
                "in a domain that its definition does not name; the one that it names is not there";
            Decision::end(
                verdict_of(agent, memory),
                format!("the agent runs (pid {}), {why}", agent.pid()),
            )
        }
        (JobView::NoDomain, None) => at_next_login(),
    }
}

fn at_next_login() -> Decision {
    Decision::end(
        AgentVerdict::AtNextLogin,
        "nobody is logged in at the screen, so launchd has no place for the agent; it starts at the next login",
    )
}

/// The job is loaded where it should be.
fn judge(
    domain: Domain,
    job: &Job,
    definition: &Definition,
    observation: &Observation,
    memory: &Memory,
    now: Duration,
) -> Decision {
    if job.is_leaving {
        return wait_for_leaving(job, memory, now);
    }
    let agent = observation.agent.as_ref().filter(|agent| agent.belongs_to(job.pid));
    if restore_is_due(job, agent, observation, memory, now) {
        return Decision::Do(Step::Restore);
    }
    if memory.restoration == Restoration::OnDisk
        || !is_loaded_as_on_disk(job, definition, agent, memory)
    {
        return leave(domain, job, memory, now);
    }
    match (job.pid, agent) {
        (None, _) => start(domain, memory, now),
        (Some(pid), Some(agent))
            if agent.is_outdated() && memory.terminated.is_none_or(|(old, _)| old == pid) =>
        {
            terminate(domain, pid, memory, now)
        }
        (Some(_), Some(agent)) if agent.age < SETTLED_AFTER => Decision::Wait(LOOK_AGAIN),
        (Some(_), Some(agent)) => {
            let verdict = verdict_of(agent, memory);
            let back = if verdict == AgentVerdict::Back { "is back" } else { "runs" };
            let how = if memory.restoration == Restoration::Done { RESTORED } else { "" };
            Decision::end(verdict, format!("the agent {back} (pid {}){how}", agent.pid()))
        }
        (Some(_), None) if now < memory.job_pid_since + READY_LIMIT => Decision::Wait(LOOK_AGAIN),
        (Some(pid), None) => terminate(domain, pid, memory, now),
    }
}

/// What is said of an agent that is back, but not as it was meant to be.
const RESTORED: &str =
    " with its last definition that worked, since it does not run with the new one";

/// Once, and only if there is something to go back to.
fn can_restore(observation: &Observation, memory: &Memory) -> bool {
    observation.has_other_that_worked && memory.restoration == Restoration::None
}

/// The definition on disk cannot run: launchd says so, or it has had its time.
fn restore_is_due(
    job: &Job,
    agent: Option<&AgentView>,
    observation: &Observation,
    memory: &Memory,
    now: Duration,
) -> bool {
    let is_up = agent.is_some_and(|agent| agent.age >= SETTLED_AFTER);
    let was_kicked = memory.last_kick.is_some_and(|last| now >= last + KICK_EVERY);
    let cannot_run = job.cannot_run && job.pid.is_none() && was_kicked;
    !is_up && can_restore(observation, memory) && (cannot_run || now >= RESTORE_AFTER)
}

/// launchd does not re-read the file: an agent that came up beside another file has another definition, even if what
/// `print` shows of it is the same. One reload settles that.
fn is_loaded_as_on_disk(
    job: &Job,
    definition: &Definition,
    agent: Option<&AgentView>,
    memory: &Memory,
) -> bool {
    let has_other = agent.is_some_and(|agent| agent.difference == Some(Difference::Definition));
    job.has_arguments(&definition.arguments) && (!has_other || memory.bootouts > 0)
}

/// Takes the job out, and waits until it is gone.
fn leave(domain: Domain, job: &Job, memory: &Memory, now: Duration) -> Decision {
    if job.is_leaving {
        return wait_for_leaving(job, memory, now);
    }
    let was_just_told = memory.last_bootout.is_some_and(|last| now < last + BACKOFF.1);
    if was_just_told || memory.bootouts >= MAX_BOOTOUTS {
        Decision::Wait(LOOK_AGAIN)
    } else {
        Decision::Do(Step::Bootout(domain))
    }
}

fn wait_for_leaving(job: &Job, memory: &Memory, now: Duration) -> Decision {
    let is_overdue =
        memory.leaving_since.is_some_and(|since| now >= since + job.exit_timeout + GONE_SLACK);
    match job.pid {
        Some(pid) if is_overdue && memory.killed != Some(pid) => Decision::Do(Step::Kill(pid)),
        Some(_) | None => Decision::Wait(LOOK_AGAIN),
    }
}

/// Ends a process that is not what it should be. launchd starts the next one, or `kickstart` does.
fn terminate(domain: Domain, pid: u32, memory: &Memory, now: Duration) -> Decision {
    match memory.terminated {
        Some((old, since)) if old == pid => {
            let is_overdue = now >= since + memory.exit_timeout + GONE_SLACK;
            if is_overdue && memory.killed != Some(pid) {
                Decision::Do(Step::Kill(pid))
            } else {
                Decision::Wait(LOOK_AGAIN)
            }
        }
        Some(_) | None => Decision::Do(Step::Terminate(domain, pid)),
    }
}

fn start(domain: Domain, memory: &Memory, now: Duration) -> Decision {
    if memory.last_kick.is_some_and(|last| now < last + KICK_EVERY) {
        Decision::Wait(LOOK_AGAIN)
    } else {
        Decision::Do(Step::Kickstart(domain))
    }
}

/// The label is gone; the process that it had must be too, or the new agent finds the old one's lock.
fn load(domain: Domain, observation: &Observation, memory: &Memory, now: Duration) -> Decision {
    let lingering = observation.agent.as_ref().map(AgentView::pid);
    if let Some(pid) = lingering.filter(|pid| Some(*pid) == memory.job_pid) {
        let since = memory.last_bootout.unwrap_or(memory.job_pid_since);
        if now < since + memory.exit_timeout + GONE_SLACK {
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
        Some(_) | None => Decision::Do(Step::Bootstrap(domain)),
    }
}

fn verdict_of(agent: &AgentView, memory: &Memory) -> AgentVerdict {
    if memory.acted || agent.is_new { AgentVerdict::Back } else { AgentVerdict::Healthy }
}

/// Everything was tried. An agent that is up although launchctl does not answer is as good as can be known.
fn give_up(observation: &Observation, memory: &Memory) -> Decision {
    let tried = TOTAL_LIMIT.as_secs();
    let last = memory.last_answer.as_deref().unwrap_or("it was not tried");
    let why = match (&observation.gui, &observation.user) {
        (JobView::Unclear(why), _) | (_, JobView::Unclear(why)) => {
            format!("launchctl does not answer ({why})")
        }
        (JobView::Loaded(_), _) | (_, JobView::Loaded(_)) => {
            "its job is loaded but does not come up".to_owned()
        }
        (JobView::NoDomain | JobView::NotLoaded, JobView::NoDomain | JobView::NotLoaded) => {
            format!("its job cannot be loaded (the last bootstrap: {last})")
        }
    };
    Decision::end(AgentVerdict::NotBack, format!("after {tried} s of trying: {why}"))
}

#[cfg(test)]
mod tests;
