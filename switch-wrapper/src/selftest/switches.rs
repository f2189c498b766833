//! The steps about the whole way: switches by user and agent, with and without somebody being killed on it.

use std::{
    fs::{self, DirBuilder},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use nixfleet_protocol::{
    digest, external, installed,
    journal::{
        atomic,
        lock::{self, LockState},
        records::{Initiator, Outcome, Reload, RunningProgram, SwitchId},
    },
};
use rustix::process::Signal;

use super::{
    PLAN_FLAG, Trouble,
    darkness::Darkness,
    definition::{AgentJob, Start},
    judge::{Healer, Restarts, Seen, SwitchSeen, Wanted, Which},
    scene::read_identity,
    stage::{LOOK_EVERY, Stage},
    stand_in::home_manager::{AfterBootout, Plan, Release, relink},
};

/// How long a switch may take, with all that follows: more than a host may be dark.
const SWITCH_LIMIT: Duration = Duration::from_secs(75);

/// How long the agent may take to be back when whoever was to see to it is through.
const SETTLING_LIMIT: Duration = Duration::from_secs(15);

/// How long a switch that has nothing to do may take.
const CLOSING_LIMIT: Duration = Duration::from_secs(20);

/// How long `install` and `uninstall` may take.
const INSTALL_LIMIT: Duration = Duration::from_secs(30);

/// A switch.
#[derive(Debug, Clone, Copy)]
struct Switch {
    release: Release,
    brings: Brings,
    victims: Victims,
    wanted: Wanted,
}

/// What definition its generation has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Brings {
    /// That of an agent that is slow to end.
    Slow,
    /// The one that is installed already.
    Same,
    /// The same, and the path in it leads to another executable by now.
    OtherExecutable,
    /// One whose program is not there.
    Broken,
}

/// Who is killed between bootout and bootstrap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victims {
    None,
    HomeManager,
    WrapperAndHomeManager,
}

impl Switch {
    const fn of_user(release: Release) -> Self {
        Self {
            release,
            brings: Brings::Slow,
            victims: Victims::None,
            wanted: Wanted {
                outcome: Outcome::Succeeded,
                initiator: Initiator::User,
                restarts: Restarts::Some,
                definition: Which::New,
                healer: Healer::Wrapper,
            },
        }
    }
}

/// A new definition, the way of 25.05 and 25.11.
pub(super) fn user_25_11(stage: &mut Stage) -> Result<Seen, Trouble> {
    perform(stage, Switch::of_user(Release::R25_11))
}

/// A new definition, the way of 26.05.
pub(super) fn user_26_05(stage: &mut Stage) -> Result<Seen, Trouble> {
    perform(stage, Switch::of_user(Release::R26_05))
}

/// The agent has a switch run that boots the agent out.
pub(super) fn agent(stage: &mut Stage) -> Result<Seen, Trouble> {
    let wanted = Wanted { initiator: Initiator::Agent, ..Switch::of_user(Release::R25_11).wanted };
    perform(stage, Switch { wanted, ..Switch::of_user(Release::R25_11) })
}

/// home-manager does not get past the bootout.
pub(super) fn home_manager_killed(stage: &mut Stage) -> Result<Seen, Trouble> {
    let user = Switch::of_user(Release::R25_11);
    let wanted = Wanted { outcome: Outcome::Failed, definition: Which::Any, ..user.wanted };
    perform(stage, Switch { victims: Victims::HomeManager, wanted, ..user })
}

/// Neither home-manager nor the wrapper gets past the bootout.
pub(super) fn both_killed(stage: &mut Stage) -> Result<Seen, Trouble> {
    let user = Switch::of_user(Release::R25_11);
    let wanted = Wanted {
        outcome: Outcome::Interrupted,
        definition: Which::Any,
        healer: Healer::Watchdog,
        ..user.wanted
    };
    perform(stage, Switch { victims: Victims::WrapperAndHomeManager, wanted, ..user })
}

/// The definition stays, and the path in it leads to another executable.
pub(super) fn other_executable(stage: &mut Stage) -> Result<Seen, Trouble> {
    let user = Switch::of_user(Release::Master { has_wait: false });
    let wanted = Wanted { restarts: Restarts::Once, ..user.wanted };
    perform(stage, Switch { brings: Brings::OtherExecutable, wanted, ..user })
}

/// A definition whose program is not there.
pub(super) fn broken(stage: &mut Stage) -> Result<Seen, Trouble> {
    let user = Switch::of_user(Release::R25_11);
    let wanted = Wanted { definition: Which::LastGood, ..user.wanted };
    perform(stage, Switch { brings: Brings::Broken, wanted, ..user })
}

/// Wrapper and watchdog are installed.
pub(super) fn install(stage: &mut Stage) -> Result<Seen, Trouble> {
    ready(stage)?;
    installation(stage, "install", true)
}

/// And taken away.
pub(super) fn uninstall(stage: &mut Stage) -> Result<Seen, Trouble> {
    installation(stage, "uninstall", false)
}

