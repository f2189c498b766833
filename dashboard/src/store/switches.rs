//! The table of switches.

use nixfleet_protocol::{
    journal::records::{Initiator, Outcome, Reload, SwitchId, SwitchResult},
    nix_log::NixPhase,
    operation::Steps,
    wire::{
        fields::HostId,
        v2::{SwitchReport, SwitchState},
    },
};
use sqlx::{FromRow, Sqlite, Transaction};

use super::{Doing as _, Store, StoreError};
use crate::{
    clock::Millis,
    limits::MAX_SWITCHES_KEPT,
    progress::{self, Change, Known, Stage},
};

/// A switch as it is stored.
#[derive(Debug, Clone, FromRow)]
pub(crate) struct SwitchRow {
    pub(crate) id: String,
    pub(crate) command_id: Option<String>,
    pub(crate) operation: String,
    pub(crate) steps: Option<String>,
    pub(crate) phase: Option<String>,
    pub(crate) initiator: String,
    pub(crate) requested_at: Millis,
    pub(crate) started_at: Option<Millis>,
    pub(crate) finished_at: Option<Millis>,
    pub(crate) state: String,
    pub(crate) outcome: Option<String>,
    /// JSON.
    pub(crate) result: Option<String>,
    /// JSON.
    pub(crate) reload: Option<String>,
    pub(crate) reported_at: Millis,
    pub(crate) updated_at: Millis,
    pub(crate) output_received: i64,
    pub(crate) output_kept: i64,
}

impl Store {
    /// The host's switches, newest first.
    pub(crate) async fn switches(
        &self,
        host: &HostId,
        limit: u32,
    ) -> Result<Vec<SwitchRow>, StoreError> {
        sqlx::query_as(
            "SELECT * FROM switches WHERE host_id = ? ORDER BY requested_at DESC, id DESC LIMIT ?",
        )
        .bind(host.as_str())
        .bind(limit)
        .fetch_all(&self.readers)
        .await
        .doing("read the switches")
    }

    /// One switch, if it is known.
    pub(crate) async fn switch(
        &self,
        host: &HostId,
        id: SwitchId,
    ) -> Result<Option<SwitchRow>, StoreError> {
        sqlx::query_as("SELECT * FROM switches WHERE host_id = ? AND id = ?")
            .bind(host.as_str())
            .bind(id.to_string())
            .fetch_optional(&self.readers)
            .await
            .doing("read a switch")
    }

    /// Stores where a switch stands, as far as that is news, and closes the command that a finished one answers.
    /// Returns how much of its output was received.
    pub(crate) async fn save_report(
        &self,
        host: &HostId,
        report: &SwitchReport,
        now: Millis,
    ) -> Result<u64, StoreError> {
        let mut transaction = self.write().await?;
        let row = find(&mut transaction, host, report.id).await?;
        let known = row.as_ref().map(known_of).transpose()?;
        if row.is_none() {
            insert(&mut transaction, host, report, now).await?;
        }
        let change = progress::change(known, &report.state);
        apply(&mut transaction, (host, report.id), &report.state, change, now).await?;
        note_on_command(&mut transaction, host, report, now).await?;
        if row.is_none() {
            forget_old_switches(&mut transaction, host).await?;
        }
        transaction.commit().await.doing("commit a switch report")?;
        Ok(row.map_or(0, |row| u64::try_from(row.output_received).unwrap_or(0)))
    }
}

/// Which switch of which host.
type Key<'a> = (&'a HostId, SwitchId);

async fn find(
    transaction: &mut Transaction<'static, Sqlite>,
    host: &HostId,
    id: SwitchId,
) -> Result<Option<SwitchRow>, StoreError> {
    sqlx::query_as("SELECT * FROM switches WHERE host_id = ? AND id = ?")
        .bind(host.as_str())
        .bind(id.to_string())
        .fetch_optional(&mut **transaction)
        .await
        .doing("read a switch")
}

fn known_of(row: &SwitchRow) -> Result<Known, StoreError> {
    let stage = Stage::from_word(&row.state).ok_or_else(|| StoreError::Damaged {
        what: "state of a switch",
        value: row.state.clone(),
    })?;
    Ok(Known { stage, has_reload: row.reload.is_some() })
}

async fn insert(
    transaction: &mut Transaction<'static, Sqlite>,
    host: &HostId,
    report: &SwitchReport,
    now: Millis,
) -> Result<(), StoreError> {
    let initiator = match report.initiator {
        Initiator::Agent => "agent",
        Initiator::User => "user",
    };
    sqlx::query(
        "INSERT INTO switches (host_id, id, operation, initiator, requested_at, state, reported_at, updated_at) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7)",
    )
    .bind(host.as_str())
    .bind(report.id.to_string())
    .bind(report.operation.as_str())
    .bind(initiator)
    .bind(Millis::from(report.requested_at))
    .bind(Stage::Accepted.as_str())
    .bind(now)
    .execute(&mut **transaction)
    .await
    .doing("store a switch")?;
    Ok(())
}

