//! Getting away from the agent that started us: it is about to be ended, by us or by home-manager.
//!
//! launchd ends a job's process group, systemd its control group. A session of one's own is outside the first, a
//! scope of one's own outside the second. A user's switch stays where it is: it has the user's terminal.

use std::{
    env, fs, io,
    os::unix::process::CommandExt as _,
    process::Command,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use nixfleet_protocol::external;
use rustix::process::setsid;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGTTIN, SIGTTOU};

use crate::{
    ensure::systemd,
    messages::with_causes,
    settings::{ServiceManager, Settings, UnitManager},
};

/// How long systemctl may take to tell about the unit.
const SHOW_LIMIT: Duration = Duration::from_secs(8);

/// The flag that says that the scope is there already.
pub(crate) const IN_OWN_SCOPE: &str = "--in-own-scope";

/// Becomes a session leader. First thing of a switch that the agent started: until then the agent's end is ours.
pub(crate) fn become_session_leader() {
    // The leader of a process group cannot; whoever made us one has taken us out of the agent's group already.
    let _ = setsid();
}

/// Lets the signals of a terminal, and SIGTERM, pass from now on. For work that takes less than a minute and must not be cut:
/// who is stopped in the middle of it holds up everybody else.
pub(crate) fn outlast_signals() -> io::Result<()> {
    for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGTTIN, SIGTTOU] {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
    }
    Ok(())
}

/// Whether we are still among the agent's processes in systemd's eyes.
pub(crate) fn must_leave_unit(settings: &Settings) -> bool {
    let is_user_s = settings.service_manager == ServiceManager::Systemd(UnitManager::User);
    is_user_s && names_unit(&own_control_groups(), &settings.agent_label)
}

/// Why we would end with the agent: as a part of a unit of the whole system that systemd ends as a whole. Leaving it would
/// take root; the unit is to say that only the agent itself is ended. `mixed` will not do: after the agent's end it kills the
/// rest (systemd.kill(5)).
pub(crate) fn why_bound_to_agent(settings: &Settings) -> Option<String> {
    let unit = &settings.agent_label;
    let is_system_s = settings.service_manager == ServiceManager::Systemd(UnitManager::System);
    if !is_system_s || !names_unit(&own_control_groups(), unit) {
        return None;
    }
    let words = ["show", "--property=KillMode", "--value", "--", unit];
    let mut show = systemd::looking(settings, UnitManager::System, &words);
    let told = match external::run(&mut show, SHOW_LIMIT) {
        Ok(ended) if ended.exit_code == Some(0) => Ok(ended.stdout.trim().to_owned()),
        Ok(ended) => Err(ended.stderr.trim().to_owned()),
        Err(error) => Err(with_causes(&error)),
    };
    why_bound(unit, told)
}

/// What follows from the unit's `KillMode`, or from systemctl's not telling it.
fn why_bound(unit: &str, told: Result<String, String>) -> Option<String> {
    match told {
        Ok(mode) if mode == "process" || mode == "none" => None,
        Ok(mode) => Some(format!(
            "{unit} has KillMode={mode}, so systemd would end this switch together with the agent; set KillMode=process in the unit"
        )),
        Err(why) => Some(format!(
            "systemctl does not tell whether systemd would end this switch together with {unit} ({why}); look at `systemctl show --property=KillMode {unit}`"
        )),
    }
}

fn own_control_groups() -> String {
    fs::read_to_string("/proc/self/cgroup").unwrap_or_default()
}

/// cgroups(7): lines of `hierarchy:controllers:path`.
fn names_unit(groups: &str, unit: &str) -> bool {
    groups
        .lines()
        .filter_map(|line| line.splitn(3, ':').nth(2))
        .any(|path| path.split('/').any(|name| name == unit))
}

/// Becomes this program again with the same arguments, in a scope of its own called `name`. Returns only if that fails.
pub(crate) fn move_to_own_scope(settings: &Settings, name: &str, arguments: &[&str]) -> io::Error {
    let program = match env::current_exe() {
        Ok(program) => program,
        Err(error) => return error,
    };
    Command::new(&settings.programs.systemd_run)
        .args(["--user", "--scope", "--quiet", "--collect"])
        .arg(format!("--unit={name}"))
        .arg("--")
        .arg(program)
        .args(arguments)
        .arg(IN_OWN_SCOPE)
        .exec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_control_group_names_its_unit() {
        let unit = "nixfleet-agent.service";
        for (groups, expected) in [
            ("0::/system.slice/nixfleet-agent.service\n", true),
            ("1:name=systemd:/system.slice/nixfleet-agent.service/sub\n0::/\n", true),
            ("0::/system.slice/other-nixfleet-agent.service\n", false),
            ("0::/user.slice/user-1000.slice/session-1.scope\n", false),
            ("", false),
        ] {
            assert_eq!(names_unit(groups, unit), expected, "{groups:?}");
        }
    }

    #[test]
    fn only_a_unit_that_ends_the_agent_alone_lets_a_switch_live() {
        for (mode, is_bound) in [
            ("process", false),
            ("none", false),
            ("mixed", true),
            ("control-group", true),
            ("", true),
        ] {
            let why = why_bound("a.service", Ok(mode.to_owned()));
            assert_eq!(why.is_some(), is_bound, "{mode}");
            assert!(why.is_none_or(|why| why.contains("KillMode=process")));
        }
        assert!(why_bound("a.service", Err("no bus".to_owned())).unwrap().contains("no bus"));
    }
}
