//! What the journal says, for people and as JSON: `status`, `history`, `logs`, and the answer of `ensure-agent`.

mod text;

use std::{
    fs::File,
    io::{self, Write},
    time::Duration,
};

use jiff::Timestamp;
use nixfleet_protocol::{
    journal::{
        atomic,
        lock::{self, LockState},
        read,
        records::{
            FORMAT, Healing, HealingCause, HealingId, Reload, Request, RunningProgram, SwitchId,
            SwitchResult,
        },
        store::{Entry, Journal},
    },
    lifecycle::Phase,
    nix_log::{NixLog, NixPhase},
    operation::{Operation, Step},
    state_dir::StateDir,
};
use serde::Serialize;

use crate::{
    Failure,
    ensure::{self, JobKind, Wish},
    exit, install,
    settings::Settings,
};

/// One switch, as it is told.
#[derive(Debug, Serialize)]
pub(crate) struct Told {
    id: SwitchId,
    phase: &'static str,
    /// What Nix or the activation is doing, while it runs.
    doing: Option<NixPhase>,
    /// The step that it is at, or was at when it ended.
    step: Option<Step>,
    request: Option<Request>,
    result: Option<SwitchResult>,
    reload: Option<Reload>,
    reported: bool,
    /// Files of it that cannot be read, and why.
    trouble: Vec<String>,
}

/// The agent, as it is told.
#[derive(Debug, Serialize)]
pub(crate) struct ToldAgent {
    running: bool,
    #[serde(flatten)]
    record: RunningProgram,
}

#[derive(Debug, Serialize)]
struct Status {
    busy: bool,
    current: Option<Told>,
    last: Option<Told>,
    unreported: usize,
    agent: Option<ToldAgent>,
}

/// `status`: whether a switch is running, how the last one ended, how the agent is.
pub(crate) fn status(settings: &Settings, json: bool) -> Result<u8, Failure> {
    let journal = journal(settings)?;
    let lock = lock::look(&journal.directory().switch_lock())?;
    let mut all = Vec::new();
    for id in journal.switch_ids()? {
        all.push(told(&journal, id, &lock)?);
    }
    let unreported = all.iter().filter(|told| told.result.is_some() && !told.reported).count();
    let last = all.iter().rposition(|told| told.result.is_some()).map(|at| all.swap_remove(at));
    let current = all.into_iter().filter(Told::is_under_way).max_by_key(|told| told.id);
    let status = Status {
        busy: matches!(lock, LockState::Held(_)) || current.is_some(),
        current,
        last,
        unreported,
        agent: agent(&journal)?,
    };
    if json {
        print_json(&status)?;
    } else {
        print(&text::status(&status))?;
    }
    Ok(0)
}

/// `history`: past switches, newest first.
pub(crate) fn history(settings: &Settings, limit: usize, json: bool) -> Result<u8, Failure> {
    let journal = journal(settings)?;
    let lock = lock::look(&journal.directory().switch_lock())?;
    let mut newest = Vec::new();
    for id in journal.switch_ids()?.into_iter().rev().take(limit) {
        newest.push(told(&journal, id, &lock)?);
    }
    if json {
        print_json(&newest)?;
    } else {
        print(&text::history(&newest))?;
    }
    Ok(0)
}

/// `logs`: the output of a switch as it came; with `--json` what is known of it, the output's end included.
pub(crate) fn logs(settings: &Settings, wanted: Option<&str>, json: bool) -> Result<u8, Failure> {
    let journal = journal(settings)?;
    let ids = journal.switch_ids()?;
    let id = match wanted {
        None => *ids.last().ok_or(Failure::NoSwitchYet)?,
        Some(wanted) => find(&ids, wanted)?,
    };
    if json {
        let lock = lock::look(&journal.directory().switch_lock())?;
        print_json(&told(&journal, id, &lock)?)?;
        return Ok(0);
    }
    let path = journal.directory().switch(id).output_log();
    match File::open(&path) {
        Ok(mut log) => {
            io::copy(&mut log, &mut io::stdout().lock()).map_err(Failure::Output)?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(Failure::Log { path, source }),
    }
    Ok(0)
}

/// `ensure-agent` and `ensure-watchdog`: looks after a job, writes down what was done, and says it.
pub(crate) fn ensure(
    settings: &Settings,
    kind: JobKind,
    reason: &Reason,
    json: bool,
) -> Result<u8, Failure> {
    let journal = Journal::new(StateDir::prepare(&settings.state_dir)?);
    let reload = match *reason {
        Reason::Switch(id) => {
            let reload = ensure::run(settings, &Wish::after_switch(id));
            match atomic::create_once(&journal.directory().switch(id).reload(), &reload) {
                // The wrapper has looked after it meanwhile.
                Ok(()) | Err(atomic::WriteError::AlreadyThere { .. }) => {}
                Err(error) => return Err(error.into()),
            }
            reload
        }
        Reason::Healing { cause, missed_for } => {
            let reload = ensure::run(
                settings,
                &Wish {
                    kind,
                    switch: None,
                    missed_for: missed_for.unwrap_or_default(),
                    is_stuck: matches!(
                        cause,
                        HealingCause::AgentStuck | HealingCause::WatchdogStuck
                    ),
                    is_handed_over: cause == HealingCause::AgentOutdated,
                },
            );
            record_healing(&journal, &settings.host, cause, missed_for, &reload)?;
            reload
        }
    };
    if json {
        print_json(&reload)?;
    } else {
        print(&text::reload(&reload))?;
    }
    Ok(if reload.verdict.is_fine() { 0 } else { exit::AGENT_NOT_BACK })
}

/// `install` and `uninstall`: what was done.
pub(crate) fn installation(done: &install::Done, json: bool) -> Result<(), Failure> {
    if json { print_json(done) } else { print(&install::told(done)) }
}

/// Why a job is looked after.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Reason {
    /// A switch, which has a place for it.
    Switch(SwitchId),
    /// Something else; how long its process was missed is known where somebody watched.
    Healing { cause: HealingCause, missed_for: Option<Duration> },
}

