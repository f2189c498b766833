//! Commands: taking them, acknowledging them, answering those that are not switches, and telling the dashboard.

use std::time::{Duration, Instant};

use nixfleet_protocol::wire::{fields::CommandId, v2::AnswerOutcome};

use super::{
    REST_AFTER_FAILURE, State,
    action::{Action, Note},
    event::CannotTake,
    facts::{AnswerText, Arrival, Closing, CommandView, Protocol, Taken},
    wants_acknowledgement,
};
use crate::dashboard_client::{Failure, Reply};

/// No more than that many commands wait for being put on disk; a dashboard that sends more sends them again.
const MAX_ARRIVING: usize = 16;

/// For so long it is tried to put a command on disk.
const TAKE_WITHIN: Duration = Duration::from_mins(1);

/// How long a restart waits for the dashboard to hear of it.
const RESTART_WITHIN: Duration = Duration::from_secs(3);

/// So often an answer is sent again although the dashboard does not know the command.
const MAX_MISSES: u8 = 3;

/// A command that is not on disk yet.
#[derive(Debug)]
pub(super) struct Arriving {
    arrival: Arrival,
    since: Instant,
    not_before: Instant,
}

/// A command other than a switch.
#[derive(Debug)]
pub(super) struct TrackedCommand {
    pub(super) view: CommandView,
    is_busy: bool,
    rests_until: Option<Instant>,
    misses: u8,
    closing: Option<Closing>,
}

/// The agent is about to end because the dashboard wants a new one.
#[derive(Debug)]
pub(super) struct Restarting {
    command: CommandId,
    pub(super) deadline: Instant,
    is_told: bool,
}

impl State {
    // Taking.

    pub(super) fn arrived(&mut self, arrival: Arrival, now: Instant, actions: &mut Vec<Action>) {
        let verb = arrival.verb.as_str().to_owned();
        if self.arriving.len() >= MAX_ARRIVING {
            actions.push(Action::Note(Note::CommandLost { verb }));
            return;
        }
        actions.push(Action::Note(Note::Received { verb }));
        self.arriving.push_back(Arriving { arrival, since: now, not_before: now });
    }

    pub(super) fn plan_arrivals(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let is_due = self.arriving.front().is_some_and(|arriving| arriving.not_before <= now);
        if self.is_taking || !is_due {
            return;
        }
        if let Some(arriving) = self.arriving.front() {
            self.is_taking = true;
            let at_work = self.at_work();
            actions.push(Action::Take { arrival: arriving.arrival.clone(), at_work });
        }
    }

    pub(super) fn taken(
        &mut self,
        arrival: Arrival,
        taken: Result<Taken, CannotTake>,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        self.is_taking = false;
        match taken {
            Ok(Taken::Known) => {}
            Ok(Taken::Switch(view)) => self.track(view, now),
            Ok(Taken::Command(view)) => self.track_command(view),
            Err(CannotTake) => {
                self.take_later(now, actions);
                return;
            }
        }
        self.arriving.pop_front();
        if wants_acknowledgement(arrival.delivery) {
            self.acknowledgements.insert(arrival.id, 0);
        }
    }

    fn take_later(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let Some(arriving) = self.arriving.front_mut() else { return };
        arriving.not_before = now + REST_AFTER_FAILURE;
        if now.saturating_duration_since(arriving.since) >= TAKE_WITHIN {
            let verb = arriving.arrival.verb.as_str().to_owned();
            actions.push(Action::Note(Note::CommandLost { verb }));
            self.arriving.pop_front();
        }
    }

    // Acting.

    pub(super) fn take_in_commands(&mut self, views: Vec<CommandView>, now: Instant) {
        let still_open: std::collections::BTreeSet<CommandId> =
            views.iter().map(|view| view.id.clone()).collect();
        self.commands.retain(|id, _| still_open.contains(id));
        self.stops.retain(|id, _| still_open.contains(id));
        for view in views {
            self.track_command(view);
        }
        self.look_at_stops(now);
    }

