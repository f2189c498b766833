//! Starts the agent as a job of launchd would have it that is slow to end, deaf, or leaves something behind.
//!
//! The launcher is the job's main process and leads its group; the agent is its child. Ends as the agent does.

use std::{
    env,
    fs::File,
    io::{self, Write as _},
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Child, Command, ExitCode, Stdio},
    thread,
    time::Duration,
};

use clap::Parser;
use rustix::{
    fs::{FlockOperation, flock},
    process::{Pid, Signal, kill_process},
};
use signal_hook::{consts::SIGTERM, iterator::Signals};

/// Time between two looks whether the agent has ended.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How long the agent may take to end before what it holds is taken over from it.
const AGENT_ENDS_WITHIN: Duration = Duration::from_secs(10);

/// Starts the agent and is slow, deaf or untidy when it is told to end.
#[derive(Debug, Parser)]
struct CommandLine {
    /// End the agent at once and stay for so many seconds
    #[arg(long, value_name = "SECONDS")]
    linger: Option<f64>,
    /// Take no notice of SIGTERM
    #[arg(long)]
    deaf: bool,
    /// End without the agent
    #[arg(long)]
    abandon: bool,
    /// Leave a child in a session of its own that holds the lock for so many seconds
    #[arg(long, value_name = "SECONDS", requires = "lock")]
    leave_lock: Option<f64>,
    /// That lock
    #[arg(long, value_name = "FILE")]
    lock: Option<PathBuf>,
    /// Have a child in the group that takes no notice of SIGTERM and ends after so many seconds
    #[arg(long, value_name = "SECONDS")]
    stubborn_child: Option<f64>,
    /// Be that child, or the one with the lock
    #[arg(long, value_name = "SECONDS", hide = true)]
    stay: Option<f64>,
    /// The agent
    #[arg(last = true)]
    agent: Vec<String>,
}

fn main() -> ExitCode {
    match run(&CommandLine::parse()) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // Nobody is left to tell if standard error is gone.
            let _ = writeln!(io::stderr(), "agent-launcher: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(line: &CommandLine) -> io::Result<u8> {
    let mut signals = Signals::new([SIGTERM])?;
    if let Some(seconds) = line.stay {
        thread::sleep(Duration::from_secs_f64(seconds));
        return Ok(0);
    }
    if let Some(seconds) = line.stubborn_child {
        stay_behind(seconds)?.spawn()?;
    }
    let mut agent = start_agent(line)?;
    loop {
        if let Some(ended) = agent.try_wait()? {
            return Ok(u8::try_from(ended.code().unwrap_or(1)).unwrap_or(1));
        }
        if signals.pending().next().is_some() && !line.deaf {
            told_to_end(line, &mut agent)?;
            return Ok(0);
        }
        thread::sleep(LOOK_EVERY);
    }
}

fn start_agent(line: &CommandLine) -> io::Result<Child> {
    let (program, arguments) = line.agent.split_first().ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidInput, "name the agent and its arguments after `--`")
    })?;
    Command::new(program).args(arguments).spawn()
}

fn told_to_end(line: &CommandLine, agent: &mut Child) -> io::Result<()> {
    if line.abandon {
        return Ok(());
    }
    if let Some(pid) = i32::try_from(agent.id()).ok().and_then(Pid::from_raw) {
        // Gone already: then there is nothing to end.
        let _ = kill_process(pid, Signal::TERM);
    }
    if let (Some(seconds), Some(lock)) = (line.leave_lock, &line.lock) {
        leave_lock(seconds, lock, agent)?;
    }
    if let Some(seconds) = line.linger {
        thread::sleep(Duration::from_secs_f64(seconds));
    }
    Ok(())
}

/// The agent's lock passes to a child that lives on, as if it had been open in it all along.
fn leave_lock(seconds: f64, lock: &PathBuf, agent: &mut Child) -> io::Result<()> {
    let mut waited = Duration::ZERO;
    while agent.try_wait()?.is_none() && waited < AGENT_ENDS_WITHIN {
        thread::sleep(LOOK_EVERY);
        waited += LOOK_EVERY;
    }
    let file = File::options().read(true).write(true).open(lock)?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        // The one that was left before has it.
        return Ok(());
    }
    stay_behind(seconds)?.process_group(0).stdin(file).spawn()?;
    Ok(())
}

/// A child that takes no notice of SIGTERM.
fn stay_behind(seconds: f64) -> io::Result<Command> {
    let mut command = Command::new(env::current_exe()?);
    command.args(["--stay", &seconds.to_string()]).stdin(Stdio::null());
    Ok(command)
}
