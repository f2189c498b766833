//! Keeping a Mac awake while a switch runs: `caffeinate -i -w PID` holds off idle sleep until that process ends.
//!
//! It prevents idle sleep only; a closed lid or an empty battery still sleeps. It ends by itself with the wrapper,
//! however the wrapper ends.

use std::process::{Command, Stdio};

use crate::settings::{ServiceManager, Settings};

/// Holds off idle sleep for as long as this process runs, where there is a `caffeinate`.
pub(super) fn while_this_process_runs(settings: &Settings) {
    let caffeinate = &settings.programs.caffeinate;
    if settings.service_manager != ServiceManager::Launchd || !caffeinate.exists() {
        return;
    }
    // A Mac that falls asleep goes on after it wakes: not being able to hold it off is no reason not to switch.
    let _ = Command::new(caffeinate)
        .args(["-i", "-w", &std::process::id().to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
}
