//! launchd's mind: domains, jobs, overrides. [`Launchd::handle`] turns an event into effects and
//! [`Launchd::next_deadline`] says when it wants a [`Event::Tick`]. No clock, no file, no process.

mod calls;
mod drain;
mod effects;
mod job;
mod print;
mod start_waiter;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};

use self::job::{Fate, Job};
use super::{
    answer::{Failure, Privilege},
    command::Command,
    definition::Definition,
    domain::{Domain, ServiceTarget},
    moment::Moment,
    plist_file::LoadedPlist,
    process_end::ProcessEnd,
    record::JobEvent,
};

pub use self::{
    effects::{Effect, Effects, GroupFate},
    job::SpawnReason,
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
        caller: Privilege,
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
    /// The user logs out.
    LoggedOut,
    /// The on-demand count changed.
    OnDemandCount(u32),
    /// Somebody changed the override database.
    Overridden {
        /// For which label.
        label: String,
        /// To what.
        to: Override,
    },
    /// launchd throws a job out.
    ThrownOut(ServiceTarget),
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
    on_demand_count: u32,
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Running {
    Up,
    Ending,
    Ended,
}

impl Launchd {
    /// A launchd with these domains and no job. The system's domain always exists.
    pub fn new(settings: Settings, overrides: Overrides, domains: BTreeSet<Domain>) -> Self {
        let domains = domains
            .into_iter()
            .chain([Domain::System])
            .map(|domain| (domain, DomainState::default()))
            .collect();
        Self { settings, domains, overrides, on_demand_count: 0, running: Running::Up }
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
            Event::LoggedOut => {
                self.tear_down(Domain::Gui(self.settings.uid), now, &mut out);
            }
            Event::OnDemandCount(count) => self.set_on_demand_count(count, now),
            Event::Overridden { label, to } => self.set_override(label, to, &mut out),
            Event::ThrownOut(target) => {
                self.change_job(&target, &mut out, Job::throw_out);
            }
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

    /// Runs `change` on a registered job and forgets the job if that is what came of it.
    fn change_job(
        &mut self,
        target: &ServiceTarget,
        out: &mut Effects,
        change: impl FnOnce(&mut Job, &mut Effects) -> Fate,
    ) {
        let Some(job) = self.job_mut(target) else { return };
        match change(job, out) {
            Fate::Kept => {}
            Fate::Removed => self.forget(target, out),
        }
    }

    fn forget(&mut self, target: &ServiceTarget, out: &mut Effects) {
        let removed = self
            .domains
            .get_mut(&target.domain)
            .and_then(|domain| domain.jobs.remove(&target.label));
        if let Some(job) = removed {
            job.answer_those_who_waited(out);
            out.record(target, JobEvent::Removed);
        }
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
        }
    }

    fn exited(&mut self, pid: Pid, end: ProcessEnd, now: Moment, out: &mut Effects) {
        let Some(target) = self.job_with_pid(pid) else {
            return out.push(Effect::Reap { pid, group: GroupFate::Terminated });
        };
        let start = self.start_policy();
        self.change_job(&target, out, |job, out| job.exited(end, start, now, out));
    }

    /// What a job needs to know of launchd to schedule its own start.
    fn start_policy(&self) -> job::StartPolicy {
        job::StartPolicy {
            delay: self.settings.spawn_delay,
            on_demand_only: self.on_demand_count > 0,
        }
    }

    fn register(
        &mut self,
        domain: Domain,
        plist: LoadedPlist,
        now: Moment,
        out: &mut Effects,
    ) -> Result<(), Failure> {
        let definition = match plist.job {
            Ok(definition) => definition,
            Err(error) => {
                let label = plist.path.display().to_string();
                let failure = error.failure();
                out.record(
                    &ServiceTarget { domain, label },
                    JobEvent::Refused { reason: error.to_string() },
                );
                return Err(failure);
            }
        };
        let target = ServiceTarget { domain, label: definition.label.clone() };
        if let Err(failure) = self.may_register(&target, &definition) {
            out.record(&target, JobEvent::Refused { reason: failure.text().to_owned() });
            return Err(failure);
        }
        out.record(&target, JobEvent::Registered);
        let mut job = Job::new(target.clone(), plist.path, definition);
        job.loaded(self.start_policy(), now, out);
        self.domains.entry(domain).or_default().jobs.insert(target.label, job);
        Ok(())
    }

    fn may_register(&self, target: &ServiceTarget, definition: &Definition) -> Result<(), Failure> {
        if self.is_registered(target) {
            return Err(Failure::AlreadyInProgress);
        }
        let session_fits = match target.domain {
            Domain::System => false,
            Domain::User(_) => definition.allows_background(),
            Domain::Gui(_) => definition.allows_gui(),
        };
        if !session_fits {
            return Err(Failure::WrongSession);
        }
        let disabled = match self.overrides.get(&target.label) {
            Some(Override::Disabled) => true,
            Some(Override::Enabled) => false,
            None => definition.disabled,
        };
        if disabled { Err(Failure::Disabled) } else { Ok(()) }
    }

    fn logged_in(&mut self, plists: Vec<LoadedPlist>, now: Moment, out: &mut Effects) {
        let gui = Domain::Gui(self.settings.uid);
        let domain = self.domains.entry(gui).or_default();
        domain.life = DomainLife::Active;
        for plist in plists {
            // A refusal is in the record; the scan goes on with the next plist, as at a login.
            let _refused = self.register(gui, plist, now, out);
        }
    }

    fn tear_down(&mut self, domain: Domain, now: Moment, out: &mut Effects) {
        let Some(state) = self.domains.get_mut(&domain) else { return };
        state.life = DomainLife::TearingDown;
        let targets: Vec<_> = state.jobs.values().map(|job| job.target.clone()).collect();
        for target in targets {
            self.change_job(&target, out, |job, out| job.stop_for_removal(now, None, out));
        }
    }

    fn set_on_demand_count(&mut self, count: u32, now: Moment) {
        self.on_demand_count = count;
        let start = self.start_policy();
        for domain in self.domains.values_mut() {
            for job in domain.jobs.values_mut() {
                job.release_pended(start, now);
            }
        }
    }

    fn set_override(&mut self, label: String, to: Override, out: &mut Effects) {
        self.overrides.insert(label, to);
        out.push(Effect::KeepOverrides(self.overrides.clone()));
    }

    fn shut_down(&mut self, now: Moment, out: &mut Effects) {
        if self.running != Running::Up {
            return;
        }
        self.running = Running::Ending;
        let domains: Vec<_> = self.domains.keys().copied().collect();
        for domain in domains {
            self.tear_down(domain, now, out);
        }
        let kill_at = now.plus(SHUTDOWN_GRACE);
        for domain in self.domains.values_mut() {
            for job in domain.jobs.values_mut() {
                job.kill_no_later_than(kill_at);
            }
        }
    }

    /// Does what is due, and lets empty domains go.
    fn settle(&mut self, now: Moment, out: &mut Effects) {
        for domain in self.domains.values_mut() {
            for job in domain.jobs.values_mut() {
                job.do_what_is_due(now, out);
            }
        }
        self.domains.retain(|name, domain| {
            *name == Domain::System || domain.life == DomainLife::Active || !domain.jobs.is_empty()
        });
        if self.running == Running::Ending && self.jobs().next().is_none() {
            self.running = Running::Ended;
            out.push(Effect::End);
        }
    }
}

#[cfg(test)]
mod tests;