fn installation(stage: &Stage, verb: &str, wanted: bool) -> Result<Seen, Trouble> {
    let mut command = stage.wrapper();
    let ended = external::run(command.args([verb, "--json"]), INSTALL_LIMIT)
        .map_err(|error| Trouble::Said(crate::messages::with_causes(&error)))?;
    let print = stage.launchctl(&["print", &stage.scene.watchdog_target()]);
    let loaded = print.code == Some(0);
    let program = installed::stable_wrapper(&stage.scene.home()).exists();
    Ok(Seen::Installation { exit: ended.exit_code, loaded, program, wanted })
}

/// The agent that is up, or one that is started now.
fn ready(stage: &Stage) -> Result<RunningProgram, Trouble> {
    match stage.agent()? {
        Some(agent) if is_as_installed(stage, &agent) => Ok(agent),
        Some(_) | None => stage.start(&AgentJob::slow(stage.next_version())),
    }
}

fn is_as_installed(stage: &Stage, agent: &RunningProgram) -> bool {
    let installed = digest::of_file(&stage.scene.agent_plist());
    installed.is_some()
        && agent.definition_digest == installed
        && stage.scene.agent().canonicalize().is_ok_and(|exe| exe == agent.exe)
}

fn perform(stage: &mut Stage, switch: Switch) -> Result<Seen, Trouble> {
    let old = ready(stage)?;
    let known = stage.journal()?.switch_ids()?;
    let known_healings = stage.journal()?.healing_ids()?.len();
    let generation = write_generation(stage, switch.brings)?;
    let plan = write_plan(stage, &generation, switch)?;
    if switch.brings == Brings::OtherExecutable {
        relink(&stage.scene.agent(), &stage.scene.agent_executable(2))?;
    }
    match switch.wanted.initiator {
        Initiator::User => stage.spawn_wrapper(&[plan])?,
        Initiator::Agent => ask_agent(stage, plan)?,
    }
    let mut watch = Watch {
        switch,
        known,
        known_healings,
        darkness: Darkness::new(old.process),
        has_killed: false,
    };
    let found = watch.until_over(stage)?;
    let outcome = match switch.wanted.healer {
        Healer::Wrapper => found.result,
        Healer::Watchdog => closed_by_the_next(stage, found.id)?,
    };
    let agent = stage.agent_at_work()?;
    Ok(Seen::Switch(SwitchSeen {
        wanted: switch.wanted,
        outcome: outcome.map(|(outcome, _)| outcome),
        initiator: outcome.map(|(_, initiator)| initiator),
        verdict: found.reload.as_ref().map(|reload| reload.verdict),
        steps: found
            .reload
            .map(|reload| reload.steps.into_iter().map(|step| step.step).collect())
            .unwrap_or_default(),
        agents: watch.darkness.agents(),
        dark: watch.darkness.dark_for(),
        as_installed: agent.is_some_and(|agent| is_as_installed(stage, &agent)),
        is_new: is_same_file(&stage.scene.agent_plist(), &definition_in(stage, &generation)),
    }))
}

fn is_same_file(one: &Path, other: &Path) -> bool {
    let one = digest::of_file(one);
    one.is_some() && one == digest::of_file(other)
}

fn definition_in(stage: &Stage, generation: &Path) -> PathBuf {
    generation.join(format!("LaunchAgents/{}.plist", stage.scene.agent_label))
}

/// Makes a generation as home-manager would have built it.
fn write_generation(stage: &Stage, brings: Brings) -> Result<PathBuf, Trouble> {
    let version = stage.next_version();
    let generation = stage.scene.generation(version);
    let path = definition_in(stage, &generation);
    let folder = generation.join("LaunchAgents");
    DirBuilder::new().recursive(true).create(&folder).map_err(Trouble::file("create", &folder))?;
    let text = match brings {
        Brings::Slow => AgentJob::slow(version).plist(&stage.scene)?,
        Brings::Broken => AgentJob { start: Start::MissingProgram, ..AgentJob::prompt(version) }
            .plist(&stage.scene)?,
        Brings::Same | Brings::OtherExecutable => {
            let installed = stage.scene.agent_plist();
            fs::read(&installed).map_err(Trouble::file("read", &installed))?
        }
    };
    fs::write(&path, text).map_err(Trouble::file("write", &path))?;
    Ok(generation)
}

/// Writes what home-manager is to do; the argument that leads it there comes back.
fn write_plan(stage: &Stage, generation: &Path, switch: Switch) -> Result<String, Trouble> {
    let held = stage.scene.held();
    // Of an earlier switch.
    let _ = fs::remove_file(&held);
    let plan = Plan {
        folder: stage.scene.folder.clone(),
        generation: generation.to_owned(),
        release: switch.release,
        after_bootout: match switch.victims {
            Victims::None => AfterBootout::GoOn,
            Victims::HomeManager | Victims::WrapperAndHomeManager => AfterBootout::Hold,
        },
    };
    let path = generation.join("plan.json");
    let text =
        serde_json::to_vec(&plan).map_err(|error| Trouble::file("write", &path)(error.into()))?;
    fs::write(&path, text).map_err(Trouble::file("write", &path))?;
    Ok(format!("{PLAN_FLAG}{}", path.display()))
}

