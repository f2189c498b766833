//! Does to systemd's user manager what the plan says, and looks again.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
    thread,
};

use nixfleet_protocol::{
    crash_point::{self, CrashPoint},
    state_dir::StateDir,
};

use super::{
    Conclusion, Task, program,
    steps::{Steps, shortened},
    systemd_plan::{self, Decision, Memory, Observation, Step, UnitView},
};
use crate::{messages::with_causes, settings::Settings};

/// What is asked about the unit.
const PROPERTIES: &str = "--property=LoadState,ActiveState,MainPID,NeedDaemonReload";

/// Looks and acts until the plan ends.
pub(super) fn drive(
    settings: &Settings,
    _directory: &StateDir,
    task: &Task,
    steps: &mut Steps,
) -> Conclusion {
    let unit_name = task.kind.label(settings);
    let mut memory = Memory::of_stuck(task.stuck);
    loop {
        let unit = look_at_unit(settings, unit_name, steps);
        // Last: a program that was seen after its unit cannot be one from before.
        let program = program::look(settings, task.kind, task.since)
            .map(|program| program.kept_if(task.keeps_what_runs));
        let observation =
            Observation { kind: task.kind, unit, program, trace: task.kind.trace(settings) };
        let now = steps.elapsed();
        memory.saw(&observation, now);
        match systemd_plan::next(&observation, &memory, task.limits, now) {
            Decision::End(conclusion) => return conclusion,
            Decision::Wait(time) => thread::sleep(time),
            Decision::Do(step) => {
                let said = perform(settings, unit_name, step, steps);
                memory.did(step, &said, now);
                crash_point::reached(CrashPoint::EnsureTerminated);
            }
        }
    }
}

fn look_at_unit(settings: &Settings, unit: &str, steps: &Steps) -> UnitView {
    match steps.look(&mut systemctl(settings, &["show", PROPERTIES, "--", unit])) {
        Ok(ended) if ended.exit_code == Some(0) => systemd_plan::read_show(&ended.stdout),
        Ok(ended) => UnitView::Unclear(shortened(&ended.stderr)),
        Err(error) => UnitView::Unclear(with_causes(&error)),
    }
}

fn perform(settings: &Settings, unit: &str, step: Step, steps: &mut Steps) -> String {
    let (name, words): (&str, &[&str]) = match step {
        Step::DaemonReload => ("daemon-reload", &["daemon-reload"]),
        Step::ResetFailed => ("reset-failed", &["reset-failed", "--", unit]),
        Step::Restart => ("restart", &["restart", "--no-block", "--", unit]),
    };
    match steps.call(name, &mut systemctl(settings, words)) {
        Ok(ended) => shortened(&ended.stderr),
        Err(error) => with_causes(&error),
    }
}

pub(crate) fn systemctl(settings: &Settings, words: &[&str]) -> Command {
    let mut command = Command::new(&settings.programs.systemctl);
    command.arg("--user").args(words).stdin(Stdio::null()).env("LC_ALL", "C");
    if let Some(folder) = runtime_folder() {
        command.env("XDG_RUNTIME_DIR", folder);
    }
    command
}

/// Where the user manager listens, when the environment does not say: a bare one still finds it.
fn runtime_folder() -> Option<PathBuf> {
    if std::env::var_os("XDG_RUNTIME_DIR").is_some() {
        return None;
    }
    let folder = PathBuf::from(format!("/run/user/{}", rustix::process::geteuid().as_raw()));
    folder.is_dir().then_some(folder)
}
