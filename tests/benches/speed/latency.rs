//! From an operator's word to home-manager's first line: through the dashboard, the agent, the journal and the wrapper.

use std::{
    fs,
    process::Stdio,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use nixfleet_tests::stage::{
    Trouble,
    dashboard::Dashboard,
    folder::{Config, Folder, HOST},
    processes, wait,
};
use rustix::process::Signal;

use super::{median, say};

/// Commands at each interval.
const ROUNDS: u32 = 30;

/// The wrapper has looked after the agent by then, and everything is idle again.
const PAUSE: Duration = Duration::from_millis(700);

pub(super) fn command_latency() -> Result<(), Trouble> {
    say("command-latency: from queueing to home-manager's first line, median of 30 (worst)");
    for interval in [1, 30] {
        let mut waits = at_interval(interval)?;
        let worst = waits.iter().copied().fold(0.0, f64::max);
        say(&format!(
            "  {interval:>2} s between heartbeats   {:5.1} ms ({worst:.1} ms)",
            median(std::mem::take(&mut waits))
        ));
    }
    Ok(())
}

/// The time that each command took, in milliseconds.
fn at_interval(interval: u32) -> Result<Vec<f64>, Trouble> {
    let folder = Folder::new()?;
    let place = tempfile::tempdir().map_err(Trouble::run("a temporary folder"))?;
    let dashboard = Dashboard::start(place.path())?;
    folder.scenario("PLATFORM=linux\n")?;
    folder.write_config(&Config {
        url: dashboard.url().to_owned(),
        service_manager: "none",
        label: "com.example.none".to_owned(),
        interval,
    })?;
    let mut child = folder
        .user_command("nixfleet-agent")
        .arg("run")
        .stderr(Stdio::null())
        .spawn()
        .map_err(Trouble::run("nixfleet-agent"))?;
    wait::until_true("the dashboard has seen the agent", wait::PATIENCE, || {
        Ok(dashboard.host(HOST)?.is_some())
    })?;
    let mut waits = Vec::new();
    for _ in 0..ROUNDS {
        thread::sleep(PAUSE);
        let queued = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let command = dashboard.command(HOST, "switch")?;
        dashboard.wait_for_result(HOST, &command)?;
        waits.push((last_start(&folder)? - queued.as_secs_f64()) * 1000.0);
    }
    processes::signal(child.id(), Signal::TERM);
    child.wait().map_err(Trouble::run("nixfleet-agent"))?;
    Ok(waits)
}

/// When home-manager was started for the last time, in seconds since 1970.
fn last_start(folder: &Folder) -> Result<f64, Trouble> {
    let trace = folder.path("home-manager/trace.log");
    let text = fs::read_to_string(&trace).map_err(Trouble::file("read", &trace))?;
    let starts = text.lines().rev().find(|line| line.contains(" start"));
    let time = starts.and_then(|line| line.split(' ').next()?.parse().ok());
    time.ok_or_else(|| Trouble::Said(format!("{} says no start: {text:?}", trace.display())))
}
