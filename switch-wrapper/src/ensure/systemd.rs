//! Does to systemd what the plan says, and looks again. To the system's own manager only root may do anything: there sudo does
//! it.

use std::{
    ffi::OsString,
    path::PathBuf,
    process::{Command, Stdio},
    thread,
};

use nixfleet_protocol::{
    crash_point::{self, CrashPoint},
    state_dir::StateDir,
};
use rustix::process::Signal;

use super::{
    Conclusion, Task,
    program::{self, ProgramView},
    steps::{Steps, shortened},
    systemd_plan::{self, Answer, Decision, Memory, Observation, Step, UnitView},
};
use crate::{
    messages::with_causes,
    settings::{Settings, UnitManager},
    sudo,
    switch::environment::{self, Wanted},
};

/// What is asked about the unit.
const PROPERTIES: &str = "--property=LoadState,ActiveState,MainPID,NeedDaemonReload";

/// Looks after a unit of the user's own manager.
pub(super) fn drive_user_unit(
    settings: &Settings,
    _directory: &StateDir,
    task: &Task,
    steps: &mut Steps,
) -> Conclusion {
    drive(settings, UnitManager::User, task, steps)
}

/// Looks after a unit of the whole system.
pub(super) fn drive_system_unit(
    settings: &Settings,
    _directory: &StateDir,
    task: &Task,
    steps: &mut Steps,
) -> Conclusion {
    drive(settings, UnitManager::System, task, steps)
}

/// Looks and acts until the plan ends.
fn drive(settings: &Settings, manager: UnitManager, task: &Task, steps: &mut Steps) -> Conclusion {
    let unit_name = task.kind.label(settings);
    let mut memory = Memory::of_stuck(task.stuck);
    loop {
        let unit = look_at_unit(settings, manager, unit_name, steps);
        // Last: a program that was seen after its unit cannot be one from before.
        let program = program::look(settings, task.kind, task.since)
            .map(|program| program.kept_if(task.keeps_what_runs));
        let trace = task.kind.trace(settings);
        let observation = Observation { kind: task.kind, manager, unit, program, trace };
        let now = steps.elapsed();
        memory.saw(&observation, now);
        match systemd_plan::next(&observation, &memory, task.limits, now) {
            Decision::End(conclusion) => return conclusion,
            Decision::Wait(time) => thread::sleep(time),
            Decision::Do(step) => {
                let answer = match step {
                    Step::Terminate => {
                        signal(observation.program, "terminate", Signal::TERM, steps)
                    }
                    Step::Kill => signal(observation.program, "kill", Signal::KILL, steps),
                    Step::DaemonReload => call(settings, manager, unit_name, &DAEMON_RELOAD, steps),
                    Step::ResetFailed => {
                        call(settings, manager, unit_name, &reset_failed(unit_name), steps)
                    }
                    Step::Restart => call(settings, manager, unit_name, &restart(unit_name), steps),
                };
                memory.did(step, answer, now);
                crash_point::reached(CrashPoint::EnsureTerminated);
            }
        }
    }
}

fn look_at_unit(settings: &Settings, manager: UnitManager, unit: &str, steps: &Steps) -> UnitView {
    match steps.look(&mut looking(settings, manager, &["show", PROPERTIES, "--", unit])) {
        Ok(ended) if ended.exit_code == Some(0) => systemd_plan::read_show(&ended.stdout),
        Ok(ended) => UnitView::Unclear(shortened(&ended.stderr)),
        Err(error) => UnitView::Unclear(with_causes(&error)),
    }
}

/// Ends the program: it is ours, so that needs no rights, and systemd starts it again.
fn signal(program: Option<ProgramView>, step: &str, signal: Signal, steps: &mut Steps) -> Answer {
    let Some(program) = program else { return Answer::Done };
    let pid = program.pid();
    let (said, answer) = match program.record.process.signal(signal) {
        Ok(true) => (format!("pid {pid}"), Answer::Done),
        Ok(false) => (format!("pid {pid} was gone already"), Answer::Done),
        Err(error) => (with_causes(&error), Answer::Failed(with_causes(&error))),
    };
    steps.note(step, said);
    answer
}

