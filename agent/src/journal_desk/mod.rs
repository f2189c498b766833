//! The journal, behind a thread of its own: files may be slow, and the agent must end in time all the same.
//!
//! Jobs are done one after the other, each under a number that grows, so that it can be told which of two facts is newer.
//! What a job says is a fact; nothing is decided here.

mod commands;
mod healings;
mod look;
mod nix_progress;
mod surroundings;
mod switches;
mod watch;

use std::{
    collections::{HashMap, HashSet},
    io,
    path::PathBuf,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};

use nixfleet_protocol::{
    journal::{
        atomic::{self, WriteError},
        records::{HealingId, SwitchId},
        recovery::Closer,
        store::{Journal, JournalError},
    },
    process::ProcessIdentity,
    redactor::Redactor,
    switch_settings::SwitchSettings,
    wire::fields::{CommandId, Generation, HostId, Token},
};
use tokio::sync::oneshot;

use nix_progress::NixProgress;
pub(crate) use switches::Recovered;
pub(crate) use watch::JournalWatch;

use crate::{
    decide::{
        contact::Contact,
        facts::{Protocol, Serial, SwitchView},
    },
    host_facts::{Host, HostFacts},
    installed_watch::InstalledWatch,
    known_tokens::KnownTokens,
    running_agent::AgentRecord,
    settings::{Origin, Settings},
};

/// The thread is gone: a job broke it.
#[derive(Debug, thiserror::Error)]
#[error("the thread that keeps the journal is gone")]
pub(crate) struct DeskGone;

type Job = Box<dyn FnOnce(&mut Desk) + Send>;

/// The way to the journal.
#[derive(Debug, Clone)]
pub(crate) struct JournalDesk {
    jobs: mpsc::Sender<Job>,
}

impl JournalDesk {
    /// Starts the thread.
    pub(crate) fn open(mut desk: Desk) -> io::Result<Self> {
        let (jobs, to_do) = mpsc::channel::<Job>();
        thread::Builder::new().name("journal".to_owned()).spawn(move || {
            for job in to_do {
                desk.serial += 1;
                job(&mut desk);
            }
        })?;
        Ok(Self { jobs })
    }

    /// Has a job done; answers with its number and what it says.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Desk) -> T + Send + 'static,
    ) -> Result<(Serial, T), DeskGone> {
        let (answer, answered) = oneshot::channel();
        let job = Box::new(move |desk: &mut Desk| {
            let said = job(desk);
            // Nobody waits any more when the agent is ending.
            let _ = answer.send((desk.serial, said));
        });
        self.jobs.send(job).map_err(|_| DeskGone)?;
        answered.await.map_err(|_| DeskGone)
    }
}

/// The journal, and what is known of it between two jobs.
#[derive(Debug)]
pub(crate) struct Desk {
    journal: Journal,
    watch: Arc<JournalWatch>,
    me: ProcessIdentity,
    agent: AgentRecord,
    installed: InstalledWatch,
    /// Since when the dashboard fails, by the wall clock as it was when that was first written down.
    failing_since: Option<(Instant, Timestamp)>,
    host: HostId,
    switching: SwitchSettings,
    repo_dir: PathBuf,
    known_tokens: KnownTokens,
    facts: HostFacts,
    /// The definition of the agent's job, which names its log.
    definition: Option<PathBuf>,
    serial: Serial,
    /// Switches that nothing will happen to any more.
    settled: HashSet<SwitchId>,
    /// What the output of a switch at work says.
    nix_logs: HashMap<SwitchId, NixProgress>,
    /// Switches that only this agent will change any more.
    complete: HashMap<SwitchId, SwitchView>,
    /// Commands that the dashboard has answered for good.
    closed: HashSet<CommandId>,
    /// Healings that nothing will happen to any more.
    settled_healings: HashSet<HealingId>,
    /// Healings that only this agent will change any more.
    open_healings: HashSet<HealingId>,
    /// Hosts that others' requests in this journal were said to be of.
    said_foreign: HashSet<String>,
    /// Files that were said to be unreadable already.
    said_unreadable: HashSet<PathBuf>,
}