async fn apply(
    transaction: &mut Transaction<'static, Sqlite>,
    key: Key<'_>,
    state: &SwitchState,
    change: Change,
    now: Millis,
) -> Result<(), StoreError> {
    match (change, state) {
        (Change::Advance, SwitchState::Running { started_at, steps, phase }) => {
            set_running(transaction, key, Millis::from(*started_at), now).await?;
            set_phase(transaction, key, phase.as_ref()).await?;
            set_steps(transaction, key, steps.as_ref(), now).await
        }
        (Change::Further, SwitchState::Running { steps, phase, .. }) => {
            set_phase(transaction, key, phase.as_ref()).await?;
            set_steps(transaction, key, steps.as_ref(), now).await
        }
        (Change::Advance, SwitchState::Finished { result, reload }) => {
            set_finished(transaction, key, result, now).await?;
            set_phase(transaction, key, None).await?;
            set_steps(transaction, key, result.steps.as_ref(), now).await?;
            update_host(transaction, key.0, result).await?;
            match reload {
                Some(reload) => set_reload(transaction, key, reload, now).await,
                None => Ok(()),
            }
        }
        (Change::AddReload, SwitchState::Finished { reload: Some(reload), .. }) => {
            set_reload(transaction, key, reload, now).await
        }
        // A report changes a switch only as far as it goes beyond what is known.
        (
            Change::Advance | Change::AddReload | Change::Further | Change::Nothing,
            SwitchState::Accepted | SwitchState::Running { .. } | SwitchState::Finished { .. },
        ) => Ok(()),
    }
}

async fn set_running(
    transaction: &mut Transaction<'static, Sqlite>,
    (host, id): Key<'_>,
    started_at: Millis,
    now: Millis,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE switches SET state = ?, started_at = ?, updated_at = ? WHERE host_id = ? AND id = ?",
    )
    .bind(Stage::Running.as_str())
    .bind(started_at)
    .bind(now)
    .bind(host.as_str())
    .bind(id.to_string())
    .execute(&mut **transaction)
    .await
    .doing("store that a switch runs")?;
    Ok(())
}

/// What Nix is doing; nothing when it is over.
async fn set_phase(
    transaction: &mut Transaction<'static, Sqlite>,
    (host, id): Key<'_>,
    phase: Option<&NixPhase>,
) -> Result<(), StoreError> {
    let json = phase
        .map(serde_json::to_string)
        .transpose()
        .map_err(|source| StoreError::Encode { record: "phase", source })?;
    sqlx::query("UPDATE switches SET phase = ? WHERE host_id = ? AND id = ?")
        .bind(json)
        .bind(host.as_str())
        .bind(id.to_string())
        .execute(&mut **transaction)
        .await
        .doing("store the phase of a switch")?;
    Ok(())
}

/// How far it is, and how the host's tests stand by that.
async fn set_steps(
    transaction: &mut Transaction<'static, Sqlite>,
    (host, id): Key<'_>,
    steps: Option<&Steps>,
    now: Millis,
) -> Result<(), StoreError> {
    let Some(steps) = steps else { return Ok(()) };
    let json = serde_json::to_string(steps)
        .map_err(|source| StoreError::Encode { record: "steps", source })?;
    sqlx::query("UPDATE switches SET steps = ?, updated_at = ? WHERE host_id = ? AND id = ?")
        .bind(json)
        .bind(now)
        .bind(host.as_str())
        .bind(id.to_string())
        .execute(&mut **transaction)
        .await
        .doing("store the steps of a switch")?;
    let Some(tests) = &steps.tests else { return Ok(()) };
    let verdict = tests.is_over.then(|| tests.verdict());
    sqlx::query(
        "UPDATE hosts SET test_running = ?1, test_current = ?2, test_total = ?3, test_passed = ?4, \
         test_result = coalesce(?5, test_result), test_status = coalesce(?5, test_status), \
         last_audit = iif(?5 IS NULL, last_audit, ?6) WHERE id = ?7",
    )
    .bind(!tests.is_over)
    .bind(tests.current)
    .bind(tests.total)
    .bind(tests.passed)
    .bind(verdict)
    .bind(now)
    .bind(host.as_str())
    .execute(&mut **transaction)
    .await
    .doing("store how the tests of a host stand")?;
    Ok(())
}

