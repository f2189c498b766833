//! What the agent does next: pure. No clock, no files, no processes, no network; time comes in as `now`.
//!
//! [`handle`] takes in an event and then looks over the whole state for what is due. Nothing depends on the order in
//! which events arrive, and a fact from the journal that is older than what is known already is thrown away.
//!
//! - [`facts`]: what the core knows of the journal.
//! - [`event`], [`action`]: what happens, what is done.
//! - [`lane`]: calls of one kind, one at a time.
//! - [`switches`]: each switch, from its acceptance to the dashboard's last word on it.
//! - [`reports`], [`output`]: what the dashboard is told about switches; [`reception`]: how it takes it.
//! - [`tests_told`]: how a v1 dashboard hears of the host's tests.
//! - [`commands`], [`stop`]: everything else that it may ask for.
//! - [`flood`]: how many commands are let in.
//! - [`looking`]: when the journal is looked at and pruned.
//! - [`healings`]: what was put right without a switch, and the dashboard's word on it.
//! - [`care`]: an agent that is no longer what is installed, and a watchdog that is gone or stuck.
//! - [`life`], [`contact`]: what others on this machine are to know of the agent.

pub(crate) mod action;
mod care;
mod commands;
pub(crate) mod contact;
pub(crate) mod event;
pub(crate) mod facts;
mod flood;
mod healings;
mod lane;
mod life;
mod looking;
mod output;
mod reception;
mod reports;
mod stop;
mod switches;
#[cfg(test)]
mod tests;
mod tests_told;

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use nixfleet_protocol::{
    journal::records::{HealingId, SwitchId},
    wire::fields::CommandId,
};

use action::{Action, Note};
use care::Care;
use commands::{Arriving, Restarting, TrackedCommand};
use contact::Contact;
use event::{Event, Welcome};
use facts::{Arrival, Delivery, Protocol, Serial};
use flood::Allowance;
use healings::TrackedHealing;
use lane::{Lane, LaneName};
use life::SignOfLife;
use looking::{Looking, Pruning};
use stop::Stop;
use switches::TrackedSwitch;

use crate::dashboard_client::{Failure, Reply};

/// Time between two glances at the journal while nothing is going on.
const GLANCE_EVERY: Duration = Duration::from_secs(1);

/// Time between two polls at least when the first one brought a command.
const POLL_AGAIN: Duration = Duration::from_millis(50);

/// Time between two polls at least when the first one brought nothing: a dashboard that does not wait is not asked
/// without pause.
const POLL_SLOWLY: Duration = Duration::from_secs(1);

/// A job at the journal that did not work is not tried again before this time.
const REST_AFTER_FAILURE: Duration = Duration::from_secs(5);

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
    healing: Lane,
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
    allowance: Allowance,
    is_taking: bool,
    /// Acknowledgements to be sent, and how often the dashboard did not know what was acknowledged.
    acknowledgements: BTreeMap<CommandId, u8>,
    restarting: Option<Restarting>,
    is_ensuring: bool,
    pruning: Pruning,
    healings: BTreeMap<HealingId, TrackedHealing>,
    care: Care,
    life: SignOfLife,
    noted_contact: Contact,
}

