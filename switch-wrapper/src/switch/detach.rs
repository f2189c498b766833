//! Getting away from the agent that started us: it is about to be ended, by us or by home-manager.
//!
//! launchd ends a job's process group, systemd its control group. A session of one's own is outside the first, a
//! scope of one's own outside the second. A user's switch stays where it is: it has the user's terminal.

use std::{
    env, fs, io,
    os::unix::process::CommandExt as _,
    process::Command,
    sync::{Arc, atomic::AtomicBool},
};

use rustix::process::setsid;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGTTIN, SIGTTOU};

use crate::settings::{ServiceManager, Settings};

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
    settings.service_manager == ServiceManager::Systemd && is_in_unit(&settings.agent_label)
}

fn is_in_unit(unit: &str) -> bool {
    // cgroups(7): lines of `hierarchy:controllers:path`.
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
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
