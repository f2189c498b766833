//! `Retry-After`: seconds, or a date (RFC 9110, section 10.2.3).

use std::time::Duration;

use jiff::{Timestamp, fmt::rfc2822};
use reqwest::header::{HeaderMap, RETRY_AFTER};

/// A dashboard that wants to be left alone for longer is asked again after this time all the same.
const LONGEST: Duration = Duration::from_hours(1);

/// How long the dashboard wants to be left alone, if it says so in a way that can be read.
pub(super) fn of(headers: &HeaderMap) -> Option<Duration> {
    read(headers.get(RETRY_AFTER)?.to_str().ok()?, Timestamp::now())
}

fn read(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    let told = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_not_a_number) => {
            let date = rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
            Duration::try_from(date.duration_since(now)).unwrap_or_default()
        }
    };
    Some(told.min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates_are_read() {
        let now: Timestamp = "2026-11-23T01:55:56Z".parse().unwrap();
        for (text, expected) in [
            ("0", Some(0)),
            ("7", Some(7)),
            (" 120 ", Some(120)),
            ("999999", Some(3600)),
            ("Mon, 23 Nov 2026 01:56:56 GMT", Some(60)),
            ("Mon, 23 Nov 2026 01:54:56 GMT", Some(0)),
            ("Tue, 23 Nov 2027 01:55:56 GMT", Some(3600)),
            ("soon", None),
            ("-1", None),
            ("", None),
        ] {
            assert_eq!(read(text, now), expected.map(Duration::from_secs), "{text:?}");
        }
    }
}
