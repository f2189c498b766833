//! Places at which a program can be made to die as by `kill -9`, for tests of what is left behind.
//!
//! A point is armed by a file of its name in the folder that `NIXFLEET_CRASH_POINTS` names. The process that passes the
//! point and manages to remove the file ends itself with SIGKILL: of several processes one dies, and the next one
//! that comes by lives. Programs built for release have no such places.

use std::{env, fs, path::PathBuf, sync::OnceLock};

use rustix::process::{Signal, getpid, kill_process};

/// The variable that names the folder.
pub const FOLDER_VARIABLE: &str = "NIXFLEET_CRASH_POINTS";

macro_rules! crash_points {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// A place to die at.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum CrashPoint {
            $($(#[$doc])* $variant,)*
        }

        impl CrashPoint {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Its name, which is also the name of the file that arms it.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

crash_points! {
    /// The wrapper has become a session leader and read its settings.
    WrapperUp = "wrapper-up",
    /// The wrapper holds the switch lock.
    WrapperLocked = "wrapper-locked",
    /// The wrapper has written a user's request.
    WrapperRequested = "wrapper-requested",
    /// The child waits at the gate and is not written down.
    WrapperChildSpawned = "wrapper-child-spawned",
    /// The child is written down and waits at the gate.
    WrapperStarted = "wrapper-started",
    /// home-manager's own definition of the agent is back on disk, and the child waits at the gate.
    WrapperOriginalBack = "wrapper-original-back",
    /// home-manager runs.
    WrapperGateOpened = "wrapper-gate-opened",
    /// home-manager has ended and nothing is written down.
    WrapperChildEnded = "wrapper-child-ended",
    /// The result is on disk.
    WrapperResultWritten = "wrapper-result-written",
    /// The agent was looked after and that is not written down.
    WrapperEnsured = "wrapper-ensured",
    /// The reload is on disk and the lock is still held.
    WrapperReloadWritten = "wrapper-reload-written",
    /// Whoever looks after a job holds the lock for it.
    EnsureLocked = "ensure-locked",
    /// An override was lifted.
    EnsureEnabled = "ensure-enabled",
    /// A job was told to go.
    EnsureBootedOut = "ensure-booted-out",
    /// A job was loaded.
    EnsureBootstrapped = "ensure-bootstrapped",
    /// A job was started on demand.
    EnsureKickstarted = "ensure-kickstarted",
    /// A job's process was told to end, or a unit was restarted.
    EnsureTerminated = "ensure-terminated",
    /// The last definition that worked was put back.
    EnsureRestored = "ensure-restored",
    /// What worked is on disk again after a switch, and that is not written down.
    EnsureOriginalGone = "ensure-original-gone",
    /// The watchdog has seen the agent missing for the first time.
    WatchdogFirstLook = "watchdog-first-look",
    /// The watchdog is about to have the agent looked after.
    WatchdogActing = "watchdog-acting",
    /// The watchdog has had the agent looked after.
    WatchdogActed = "watchdog-acted",
    /// The agent has its lock and no record.
    AgentLocked = "agent-locked",
    /// The agent has said that it is up.
    AgentUp = "agent-up",
    /// A command has come and is not on disk.
    AgentCommandCame = "agent-command-came",
    /// A command is on disk and not acknowledged.
    AgentCommandTaken = "agent-command-taken",
    /// A command is acknowledged.
    AgentAcknowledged = "agent-acknowledged",
    /// A wrapper was started.
    AgentWrapperStarted = "agent-wrapper-started",
    /// A report was taken by the dashboard and that is not written down.
    AgentReported = "agent-reported",
    /// The dashboard's last word is on disk.
    AgentReportMarked = "agent-report-marked",
}

/// Dies here if this point is armed.
pub fn reached(point: CrashPoint) {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    if !cfg!(debug_assertions) {
        return;
    }
    let folder = FOLDER.get_or_init(|| env::var_os(FOLDER_VARIABLE).map(PathBuf::from));
    let Some(folder) = folder else { return };
    if fs::remove_file(folder.join(point.as_str())).is_ok() {
        // The signal cannot be refused; the call does not return.
        let _ = kill_process(getpid(), Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_different_and_fit_a_file() {
        let mut names: Vec<&str> = CrashPoint::ALL.iter().map(|point| point.as_str()).collect();
        assert!(names.iter().all(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '-')));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), CrashPoint::ALL.len());
    }
}
