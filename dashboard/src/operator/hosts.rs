//! Hosts and their commands.

use axum::{
    Json,
    body::Bytes,
    extract::{
        Query, State,
        rejection::{BytesRejection, QueryRejection},
    },
    http::HeaderMap,
    response::{IntoResponse as _, Response},
};
use serde_json::json;
use tracing::info;
use uuid::Uuid;

use super::{
    admit_to_host,
    views::{command_view, host_view},
};
use crate::{
    agent_v1::{Fields, TextRule},
    auth,
    clock::Millis,
    context::Shared,
    delivery::{VERB_PATTERN, VERBS},
    reply::ApiError,
    request::{ListQuery, PathNames, query, whole_body},
    store::{NewCommand, QueueOutcome},
};

const VERB: TextRule = TextRule::pattern(VERB_PATTERN, |text| VERBS.contains(&text));

/// `GET /api/hosts`.
pub(crate) async fn hosts(
    State(dashboard): State<Shared>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    auth::admit_operator(&dashboard, &headers)?;
    let rows = dashboard.store.hosts().await?;
    let now = Millis::now();
    let hosts: Vec<_> =
        rows.into_iter().map(|row| host_view(row, &dashboard.liveness, now)).collect();
    Ok(Json(json!({ "hosts": hosts })).into_response())
}

/// `GET /api/hosts/{host}`.
pub(crate) async fn host(
    State(dashboard): State<Shared>,
    names: PathNames,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let (_, row) = admit_to_host(&dashboard, &headers, &names).await?;
    Ok(Json(host_view(row, &dashboard.liveness, Millis::now())).into_response())
}

/// `POST /api/hosts/{host}/command`.
pub(crate) async fn queue_command(
    State(dashboard): State<Shared>,
    names: PathNames,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let (host, _) = admit_to_host(&dashboard, &headers, &names).await?;
    let mut fields = Fields::of(&headers, &whole_body(body)?)?;
    let verb = fields.text("command", VERB);
    fields.finish()?;
    let id = Uuid::now_v7().to_string();
    let command = NewCommand { id: &id, verb: &verb, queued_at: Millis::now() };
    match dashboard.store.queue(&host, command).await? {
        QueueOutcome::Full => return Err(ApiError::QueueFull),
        QueueOutcome::Queued => dashboard.wakes.ring(&host),
    }
    info!(host = host.as_str(), command = verb, id, "queued");
    let reply = json!({ "status": "queued", "command": verb, "command_id": id });
    Ok(Json(reply).into_response())
}

/// `GET /api/hosts/{host}/commands`.
pub(crate) async fn commands(
    State(dashboard): State<Shared>,
    names: PathNames,
    headers: HeaderMap,
    list: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let (host, _) = admit_to_host(&dashboard, &headers, &names).await?;
    let rows = dashboard.store.commands(&host, query(list)?.length()).await?;
    let now = Millis::now();
    let commands: Vec<_> =
        rows.into_iter().map(|row| command_view(row, dashboard.lease, now)).collect();
    Ok(Json(json!({ "commands": commands })).into_response())
}

/// `POST /api/hosts/{host}/agent-token`: for a host that has lost its token, or whose token is known to others.
pub(crate) async fn new_agent_token(
    State(dashboard): State<Shared>,
    names: PathNames,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let (host, _) = admit_to_host(&dashboard, &headers, &names).await?;
    let (token, digest) = auth::new_host_token()?;
    if !dashboard.store.replace_token(&host, digest).await? {
        return Err(ApiError::UnknownHost);
    }
    info!(host = host.as_str(), "got a new token");
    let reply = json!({ "status": "ok", "host_id": host, "agent_token": token });
    Ok(Json(reply).into_response())
}
