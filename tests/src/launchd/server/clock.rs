//! launchd's clock: monotonic, and standing still while the machine sleeps.

use std::time::{Duration, Instant};

use crate::launchd::moment::Moment;

/// The clock.
#[derive(Debug)]
pub(super) struct Clock {
    started: Instant,
    slept: Duration,
    asleep: Option<Asleep>,
}

#[derive(Debug, Clone, Copy)]
struct Asleep {
    since: Instant,
    wake_at: Option<Instant>,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self { started: Instant::now(), slept: Duration::ZERO, asleep: None }
    }

    pub(super) fn now(&self) -> Moment {
        let real = self.asleep.map_or_else(Instant::now, |asleep| asleep.since);
        Moment::at(real.duration_since(self.started).saturating_sub(self.slept))
    }

    pub(super) fn is_asleep(&self) -> bool {
        self.asleep.is_some()
    }

    /// Falls asleep, for so long or until somebody wakes it.
    pub(super) fn sleep(&mut self, length: Option<Duration>) {
        let since = Instant::now();
        self.asleep = Some(Asleep { since, wake_at: length.map(|length| since + length) });
    }

    /// Wakes up, and says how long it slept.
    pub(super) fn wake(&mut self) -> Option<Duration> {
        let slept = self.asleep.take()?.since.elapsed();
        self.slept += slept;
        Some(slept)
    }

    /// How long until it wakes by itself.
    pub(super) fn until_wake(&self) -> Option<Duration> {
        let wake_at = self.asleep?.wake_at?;
        Some(wake_at.saturating_duration_since(Instant::now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Chapter 9: `Instant` stands still during sleep on a Mac [C rust#147503].
    #[test]
    fn the_clock_stands_still_while_asleep() {
        let mut clock = Clock::start();
        clock.sleep(Some(Duration::ZERO));
        let before = clock.now();
        assert_eq!(clock.until_wake(), Some(Duration::ZERO));
        assert_eq!(clock.now(), before);
        let slept = clock.wake().unwrap();
        assert!(slept <= clock.slept && !clock.is_asleep());
        assert!(clock.now() >= before);
        assert_eq!(clock.wake(), None);
    }
}
