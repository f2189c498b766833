//! The table of healings.

use nixfleet_protocol::{journal::records::Healing, wire::fields::HostId};
use sqlx::{FromRow, Sqlite, Transaction};

use super::{Doing as _, Store, StoreError};
use crate::{clock::Millis, limits::MAX_HEALINGS_KEPT};

/// A healing as it is stored.
#[derive(Debug, Clone, FromRow)]
pub(crate) struct HealingRow {
    pub(crate) id: String,
    pub(crate) cause: String,
    pub(crate) missed_for_ms: Option<i64>,
    pub(crate) verdict: String,
    pub(crate) explanation: String,
    pub(crate) began_at: Millis,
    pub(crate) duration_ms: i64,
    /// JSON.
    pub(crate) steps: String,
    pub(crate) received_at: Millis,
}

impl Store {
    /// The host's healings, newest first.
    pub(crate) async fn healings(
        &self,
        host: &HostId,
        limit: u32,
    ) -> Result<Vec<HealingRow>, StoreError> {
        sqlx::query_as(
            "SELECT * FROM healings WHERE host_id = ? ORDER BY began_at DESC, id DESC LIMIT ?",
        )
        .bind(host.as_str())
        .bind(limit)
        .fetch_all(&self.readers)
        .await
        .doing("read the healings")
    }

    /// Stores a healing, unless one with its id is known.
    pub(crate) async fn save_healing(
        &self,
        host: &HostId,
        healing: &Healing,
        now: Millis,
    ) -> Result<(), StoreError> {
        let mut transaction = self.write().await?;
        if insert(&mut transaction, host, healing, now).await? {
            forget_old_healings(&mut transaction, host).await?;
        }
        transaction.commit().await.doing("commit a healing")
    }
}

/// Whether it was new.
async fn insert(
    transaction: &mut Transaction<'static, Sqlite>,
    host: &HostId,
    healing: &Healing,
    now: Millis,
) -> Result<bool, StoreError> {
    let reload = &healing.reload;
    let steps = serde_json::to_string(&reload.steps)
        .map_err(|source| StoreError::Encode { record: "steps of a healing", source })?;
    let inserted = sqlx::query(
        "INSERT INTO healings (host_id, id, cause, missed_for_ms, verdict, explanation, began_at, duration_ms, \
         steps, received_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (host_id, id) DO NOTHING",
    )
    .bind(host.as_str())
    .bind(healing.id.to_string())
    .bind(healing.cause.as_str())
    .bind(healing.missed_for_ms.map(stored))
    .bind(reload.verdict.as_str())
    .bind(&reload.explanation)
    .bind(Millis::from(reload.began_at))
    .bind(stored(reload.duration_ms))
    .bind(steps)
    .bind(now)
    .execute(&mut **transaction)
    .await
    .doing("store a healing")?;
    Ok(inserted.rows_affected() > 0)
}

/// SQLite's integers have a sign; what does not fit is longer than anybody will read.
fn stored(milliseconds: u64) -> i64 {
    i64::try_from(milliseconds).unwrap_or(i64::MAX)
}

/// Keeps the newest healings. What counts is the order in which they came: a host whose clock was ahead once would
/// otherwise keep those for ever.
async fn forget_old_healings(
    transaction: &mut Transaction<'static, Sqlite>,
    host: &HostId,
) -> Result<(), StoreError> {
    sqlx::query(
        "DELETE FROM healings WHERE host_id = ?1 AND id IN (SELECT id FROM healings WHERE host_id = ?1 \
         ORDER BY rowid DESC LIMIT -1 OFFSET ?2)",
    )
    .bind(host.as_str())
    .bind(MAX_HEALINGS_KEPT)
    .execute(&mut **transaction)
    .await
    .doing("forget old healings")?;
    Ok(())
}
