//! Acknowledging and answering a command.

use axum::{
    Json,
    body::Bytes,
    extract::{State, rejection::BytesRejection},
    http::HeaderMap,
    response::{IntoResponse as _, Response},
};
use nixfleet_protocol::wire::v2::{Acknowledged, CommandAnswer};
use serde_json::json;

use crate::{
    auth,
    clock::Millis,
    context::Shared,
    reply::ApiError,
    request::{PathNames, message, whole_body},
};

/// `POST .../commands/{command}/ack`: the agent has it on disk; it is not sent again.
pub(crate) async fn acknowledge(
    State(dashboard): State<Shared>,
    names: PathNames,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let host = names.host()?;
    auth::admit_agent(&dashboard, &host, &headers).await?;
    let command = names.command()?;
    if !dashboard.store.acknowledge(&host, &command, Millis::now()).await? {
        return Err(ApiError::UnknownCommand);
    }
    Ok(Json(Acknowledged { status: "acknowledged".to_owned() }).into_response())
}

/// `PUT .../commands/{command}/answer`: closes it. The first answer counts; a later one gets the same reply.
pub(crate) async fn answer(
    State(dashboard): State<Shared>,
    names: PathNames,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let host = names.host()?;
    auth::admit_agent(&dashboard, &host, &headers).await?;
    let command = names.command()?;
    let answer: CommandAnswer = message(&whole_body(body)?)?;
    if !dashboard.store.answer(&host, &command, &answer, Millis::now()).await? {
        return Err(ApiError::UnknownCommand);
    }
    Ok(Json(json!({ "status": "answered" })).into_response())
}
