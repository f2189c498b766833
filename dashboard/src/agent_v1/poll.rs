//! `GET /api/hosts/{host}/poll` without `wait`: a v1 agent asks for a command.

use axum::{
    Json,
    http::HeaderMap,
    response::{IntoResponse as _, Response},
};
use nixfleet_protocol::wire::fields::{HostId, Token};
use serde::Serialize;

use super::token_to_provision;
use crate::{
    auth,
    clock::Millis,
    context::Dashboard,
    reply::ApiError,
    store::{HostFacts, HostRow},
};

/// The answer.
#[derive(Debug, Serialize)]
struct Polled {
    command: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent_token: Option<Token>,
}

/// Answers the poll. A host whose agent speaks the superset gets no command here: it could not acknowledge one
/// without an id.
pub(crate) async fn poll(
    dashboard: &Dashboard,
    host: &HostId,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let (known, agent_token) = host_from_poll(dashboard, host, headers, 1).await?;
    let takes_command =
        known.is_some_and(|known| known.waiting_commands > 0 && known.facts.protocol < 2);
    let command = if takes_command {
        dashboard.store.hand_over(host, dashboard.lease, Millis::now()).await?
    } else {
        None
    };
    Ok(Json(Polled { command, agent_token }).into_response())
}

/// Lets a polling agent in. A host that is not known is made, as a v1 dashboard makes it, and one without a token gets
/// one.
pub(crate) async fn host_from_poll(
    dashboard: &Dashboard,
    host: &HostId,
    headers: &HeaderMap,
    protocol: i64,
) -> Result<(Option<HostRow>, Option<Token>), ApiError> {
    let known = auth::admit_agent(dashboard, host, headers).await?;
    let now = Millis::now();
    let new_token = token_to_provision(&dashboard.tokens, known.as_ref())?;
    let mut agent_token = None;
    if known.is_none() || new_token.is_some() {
        let facts = known
            .as_ref()
            .map_or_else(|| facts_of_unknown(host, protocol), |known| known.facts.clone());
        let (token, digest) = new_token.unzip();
        let provisioned = dashboard.store.save_facts(host, &facts, None, digest, now).await?;
        agent_token = token.filter(|_| provisioned);
    }
    dashboard.liveness.heard_of(host, None, now);
    Ok((known, agent_token))
}

/// What a v1 dashboard assumes of a host that polls before it registers.
fn facts_of_unknown(host: &HostId, protocol: i64) -> HostFacts {
    HostFacts {
        hostname: host.as_str().to_owned(),
        host_type: "nixos".to_owned(),
        location: Some("home".to_owned()),
        device_type: Some("server".to_owned()),
        theme_color: Some("#769ff0".to_owned()),
        criticality: Some("low".to_owned()),
        icon: None,
        config_repo: None,
        poll_interval: Some(30),
        agent_version: None,
        nixpkgs_version: None,
        os_version: None,
        os_name: None,
        current_generation: None,
        protocol,
    }
}
