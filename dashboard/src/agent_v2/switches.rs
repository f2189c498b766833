//! `PUT /api/hosts/{host}/switches/{switch}`: where a switch stands.

use axum::{
    Json,
    body::Bytes,
    extract::{State, rejection::BytesRejection},
    http::HeaderMap,
    response::{IntoResponse as _, Response},
};
use nixfleet_protocol::{
    journal::records::{Record as _, SwitchId},
    wire::v2::{SwitchRecorded, SwitchReport, SwitchState},
};
use serde_json::json;

use crate::{
    auth,
    clock::Millis,
    context::Shared,
    reply::ApiError,
    request::{PathNames, invalid, message, whole_body},
};

/// The handler.
pub(crate) async fn report_switch(
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
    let switch = names.switch()?;
    let report: SwitchReport = message(&whole_body(body)?)?;
    check(switch, &report)?;
    let now = Millis::now();
    let output_offset = dashboard.store.save_report(&host, &report, now).await?;
    dashboard.liveness.heard_of(&host, None, now);
    Ok(Json(SwitchRecorded { status: "recorded".to_owned(), output_offset }).into_response())
}

/// Refuses a report that contradicts itself.
fn check(switch: SwitchId, report: &SwitchReport) -> Result<(), ApiError> {
    let refuse = |field: &str, msg: String| {
        Err(invalid("contradiction", vec![json!("body"), json!(field)], msg))
    };
    if report.id != switch {
        return refuse("id", "the switch in the body is not the one in the path".to_owned());
    }
    match &report.state {
        SwitchState::Accepted | SwitchState::Running { .. } => Ok(()),
        SwitchState::Finished { result, .. } if result.id != switch => {
            refuse("result", "the result is of another switch".to_owned())
        }
        SwitchState::Finished { result, .. } => {
            result.check().or_else(|contradiction| refuse("result", contradiction))
        }
    }
}
