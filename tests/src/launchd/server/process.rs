//! Real processes: starting them as launchd does, noticing their end, ending what is left.

use std::{
    collections::{BTreeMap, HashMap},
    env,
    fs::{self, File, OpenOptions},
    io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::Sender,
};

use rustix::{
    io::Errno,
    process::{
        Pid, Signal, WaitId, WaitIdOptions, WaitIdStatus, kill_process, kill_process_group,
        test_kill_process_group, waitid,
    },
};

use super::{Input, ServerError, spawn_thread};
use crate::launchd::{
    command::Launch,
    definition::{DEFAULT_PATH, Definition},
    process_end::ProcessEnd,
    state::GroupFate,
};

/// The first argument of a program that is to be held.
const HOLD: &str = "hold-until-continued";
/// The exit code of a held program that cannot be executed.
pub(super) const CANNOT_RUN: u8 = 127;

/// What every job finds in its environment, besides its own variables.
#[derive(Debug)]
pub(super) struct JobEnvironment {
    pub(super) home: PathBuf,
    pub(super) shell: PathBuf,
    pub(super) temporary: PathBuf,
    pub(super) user: Option<String>,
}

/// Why a job could not be started.
#[derive(Debug, thiserror::Error)]
pub(super) enum SpawnError {
    #[error("cannot open {path}")]
    Stdio {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot execute {program}")]
    Program {
        program: String,
        #[source]
        source: io::Error,
    },
    #[error("process id {pid} is out of range")]
    Pid { pid: u32 },
    #[error("cannot watch the process")]
    Watch(#[source] Box<ServerError>),
}

/// The processes of all jobs.
#[derive(Debug)]
pub(super) struct Processes {
    environment: JobEnvironment,
    sender: Sender<Input>,
    children: HashMap<Pid, Child>,
    /// Groups that outlived their leader. launchd forgets them; they are kept in mind here only
    /// so that nothing is left when the simulation ends.
    orphaned_groups: Vec<Pid>,
}

impl Processes {
    pub(super) fn new(environment: JobEnvironment, sender: Sender<Input>) -> Self {
        Self { environment, sender, children: HashMap::new(), orphaned_groups: Vec::new() }
    }

    /// Starts a job's process as leader of its own group.
    pub(super) fn spawn(
        &mut self,
        definition: &Definition,
        launch: Launch,
    ) -> Result<Pid, SpawnError> {
        let mut child =
            command(definition, &self.environment, launch)?.spawn().map_err(|source| {
                SpawnError::Program { program: definition.executable().to_owned(), source }
            })?;
        let raw = child.id();
        let Some(pid) = i32::try_from(raw).ok().and_then(Pid::from_raw) else {
            return Err(SpawnError::Pid { pid: raw });
        };
        if let Err(error) = watch(pid, self.sender.clone()) {
            // Unwatched, it would never be collected: it must not stay. Both calls fail only for
            // a process that has ended.
            let _ = child.kill();
            let _ = child.wait();
            return Err(SpawnError::Watch(Box::new(error)));
        }
        self.children.insert(pid, child);
        Ok(pid)
    }

    /// Signals a main process. It is a child not yet collected, so the id is still its own.
    pub(super) fn signal(&self, pid: Pid, signal: Signal) {
        if self.children.contains_key(&pid) {
            // It may have ended meanwhile, which is what most signals are for.
            let _ = kill_process(pid, signal);
        }
    }

    /// Signals the groups of all jobs.
    pub(super) fn signal_all(&self, signal: Signal) {
        for group in self.children.keys().chain(&self.orphaned_groups) {
            // An empty group needs no signal.
            let _ = kill_process_group(*group, signal);
        }
    }

    /// Kills what is left of the groups of jobs that have ended.
    pub(super) fn end_groups(&mut self) {
        for group in self.orphaned_groups.drain(..) {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }

    /// Collects a main process that has ended.
    ///
    /// The group is signalled first: while the leader is a zombie no other process can be given
    /// its id, so the signal cannot reach a stranger.
    pub(super) fn reap(&mut self, pid: Pid, group: GroupFate) {
        match group {
            GroupFate::Terminated => {
                // An empty group is the usual case and no error.
                let _ = kill_process_group(pid, Signal::TERM);
            }
            GroupFate::Abandoned => {}
        }
        if let Some(mut child) = self.children.remove(&pid) {
            // It has ended, so this neither waits nor fails.
            let _ = child.wait();
        }
        self.orphaned_groups.retain(|group| test_kill_process_group(*group).is_ok());
        if test_kill_process_group(pid).is_ok() {
            self.orphaned_groups.push(pid);
        }
    }
}

/// Whatever way the simulation ends, it leaves no process of its jobs' groups.
impl Drop for Processes {
    fn drop(&mut self) {
        for (pid, mut child) in self.children.drain() {
            let _ = kill_process_group(pid, Signal::KILL);
            let _ = child.wait();
        }
        self.end_groups();
    }
}

fn command(
    definition: &Definition,
    environment: &JobEnvironment,
    launch: Launch,
) -> Result<Command, SpawnError> {
    let mut command = match launch {
        Launch::Running => Command::new(definition.executable()),
        Launch::Suspended => held_program(definition.executable())?,
    };
    if let Some((name, arguments)) = definition.arguments.split_first() {
        match launch {
            Launch::Running => command.arg0(name).args(arguments),
            Launch::Suspended => command.arg(name).args(arguments),
        };
    }
    command
        .env_clear()
        .envs(variables(definition, environment))
        .current_dir(definition.working_directory.as_deref().unwrap_or(Path::new("/")))
        .stdin(Stdio::null())
        .stdout(output(definition.stdout_path.as_deref())?)
        .stderr(output(definition.stderr_path.as_deref())?)
        .process_group(0);
    Ok(command)
}

/// Our own program, which stops itself and becomes the real one when it is continued.
fn held_program(program: &str) -> Result<Command, SpawnError> {
    // As for one that is started at once: a program that is not there is noticed now.
    let own = fs::metadata(program)
        .and_then(|_| env::current_exe())
        .map_err(|source| SpawnError::Program { program: program.to_owned(), source })?;
    let mut command = Command::new(own);
    command.args([HOLD, program]);
    Ok(command)
}

/// Plays the part of a held program, if that is what we were started for. Returns only if the
/// real program cannot be executed.
pub(super) fn become_held_program() -> Option<io::Error> {
    let mut words = env::args_os().skip(1);
    if words.next()? != HOLD {
        return None;
    }
    let (program, name) = (words.next()?, words.next()?);
    // A signal to oneself arrives before the call returns.
    let _ = kill_process(rustix::process::getpid(), Signal::STOP);
    Some(Command::new(program).arg0(name).args(words).exec())
}

fn variables(
    definition: &Definition,
    environment: &JobEnvironment,
) -> BTreeMap<String, std::ffi::OsString> {
    let mut variables = BTreeMap::new();
    let mut set = |name: &str, value: std::ffi::OsString| variables.insert(name.to_owned(), value);
    set("PATH", DEFAULT_PATH.into());
    set("HOME", environment.home.clone().into());
    set("SHELL", environment.shell.clone().into());
    set("TMPDIR", environment.temporary.clone().into());
    if let Some(user) = &environment.user {
        set("USER", user.into());
        set("LOGNAME", user.into());
    }
    for (name, value) in &definition.environment {
        set(name, value.into());
    }
    set("XPC_FLAGS", "0x0".into());
    set("XPC_SERVICE_NAME", definition.label.clone().into());
    variables
}

fn output(path: Option<&Path>) -> Result<Stdio, SpawnError> {
    path.map_or_else(|| Ok(Stdio::null()), |path| Ok(open_output(path)?.into()))
}

/// launchd makes the folders on the way to an output file.
fn open_output(path: &Path) -> Result<File, SpawnError> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder)
        .and_then(|()| OpenOptions::new().create(true).append(true).open(path))
        .map_err(|source| SpawnError::Stdio { path: path.to_owned(), source })
}

fn watch(pid: Pid, sender: Sender<Input>) -> Result<(), ServerError> {
    spawn_thread("watch", move || {
        if let Some(end) = wait_for_end(pid) {
            // The receiver is gone only when the program is ending.
            let _ = sender.send(Input::Exited { pid, end });
        }
    })
}

/// Waits without collecting, so that the id stays taken until the group was dealt with. `None`
/// when the process was collected by the ending simulation.
fn wait_for_end(pid: Pid) -> Option<ProcessEnd> {
    loop {
        match waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
            Ok(Some(status)) => return Some(end_of(&status)),
            Ok(None) | Err(Errno::INTR) => {}
            Err(_) => return None,
        }
    }
}

fn end_of(status: &WaitIdStatus) -> ProcessEnd {
    match (status.exit_status(), status.terminating_signal()) {
        (_, Some(signal)) => ProcessEnd::Signalled(signal),
        (Some(code), None) => ProcessEnd::Exited(code),
        // Asked for ends only, so this is none; it is shown as what it is not: a success.
        (None, None) => ProcessEnd::Exited(0),
    }
}
