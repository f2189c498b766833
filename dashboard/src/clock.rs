//! Wall-clock time as the database keeps it and as the API shows it.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

/// Milliseconds since 1970, UTC. Shown as RFC 3339 with `Z` and three decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, sqlx::Type)]
#[sqlx(transparent)]
pub(crate) struct Millis(pub(crate) i64);

impl Millis {
    /// The current time.
    pub(crate) fn now() -> Self {
        Timestamp::now().into()
    }

    /// This much later.
    pub(crate) fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// How long from `now` to this; zero if it has passed.
    pub(crate) fn remaining(self, now: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(now.0)).unwrap_or(0))
    }

    /// As a timestamp of the wire; a value out of its range, which only a damaged database has, is shown as 1970.
    pub(crate) fn timestamp(self) -> Timestamp {
        Timestamp::from_millisecond(self.0).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

impl From<Timestamp> for Millis {
    fn from(timestamp: Timestamp) -> Self {
        Self(timestamp.as_millisecond())
    }
}

impl Serialize for Millis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:.3}", self.timestamp()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_with_zone_and_three_decimals() {
        for (millis, shown) in [
            (0, "\"1970-01-01T00:00:00.000Z\""),
            (1_795_400_156_120, "\"2026-11-23T02:15:56.120Z\""),
        ] {
            assert_eq!(serde_json::to_string(&Millis(millis)).unwrap(), shown);
        }
    }

    #[test]
    fn what_has_passed_is_not_waited_for() {
        assert_eq!(Millis(5).remaining(Millis(9)), Duration::ZERO);
        assert_eq!(Millis(9).remaining(Millis(5)), Duration::from_millis(4));
        assert_eq!(Millis(i64::MAX).after(Duration::MAX), Millis(i64::MAX));
    }
}
