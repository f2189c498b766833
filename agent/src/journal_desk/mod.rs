//! The journal, behind a thread of its own: files may be slow, and the agent must end in time all the same.
//!
//! Jobs are done one after the other, each under a number that grows, so that it can be told which of two facts is newer.
//! What a job says is a fact; nothing is decided here.

mod commands;
mod look;
mod switches;
mod watch;

use std::{
    collections::{HashMap, HashSet},
    io,
    path::PathBuf,
    sync::{Arc, mpsc},
    thread,
};

use nixfleet_protocol::journal::records::SwitchId;
use nixfleet_protocol::{
    home_manager::HomeManagerLinks,
    journal::{
        atomic::{self, WriteError},
        recovery::Closer,
        store::{Journal, JournalError},
    },
    output_tail::Redactor,
    process::ProcessIdentity,
    wire::fields::{CommandId, HostId, Token},
};
use tokio::sync::oneshot;

pub(crate) use switches::Recovered;
pub(crate) use watch::JournalWatch;

use crate::{
    decide::facts::{Serial, SwitchView},
    running_agent::AgentRecord,
    settings::Settings,
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
    host: HostId,
    links: HomeManagerLinks,
    repo_dir: PathBuf,
    switch_arguments: Vec<String>,
    tokens: Vec<Token>,
    serial: Serial,
    /// Switches that nothing will happen to any more.
    settled: HashSet<SwitchId>,
    /// Switches that only this agent will change any more.
    complete: HashMap<SwitchId, SwitchView>,
    /// Commands that the dashboard has answered for good.
    closed: HashSet<CommandId>,
    /// Files that were said to be unreadable already.
    said_unreadable: HashSet<PathBuf>,
}

impl Desk {
    pub(crate) fn new(
        journal: Journal,
        watch: Arc<JournalWatch>,
        agent: AgentRecord,
        settings: &Settings,
        tokens: Vec<Token>,
    ) -> Self {
        Self {
            journal,
            watch,
            me: agent.process().clone(),
            agent,
            host: settings.hostname.clone(),
            links: settings.links.clone(),
            repo_dir: settings.repo_dir.clone(),
            switch_arguments: settings.switch_arguments.clone(),
            tokens,
            serial: 0,
            settled: HashSet::new(),
            complete: HashMap::new(),
            closed: HashSet::new(),
            said_unreadable: HashSet::new(),
        }
    }

    /// Writes down that the dashboard has answered a heartbeat.
    pub(crate) fn note_heartbeat(&mut self) -> Result<(), WriteError> {
        self.agent.note_heartbeat()
    }

    /// Stores the token that the dashboard gave this host.
    pub(crate) fn store_token(&mut self, token: &Token) -> Result<(), WriteError> {
        let path = self.journal.directory().host_token();
        atomic::replace_content(&path, "host token", format!("{}\n", token.reveal()).as_bytes())?;
        self.tokens.push(token.clone());
        Ok(())
    }

    /// Removes what need not be kept.
    pub(crate) fn prune(&mut self) -> Result<(), JournalError> {
        let pruned = self.journal.prune()?;
        let switches: HashSet<SwitchId> = self.journal.switch_ids()?.into_iter().collect();
        self.settled.retain(|id| switches.contains(id));
        self.complete.retain(|id, _| switches.contains(id));
        let commands: HashSet<CommandId> = self.journal.command_ids()?.into_iter().collect();
        self.closed.retain(|id| commands.contains(id));
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
            links: self.links.clone(),
            redactor: self.redactor(),
        }
    }

    fn redactor(&self) -> Redactor {
        Redactor::new(self.tokens.iter().cloned())
    }
}
