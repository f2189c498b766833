//! What an agent costs that has nothing to do, beside the agent of the first generation: at the same time, at the same
//! dashboard.
//!
//! That agent is no part of this repository. It is a bash script; `NIXFLEET_V1_AGENT` says where one lies.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nixfleet_tests::stage::{
    Trouble,
    dashboard::{AGENT_TOKEN, Dashboard},
    folder::{Config, Folder, HOST},
    not_run, processes, wait,
};

use super::{TICKS, machine, median, mib, say};

/// Seconds between two heartbeats: the default of both agents.
const INTERVAL: u32 = 30;

/// How long time and memory are watched.
const WATCHED: Duration = Duration::from_mins(5);

/// How long processes are counted, by strace(1), which costs time itself.
const COUNTED: Duration = Duration::from_mins(2);

/// How long an agent may still be coming up after its first heartbeat.
const SETTLES: Duration = Duration::from_secs(10);

/// The name of the first generation's agent in the dashboard.
const V1_HOST: &str = "v1agent";

/// Calls of the kernel that start a process or a thread.
const STARTS: &str = "trace=clone,clone3,fork,vfork";

pub(super) fn agent_idle() -> Result<(), Trouble> {
    let place = tempfile::tempdir().map_err(Trouble::run("a temporary folder"))?;
    let dashboard = Dashboard::start(place.path())?;
    let mut agents = vec![Agent::ours(dashboard.url())?];
    match std::env::var_os("NIXFLEET_V1_AGENT") {
        Some(script) => agents.push(Agent::of_v1(dashboard.url(), Path::new(&script))?),
        None => not_run("the agent of the first generation: NIXFLEET_V1_AGENT does not name it"),
    }

    let mut running = Vec::new();
    for agent in &agents {
        running.push(Running::start(agent, agent.command(), &dashboard)?);
    }
    thread::sleep(SETTLES);
    let before: Vec<f64> = agents.iter().map(Agent::time).collect();
    let mut memory = vec![Memory::default(); agents.len()];
    let began = Instant::now();
    while began.elapsed() < WATCHED {
        for (agent, memory) in agents.iter().zip(&mut memory) {
            memory.sample(agent);
        }
        thread::sleep(Duration::from_secs(1));
    }
    let watched = began.elapsed().as_secs_f64();
    let used: Vec<f64> =
        agents.iter().zip(before).map(|(agent, before)| agent.time() - before).collect();
    drop(running);
    let started = count_processes(&agents, &dashboard)?;

    say(&format!(
        "agent-idle: {INTERVAL} s between heartbeats, watched for {watched:.0} s at the same time; its children count"
    ));
    for (((agent, used), memory), started) in agents.iter().zip(used).zip(memory).zip(started) {
        say(&format!(
            "  {:<10} {:.3} % of a core ({used:.2} s); {:.1} MiB resident, {:.1} MiB its share of them, {:.1} MiB \
             resident at most; {started}",
            agent.name,
            used / watched * 100.0,
            median(memory.resident.clone()),
            median(memory.share),
            memory.resident.iter().copied().fold(0.0, f64::max),
        ));
    }
    Ok(())
}

/// An agent in a folder of its own, by which all its processes are known.
struct Agent {
    name: &'static str,
    folder: Folder,
    host: &'static str,
    script: Option<PathBuf>,
}

impl Agent {
    fn ours(url: &str) -> Result<Self, Trouble> {
        let folder = machine("exit 0")?;
        folder.write_config(&Config {
            url: url.to_owned(),
            service_manager: "none",
            label: "com.example.none".to_owned(),
            interval: INTERVAL,
        })?;
        Ok(Self { name: "ours", folder, host: HOST, script: None })
    }

    fn of_v1(url: &str, script: &Path) -> Result<Self, Trouble> {
        let folder = machine("exit 0")?;
        let script = fs::canonicalize(script).map_err(Trouble::file("find", script))?;
        let repository = folder.path("home/nixcfg");
        for words in [
            &["init", "--quiet"][..],
            &["-c", "user.name=a", "-c", "user.email=a@b", "commit", "--allow-empty", "-qm", "one"],
        ] {
            fs::create_dir_all(&repository).map_err(Trouble::file("create", &repository))?;
            let status = Command::new("git").args(words).current_dir(&repository).status();
            if !status.map_err(Trouble::run("git"))?.success() {
                return Err(Trouble::Said(format!("git {words:?} did not work")));
            }
        }
        folder.write("v1-url", url)?;
        Ok(Self { name: "first one", folder, host: V1_HOST, script: Some(script) })
    }

    fn command(&self) -> Command {
        let Some(script) = &self.script else {
            let mut command = self.folder.user_command("nixfleet-agent");
            command.arg("run");
            return command;
        };
        let mut command = in_the_place_of(&self.folder.user_command("home-manager"), "bash");
        let url = fs::read_to_string(self.folder.path("v1-url")).unwrap_or_default();
        command
            .arg(script)
            .env("NIXFLEET_URL", url)
            .env("NIXFLEET_TOKEN", AGENT_TOKEN)
            .env("NIXFLEET_TOKEN_CACHE", self.folder.path("token-cache"))
            .env("NIXFLEET_NIXCFG", self.folder.path("home/nixcfg"))
            .env("NIXFLEET_INTERVAL", INTERVAL.to_string())
            .env("NIXFLEET_AGENT_VERSION", "1.0.0")
            .env("NIXFLEET_ALLOW_INSECURE_HTTP", "true");
        command
    }

    /// Processor time of all its processes, those that have ended too, in seconds.
    fn time(&self) -> f64 {
        processes::of(self.folder.root()).iter().map(|found| time_with_children(found.pid)).sum()
    }
}

