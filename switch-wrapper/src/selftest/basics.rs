//! The steps about launchd alone: what it does with the throw-away agent's job.

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use nixfleet_protocol::external;
use rustix::process::Signal;

use super::{
    Trouble, cleaning,
    definition::{AgentJob, Child, Start},
    judge::Seen,
    scene,
    stage::Stage,
};
use crate::ensure::launchctl;

/// How long `sw_vers` may take.
const ASKING_LIMIT: Duration = Duration::from_secs(5);

/// What the system is.
pub(super) fn system(stage: &mut Stage) -> Result<Seen, Trouble> {
    stage.furnish()?;
    let uid = rustix::process::geteuid().as_raw();
    let name = rustix::system::uname();
    Ok(Seen::System {
        release: release(),
        architecture: name.machine().to_string_lossy().into_owned(),
        manager: stage.launchctl(&["managername"]),
        gui: stage.launchctl(&["print", &format!("gui/{uid}")]),
        user: stage.launchctl(&["print", &format!("user/{uid}")]),
    })
}

/// The release of macOS, or what else this is.
fn release() -> String {
    let mut command = Command::new("/usr/bin/sw_vers");
    command.arg("-productVersion").stdin(Stdio::null());
    match external::run(&mut command, ASKING_LIMIT) {
        Ok(ended) if ended.exit_code == Some(0) => format!("macOS {}", ended.stdout.trim()),
        Ok(_) | Err(_) => rustix::system::uname().sysname().to_string_lossy().into_owned(),
    }
}

/// What selftests that were killed have left.
pub(super) fn leftovers(stage: &mut Stage) -> Result<Seen, Trouble> {
    let (removed, left) = cleaning::leftovers(stage)?;
    Ok(Seen::Leftovers { removed, left })
}

/// A job is loaded and launchd starts it.
pub(super) fn bootstrap(stage: &mut Stage) -> Result<Seen, Trouble> {
    let job = AgentJob::slow(stage.next_version());
    stage.install(&job)?;
    let began = Instant::now();
    let answer = stage.bootstrap();
    if answer.code != Some(0) {
        return Err(Trouble::launchctl("bootstrap", &answer));
    }
    let agent = stage.next_agent(None)?;
    Ok(Seen::Up { pid: agent.process.pid, after: began.elapsed() })
}

/// A slow job is booted out, and loaded again too early.
pub(super) fn bootout(stage: &mut Stage) -> Result<Seen, Trouble> {
    // The slow one of the step before, if it came up.
    let agent = match stage.agent()? {
        Some(agent) => agent,
        None => stage.start(&AgentJob::slow(stage.next_version()))?,
    };
    let began = Instant::now();
    let bootout = stage.on_agent("bootout");
    let print = stage.on_agent("print");
    let process_lives = agent.process.is_alive()?;
    let bootstrap = stage.bootstrap();
    stage.until_gone()?;
    Ok(Seen::Drain {
        bootout,
        process_lives,
        state: launchctl::value_of(&print.stdout, "state").map(str::to_owned),
        bootstrap,
        gone_after: began.elapsed(),
        print_after: stage.on_agent("print").code,
    })
}

/// A job that is loaded and that nobody starts, until `kickstart` does.
pub(super) fn kickstart(stage: &mut Stage) -> Result<Seen, Trouble> {
    let job = AgentJob { start: Start::OnDemand, ..AgentJob::prompt(stage.next_version()) };
    stage.install(&job)?;
    let answer = stage.bootstrap();
    if answer.code != Some(0) {
        return Err(Trouble::launchctl("bootstrap", &answer));
    }
    let idle = stage.job().map(|job| job.pid.is_none());
    let began = Instant::now();
    let kickstart = stage.on_agent("kickstart");
    stage.next_agent(None)?;
    Ok(Seen::Kickstarted { idle, kickstart, up_after: began.elapsed() })
}

/// An agent that is killed is started again.
pub(super) fn keep_alive(stage: &mut Stage) -> Result<Seen, Trouble> {
    let agent = stage.start(&AgentJob::prompt(stage.next_version()))?;
    let began = Instant::now();
    agent.process.signal(Signal::KILL)?;
    let next = stage.next_agent(Some(&agent))?;
    Ok(Seen::Restarted {
        killed: agent.process.pid,
        next: next.process.pid,
        after: began.elapsed(),
    })
}

/// An override keeps a job from being loaded, until it is lifted.
pub(super) fn disabled(stage: &mut Stage) -> Result<Seen, Trouble> {
    stage.install(&AgentJob::prompt(stage.next_version()))?;
    let disable = stage.on_agent("disable");
    let disabled = stage.bootstrap();
    let loaded = stage.job().is_some();
    // Before anything else: the override outlives the selftest.
    let enable = stage.on_agent("enable");
    for (verb, answer) in [("disable", disable), ("enable", enable)] {
        if answer.code != Some(0) {
            return Err(Trouble::launchctl(verb, &answer));
        }
    }
    stage.clear()?;
    let began = Instant::now();
    let enabled = stage.bootstrap();
    stage.next_agent(None)?;
    Ok(Seen::Enabled { disabled, loaded, enabled, up_after: began.elapsed() })
}

/// launchd ends a job's process group; a child with a session of its own is not in it.
pub(super) fn child(stage: &mut Stage) -> Result<Seen, Trouble> {
    let job = AgentJob { child: Child::OwnSession, ..AgentJob::prompt(stage.next_version()) };
    stage.start(&job)?;
    let child = scene::read_identity(&stage.scene.child())
        .ok_or_else(|| Trouble::Said("the agent's child has not said that it is up".to_owned()))?;
    stage.on_agent("bootout");
    stage.until_gone()?;
    let print_after = stage.on_agent("print").code;
    let child_lives = child.is_alive()?;
    child.signal(Signal::KILL)?;
    Ok(Seen::Child { print_after, child_lives })
}