/// Writes down a look-after that has done something, or in vain. One that found everything in order is no news.
fn record_healing(
    journal: &Journal,
    host: &str,
    cause: HealingCause,
    missed_for: Option<Duration>,
    reload: &Reload,
) -> Result<(), Failure> {
    if reload.steps.is_empty() && reload.verdict.is_fine() {
        return Ok(());
    }
    journal.record_healing(&Healing {
        format: FORMAT,
        id: HealingId::generate(),
        cause,
        missed_for_ms: missed_for.and_then(|time| u64::try_from(time.as_millis()).ok()),
        reload: reload.clone(),
        host: host.to_owned(),
    })?;
    Ok(journal.prune_healings()?)
}

impl Told {
    /// What is, or was, to be done.
    fn operation(&self) -> Operation {
        let asked = self.request.as_ref().map(|request| request.operation);
        asked.or_else(|| self.result.as_ref().map(|result| result.operation)).unwrap_or_default()
    }

    fn is_under_way(&self) -> bool {
        self.result.is_none()
    }
}

fn journal(settings: &Settings) -> Result<Journal, Failure> {
    Ok(Journal::new(StateDir::look(&settings.state_dir)?))
}

/// The one switch whose id begins so.
fn find(ids: &[SwitchId], wanted: &str) -> Result<SwitchId, Failure> {
    let mut found = ids.iter().filter(|id| id.to_string().starts_with(wanted));
    match (found.next(), found.next()) {
        (Some(id), None) => Ok(*id),
        (Some(_), Some(_)) => Err(Failure::SeveralSwitches(wanted.to_owned())),
        (None, _) => Err(Failure::NoSuchSwitch(wanted.to_owned())),
    }
}

fn told(journal: &Journal, id: SwitchId, lock: &LockState) -> Result<Told, Failure> {
    let entry = journal.entry(id);
    let phase: Phase = journal.phase(&entry, lock)?;
    Ok(Told {
        id,
        phase: phase.as_str(),
        trouble: trouble(&entry),
        doing: doing(journal, &entry, phase),
        step: entry.progress.as_present().map(|progress| progress.steps.step),
        reported: entry.reported.as_present().is_some(),
        request: entry.request.present(),
        result: entry.result.present(),
        reload: entry.reload.present(),
    })
}

/// Only while it runs: what was done in the end is the result's.
fn doing(journal: &Journal, entry: &Entry, phase: Phase) -> Option<NixPhase> {
    let log = journal.directory().switch(entry.id).output_log();
    // An output that cannot be read says nothing.
    phase.is_at_work().then(|| NixLog::phase_of_file(&log).ok().flatten()).flatten()
}

fn trouble(entry: &Entry) -> Vec<String> {
    [
        ("request.json", entry.request.trouble()),
        ("started.json", entry.started.trouble()),
        ("result.json", entry.result.trouble()),
        ("reload.json", entry.reload.trouble()),
    ]
    .into_iter()
    .filter_map(|(name, trouble)| trouble.map(|trouble| format!("{name}: {trouble}")))
    .collect()
}

fn agent(journal: &Journal) -> Result<Option<ToldAgent>, Failure> {
    let Some(record) = read::read::<RunningProgram>(&journal.directory().agent_record()).present()
    else {
        return Ok(None);
    };
    Ok(Some(ToldAgent { running: record.process.is_alive()?, record }))
}

fn print_json<T: Serialize>(value: &T) -> Result<(), Failure> {
    let text =
        serde_json::to_string_pretty(value).map_err(|error| Failure::Output(error.into()))?;
    print(&format!("{text}\n"))
}

fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(Failure::Output)
}

/// A moment as people read it, by the host's own clock and zone-free.
fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}
