//! Does to systemd's user manager what the plan says, and looks again.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
    thread,
};

use jiff::Timestamp;
use nixfleet_protocol::state_dir::StateDir;

use super::{
    Conclusion, agent,
    steps::{Steps, shortened},
    systemd_plan::{self, Decision, Memory, Observation, Step, UnitView},
};
use crate::{messages::with_causes, settings::Settings};

/// What is asked about the unit.
const PROPERTIES: &str = "--property=LoadState,ActiveState,MainPID,NeedDaemonReload";

/// Looks and acts until the plan ends. `since`: an agent that came up later was brought back.
pub(super) fn drive(
    settings: &Settings,
    _directory: &StateDir,
    since: Timestamp,
    steps: &mut Steps,
) -> Conclusion {
    let mut memory = Memory::default();
    loop {
        let unit = look_at_unit(settings, steps);
        // Last: an agent that was seen after its unit cannot be one from before.
        let observation = Observation { unit, agent: agent::look(settings, since) };
        let now = steps.elapsed();
        memory.saw(&observation, now);
        match systemd_plan::next(&observation, &memory, now) {
            Decision::End(conclusion) => return conclusion,
            Decision::Wait(time) => thread::sleep(time),
            Decision::Do(step) => {
                let said = perform(settings, step, steps);
                memory.did(step, &said, now);
            }
        }
    }
}

fn look_at_unit(settings: &Settings, steps: &Steps) -> UnitView {
    match steps.look(&mut systemctl(settings, &["show", PROPERTIES, "--", &settings.agent_label])) {
        Ok(ended) if ended.exit_code == Some(0) => systemd_plan::read_show(&ended.stdout),
        Ok(ended) => UnitView::Unclear(shortened(&ended.stderr)),
        Err(error) => UnitView::Unclear(with_causes(&error)),
    }
}

fn perform(settings: &Settings, step: Step, steps: &mut Steps) -> String {
    let unit = settings.agent_label.as_str();
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

fn systemctl(settings: &Settings, words: &[&str]) -> Command {
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
