//! The protocol of existing dashboards, byte for byte, so that a v1 agent works here unchanged.
//!
//! Every call is checked in the order that v1 dashboards have: route, body (422), rate limit, host id (400), token
//! (401). What is right on the wire there but wrong in the data is right in the data here:
//!
//! - The rate limit answers 429 with `Retry-After`; there it fails with 500.
//! - A new host has been seen; there it counts as never seen until its second call.
//! - A heartbeat leaves an `error` of the last work as it is; there it sets it to `ok`.
//! - The end of a test run leaves queued commands alone; there it drops them.
//! - Several commands can wait; there a second one silently replaces the first.
//! - What a status closes: see `delivery::effect_of_status`.
//! - Bodies above 1 MiB get 413; metrics above 16 KiB are taken but not kept.
//! - A trailing newline is no part of a name, and `NaN` is no number.

mod json_text;
mod poll;
mod register;
mod status;
mod test_progress;
mod validation;

use axum::{
    Json,
    response::{IntoResponse as _, Response},
};
use nixfleet_protocol::wire::{fields::Token, v1::Updated};

pub(crate) use self::{
    poll::{host_from_poll, poll},
    register::register,
    status::{StatusReport, StatusWord, status, word_of},
    test_progress::test_progress,
    validation::{Fields, TextRule},
};
use crate::{
    auth::{TokenDigest, Tokens, new_host_token},
    rate_limit::PerMinute,
    reply::ApiError,
    store::HostRow,
};

/// How often a host may register.
const REGISTER_LIMIT: PerMinute = PerMinute(30);

/// How often a host may register whose agent speaks the superset: one heartbeat a second, and as many again.
const SUPERSET_REGISTER_LIMIT: PerMinute = PerMinute(120);

/// How often a host may send a status.
const STATUS_LIMIT: PerMinute = PerMinute(30);

/// How often a host may poll.
pub(crate) const POLL_LIMIT: PerMinute = PerMinute(60);

/// How often a host may tell how its tests are.
const TEST_PROGRESS_LIMIT: PerMinute = PerMinute(60);

fn updated() -> Response {
    Json(Updated { status: "updated".to_owned() }).into_response()
}

/// A token for a host that has none of its own, unless hosts get none here.
fn token_to_provision(
    tokens: &Tokens,
    known: Option<&HostRow>,
) -> Result<Option<(Token, TokenDigest)>, ApiError> {
    let has_own = known.is_some_and(|host| host.token_hash.is_some());
    if tokens.provision && !has_own { Ok(Some(new_host_token()?)) } else { Ok(None) }
}