    fn track_command(&mut self, view: CommandView) {
        let tracked = self.commands.entry(view.id.clone()).or_insert_with(|| TrackedCommand {
            view: view.clone(),
            is_busy: false,
            rests_until: None,
            misses: 0,
            closing: None,
        });
        tracked.view = view;
    }

    pub(super) fn plan_commands(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let due: Vec<CommandId> = self
            .commands
            .values()
            .filter(|tracked| !tracked.is_busy && !tracked.is_resting(now))
            .map(|tracked| tracked.view.id.clone())
            .collect();
        for id in due {
            self.plan_command(&id, now, actions);
        }
    }

    fn plan_command(&mut self, id: &CommandId, now: Instant, actions: &mut Vec<Action>) {
        let protocol = self.protocol;
        let Some(tracked) = self.commands.get_mut(id) else { return };
        if let (Some(closing), Some(protocol)) = (&tracked.closing, protocol) {
            tracked.is_busy = true;
            let (command, closing) = (id.clone(), closing.clone());
            actions.push(Action::MarkCommand { command, closing, protocol });
            return;
        }
        if tracked.view.is_answered {
            return;
        }
        let view = tracked.view.clone();
        let answer = match view.verb.as_deref() {
            Some("restart") if view.is_ours => {
                self.begin_restart(id, now);
                None
            }
            Some("restart") => {
                Some((AnswerOutcome::Succeeded, format!("agent restarted: {}", self.myself)))
            }
            Some("stop") => self.stop_answer(&view, now, actions),
            Some(verb) => Some((AnswerOutcome::Refused, format!("Unknown command: {verb}"))),
            None => Some((
                AnswerOutcome::Failed,
                "the agent's record of this command cannot be read any more".to_owned(),
            )),
        };
        if let Some((outcome, message)) = answer {
            self.answer(&view, AnswerText { outcome, message }, actions);
        }
    }

    fn answer(&mut self, view: &CommandView, answer: AnswerText, actions: &mut Vec<Action>) {
        if let Some(tracked) = self.commands.get_mut(&view.id) {
            tracked.is_busy = true;
        }
        self.stops.remove(&view.id);
        actions.push(Action::Note(Note::CommandAnswered {
            verb: view.verb.clone().unwrap_or_else(|| "(unreadable)".to_owned()),
            outcome: answer.outcome,
            message: answer.message.clone(),
        }));
        actions.push(Action::Answer { command: view.id.clone(), answer });
    }

    pub(super) fn command_worked(&mut self, id: &CommandId, is_done: bool, now: Instant) {
        let Some(tracked) = self.commands.get_mut(id) else { return };
        tracked.is_busy = false;
        if is_done {
            tracked.view.is_answered = true;
        } else {
            tracked.rests_until = Some(now + REST_AFTER_FAILURE);
        }
    }

    pub(super) fn command_marked(&mut self, id: &CommandId, is_done: bool, now: Instant) {
        if is_done {
            self.commands.remove(id);
            self.pruning.closed += 1;
        } else if let Some(tracked) = self.commands.get_mut(id) {
            tracked.is_busy = false;
            tracked.rests_until = Some(now + REST_AFTER_FAILURE);
        }
    }

    // Restarting.

    fn begin_restart(&mut self, command: &CommandId, now: Instant) {
        if self.restarting.is_none() {
            self.restarting = Some(Restarting {
                command: command.clone(),
                deadline: now + RESTART_WITHIN,
                is_told: false,
            });
        }
    }

    /// The agent ends once the dashboard has heard that it will, or has had time to.
    pub(super) fn plan_restart(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let is_acknowledged = |command| !self.acknowledgements.contains_key(command);
        let Some(restarting) = &self.restarting else { return };
        let is_heard = match self.protocol {
            Some(Protocol::V1) => restarting.is_told,
            Some(Protocol::V2) | None => is_acknowledged(&restarting.command),
        };
        if is_heard || restarting.deadline <= now {
            actions.push(Action::Exit);
        }
    }