/// An agent's processes; they end when this is dropped.
struct Running<'a> {
    agent: &'a Agent,
    child: Child,
}

impl<'a> Running<'a> {
    /// Starts it, and waits until the dashboard has heard from it.
    fn start(
        agent: &'a Agent,
        mut command: Command,
        dashboard: &Dashboard,
    ) -> Result<Self, Trouble> {
        let last_seen =
            || Ok::<_, Trouble>(dashboard.host(agent.host)?.and_then(|host| host.last_seen));
        let disguise = Disguise::put_on(agent)?;
        let before = last_seen()?;
        let child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(Trouble::run(agent.name))?;
        let running = Self { agent, child };
        let what = format!("the dashboard has heard from the agent `{}`", agent.name);
        wait::until_true(&what, wait::PATIENCE, || {
            let seen = last_seen()?;
            Ok(seen.is_some() && seen != before)
        })?;
        drop(disguise);
        Ok(running)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        processes::kill_all(self.agent.folder.root());
        // It was killed; waiting only collects it.
        let _ = self.child.wait();
        if self.agent.script.is_some() {
            // Where it puts these is not to be chosen; none of them is there if it did not come far.
            for name in [format!("git-hash-{V1_HOST}"), format!("agent-{V1_HOST}.lock")] {
                let _ = fs::remove_file(format!("/tmp/nixfleet-{name}"));
            }
        }
    }
}

/// While the agent of the first generation comes up, this is a Mac: on a Linux that is no `NixOS` it registers as `linux`,
/// which no dashboard takes. Afterwards it asks the real `uname`, which costs what it costs.
struct Disguise<'a>(&'a Agent);

impl<'a> Disguise<'a> {
    fn put_on(agent: &'a Agent) -> Result<Self, Trouble> {
        use std::os::unix::fs::PermissionsExt as _;
        if agent.script.is_some() {
            let programs = [("uname", "Darwin"), ("hostname", V1_HOST), ("sw_vers", "15.0")];
            for (name, says) in programs {
                let text = format!("#!/bin/sh\necho {says}\n");
                let path = agent.folder.write(&format!("bin/{name}"), &text)?;
                fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
                    .map_err(Trouble::file("open", &path))?;
            }
        }
        Ok(Self(agent))
    }
}

impl Drop for Disguise<'_> {
    fn drop(&mut self) {
        // Only one of the two agents has it on.
        let _ = fs::remove_file(self.0.folder.path("bin/uname"));
    }
}

/// Memory of all processes of an agent at moments, in MiB.
#[derive(Debug, Clone, Default)]
struct Memory {
    resident: Vec<f64>,
    /// Pages that several processes have are shared out among them.
    share: Vec<f64>,
}

impl Memory {
    fn sample(&mut self, agent: &Agent) {
        let found = processes::of(agent.folder.root());
        let sum = |key| mib(found.iter().filter_map(|found| rollup_kib(found.pid, key)).sum());
        self.resident.push(sum("Rss:"));
        self.share.push(sum("Pss:"));
    }
}

/// A line of `/proc/PID/smaps_rollup`, in KiB.
fn rollup_kib(pid: u32, key: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find(|line| line.starts_with(key))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Processor time of a process and of its children that have ended, in seconds.
fn time_with_children(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let fields = after_name.split_whitespace().skip(11).take(4);
    fields.filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / TICKS
}

/// How many processes each agent starts, in words.
fn count_processes(agents: &[Agent], dashboard: &Dashboard) -> Result<Vec<String>, Trouble> {
    let has_strace = Command::new("strace")
        .arg("-V")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !has_strace {
        not_run("processes are counted by strace, which is not there");
        return Ok(vec!["processes not counted".to_owned(); agents.len()]);
    }
    let trace = |agent: &Agent| agent.folder.path("starts");
    let mut running = Vec::new();
    for agent in agents {
        let traced = traced(&agent.command(), &trace(agent));
        running.push(Running::start(agent, traced, dashboard)?);
    }
    thread::sleep(SETTLES);
    let counted = |agent: &Agent| processes_started(&trace(agent));
    let before = agents.iter().map(counted).collect::<Result<Vec<_>, _>>()?;
    thread::sleep(COUNTED);
    let after = agents.iter().map(counted).collect::<Result<Vec<_>, _>>()?;
    let words = after.iter().zip(before).map(|(after, before)| {
        format!("{} processes started in {} s", after - before, COUNTED.as_secs())
    });
    Ok(words.collect())
}

/// The same command under strace, which writes down there what is started.
fn traced(command: &Command, file: &Path) -> Command {
    let mut traced = in_the_place_of(command, "strace");
    traced.args(["-f", "-qq", "-e", STARTS, "-o"]).arg(file);
    traced.arg(command.get_program()).args(command.get_args());
    traced
}

/// Another program, found in `PATH`, in the surroundings of this one.
fn in_the_place_of(command: &Command, program: &str) -> Command {
    let mut other = Command::new(program);
    other.env_clear().stdin(Stdio::null());
    other.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(folder) = command.get_current_dir() {
        other.current_dir(folder);
    }
    other
}

/// The processes that were started so far. A thread is none.
fn processes_started(trace: &Path) -> Result<usize, Trouble> {
    let text = fs::read_to_string(trace).map_err(Trouble::file("read", trace))?;
    let is_start = |line: &&str| {
        let call = line.trim_start_matches(|letter: char| letter.is_ascii_digit()).trim_start();
        ["clone", "fork", "vfork"].iter().any(|name| call.starts_with(name))
            && !call.contains("CLONE_THREAD")
    };
    Ok(text.lines().filter(is_start).count())
}
