//! What the agent does next: pure. No clock, no files, no processes, no network; time comes in as `now`.
//!
//! [`handle`] takes in an event and then looks over the whole state for what is due. Nothing depends on the order in
//! which events arrive, and a fact from the journal that is older than what is known already is thrown away.
//!
//! - [`facts`]: what the core knows of the journal.
//! - [`event`], [`action`]: what happens, what is done.
//! - [`lane`]: calls of one kind, one at a time.
//! - [`switches`]: each switch, from its acceptance to the dashboard's last word on it.
//! - [`reports`], [`output`]: what the dashboard is told about switches.
//! - [`commands`], [`stop`]: everything else that it may ask for.

pub(crate) mod action;
mod commands;
pub(crate) mod event;
pub(crate) mod facts;
mod lane;
mod output;
mod reports;
mod stop;
mod switches;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use nixfleet_protocol::{journal::records::SwitchId, wire::fields::CommandId};

use action::{Action, Note};
use commands::{Arriving, Restarting, TrackedCommand};
use event::{Event, Welcome};
use facts::{Arrival, Delivery, Look, Protocol, Serial};
use lane::{Lane, LaneName};
use stop::Stop;
use switches::TrackedSwitch;

use crate::dashboard_client::{Failure, Reply};

/// Time between two glances at the journal while nothing is going on.
const GLANCE_EVERY: Duration = Duration::from_secs(1);

/// Time between two looks while a switch is at work or has just ended.
const LOOK_OFTEN: Duration = Duration::from_millis(200);

/// Time between two looks while something is open.
const LOOK_SELDOM: Duration = Duration::from_secs(1);

/// Time between two polls at least when the first one brought a command.
const POLL_AGAIN: Duration = Duration::from_millis(50);

/// Time between two polls at least when the first one brought nothing: a dashboard that does not wait is not asked
/// without pause.
const POLL_SLOWLY: Duration = Duration::from_secs(1);

/// A job at the journal that did not work is not tried again before this time.
const REST_AFTER_FAILURE: Duration = Duration::from_secs(5);

/// Time between two prunings of the journal.
const PRUNE_EVERY: Duration = Duration::from_hours(1);

/// That many closed switches and commands call for pruning before its time.
const PRUNE_AFTER_CLOSED: u32 = 20;

/// While that many switches and commands are open, no more are asked for.
const MAX_OPEN: usize = 64;

/// The shortest time that the driver sleeps.
const SHORTEST_SLEEP: Duration = Duration::from_millis(10);

/// Everything that the agent knows.
#[derive(Debug)]
pub(crate) struct State {
    interval: Duration,
    /// How this agent names itself in answers.
    myself: String,
    protocol: Option<Protocol>,
    register: Lane,
    poll: Lane,
    command: Lane,
    report: Lane,
    output: Lane,
    heartbeat_began: Instant,
    heartbeat_due: Instant,
    poll_began: Instant,
    looking: Looking,
    /// The number of the newest fact from the journal.
    newest: Serial,
    switches: BTreeMap<SwitchId, TrackedSwitch>,
    commands: BTreeMap<CommandId, TrackedCommand>,
    stops: BTreeMap<CommandId, Stop>,
    arriving: VecDeque<Arriving>,
    is_taking: bool,
    /// Acknowledgements to be sent, and how often the dashboard did not know what was acknowledged.
    acknowledgements: BTreeMap<CommandId, u8>,
    restarting: Option<Restarting>,
    is_ensuring: bool,
    pruning: Pruning,
}

/// Looking at the journal.
#[derive(Debug)]
struct Looking {
    is_under_way: bool,
    /// A glance will not do.
    is_wanted: bool,
    due: Instant,
    /// The number of the last look.
    newest: Serial,
}

/// Pruning the journal.
#[derive(Debug)]
struct Pruning {
    is_under_way: bool,
    due: Instant,
    /// Switches and commands that were closed since.
    closed: u32,
}

impl State {
    /// An agent that has just come up.
    pub(crate) fn new(interval: Duration, myself: String, seed: u64, now: Instant) -> Self {
        let lane = |name: LaneName| Lane::new(name, seed.wrapping_add(name as u64));
        Self {
            interval,
            myself,
            protocol: None,
            register: lane(LaneName::Register),
            poll: lane(LaneName::Poll),
            command: lane(LaneName::Command),
            report: lane(LaneName::Report),
            output: lane(LaneName::Output),
            heartbeat_began: now,
            heartbeat_due: now,
            poll_began: now,
            looking: Looking { is_under_way: false, is_wanted: true, due: now, newest: 0 },
            newest: 0,
            switches: BTreeMap::new(),
            commands: BTreeMap::new(),
            stops: BTreeMap::new(),
            arriving: VecDeque::new(),
            is_taking: false,
            acknowledgements: BTreeMap::new(),
            restarting: None,
            is_ensuring: false,
            pruning: Pruning { is_under_way: false, due: now, closed: 0 },
        }
    }

