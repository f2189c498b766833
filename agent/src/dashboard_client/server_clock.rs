//! How far this host's clock is ahead of the dashboard's, by the `Date` of its answers (RFC 9110, section 6.6.1).
//!
//! Only the difference is kept, so a clock that jumps changes nothing but that. Both ends count whole seconds and an
//! answer takes its time to arrive, so what changes by little has not changed.

use std::sync::{Mutex, PoisonError};

use jiff::{SignedDurationRound, Timestamp, Unit, fmt::rfc2822};
use reqwest::header::{DATE, HeaderMap};

/// A difference that changes by no more than this, in seconds, has not changed.
const SAME_WITHIN: u64 = 2;

/// The difference, once it is known.
#[derive(Debug, Default)]
pub(super) struct ServerClock {
    ahead: Mutex<Option<i64>>,
}

impl ServerClock {
    /// An answer with these headers has just come.
    pub(super) fn read(&self, headers: &HeaderMap) {
        let date = headers.get(DATE).and_then(|date| date.to_str().ok());
        let Some(told) = date.and_then(|date| ahead_of(date, Timestamp::now())) else { return };
        let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        if is_news(*ahead, told) {
            *ahead = Some(told);
        }
    }

    /// In seconds; negative when this host's clock is behind.
    pub(super) fn ahead(&self) -> Option<i64> {
        *self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn ahead_of(date: &str, now: Timestamp) -> Option<i64> {
    let date = rfc2822::DateTimeParser::new().parse_timestamp(date.trim()).ok()?;
    let to_seconds = SignedDurationRound::new().smallest(Unit::Second);
    Some(now.duration_since(date).round(to_seconds).ok()?.as_secs())
}

fn is_news(known: Option<i64>, told: i64) -> bool {
    known.is_none_or(|known| known.abs_diff(told) > SAME_WITHIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_difference_is_rounded_to_seconds() {
        let now: Timestamp = "2026-11-23T01:55:56.6Z".parse().unwrap();
        for (date, expected) in [
            ("Mon, 23 Nov 2026 01:55:56 GMT", Some(1)),
            ("Mon, 23 Nov 2026 01:55:57 GMT", Some(0)),
            ("Mon, 23 Nov 2026 01:56:56 GMT", Some(-59)),
            ("Sun, 22 Nov 2026 01:55:57 GMT", Some(86_400)),
            ("Thu, 01 Jan 1970 00:00:00 GMT", Some(1_795_398_957)),
            ("yesterday", None),
            ("", None),
        ] {
            assert_eq!(ahead_of(date, now), expected, "{date:?}");
        }
    }

    #[test]
    fn a_little_is_no_change() {
        for (known, told, expected) in [
            (None, 0, true),
            (Some(0), 2, false),
            (Some(0), -2, false),
            (Some(0), 3, true),
            (Some(-40), -43, true),
            (Some(i64::MIN), i64::MAX, true),
        ] {
            assert_eq!(is_news(known, told), expected, "{known:?} {told}");
        }
    }

    #[test]
    fn an_answer_without_a_date_leaves_what_is_known() {
        let clock = ServerClock::default();
        clock.read(&HeaderMap::new());
        assert_eq!(clock.ahead(), None);
        let mut headers = HeaderMap::new();
        headers.insert(DATE, "Thu, 01 Jan 1970 00:00:00 GMT".parse().unwrap());
        clock.read(&headers);
        assert!(clock.ahead().unwrap() > 1_700_000_000);
        clock.read(&HeaderMap::new());
        assert!(clock.ahead().is_some());
    }
}