    pub(super) const fn restart_told(&mut self) {
        if let Some(restarting) = &mut self.restarting {
            restarting.is_told = true;
        }
    }

    // Telling the dashboard.

    pub(super) fn plan_calls_on_commands(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let Some(protocol) = self.protocol else { return };
        if !self.command.is_free(now) {
            return;
        }
        let restart = self.restarting.as_ref().filter(|_| protocol == Protocol::V1);
        if let Some(restarting) = restart {
            self.command.begin();
            actions.push(Action::TellRestart(restarting.command.clone()));
        } else if let Some(command) = self.acknowledgements.keys().next() {
            self.command.begin();
            actions.push(Action::Acknowledge(command.clone()));
        } else if let Some(command) = self.next_answer(now) {
            self.command.begin();
            actions.push(Action::SendAnswer { command, protocol });
        }
    }

    fn next_answer(&self, now: Instant) -> Option<CommandId> {
        self.commands
            .values()
            .find(|tracked| {
                tracked.view.is_answered
                    && tracked.closing.is_none()
                    && !tracked.is_busy
                    && !tracked.is_resting(now)
            })
            .map(|tracked| tracked.view.id.clone())
    }

    pub(super) fn acknowledged(
        &mut self,
        command: &CommandId,
        reply: Reply<()>,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        match reply {
            Ok(()) | Err(Failure::Refused { .. }) => {
                actions.extend(self.command.succeed().map(Action::Note));
                self.acknowledgements.remove(command);
            }
            Err(failure) => {
                if let Failure::Missing { .. } = failure {
                    self.count_unknown(command);
                }
                self.register_soon(&failure, now);
                actions.extend(self.command.fail(&failure, now).map(Action::Note));
            }
        }
    }

    /// What was to be said is lost, so it is found out anew.
    pub(super) fn not_answerable(&mut self, id: &CommandId, now: Instant) {
        self.command.end();
        if let Some(tracked) = self.commands.get_mut(id) {
            tracked.view.is_answered = false;
            tracked.rests_until = Some(now + REST_AFTER_FAILURE);
        }
    }

    /// A dashboard that does not know the command after another registration has forgotten it; so do we.
    fn count_unknown(&mut self, command: &CommandId) {
        let misses = self.acknowledgements.entry(command.clone()).or_insert(0);
        *misses += 1;
        if *misses > 1 {
            self.acknowledgements.remove(command);
        }
    }

    pub(super) fn answer_sent(
        &mut self,
        id: &CommandId,
        reply: Reply<()>,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        let tracked = self.commands.get_mut(id);
        let closing = match &reply {
            Ok(()) => Some(Closing::Taken),
            Err(Failure::Refused { status, said }) => {
                Some(Closing::Refused { status: *status, said: said.clone() })
            }
            Err(Failure::Missing { said }) => tracked.as_ref().and_then(|tracked| {
                let is_hopeless = tracked.misses >= MAX_MISSES;
                is_hopeless.then(|| Closing::Refused { status: 404, said: said.clone() })
            }),
            Err(Failure::Retry { .. } | Failure::Unauthorized { .. }) => None,
        };
        if let Some(tracked) = tracked {
            tracked.misses += u8::from(closing.is_none());
            tracked.closing.clone_from(&closing);
        }
        match (closing, reply) {
            (None, Err(failure)) => {
                self.register_soon(&failure, now);
                actions.extend(self.command.fail(&failure, now).map(Action::Note));
            }
            (Some(_), Ok(()) | Err(_)) | (None, Ok(())) => {
                actions.extend(self.command.succeed().map(Action::Note));
            }
        }
    }
}

impl TrackedCommand {
    fn is_resting(&self, now: Instant) -> bool {
        self.rests_until.is_some_and(|until| now < until)
    }
}
