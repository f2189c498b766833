//! What an answer other than success means for the one who called.

use std::time::Duration;

use reqwest::StatusCode;

/// What is kept of what the dashboard said, in characters.
const MAX_SAID: usize = 500;

/// Why a call did not do what it was to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The same call can never succeed.
    Refused {
        /// The HTTP status.
        status: u16,
        /// What the dashboard said, shortened.
        said: String,
    },
    /// The token was not taken.
    Unauthorized {
        /// The HTTP status.
        status: u16,
        /// There is another token that was not tried yet: worth trying at once.
        has_other: bool,
    },
    /// The dashboard does not know the host, the command or the call.
    Missing {
        /// What it said, shortened.
        said: String,
    },
    /// It may work later.
    Retry {
        /// How long the dashboard wants to be left alone.
        after: Option<Duration>,
        /// The HTTP status, if the dashboard answered at all.
        status: Option<u16>,
        /// What went wrong.
        why: String,
    },
}

/// Which kind of failure it is, so that the log tells each once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailureKind {
    Refused,
    Unauthorized,
    Missing,
    Answered,
    Unreachable,
}

impl Failure {
    /// The network or the other side did not work.
    pub(crate) const fn unreachable(why: String) -> Self {
        Self::Retry { after: None, status: None, why }
    }

    /// It answered with this status, but not in a way that can be used.
    pub(crate) const fn nonsense(status: u16, why: String) -> Self {
        Self::Retry { after: None, status: Some(status), why }
    }

    /// The kind.
    pub(crate) const fn kind(&self) -> FailureKind {
        match self {
            Self::Refused { .. } => FailureKind::Refused,
            Self::Unauthorized { .. } => FailureKind::Unauthorized,
            Self::Missing { .. } => FailureKind::Missing,
            Self::Retry { status: Some(_), .. } => FailureKind::Answered,
            Self::Retry { status: None, .. } => FailureKind::Unreachable,
        }
    }

    /// The HTTP status, where there was an answer at all.
    pub(crate) const fn http_status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } | Self::Unauthorized { status, .. } => Some(*status),
            Self::Missing { .. } => Some(404),
            Self::Retry { status, .. } => *status,
        }
    }

    /// The same in words, for the log.
    pub(crate) fn explanation(&self) -> String {
        match self {
            Self::Refused { status, said } => format!("it refuses with status {status}: {said}"),
            Self::Unauthorized { .. } => {
                "it does not take the token; check token_file against the dashboard's".to_owned()
            }
            Self::Missing { said } => format!("it answers with status 404: {said}"),
            Self::Retry { why, .. } => why.clone(),
        }
    }
}

/// The failure that a status means. `has_other_token` is only asked when the token was not taken.
pub(super) fn of_status(
    status: StatusCode,
    after: Option<Duration>,
    body: &[u8],
    has_other_token: impl FnOnce() -> bool,
) -> Failure {
    let said = shortened(body);
    match status.as_u16() {
        number @ (401 | 403) => {
            Failure::Unauthorized { status: number, has_other: has_other_token() }
        }
        404 => Failure::Missing { said },
        408 | 425 | 429 => retry(status, after, &said),
        400..=499 => Failure::Refused { status: status.as_u16(), said },
        300..=399 => {
            let why = format!(
                "it redirects (status {}), which is not followed; set `url` to where it leads",
                status.as_u16()
            );
            Failure::Retry { after, status: Some(status.as_u16()), why }
        }
        _ => retry(status, after, &said),
    }
}

fn retry(status: StatusCode, after: Option<Duration>, said: &str) -> Failure {
    let why = format!("it answers with status {}: {said}", status.as_u16());
    Failure::Retry { after, status: Some(status.as_u16()), why }
}

fn shortened(body: &[u8]) -> String {
    let printable = |c: &char| !c.is_control();
    String::from_utf8_lossy(body).chars().filter(printable).take(MAX_SAID).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16) -> Failure {
        of_status(StatusCode::from_u16(status).unwrap(), None, b"no\n", || true)
    }

    #[test]
    fn statuses_are_classified() {
        for status in [400, 405, 409, 410, 413, 415, 422, 431] {
            assert_eq!(of(status), Failure::Refused { status, said: "no".to_owned() });
        }
        for status in [401, 403] {
            assert_eq!(of(status), Failure::Unauthorized { status, has_other: true });
        }
        assert_eq!(of(404), Failure::Missing { said: "no".to_owned() });
        for status in [301, 302, 304, 408, 425, 429, 500, 502, 503, 504, 599] {
            assert_eq!(of(status).kind(), FailureKind::Answered, "{status}");
            assert_eq!(of(status).http_status(), Some(status));
        }
    }

    #[test]
    fn what_was_said_is_short_and_printable() {
        let said = shortened("\u{1b}[31mé\n".repeat(1000).as_bytes());
        assert!(said.chars().count() <= MAX_SAID && said.starts_with("[31mé"));
        assert_eq!(shortened(b"\xff"), "\u{fffd}");
    }
}
