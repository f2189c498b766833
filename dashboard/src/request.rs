//! What all handlers read from a request: the client's address, the host in the path, the body, the list length.

use std::{net::SocketAddr, time::Instant};

use axum::{
    body::Bytes,
    extract::{
        FromRequestParts, Query, RawPathParams,
        connect_info::ConnectInfo,
        rejection::{BytesRejection, QueryRejection},
    },
    http::{StatusCode, request::Parts},
};
use nixfleet_protocol::{
    journal::records::{HealingId, SwitchId},
    wire::fields::{CommandId, HostId},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use crate::{
    connections::ClientAddress,
    context::Dashboard,
    limits::{DEFAULT_LIST_LENGTH, MAX_LIST_LENGTH},
    rate_limit::PerMinute,
    reply::{ApiError, Problem},
};

/// The parts of the path that name things, not yet checked: v1 checks the body first.
#[derive(Debug)]
pub(crate) struct PathNames {
    host: Option<String>,
    command: Option<String>,
    switch: Option<String>,
    healing: Option<String>,
}

impl PathNames {
    /// The host, lower-cased.
    pub(crate) fn host(&self) -> Result<HostId, ApiError> {
        parse(self.host.as_ref()).ok_or(ApiError::HostId)
    }

    /// The command. What is not an id cannot be the id of a known one.
    pub(crate) fn command(&self) -> Result<CommandId, ApiError> {
        parse(self.command.as_ref()).ok_or(ApiError::UnknownCommand)
    }

    /// The switch. What is not an id cannot be the id of a known one.
    pub(crate) fn switch(&self) -> Result<SwitchId, ApiError> {
        parse(self.switch.as_ref()).ok_or(ApiError::UnknownSwitch)
    }

    /// The healing. A name that is no id is no path that there is.
    pub(crate) fn healing(&self) -> Result<HealingId, ApiError> {
        parse(self.healing.as_ref()).ok_or(ApiError::NoSuchPath)
    }
}

fn parse<T: std::str::FromStr>(text: Option<&String>) -> Option<T> {
    text?.parse().ok()
}

impl<S: Send + Sync> FromRequestParts<S> for PathNames {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let mut names = Self { host: None, command: None, switch: None, healing: None };
        // A path that is not UTF-8 names nothing.
        if let Ok(params) = RawPathParams::from_request_parts(parts, state).await {
            for (key, value) in &params {
                let slot = match key {
                    "host" => &mut names.host,
                    "command" => &mut names.command,
                    "switch" => &mut names.switch,
                    "healing" => &mut names.healing,
                    _ => continue,
                };
                *slot = Some(value.to_owned());
            }
        }
        // `/api/hosts//register` is a path that there is not, rather than a host without a name.
        if names.host.as_deref() == Some("") { Err(ApiError::NoSuchPath) } else { Ok(names) }
    }
}

/// Who calls which path, for the rate limit.
#[derive(Debug)]
pub(crate) struct Caller {
    address: SocketAddr,
    path: String,
}

impl Caller {
    /// Counts the call; refuses it if there were too many.
    pub(crate) fn count(&self, dashboard: &Dashboard, limit: PerMinute) -> Result<(), ApiError> {
        dashboard
            .rate_limiter
            .count(self.address.ip(), &self.path, limit, Instant::now())
            .map_err(ApiError::TooMany)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, StatusCode> {
        let ConnectInfo(ClientAddress(address)) =
            ConnectInfo::<ClientAddress>::from_request_parts(parts, state)
                .await
                .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
        Ok(Self { address, path: parts.uri.path().to_owned() })
    }
}

/// The body, if all of it came and it is not too large.
pub(crate) fn whole_body(body: Result<Bytes, BytesRejection>) -> Result<Bytes, ApiError> {
    body.map_err(|rejection| {
        if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
            ApiError::TooLarge
        } else {
            ApiError::BrokenBody
        }
    })
}

/// The body as a message of the superset; says where it does not fit.
pub(crate) fn message<T: DeserializeOwned>(body: &Bytes) -> Result<T, ApiError> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let message = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let mut loc = vec![json!("body")];
        loc.extend(error.path().iter().map(|segment| json!(segment.to_string())));
        invalid("invalid_message", loc, error.inner().to_string())
    })?;
    deserializer
        .end()
        .map_err(|error| invalid("json_invalid", vec![json!("body")], error.to_string()))?;
    Ok(message)
}

/// A 422 for one thing, without echoing it.
pub(crate) fn invalid(kind: &'static str, loc: Vec<Value>, msg: String) -> ApiError {
    ApiError::Invalid(vec![Problem { kind, loc, msg, input: Value::Null, ctx: None }])
}

/// The query of a request, if it fits.
pub(crate) fn query<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, ApiError> {
    query
        .map(|Query(query)| query)
        .map_err(|rejection| invalid("invalid_query", vec![json!("query")], rejection.body_text()))
}

/// The query of a list.
#[derive(Debug, Deserialize)]
pub(crate) struct ListQuery {
    limit: Option<u32>,
}

impl ListQuery {
    /// How many entries to return.
    pub(crate) fn length(&self) -> u32 {
        self.limit.unwrap_or(DEFAULT_LIST_LENGTH).min(MAX_LIST_LENGTH)
    }
}
