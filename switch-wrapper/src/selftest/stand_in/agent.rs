//! The stand-in agent: it is up in the way of the real one (`agent.lock`, `agent.json`, a stamp every few seconds), has a
//! switch run when it is asked to, and ends at SIGTERM as it was told.

use std::{
    env, fs,
    path::PathBuf,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use nixfleet_protocol::{
    digest,
    installed::{self, Invocation},
    journal::{
        atomic,
        lock::Lock,
        records::{FORMAT, Initiator, Request, RunningProgram, SwitchId},
        store::Journal,
    },
    operation::Operation,
    process::ProcessIdentity,
    state_dir::StateDir,
    switch_kind::SwitchKind,
};
use signal_hook::consts::SIGTERM;

use super::super::{
    Trouble,
    scene::{self, Scene},
};
use crate::{cli::SELFTEST_CHILD, settings::system_name};

/// How long one that is slow takes to end: longer than the second that home-manager waits between bootout and bootstrap,
/// shorter than launchd's exit timeout of five.
pub(crate) const SLOW: Duration = Duration::from_millis(1_800);

/// How long an agent before this one may take to end, as for the real one.
const OTHER_ENDS_WITHIN: Duration = Duration::from_secs(15);

/// Time between two looks at what it is asked.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Time between two stamps, as the real one leaves them.
const STAMP_EVERY: Duration = Duration::from_secs(5);

/// A child does not outlive its purpose, even if nobody ends it.
const CHILD_LIMIT: Duration = Duration::from_mins(4);

/// How it ends when it is told to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnTerm {
    /// At once.
    AtOnce,
    /// After a while, by itself.
    Slow,
    /// Not before it is killed.
    Never,
}

impl OnTerm {
    /// The word on the command line.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::AtOnce => "at-once",
            Self::Slow => "slow",
            Self::Never => "never",
        }
    }
}

/// What it is told on the command line.
#[derive(Debug, Args)]
pub(crate) struct AgentArguments {
    /// The selftest's folder
    #[arg(long)]
    folder: PathBuf,
    /// How to end when told to
    #[arg(long)]
    on_term: OnTerm,
    /// Start a child with a session of its own
    #[arg(long)]
    with_child: bool,
}

/// What the child is told.
#[derive(Debug, Args)]
pub(crate) struct ChildArguments {
    /// The selftest's folder
    #[arg(long)]
    folder: PathBuf,
}

/// Is the agent until it is ended.
pub(crate) fn run(arguments: &AgentArguments) -> Result<(), Trouble> {
    let told_to_end = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(SIGTERM, Arc::clone(&told_to_end)).map_err(Trouble::Signals)?;
    let scene = Scene::read(&arguments.folder)?;
    let process = ProcessIdentity::current()?;
    scene.register(&process)?;
    let directory = scene.state_dir()?;
    let lock = Lock::take_within(&directory.agent_lock(), OTHER_ENDS_WITHIN)?;
    if arguments.with_child {
        start_child(&scene)?;
    }
    atomic::replace(&directory.agent_record(), &record(&scene, process.clone())?)?;
    let mut stamped_at = Instant::now();
    while !(told_to_end.load(Ordering::Relaxed) && may_end(arguments.on_term, &scene, &process)?) {
        if stamped_at.elapsed() >= STAMP_EVERY {
            stamped_at = Instant::now();
            lock.stamp()?;
        }
        switch_if_asked(&scene, &directory)?;
        thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

/// It was told to end: says so, and whether it does.
fn may_end(on_term: OnTerm, scene: &Scene, process: &ProcessIdentity) -> Result<bool, Trouble> {
    let path = scene.term_of(process.pid);
    if !path.exists() {
        atomic::replace_content(&path, "note", b"SIGTERM")?;
    }
    match on_term {
        OnTerm::AtOnce => {}
        OnTerm::Slow => thread::sleep(SLOW),
        OnTerm::Never => return Ok(false),
    }
    Ok(true)
}

fn record(scene: &Scene, process: ProcessIdentity) -> Result<RunningProgram, Trouble> {
    let Invocation { exe, invoked_as } = installed::invocation().map_err(Trouble::Own)?;
    let definition = scene.agent_plist();
    Ok(RunningProgram {
        format: FORMAT,
        process,
        started_at: Timestamp::now(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        exe,
        invoked_as,
        config_path: None,
        config_digest: None,
        definition_digest: digest::of_file(&definition),
        definition_path: Some(definition),
        last_heartbeat_at: None,
        dashboard: None,
    })
}

/// Does what the real agent does with a switch of the dashboard's: the request, then the wrapper, of which it keeps
/// nothing.
fn switch_if_asked(scene: &Scene, directory: &StateDir) -> Result<(), Trouble> {
    let path = scene.asked();
    let Ok(text) = fs::read(&path) else { return Ok(()) };
    fs::remove_file(&path).map_err(Trouble::file("remove", &path))?;
    let argv: Vec<String> = serde_json::from_slice(&text)
        .map_err(|error| Trouble::file("understand", &path)(error.into()))?;
    let id = SwitchId::generate();
    Journal::new(directory.clone()).accept(&Request {
        format: FORMAT,
        id,
        initiator: Initiator::Agent,
        command_id: None,
        operation: Operation::default(),
        kind: SwitchKind::HomeManager,
        argv,
        cwd: scene.home(),
        requested_at: Timestamp::now(),
        host: system_name(),
    })?;
    let wrapper = scene.wrapper();
    Command::new(&wrapper)
        .args(["run", &id.to_string()])
        .env_clear()
        .envs(scene.environment())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(Trouble::file("start", &wrapper))?;
    Ok(())
}

fn start_child(scene: &Scene) -> Result<(), Trouble> {
    let program = scene.wrapper();
    let mut command = Command::new(&program);
    command
        .arg(SELFTEST_CHILD)
        .arg("--folder")
        .arg(&scene.folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(Trouble::file("start", &program))?;
    // The agent is up only when the child has its own session: until then the agent's end would be the child's.
    let deadline = Instant::now() + OTHER_ENDS_WITHIN;
    while scene::read_identity(&scene.child()).is_none() && Instant::now() < deadline {
        thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

/// Is the child: leaves the agent's process group, says so, and stays.
pub(crate) fn run_child(arguments: &ChildArguments) -> Result<(), Trouble> {
    let scene = Scene::read(&arguments.folder)?;
    let process = ProcessIdentity::current()?;
    scene.register(&process)?;
    crate::switch::detach::become_session_leader();
    scene::write_identity(&scene.child(), &process)?;
    thread::sleep(CHILD_LIMIT);
    Ok(())
}