    /// When [`Event::TimeCame`] is due.
    pub(crate) fn wake_at(&self, now: Instant) -> Instant {
        let lanes = [&self.register, &self.poll, &self.command, &self.report, &self.output];
        let opening = lanes.into_iter().filter_map(Lane::opens_at).filter(|at| *at > now);
        let heartbeat = (!self.register.is_busy()).then_some(self.heartbeat_due);
        let look = (!self.looking.is_under_way).then_some(self.looking.due);
        let restart = self.restarting.as_ref().map(|restarting| restarting.deadline);
        let soonest = opening
            .chain(heartbeat.filter(|at| *at > now))
            .chain(look)
            .chain(restart)
            .min()
            .unwrap_or(now + GLANCE_EVERY);
        soonest.max(now + SHORTEST_SLEEP)
    }

    fn open(&self) -> usize {
        self.switches.len() + self.commands.len() + self.arriving.len()
    }
}

/// Takes in what has happened and says what to do.
pub(crate) fn handle(state: &mut State, event: Event, now: Instant) -> Vec<Action> {
    let mut actions = Vec::new();
    state.take_in(event, now, &mut actions);
    state.plan(now, &mut actions);
    actions
}

impl State {
    fn take_in(&mut self, event: Event, now: Instant, actions: &mut Vec<Action>) {
        match event {
            Event::TimeCame | Event::Done | Event::WrapperEnded => {}
            Event::JournalChanged => self.look_soon(now),
            Event::Registered(reply) => self.registered(reply, now, actions),
            Event::Polled(reply) => self.polled(reply, now, actions),
            Event::Acknowledged { command, reply } => {
                self.acknowledged(&command, reply, now, actions);
            }
            Event::AnswerSent { command, reply } => self.answer_sent(&command, reply, now, actions),
            Event::NotAnswerable { command } => self.not_answerable(&command, now),
            Event::Reported { switch, stage, reply } => {
                self.reported(switch, stage, reply, now, actions);
            }
            Event::NotReportable { switch } => {
                self.report.end();
                self.let_rest(switch, now);
                self.look_soon(now);
            }
            Event::OutputSent { switch, reply } => self.output_sent(switch, reply, now, actions),
            Event::OutputUnreadable { switch } => self.output_unreadable(switch, actions),
            Event::Looked { serial, look } => self.looked(serial, look, now),
            Event::LookFailed => {
                self.looking.is_under_way = false;
                self.looking.due = now + REST_AFTER_FAILURE;
            }
            Event::Taken { serial, arrival, taken } => {
                self.newest = self.newest.max(serial);
                self.taken(arrival, taken, now, actions);
            }
            Event::SwitchWorked { serial, switch, is_done } => {
                self.newest = self.newest.max(serial);
                self.switch_worked(switch, is_done, now);
            }
            Event::SwitchMarked { serial, switch, is_done } => {
                self.newest = self.newest.max(serial);
                self.switch_marked(switch, is_done, now, actions);
            }
            Event::CommandWorked { serial, command, is_done } => {
                self.newest = self.newest.max(serial);
                self.command_worked(&command, is_done, now);
            }
            Event::CommandMarked { serial, command, is_done } => {
                self.newest = self.newest.max(serial);
                self.command_marked(&command, is_done, now);
            }
            Event::WrapperFailed { switch, how } => self.wrapper_failed(switch, how, now),
            Event::EnsureEnded { switch } => self.ensure_ended(switch, now),
            Event::RestartTold => self.restart_told(),
            Event::Pruned => self.pruning.is_under_way = false,
        }
    }

    /// Everything that is due. The order matters where two things are due at once: a command is on disk before it is
    /// acknowledged, and acknowledged before its wrapper is started.
    fn plan(&mut self, now: Instant, actions: &mut Vec<Action>) {
        self.plan_arrivals(now, actions);
        self.plan_commands(now, actions);
        self.plan_calls_on_commands(now, actions);
        self.plan_reports(now, actions);
        self.plan_output(now, actions);
        self.plan_switches(now, actions);
        self.plan_register(now, actions);
        self.plan_poll(now, actions);
        self.plan_look(now, actions);
        self.plan_pruning(now, actions);
        self.plan_restart(now, actions);
    }

    // Registration, which is also the heartbeat.