fn ask_agent(stage: &Stage, argument: String) -> Result<(), Trouble> {
    let path = stage.scene.asked();
    let text = serde_json::to_vec(&[argument])
        .map_err(|error| Trouble::file("write", &path)(error.into()))?;
    Ok(atomic::replace_content(&path, "request", &text)?)
}

/// What came of a switch.
#[derive(Debug, Default)]
struct Found {
    id: Option<SwitchId>,
    result: Option<(Outcome, Initiator)>,
    reload: Option<Reload>,
}

/// A switch that is under way, and what was there before it.
struct Watch {
    switch: Switch,
    known: Vec<SwitchId>,
    known_healings: usize,
    darkness: Darkness,
    has_killed: bool,
}

impl Watch {
    /// Watches the agent until all is over, or has had its time: what is missing then is missing in what was found.
    fn until_over(&mut self, stage: &mut Stage) -> Result<Found, Trouble> {
        let began = Instant::now();
        let mut done_since: Option<Instant> = None;
        loop {
            let agent = stage.agent_at_work()?;
            self.darkness.note(agent.as_ref().map(|agent| &agent.process), began.elapsed());
            self.kill_who_waits(stage)?;
            let found = self.look(stage)?;
            if found.reload.is_some()
                && (found.result.is_some() || self.switch.wanted.healer == Healer::Watchdog)
                && has_ended(stage)
                && lock::look(&stage.scene.state_dir()?.switch_lock())? == LockState::Free
            {
                // Whoever was to bring the agent back is through: it is back, or does not come any more.
                let since = *done_since.get_or_insert_with(Instant::now);
                if self.darkness.is_back() || since.elapsed() >= SETTLING_LIMIT {
                    return Ok(found);
                }
            }
            if began.elapsed() >= SWITCH_LIMIT {
                return Ok(found);
            }
            stage.go_on()?;
            thread::sleep(LOOK_EVERY);
        }
    }

    fn look(&self, stage: &Stage) -> Result<Found, Trouble> {
        let journal = stage.journal()?;
        let newest = journal.switch_ids()?.into_iter().find(|id| !self.known.contains(id));
        let Some(id) = newest else { return Ok(Found::default()) };
        let entry = journal.entry(id);
        let reload = match self.switch.wanted.healer {
            Healer::Wrapper => entry.reload.present(),
            Healer::Watchdog => {
                let healings = journal.healing_ids()?;
                let newest = healings.get(self.known_healings..).and_then(<[_]>::last);
                newest.and_then(|id| journal.healing(*id).healing.present()).map(|one| one.reload)
            }
        };
        let result = entry.result.present().map(|result| (result.outcome, result.initiator));
        Ok(Found { id: Some(id), result, reload })
    }

    /// Kills whoever is to be killed, once home-manager waits for it.
    fn kill_who_waits(&mut self, stage: &mut Stage) -> Result<(), Trouble> {
        if self.switch.victims == Victims::None || self.has_killed {
            return Ok(());
        }
        let Some(home_manager) = read_identity(&stage.scene.held()) else { return Ok(()) };
        if self.switch.victims == Victims::WrapperAndHomeManager {
            end_children(stage)?;
        }
        home_manager.signal(Signal::KILL)?;
        self.has_killed = true;
        Ok(())
    }
}

/// Kills what was started from here, and waits for it.
pub(super) fn end_children(stage: &mut Stage) -> Result<(), Trouble> {
    let mut outcome = Ok(());
    for mut child in stage.children.drain(..) {
        let process = PathBuf::from(format!("process {}", child.id()));
        if let Err(error) = child.kill().and_then(|()| child.wait()) {
            outcome = Err(Trouble::file("end", &process)(error));
        }
    }
    outcome
}

/// Whether all that was started from here has ended.
fn has_ended(stage: &mut Stage) -> bool {
    // One that cannot be asked about is not waited for.
    stage.children.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
    stage.children.is_empty()
}

/// A switch whose wrapper was killed is closed by whoever comes next: a switch that has nothing to do.
fn closed_by_the_next(
    stage: &mut Stage,
    id: Option<SwitchId>,
) -> Result<Option<(Outcome, Initiator)>, Trouble> {
    let Some(id) = id else { return Ok(None) };
    let generation = write_generation(stage, Brings::Same)?;
    let switch = Switch { brings: Brings::Same, ..Switch::of_user(Release::R25_11) };
    let plan = write_plan(stage, &generation, switch)?;
    stage.spawn_wrapper(&[plan])?;
    let deadline = Instant::now() + CLOSING_LIMIT;
    while !has_ended(stage) && Instant::now() < deadline {
        stage.go_on()?;
        thread::sleep(LOOK_EVERY);
    }
    let result = stage.journal()?.entry(id).result.present();
    Ok(result.map(|result| (result.outcome, result.initiator)))
}
