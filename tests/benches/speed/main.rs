//! `cargo bench`: what the programs cost, side by side with what they replace, in one run.
//!
//! Absolute times belong to the machine of the moment; the ratios carry over. Medians of several rounds, taken in
//! turns. `cargo bench -- NAME` runs only what has NAME in its name.

mod idle;
mod latency;

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use nixfleet_protocol::journal::lock::Lock;
use nixfleet_tests::stage::{
    Trouble,
    dashboard::Dashboard,
    folder::{Config, Folder, HOST},
    mac::{Mac, MacOptions},
    processes, wait,
};
use rustix::process::Signal;

/// Clock ticks in a second, as `/proc` counts processor time on every Linux.
const TICKS: f64 = 100.0;

type Bench = fn() -> Result<(), Trouble>;

fn main() -> ExitCode {
    let wanted = std::env::args().skip(1).find(|word| !word.starts_with("--"));
    let benches: [(&str, Bench); 6] = [
        ("wrapper-cost", wrapper_cost),
        ("output", output),
        ("offline", offline),
        ("agent-idle", idle::agent_idle),
        ("watchdog-idle", watchdog_idle),
        ("command-latency", latency::command_latency),
    ];
    if !Path::new("/proc/self/stat").exists() {
        say(
            "NOT RUN: processor time and memory are read from /proc, which this system does not have",
        );
        return ExitCode::SUCCESS;
    }
    for (name, bench) in benches {
        if wanted.as_ref().is_some_and(|wanted| !name.contains(wanted.as_str())) {
            continue;
        }
        if let Err(error) = bench() {
            say(&format!("{name}: {error}"));
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn say(text: &str) {
    // Whoever closed the stream does not want to read it.
    let _ = writeln!(io::stdout(), "{text}");
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A machine without agent and service manager, whose home-manager is this shell script.
fn machine(home_manager: &str) -> Result<Folder, Trouble> {
    let folder = Folder::new()?;
    let path = folder.write("bin/home-manager", &format!("#!/bin/sh\n{home_manager}\n"))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
        .map_err(Trouble::file("open", &path))?;
    folder.write_config(&Config {
        url: "http://127.0.0.1:9".to_owned(),
        service_manager: "none",
        label: "com.example.none".to_owned(),
        interval: 30,
    })?;
    Ok(folder)
}

/// Processor time of all children that have ended, in seconds.
fn children_time() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let fields: Vec<f64> =
        after_name.split_whitespace().map(|field| field.parse().unwrap_or(0.0)).collect();
    // proc_pid_stat(5): cutime and cstime are fields 16 and 17; the state, field 3, is the first here.
    (fields.get(13).unwrap_or(&0.0) + fields.get(14).unwrap_or(&0.0)) / TICKS
}

/// What a wrapper adds to a home-manager that does nothing.
fn wrapper_cost() -> Result<(), Trouble> {
    const ROUNDS: u32 = 7;
    const RUNS: u32 = 40;
    let folder = machine("exit 0")?;
    let run = |name: &str| {
        let mut command = folder.user_command(name);
        let command = command.arg("switch").stdout(Stdio::null()).stderr(Stdio::null());
        command.status().map_err(Trouble::run(name))
    };
    let mut cpu = [Vec::new(), Vec::new()];
    let mut elapsed = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (index, name) in ["home-manager", "nixfleet-switch"].into_iter().enumerate() {
            let (time, began) = (children_time(), Instant::now());
            for _ in 0..RUNS {
                run(name)?;
            }
            cpu[index].push((children_time() - time) * 1000.0 / f64::from(RUNS));
            elapsed[index].push(began.elapsed().as_secs_f64() * 1000.0 / f64::from(RUNS));
        }
    }
    let [bare_cpu, wrapped_cpu] = cpu.map(median);
    let [bare, wrapped] = elapsed.map(median);
    say("wrapper-cost: a home-manager that does nothing, median of 7 rounds of 40 runs");
    say(&format!("  bare      {bare_cpu:6.2} ms CPU  {bare:6.2} ms elapsed"));
    say(&format!("  wrapped   {wrapped_cpu:6.2} ms CPU  {wrapped:6.2} ms elapsed"));
    say(&format!(
        "  added     {:6.2} ms CPU  {:6.2} ms elapsed",
        wrapped_cpu - bare_cpu,
        wrapped - bare
    ));
    Ok(())
}

/// One GiB of output, against `cat` into a file.
fn output() -> Result<(), Trouble> {
    const ROUNDS: usize = 5;
    let folder = machine("head -c 1073741824 /dev/zero")?;
    let mut times = [Vec::new(), Vec::new()];
    let mut peak = 0;
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let target = folder.path("cat-output");
        let script = format!("head -c 1073741824 /dev/zero | cat > {}", target.display());
        let status = Command::new("/bin/sh").args(["-c", &script]).status();
        status.map_err(Trouble::run("sh"))?;
        times[0].push(began.elapsed().as_secs_f64());
        fs::remove_file(&target).map_err(Trouble::file("remove", &target))?;

        let began = Instant::now();
        let mut child = folder
            .user_command("nixfleet-switch")
            .stdout(Stdio::null())
            .spawn()
            .map_err(Trouble::run("nixfleet-switch"))?;
        while child.try_wait().map_err(Trouble::run("nixfleet-switch"))?.is_none() {
            peak = peak.max(status_kib(child.id(), "VmHWM:").unwrap_or(0));
            thread::sleep(Duration::from_millis(5));
        }
        times[1].push(began.elapsed().as_secs_f64());
        let switches = folder.state_dir().join("switches");
        fs::remove_dir_all(&switches).map_err(Trouble::file("remove", &switches))?;
    }
    let [cat, wrapped] = times.map(median);
    say("output: 1 GiB, median of 5, in turns");
    say(&format!("  cat > file        {cat:5.2} s"));
    say(&format!(
        "  nixfleet-switch   {wrapped:5.2} s, {:.2} of the speed, {:.1} MiB at most",
        cat / wrapped,
        mib(peak)
    ));
    Ok(())
}

fn mib(kib: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a size in KiB is far below 2^52")]
    let kib = kib as f64;
    kib / 1024.0
}

fn status_kib(pid: u32, key: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with(key))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// How long a host is dark when a switch boots its agent out, for the ways in which home-manager does it.
fn offline() -> Result<(), Trouble> {
    const ROUNDS: u32 = 11;
    say(
        "offline: from the end of the old agent to the new one's first heartbeat, median of 11 (worst)",
    );
    for (macos, release) in [(15, "25.11"), (26, "26.05"), (15, "master"), (26, "master")] {
        let place = tempfile::tempdir().map_err(Trouble::run("a temporary folder"))?;
        let dashboard = Dashboard::start(&place.path().join("dashboard"))?;
        let mac = Mac::new(dashboard.url(), MacOptions { macos, ..MacOptions::default() })?;
        let mut agent = mac.wait_for_agent()?;
        let mut dark = Vec::new();
        for round in 0..ROUNDS {
            mac.next_switch_replaces_the_agent(round + 2, &format!("RELEASE={release}"))?;
            let command = dashboard.command(HOST, "switch")?;
            let next = mac.wait_for_next_agent(&agent)?;
            dark.push(mac.dark_time(&agent, &next)?.as_secs_f64());
            dashboard.wait_for_result(HOST, &command)?;
            agent = next;
        }
        let worst = dark.iter().copied().fold(0.0, f64::max);
        say(&format!(
            "  home-manager {release:<7} macOS {macos}   {:5.2} s ({worst:.2} s)",
            median(dark)
        ));
    }
    say(
        "  (home-manager 25.11, and master on macOS 15, themselves sleep 1 s between bootout and bootstrap)",
    );
    Ok(())
}

/// What a watchdog costs while the agent is there. One tick is ten seconds.
fn watchdog_idle() -> Result<(), Trouble> {
    const TICKS_WATCHED: u32 = 12;
    let folder = machine("exit 0")?;
    let mut child = folder
        .user_command("nixfleet-switch")
        .arg("watchdog")
        .spawn()
        .map_err(Trouble::run("nixfleet-switch"))?;
    let state = folder.state_dir().join("agent.lock");
    wait::until_true("the watchdog is up", wait::PATIENCE, || {
        Ok(folder.state_dir().join("watchdog.json").exists())
    })?;
    // An agent, as far as the watchdog can see: somebody who holds its lock.
    let agent = Lock::take(&state).map_err(|error| Trouble::Said(error.to_string()))?;
    thread::sleep(Duration::from_secs(15));
    let (time, wake_ups) = (own_time(child.id()), wake_ups(child.id()));
    for _ in 0..TICKS_WATCHED * 2 {
        thread::sleep(Duration::from_secs(5));
        agent.stamp().map_err(|error| Trouble::Said(error.to_string()))?;
    }
    let used = own_time(child.id()) - time;
    let woken = self::wake_ups(child.id()) - wake_ups;
    let resident = status_kib(child.id(), "VmRSS:").unwrap_or(0);
    let own = status_kib(child.id(), "RssAnon:").unwrap_or(0);
    processes::signal(child.id(), Signal::TERM);
    child.wait().map_err(Trouble::run("nixfleet-switch"))?;
    say("watchdog-idle: an agent that is there, watched for 12 ticks of 10 s");
    say(&format!(
        "  {:.4} % of a core ({used:.2} s), {:.2} wake-ups a tick, {:.1} MiB resident, {:.1} MiB of it no file's",
        used / 120.0 * 100.0,
        f64::from(woken) / f64::from(TICKS_WATCHED),
        mib(resident),
        mib(own)
    ));
    Ok(())
}

/// How often a process has gone to sleep of its own, and so was woken up again.
fn wake_ups(pid: u32) -> u32 {
    let wake_ups = status_kib(pid, "voluntary_ctxt_switches:").unwrap_or(0);
    u32::try_from(wake_ups).unwrap_or(u32::MAX)
}

/// Processor time of a process, in seconds.
fn own_time(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let fields: Vec<f64> =
        after_name.split_whitespace().map(|field| field.parse().unwrap_or(0.0)).collect();
    (fields.get(11).unwrap_or(&0.0) + fields.get(12).unwrap_or(&0.0)) / TICKS
}
