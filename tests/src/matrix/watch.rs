//! Looks at one cell's machine again and again, and keeps what was seen.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use nixfleet_protocol::process::ProcessIdentity;

use super::{observation::AgentLife, scene::Scene};
use crate::{
    launchd::JobEvent,
    stage::{Trouble, mac::LABEL},
};

/// Time between two looks at what the agent writes: what is measured is off by at most this.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Time between two questions to the dashboard.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// How far launchd's record of an end may be from when it was seen: further away it is another process's.
const SAME_END: i64 = 2_000;

/// What was seen so far.
#[derive(Debug, Default)]
pub(super) struct Watch {
    agents: Vec<Seen>,
    heartbeats: BTreeSet<i64>,
    last_look: Option<Instant>,
    last_question: Option<Instant>,
}

#[derive(Debug)]
struct Seen {
    process: ProcessIdentity,
    life: AgentLife,
}

impl Watch {
    /// Looks, if it is time to.
    pub(super) fn look(&mut self, scene: &Scene) -> Result<(), Trouble> {
        if is_due(&mut self.last_look, LOOK_EVERY) {
            self.look_at_agent(scene)?;
        }
        if is_due(&mut self.last_question, ASK_EVERY) {
            self.ask_dashboard(scene);
        }
        Ok(())
    }

    fn look_at_agent(&mut self, scene: &Scene) -> Result<(), Trouble> {
        if let Some(record) = scene.mac.folder.agent_record()? {
            if !self.agents.iter().any(|seen| seen.process == record.process) {
                let up = record.started_at.as_millisecond();
                let life = AgentLife { pid: record.process.pid, up, gone: None };
                self.agents.push(Seen { process: record.process, life });
            }
            self.heartbeats.extend(record.last_heartbeat_at.map(Timestamp::as_millisecond));
        }
        let now = Timestamp::now().as_millisecond();
        for seen in self.agents.iter_mut().filter(|seen| seen.life.gone.is_none()) {
            let is_alive = seen.process.is_alive();
            if !is_alive.map_err(|error| Trouble::Said(error.to_string()))? {
                seen.life.gone = Some(now);
            }
        }
        Ok(())
    }

    fn ask_dashboard(&mut self, scene: &Scene) {
        // A dashboard that is too busy to answer is asked again; the agent's own record tells of its answers too.
        let heard =
            scene.operator.host(scene.host()).ok().flatten().and_then(|host| host.last_seen);
        self.heartbeats.extend(heard.map(Timestamp::as_millisecond));
    }

    /// An agent lives that the dashboard has heard since then.
    pub(super) fn is_heard_since(&self, moment: i64) -> bool {
        self.agents.iter().any(|seen| {
            let since = moment.max(seen.life.up);
            seen.life.gone.is_none() && self.heartbeats.range(since..).next().is_some()
        })
    }

    /// Whether the agent that was there first is gone.
    pub(super) fn is_first_gone(&self) -> bool {
        self.agents.first().is_some_and(|seen| seen.life.gone.is_some())
    }

    /// When the dashboard heard of the host.
    pub(super) fn heartbeats(&self) -> Vec<i64> {
        self.heartbeats.iter().copied().collect()
    }

    /// The agents, with their ends as launchd knows them where it is their parent.
    pub(super) fn agents(&self, scene: &Scene) -> Result<Vec<AgentLife>, Trouble> {
        let records = scene.mac.launchd.job_records(LABEL)?;
        let end_of = |life: &AgentLife| {
            let gone = life.gone?;
            let exact = records.iter().find_map(|record| {
                let JobEvent::Exited { pid, .. } = record.event else { return None };
                let is_the_same =
                    u32::try_from(pid) == Ok(life.pid) && (record.unix_ms - gone).abs() <= SAME_END;
                is_the_same.then_some(record.unix_ms)
            });
            Some(exact.unwrap_or(gone))
        };
        let lives = self.agents.iter().map(|seen| seen.life);
        Ok(lives.map(|life| AgentLife { gone: end_of(&life), ..life }).collect())
    }
}

fn is_due(last: &mut Option<Instant>, every: Duration) -> bool {
    let is_due = last.is_none_or(|last| last.elapsed() >= every);
    if is_due {
        *last = Some(Instant::now());
    }
    is_due
}
