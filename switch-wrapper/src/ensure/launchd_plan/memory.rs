//! What was done so far, and what was seen of it.

use std::time::Duration;

use super::{BACKOFF, OUTSIDE_FOR, Observation, Step};
use crate::ensure::{
    launchctl::{Job, JobView, NO_DOMAIN},
    program::ProgramView,
};

/// What was done so far.
#[derive(Debug, Clone, Default)]
pub(in crate::ensure) struct Memory {
    pub(super) acted: bool,
    pub(super) enabled: bool,
    pub(super) bootouts: u32,
    pub(super) last_bootout: Option<Duration>,
    /// The process that the job had when it was last booted out.
    booted_out: Option<u32>,
    /// It has left since, or another one has come: what is loaded now was loaded anew.
    pub(super) is_reloaded: bool,
    bootstraps: u32,
    last_bootstrap: Option<Duration>,
    /// When it was loaded as it is, where we did it.
    pub(super) loaded_at: Option<Duration>,
    pub(super) no_domain_answers: u32,
    pub(super) last_answer: Option<String>,
    pub(super) taken: Taken,
    pub(super) last_kick: Option<Duration>,
    pub(super) terminated: Option<(u32, Duration)>,
    pub(super) killed: Option<u32>,
    /// A program that is not the job's process, and since when it is seen so. The job was looked at a moment earlier: one
    /// that has just been started looks like that too.
    outside: Option<(u32, Duration)>,
    pub(super) stray: Option<(u32, Duration)>,
    /// A process that reacts to nothing: it is to be ended whatever it looks like.
    stuck: Option<u32>,
    /// The process that the job had before anything was done.
    first_pid: Option<u32>,
    /// The job's process, as last seen.
    pub(super) job_pid: Option<u32>,
    /// Since when that process is expected to come up or to go.
    pub(super) job_pid_since: Duration,
    pub(super) leaving_since: Option<Duration>,
    pub(super) exit_timeout: Duration,
    /// How often the job had been started when it was first seen as it is loaded now.
    first_runs: Option<u64>,
    pub(super) installing: Placing,
    pub(super) restoration: Restoration,
}

/// What became of the last `bootstrap`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Taken {
    /// There was none, or it was refused.
    #[default]
    No,
    /// launchd took the job.
    Loaded,
    /// It took it, and then the label was not there.
    Dropped,
}

/// Putting the definition of home-manager's generation on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Placing {
    /// There was no need so far.
    #[default]
    Untried,
    /// It was tried.
    Tried,
}

/// How far going back to what worked last has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Restoration {
    /// There was no need so far.
    #[default]
    None,
    /// It cannot be put on disk.
    Failed,
    /// It is on disk; what is loaded is still the other one.
    OnDisk,
    /// The other one was taken out, or this one loaded.
    Done,
}

impl Memory {
    /// Of a job whose process, this one, was seen to react to nothing.
    pub(in crate::ensure) fn of_stuck(pid: Option<u32>) -> Self {
        Self { stuck: pid, ..Self::default() }
    }

    /// Takes note of what is seen.
    pub(in crate::ensure) fn saw(&mut self, observation: &Observation, now: Duration) {
        let views = [&observation.gui, &observation.user];
        let job = views.into_iter().find_map(|view| match view {
            JobView::Loaded(job) => Some(job),
            JobView::NoDomain | JobView::NotLoaded | JobView::Unclear(_) | JobView::NoTool(_) => {
                None
            }
        });
        self.saw_program(observation, job, now);
        let Some(job) = job else {
            let is_gone = views.iter().all(|view| !view.is_unanswered());
            self.is_reloaded |= is_gone && self.bootouts > 0;
            if is_gone && self.taken == Taken::Loaded {
                self.taken = Taken::Dropped;
            }
            return;
        };
        self.is_reloaded |= self.bootouts > 0 && job.pid.is_some() && job.pid != self.booted_out;
        self.exit_timeout = job.exit_timeout;
        self.first_runs = self.first_runs.or(job.runs);
        if !self.acted {
            self.first_pid = self.first_pid.or(job.pid);
        }
        if job.pid.is_some() && job.pid != self.job_pid {
            self.job_pid = job.pid;
            self.job_pid_since = now;
        }
        self.leaving_since = if job.is_leaving { self.leaving_since.or(Some(now)) } else { None };
    }

