//! `PUT /api/hosts/{host}/healings/{healing}`: a job of NixFleet's was looked after without a switch.

use axum::{
    Json,
    body::Bytes,
    extract::{State, rejection::BytesRejection},
    http::HeaderMap,
    response::{IntoResponse as _, Response},
};
use nixfleet_protocol::{journal::records::Healing, wire::v2::HealingRecorded};
use serde_json::json;

use crate::{
    auth,
    clock::Millis,
    context::Shared,
    reply::ApiError,
    request::{PathNames, invalid, message, whole_body},
};

/// The handler. The same healing again changes nothing and gets the same answer.
pub(crate) async fn report_healing(
    State(dashboard): State<Shared>,
    names: PathNames,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let host = names.host()?;
    let known = auth::admit_agent(&dashboard, &host, &headers).await?;
    if known.is_none() {
        return Err(ApiError::UnknownHost);
    }
    let id = names.healing()?;
    let healing: Healing = message(&whole_body(body)?)?;
    if healing.id != id {
        let msg = "the healing in the body is not the one in the path".to_owned();
        return Err(invalid("contradiction", vec![json!("body"), json!("id")], msg));
    }
    let now = Millis::now();
    dashboard.store.save_healing(&host, &healing, now).await?;
    dashboard.liveness.heard_of(&host, None, now);
    Ok(Json(HealingRecorded { status: "recorded".to_owned() }).into_response())
}
