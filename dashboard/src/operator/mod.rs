//! What operators call, with `Authorization: Bearer <operator token>`; an agent's token does not work here.
//!
//! | call | meaning |
//! |---|---|
//! | `GET /api/hosts` | all hosts |
//! | `GET /api/hosts/{host}` | one host |
//! | `POST /api/hosts/{host}/command` | queues `{"command": "switch"}`, also while the host is offline: it waits |
//! | `GET /api/hosts/{host}/commands?limit=N` | its commands, newest first |
//! | `GET /api/hosts/{host}/switches?limit=N` | its switches, newest first |
//! | `GET /api/hosts/{host}/switches/{switch}` | one switch |
//! | `GET /api/hosts/{host}/switches/{switch}/output?offset=N` | its output as it came |
//! | `GET /api/hosts/{host}/healings?limit=N` | what was healed there without a switch, newest first |
//! | `POST /api/hosts/{host}/agent-token` | gives the host a new token of its own; the old one is void |
//!
//! Times are RFC 3339 in UTC. A command's `status` is `queued`, `acknowledged` (the agent has it on disk), `running` (a
//! v1 agent was sent it), or how it ended: `succeeded`, `failed`, `refused`, `unknown`, `lost`, or a switch's outcome.

mod healings;
mod hosts;
mod switches;
mod views;

pub(crate) use self::{
    healings::healings,
    hosts::{commands, host, hosts, new_agent_token, queue_command},
    switches::{output, switch, switches},
};
use crate::{auth, context::Dashboard, reply::ApiError, request::PathNames, store::HostRow};
use axum::http::HeaderMap;
use nixfleet_protocol::wire::fields::HostId;

/// Lets an operator in, and finds the host.
async fn admit_to_host(
    dashboard: &Dashboard,
    headers: &HeaderMap,
    names: &PathNames,
) -> Result<(HostId, HostRow), ApiError> {
    auth::admit_operator(dashboard, headers)?;
    let id = names.host()?;
    let row = dashboard.store.host(&id).await?.ok_or(ApiError::UnknownHost)?;
    Ok((id, row))
}
