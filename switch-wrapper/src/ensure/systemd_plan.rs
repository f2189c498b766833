//! What to do next about a unit under systemd. Pure, as [`super::launchd_plan`].

use std::{collections::BTreeMap, time::Duration};

use nixfleet_protocol::journal::records::AgentVerdict;

use super::{
    LOOK_AGAIN, LOOK_AGAIN_LATER, Limits, READY_LIMIT, SETTLED_AFTER, is_left_alone,
    job::{JobKind, Trace},
    program::ProgramView,
    unknown_process,
};
use crate::settings::UnitManager;

/// Time between two restarts: systemd's own start limit is five in ten seconds.
const RESTART_EVERY: Duration = Duration::from_secs(5);

/// How long a process that was asked to end may take.
const END_WITHIN: Duration = Duration::from_secs(10);

/// The unit, as `systemctl show` tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum UnitView {
    /// No such unit.
    NotFound,
    /// It is there.
    Known(Unit),
    /// systemctl did not answer in a way that can be understood.
    Unclear(String),
}

/// What counts of a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unit {
    /// It may not be started.
    pub(crate) is_masked: bool,
    /// Its file has changed since systemd read it.
    pub(crate) needs_reload: bool,
    /// `ActiveState`.
    pub(crate) state: ActiveState,
    /// Its main process, if it has one.
    pub(crate) pid: Option<u32>,
}

/// `ActiveState` (systemd.unit(5)), as far as it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ActiveState {
    /// It runs.
    Active,
    /// It is on its way up or down.
    Changing,
    /// It does not run.
    Inactive,
    /// It does not run and systemd has given up on it.
    Failed,
}

/// All that can be seen.
#[derive(Debug, Clone)]
pub(super) struct Observation {
    /// Which job it is about.
    pub(super) kind: JobKind,
    /// Whose unit it is.
    pub(super) manager: UnitManager,
    /// The unit.
    pub(super) unit: UnitView,
    /// The program that is up.
    pub(super) program: Option<ProgramView>,
    /// What the job has left in our state directory.
    pub(super) trace: Trace,
}

/// What came of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// It was done.
    Done,
    /// It was not, and why.
    Failed(String),
    /// It may not be done, and what would allow it.
    Forbidden(String),
}

/// One step: one call, or one signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Ask the program to end; systemd starts it again.
    Terminate,
    /// End it.
    Kill,
    /// Let systemd read the unit files again.
    DaemonReload,
    /// Forget that the unit failed.
    ResetFailed,
    /// Restart it.
    Restart,
}

/// What this plan says.
pub(super) type Decision = super::Decision<Step>;

/// What was done so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Memory {
    acted: bool,
    reloaded: bool,
    has_read_files: bool,
    reset_at: Option<Duration>,
    restarted_at: Option<Duration>,
    terminated_at: Option<Duration>,
    killed_at: Option<Duration>,
    last_answer: Option<String>,
    /// What would allow what systemd was to do.
    forbidden: Option<String>,
    /// The process that the unit had before anything was done.
    first_pid: Option<u32>,
    pid: Option<u32>,
    pid_since: Duration,
    /// A process that reacts to nothing: it is to be ended whatever it looks like.
    stuck: Option<u32>,
}

impl Memory {
    /// Of a job whose process, this one, was seen to react to nothing.
    pub(super) fn of_stuck(pid: Option<u32>) -> Self {
        Self { stuck: pid, ..Self::default() }
    }

    /// Takes note of what is seen.
    pub(super) fn saw(&mut self, observation: &Observation, now: Duration) {
        let pid = match &observation.unit {
            UnitView::Known(unit) => unit.pid,
            UnitView::NotFound | UnitView::Unclear(_) => None,
        };
        if !self.acted {
            self.first_pid = self.first_pid.or(pid);
        }
        if pid.is_some() && pid != self.pid {
            self.pid = pid;
            self.pid_since = now;
        }
    }

    /// Takes note of a step and of what came of it.
    pub(super) fn did(&mut self, step: Step, answer: Answer, now: Duration) {
        match step {
            Step::DaemonReload => {
                self.reloaded = true;
                self.has_read_files = !matches!(answer, Answer::Forbidden(_));
            }
            Step::ResetFailed => self.reset_at = Some(now),
            Step::Restart => {
                self.acted = true;
                self.restarted_at = Some(now);
                self.pid_since = now;
            }
            Step::Terminate => {
                self.acted = true;
                self.terminated_at = Some(now);
                self.pid_since = now;
            }
            Step::Kill => {
                self.killed_at = Some(now);
                self.pid_since = now;
            }
        }
        match answer {
            Answer::Done => {}
            Answer::Failed(said) => self.last_answer = Some(said),
            Answer::Forbidden(rule) => self.forbidden = Some(rule),
        }
    }

