//! What is there to see on a host: the journal, the dashboard, home-manager's trace, launchd's log, the files.

use std::fs;

use nixfleet_protocol::journal::{
    records::{HealingId, SwitchId, SwitchResult},
    store::Entry,
};

use super::{
    files::{self, Name},
    home_manager::{self, Run},
    host::Host,
    watch::{Heartbeat, Watch},
};
use crate::{
    launchd::JobEvent,
    stage::{Trouble, folder::HOST, mac::LABEL},
};

/// All that is to be judged. Moments are milliseconds since 1970.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The switches that were accepted, by the journal.
    pub accepted: Vec<Accepted>,
    /// The switches that the dashboard knows.
    pub told: Vec<Told>,
    /// The commands that the dashboard was asked for.
    pub commands: Vec<Command>,
    /// What home-manager did.
    pub runs: Vec<Run>,
    /// Runs without a wrapper: the pids of those that a user started by hand.
    pub plain_runs: Vec<u32>,
    /// Ends of the agent's processes.
    pub ends: Vec<i64>,
    /// Heartbeats that the dashboard took.
    pub heartbeats: Vec<Heartbeat>,
    /// Times that do not count: no program could have brought the agent back.
    pub excused: Vec<(i64, i64)>,
    /// When all this was looked at.
    pub until: i64,
    /// Names in the state directory that should not be there.
    pub strange_names: Vec<String>,
    /// Records that cannot be read.
    pub unreadable: Vec<String>,
    /// Files were broken on purpose, so that some may be set aside.
    pub files_were_broken: bool,
    /// What did not come to rest, if anything.
    pub restless: Option<String>,
    /// Processes that are left after the end.
    pub left: Vec<String>,
}

/// A switch in the journal.
#[derive(Debug, Clone)]
pub struct Accepted {
    /// Its id.
    pub id: String,
    /// The dashboard's command.
    pub command: Option<String>,
    /// home-manager's process, and when it was written down.
    pub child: Option<(u32, i64)>,
    /// How it ended.
    pub result: Option<SwitchResult>,
    /// Its wrapper may have been killed: nobody need have seen how its home-manager ended.
    pub wrapper_may_have_died: bool,
}

/// A switch in the dashboard.
#[derive(Debug, Clone)]
pub struct Told {
    /// Its id.
    pub id: String,
    /// The command that asked for it.
    pub command: Option<String>,
    /// How it ended.
    pub result: Option<SwitchResult>,
}

/// A command in the dashboard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Its id.
    pub id: String,
    /// Its status.
    pub status: String,
    /// It asked for a switch.
    pub is_switch: bool,
}

impl Facts {
    /// Looks at everything. `switch_commands` are the commands that asked for switches.
    pub fn gather(host: &Host, watch: &Watch, switch_commands: &[String]) -> Result<Self, Trouble> {
        let folder = &host.mac.folder;
        let journal = folder.journal()?;
        let ids = journal.switch_ids().map_err(|error| Trouble::Said(error.to_string()))?;
        let entries: Vec<Entry> = ids.into_iter().map(|id| journal.entry(id)).collect();
        let trace = folder.path("home-manager/trace.log");
        let trace = fs::read_to_string(trace).unwrap_or_default();
        let state = folder.state_dir();
        let names = files::names_in(&state).map_err(Trouble::file("read", &state))?;
        Ok(Self {
            accepted: entries.iter().filter_map(accepted).collect(),
            told: told(host)?,
            commands: commands(host, switch_commands)?,
            runs: home_manager::runs(&trace),
            ends: ends(host)?,
            heartbeats: watch.heartbeats(),
            until: jiff::Timestamp::now().as_millisecond(),
            strange_names: strange(names),
            unreadable: entries.iter().flat_map(unreadable).collect(),
            ..Self::default()
        })
    }
}

fn accepted(entry: &Entry) -> Option<Accepted> {
    let request = entry.request.as_present();
    // A folder in which nothing was written down is no request.
    let has_any = request.is_some()
        || entry.started.as_present().is_some()
        || entry.result.as_present().is_some();
    let child = entry
        .started
        .as_present()
        .map(|started| (started.child.pid, started.started_at.as_millisecond()));
    has_any.then(|| Accepted {
        id: entry.id.to_string(),
        command: request
            .and_then(|request| request.command_id.as_ref())
            .map(|command| command.as_str().to_owned()),
        child,
        result: entry.result.as_present().cloned(),
        wrapper_may_have_died: false,
    })
}

fn unreadable(entry: &Entry) -> Vec<String> {
    let troubles = [
        ("request", entry.request.trouble()),
        ("started", entry.started.trouble()),
        ("result", entry.result.trouble()),
        ("reload", entry.reload.trouble()),
        ("reported", entry.reported.trouble()),
        ("refused", entry.refused.trouble()),
    ];
    troubles
        .into_iter()
        .filter_map(|(file, trouble)| Some(format!("{file} of {}: {}", entry.id, trouble?)))
        .collect()
}

fn told(host: &Host) -> Result<Vec<Told>, Trouble> {
    let switches = host.dashboard.switches(HOST)?.into_iter();
    Ok(switches
        .map(|switch| Told { id: switch.id, command: switch.command_id, result: switch.result })
        .collect())
}

fn commands(host: &Host, switch_commands: &[String]) -> Result<Vec<Command>, Trouble> {
    let commands = host.dashboard.commands(HOST)?.into_iter();
    Ok(commands
        .map(|command| Command {
            is_switch: switch_commands.contains(&command.id),
            id: command.id,
            status: command.status,
        })
        .collect())
}

fn ends(host: &Host) -> Result<Vec<i64>, Trouble> {
    let records = host.mac.launchd.job_records(LABEL)?.into_iter();
    let is_end = |event: &JobEvent| matches!(event, JobEvent::Exited { .. });
    Ok(records.filter(|record| is_end(&record.event)).map(|record| record.unix_ms).collect())
}

fn strange(names: Vec<String>) -> Vec<String> {
    names
        .into_iter()
        .filter(|name| match files::judge(name) {
            Name::Known | Name::Temporary => false,
            Name::SetAside | Name::Strange => true,
        })
        .collect()
}

/// The switches whose end is not in the dashboard yet.
pub fn open_switches(host: &Host) -> Result<Vec<SwitchId>, Trouble> {
    let journal = host.mac.folder.journal()?;
    let ids = journal.switch_ids().map_err(|error| Trouble::Said(error.to_string()))?;
    let is_open = |id: &SwitchId| {
        let entry = journal.entry(*id);
        let is_answered =
            entry.reported.as_present().is_some() || entry.refused.as_present().is_some();
        let is_accepted = entry.request.as_present().is_some();
        is_accepted && !(entry.result.as_present().is_some() && is_answered)
    };
    Ok(ids.into_iter().filter(is_open).collect())
}

/// A healing that the dashboard has not answered yet.
pub fn open_healing(host: &Host) -> Result<Option<HealingId>, Trouble> {
    let journal = host.mac.folder.journal()?;
    let ids = journal.healing_ids().map_err(|error| Trouble::Said(error.to_string()))?;
    let is_open = |id: &HealingId| {
        let entry = journal.healing(*id);
        entry.healing.as_present().is_some() && !entry.is_closed
    };
    Ok(ids.into_iter().find(is_open))
}
