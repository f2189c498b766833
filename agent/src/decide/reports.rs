//! What the dashboard is told about switches, and in which order.
//!
//! Results first, oldest first; how a switch is getting on only when no result waits. A result that the dashboard cannot
//! digest lets the others pass after some tries. A v1 dashboard closes the newest open command by whatever it is told: of
//! its own commands it is told newest first.

use std::time::{Duration, Instant};

use nixfleet_protocol::{
    journal::records::{Initiator, Outcome, SwitchId},
    lifecycle::Phase,
};

use super::{
    State,
    action::{Action, Note},
    facts::{Closing, Protocol, Stage, Standing},
    reception::Reception,
    switches::TrackedSwitch,
};
use crate::dashboard_client::{Failure, Reply};

/// A v1 dashboard can be told a result only once, so it is told after the agent's job was looked after, or after
/// this time.
const V1_AWAITS_RELOAD_FOR: Duration = Duration::from_secs(20);

/// How a switch is getting on is told no more often than this.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// How long a result is held back for the last word on the host's tests, which is a call of its own.
const V1_AWAITS_TESTS_FOR: Duration = Duration::from_secs(30);

impl State {
    pub(super) fn plan_reports(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let Some(protocol) = self.protocol else { return };
        if !self.report.is_free(now) {
            return;
        }
        let Some((switch, stage)) = self.next_report(protocol, now) else { return };
        self.report.begin();
        actions.push(Action::Report { switch, stage, protocol });
    }

    fn next_report(&self, protocol: Protocol, now: Instant) -> Option<(SwitchId, Stage)> {
        let only = self.newest_open(protocol);
        self.switches
            .values()
            .filter(|tracked| !tracked.is_resting(now))
            .filter(|tracked| only.is_none_or(|only| tracked.view.id == only))
            .filter_map(|tracked| {
                let stage = match protocol {
                    Protocol::V1 => v1_stage(tracked, now),
                    Protocol::V2 => v2_stage(tracked, now),
                };
                stage.map(|stage| (rank(tracked, stage), tracked.view.id, stage))
            })
            .min_by_key(|(rank, id, _)| (*rank, *id))
            .map(|(_, id, stage)| (id, stage))
    }

    /// On v1 a status closes the newest open command, whichever that is. So while commands of the dashboard's are open, no
    /// other result is told than that of the newest, which may have to end first; neither of an older one nor what users
    /// did on their own.
    fn newest_open(&self, protocol: Protocol) -> Option<SwitchId> {
        let is_open = |tracked: &&TrackedSwitch| {
            tracked.view.initiator == Initiator::Agent
                && tracked.view.phase != Phase::Empty
                && !tracked.view.is_answered
        };
        match protocol {
            Protocol::V1 => {
                let open = self.switches.values().filter(is_open);
                open.map(|tracked| tracked.view.id).max()
            }
            Protocol::V2 => None,
        }
    }

    pub(super) fn reported(
        &mut self,
        id: SwitchId,
        (stage, standing): (Stage, Standing),
        reply: Reply<Option<u64>>,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        match reply {
            Ok(output_offset) => {
                actions.extend(self.report.succeed().map(Action::Note));
                self.dashboard_is_back();
                let Some(tracked) = self.switches.get_mut(&id) else { return };
                tracked.told = Some((stage, now));
                tracked.told_standing = standing;
                tracked.reception = Reception::default();
                tracked.output.begin_at(output_offset);
            }
            Err(failure) => {
                let failure = match self.switches.get_mut(&id) {
                    Some(tracked) => tracked.reception.fails(failure),
                    None => failure,
                };
                self.not_reported(id, stage, &failure, now, actions);
            }
        }
    }

    fn not_reported(
        &mut self,
        id: SwitchId,
        stage: Stage,
        failure: &Failure,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        let Failure::Refused { status, said } = failure else {
            self.register_soon(failure, now);
            actions.extend(self.report.fail(failure, now).map(Action::Note));
            return;
        };
        // The dashboard works; it is this one report that it does not take.
        actions.extend(self.report.succeed().map(Action::Note));
        actions.push(Action::Note(Note::Refused {
            switch: id,
            status: *status,
            said: said.clone(),
        }));
        let Some(tracked) = self.switches.get_mut(&id) else { return };
        match stage {
            Stage::Final { .. } => {
                tracked.refusal = Some(Closing::Refused { status: *status, said: said.clone() });
            }
            Stage::Accepted | Stage::Running => {}
        }
        tracked.told = Some((stage, now));
    }
}

/// Results before progress; and among the results those last that the dashboard has choked on.
fn rank(tracked: &TrackedSwitch, stage: Stage) -> u32 {
    match stage {
        Stage::Final { .. } => tracked.reception.rank(),
        Stage::Accepted | Stage::Running => u32::MAX,
    }
}

fn v1_stage(tracked: &TrackedSwitch, now: Instant) -> Option<Stage> {
    let ended = tracked.view.ended?;
    let is_open = !tracked.view.is_answered && tracked.refusal.is_none();
    let is_untold = tracked.told_final().is_none();
    let ended_for = tracked.ended_for(now)?;
    // What did not start has done nothing to the agent's job.
    let has_no_more_to_say = ended.has_reload || ended.outcome == Outcome::NotStarted;
    let is_time = has_no_more_to_say || ended_for >= V1_AWAITS_RELOAD_FOR;
    // Told after the result, the end of the tests would be taken for that of later ones.
    let has_tests_told = !tracked.has_news_of_tests() || ended_for >= V1_AWAITS_TESTS_FOR;
    (is_open && is_untold && is_time && has_tests_told)
        .then_some(Stage::Final { with_reload: ended.has_reload })
}

fn v2_stage(tracked: &TrackedSwitch, now: Instant) -> Option<Stage> {
    let Some(ended) = tracked.view.ended else { return progress(tracked, now) };
    let is_open = !tracked.view.is_answered && tracked.refusal.is_none();
    let is_news = match tracked.told_final() {
        None => true,
        Some((with_reload, _)) => ended.has_reload && !with_reload,
    };
    (is_open && is_news).then_some(Stage::Final { with_reload: ended.has_reload })
}

fn progress(tracked: &TrackedSwitch, now: Instant) -> Option<Stage> {
    let stage = match tracked.view.phase {
        Phase::Accepted | Phase::Waiting | Phase::Starting => Stage::Accepted,
        Phase::Running | Phase::Orphaned | Phase::Remains => Stage::Running,
        Phase::Empty | Phase::Interrupted | Phase::Ensuring | Phase::Finished { .. } => {
            return None;
        }
    };
    let is_news = match tracked.told {
        None => true,
        Some((Stage::Accepted, _)) => stage == Stage::Running,
        Some((Stage::Running, at)) => {
            let is_further = tracked.told_standing != tracked.view.standing;
            is_further && now.saturating_duration_since(at) >= PROGRESS_EVERY
        }
        Some((Stage::Final { .. }, _)) => false,
    };
    is_news.then_some(stage)
}
