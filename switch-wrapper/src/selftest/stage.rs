//! What the steps act with: launchctl, the throw-away agent's job, and waiting for facts.

use std::{
    cell::Cell,
    env,
    fs::{self, File},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use std::os::unix::process::CommandExt as _;

use nixfleet_protocol::{
    external,
    journal::{
        lock::{self, LockState},
        read,
        records::RunningProgram,
        store::Journal,
    },
    process::ProcessIdentity,
};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::{
    Trouble,
    definition::AgentJob,
    scene::{self, FOLDER_PREFIX, Scene},
    stand_in::home_manager::relink,
};
use crate::{
    ensure::{
        self,
        launchctl::{self, Job},
    },
    messages::with_causes,
    settings::Settings,
};

/// How long all steps together may take; cleaning up has its own time.
const TOTAL_LIMIT: Duration = Duration::from_secs(140);

/// How long one call of launchctl may take.
const CALL_LIMIT: Duration = Duration::from_secs(15);

/// How long a job may take to be up: launchd lets ten seconds pass between two starts, and half a minute were seen after
/// a crash.
const UP_LIMIT: Duration = Duration::from_secs(40);

/// How long a job may take to be gone: launchd kills it after its exit timeout.
pub(super) const GONE_LIMIT: Duration = Duration::from_secs(15);

/// Time between two looks.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(25);

/// launchctl's answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Answer {
    /// Its exit code; none if it did not answer in time.
    pub(super) code: Option<i32>,
    /// What it printed.
    pub(super) stdout: String,
    /// What it complained about, in one line.
    pub(super) said: String,
    /// How long it took.
    pub(super) took: Duration,
}

/// The stage of one selftest.
#[derive(Debug)]
pub(super) struct Stage {
    /// The folder, and who is who in it.
    pub(super) scene: Scene,
    /// Somebody has asked for an end.
    stop: Arc<AtomicBool>,
    deadline: Instant,
    version: Cell<u32>,
    /// What was started from here and is not waited for yet.
    pub(super) children: Vec<Child>,
}

/// Which domain the jobs are loaded in: the screen session's where there is one.
pub(super) fn domain(launchctl: &Path, uid: u32) -> String {
    let gui = format!("gui/{uid}");
    match ask(launchctl, &["print", &gui]) {
        answer if answer.code == Some(0) => gui,
        _absent => format!("user/{uid}"),
    }
}

/// Asks launchctl. That there is no answer is an answer too.
pub(super) fn ask(launchctl: &Path, words: &[&str]) -> Answer {
    let began = Instant::now();
    let outcome = external::run(&mut launchctl::command(launchctl, words), CALL_LIMIT);
    let took = began.elapsed();
    match outcome {
        Ok(ended) => Answer {
            code: ended.exit_code,
            stdout: ended.stdout,
            said: ended.stderr.split_whitespace().collect::<Vec<_>>().join(" "),
            took,
        },
        Err(error) => Answer { said: with_causes(&error), took, ..Answer::default() },
    }
}