const DAEMON_RELOAD: [&str; 1] = ["daemon-reload"];

fn reset_failed(unit: &str) -> Vec<&str> {
    vec!["reset-failed", "--", unit]
}

fn restart(unit: &str) -> Vec<&str> {
    vec!["restart", "--no-block", "--", unit]
}

/// A call of systemctl; its first word is the step's name.
fn call(
    settings: &Settings,
    manager: UnitManager,
    unit: &str,
    words: &[&str],
    steps: &mut Steps,
) -> Answer {
    let name = words.first().copied().unwrap_or_default();
    match steps.call(name, &mut acting(settings, manager, words)) {
        Ok(ended) if ended.exit_code == Some(0) => Answer::Done,
        Ok(ended) => match missing_rule(settings, manager, unit, words) {
            Some(rule) => Answer::Forbidden(rule),
            None => Answer::Failed(shortened(&ended.stderr)),
        },
        Err(error) => Answer::Failed(with_causes(&error)),
    }
}

/// A call that only looks: everybody may.
pub(crate) fn looking(settings: &Settings, manager: UnitManager, words: &[&str]) -> Command {
    let mut command = Command::new(&settings.programs.systemctl);
    for_manager(&mut command, manager);
    command.args(words).stdin(Stdio::null()).env("LC_ALL", "C");
    command
}

/// A call that changes something.
pub(super) fn acting(settings: &Settings, manager: UnitManager, words: &[&str]) -> Command {
    let Some(sudo) = sudo_for(settings, manager) else {
        return looking(settings, manager, words);
    };
    let mut command = Command::new(sudo);
    command.args(["-n", "--"]).arg(systemctl(settings)).args(words);
    command.stdin(Stdio::null()).env("LC_ALL", "C");
    command
}

/// The sudo that is needed, where one is. One that cannot be found is called by its name, so that it is named as missing.
fn sudo_for(settings: &Settings, manager: UnitManager) -> Option<PathBuf> {
    let is_needed = manager == UnitManager::System && !rustix::process::geteuid().is_root();
    let find = || sudo::find(settings, &environment::build(settings));
    is_needed.then(|| find().unwrap_or_else(|_nowhere| PathBuf::from("sudo")))
}

/// `systemctl` as sudo's rules name it: by its whole path.
fn systemctl(settings: &Settings) -> PathBuf {
    let set = &settings.programs.systemctl;
    let wanted = Wanted { name: "systemctl", variable: "NIXFLEET_SYSTEMCTL", set: Some(set) };
    environment::find(&wanted, &environment::build(settings)).unwrap_or_else(|_nowhere| set.clone())
}

/// The sudo rule without which this call was refused.
fn missing_rule(
    settings: &Settings,
    manager: UnitManager,
    unit: &str,
    words: &[&str],
) -> Option<String> {
    let sudo = sudo_for(settings, manager)?;
    let systemctl = systemctl(settings);
    let line = |words: &[&str]| -> Vec<OsString> {
        let words = words.iter().map(OsString::from);
        [systemctl.clone().into_os_string()].into_iter().chain(words).collect()
    };
    let variables = environment::build(settings);
    if sudo::allows(&sudo, &line(words), &variables) {
        return None;
    }
    let commands = [restart(unit), reset_failed(unit), DAEMON_RELOAD.to_vec()];
    Some(sudo::missing_rule(&variables, &commands.map(|words| line(&words))))
}

fn for_manager(command: &mut Command, manager: UnitManager) {
    match manager {
        UnitManager::User => {
            command.arg("--user");
            if let Some(folder) = runtime_folder() {
                command.env("XDG_RUNTIME_DIR", folder);
            }
        }
        UnitManager::System => {}
    }
}

/// Where the user manager listens, when the environment does not say: a bare one still finds it.
fn runtime_folder() -> Option<PathBuf> {
    if std::env::var_os("XDG_RUNTIME_DIR").is_some() {
        return None;
    }
    let folder = PathBuf::from(format!("/run/user/{}", rustix::process::geteuid().as_raw()));
    folder.is_dir().then_some(folder)
}
