//! How hosts, commands, switches and healings look in the operator's API.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    clock::Millis,
    delivery::{self, Standing},
    liveness::{Liveness, is_online},
    store::{CommandRow, HealingRow, HostRow, StoreError, SwitchRow},
};

/// A host, with what was heard of it since its row was written.
pub(super) fn host_view(row: HostRow, liveness: &Liveness, now: Millis) -> Value {
    let HostRow { id, facts, .. } = row;
    let heard = liveness.of(&id);
    let last_seen = heard.as_ref().map(|heard| heard.at).or(row.last_seen);
    let metrics = heard.and_then(|heard| heard.metrics).or(row.metrics);
    // Only this program writes the column; a damaged one is as good as none.
    let metrics: Option<Value> = metrics.and_then(|json| serde_json::from_str(&json).ok());
    json!({
        "id": id,
        "hostname": facts.hostname,
        "host_type": facts.host_type,
        "online": is_online(last_seen, facts.poll_interval, now),
        "last_seen": last_seen,
        "status": row.status,
        "comment": row.comment,
        "current_generation": facts.current_generation,
        "agent_version": facts.agent_version,
        "protocol": facts.protocol,
        "waiting_commands": row.waiting_commands,
        "last_switch": row.last_switch,
        "poll_interval": facts.poll_interval,
        "location": facts.location,
        "device_type": facts.device_type,
        "theme_color": facts.theme_color,
        "criticality": facts.criticality,
        "icon": facts.icon,
        "config_repo": facts.config_repo,
        "nixpkgs_version": facts.nixpkgs_version,
        "os_name": facts.os_name,
        "os_version": facts.os_version,
        "has_own_token": row.token_hash.is_some(),
        "created_at": row.created_at,
        "metrics": metrics,
        "tests": {
            "running": row.test_running,
            "current": row.test_current,
            "total": row.test_total,
            "passed": row.test_passed,
            "result": row.test_result,
            "status": row.test_status,
            "last_audit": row.last_audit,
        },
    })
}

/// A command.
pub(super) fn command_view(row: CommandRow, lease: Duration, now: Millis) -> Value {
    let standing = delivery::standing(&row, lease, now);
    let leased_until = match standing {
        Standing::Leased { until } => Some(until),
        Standing::Queued
        | Standing::Acknowledged
        | Standing::HandedOver
        | Standing::Lost
        | Standing::Closed => None,
    };
    json!({
        "id": row.id,
        "command": row.verb,
        "status": row.outcome.unwrap_or_else(|| standing.as_str().to_owned()),
        "output": row.message,
        "switch_id": row.switch_id,
        "queued_at": row.queued_at,
        "delivered_at": row.delivered_at,
        "leased_until": leased_until,
        "acknowledged_at": row.acknowledged_at,
        "closed_at": row.closed_at,
        "answered_at": row.answered_at,
    })
}

/// A switch, with its result and reload as the host sent them.
pub(super) fn switch_view(row: SwitchRow) -> Result<Value, StoreError> {
    let truncated = is_truncated(&row);
    Ok(json!({
        "id": row.id,
        "command_id": row.command_id,
        "operation": row.operation,
        "steps": stored_json("steps of a switch", row.steps)?,
        "phase": stored_json("phase of a switch", row.phase)?,
        "initiator": row.initiator,
        "state": row.state,
        "outcome": row.outcome,
        "requested_at": row.requested_at,
        "started_at": row.started_at,
        "finished_at": row.finished_at,
        "reported_at": row.reported_at,
        "updated_at": row.updated_at,
        "output": { "bytes": row.output_received, "kept": row.output_kept, "truncated": truncated },
        "result": stored_json("result of a switch", row.result)?,
        "reload": stored_json("reload of a switch", row.reload)?,
    }))
}

/// A healing, with its steps as the host sent them.
pub(super) fn healing_view(row: HealingRow) -> Result<Value, StoreError> {
    Ok(json!({
        "id": row.id,
        "cause": row.cause,
        "missed_for_ms": row.missed_for_ms,
        "verdict": row.verdict,
        "explanation": row.explanation,
        "began_at": row.began_at,
        "duration_ms": row.duration_ms,
        "steps": stored_json("steps of a healing", Some(row.steps))?,
        "received_at": row.received_at,
    }))
}

/// Whether the end of the output was not kept.
pub(super) fn is_truncated(row: &SwitchRow) -> bool {
    row.output_kept < row.output_received
}

fn stored_json(what: &'static str, json: Option<String>) -> Result<Option<Value>, StoreError> {
    json.map(|json| {
        serde_json::from_str(&json).map_err(|_| StoreError::Damaged { what, value: json })
    })
    .transpose()
}