async fn set_finished(
    transaction: &mut Transaction<'static, Sqlite>,
    (host, id): Key<'_>,
    result: &SwitchResult,
    now: Millis,
) -> Result<(), StoreError> {
    let json = serde_json::to_string(result)
        .map_err(|source| StoreError::Encode { record: "result", source })?;
    sqlx::query(
        "UPDATE switches SET state = ?, started_at = ?, finished_at = ?, outcome = ?, result = ?, updated_at = ? \
         WHERE host_id = ? AND id = ?",
    )
    .bind(Stage::Finished.as_str())
    .bind(Millis::from(result.started_at))
    .bind(Millis::from(result.finished_at))
    .bind(result.outcome.as_str())
    .bind(json)
    .bind(now)
    .bind(host.as_str())
    .bind(id.to_string())
    .execute(&mut **transaction)
    .await
    .doing("store a result")?;
    Ok(())
}

async fn set_reload(
    transaction: &mut Transaction<'static, Sqlite>,
    (host, id): Key<'_>,
    reload: &Reload,
    now: Millis,
) -> Result<(), StoreError> {
    let json = serde_json::to_string(reload)
        .map_err(|source| StoreError::Encode { record: "reload record", source })?;
    sqlx::query("UPDATE switches SET reload = ?, updated_at = ? WHERE host_id = ? AND id = ?")
        .bind(json)
        .bind(now)
        .bind(host.as_str())
        .bind(id.to_string())
        .execute(&mut **transaction)
        .await
        .doing("store a reload")?;
    Ok(())
}

/// The host's status is how its newest switch ended; a result that comes late, after a newer one, does not change it.
async fn update_host(
    transaction: &mut Transaction<'static, Sqlite>,
    host: &HostId,
    result: &SwitchResult,
) -> Result<(), StoreError> {
    let has_succeeded = result.outcome == Outcome::Succeeded;
    sqlx::query(
        "UPDATE hosts SET status = ?1, last_switch = iif(?1 = 'ok' AND ?4, ?2, last_switch) WHERE id = ?3 \
         AND NOT EXISTS (SELECT 1 FROM switches WHERE host_id = ?3 AND finished_at > ?2)",
    )
    .bind(if has_succeeded { "ok" } else { "error" })
    .bind(Millis::from(result.finished_at))
    .bind(host.as_str())
    .bind(result.operation.activates())
    .execute(&mut **transaction)
    .await
    .doing("store a host's status")?;
    Ok(())
}

/// Ties switch and command together. A report of any kind shows that the agent has the command; a finished one closes
/// it. A command of another dashboard, or one that was forgotten, is nobody's here.
async fn note_on_command(
    transaction: &mut Transaction<'static, Sqlite>,
    host: &HostId,
    report: &SwitchReport,
    now: Millis,
) -> Result<(), StoreError> {
    let Some(command) = &report.command_id else { return Ok(()) };
    sqlx::query(
        "UPDATE switches SET command_id = coalesce(command_id, ?) WHERE host_id = ? AND id = ?",
    )
    .bind(command.as_str())
    .bind(host.as_str())
    .bind(report.id.to_string())
    .execute(&mut **transaction)
    .await
    .doing("store a switch's command")?;
    let result = match &report.state {
        SwitchState::Accepted | SwitchState::Running { .. } => None,
        SwitchState::Finished { result, .. } => Some(result),
    };
    sqlx::query(
        "UPDATE commands SET acknowledged_at = coalesce(acknowledged_at, ?1), \
         switch_id = coalesce(switch_id, ?2), closed_at = ?3, outcome = ?4, message = ?5, answered_at = ?6 \
         WHERE host_id = ?7 AND id = ?8 AND closed_at IS NULL",
    )
    .bind(now)
    .bind(report.id.to_string())
    .bind(result.map(|_| now))
    .bind(result.map(|result| result.outcome.as_str()))
    .bind(result.map(|result| progress::said(result)))
    .bind(result.map(|result| Millis::from(result.finished_at)))
    .bind(host.as_str())
    .bind(command.as_str())
    .execute(&mut **transaction)
    .await
    .doing("note a switch on its command")?;
    Ok(())
}

/// Keeps the newest switches, with their output.
async fn forget_old_switches(
    transaction: &mut Transaction<'static, Sqlite>,
    host: &HostId,
) -> Result<(), StoreError> {
    sqlx::query(
        "DELETE FROM switches WHERE host_id = ?1 AND id IN (SELECT id FROM switches WHERE host_id = ?1 \
         ORDER BY requested_at DESC, id DESC LIMIT -1 OFFSET ?2)",
    )
    .bind(host.as_str())
    .bind(MAX_SWITCHES_KEPT)
    .execute(&mut **transaction)
    .await
    .doing("forget old switches")?;
    Ok(())
}
