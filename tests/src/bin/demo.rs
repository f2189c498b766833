//! `cargo demo`: one switch that kills its agent, with the wrapper and the old way, in a temporary folder.
//!
//! Everything is measured on the spot: the programs are those that users run, only launchd and home-manager are
//! stand-ins. Ends by itself in under a minute after the build, and leaves nothing.

use std::{
    io::{self, IsTerminal as _, Write as _},
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use clap::Parser;
use jiff::Timestamp;
use nixfleet_protocol::journal::records::{Outcome, SwitchResult};
use nixfleet_tests::{
    launchd::JobEvent,
    stage::{
        Trouble,
        dashboard::Dashboard,
        folder::HOST,
        mac::{LABEL, Mac, MacOptions},
        programs::Programs,
        wait,
    },
};
use serde::Serialize;

/// How long the stand-in for home-manager builds.
const BUILD_SECONDS: u32 = 2;

/// How long the old way is watched before it is called dark. With the wrapper the host is back long before.
const WATCH: Duration = Duration::from_secs(12);

/// Shows what happens to a switch whose activation kills the agent that asked for it.
#[derive(Debug, Parser)]
struct CommandLine {
    /// Print one JSON object on standard output, and the story on standard error
    #[arg(long)]
    json: bool,
}

/// What came of one way, measured.
#[derive(Debug, Serialize)]
struct Measured {
    agent_back: bool,
    /// From the end of the old agent to the new one's first heartbeat.
    dark_seconds: Option<f64>,
    /// How the switch ended, as the dashboard has it.
    outcome: Option<String>,
}

#[derive(Debug, Serialize)]
struct Demo {
    with_wrapper: Measured,
    old_way: Measured,
}

fn main() -> ExitCode {
    let line = CommandLine::parse();
    let mut story = Story::new(line.json);
    match play(&mut story) {
        Ok(demo) => {
            story.conclude(&demo);
            if line.json && print_json(&demo).is_err() {
                return ExitCode::FAILURE;
            }
            if demo.with_wrapper.agent_back { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            let cause = std::error::Error::source(&error);
            story.line(&format!(
                "error: {error}{}",
                cause.map(|cause| format!(": {cause}")).unwrap_or_default()
            ));
            ExitCode::FAILURE
        }
    }
}

fn print_json(demo: &Demo) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    serde_json::to_writer(&mut stdout, demo)?;
    stdout.write_all(b"\n")
}

fn play(story: &mut Story) -> Result<Demo, Trouble> {
    story.line("building the programs ...");
    Programs::get()?;
    Ok(Demo { with_wrapper: with_wrapper(story)?, old_way: old_way(story)? })
}

/// The switch as it is now: agent, nixfleet-switch, home-manager.
fn with_wrapper(story: &mut Story) -> Result<Measured, Trouble> {
    story.title("With nixfleet-switch");
    let place = tempfile::tempdir().map_err(Trouble::run("a temporary folder"))?;
    let dashboard = Dashboard::start(&place.path().join("dashboard"))?;
    let mac = Mac::new(dashboard.url(), MacOptions::default())?;
    let old = mac.wait_for_agent()?;
    mac.next_switch_replaces_the_agent(
        2,
        &format!("BUILD_SECONDS={BUILD_SECONDS}\nOUTPUT_LINES=20"),
    )?;
    story.start();
    story.now(&format!("the agent runs (pid {}), the dashboard has seen it", old.process.pid));
    let command = dashboard.command(HOST, "switch")?;
    story.now("`switch` is queued in the dashboard");
    let new = mac.wait_for_next_agent(&old)?;
    let dark = mac.dark_time(&old, &new)?;
    let switch = dashboard.wait_for_result(HOST, &command)?;
    tell_journal(story, &mac, &switch.id)?;
    tell_launchd(story, &mac, old.process.pid)?;
    story.at(new.started_at, &format!("the agent is back (pid {})", new.process.pid));
    if let Some(heartbeat) = new.last_heartbeat_at {
        story.at(
            heartbeat,
            &format!("the dashboard hears the new agent: dark for {:.2} s", dark.as_secs_f64()),
        );
    }
    story.now("the dashboard has the result");
    story.tell();
    if let Some(result) = &switch.result {
        story.line(&format!("  in the dashboard: {}", told(result)));
    }
    if let Some(reload) = &switch.reload {
        story.line(&format!("                    {}", reload.explanation));
    }
    Ok(Measured {
        agent_back: true,
        dark_seconds: Some(seconds(dark)),
        outcome: switch.result.map(|result| result.outcome.to_string()),
    })
}

fn told(result: &SwitchResult) -> String {
    let code = result.exit_code.map(|code| format!(", exit code {code}")).unwrap_or_default();
    let seconds = Duration::from_millis(result.duration_ms).as_secs_f64();
    format!(
        "{}{code}, took {seconds:.1} s, activation {}, {} bytes of output",
        result.outcome,
        result.activation.as_str(),
        result.output_bytes
    )
}

/// What the journal says, with its own times.
fn tell_journal(story: &mut Story, mac: &Mac, switch: &str) -> Result<(), Trouble> {
    let id = switch.parse().map_err(|error| Trouble::Said(format!("{error}")))?;
    let entry = mac.folder.journal()?.entry(id);
    if let Some(request) = entry.request.as_present() {
        story.at(
            request.requested_at,
            "the agent has the command on disk and starts nixfleet-switch",
        );
    }
    if let Some(started) = entry.started.as_present() {
        story.at(
            started.started_at,
            &format!("home-manager runs (pid {}), in a session of its own", started.child.pid),
        );
    }
    if let Some(result) = entry.result.as_present() {
        let word = if result.outcome == Outcome::Succeeded { "is done" } else { "has ended" };
        story.at(
            result.finished_at,
            &format!("home-manager {word}; the result is on disk, before any reload"),
        );
    }
    if let Some(reload) = entry.reload.as_present() {
        for step in &reload.steps {
            let at = reload.began_at + Duration::from_millis(step.at_ms);
            story.at(at, &format!("nixfleet-switch: {}", step.step));
        }
    }
    Ok(())
}

/// What launchd did to the old agent, with its own times.
fn tell_launchd(story: &mut Story, mac: &Mac, old: u32) -> Result<(), Trouble> {
    for record in mac.launchd.job_records(LABEL)? {
        let at = Timestamp::from_millisecond(record.unix_ms).unwrap_or(Timestamp::UNIX_EPOCH);
        match record.event {
            JobEvent::Signalled { pid, .. } if u32::try_from(pid) == Ok(old) => {
                story.at(at, "home-manager boots the agent out: launchd ends it");
            }
            JobEvent::Exited { pid, .. } if u32::try_from(pid) == Ok(old) => {
                story.at(at, &format!("the agent (pid {old}) is dead"));
            }
            JobEvent::Removed => story.at(at, "launchd forgets the agent's label"),
            JobEvent::Registered
            | JobEvent::Refused { .. }
            | JobEvent::Pended { .. }
            | JobEvent::Spawned { .. }
            | JobEvent::SpawnFailed { .. }
            | JobEvent::Signalled { .. }
            | JobEvent::Exited { .. }
            | JobEvent::GroupSignalled { .. } => {}
        }
    }
    Ok(())
}

/// The same switch with an agent that runs home-manager as its child.
fn old_way(story: &mut Story) -> Result<Measured, Trouble> {
    story.title("The old way: home-manager as the agent's child");
    let place = tempfile::tempdir().map_err(Trouble::run("a temporary folder"))?;
    let dashboard = Dashboard::start(&place.path().join("dashboard"))?;
    let mac = Mac::new(dashboard.url(), MacOptions { old_way: true, ..MacOptions::default() })?;
    wait::until_true("the dashboard has seen the agent", wait::PATIENCE, || {
        Ok(dashboard.host(HOST)?.is_some_and(|host| host.last_seen.is_some()))
    })?;
    let old =
        mac.job_pid()?.ok_or_else(|| Trouble::Said("the old agent does not run".to_owned()))?;
    mac.next_switch_replaces_the_agent(
        2,
        &format!("BUILD_SECONDS={BUILD_SECONDS}\nOUTPUT_LINES=20"),
    )?;
    story.start();
    story.now(&format!("the agent runs (pid {old}), the dashboard has seen it"));
    let command = dashboard.command(HOST, "switch")?;
    story.now("`switch` is queued in the dashboard");
    let ended =
        wait::until("home-manager has booted the agent out", wait::PATIENCE, || mac.ended_at(old))?;
    let back = watch(&mac, &dashboard, ended)?;
    tell_launchd(story, &mac, old)?;
    let outcome = final_status(&dashboard, &command)?;
    story.now(&match back {
        Some(dark) => format!("the agent is back after {:.2} s", dark.as_secs_f64()),
        None => format!("{} s later: nobody has started the agent again", WATCH.as_secs()),
    });
    story.tell();
    story.line(&format!(
        "  in the dashboard: {}",
        outcome.as_deref().unwrap_or("no result, the command still counts as running")
    ));
    Ok(Measured { agent_back: back.is_some(), dark_seconds: back.map(seconds), outcome })
}

/// Watches whether a heartbeat comes after `ended`; says how long it took.
fn watch(mac: &Mac, dashboard: &Dashboard, ended: i64) -> Result<Option<Duration>, Trouble> {
    let until = Instant::now() + WATCH;
    while Instant::now() < until {
        let seen = dashboard.host(HOST)?.and_then(|host| host.last_seen);
        if let Some(seen) = seen.filter(|seen| seen.as_millisecond() > ended)
            && mac.job_pid()?.is_some()
        {
            let dark = u64::try_from(seen.as_millisecond() - ended).unwrap_or(0);
            return Ok(Some(Duration::from_millis(dark)));
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(None)
}

/// How the command ended in the dashboard, if it has.
fn final_status(dashboard: &Dashboard, command: &str) -> Result<Option<String>, Trouble> {
    let commands = dashboard.commands(HOST)?;
    let status = commands.into_iter().find(|known| known.id == command).map(|known| known.status);
    Ok(status.filter(|status| !matches!(status.as_str(), "queued" | "running" | "acknowledged")))
}

fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

/// What is told, in the order of time.
struct Story {
    to_stderr: bool,
    colour: bool,
    began: Timestamp,
    events: Vec<(Timestamp, String)>,
}

impl Story {
    fn new(to_stderr: bool) -> Self {
        let is_terminal =
            if to_stderr { io::stderr().is_terminal() } else { io::stdout().is_terminal() };
        let colour = is_terminal && std::env::var_os("NO_COLOR").is_none();
        Self { to_stderr, colour, began: Timestamp::now(), events: Vec::new() }
    }

    fn start(&mut self) {
        self.began = Timestamp::now();
    }

    fn now(&mut self, text: &str) {
        self.at(Timestamp::now(), text);
    }

    fn at(&mut self, at: Timestamp, text: &str) {
        self.events.push((at, text.to_owned()));
    }

    fn tell(&mut self) {
        let mut events = std::mem::take(&mut self.events);
        events.sort_by_key(|(at, _text)| *at);
        for (at, text) in events {
            let since = at.duration_since(self.began).as_secs_f64();
            self.line(&format!("  {since:>7.2} s  {text}"));
        }
    }

    fn title(&self, text: &str) {
        let (bold, plain) = if self.colour { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
        self.line(&format!("\n{bold}{text}{plain}"));
    }

    fn line(&self, text: &str) {
        // Whoever closed the stream does not want to read it.
        let _ = if self.to_stderr {
            writeln!(io::stderr(), "{text}")
        } else {
            writeln!(io::stdout(), "{text}")
        };
    }

    fn conclude(&self, demo: &Demo) {
        self.title("Measured");
        for (name, measured) in
            [("with nixfleet-switch", &demo.with_wrapper), ("the old way", &demo.old_way)]
        {
            let back = match measured.dark_seconds {
                Some(dark) if measured.agent_back => format!("back after {dark:.2} s"),
                Some(_) | None => format!("not back in the {} s it was watched", WATCH.as_secs()),
            };
            let outcome = measured.outcome.as_deref().unwrap_or("lost");
            self.line(&format!("  {name:<22} agent {back:<36} result: {outcome}"));
        }
    }
}
