//! `stop`: ending the switch that runs. The answer is given once the switch's result is there.

use std::time::{Duration, Instant};

use nixfleet_protocol::{
    journal::records::SwitchId, lifecycle::Phase, wire::fields::CommandId, wire::v2::AnswerOutcome,
};
use rustix::process::Signal;

use super::{
    State,
    action::Action,
    facts::{CommandView, Serial},
};

/// How long a switch that is about to start may take until it can be ended.
const START_WITHIN: Duration = Duration::from_secs(10);

/// How long home-manager has between SIGTERM and SIGKILL when its wrapper is gone.
const GRACE: Duration = Duration::from_secs(10);

/// How long the whole may take.
const END_WITHIN: Duration = Duration::from_mins(1);

/// A stop that an earlier agent process took is still carried out for so long.
const CARRIED_ON_FOR: Duration = Duration::from_mins(1);

/// A stop that is being carried out.
#[derive(Debug)]
pub(super) enum Stop {
    /// What runs is to be seen in a look that is newer than this.
    Looking { after: Serial },
    /// This switch is to end.
    Ending { switch: SwitchId, since: Instant, sent: Sent },
    /// Nothing runs.
    NothingRuns,
}

/// What was sent to end a switch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    to_wrapper: bool,
    term_at: Option<Instant>,
    kill: bool,
}

/// What comes of a stop, once something does.
type Answer = (AnswerOutcome, String);

impl State {
    /// The answer to a stop, if it has come so far; else what is to be done for it.
    pub(super) fn stop_answer(
        &mut self,
        view: &CommandView,
        now: Instant,
        actions: &mut Vec<Action>,
    ) -> Option<Answer> {
        let Some(stop) = self.stops.get(&view.id) else { return self.begin_stop(view, now) };
        let (switch, since) = match stop {
            Stop::Looking { .. } => return None,
            Stop::NothingRuns if view.is_ours => {
                return Some((AnswerOutcome::Refused, "no switch is running".to_owned()));
            }
            Stop::NothingRuns => {
                let message = "the agent was restarted meanwhile, and no switch is running now";
                return Some((AnswerOutcome::Failed, message.to_owned()));
            }
            Stop::Ending { switch, since, .. } => (*switch, *since),
        };
        let waited = now.saturating_duration_since(since);
        self.stop_outcome(switch, waited).or_else(|| {
            self.press(&view.id, now, actions);
            None
        })
    }

    fn begin_stop(&mut self, view: &CommandView, now: Instant) -> Option<Answer> {
        let is_current = view.is_ours || view.age.is_some_and(|age| age < CARRIED_ON_FOR);
        if !is_current {
            let message = "the agent was restarted before it could see a switch end";
            return Some((AnswerOutcome::Failed, message.to_owned()));
        }
        self.stops.insert(view.id.clone(), Stop::Looking { after: self.newest });
        self.look_soon(now);
        None
    }

    /// A look has come in: what is at work now is what is to be stopped.
    pub(super) fn look_at_stops(&mut self, now: Instant) {
        let at_work = self.at_work();
        let last_look = self.looking.newest;
        for stop in self.stops.values_mut() {
            match stop {
                Stop::Looking { after } if last_look > *after => {
                    *stop = at_work.map_or(Stop::NothingRuns, |switch| Stop::Ending {
                        switch,
                        since: now,
                        sent: Sent { to_wrapper: false, term_at: None, kill: false },
                    });
                }
                Stop::Looking { .. } | Stop::Ending { .. } | Stop::NothingRuns => {}
            }
        }
    }

    fn stop_outcome(&self, switch: SwitchId, waited: Duration) -> Option<Answer> {
        let Some(tracked) = self.switches.get(&switch) else {
            return Some((AnswerOutcome::Succeeded, format!("switch {switch} has ended")));
        };
        if let Some(ended) = tracked.view.ended {
            return Some((AnswerOutcome::Succeeded, format!("switch {switch}: {}", ended.outcome)));
        }
        let is_starting = matches!(
            tracked.view.phase,
            Phase::Empty | Phase::Accepted | Phase::Waiting | Phase::Starting
        );
        let failed = |what: &str| Some((AnswerOutcome::Failed, format!("switch {switch} {what}")));
        if waited >= END_WITHIN {
            failed("has not ended within 60 s of being asked to")
        } else if is_starting && waited >= START_WITHIN {
            failed("is still about to start, so there was nothing to end yet")
        } else {
            None
        }
    }

    /// Sends what has not been sent yet. The wrapper passes the signal on and writes `cancelled`; where it is gone,
    /// home-manager itself gets it.
    fn press(&mut self, command: &CommandId, now: Instant, actions: &mut Vec<Action>) {
        let Some(Stop::Ending { switch, sent, .. }) = self.stops.get_mut(command) else { return };
        let Some(tracked) = self.switches.get(switch) else { return };
        let switch = *switch;
        match tracked.view.phase {
            Phase::Running if !sent.to_wrapper => {
                sent.to_wrapper = true;
                actions.push(Action::SignalWrapper(switch));
            }
            Phase::Orphaned => match sent.term_at {
                None => {
                    sent.term_at = Some(now);
                    actions.push(Action::SignalHomeManager { switch, signal: Signal::TERM });
                }
                Some(term_at) if now.saturating_duration_since(term_at) >= GRACE && !sent.kill => {
                    sent.kill = true;
                    actions.push(Action::SignalHomeManager { switch, signal: Signal::KILL });
                }
                Some(_) => {}
            },
            Phase::Running
            | Phase::Empty
            | Phase::Accepted
            | Phase::Waiting
            | Phase::Starting
            | Phase::Remains
            | Phase::Interrupted
            | Phase::Ensuring
            | Phase::Finished { .. } => {}
        }
    }
}
