//! launchd's mind: domains, jobs, overrides. [`Launchd::handle`] turns an event into effects and
//! [`Launchd::next_deadline`] says when it wants a [`Event::Tick`]. No clock, no file, no process: which
//! paths exist it is told before the event, by [`Launchd::see`].

mod calls;
mod drain;
mod effects;
mod job;
mod legacy;
mod mood;
mod outside;
mod print;
mod reach;
mod registry;
mod session;
mod start_waiter;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};

use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};

use self::job::{Due, Job};
use super::{
    answer::Privilege,
    command::Command,
    control::Verdict,
    domain::{Domain, ServiceTarget},
    message::CallerSession,
    moment::Moment,
    plist_file::LoadedPlist,
    process_end::ProcessEnd,
};

pub use self::{
    effects::{Effect, Effects, GroupFate},
    job::SpawnReason,
    mood::Mood,
};

/// When launchd itself ends, a job that ignores SIGTERM is killed after this long.
pub const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

/// What does not change while launchd runs.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The major version of macOS.
    pub macos: u32,
    /// Whose launchd it is.
    pub uid: u32,
    /// What `kickstart -k` sends to the running job.
    pub kickstart_signal: Signal,
    /// Between the wish to start a job and its start.
    pub spawn_delay: Duration,
}

/// Who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Who {
    /// What it may do and see.
    pub privilege: Privilege,
    /// Where it sits; `None`: at the screen if there is a session, else in the background.
    pub session: Option<CallerSession>,
}

/// Names one call until it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// What the override database says about a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Override {
    /// Loads, whatever the plist says.
    Enabled,
    /// Does not load, whatever the plist says.
    Disabled,
}

/// The override database of one user; its domains share it.
pub type Overrides = BTreeMap<String, Override>;

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// A well-formed call came in.
    Called {
        /// To answer it by.
        call: CallId,
        /// Who calls.
        caller: Who,
        /// What is wanted.
        command: Command,
        /// The plists that the call names, read.
        plists: Vec<LoadedPlist>,
    },
    /// A process was started as asked.
    Spawned {
        /// For which job.
        target: ServiceTarget,
        /// The process.
        pid: Pid,
    },
    /// No process could be started.
    SpawnFailed {
        /// For which job.
        target: ServiceTarget,
        /// Why.
        reason: String,
    },
    /// A job's main process ended; it is a zombie until reaped.
    Exited {
        /// Which process.
        pid: Pid,
        /// How.
        end: ProcessEnd,
    },
    /// The user logged in at the screen.
    LoggedIn {
        /// What lies in `~/Library/LaunchAgents`.
        plists: Vec<LoadedPlist>,
    },
    /// The user logged in over ssh.
    LoggedInOverSsh,
    /// The user logs out.
    LoggedOut,
    /// What launchd may start by itself has changed.
    Mood(Mood),
    /// Somebody changed the override database.
    Overridden {
        /// For which label.
        label: String,
        /// To what.
        to: Override,
    },
    /// Background Items or code signing think otherwise of a label.
    Judged {
        /// Which label.
        label: String,
        /// What becomes of it.
        verdict: Verdict,
    },
    /// The time of a job's `StartCalendarInterval` has come.
    CalendarDue(ServiceTarget),
    /// What a job in the penalty box waits for.
    SetupEvent(ServiceTarget),
    /// launchd throws a job out.
    ThrownOut(ServiceTarget),
    /// The machine slept. The clock stood still meanwhile.
    Woke {
        /// For how long.
        slept: Duration,
    },
    /// The machine starts anew, with these domains.
    RebootRequested(BTreeSet<Domain>),
    /// launchd is to end.
    ShutdownRequested,
    /// A deadline may have passed.
    Tick,
}

/// One launchd.
#[derive(Debug)]
pub struct Launchd {
    settings: Settings,
    domains: BTreeMap<Domain, DomainState>,
    overrides: Overrides,
    verdicts: BTreeMap<String, Verdict>,
    moods: mood::Moods,
    /// Of the paths that jobs look at, those that exist.
    paths: BTreeSet<PathBuf>,
    running: Running,
}