impl Desk {
    pub(crate) fn new(
        journal: Journal,
        watch: Arc<JournalWatch>,
        agent: AgentRecord,
        settings: &Settings,
        origin: Origin,
        known_tokens: KnownTokens,
    ) -> Self {
        Self {
            installed: InstalledWatch::new(agent.program(), origin),
            failing_since: None,
            journal,
            watch,
            me: agent.process().clone(),
            agent,
            host: settings.hostname.clone(),
            switching: settings.switching.clone(),
            repo_dir: settings.repo_dir.clone(),
            known_tokens,
            facts: HostFacts::new(settings),
            definition: settings.definition.clone(),
            serial: 0,
            settled: HashSet::new(),
            nix_logs: HashMap::new(),
            complete: HashMap::new(),
            closed: HashSet::new(),
            settled_healings: HashSet::new(),
            open_healings: HashSet::new(),
            said_foreign: HashSet::new(),
            said_unreadable: HashSet::new(),
        }
    }

    /// Writes down that the dashboard has answered a heartbeat.
    pub(crate) fn note_heartbeat(&mut self) -> Result<(), WriteError> {
        self.agent.note_heartbeat()
    }

    /// Writes down how the agent and the dashboard get on. What the dashboard has said may hold secrets.
    pub(crate) fn note_contact(&mut self, contact: &Contact) -> Result<(), WriteError> {
        let redactor = self.redactor();
        let since = contact.failing.as_ref().map(|failing| failing.since);
        self.failing_since = since.map(|since| match self.failing_since {
            Some(known) if known.0 == since => known,
            Some(_) | None => (since, moment_of(since)),
        });
        let failing_since = self.failing_since.map(|(_, moment)| moment);
        self.agent.note_contact(|noted| {
            let failing = contact.failing.as_ref();
            noted.protocol = contact.protocol.map(Protocol::number);
            noted.failing_since = failing_since;
            noted.http_status = failing.and_then(|failing| failing.http_status);
            noted.failure = failing.map(|failing| redactor.redact(&failing.why));
            noted.failing_call = failing.map(|failing| failing.lane.to_string());
            noted.next_try_at = failing.map(|failing| moment_of(failing.next_try));
        })
    }

    /// Writes down how far this host's clock is ahead of the dashboard's.
    pub(crate) fn note_clock(&mut self, ahead_seconds: i64) -> Result<(), WriteError> {
        self.agent.note_contact(|noted| noted.clock_ahead_seconds = Some(ahead_seconds))
    }

    /// What the dashboard is told about the host.
    pub(crate) fn host(&mut self) -> Host {
        self.facts.look(&self.switching.links.read())
    }

    /// The part of it that goes along with results.
    pub(crate) fn current_generation(&mut self) -> Option<Generation> {
        self.facts.current_generation(&self.switching.links.read())
    }

    /// Stores the token that the dashboard gave this host.
    pub(crate) fn store_token(&mut self, token: &Token) -> Result<(), WriteError> {
        let path = self.journal.directory().host_token();
        atomic::replace_content(&path, "host token", format!("{}\n", token.reveal()).as_bytes())?;
        self.known_tokens.learn(token);
        Ok(())
    }

    /// Removes what need not be kept.
    pub(crate) fn prune(&mut self) -> Result<(), JournalError> {
        let pruned = self.journal.prune()?;
        let switches: HashSet<SwitchId> = self.journal.switch_ids()?.into_iter().collect();
        self.settled.retain(|id| switches.contains(id));
        self.complete.retain(|id, _| switches.contains(id));
        self.nix_logs.retain(|id, _| switches.contains(id));
        let commands: HashSet<CommandId> = self.journal.command_ids()?.into_iter().collect();
        self.closed.retain(|id| commands.contains(id));
        let healings: HashSet<HealingId> = self.journal.healing_ids()?.into_iter().collect();
        self.settled_healings.retain(|id| healings.contains(id));
        self.open_healings.retain(|id| healings.contains(id));
        self.said_unreadable.retain(|path| path.exists());
        if !pruned.is_empty() {
            tracing::info!(switches = pruned.len(), "removed old switches from the journal");
        }
        Ok(())
    }

    fn closer(&self) -> Closer {
        Closer {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            host: self.host.as_str().to_owned(),
            kind: self.switching.command.kind,
            links: self.switching.links.clone(),
            redactor: self.redactor(),
        }
    }

    fn redactor(&self) -> Redactor {
        self.known_tokens.redactor()
    }
}

/// The wall clock at that time, which may be to come.
fn moment_of(instant: Instant) -> Timestamp {
    let (now, here) = (Instant::now(), Timestamp::now());
    let signed = |time: Duration| SignedDuration::try_from(time).unwrap_or(SignedDuration::ZERO);
    let ago = signed(now.saturating_duration_since(instant));
    let ahead = signed(instant.saturating_duration_since(now));
    here.checked_add(ahead - ago).unwrap_or(here)
}
