//! `POST /api/hosts/{host}/register`: registration, heartbeat and, for a v1 agent, command poll in one call.

use axum::{
    Json,
    body::Bytes,
    extract::{State, rejection::BytesRejection},
    http::HeaderMap,
    response::{IntoResponse as _, Response},
};
use nixfleet_protocol::wire::{
    PROTOCOL,
    fields::{Criticality, DeviceType, HostId, ThemeColor, Token},
    v1::Registered,
};

use super::{
    REGISTER_LIMIT, SUPERSET_REGISTER_LIMIT, token_to_provision,
    validation::{Fields, IntegerRule, TextRule},
};
use crate::{
    auth,
    clock::Millis,
    context::{Dashboard, Shared},
    reply::ApiError,
    request::{Caller, PathNames, whole_body},
    store::{HostFacts, HostRow},
};

/// The protocol of the superset; an agent that offers it gets its commands by poll.
const SUPERSET: i64 = 2;

/// What v1 agents speak.
const PLAIN: i64 = 1;

const HOSTNAME: TextRule = TextRule::up_to(63)
    .at_least(1)
    .format("Invalid hostname format", |text| text.parse::<HostId>().is_ok());
const GENERATION: TextRule = TextRule::up_to(64).format("Invalid generation format", |text| {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
});
const HOST_TYPE: TextRule =
    TextRule::pattern("^(nixos|macos)$", |text| matches!(text, "nixos" | "macos"));
const DEVICE_TYPE: TextRule = TextRule::pattern("^(server|desktop|laptop|gaming)$", |text| {
    text.parse::<DeviceType>().is_ok()
});
const THEME_COLOR: TextRule =
    TextRule::pattern("^#[0-9a-fA-F]{6}$", |text| text.parse::<ThemeColor>().is_ok());
const CRITICALITY: TextRule =
    TextRule::pattern("^(low|medium|high)$", |text| text.parse::<Criticality>().is_ok());
const POLL_INTERVAL: IntegerRule = IntegerRule { ge: 1, le: Some(3600) };

/// The handler.
pub(crate) async fn register(
    State(dashboard): State<Shared>,
    caller: Caller,
    names: PathNames,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let registration = Registration::read(Fields::of(&headers, &whole_body(body)?)?)?;
    let is_superset = registration.facts.protocol == SUPERSET;
    let limit = if is_superset { SUPERSET_REGISTER_LIMIT } else { REGISTER_LIMIT };
    caller.count(&dashboard, limit)?;
    let host = names.host()?;
    let known = auth::admit_agent(&dashboard, &host, &headers).await?;
    let now = Millis::now();
    let agent_token = save(&dashboard, &host, known.as_ref(), &registration, now).await?;
    dashboard.liveness.heard_of(&host, registration.metrics, now);
    let has_work = known.is_some_and(|known| known.waiting_commands > 0);
    let command = if has_work && !is_superset {
        dashboard.store.hand_over(&host, dashboard.lease, now).await?
    } else {
        None
    };
    Ok(Json(Registered {
        status: "registered".to_owned(),
        host_id: host.into(),
        command,
        agent_token,
        protocol: is_superset.then_some(PROTOCOL),
    })
    .into_response())
}

/// Stores what is news. Most heartbeats change nothing but the time and the metrics, and so write nothing here.
/// Returns a token if the host was given one.
async fn save(
    dashboard: &Dashboard,
    host: &HostId,
    known: Option<&HostRow>,
    registration: &Registration,
    now: Millis,
) -> Result<Option<Token>, ApiError> {
    let facts = registration.facts_beside(known);
    let new_token = token_to_provision(&dashboard.tokens, known)?;
    if new_token.is_none() && known.is_some_and(|known| known.facts == facts) {
        return Ok(None);
    }
    let (token, digest) = new_token.unzip();
    let comment = registration.comment.as_deref();
    let provisioned = dashboard.store.save_facts(host, &facts, comment, digest, now).await?;
    Ok(token.filter(|_| provisioned))
}

/// A registration as it was sent.
#[derive(Debug)]
struct Registration {
    facts: HostFacts,
    comment: Option<String>,
    metrics: Option<String>,
}

impl Registration {
    /// Reads the fields in the order in which a v1 dashboard complains of them.
    fn read(mut fields: Fields) -> Result<Self, ApiError> {
        let hostname = fields.text("hostname", HOSTNAME).to_ascii_lowercase();
        let host_type = fields.text("host_type", HOST_TYPE);
        let location = fields.optional_text("location", TextRule::up_to(50));
        let device_type = fields.text_or("device_type", DEVICE_TYPE, "server");
        let theme_color = fields.text_or("theme_color", THEME_COLOR, "#769ff0");
        let criticality = fields.text_or("criticality", CRITICALITY, "low");
        let icon = fields.optional_text("icon", TextRule::up_to(10));
        let current_generation = fields.optional_text("current_generation", GENERATION);
        let comment = fields.optional_text("comment", TextRule::up_to(500));
        // Checked, and then ignored, as on a v1 dashboard.
        fields.optional_text("test_status", TextRule::up_to(100));
        let config_repo = fields.optional_text("config_repo", TextRule::up_to(200));
        let poll_interval = fields.optional_integer("poll_interval", POLL_INTERVAL);
        let agent_version = fields.optional_text("agent_version", TextRule::up_to(20));
        let nixpkgs_version = fields.optional_text("nixpkgs_version", TextRule::up_to(64));
        let os_version = fields.optional_text("os_version", TextRule::up_to(50));
        let os_name = fields.optional_text("os_name", TextRule::up_to(50));
        let metrics = fields.optional_object("metrics").filter(|metrics| !metrics.is_empty());
        let offers_superset = fields.protocol().is_some_and(|protocol| protocol >= 2);
        fields.finish()?;
        let facts = HostFacts {
            hostname,
            host_type,
            location,
            device_type,
            theme_color,
            criticality,
            icon,
            config_repo,
            poll_interval,
            agent_version,
            nixpkgs_version,
            os_version,
            os_name,
            current_generation,
            protocol: if offers_superset { SUPERSET } else { PLAIN },
        };
        let metrics = metrics.map(|metrics| serde_json::Value::Object(metrics).to_string());
        Ok(Self { facts, comment, metrics })
    }

    /// What is to be stored: what the host does not say stays as it is; criticality and icon are the operator's once
    /// the host is known; a generation that is not said is unknown.
    fn facts_beside(&self, known: Option<&HostRow>) -> HostFacts {
        let said = self.facts.clone();
        let Some(HostRow { facts: known, .. }) = known else { return said };
        let known = known.clone();
        HostFacts {
            location: said.location.or(known.location),
            device_type: said.device_type.or(known.device_type),
            theme_color: said.theme_color.or(known.theme_color),
            criticality: known.criticality,
            icon: known.icon,
            config_repo: said.config_repo.or(known.config_repo),
            poll_interval: said.poll_interval.or(known.poll_interval),
            agent_version: said.agent_version.or(known.agent_version),
            nixpkgs_version: said.nixpkgs_version.or(known.nixpkgs_version),
            os_version: said.os_version.or(known.os_version),
            os_name: said.os_name.or(known.os_name),
            hostname: said.hostname,
            host_type: said.host_type,
            current_generation: said.current_generation,
            protocol: said.protocol,
        }
    }
}
