//! `POST /api/hosts/{host}/test-progress`: how far a v1 agent is with its tests.

use axum::{
    body::Bytes,
    extract::{State, rejection::BytesRejection},
    http::HeaderMap,
    response::Response,
};

use super::{
    TEST_PROGRESS_LIMIT, updated,
    validation::{Fields, IntegerRule, TextRule},
};
use crate::{
    auth,
    clock::Millis,
    context::Shared,
    reply::ApiError,
    request::{Caller, PathNames, whole_body},
    store::TestRun,
};

const COUNT: IntegerRule = IntegerRule { ge: 0, le: None };

/// The handler. The tests of a host that is not known are answered and dropped, as on a v1 dashboard.
pub(crate) async fn test_progress(
    State(dashboard): State<Shared>,
    caller: Caller,
    names: PathNames,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let run = read(Fields::of(&headers, &whole_body(body)?)?)?;
    caller.count(&dashboard, TEST_PROGRESS_LIMIT)?;
    let host = names.host()?;
    let known = auth::admit_agent(&dashboard, &host, &headers).await?;
    if known.is_some() {
        let now = Millis::now();
        dashboard.store.save_test_run(&host, &run, now).await?;
        dashboard.liveness.heard_of(&host, None, now);
    }
    Ok(updated())
}

fn read(mut fields: Fields) -> Result<TestRun, ApiError> {
    let run = TestRun {
        current: fields.integer("current", COUNT),
        total: fields.integer("total", COUNT),
        passed: fields.integer_or("passed", COUNT, 0),
        running: fields.flag_or("running", true),
        result: fields.optional_text("result", TextRule::any()),
        comment: fields.optional_text("comment", TextRule::any()),
    };
    fields.finish()?;
    Ok(run)
}
