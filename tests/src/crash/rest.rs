//! Whether a host has come to rest: nothing is at work, nothing is owed, agent and watchdog are as they should be.

use std::{
    process::Child,
    time::{Duration, Instant},
};

use nixfleet_protocol::installed;

use super::{facts, host::Host, invariants, teardown};
use crate::{
    launchd::JobEvent,
    stage::{Trouble, folder::HOST, mac::LABEL, processes},
};

/// How long all must be quiet: what is only between two steps is not at rest.
const QUIET_FOR: Duration = Duration::from_secs(1);

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Waits until the host is at rest; says what is not, if that takes too long. `own` are the processes that the user started.
pub fn wait_for(
    host: &Host,
    own: &mut [Child],
    limit: Duration,
) -> Result<Option<String>, Trouble> {
    let deadline = Instant::now() + limit;
    let mut quiet_since = None;
    loop {
        let restless = what_is_not(host, own)?;
        let now = Instant::now();
        match (&restless, quiet_since) {
            (None, None) => quiet_since = Some(now),
            (None, Some(since)) if now.saturating_duration_since(since) >= QUIET_FOR => {
                return Ok(None);
            }
            (None, Some(_)) => {}
            (Some(_), _) => quiet_since = None,
        }
        if now >= deadline && restless.is_some() {
            return Ok(restless);
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// What is not at rest, cheapest look first.
fn what_is_not(host: &Host, own: &mut [Child]) -> Result<Option<String>, Trouble> {
    for child in own {
        let ended = child.try_wait().map_err(Trouble::run("what the user started"))?;
        if ended.is_none() {
            return Ok(Some("what the user started still runs".to_owned()));
        }
    }
    if let Some(open) = facts::open_switches(host)?.first() {
        return Ok(Some(format!("switch {open} is not over and told")));
    }
    if let Some(healing) = facts::open_healing(host)? {
        return Ok(Some(format!("healing {healing} is not told")));
    }
    if let Some(why) = agent_trouble(host)? {
        return Ok(Some(why));
    }
    if host.watchdog()?.is_none() {
        return Ok(Some("there is no watchdog".to_owned()));
    }
    let commands = host.dashboard.commands(HOST)?;
    let is_open = |status: &str| invariants::OPEN.contains(&status);
    if let Some(open) = commands.iter().find(|command| is_open(&command.status)) {
        return Ok(Some(format!("command {} is {}", open.id, open.status)));
    }
    let at_work = processes::of(host.mac.folder.root()).into_iter().find(|found| {
        teardown::is_wrapper(&found.command) || found.command.contains("home-manager")
    });
    Ok(at_work.map(|found| format!("at work: {} {}", found.pid, found.command)))
}

fn agent_trouble(host: &Host) -> Result<Option<String>, Trouble> {
    let Some(agent) = host.mac.agent()? else {
        return Ok(Some("there is no agent".to_owned()));
    };
    let records = host.mac.launchd.job_records(LABEL)?;
    let last_end = records.iter().rev().find_map(|record| {
        matches!(record.event, JobEvent::Exited { .. }).then_some(record.unix_ms)
    });
    let heard = agent.last_heartbeat_at.map(jiff::Timestamp::as_millisecond);
    if heard.is_none() || heard <= last_end {
        return Ok(Some("the agent is not heard".to_owned()));
    }
    let difference = installed::difference(&agent);
    Ok(difference.map(|what| format!("the agent runs with another {what} than is installed")))
}
