//! A job, the agent's or the watchdog's, brought to where it should be.
//!
//! One actor at a time: everything here happens under `ensure.lock`. A pure plan says the next step, a driver takes it
//! and looks again, until the agent is seen at work by its own record, or everything has been tried.
//!
//! - [`job`]: the jobs.
//! - [`program`]: a program's own record, and whether it is still what is installed.
//! - [`launchd`], [`launchd_plan`], [`launchctl`], [`definition`], [`last_good`], [`original`]: macOS.
//! - [`systemd`], [`systemd_plan`]: Linux.
//! - [`removal`]: taking a job out for good.
//! - [`steps`]: what was done, for `reload.json`.

pub(crate) mod definition;
mod job;
mod last_good;
pub(crate) mod launchctl;
mod launchd;
mod launchd_plan;
pub(crate) mod original;
mod program;
mod removal;
mod steps;
pub(crate) mod systemd;
pub(crate) mod systemd_plan;

use std::time::Duration;

use jiff::Timestamp;
use nixfleet_protocol::{
    crash_point::{self, CrashPoint},
    journal::{
        lock::{Lock, LockError},
        read,
        records::{AgentVerdict, FORMAT, Reload, ReloadStep, Started, SwitchId},
    },
    state_dir::StateDir,
};

use crate::{
    messages::{hint, say, warn, with_causes},
    settings::{ServiceManager, Settings, UnitManager},
    switch::detach::outlast_signals,
};
pub(crate) use job::JobKind;
use job::Trace;
pub(crate) use last_good::put_in_place;
pub(crate) use removal::{Removed, enable_unit, take_out};
use steps::Steps;

/// How long another's look-after may keep us waiting: it ends by itself within [`TOTAL_LIMIT`].
const LOCK_LIMIT: Duration = Duration::from_secs(65);

/// How long everything together may take. The host must not be dark for a minute.
const TOTAL_LIMIT: Duration = Duration::from_secs(57);

/// What it gets at least: enough to give a new definition up and load the last one that worked.
const LEAST_TOTAL_LIMIT: Duration = Duration::from_secs(30);

/// How long an agent that runs may take to write its record.
const READY_LIMIT: Duration = Duration::from_secs(10);

/// How long an agent must have been up to count as back: one that crashes at once is not.
const SETTLED_AFTER: Duration = Duration::from_secs(1);

/// Time between two looks while something is under way.
const LOOK_AGAIN: Duration = Duration::from_millis(30);

/// Time between two looks when the service manager's tool did not answer.
const LOOK_AGAIN_LATER: Duration = Duration::from_millis(500);

/// What a plan says, given what is seen and what was done.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Decision<Step> {
    /// Take this step.
    Do(Step),
    /// Look again after this time.
    Wait(Duration),
    /// There is nothing more to do.
    End(Conclusion),
}

impl<Step> Decision<Step> {
    fn end(verdict: AgentVerdict, explanation: impl Into<String>) -> Self {
        Self::End(Conclusion::new(verdict, explanation))
    }

    /// The decision, unless the time is up and it is none to end.
    fn or_at_the_limit(
        self,
        now: Duration,
        limit: Duration,
        give_up: impl FnOnce() -> Self,
    ) -> Self {
        match self {
            Self::Do(_) | Self::Wait(_) if now >= limit => give_up(),
            Self::Do(_) | Self::Wait(_) | Self::End(_) => self,
        }
    }
}

/// How a look-after ended.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Conclusion {
    verdict: AgentVerdict,
    explanation: String,
}

impl Conclusion {
    fn new(verdict: AgentVerdict, explanation: impl Into<String>) -> Self {
        Self { verdict, explanation: explanation.into() }
    }

    /// The same of an agent that was kept as it is.
    fn with_old_config(self, flaw: &str) -> Self {
        let Self { verdict, explanation } = self;
        let kept =
            "it goes on with the config that it has, for with the new one none would come up";
        Self { verdict, explanation: format!("{explanation}; {kept}: {flaw}") }
    }
}

/// Whether a process of the job of which there is no record here is left alone. It is if it holds its lock here: on a full
/// disk it cannot write itself down. And if the job has never been at work here, and the process was there before anything
/// was done: it keeps its records elsewhere, and has not been seen to do anything wrong.
const fn is_left_alone(trace: Trace, was_there_before: bool) -> bool {
    match trace {
        Trace::Locked => true,
        Trace::None => was_there_before,
        Trace::Record => false,
    }
}

/// What is said of one that is left alone.
fn unknown_process(pid: u32, kind: JobKind, trace: Trace) -> Conclusion {
    let noun = kind.noun();
    if trace == Trace::Locked {
        let why = format!("the {noun} runs (pid {pid}), but its own record cannot be read");
        return Conclusion::new(AgentVerdict::Healthy, why);
    }
    let why = format!(
        "its job has a process (pid {pid}) that has not written itself down in this state directory; if the {noun} has another one, set NIXFLEET_STATE_DIR to the same for both"
    );
    Conclusion::new(AgentVerdict::NotBack, why)
}

/// What is to be looked after, and what is known of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wish {
    /// Which job.
    pub(crate) kind: JobKind,
    /// The switch that is the reason, where one is.
    pub(crate) switch: Option<SwitchId>,
    /// How long the job's process has been missed already: that much less time is left.
    pub(crate) missed_for: Duration,
    /// The job's process was seen to react to nothing.
    pub(crate) is_stuck: bool,
    /// The agent has asked to be changed over, and has checked the config with which the next one is to come up.
    pub(crate) is_handed_over: bool,
}

impl Wish {
    /// A job, when somebody asks for it.
    pub(crate) const fn of(kind: JobKind) -> Self {
        Self {
            kind,
            switch: None,
            missed_for: Duration::ZERO,
            is_stuck: false,
            is_handed_over: false,
        }
    }