    /// Whether the process that was there at first has been told to go.
    const fn has_replaced(&self) -> bool {
        self.restarted_at.is_some() || self.terminated_at.is_some()
    }
}

/// Reads the answer of `systemctl show`.
pub(crate) fn read_show(text: &str) -> UnitView {
    let properties: BTreeMap<&str, &str> =
        text.lines().filter_map(|line| line.split_once('=')).collect();
    let value = |key: &str| properties.get(key).copied().unwrap_or_default();
    let state = match value("ActiveState") {
        "active" | "refreshing" => ActiveState::Active,
        "activating" | "deactivating" | "reloading" | "maintenance" => ActiveState::Changing,
        "inactive" => ActiveState::Inactive,
        "failed" => ActiveState::Failed,
        other => return UnitView::Unclear(format!("ActiveState is {other:?}")),
    };
    if value("LoadState") == "not-found" && state != ActiveState::Active {
        return UnitView::NotFound;
    }
    UnitView::Known(Unit {
        is_masked: value("LoadState") == "masked",
        needs_reload: value("NeedDaemonReload") == "yes",
        state,
        pid: value("MainPID").parse().ok().filter(|pid| *pid != 0),
    })
}

/// The next step.
pub(super) fn next(
    observation: &Observation,
    memory: &Memory,
    limits: Limits,
    now: Duration,
) -> Decision {
    let decision = match &observation.unit {
        UnitView::Unclear(_) => Decision::Wait(LOOK_AGAIN_LATER),
        UnitView::NotFound => {
            let why = format!("no {} is installed here", observation.kind.noun());
            Decision::end(AgentVerdict::NotInstalled, why)
        }
        UnitView::Known(unit) if unit.is_masked && unit.state != ActiveState::Active => {
            let (rights, flag) = (observation.manager.rights(), observation.manager.flag());
            let why = format!("its unit is masked; `{rights}systemctl{flag} unmask` lifts that");
            Decision::end(AgentVerdict::NotBack, why)
        }
        UnitView::Known(unit) if unit.needs_reload && !memory.reloaded => {
            Decision::Do(Step::DaemonReload)
        }
        UnitView::Known(unit) => judge(unit, observation, memory, now),
    };
    decision.or_at_the_limit(now, limits.total, || give_up(observation, memory, limits))
}

fn judge(unit: &Unit, observation: &Observation, memory: &Memory, now: Duration) -> Decision {
    let program = observation.program.as_ref().filter(|program| program.belongs_to(unit.pid));
    // Reading the files again changes nothing about a process that runs.
    let has_old_definition = memory.has_read_files && !memory.has_replaced();
    let is_stuck = unit.pid.is_some() && unit.pid == memory.stuck;
    match (unit.state, program) {
        (ActiveState::Active, Some(program))
            if has_old_definition
                || ((program.is_outdated() || is_stuck) && !memory.has_replaced()) =>
        {
            Decision::Do(replace(observation.manager))
        }
        (ActiveState::Active | ActiveState::Changing, Some(_)) if is_ending(unit, memory) => {
            end_or_wait(memory, now)
        }
        (ActiveState::Active, Some(program)) if program.age < SETTLED_AFTER || is_stuck => {
            Decision::Wait(LOOK_AGAIN)
        }
        (ActiveState::Active, Some(program)) => {
            let is_back = memory.acted || program.is_new;
            let (verdict, word) = if is_back {
                (AgentVerdict::Back, "is back")
            } else {
                (AgentVerdict::Healthy, "runs")
            };
            let noun = observation.kind.noun();
            let unread = unread_files(unit, memory);
            Decision::end(verdict, format!("the {noun} {word} (pid {}){unread}", program.pid()))
        }
        (ActiveState::Active | ActiveState::Changing, _)
            if now < memory.pid_since + READY_LIMIT =>
        {
            Decision::Wait(LOOK_AGAIN)
        }
        (ActiveState::Active, None)
            if unit.pid.is_some()
                && is_left_alone(observation.trace, unit.pid == memory.first_pid) =>
        {
            let pid = unit.pid.unwrap_or_default();
            Decision::End(unknown_process(pid, observation.kind, observation.trace))
        }
        // Between the end of a process and the start of the next there is a moment.
        (ActiveState::Inactive, _)
            if memory.terminated_at.is_some() && now < memory.pid_since + RESTART_EVERY =>
        {
            Decision::Wait(LOOK_AGAIN)
        }
        // systemd does nothing more by itself, and we may not.
        (ActiveState::Inactive | ActiveState::Failed, _) if memory.forbidden.is_some() => {
            let rule = memory.forbidden.as_deref().unwrap_or_default();
            Decision::end(AgentVerdict::NotBack, format!("its unit does not run; {rule}"))
        }
        (ActiveState::Failed, _) if memory.reset_at <= memory.restarted_at => {
            let is_first = memory.reset_at.is_none();
            if is_first || restart_is_due(memory, now) {
                Decision::Do(Step::ResetFailed)
            } else {
                Decision::Wait(LOOK_AGAIN)
            }
        }
        (
            ActiveState::Active
            | ActiveState::Changing
            | ActiveState::Inactive
            | ActiveState::Failed,
            _,
        ) if restart_is_due(memory, now) => Decision::Do(Step::Restart),
        (
            ActiveState::Active
            | ActiveState::Changing
            | ActiveState::Inactive
            | ActiveState::Failed,
            _,
        ) => Decision::Wait(LOOK_AGAIN),
    }
}