    fn saw_program(&mut self, observation: &Observation, job: Option<&Job>, now: Duration) {
        let program = observation.program.as_ref();
        let outside = program.filter(|program| !program.belongs_to(job.and_then(|job| job.pid)));
        let pid = outside.map(ProgramView::pid);
        self.outside = match (pid, self.outside) {
            (Some(pid), Some((known, since))) if known == pid => Some((pid, since)),
            (Some(pid), _) => Some((pid, now)),
            (None, _) => None,
        };
    }

    /// Whether this program has not been the job's process for long enough to be sure of it.
    pub(super) fn is_outside(&self, pid: u32, now: Duration) -> bool {
        self.outside.is_some_and(|(known, since)| known == pid && now >= since + OUTSIDE_FOR)
    }

    /// Takes note of a step and of what came of it: its exit code, `None` for one that hung.
    pub(in crate::ensure) fn did(
        &mut self,
        step: Step,
        code: Option<i32>,
        said: &str,
        now: Duration,
    ) {
        self.acted = true;
        match step {
            Step::Enable(_) => self.enabled = true,
            Step::Bootout(_) => {
                self.bootouts += 1;
                self.last_bootout = Some(now);
                self.booted_out = self.job_pid;
                self.restoration.is_taken_up();
                self.taken = Taken::No;
            }
            Step::Bootstrap(_) | Step::BootstrapCopy(_) => self.bootstrapped(code, said, now),
            Step::Kickstart(_) => self.last_kick = Some(now),
            Step::Terminate(_, pid) => self.terminated = Some((pid, now)),
            Step::TerminateStray(pid) => self.stray = Some((pid, now)),
            Step::Kill(pid) => self.killed = Some(pid),
            Step::Install => self.installing = Placing::Tried,
            Step::Restore if code == Some(0) => {
                self.restoration = Restoration::OnDisk;
                // Whatever was tried, was tried with the other one.
                (self.bootouts, self.last_bootout, self.last_kick) = (0, None, None);
                self.is_reloaded = false;
            }
            Step::Restore => self.restoration = Restoration::Failed,
        }
    }

    fn bootstrapped(&mut self, code: Option<i32>, said: &str, now: Duration) {
        self.bootstraps += 1;
        self.last_bootstrap = Some(now);
        self.loaded_at = (code == Some(0)).then_some(now);
        self.restoration.is_taken_up();
        self.no_domain_answers += u32::from(code.is_some_and(|code| NO_DOMAIN.contains(&code)));
        self.last_answer = Some(answer(code, said));
        // It may have been forbidden in between: only root is told so, others get a 5 as for anything else.
        self.enabled = code == Some(0);
        self.taken = if code == Some(0) { Taken::Loaded } else { Taken::No };
        // launchd starts it, if it does, from now on, and with a clean record.
        (self.last_kick, self.first_runs) = (None, None);
    }

    /// How long until `bootstrap` may be tried again; `None` when that time has passed.
    pub(super) fn bootstrap_is_due(&self, now: Duration) -> Option<Duration> {
        let Some(last) = self.last_bootstrap else { return Some(Duration::ZERO) };
        let (first, longest) = BACKOFF;
        let doublings = self.bootstraps.saturating_sub(1).min(8);
        let due = last + first.saturating_mul(1 << doublings).min(longest);
        due.checked_sub(now)
    }

    /// Whether a run that began while we looked has ended by itself, and not well. Two runs of the job at least: the
    /// first after a reboot may meet a store that is not mounted yet.
    pub(super) fn has_crashed_again(&self, job: &Job) -> bool {
        let is_another = self.first_runs.zip(job.runs).is_some_and(|(first, now)| now > first);
        let ended_itself = self.terminated.is_none() && self.killed.is_none();
        is_another
            && ended_itself
            && job.pid.is_none()
            && job.last_end.is_some()
            && job.runs.is_some_and(|runs| runs >= 2)
    }

    /// Whether the job had this process before anything was done.
    pub(super) fn was_there_before(&self, pid: u32) -> bool {
        self.first_pid == Some(pid)
    }

    /// Whether this process was seen to react to nothing.
    pub(super) fn is_to_be_ended(&self, pid: u32) -> bool {
        self.stuck == Some(pid)
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
