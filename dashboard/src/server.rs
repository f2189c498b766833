//! The routes, and serving them until told to stop.

use std::{io, sync::Arc};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Request, State},
    http::{Method, StatusCode},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::{get, post, put},
};
use nixfleet_protocol::wire::v2::MAX_OUTPUT_CHUNK_BYTES;
use serde_json::json;
use tokio::{
    net::TcpListener,
    sync::watch,
    time::{sleep, timeout},
};
use tracing::{error, info};

use crate::{
    agent_v1, agent_v2,
    connections::{BoundedListener, ClientAddress},
    context::Shared,
    limits::{MAX_BODY_BYTES, REQUEST_LIMIT, SHUTDOWN_GRACE},
    operator,
    reply::ApiError,
    with_sources,
};

/// Serves until `stopping` turns true. Open polls are answered then; what else is open gets a short time to end.
pub(crate) async fn run(
    listener: TcpListener,
    max_connections: usize,
    dashboard: Shared,
    stopping: watch::Receiver<bool>,
) -> io::Result<()> {
    let service = router(dashboard).into_make_service_with_connect_info::<ClientAddress>();
    let listener = BoundedListener::new(listener, max_connections);
    let served =
        axum::serve(listener, service).with_graceful_shutdown(until_stopped(stopping.clone()));
    let out_of_time = async {
        until_stopped(stopping).await;
        sleep(SHUTDOWN_GRACE).await;
    };
    tokio::select! {
        ended = served.into_future() => ended,
        () = out_of_time => {
            info!("some requests were still open and are dropped");
            Ok(())
        }
    }
}

async fn until_stopped(mut stopping: watch::Receiver<bool>) {
    // An error means that whoever could say so is gone, which is the same.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

fn router(dashboard: Shared) -> Router {
    let output = get(operator::output)
        .merge(post(agent_v2::append_output).layer(DefaultBodyLimit::max(MAX_OUTPUT_CHUNK_BYTES)));
    Router::new()
        .route("/health", get(health))
        .route("/api/hosts", get(operator::hosts))
        .route("/api/hosts/{host}", get(operator::host))
        .route("/api/hosts/{host}/register", post(agent_v1::register))
        .route("/api/hosts/{host}/status", post(agent_v1::status))
        .route("/api/hosts/{host}/test-progress", post(agent_v1::test_progress))
        .route("/api/hosts/{host}/poll", get(agent_v2::poll))
        .route("/api/hosts/{host}/command", post(operator::queue_command))
        .route("/api/hosts/{host}/agent-token", post(operator::new_agent_token))
        .route("/api/hosts/{host}/commands", get(operator::commands))
        .route("/api/hosts/{host}/commands/{command}/ack", post(agent_v2::acknowledge))
        .route("/api/hosts/{host}/commands/{command}/answer", put(agent_v2::answer))
        .route("/api/hosts/{host}/switches", get(operator::switches))
        .route(
            "/api/hosts/{host}/switches/{switch}",
            put(agent_v2::report_switch).get(operator::switch),
        )
        .route("/api/hosts/{host}/switches/{switch}/output", output)
        .route("/api/hosts/{host}/healings", get(operator::healings))
        .route("/api/hosts/{host}/healings/{healing}", put(agent_v2::report_healing))
        .fallback(async || ApiError::NoSuchPath)
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn(bounded))
        .with_state(dashboard)
}

/// Ends a request that takes too long, and refuses `HEAD`, as v1 dashboards do.
async fn bounded(request: Request, next: Next) -> Response {
    if request.method() == Method::HEAD {
        return ApiError::MethodNotAllowed.into_response();
    }
    match timeout(REQUEST_LIMIT, next.run(request)).await {
        Ok(response) => response,
        Err(_elapsed) => ApiError::TimedOut.into_response(),
    }
}

/// `GET /health`, without a token.
async fn health(State(dashboard): State<Shared>) -> Response {
    match Arc::clone(&dashboard).store.check().await {
        Ok(()) => Json(json!({ "status": "healthy", "version": env!("CARGO_PKG_VERSION") }))
            .into_response(),
        Err(error) => {
            error!(error = with_sources(&error), "unhealthy");
            let reply = Json(json!({ "detail": "Service unhealthy" }));
            (StatusCode::SERVICE_UNAVAILABLE, reply).into_response()
        }
    }
}
