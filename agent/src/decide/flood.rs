//! Commands without end: as many as people send come in at once, more than that slowly. Each one costs a few files and a
//! few lines in the log.

use std::time::{Duration, Instant};

/// So many commands come in at once.
const AT_ONCE: u32 = 60;

/// After those, one in this time.
const THEN_EVERY: Duration = Duration::from_secs(2);

/// How many may come in.
#[derive(Debug)]
pub(super) struct Allowance {
    /// When as many as ever may come in at once again.
    whole_at: Instant,
    is_said: bool,
}

impl Allowance {
    /// Nothing has come in yet.
    pub(super) const fn new(now: Instant) -> Self {
        Self { whole_at: now, is_said: false }
    }

    /// A command has come in. When the next one may, and whether that is later than now for the first time.
    pub(super) fn spend(&mut self, now: Instant) -> (Instant, bool) {
        if self.whole_at <= now {
            self.is_said = false;
            self.whole_at = now;
        }
        self.whole_at += THEN_EVERY;
        let next = self.whole_at.checked_sub(THEN_EVERY * AT_ONCE).unwrap_or(now).max(now);
        let is_news = next > now && !self.is_said;
        self.is_said |= is_news;
        (next, is_news)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_come_in_at_once_and_more_slowly() {
        let began = Instant::now();
        let mut now = began;
        let mut allowance = Allowance::new(now);
        let mut said = 0;
        for number in 1..=10_000 {
            let (next, is_news) = allowance.spend(now);
            said += u32::from(is_news);
            assert_eq!(next > now, number > AT_ONCE, "{number}");
            now = next;
        }
        assert_eq!(said, 1);
        assert_eq!(now - began, THEN_EVERY * (10_000 - AT_ONCE));
        // After a rest all is as it was.
        now += THEN_EVERY * AT_ONCE;
        assert_eq!(allowance.spend(now), (now, false));
    }
}
