//! `POST /api/hosts/{host}/switches/{switch}/output?offset=N`: a piece of a switch's output.

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
use nixfleet_protocol::wire::v2::OutputRecorded;
use serde::Deserialize;

use crate::{
    auth,
    context::Shared,
    reply::ApiError,
    request::{PathNames, query, whole_body},
    store::Appended,
};

/// Where the piece begins.
#[derive(Debug, Deserialize)]
pub(crate) struct OutputQuery {
    offset: u64,
}

/// The handler. A switch has to be reported before its output.
pub(crate) async fn append_output(
    State(dashboard): State<Shared>,
    names: PathNames,
    headers: HeaderMap,
    offset: Result<Query<OutputQuery>, QueryRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let host = names.host()?;
    auth::admit_agent(&dashboard, &host, &headers).await?;
    let switch = names.switch()?;
    let OutputQuery { offset } = query(offset)?;
    let piece = whole_body(body)?;
    match dashboard.store.append_output(&host, switch, offset, &piece).await? {
        Appended::UnknownSwitch => Err(ApiError::UnknownSwitch),
        Appended::Gap(output_offset) => Err(ApiError::OutputGap(output_offset)),
        Appended::Now(output_offset) => Ok(Json(OutputRecorded { output_offset }).into_response()),
    }
}
