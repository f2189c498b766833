//! The agent's job, brought to where it should be.
//!
//! One actor at a time: everything here happens under `ensure.lock`. A pure plan says the next step, a driver takes it
//! and looks again, until the agent is seen at work by its own record, or everything has been tried.
//!
//! - [`agent`]: the agent's own record, and whether it is still what is installed.
//! - [`launchd`], [`launchd_plan`], [`launchctl`], [`definition`], [`last_good`]: macOS.
//! - [`systemd`], [`systemd_plan`]: Linux.
//! - [`steps`]: what was done, for `reload.json`.

mod agent;
mod definition;
mod last_good;
mod launchctl;
mod launchd;
mod launchd_plan;
mod steps;
mod systemd;
mod systemd_plan;

use std::time::Duration;

use jiff::Timestamp;
use nixfleet_protocol::{
    journal::{
        lock::Lock,
        read,
        records::{AgentVerdict, FORMAT, Reload, RunningProgram, Started, SwitchId},
    },
    state_dir::StateDir,
};

use crate::{
    messages::{hint, say, warn, with_causes},
    settings::{ServiceManager, Settings},
};
use steps::Steps;

/// How long another's look-after may keep us waiting: it ends by itself within [`TOTAL_LIMIT`].
const LOCK_LIMIT: Duration = Duration::from_secs(65);

/// How long everything together may take. The host must not be dark for a minute.
const TOTAL_LIMIT: Duration = Duration::from_secs(57);

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
    fn or_at_the_limit(self, now: Duration, give_up: impl FnOnce() -> Self) -> Self {
        match self {
            Self::Do(_) | Self::Wait(_) if now >= TOTAL_LIMIT => give_up(),
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
}

/// Looks after the agent's job. Never fails: what could not be done is in the verdict.
pub(crate) fn run(settings: &Settings, switch: Option<SwitchId>) -> Reload {
    let began_at = Timestamp::now();
    let mut steps = Steps::begin();
    let conclusion = conclude(settings, switch, &mut steps);
    // What a tool said in it may be long.
    let explanation = steps::shortened(&conclusion.explanation);
    Reload {
        format: FORMAT,
        switch,
        verdict: conclusion.verdict,
        explanation,
        began_at,
        duration_ms: steps.elapsed_ms(),
        agent_pid: agent::look(settings, Timestamp::MIN).map(|agent| agent.pid()),
        steps: steps.into_taken(),
    }
}

fn conclude(settings: &Settings, switch: Option<SwitchId>, steps: &mut Steps) -> Conclusion {
    let drive = match settings.service_manager {
        ServiceManager::Launchd => launchd::drive,
        ServiceManager::Systemd => systemd::drive,
        ServiceManager::None => {
            let why = "no service manager is in use, so nobody looked after the agent";
            return Conclusion::new(AgentVerdict::Unmanaged, why);
        }
    };
    let directory = match StateDir::prepare(&settings.state_dir) {
        Ok(directory) => directory,
        Err(error) => return Conclusion::new(AgentVerdict::NotBack, with_causes(&error)),
    };
    let _lock = match Lock::take_within(&directory.ensure_lock(), LOCK_LIMIT) {
        Ok(lock) => lock,
        Err(error) => return Conclusion::new(AgentVerdict::NotBack, with_causes(&error)),
    };
    // Waiting for somebody else's look-after takes nothing from this one's time.
    *steps = Steps::begin();
    let since = switch.and_then(|id| began(&directory, id)).unwrap_or_else(Timestamp::now);
    drive(settings, &directory, since, steps)
}

/// When the switch began: an agent that came up later was brought back since.
fn began(directory: &StateDir, id: SwitchId) -> Option<Timestamp> {
    let started = read::read::<Started>(&directory.switch(id).started());
    started.present().map(|started| started.started_at)
}

/// The agent that runs, as it wrote itself down.
fn running_agent(settings: &Settings) -> Option<RunningProgram> {
    let directory = StateDir::look(&settings.state_dir).ok()?;
    read::read(&directory.agent_record()).present()
}

/// Says what somebody at the machine should know.
pub(crate) fn announce(reload: &Reload) {
    match reload.verdict {
        AgentVerdict::Healthy | AgentVerdict::NotInstalled | AgentVerdict::Unmanaged => {}
        AgentVerdict::Back if reload.steps.iter().any(|step| step.step == "restore") => {
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
