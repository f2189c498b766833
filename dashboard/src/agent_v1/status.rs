//! `POST /api/hosts/{host}/status`: how a command ended, as far as v1 can say.

use axum::{
    body::Bytes,
    extract::{State, rejection::BytesRejection},
    http::HeaderMap,
    response::Response,
};
pub(crate) use nixfleet_protocol::wire::v1::StatusWord;

use super::{
    STATUS_LIMIT, updated,
    validation::{Fields, TextRule},
};
use crate::{
    auth,
    clock::Millis,
    context::Shared,
    reply::ApiError,
    request::{Caller, PathNames, whole_body},
};

const STATUS: TextRule =
    TextRule::pattern("^(ok|error|unknown)$", |text| status_of(text).is_some());

/// The most characters of output; counted before those that are not shown are dropped.
const MAX_OUTPUT: usize = 10_000;

/// How the output of an agent that has just started begins.
const START_NOTICE: &str = "Agent started (";

/// How much of a failed command's first line becomes the host's comment.
const MAX_DERIVED_COMMENT: usize = 100;

/// The handler. The status of a host that is not known is answered and dropped, as on a v1 dashboard.
pub(crate) async fn status(
    State(dashboard): State<Shared>,
    caller: Caller,
    names: PathNames,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let report = StatusReport::read(Fields::of(&headers, &whole_body(body)?)?)?;
    caller.count(&dashboard, STATUS_LIMIT)?;
    let host = names.host()?;
    let known = auth::admit_agent(&dashboard, &host, &headers).await?;
    if known.is_some() {
        let now = Millis::now();
        dashboard.store.save_status(&host, &report, now).await?;
        dashboard.liveness.heard_of(&host, None, now);
    }
    Ok(updated())
}

/// A status as it was sent, with the output made printable.
#[derive(Debug)]
pub(crate) struct StatusReport {
    pub(crate) status: StatusWord,
    pub(crate) current_generation: Option<String>,
    pub(crate) output: Option<String>,
    pub(crate) test_status: Option<String>,
    comment: Option<String>,
}

impl StatusReport {
    fn read(mut fields: Fields) -> Result<Self, ApiError> {
        let status = fields.text("status", STATUS);
        let current_generation = fields.optional_text("current_generation", TextRule::up_to(64));
        let output = fields.optional_text("output", TextRule::up_to(MAX_OUTPUT));
        let test_status = fields.optional_text("test_status", TextRule::up_to(100));
        let comment = fields.optional_text("comment", TextRule::up_to(200));
        fields.finish()?;
        Ok(Self {
            status: status_of(&status).unwrap_or(StatusWord::Unknown),
            current_generation,
            output: output
                .map(|output| output.chars().filter(|character| is_shown(*character)).collect()),
            test_status,
            comment,
        })
    }

    /// Whether the agent only says that it has started.
    pub(crate) fn is_start_notice(&self) -> bool {
        self.output.as_deref().is_some_and(|output| output.starts_with(START_NOTICE))
    }

    /// The line for the host's row: the agent's own, or one made of the output; `None` leaves the old one.
    pub(crate) fn comment_for_host(&self) -> Option<String> {
        if let Some(comment) = self.comment.as_ref().filter(|comment| !comment.is_empty()) {
            return Some(comment.clone());
        }
        let output = self.output.as_deref().filter(|output| !output.is_empty())?;
        if self.status == StatusWord::Error {
            let first_line = output.split('\n').next().unwrap_or_default();
            Some(first_line.chars().take(MAX_DERIVED_COMMENT).collect())
        } else if output.contains("Already up to date") || output.contains("Already up-to-date") {
            Some("Already up to date".to_owned())
        } else if output.contains("Updating") {
            Some("Pull successful".to_owned())
        } else {
            None
        }
    }

    #[cfg(test)]
    pub(crate) fn for_test(status: StatusWord, output: &str) -> Self {
        Self {
            status,
            current_generation: None,
            output: Some(output.to_owned()),
            test_status: None,
            comment: None,
        }
    }
}

/// The word of a status on the wire and in the host's row.
pub(crate) const fn word_of(status: StatusWord) -> &'static str {
    match status {
        StatusWord::Ok => "ok",
        StatusWord::Error => "error",
        StatusWord::Unknown => "unknown",
    }
}

fn status_of(word: &str) -> Option<StatusWord> {
    [StatusWord::Ok, StatusWord::Error, StatusWord::Unknown]
        .into_iter()
        .find(|status| word_of(*status) == word)
}

/// Line breaks and printable ASCII, as on a v1 dashboard.
fn is_shown(character: char) -> bool {
    matches!(character, '\n' | ' '..='~')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_comment_is_made_of_the_output_if_there_is_none() {
        let long = "x".repeat(150);
        for (status, output, comment) in [
            (StatusWord::Error, "first\nsecond", Some("first")),
            (StatusWord::Error, long.as_str(), Some(&long[..100])),
            (StatusWord::Ok, "Pull: Already up to date.", Some("Already up to date")),
            (StatusWord::Ok, "Pull: Updating 1..2", Some("Pull successful")),
            (StatusWord::Ok, "Switch: done", None),
            (StatusWord::Error, "", None),
        ] {
            let report = StatusReport::for_test(status, output);
            assert_eq!(report.comment_for_host().as_deref(), comment, "{output}");
        }
        let mut report = StatusReport::for_test(StatusWord::Error, "first");
        report.comment = Some("own".to_owned());
        assert_eq!(report.comment_for_host().as_deref(), Some("own"));
    }

    #[test]
    fn only_printable_output_is_kept() {
        let kept: String = "a\tb\r\n\x1b[31mred\x1b[0m é✅"
            .chars()
            .filter(|character| is_shown(*character))
            .collect();
        assert_eq!(kept, "ab\n[31mred[0m ");
    }
}