/// How a process is replaced. Under the system's manager only root may restart a unit, but the process is ours to end, and
/// systemd starts another (`Restart=always`).
const fn replace(manager: UnitManager) -> Step {
    match manager {
        UnitManager::User => Step::Restart,
        UnitManager::System => Step::Terminate,
    }
}

/// Whether the process that was asked to end is still there.
fn is_ending(unit: &Unit, memory: &Memory) -> bool {
    memory.terminated_at.is_some() && unit.pid.is_some() && unit.pid == memory.first_pid
}

fn end_or_wait(memory: &Memory, now: Duration) -> Decision {
    let is_overdue = memory.terminated_at.is_some_and(|at| now >= at + END_WITHIN);
    if is_overdue && memory.killed_at.is_none() {
        Decision::Do(Step::Kill)
    } else {
        Decision::Wait(LOOK_AGAIN)
    }
}

/// What is said of a unit whose file systemd may not be told to read.
fn unread_files(unit: &Unit, memory: &Memory) -> String {
    match &memory.forbidden {
        Some(rule) if unit.needs_reload => {
            format!(", and systemd has not read its unit's new file; {rule}")
        }
        Some(_) | None => String::new(),
    }
}

fn restart_is_due(memory: &Memory, now: Duration) -> bool {
    memory.forbidden.is_none() && memory.restarted_at.is_none_or(|last| now >= last + RESTART_EVERY)
}

