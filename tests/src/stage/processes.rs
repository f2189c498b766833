//! What runs because of a folder: every process of a scene has a home or an argument in it.
//!
//! Read from `/proc` on Linux; elsewhere from `ps`, which shows arguments only.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use super::{Trouble, wait};

/// A process that belongs to a scene.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its pid.
    pub pid: u32,
    /// Its command line.
    pub command: String,
}

/// All processes that have to do with this folder.
pub fn of(folder: &Path) -> Vec<Found> {
    let needle = folder.to_string_lossy().into_owned();
    if Path::new("/proc/self/environ").exists() { from_proc(&needle) } else { from_ps(&needle) }
}

fn from_proc(needle: &str) -> Vec<Found> {
    let me = std::process::id();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| *pid != me && !is_zombie(*pid))
        .filter_map(|pid| {
            let read = |name: &str| {
                let bytes = fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
                String::from_utf8_lossy(&bytes).replace('\0', " ")
            };
            let command = read("cmdline");
            (command.contains(needle) || read("environ").contains(needle))
                .then_some(Found { pid, command })
        })
        .collect()
}

fn is_zombie(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('Z'))
}

fn from_ps(needle: &str) -> Vec<Found> {
    let output = Command::new("ps").args(["-A", "-ww", "-o", "pid=,command="]).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let me = std::process::id();
    text.unwrap_or_default()
        .lines()
        .filter_map(|line| {
            let (pid, command) = line.trim_start().split_once(' ')?;
            Some(Found { pid: pid.parse().ok()?, command: command.to_owned() })
        })
        .filter(|found| found.pid != me && found.command.contains(needle))
        .collect()
}

/// The file that a process runs.
pub fn executable(pid: u32) -> Result<PathBuf, Trouble> {
    if Path::new("/proc/self/exe").exists() {
        let link = PathBuf::from(format!("/proc/{pid}/exe"));
        return fs::read_link(&link).map_err(Trouble::file("read", &link));
    }
    let mut ps = Command::new("ps");
    let output = ps.args(["-o", "comm=", "-p", &pid.to_string()]).output();
    let output = output.map_err(Trouble::run("ps"))?;
    Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
}

/// Waits until nothing of the folder runs any more.
pub fn none_left(folder: &Path, limit: Duration) -> Result<(), Trouble> {
    let mut left = Vec::new();
    wait::until_true("all processes have ended", limit, || {
        left = of(folder);
        Ok(left.is_empty())
    })
    .map_err(|error| Trouble::Said(format!("{error}; left: {left:?}")))
}

/// Kills what is left of a scene. Only processes that carry its folder's unique name.
pub fn kill_all(folder: &Path) {
    for found in of(folder) {
        signal(found.pid, Signal::KILL);
    }
}

/// Sends a signal to a process of the scene; one that is gone needs none.
pub fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}