impl State {
    /// An agent that has just come up. `systemd_watches` is the time within which systemd wants to hear of it.
    pub(crate) fn new(
        interval: Duration,
        systemd_watches: Option<Duration>,
        myself: String,
        seed: u64,
        now: Instant,
    ) -> Self {
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
            healing: lane(LaneName::Healing),
            heartbeat_began: now,
            heartbeat_due: now,
            poll_began: now,
            looking: Looking::new(now),
            newest: 0,
            switches: BTreeMap::new(),
            commands: BTreeMap::new(),
            stops: BTreeMap::new(),
            arriving: VecDeque::new(),
            allowance: Allowance::new(now),
            is_taking: false,
            acknowledgements: BTreeMap::new(),
            restarting: None,
            is_ensuring: false,
            pruning: Pruning::new(now),
            healings: BTreeMap::new(),
            care: Care::new(now),
            life: SignOfLife::new(systemd_watches, now),
            noted_contact: Contact::default(),
        }
    }

    /// When [`Event::TimeCame`] is due.
    pub(crate) fn wake_at(&self, now: Instant) -> Instant {
        let opening = self.lanes().into_iter().filter_map(Lane::opens_at).filter(|at| *at > now);
        let heartbeat = (!self.register.is_busy()).then_some(self.heartbeat_due);
        let look = (!self.looking.is_under_way).then_some(self.looking.due);
        let restart = self.restarting.as_ref().map(|restarting| restarting.deadline);
        let soonest = opening
            .chain(heartbeat.filter(|at| *at > now))
            .chain(look)
            .chain(restart)
            .chain(self.life.wakes_at())
            .min()
            .unwrap_or(now + GLANCE_EVERY);
        // Also while a look takes long: what others are to see of the agent does not wait for it.
        soonest.clamp(now + SHORTEST_SLEEP, now + GLANCE_EVERY)
    }

    const fn lanes(&self) -> [&Lane; 6] {
        [&self.register, &self.poll, &self.command, &self.report, &self.output, &self.healing]
    }

    const fn lanes_mut(&mut self) -> [&mut Lane; 6] {
        [
            &mut self.register,
            &mut self.poll,
            &mut self.command,
            &mut self.report,
            &mut self.output,
            &mut self.healing,
        ]
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
            Event::Woke => self.woke(now),
            Event::JournalChanged => self.look_soon(now),
            Event::ReportAsked => self.report_soon(now),
            Event::Registered(reply) => self.registered(reply, now, actions),
            Event::Polled(reply) => self.polled(reply, now, actions),
            Event::Acknowledged { command, reply } => {
                self.acknowledged(&command, reply, now, actions);
            }
            Event::AnswerSent { command, reply } => self.answer_sent(&command, reply, now, actions),
            Event::NotAnswerable { command } => self.not_answerable(&command, now),
            Event::Reported { switch, stage, standing, reply } => {
                self.reported(switch, (stage, standing), reply, now, actions);
            }
            Event::NotReportable { switch } => {
                self.report.end();
                self.let_rest(switch, now);
                self.look_soon(now);
            }
            Event::OutputSent { switch, reply } => self.output_sent(switch, reply, now, actions),
            Event::TestsReported { switch, tests, reply } => {
                self.tests_reported(switch, tests, reply, now, actions);
            }
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
            Event::HealingReported { healing, reply } => {
                self.healing_reported(healing, reply, now, actions);
            }
            Event::HealingNotReportable { healing } => self.healing_not_reportable(healing, now),
            Event::HealingMarked { serial, healing, is_done } => {
                self.newest = self.newest.max(serial);
                self.healing_marked(healing, is_done, now, actions);
            }
            Event::LookedAround(seen) => self.looked_around(seen, now, actions),
            Event::LookAroundFailed => self.look_around_ended(now),
            Event::HandOverEnded => self.hand_over_ended(now),
            Event::WatchdogMended => self.watchdog_mended(now),
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
        self.plan_tests(now, actions);
        self.plan_healings(now, actions);
        self.plan_switches(now, actions);
        self.plan_register(now, actions);
        self.plan_poll(now, actions);
        self.plan_look(now, actions);
        self.plan_pruning(now, actions);
        self.plan_look_around(now, actions);
        self.plan_contact(actions);
        self.plan_restart(now, actions);
        self.plan_sign_of_life(now, actions);
    }

    // Registration, which is also the heartbeat.

    fn plan_register(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let may_register = !self.would_lose_a_command() && self.register.is_free(now);
        if self.heartbeat_due <= now && may_register {
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
        for lane in self.lanes_mut() {
            lane.dashboard_is_back();
        }
    }

    /// A heartbeat and all that waits, as soon as may be. A heartbeat that is under way will do.
    fn report_soon(&mut self, now: Instant) {
        for lane in self.lanes_mut() {
            lane.hurry();
        }
        self.heartbeat_due = now;
        self.look_soon(now);
    }

    /// What has failed before the machine slept says nothing about now.
    fn woke(&mut self, now: Instant) {
        for lane in self.lanes_mut() {
            lane.begin_anew();
        }
        self.heartbeat_due = now;
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
                    let (next, is_news) = self.allowance.spend(now);
                    self.poll.rest_until(next);
                    actions.extend(is_news.then_some(Action::Note(Note::CommandsSlowed)));
                    self.arrived(arrival, now, actions);
                }
            }
            Err(failure) => {
                self.register_soon(&failure, now);
                actions.extend(self.poll.fail(&failure, now).map(Action::Note));
            }
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
