//! What an answer other than success means for the one who called.

use std::time::Duration;

use reqwest::StatusCode;

/// What is kept of what the dashboard said, in characters.
const MAX_SAID: usize = 500;

/// What is said where a page for people comes in the place of an answer.
pub(super) const WEB_PAGE: &str = "a web page was answered and not what a dashboard answers; log in to the network with a browser if it asks for that, or check `url`";

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

    /// With its words changed.
    pub(super) fn map_words(mut self, change: impl FnOnce(String) -> String) -> Self {
        match &mut self {
            Self::Refused { said: words, .. }
            | Self::Missing { said: words }
            | Self::Retry { why: words, .. } => *words = change(std::mem::take(words)),
            Self::Unauthorized { .. } => {}
        }
        self
    }

    /// The same in words, for the log.
    pub(crate) fn explanation(&self) -> String {
        match self {
            Self::Refused { status, said } => format!("it refuses with status {status}: {said}"),
            Self::Unauthorized { .. } => {
                "it does not take the token; check token_file, token_command or NIXFLEET_TOKEN against the dashboard's".to_owned()
            }
            Self::Missing { said } => format!("it answers with status 404: {said}"),
            Self::Retry { why, .. } => why.clone(),
        }
    }
}

/// Whether this is a page for people: the login page of a network, for one.
pub(super) fn is_web_page(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"<")
}

/// The failure that a status means, as far as the answer tells: not whether there is another token.
pub(super) fn of_status(status: StatusCode, after: Option<Duration>, body: &[u8]) -> Failure {
    let said = shortened(body);
    match status.as_u16() {
        number @ (401 | 403) => Failure::Unauthorized { status: number, has_other: false },
        404 => Failure::Missing { said },
        408 | 425 | 429 => retry(status, after, &said),
        400..=499 => Failure::Refused { status: status.as_u16(), said },
        300..=399 => {
            let why = format!(
                "it redirects (status {}), which is not followed; log in to the network with a browser if it asks for that, or set `url` to where it leads",
                status.as_u16()
            );
            Failure::Retry { after, status: Some(status.as_u16()), why }
        }
        // RFC 6585, section 6.
        511 => Failure::Retry {
            after,
            status: Some(511),
            why: "the network wants you to log in to it (status 511); do so with a browser"
                .to_owned(),
        },
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
        of_status(StatusCode::from_u16(status).unwrap(), None, b"no\n")
    }

    #[test]
    fn statuses_are_classified() {
        for status in [400, 405, 409, 410, 413, 415, 422, 431] {
            assert_eq!(of(status), Failure::Refused { status, said: "no".to_owned() });
        }
        for status in [401, 403] {
            assert_eq!(of(status), Failure::Unauthorized { status, has_other: false });
        }
        assert_eq!(of(404), Failure::Missing { said: "no".to_owned() });
        for status in [301, 302, 304, 408, 425, 429, 500, 502, 503, 504, 511, 599] {
            assert_eq!(of(status).kind(), FailureKind::Answered, "{status}");
            assert_eq!(of(status).http_status(), Some(status));
        }
    }

    #[test]
    fn pages_for_people_are_told_from_answers() {
        for page in ["<html>", "\n <!DOCTYPE html>"] {
            assert!(is_web_page(page.as_bytes()), "{page:?}");
        }
        for answer in ["", "{}", "[\"<html>\"]", "no"] {
            assert!(!is_web_page(answer.as_bytes()), "{answer:?}");
        }
    }

    #[test]
    fn what_was_said_is_short_and_printable() {
        let said = shortened("\u{1b}[31mé\n".repeat(1000).as_bytes());
        assert!(said.chars().count() <= MAX_SAID && said.starts_with("[31mé"));
        assert_eq!(shortened(b"\xff"), "\u{fffd}");
    }
}
