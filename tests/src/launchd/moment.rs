//! Time as the deciding half sees it: how long ago launchd started. Monotonic, never the wall.

use std::time::Duration;

/// A point in time, counted from the start of launchd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(Duration);

impl Moment {
    /// The moment `since_start` after launchd started.
    pub const fn at(since_start: Duration) -> Self {
        Self(since_start)
    }

    /// The moment `delay` later than this one.
    #[must_use]
    pub const fn plus(self, delay: Duration) -> Self {
        Self(self.0.saturating_add(delay))
    }

    /// How long it is until this moment; zero when it has passed.
    pub const fn until(self, now: Self) -> Duration {
        self.0.saturating_sub(now.0)
    }
}
