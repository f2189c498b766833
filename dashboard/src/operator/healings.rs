//! What was healed on a host without a switch.

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
    http::HeaderMap,
    response::{IntoResponse as _, Response},
};
use serde_json::json;

use super::{admit_to_host, views::healing_view};
use crate::{
    context::Shared,
    reply::ApiError,
    request::{ListQuery, PathNames, query},
};

/// `GET /api/hosts/{host}/healings`.
pub(crate) async fn healings(
    State(dashboard): State<Shared>,
    names: PathNames,
    headers: HeaderMap,
    list: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let (host, _) = admit_to_host(&dashboard, &headers, &names).await?;
    let rows = dashboard.store.healings(&host, query(list)?.length()).await?;
    let healings: Vec<_> = rows.into_iter().map(healing_view).collect::<Result<_, _>>()?;
    Ok(Json(json!({ "healings": healings })).into_response())
}
