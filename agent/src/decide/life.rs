//! The sign of life: by it a watchdog sees that the loop still turns. It is given by the loop itself, so that one that is
//! stuck gives none.

use std::time::{Duration, Instant};

use super::{GLANCE_EVERY, State, action::Action};

/// A sign is to be seen at least this often.
const SEEN_WITHIN: Duration = Duration::from_secs(5);

/// When the next sign is due.
#[derive(Debug)]
pub(super) struct SignOfLife {
    every: Duration,
    due: Instant,
}

impl SignOfLife {
    /// `systemd_watches` is the time after which systemd ends an agent that it has not heard of.
    pub(super) fn new(systemd_watches: Option<Duration>, now: Instant) -> Self {
        let within = systemd_watches.map_or(SEEN_WITHIN, |period| SEEN_WITHIN.min(period / 2));
        // Twice as often, and thus in time even if it is only given at the next glance.
        Self { every: within / 2, due: now }
    }

    /// When it needs a wake-up of its own: one that is due seldom is given when the agent wakes to glance at the journal.
    pub(super) fn wakes_at(&self) -> Option<Instant> {
        (self.every <= GLANCE_EVERY).then_some(self.due)
    }
}

impl State {
    pub(super) fn plan_sign_of_life(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.life.due <= now {
            self.life.due = now + self.life.every;
            actions.push(Action::ShowLife);
        }
    }
}