    /// The agent's job after a switch.
    pub(crate) const fn after_switch(id: SwitchId) -> Self {
        Self { switch: Some(id), ..Self::of(JobKind::Agent) }
    }
}

/// The wish, as the drivers take it.
#[derive(Debug, Clone, Copy)]
struct Task {
    kind: JobKind,
    limits: Limits,
    /// A program that came up later was brought back.
    since: Timestamp,
    /// The process that reacts to nothing.
    stuck: Option<u32>,
    /// What runs stays, whatever is installed by now.
    keeps_what_runs: bool,
}

/// How long things may take. The host must not be dark for a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Limits {
    /// Everything together.
    total: Duration,
    /// Until a definition that is loaded and does not come to a running program is given up for the last one that
    /// worked. What is left of the time has to do for that one.
    restore_after: Duration,
}

impl Limits {
    /// Given how long the process has been missed already.
    fn after(missed_for: Duration) -> Self {
        let total = TOTAL_LIMIT.saturating_sub(missed_for).max(LEAST_TOTAL_LIMIT);
        Self { total, restore_after: total * 4 / 9 }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::after(Duration::ZERO)
    }
}

/// Looks after a job. Never fails: what could not be done is in the verdict.
pub(crate) fn run(settings: &Settings, wish: &Wish) -> Reload {
    let began_at = Timestamp::now();
    let mut steps = Steps::begin(Limits::after(wish.missed_for).total);
    let conclusion = conclude(settings, wish, &mut steps);
    // What a tool said in it may be long.
    let explanation = steps::shortened(&conclusion.explanation);
    Reload {
        format: FORMAT,
        switch: wish.switch,
        verdict: conclusion.verdict,
        explanation,
        began_at,
        duration_ms: steps.elapsed_ms(),
        agent_pid: program::look(settings, wish.kind, Timestamp::MIN).map(|program| program.pid()),
        steps: steps.into_taken(),
    }
}

fn conclude(settings: &Settings, wish: &Wish, steps: &mut Steps) -> Conclusion {
    let drive = match settings.service_manager {
        ServiceManager::Launchd => launchd::drive,
        ServiceManager::Systemd(UnitManager::User) => systemd::drive_user_unit,
        ServiceManager::Systemd(UnitManager::System) => systemd::drive_system_unit,
        ServiceManager::None => {
            let noun = wish.kind.noun();
            let why = format!("no service manager is in use, so nobody looked after the {noun}");
            return Conclusion::new(AgentVerdict::Unmanaged, why);
        }
    };
    let directory = match StateDir::prepare(&settings.state_dir) {
        Ok(directory) => directory,
        Err(error) => return Conclusion::new(AgentVerdict::NotBack, with_causes(&error)),
    };
    let _lock = match Lock::take_within(&directory.ensure_lock(), LOCK_LIMIT) {
        Ok(lock) => lock,
        Err(LockError::Held { .. }) => {
            let waited = LOCK_LIMIT.as_secs();
            let why = format!(
                "somebody else has been looking after a job for {waited} s; `nixfleet-switch doctor` tells what is wrong"
            );
            return Conclusion::new(AgentVerdict::NotBack, why);
        }
        Err(error @ LockError::Io { .. }) => {
            return Conclusion::new(AgentVerdict::NotBack, with_causes(&error));
        }
    };
    // In vain: then a key that is pressed meanwhile does what it always does.
    let _ = outlast_signals();
    crash_point::reached(CrashPoint::EnsureLocked);
    let flaw = if wish.is_handed_over { None } else { program::config_flaw(settings, wish.kind) };
    let task = Task {
        kind: wish.kind,
        limits: Limits::after(wish.missed_for),
        since: wish.switch.and_then(|id| began(&directory, id)).unwrap_or_else(Timestamp::now),
        stuck: stuck(settings, wish),
        keeps_what_runs: flaw.is_some(),
    };
    // Waiting for somebody else's look-after takes nothing from this one's time.
    *steps = Steps::begin(task.limits.total);
    let conclusion = drive(settings, &directory, &task, steps);
    match flaw {
        Some(flaw) => conclusion.with_old_config(&steps::shortened(&flaw)),
        None => conclusion,
    }
}

/// When the switch began: an agent that came up later was brought back since.
fn began(directory: &StateDir, id: SwitchId) -> Option<Timestamp> {
    let started = read::read::<Started>(&directory.switch(id).started());
    started.present().map(|started| started.started_at)
}

/// The process that was seen to react to nothing. One that has come up since is another.
fn stuck(settings: &Settings, wish: &Wish) -> Option<u32> {
    let up_since = Timestamp::now() - jiff::SignedDuration::try_from(wish.missed_for).ok()?;
    let program = program::look(settings, wish.kind, up_since).filter(|_| wish.is_stuck)?;
    (!program.is_new).then(|| program.pid())
}

/// Says what somebody at the machine should know.
pub(crate) fn announce(reload: &Reload) {
    match reload.verdict {
        AgentVerdict::Healthy | AgentVerdict::NotInstalled | AgentVerdict::Unmanaged => {}
        AgentVerdict::Back if reload.steps.iter().any(is_another_definition) => {
            warn(&reload.explanation);
        }
        AgentVerdict::Back => say(&reload.explanation),
        AgentVerdict::AtNextLogin => warn(&reload.explanation),
        AgentVerdict::NotBack => {
            warn(&format!("the agent is not back: {}", reload.explanation));
            hint("run `nixfleet-switch ensure-agent` to try again");
        }
    }
}

/// What runs is not what was to be run.
fn is_another_definition(step: &ReloadStep) -> bool {
    matches!(step.step.as_str(), "install" | "restore")
}