    fn plan_register(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.heartbeat_due <= now && self.register.is_free(now) {
            self.register.begin();
            self.heartbeat_began = now;
            actions.push(Action::Register);
        }
    }

    fn registered(&mut self, reply: Reply<Welcome>, now: Instant, actions: &mut Vec<Action>) {
        let welcome = match reply {
            Ok(welcome) => welcome,
            Err(failure) => {
                actions.extend(self.register.fail(&failure, now).map(Action::Note));
                return;
            }
        };
        actions.extend(self.register.succeed().map(Action::Note));
        self.heartbeat_due = (self.heartbeat_began + self.interval).max(now);
        self.dashboard_is_back();
        self.speak(welcome.protocol, actions);
        actions.push(Action::NoteHeartbeat);
        if let Some(arrival) = welcome.command {
            self.arrived(arrival, now, actions);
        }
    }

    /// What was told in one protocol counts for nothing in the other: it may be another dashboard.
    fn speak(&mut self, protocol: Protocol, actions: &mut Vec<Action>) {
        if self.protocol == Some(protocol) {
            return;
        }
        self.protocol = Some(protocol);
        for tracked in self.switches.values_mut() {
            tracked.forget_what_was_told();
        }
        actions.push(Action::Note(Note::Speaks(protocol)));
    }

    fn dashboard_is_back(&mut self) {
        for lane in [
            &mut self.register,
            &mut self.poll,
            &mut self.command,
            &mut self.report,
            &mut self.output,
        ] {
            lane.dashboard_is_back();
        }
    }

    /// The dashboard does not know us, or not by this token: registering mends both.
    fn register_soon(&mut self, failure: &Failure, now: Instant) {
        match failure {
            Failure::Missing { .. } | Failure::Unauthorized { .. } => self.heartbeat_due = now,
            Failure::Refused { .. } | Failure::Retry { .. } => {}
        }
    }

    // The poll.

    fn plan_poll(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let may_poll = self.protocol == Some(Protocol::V2)
            && self.open() < MAX_OPEN
            && self.restarting.is_none();
        if may_poll && self.poll.is_free(now) {
            self.poll.begin();
            self.poll_began = now;
            actions.push(Action::Poll);
        }
    }

    fn polled(&mut self, reply: Reply<Option<Arrival>>, now: Instant, actions: &mut Vec<Action>) {
        match reply {
            Ok(arrival) => {
                actions.extend(self.poll.succeed().map(Action::Note));
                self.dashboard_is_back();
                let pause = if arrival.is_some() { POLL_AGAIN } else { POLL_SLOWLY };
                self.poll.rest_until(self.poll_began + pause);
                if let Some(arrival) = arrival {
                    self.arrived(arrival, now, actions);
                }
            }
            Err(failure) => {
                self.register_soon(&failure, now);
                actions.extend(self.poll.fail(&failure, now).map(Action::Note));
            }
        }
    }

    // The journal.

    fn look_soon(&mut self, now: Instant) {
        self.looking.is_wanted = true;
        self.looking.due = now;
    }

    fn plan_look(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.looking.is_under_way || now < self.looking.due {
            return;
        }
        let must_look = self.looking.is_wanted || !self.switches.is_empty();
        self.looking.due = now + self.look_pause();
        if must_look {
            self.looking.is_wanted = false;
            self.looking.is_under_way = true;
            actions.push(Action::Look);
        } else {
            actions.push(Action::Glance);
        }
    }

    fn look_pause(&self) -> Duration {
        if self.switches.values().any(TrackedSwitch::is_moving) {
            LOOK_OFTEN
        } else if self.switches.is_empty() {
            GLANCE_EVERY
        } else {
            LOOK_SELDOM
        }
    }

    fn looked(&mut self, serial: Serial, look: Look, now: Instant) {
        self.looking.is_under_way = false;
        if serial < self.newest {
            self.look_soon(now);
            return;
        }
        self.newest = serial;
        self.looking.newest = serial;
        self.take_in_switches(look.switches, now);
        self.take_in_commands(look.commands, now);
        self.looking.due = now + self.look_pause();
    }

    fn plan_pruning(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let is_due = self.pruning.due <= now || self.pruning.closed >= PRUNE_AFTER_CLOSED;
        if is_due && !self.pruning.is_under_way {
            self.pruning.is_under_way = true;
            self.pruning.due = now + PRUNE_EVERY;
            self.pruning.closed = 0;
            actions.push(Action::Prune);
        }
    }
}

/// Whether a command that came this way is acknowledged.
const fn wants_acknowledgement(delivery: Delivery) -> bool {
    match delivery {
        Delivery::Once => false,
        Delivery::Leased => true,
    }
}