#[derive(Debug, Default)]
struct DomainState {
    jobs: BTreeMap<String, Job>,
    life: DomainLife,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum DomainLife {
    #[default]
    Active,
    TearingDown,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Running {
    Up,
    Ending,
    Rebooting(BTreeSet<Domain>),
    Ended,
}

impl Launchd {
    /// A launchd with these domains and no job. The system's domain always exists.
    pub fn new(settings: Settings, overrides: Overrides, domains: BTreeSet<Domain>) -> Self {
        let domains = session::domains(domains);
        Self {
            settings,
            domains,
            overrides,
            verdicts: BTreeMap::new(),
            moods: mood::Moods::default(),
            paths: BTreeSet::new(),
            running: Running::Up,
        }
    }

    /// Takes note of what happened and says what to do now, in this order.
    pub fn handle(&mut self, event: Event, now: Moment) -> Vec<Effect> {
        let mut out = Effects::default();
        match event {
            Event::Called { call, caller, command, plists } => {
                self.called(call, caller, command, plists, now, &mut out);
            }
            Event::Spawned { target, pid } => self.spawned(&target, pid, now, &mut out),
            Event::SpawnFailed { target, reason } => {
                if let Some(job) = self.job_mut(&target) {
                    job.spawn_failed(reason, &mut out);
                }
            }
            Event::Exited { pid, end } => self.exited(pid, end, now, &mut out),
            Event::LoggedIn { plists } => self.logged_in(plists, now, &mut out),
            Event::LoggedInOverSsh => self.logged_in_over_ssh(),
            Event::LoggedOut => {
                self.tear_down(Domain::Gui(self.settings.uid), now, &mut out);
            }
            Event::Mood(mood) => self.set_mood(mood, now),
            Event::Overridden { label, to } => self.set_override(label, to, &mut out),
            Event::Judged { label, verdict } => {
                self.verdicts.insert(label, verdict);
            }
            Event::CalendarDue(target) => self.start_by_demand(&target, now, &mut out),
            Event::SetupEvent(target) => self.set_up(&target, now, &mut out),
            Event::ThrownOut(target) => {
                self.change_job(&target, &mut out, Job::throw_out);
            }
            Event::Woke { slept } => self.woke(slept, now),
            Event::RebootRequested(domains) => self.reboot(domains, now, &mut out),
            Event::ShutdownRequested => self.shut_down(now, &mut out),
            Event::Tick => {}
        }
        self.settle(now, &mut out);
        out.into_vec()
    }

    /// When the next [`Event::Tick`] is wanted.
    pub fn next_deadline(&self) -> Option<Moment> {
        self.jobs().filter_map(Job::deadline).min()
    }

    /// Whether the label is registered there, be it running or draining.
    pub fn is_registered(&self, target: &ServiceTarget) -> bool {
        self.job(target).is_some()
    }

    fn jobs(&self) -> impl Iterator<Item = &Job> {
        self.domains.values().flat_map(|domain| domain.jobs.values())
    }

    fn job(&self, target: &ServiceTarget) -> Option<&Job> {
        self.domains.get(&target.domain)?.jobs.get(&target.label)
    }

    fn job_mut(&mut self, target: &ServiceTarget) -> Option<&mut Job> {
        self.domains.get_mut(&target.domain)?.jobs.get_mut(&target.label)
    }

    fn job_with_pid(&self, pid: Pid) -> Option<ServiceTarget> {
        self.jobs().find(|job| job.pid() == Some(pid)).map(|job| job.target.clone())
    }

    fn spawned(&mut self, target: &ServiceTarget, pid: Pid, now: Moment, out: &mut Effects) {
        let leaving = self
            .domains
            .get(&target.domain)
            .is_none_or(|domain| domain.life == DomainLife::TearingDown);
        match self.job_mut(target) {
            Some(job) => job.spawned(pid, now, out),
            // Forgotten between the wish and the start: nobody may be left running.
            None => return out.signal(target, pid, Signal::KILL),
        }
        if leaving {
            self.change_job(target, out, |job, out| job.stop_for_removal(now, None, out));
        } else if self.verdict(&target.label) == Verdict::KilledAfterSpawn {
            self.change_job(target, out, Job::throw_out);
        }
    }

    fn verdict(&self, label: &str) -> Verdict {
        self.verdicts.get(label).copied().unwrap_or_default()
    }

    fn exited(&mut self, pid: Pid, end: ProcessEnd, now: Moment, out: &mut Effects) {
        let Some(target) = self.job_with_pid(pid) else {
            return out.push(Effect::Reap { pid, group: GroupFate::Terminated });
        };
        let start = self.start_policy(target.domain);
        let outside = self.outside(&target);
        self.change_job(&target, out, |job, out| job.exited(end, outside, start, now, out));
    }

    fn set_override(&mut self, label: String, to: Override, out: &mut Effects) {
        self.overrides.insert(label, to);
        out.push(Effect::KeepOverrides(self.overrides.clone()));
    }

    /// Does what is due, and lets empty domains go.
    fn settle(&mut self, now: Moment, out: &mut Effects) {
        self.start_for_outside(now, out);
        let Self { domains, verdicts, settings, moods, .. } = self;
        for (name, domain) in domains.iter_mut() {
            let policy = moods.start_policy(*name, settings);
            for job in domain.jobs.values_mut() {
                let verdict = verdicts.get(&job.target.label).copied().unwrap_or_default();
                job.do_what_is_due(Due { policy, verdict, now }, out);
            }
        }
        self.domains.retain(|name, domain| {
            *name == Domain::System || domain.life == DomainLife::Active || !domain.jobs.is_empty()
        });
        self.end_when_empty(out);
    }
}

#[cfg(test)]
mod tests;