fn give_up(observation: &Observation, memory: &Memory, limits: Limits) -> Decision {
    let why = match &observation.unit {
        UnitView::Unclear(why) => format!("systemctl does not answer ({why})"),
        UnitView::NotFound | UnitView::Known(_) => {
            let forbidden = memory.forbidden.as_deref();
            let last = forbidden.or(memory.last_answer.as_deref()).filter(|said| !said.is_empty());
            format!(
                "its unit does not come up (the last restart: {})",
                last.unwrap_or("no complaint")
            )
        }
    };
    Decision::end(
        AgentVerdict::NotBack,
        format!("after {} s of trying: {why}", limits.total.as_secs()),
    )
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use jiff::Timestamp;
    use nixfleet_protocol::{
        installed::Difference,
        journal::records::{FORMAT, RunningProgram},
        process::ProcessIdentity,
    };

    use super::*;

    fn agent(pid: u32, is_outdated: bool) -> ProgramView {
        let difference = is_outdated.then_some(Difference::Executable);
        let record = RunningProgram {
            format: FORMAT,
            process: ProcessIdentity { pid, start: "1".to_owned() },
            started_at: Timestamp::UNIX_EPOCH,
            version: "1".to_owned(),
            exe: PathBuf::from("/bin/agent"),
            invoked_as: None,
            config_path: None,
            config_digest: None,
            definition_path: None,
            definition_digest: None,
            last_heartbeat_at: None,
            dashboard: None,
        };
        ProgramView {
            record,
            difference,
            was_started_as_job: true,
            group: Some(pid),
            age: SETTLED_AFTER,
            is_new: false,
        }
    }

    fn unit(state: ActiveState, pid: Option<u32>) -> UnitView {
        UnitView::Known(Unit { is_masked: false, needs_reload: false, state, pid })
    }

    fn step(
        unit: UnitView,
        program: Option<ProgramView>,
        memory: &mut Memory,
        now: u64,
    ) -> Decision {
        let kind = JobKind::Agent;
        let manager = UnitManager::User;
        let observation = Observation { kind, manager, unit, program, trace: Trace::None };
        let now = Duration::from_secs(now);
        memory.saw(&observation, now);
        next(&observation, memory, Limits::default(), now)
    }

    /// The same of a unit of the whole system.
    fn system_step(
        unit: UnitView,
        program: Option<ProgramView>,
        memory: &mut Memory,
        now: u64,
    ) -> Decision {
        let (kind, manager) = (JobKind::Agent, UnitManager::System);
        let observation = Observation { kind, manager, unit, program, trace: Trace::None };
        let now = Duration::from_secs(now);
        memory.saw(&observation, now);
        next(&observation, memory, Limits::default(), now)
    }

    #[track_caller]
    fn assert_end(decision: &Decision, verdict: AgentVerdict) {
        let Decision::End(conclusion) = decision else { panic!("{decision:?}") };
        assert_eq!(conclusion.verdict, verdict);
    }

    #[test]
    fn show_is_read() {
        let text = "LoadState=loaded\nActiveState=active\nMainPID=42\nNeedDaemonReload=yes\n";
        let expected = Unit {
            is_masked: false,
            needs_reload: true,
            state: ActiveState::Active,
            pid: Some(42),
        };
        assert_eq!(read_show(text), UnitView::Known(expected));
        assert_eq!(
            read_show("LoadState=not-found\nActiveState=inactive\nMainPID=0\n"),
            UnitView::NotFound
        );
        assert!(matches!(read_show(""), UnitView::Unclear(_)));
        let masked = read_show("LoadState=masked\nActiveState=inactive\nMainPID=0\n");
        assert!(matches!(masked, UnitView::Known(Unit { is_masked: true, pid: None, .. })));
    }

    #[test]
    fn a_healthy_unit_is_left_alone_and_an_outdated_one_restarted_once() {
        let active = || unit(ActiveState::Active, Some(7));
        let mut memory = Memory::default();
        assert_end(&step(active(), Some(agent(7, false)), &mut memory, 0), AgentVerdict::Healthy);
        assert_eq!(
            step(active(), Some(agent(7, true)), &mut memory, 0),
            Decision::Do(Step::Restart)
        );
        memory.did(Step::Restart, Answer::Done, Duration::ZERO);
        let next = step(unit(ActiveState::Active, Some(8)), Some(agent(8, true)), &mut memory, 1);
        assert_end(&next, AgentVerdict::Back);
    }

    #[test]
    fn a_failed_unit_is_reset_and_restarted() {
        let failed = || unit(ActiveState::Failed, None);
        let mut memory = Memory::default();
        assert_eq!(step(failed(), None, &mut memory, 0), Decision::Do(Step::ResetFailed));
        memory.did(Step::ResetFailed, Answer::Done, Duration::ZERO);
        assert_eq!(step(failed(), None, &mut memory, 0), Decision::Do(Step::Restart));
        memory.did(Step::Restart, Answer::Failed("no".to_owned()), Duration::ZERO);
        assert_eq!(step(failed(), None, &mut memory, 1), Decision::Wait(LOOK_AGAIN));
        assert_eq!(step(failed(), None, &mut memory, 5), Decision::Do(Step::ResetFailed));
        let Decision::End(conclusion) = step(failed(), None, &mut memory, 57) else { panic!() };
        assert!(conclusion.explanation.contains("no"), "{}", conclusion.explanation);
    }

    #[test]
    fn a_unit_that_does_not_get_ready_is_restarted() {
        let active = || unit(ActiveState::Active, Some(7));
        let inactive = unit(ActiveState::Inactive, None);
        let mut memory = Memory::default();
        assert_eq!(step(inactive, None, &mut memory, 0), Decision::Do(Step::Restart));
        memory.did(Step::Restart, Answer::Done, Duration::ZERO);
        assert_eq!(step(active(), None, &mut memory, 0), Decision::Wait(LOOK_AGAIN));
        assert_eq!(
            step(active(), Some(agent(99, false)), &mut memory, 9),
            Decision::Wait(LOOK_AGAIN)
        );
        assert_eq!(step(active(), None, &mut memory, 10), Decision::Do(Step::Restart));
        // One that was there before anything was done may keep its records elsewhere.
        let mut memory = Memory::default();
        assert_eq!(step(active(), None, &mut memory, 0), Decision::Wait(LOOK_AGAIN));
        assert_end(&step(active(), None, &mut memory, 10), AgentVerdict::NotBack);
    }

    #[test]
    fn files_are_read_again_once_and_strange_units_are_said() {
        let changed = UnitView::Known(Unit {
            is_masked: false,
            needs_reload: true,
            state: ActiveState::Inactive,
            pid: None,
        });
        let mut memory = Memory::default();
        assert_eq!(step(changed.clone(), None, &mut memory, 0), Decision::Do(Step::DaemonReload));
        memory.did(Step::DaemonReload, Answer::Done, Duration::ZERO);
        assert_eq!(step(changed, None, &mut memory, 0), Decision::Do(Step::Restart));
        // One that runs has the old definition: reading the files again is not enough.
        let running = unit(ActiveState::Active, Some(7));
        let mut memory = Memory::default();
        memory.did(Step::DaemonReload, Answer::Done, Duration::ZERO);
        let next = step(running.clone(), Some(agent(7, false)), &mut memory, 0);
        assert_eq!(next, Decision::Do(Step::Restart));
        memory.did(Step::Restart, Answer::Done, Duration::ZERO);
        assert_end(&step(running, Some(agent(7, false)), &mut memory, 0), AgentVerdict::Back);
        assert_end(&step(UnitView::NotFound, None, &mut memory, 0), AgentVerdict::NotInstalled);
    }

    #[test]
    fn a_process_of_a_system_s_unit_is_ended_and_systemd_starts_the_next() {
        let active = |pid| unit(ActiveState::Active, Some(pid));
        let mut memory = Memory::default();
        assert_end(
            &system_step(active(7), Some(agent(7, false)), &mut memory, 0),
            AgentVerdict::Healthy,
        );
        let next = system_step(active(7), Some(agent(7, true)), &mut memory, 0);
        assert_eq!(next, Decision::Do(Step::Terminate));
        memory.did(Step::Terminate, Answer::Done, Duration::ZERO);
        // It takes its time, and may not take all of it.
        let next = system_step(active(7), Some(agent(7, true)), &mut memory, 1);
        assert_eq!(next, Decision::Wait(LOOK_AGAIN));
        let next = system_step(active(7), Some(agent(7, true)), &mut memory, 10);
        assert_eq!(next, Decision::Do(Step::Kill));
        memory.did(Step::Kill, Answer::Done, Duration::from_secs(10));
        let waiting = unit(ActiveState::Changing, None);
        assert_eq!(system_step(waiting, None, &mut memory, 11), Decision::Wait(LOOK_AGAIN));
        let next = system_step(active(8), Some(agent(8, false)), &mut memory, 12);
        assert_end(&next, AgentVerdict::Back);
    }

    #[test]
    fn a_system_s_unit_that_does_not_run_is_root_s_to_start() {
        let inactive = || unit(ActiveState::Inactive, None);
        let mut memory = Memory::default();
        let next = system_step(inactive(), None, &mut memory, 0);
        assert_eq!(next, Decision::Do(Step::Restart));
        // What sudo forbids once it forbids always: that is said at once.
        memory.did(Step::Restart, Answer::Forbidden("RULE".to_owned()), Duration::ZERO);
        let Decision::End(conclusion) = system_step(inactive(), None, &mut memory, 0) else {
            panic!()
        };
        assert_eq!(conclusion.verdict, AgentVerdict::NotBack);
        assert!(conclusion.explanation.contains("RULE"), "{}", conclusion.explanation);
        // systemd may have begun by itself.
        let changing = unit(ActiveState::Changing, None);
        let next = system_step(changing, None, &mut memory, 20);
        assert_eq!(next, Decision::Wait(LOOK_AGAIN));
    }

    #[test]
    fn a_new_unit_file_that_may_not_be_read_ends_no_agent() {
        let changed = UnitView::Known(Unit {
            is_masked: false,
            needs_reload: true,
            state: ActiveState::Active,
            pid: Some(7),
        });
        let mut memory = Memory::default();
        let next = system_step(changed.clone(), Some(agent(7, false)), &mut memory, 0);
        assert_eq!(next, Decision::Do(Step::DaemonReload));
        let mut allowed = memory.clone();
        memory.did(Step::DaemonReload, Answer::Forbidden("RULE".to_owned()), Duration::ZERO);
        let next = system_step(changed.clone(), Some(agent(7, false)), &mut memory, 0);
        let Decision::End(conclusion) = next else { panic!("{next:?}") };
        assert_eq!(conclusion.verdict, AgentVerdict::Healthy);
        assert!(conclusion.explanation.contains("RULE"), "{}", conclusion.explanation);
        allowed.did(Step::DaemonReload, Answer::Done, Duration::ZERO);
        let next = system_step(changed, Some(agent(7, false)), &mut allowed, 0);
        assert_eq!(next, Decision::Do(Step::Terminate));
    }
}
