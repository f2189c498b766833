//! Looking at the journal, and pruning it: no more often than something can be new.

use std::time::{Duration, Instant};

use super::{
    GLANCE_EVERY, State,
    action::Action,
    facts::{Look, Serial},
    switches::TrackedSwitch,
};

/// Time between two looks while a switch is at work or has just ended.
const LOOK_OFTEN: Duration = Duration::from_millis(200);

/// Time between two looks while something is open.
const LOOK_SELDOM: Duration = Duration::from_secs(1);

/// Time between two prunings of the journal.
const PRUNE_EVERY: Duration = Duration::from_hours(1);

/// That many closed switches and commands call for pruning before its time.
const PRUNE_AFTER_CLOSED: u32 = 20;

/// Looking at the journal.
#[derive(Debug)]
pub(super) struct Looking {
    pub(super) is_under_way: bool,
    /// A glance will not do.
    pub(super) is_wanted: bool,
    pub(super) due: Instant,
    /// The number of the last look.
    pub(super) newest: Serial,
}

/// Pruning the journal.
#[derive(Debug)]
pub(super) struct Pruning {
    pub(super) is_under_way: bool,
    pub(super) due: Instant,
    /// Switches and commands that were closed since.
    pub(super) closed: u32,
}

impl Looking {
    /// Nothing was looked at yet.
    pub(super) const fn new(now: Instant) -> Self {
        Self { is_under_way: false, is_wanted: true, due: now, newest: 0 }
    }
}

impl Pruning {
    /// It is due at once.
    pub(super) const fn new(now: Instant) -> Self {
        Self { is_under_way: false, due: now, closed: 0 }
    }
}

impl State {
    pub(super) fn look_soon(&mut self, now: Instant) {
        self.looking.is_wanted = true;
        self.looking.due = now;
    }

    pub(super) fn plan_look(&mut self, now: Instant, actions: &mut Vec<Action>) {
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

    pub(super) fn looked(&mut self, serial: Serial, look: Look, now: Instant) {
        self.looking.is_under_way = false;
        if serial < self.newest {
            self.look_soon(now);
            return;
        }
        self.newest = serial;
        self.looking.newest = serial;
        self.take_in_switches(look.switches, now);
        self.take_in_commands(look.commands, now);
        self.take_in_healings(look.healings);
        self.looking.due = now + self.look_pause();
    }

    pub(super) fn plan_pruning(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let is_due = self.pruning.due <= now || self.pruning.closed >= PRUNE_AFTER_CLOSED;
        if is_due && !self.pruning.is_under_way {
            self.pruning.is_under_way = true;
            self.pruning.due = now + PRUNE_EVERY;
            self.pruning.closed = 0;
            actions.push(Action::Prune);
        }
    }
}