impl Stage {
    /// Sets the stage: catches signals, then makes the folder.
    pub(super) fn set(settings: &Settings) -> Result<Self, Trouble> {
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [SIGHUP, SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&stop)).map_err(Trouble::Signals)?;
        }
        let process = ProcessIdentity::current()?;
        let temporary = env::temp_dir();
        let place = temporary.canonicalize().map_err(Trouble::file("find", &temporary))?;
        let (agent_label, watchdog_label) = scene::labels(process.pid);
        let scene = Scene {
            folder: place.join(format!("{FOLDER_PREFIX}{}", process.pid)),
            domain: domain(&settings.programs.launchctl, rustix::process::geteuid().as_raw()),
            process,
            agent_label,
            watchdog_label,
            launchctl: settings.programs.launchctl.clone(),
            caffeinate: settings.programs.caffeinate.clone(),
        };
        let deadline = Instant::now() + TOTAL_LIMIT;
        Ok(Self { scene, stop, deadline, version: Cell::new(0), children: Vec::new() })
    }

    /// Makes the folder with the programs in it.
    pub(super) fn furnish(&self) -> Result<(), Trouble> {
        let scene = &self.scene;
        scene.create()?;
        let own = env::current_exe().map_err(Trouble::Own)?;
        for copy in [scene.wrapper(), scene.agent_executable(1), scene.agent_executable(2)] {
            fs::copy(&own, &copy).map_err(Trouble::file("copy this program to", &copy))?;
        }
        relink(&scene.agent(), &scene.agent_executable(1))?;
        relink(&scene.home_manager(), &scene.wrapper())
    }

    /// Whether it is time to stop, and why.
    pub(super) fn go_on(&self) -> Result<(), Trouble> {
        if self.stop.load(Ordering::Relaxed) {
            Err(Trouble::Interrupted)
        } else if Instant::now() >= self.deadline {
            Err(Trouble::TimeIsUp)
        } else {
            Ok(())
        }
    }

    /// Waits until `fact` gives something.
    pub(super) fn until<T>(
        &self,
        what: &str,
        limit: Duration,
        mut fact: impl FnMut() -> Result<Option<T>, Trouble>,
    ) -> Result<T, Trouble> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(found) = fact()? {
                return Ok(found);
            }
            self.go_on()?;
            if Instant::now() >= deadline {
                return Err(Trouble::InVain { what: what.to_owned(), limit });
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    /// Calls launchctl.
    pub(super) fn launchctl(&self, words: &[&str]) -> Answer {
        ask(&self.scene.launchctl, words)
    }

    /// `VERB DOMAIN/LABEL` of the agent's job.
    pub(super) fn on_agent(&self, verb: &str) -> Answer {
        self.launchctl(&[verb, &self.scene.agent_target()])
    }

    /// `bootstrap DOMAIN PLIST` of the agent's job.
    pub(super) fn bootstrap(&self) -> Answer {
        let plist = self.scene.agent_plist();
        self.launchctl(&["bootstrap", &self.scene.domain, &plist.to_string_lossy()])
    }

    /// The agent's job, where it is registered.
    pub(super) fn job(&self) -> Option<Job> {
        let print = self.on_agent("print");
        (print.code == Some(0)).then(|| launchctl::read_job(&print.stdout))
    }

    /// The agent that is up: it holds its lock, and its process is the job's.
    pub(super) fn agent(&self) -> Result<Option<RunningProgram>, Trouble> {
        let Some(record) = self.agent_at_work()? else { return Ok(None) };
        let is_the_job = self.job().is_some_and(|job| job.pid == Some(record.process.pid));
        Ok(is_the_job.then_some(record))
    }

    /// The agent's record, while somebody holds its lock. Asks nobody.
    pub(super) fn agent_at_work(&self) -> Result<Option<RunningProgram>, Trouble> {
        let directory = self.scene.state_dir()?;
        let is_held = matches!(lock::look(&directory.agent_lock())?, LockState::Held(_));
        Ok(read::read(&directory.agent_record()).present().filter(|_| is_held))
    }

    /// Waits until an agent other than this one is up.
    pub(super) fn next_agent(
        &self,
        old: Option<&RunningProgram>,
    ) -> Result<RunningProgram, Trouble> {
        self.until("the agent is up", UP_LIMIT, || {
            let agent = self.agent()?;
            Ok(agent.filter(|agent| old.is_none_or(|old| old.process != agent.process)))
        })
    }

    /// Waits until `print` says that the agent's job is not registered, and no process of it is left.
    pub(super) fn until_gone(&self) -> Result<(), Trouble> {
        self.until("the job is gone", GONE_LIMIT, || {
            let is_gone = self.on_agent("print").code == Some(launchctl::NOT_LOADED);
            Ok((is_gone && self.agent_at_work()?.is_none()).then_some(()))
        })
    }

    /// Takes the agent's job out, if it is there, and waits until it is gone.
    pub(super) fn clear(&self) -> Result<(), Trouble> {
        if self.on_agent("print").code != Some(launchctl::NOT_LOADED) {
            self.on_agent("bootout");
        }
        self.until_gone()
    }

    /// A number that no definition has had.
    pub(super) fn next_version(&self) -> u32 {
        self.version.set(self.version.get() + 1);
        self.version.get()
    }

    /// Puts a definition where it belongs, with nothing loaded.
    pub(super) fn install(&self, job: &AgentJob) -> Result<(), Trouble> {
        self.clear()?;
        let plist = self.scene.agent_plist();
        ensure::put_in_place(&plist, &job.plist(&self.scene)?)
            .map_err(Trouble::file("write", &plist))
    }

    /// Loads a job anew and waits until its agent is up.
    pub(super) fn start(&self, job: &AgentJob) -> Result<RunningProgram, Trouble> {
        self.install(job)?;
        let answer = self.bootstrap();
        if answer.code != Some(0) {
            return Err(Trouble::launchctl("bootstrap", &answer));
        }
        self.next_agent(None)
    }

    /// Waits until this process has ended.
    pub(super) fn until_ended(&self, process: &ProcessIdentity) -> Result<(), Trouble> {
        self.until("the process has ended", GONE_LIMIT, || Ok((!process.is_alive()?).then_some(())))
    }

    /// The journal of the throw-away state directory.
    pub(super) fn journal(&self) -> Result<Journal, Trouble> {
        Ok(Journal::new(self.scene.state_dir()?))
    }

    /// The wrapper as a user starts it, away from our own terminal: a key pressed there is for the selftest, which then
    /// cleans up.
    pub(super) fn wrapper(&self) -> Command {
        let mut command = Command::new(self.scene.wrapper());
        command
            .env_clear()
            .envs(self.scene.environment())
            .current_dir(self.scene.home())
            .process_group(0)
            .stdin(Stdio::null());
        command
    }

    /// Starts the wrapper; what it says goes into a file in the folder.
    pub(super) fn spawn_wrapper(&mut self, words: &[String]) -> Result<(), Trouble> {
        let path = self.scene.folder.join(format!("wrapper-{}.log", self.next_version()));
        let log = File::create(&path).map_err(Trouble::file("create", &path))?;
        let errors = log.try_clone().map_err(Trouble::file("open", &path))?;
        let program = self.scene.wrapper();
        let child = self
            .wrapper()
            .args(words)
            .stdout(log)
            .stderr(errors)
            .spawn()
            .map_err(Trouble::file("start", &program))?;
        self.children.push(child);
        Ok(())
    }
}
