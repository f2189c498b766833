//! Switches and their output.

use std::sync::Arc;

use axum::{
    Json,
    body::{Body, Bytes},
    extract::{Query, State, rejection::QueryRejection},
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::{IntoResponse as _, Response},
};
use futures_util::stream;
use nixfleet_protocol::{journal::records::SwitchId, wire::fields::HostId};
use serde::Deserialize;
use serde_json::json;

use super::{
    admit_to_host,
    views::{is_truncated, switch_view},
};
use crate::{
    context::Shared,
    reply::ApiError,
    request::{ListQuery, PathNames, query},
    store::StoreError,
};

/// How many bytes of output the agent has sent so far, beyond what is kept.
const OUTPUT_LENGTH: HeaderName = HeaderName::from_static("x-output-length");

/// Whether the end of the output was not kept.
const OUTPUT_TRUNCATED: HeaderName = HeaderName::from_static("x-output-truncated");

/// `GET /api/hosts/{host}/switches`.
pub(crate) async fn switches(
    State(dashboard): State<Shared>,
    names: PathNames,
    headers: HeaderMap,
    list: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let (host, _) = admit_to_host(&dashboard, &headers, &names).await?;
    let rows = dashboard.store.switches(&host, query(list)?.length()).await?;
    let switches: Vec<_> = rows.into_iter().map(switch_view).collect::<Result<_, _>>()?;
    Ok(Json(json!({ "switches": switches })).into_response())
}

/// `GET /api/hosts/{host}/switches/{switch}`.
pub(crate) async fn switch(
    State(dashboard): State<Shared>,
    names: PathNames,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let (host, _) = admit_to_host(&dashboard, &headers, &names).await?;
    let row = dashboard.store.switch(&host, names.switch()?).await?;
    Ok(Json(switch_view(row.ok_or(ApiError::UnknownSwitch)?)?).into_response())
}

/// Where to begin.
#[derive(Debug, Deserialize)]
pub(crate) struct OutputQuery {
    #[serde(default)]
    offset: u64,
}

/// `GET /api/hosts/{host}/switches/{switch}/output`: the bytes as they came. What arrives while they are sent is left
/// for the next call.
pub(crate) async fn output(
    State(dashboard): State<Shared>,
    names: PathNames,
    headers: HeaderMap,
    range: Result<Query<OutputQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let (host, _) = admit_to_host(&dashboard, &headers, &names).await?;
    let id = names.switch()?;
    let OutputQuery { offset } = query(range)?;
    let row = dashboard.store.switch(&host, id).await?.ok_or(ApiError::UnknownSwitch)?;
    let end = u64::try_from(row.output_kept).unwrap_or(0);
    let reader = OutputReader { dashboard: Arc::clone(&dashboard), host, id, end };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::CONTENT_LENGTH, HeaderValue::from(end.saturating_sub(offset))),
        (OUTPUT_LENGTH, HeaderValue::from(row.output_received)),
        (OUTPUT_TRUNCATED, HeaderValue::from_static(flag(is_truncated(&row)))),
    ];
    Ok((headers, reader.into_body(offset)).into_response())
}

fn flag(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}

/// Reads the output piece by piece, so that memory does not grow with it.
struct OutputReader {
    dashboard: Shared,
    host: HostId,
    id: SwitchId,
    /// What was kept when the call came.
    end: u64,
}

impl OutputReader {
    fn into_body(self, offset: u64) -> Body {
        Body::from_stream(stream::try_unfold((self, offset), |(reader, offset)| async move {
            let piece = reader.next(offset).await?;
            let next = offset + piece.len() as u64;
            Ok::<_, StoreError>((!piece.is_empty()).then_some((piece, (reader, next))))
        }))
    }

    async fn next(&self, offset: u64) -> Result<Bytes, StoreError> {
        if offset >= self.end {
            return Ok(Bytes::new());
        }
        let mut piece = self.dashboard.store.output_from(&self.host, self.id, offset).await?;
        piece.truncate(usize::try_from(self.end - offset).unwrap_or(usize::MAX));
        Ok(piece.into())
    }
}
