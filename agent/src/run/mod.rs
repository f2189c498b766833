//! The loop: something happens, [`decide`] says what to do, it is done, and its end is the next thing to happen.

mod calls;
mod jobs;
mod notes;
mod trouble;
mod upkeep;

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use nixfleet_protocol::{
    crash_point::{self, CrashPoint},
    journal::{lock::Lock, store::Journal},
    state_dir::{StateDir, StateDirError},
    systemd_notify,
    wire::fields::Token,
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::JoinSet,
};

use trouble::Trouble;

use crate::{
    dashboard_client::{ClientError, DashboardClient},
    decide::{self, State, action::Action, event::Event},
    exit::Exit,
    journal_desk::{Desk, DeskGone, JournalDesk, JournalWatch},
    known_tokens::KnownTokens,
    messages,
    running_agent::{self, AgentRecord, NotTheOne, RecordError},
    settings::{Origin, Settings, token_file},
    wrapper::Wrapper,
};

/// By which somebody at the machine says that the dashboard is to hear all that there is. It is caught before `agent.json`
/// is there, so it ends nobody who can be found.
const ASKED: SignalKind = SignalKind::user_defined1();

/// Why the agent does not come up.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error("cannot catch signals")]
    Signals(#[source] io::Error),
    #[error(transparent)]
    StateDir(#[from] StateDirError),
    #[error(transparent)]
    NotTheOne(#[from] NotTheOne),
    #[error("cannot say that the agent is up")]
    Record(#[from] RecordError),
    #[error("cannot start the thread that keeps the journal")]
    Thread(#[source] io::Error),
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl StartError {
    const fn exit(&self) -> Exit {
        match self {
            Self::Signals(_) | Self::Thread(_) => Exit::Broken,
            Self::NotTheOne(NotTheOne::AnotherRuns { .. }) => Exit::AlreadyRuns,
            Self::StateDir(_) | Self::NotTheOne(NotTheOne::Lock(_)) | Self::Record(_) => {
                Exit::StateDir
            }
            Self::Client(_) => Exit::Configuration,
        }
    }
}

/// Runs the agent until it is asked to end.
pub(crate) async fn run(settings: Settings, origin: Origin, known_tokens: KnownTokens) -> Exit {
    let signals = EndSignals::catch().and_then(|end| Ok((end, signal(ASKED)?)));
    let (mut end, asked) = match signals.map_err(StartError::Signals) {
        Ok(signals) => signals,
        Err(error) => return give_up(&error),
    };
    tokio::select! {
        biased;
        () = end.came() => {
            tracing::info!("ending, as asked");
            Exit::Done
        }
        exit = live(settings, origin, known_tokens, asked) => exit,
    }
}

fn give_up(error: &StartError) -> Exit {
    tracing::error!("{}", messages::with_causes(error));
    error.exit()
}

async fn live(
    settings: Settings,
    origin: Origin,
    known_tokens: KnownTokens,
    asked: Signal,
) -> Exit {
    match Agent::come_up(settings, origin, known_tokens, asked).await {
        Ok(agent) => agent.go_on().await,
        Err(error) => give_up(&error),
    }
}

/// SIGTERM and SIGINT.
struct EndSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl EndSignals {
    fn catch() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn came(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// What the agent's tasks share.
struct Shared {
    client: DashboardClient,
    desk: JournalDesk,
    settings: Settings,
    wrapper: Wrapper,
    trouble: Trouble,
    /// A token of the host's own that could not be stored yet.
    unstored_token: Mutex<Option<Token>>,
    /// How far this host's clock was ahead when that was last written down.
    noted_clock: Mutex<Option<i64>>,
}

impl Shared {
    /// How far this host's clock is ahead, if that is not written down yet.
    fn unnoted_clock(&self) -> Option<i64> {
        let ahead = self.client.clock_ahead()?;
        let mut noted = self.noted_clock.lock().unwrap_or_else(PoisonError::into_inner);
        (noted.replace(ahead) != Some(ahead)).then_some(ahead)
    }
}

/// The running agent.
struct Agent {
    shared: Arc<Shared>,
    watch: Arc<JournalWatch>,
    state: State,
    tasks: JoinSet<Result<Event, DeskGone>>,
    /// `report-now`'s signal.
    asked: Signal,
    /// Held as long as the agent lives, and stamped as long as its loop turns.
    lock: Lock,
}

impl Agent {
    /// Becomes the one agent and says that it is up, before anything that may take time.
    async fn come_up(
        settings: Settings,
        origin: Origin,
        known_tokens: KnownTokens,
        asked: Signal,
    ) -> Result<Self, StartError> {
        let directory = StateDir::prepare(&settings.state_dir)?;
        let lock = running_agent::become_the_one(&directory).await?;
        crash_point::reached(CrashPoint::AgentLocked);
        let record = AgentRecord::write(&directory, &settings)?;
        say_ready(&settings);
        crash_point::reached(CrashPoint::AgentUp);

        let pid = record.process().pid;
        let version = env!("CARGO_PKG_VERSION");
        tracing::info!(version, pid, host = %settings.hostname, url = %settings.url, "agent is up");
        let host_token = read_host_token(&directory);
        let client = DashboardClient::new(&settings, host_token, known_tokens.clone())?;
        let watch = Arc::new(JournalWatch::new([directory.switches(), directory.healings()]));
        let journal = Journal::new(directory.clone());
        let desk = Desk::new(journal, Arc::clone(&watch), record, &settings, origin, known_tokens);
        let myself = format!("version {version}, pid {pid}");
        let state = State::new(
            settings.interval.duration(),
            settings.watchdog_period,
            myself,
            u64::from(pid),
            Instant::now(),
        );
        Ok(Self {
            shared: Arc::new(Shared {
                client,
                desk: JournalDesk::open(desk).map_err(StartError::Thread)?,
                wrapper: Wrapper::new(&settings, directory),
                trouble: Trouble::default(),
                unstored_token: Mutex::new(None),
                noted_clock: Mutex::new(None),
                settings,
            }),
            watch,
            state,
            tasks: JoinSet::new(),
            asked,
            lock,
        })
    }

    async fn go_on(mut self) -> Exit {
        let mut event = Event::TimeCame;
        loop {
            for action in decide::handle(&mut self.state, event, Instant::now()) {
                if action == Action::Exit {
                    tracing::info!("ending, so that a new agent is started");
                    return Exit::Done;
                }
                self.perform(action);
            }
            event = match self.next_event().await {
                Ok(event) => event,
                Err(exit) => return exit,
            };
        }
    }

    async fn next_event(&mut self) -> Result<Event, Exit> {
        let wake_at = self.state.wake_at(Instant::now());
        let ended = tokio::select! {
            Some(ended) = self.tasks.join_next() => ended,
            () = tokio::time::sleep_until(wake_at.into()) => {
                let has_slept = self.shared.client.has_slept();
                return Ok(if has_slept { Event::Woke } else { Event::TimeCame });
            }
            Some(()) = self.asked.recv() => {
                tracing::info!("somebody here wants all that there is to be told now");
                return Ok(Event::ReportAsked);
            }
        };
        match ended {
            Ok(Ok(event)) => Ok(event),
            Ok(Err(gone)) => Err(broken(&gone)),
            Err(panicked) => Err(broken(&panicked)),
        }
    }

    /// Does what takes no time at once, and begins everything else.
    fn perform(&mut self, action: Action) {
        if let Action::Note(note) = &action {
            notes::log(note, &self.shared.settings);
        } else if action == Action::ShowLife {
            self.show_life();
        } else if action != Action::Glance || self.watch.has_changed() {
            self.tasks.spawn(jobs::perform(Arc::clone(&self.shared), action));
        }
    }

    /// For the watchdog, and for systemd where that watches.
    fn show_life(&self) {
        if let Err(error) = self.lock.stamp() {
            self.shared.trouble.say(&error);
        }
        let settings = &self.shared.settings;
        let watched =
            settings.notify_socket.as_ref().filter(|_| settings.watchdog_period.is_some());
        let Some(socket) = watched else { return };
        if let Err(error) = systemd_notify::send(socket, systemd_notify::WATCHDOG) {
            self.shared.trouble.say(&error);
        }
    }
}

fn broken(error: &dyn std::error::Error) -> Exit {
    tracing::error!("a part of the agent broke: {}", messages::with_causes(error));
    Exit::Broken
}

fn say_ready(settings: &Settings) {
    let Some(socket) = &settings.notify_socket else { return };
    if let Err(error) = systemd_notify::send(socket, systemd_notify::READY) {
        tracing::warn!(%error, "cannot tell systemd that the agent is up");
    }
}

/// The token that the dashboard gave this host. One that cannot be used is as good as none: the other one gets a new one.
fn read_host_token(directory: &StateDir) -> Option<Token> {
    let path = directory.host_token();
    if path.symlink_metadata().is_err() {
        return None;
    }
    match token_file::read(&path) {
        Ok((token, _version)) => Some(token),
        Err(error) => {
            let error = messages::with_causes(&error);
            tracing::warn!("the host's own token is not used: {error}");
            None
        }
    }
}
