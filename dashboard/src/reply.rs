//! What a request gets that is not granted: the error replies of v1 dashboards, and ours in the same form.

use std::time::Duration;

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use nixfleet_protocol::wire::v2::OutputRecorded;
use serde::Serialize;
use serde_json::{Value, json};
use tracing::error;

use crate::{auth::NewTokenError, store::StoreError, with_sources};

/// What is wrong with one field of a body.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Problem {
    #[serde(rename = "type")]
    pub(crate) kind: &'static str,
    pub(crate) loc: Vec<Value>,
    pub(crate) msg: String,
    pub(crate) input: Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ctx: Option<Value>,
}

/// Why a request is not granted.
#[derive(Debug)]
pub(crate) enum ApiError {
    /// The body or the query is not what it should be.
    Invalid(Vec<Problem>),
    /// The body is not text.
    UnreadableBody,
    /// The body is larger than it may be.
    TooLarge,
    /// The body did not arrive.
    BrokenBody,
    /// The rate limit; how long to wait.
    TooMany(Duration),
    /// The host id in the path.
    HostId,
    AgentToken,
    OperatorToken,
    UnknownHost,
    UnknownCommand,
    UnknownSwitch,
    /// Too many commands wait.
    QueueFull,
    /// A piece of output leaves a gap; how much there is.
    OutputGap(u64),
    NoSuchPath,
    MethodNotAllowed,
    /// It took too long.
    TimedOut,
    /// The database did not do its part.
    Store(StoreError),
    /// There is no new token.
    NewToken(NewTokenError),
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<NewTokenError> for ApiError {
    fn from(error: NewTokenError) -> Self {
        Self::NewToken(error)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        match self {
            Self::Invalid(problems) => {
                (StatusCode::UNPROCESSABLE_ENTITY, Json(json!({ "detail": problems })))
                    .into_response()
            }
            Self::UnreadableBody => {
                detail(StatusCode::BAD_REQUEST, "There was an error parsing the body")
            }
            Self::TooLarge => detail(StatusCode::PAYLOAD_TOO_LARGE, "Request body too large"),
            Self::BrokenBody => detail(StatusCode::BAD_REQUEST, "Request body is incomplete"),
            Self::TooMany(wait) => too_many(wait),
            Self::HostId => detail(StatusCode::BAD_REQUEST, "Invalid host ID format"),
            Self::AgentToken => detail(StatusCode::UNAUTHORIZED, "Invalid API token"),
            Self::OperatorToken => {
                let reply = detail(StatusCode::UNAUTHORIZED, "Invalid operator token");
                ([(header::WWW_AUTHENTICATE, "Bearer")], reply).into_response()
            }
            Self::UnknownHost => detail(StatusCode::NOT_FOUND, "Host not found"),
            Self::UnknownCommand => detail(StatusCode::NOT_FOUND, "Command not found"),
            Self::UnknownSwitch => detail(StatusCode::NOT_FOUND, "Switch not found"),
            Self::QueueFull => {
                detail(StatusCode::CONFLICT, "Too many commands are waiting for this host")
            }
            Self::OutputGap(output_offset) => {
                (StatusCode::CONFLICT, Json(OutputRecorded { output_offset })).into_response()
            }
            Self::NoSuchPath => detail(StatusCode::NOT_FOUND, "Not Found"),
            Self::MethodNotAllowed => detail(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed"),
            Self::TimedOut => detail(StatusCode::SERVICE_UNAVAILABLE, "Request took too long"),
            Self::Store(error) => internal(&error),
            Self::NewToken(error) => internal(&error),
        }
    }
}

fn detail(status: StatusCode, text: &str) -> Response {
    (status, Json(json!({ "detail": text }))).into_response()
}

fn too_many(wait: Duration) -> Response {
    // The window is over when the last begun second is.
    let seconds = wait.as_secs().saturating_add(1);
    let reply = detail(StatusCode::TOO_MANY_REQUESTS, "Rate limit exceeded");
    ([(header::RETRY_AFTER, HeaderValue::from(seconds))], reply).into_response()
}

/// The client learns that it is not its fault; the log learns what it was.
fn internal(error: &dyn std::error::Error) -> Response {
    error!(error = with_sources(error), "a request failed");
    (StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error").into_response()
}
