//! `GET /api/hosts/{host}/poll?wait=SECONDS`: the agent waits for a command.

use std::{pin::pin, time::Duration};

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
    http::HeaderMap,
    response::{IntoResponse as _, Response},
};
use nixfleet_protocol::wire::{
    fields::{CommandId, HostId, Text},
    v2::{LeasedCommand, MAX_POLL_WAIT_SECONDS, Polled},
};
use serde::Deserialize;
use tokio::time::{Instant, sleep_until};

use crate::{
    agent_v1::{self, POLL_LIMIT},
    clock::Millis,
    context::{Dashboard, Shared},
    delivery::Lease,
    rate_limit::PerMinute,
    reply::ApiError,
    request::{self, Caller, PathNames},
    store::{CommandRow, StoreError},
};

/// How often a host may poll with a wait: an agent polls again at once after each command that it gets.
const WAITING_POLL_LIMIT: PerMinute = PerMinute(240);

/// The query of a poll.
#[derive(Debug, Deserialize)]
pub(crate) struct PollQuery {
    /// How long to wait for a command, in seconds; without it the poll is one of v1.
    wait: Option<u32>,
}

/// The handler of both kinds of poll.
pub(crate) async fn poll(
    State(dashboard): State<Shared>,
    caller: Caller,
    names: PathNames,
    headers: HeaderMap,
    query: Result<Query<PollQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let PollQuery { wait } = request::query(query)?;
    caller.count(&dashboard, if wait.is_some() { WAITING_POLL_LIMIT } else { POLL_LIMIT })?;
    let host = names.host()?;
    let Some(wait) = wait else { return agent_v1::poll(&dashboard, &host, &headers).await };
    let (_, agent_token) = agent_v1::host_from_poll(&dashboard, &host, &headers, 2).await?;
    // A new token is sent at once: should the agent die while it waits, nobody would know the token any more.
    let wait = if agent_token.is_some() { 0 } else { wait.min(MAX_POLL_WAIT_SECONDS) };
    let command = wait_for_command(&dashboard, &host, Duration::from_secs(wait.into())).await?;
    dashboard.liveness.heard_of(&host, None, Millis::now());
    Ok(Json(Polled { command, agent_token }).into_response())
}

/// Waits for a command and leases it. Dropped while it waits, it has changed nothing.
async fn wait_for_command(
    dashboard: &Dashboard,
    host: &HostId,
    wait: Duration,
) -> Result<Option<LeasedCommand>, ApiError> {
    let turn = dashboard.wakes.take_turn(host);
    let deadline = Instant::now() + wait;
    let mut stopping = dashboard.stopping.clone();
    loop {
        let mut ring = pin!(turn.next_ring());
        ring.as_mut().enable();
        if !turn.is_newest() {
            return Ok(None);
        }
        let next_look = match lease_now(dashboard, host).await? {
            Lease::Now(command) => return Ok(Some(leased(&command, dashboard.lease)?)),
            Lease::NotBefore(end) => deadline.min(Instant::now() + end.remaining(Millis::now())),
            Lease::Nothing => deadline,
        };
        tokio::select! {
            () = ring => {}
            () = sleep_until(next_look) => {
                if next_look >= deadline {
                    return Ok(None);
                }
            }
            // An error means that whoever could stop the dashboard is gone, which is the same.
            _ = stopping.wait_for(|stopping| *stopping) => return Ok(None),
        }
    }
}

/// Looks first, since most polls find nothing, and a look needs no write.
async fn lease_now(dashboard: &Dashboard, host: &HostId) -> Result<Lease, StoreError> {
    let (lease, now) = (dashboard.lease, Millis::now());
    match dashboard.store.look_for_lease(host, lease, now).await? {
        Lease::Now(_) => dashboard.store.lease(host, lease, now).await,
        nothing @ (Lease::NotBefore(_) | Lease::Nothing) => Ok(nothing),
    }
}

fn leased(command: &CommandRow, lease: Duration) -> Result<LeasedCommand, StoreError> {
    let damaged = |what, value: &str| StoreError::Damaged { what, value: value.to_owned() };
    let id: CommandId = command.id.parse().map_err(|_| damaged("id of a command", &command.id))?;
    let verb = Text::new(command.verb.as_str())
        .map_err(|_| damaged("verb of a command", &command.verb))?;
    Ok(LeasedCommand {
        id,
        verb,
        lease_seconds: u32::try_from(lease.as_secs()).unwrap_or(u32::MAX),
        queued_at: command.queued_at.timestamp(),
    })
}
