//! What stands in a cell's journal and in the dashboard at one moment.

use std::time::Duration;

use nixfleet_protocol::{
    installed,
    journal::lock::{self, LockState},
};

use super::{
    inject::group_of,
    observation::{Command, Request, Told},
    scene::Scene,
};
use crate::stage::{Trouble, wait};

/// Whether the switch of this command is over.
pub(super) fn has_result(scene: &Scene, command: &str) -> Result<bool, Trouble> {
    let journal = scene.mac.folder.journal()?;
    let ids = journal.switch_ids().map_err(|error| Trouble::Said(error.to_string()))?;
    Ok(ids.into_iter().any(|id| {
        let entry = journal.entry(id);
        let asked = entry.request.present().and_then(|request| request.command_id);
        asked.is_some_and(|asked| asked.to_string() == command) && entry.result.present().is_some()
    }))
}

/// Whether the agent that lives is the job's process, or in its group.
pub(super) fn is_supervised(scene: &Scene) -> Result<bool, Trouble> {
    let job = scene.mac.job_pid()?;
    let agent = scene.agent()?.map(|agent| agent.process.pid);
    Ok(job.is_some() && (agent == job || agent.and_then(group_of) == job))
}

/// What of the agent that lives is not what is installed.
pub(super) fn outdated(scene: &Scene) -> Result<Option<String>, Trouble> {
    if scene.cell.variant.old_may_stay {
        return Ok(None);
    }
    let difference = scene.agent()?.and_then(|agent| installed::difference(&agent));
    Ok(difference.map(|difference| difference.to_string()))
}

/// How long somebody may be at work when a cell is over: the watchdog has each agent that stays up looked after once.
const AT_WORK: Duration = Duration::from_secs(15);

/// Whether nobody is at work any more, or ends soon.
pub(super) fn locks_are_free(scene: &Scene) -> Result<bool, Trouble> {
    let journal = scene.mac.folder.journal()?;
    let directory = journal.directory();
    let free = wait::until_true("nobody is at work", AT_WORK, || {
        let mut all_free = true;
        for path in [directory.switch_lock(), directory.ensure_lock()] {
            let state = lock::look(&path).map_err(|error| Trouble::Said(error.to_string()))?;
            all_free &= !matches!(state, LockState::Held(_));
        }
        Ok(all_free)
    });
    match free {
        Ok(()) => Ok(true),
        Err(Trouble::InVain { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// What was accepted.
pub(super) fn requests(scene: &Scene) -> Result<Vec<Request>, Trouble> {
    let journal = scene.mac.folder.journal()?;
    let ids = journal.switch_ids().map_err(|error| Trouble::Said(error.to_string()))?;
    let entries = ids.into_iter().map(|id| journal.entry(id));
    Ok(entries
        .filter_map(|entry| {
            let request = entry.request.present()?;
            Some(Request {
                id: request.id.to_string(),
                command: request.command_id.map(|id| id.to_string()),
                child: entry.started.present().map(|started| started.child.pid),
            })
        })
        .collect())
}

/// What the dashboard has.
pub(super) fn told(scene: &Scene) -> Result<Vec<Told>, Trouble> {
    let switches = scene.operator.switches(scene.host())?;
    Ok(switches
        .into_iter()
        .map(|told| Told { id: told.id, command: told.command_id, result: told.result })
        .collect())
}

/// Where the dashboard's command stands.
pub(super) fn command(scene: &Scene) -> Result<Option<Command>, Trouble> {
    let Some(id) = &scene.command else { return Ok(None) };
    let commands = scene.operator.commands(scene.host())?;
    let status = commands.into_iter().find(|known| known.id == *id).map(|known| known.status);
    Ok(Some(Command { id: id.clone(), status: status.unwrap_or_else(|| "lost".to_owned()) }))
}
