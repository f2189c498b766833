//! The table of hosts.

use nixfleet_protocol::wire::fields::HostId;
use sqlx::{FromRow, Sqlite, Transaction};

use super::{Doing as _, Store, StoreError};
use crate::{auth::TokenDigest, clock::Millis, liveness::Sighting};

/// What a host says of itself when it registers.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub(crate) struct HostFacts {
    pub(crate) hostname: String,
    pub(crate) host_type: String,
    pub(crate) location: Option<String>,
    pub(crate) device_type: Option<String>,
    pub(crate) theme_color: Option<String>,
    pub(crate) criticality: Option<String>,
    pub(crate) icon: Option<String>,
    pub(crate) config_repo: Option<String>,
    pub(crate) poll_interval: Option<i64>,
    pub(crate) agent_version: Option<String>,
    pub(crate) nixpkgs_version: Option<String>,
    pub(crate) os_version: Option<String>,
    pub(crate) os_name: Option<String>,
    pub(crate) current_generation: Option<String>,
    /// 2 if its agent fetches commands by long poll.
    pub(crate) protocol: i64,
}

/// A host as it is stored.
#[derive(Debug, Clone, FromRow)]
pub(crate) struct HostRow {
    pub(crate) id: String,
    #[sqlx(flatten)]
    pub(crate) facts: HostFacts,
    pub(crate) status: String,
    pub(crate) comment: Option<String>,
    pub(crate) last_switch: Option<Millis>,
    pub(crate) test_status: Option<String>,
    pub(crate) test_running: bool,
    pub(crate) test_current: Option<i64>,
    pub(crate) test_total: Option<i64>,
    pub(crate) test_passed: Option<i64>,
    pub(crate) test_result: Option<String>,
    pub(crate) last_audit: Option<Millis>,
    pub(crate) token_hash: Option<Vec<u8>>,
    pub(crate) created_at: Millis,
    pub(crate) last_seen: Option<Millis>,
    pub(crate) metrics: Option<String>,
    /// Commands that no agent has taken yet.
    pub(crate) waiting_commands: i64,
}

/// How far a v1 agent is with its tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TestRun {
    pub(crate) current: i64,
    pub(crate) total: i64,
    pub(crate) passed: i64,
    pub(crate) running: bool,
    pub(crate) result: Option<String>,
    pub(crate) comment: Option<String>,
}

/// Hosts with the number of commands that wait for them; each caller says which hosts.
macro_rules! select_hosts {
    ($which:literal) => {
        concat!(
            "SELECT *, (SELECT count(*) FROM commands WHERE host_id = hosts.id AND closed_at IS NULL \
             AND acknowledged_at IS NULL AND handed_over = 0) AS waiting_commands FROM hosts ",
            $which
        )
    };
}

impl Store {
    /// The host, if it is known.
    pub(crate) async fn host(&self, id: &HostId) -> Result<Option<HostRow>, StoreError> {
        sqlx::query_as(select_hosts!("WHERE id = ?"))
            .bind(id.as_str())
            .fetch_optional(&self.readers)
            .await
            .doing("read a host")
    }

    /// All hosts by name.
    pub(crate) async fn hosts(&self) -> Result<Vec<HostRow>, StoreError> {
        sqlx::query_as(select_hosts!("ORDER BY hostname, id"))
            .fetch_all(&self.readers)
            .await
            .doing("read the hosts")
    }

    /// Stores what a host said of itself. With a digest, the host gets that token unless it has one; says if it did.
    ///
    /// The comment is taken for a new host only.
    pub(crate) async fn save_facts(
        &self,
        id: &HostId,
        facts: &HostFacts,
        comment: Option<&str>,
        digest: Option<TokenDigest>,
        now: Millis,
    ) -> Result<bool, StoreError> {
        let mut transaction = self.write().await?;
        upsert_facts(&mut transaction, id, facts, comment, now).await?;
        let provisioned = match digest {
            Some(digest) => provision(&mut transaction, id, digest).await?,
            None => false,
        };
        transaction.commit().await.doing("commit a registration")?;
        Ok(provisioned)
    }

    /// Replaces the token of a known host; says whether the host is known.
    pub(crate) async fn replace_token(
        &self,
        id: &HostId,
        digest: TokenDigest,
    ) -> Result<bool, StoreError> {
        let done = sqlx::query("UPDATE hosts SET token_hash = ? WHERE id = ?")
            .bind(digest.bytes().to_vec())
            .bind(id.as_str())
            .execute(&self.writer)
            .await
            .doing("replace a host's token")?;
        Ok(done.rows_affected() > 0)
    }

    /// Stores how far a host's tests are. A host that is not known is left out.
    pub(crate) async fn save_test_run(
        &self,
        id: &HostId,
        run: &TestRun,
        now: Millis,
    ) -> Result<(), StoreError> {
        let test_status = format!("{}/{} passed", run.passed, run.total);
        sqlx::query(
            "UPDATE hosts SET test_running = ?1, test_current = ?2, test_total = ?3, test_passed = ?4, \
             comment = iif(?1, comment, coalesce(?5, comment)), \
             test_result = iif(?1, test_result, ?6), \
             test_status = iif(?1, test_status, ?7), \
             last_audit = iif(?1, last_audit, ?8) WHERE id = ?9",
        )
        .bind(run.running)
        .bind(run.current)
        .bind(run.total)
        .bind(run.passed)
        .bind(&run.comment)
        .bind(&run.result)
        .bind(test_status)
        .bind(now)
        .bind(id.as_str())
        .execute(&self.writer)
        .await
        .doing("store the progress of tests")?;
        Ok(())
    }

    /// Stores when hosts were last heard of, in one statement.
    pub(crate) async fn record_sightings(&self, sightings: &[Sighting]) -> Result<(), StoreError> {
        let json = serde_json::to_string(sightings)
            .map_err(|source| StoreError::Encode { record: "list of last-seen times", source })?;
        sqlx::query(
            "UPDATE hosts SET last_seen = heard.value ->> 'seen', \
             metrics = coalesce(heard.value ->> 'metrics', metrics) \
             FROM json_each(?) AS heard WHERE hosts.id = heard.value ->> 'id'",
        )
        .bind(json)
        .execute(&self.writer)
        .await
        .doing("store the last-seen times")?;
        Ok(())
    }
}

async fn upsert_facts(
    transaction: &mut Transaction<'static, Sqlite>,
    id: &HostId,
    facts: &HostFacts,
    comment: Option<&str>,
    now: Millis,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO hosts (id, hostname, host_type, location, device_type, theme_color, criticality, icon, \
         config_repo, poll_interval, agent_version, nixpkgs_version, os_version, os_name, current_generation, \
         protocol, comment, status, created_at, last_seen) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, 'ok', ?18, ?18) \
         ON CONFLICT (id) DO UPDATE SET hostname = ?2, host_type = ?3, location = ?4, device_type = ?5, \
         theme_color = ?6, config_repo = ?9, poll_interval = ?10, agent_version = ?11, nixpkgs_version = ?12, \
         os_version = ?13, os_name = ?14, current_generation = ?15, protocol = ?16",
    )
    .bind(id.as_str())
    .bind(&facts.hostname)
    .bind(&facts.host_type)
    .bind(&facts.location)
    .bind(&facts.device_type)
    .bind(&facts.theme_color)
    .bind(&facts.criticality)
    .bind(&facts.icon)
    .bind(&facts.config_repo)
    .bind(facts.poll_interval)
    .bind(&facts.agent_version)
    .bind(&facts.nixpkgs_version)
    .bind(&facts.os_version)
    .bind(&facts.os_name)
    .bind(&facts.current_generation)
    .bind(facts.protocol)
    .bind(comment)
    .bind(now)
    .execute(&mut **transaction)
    .await
    .doing("store a host")?;
    Ok(())
}

async fn provision(
    transaction: &mut Transaction<'static, Sqlite>,
    id: &HostId,
    digest: TokenDigest,
) -> Result<bool, StoreError> {
    let done = sqlx::query("UPDATE hosts SET token_hash = ? WHERE id = ? AND token_hash IS NULL")
        .bind(digest.bytes().to_vec())
        .bind(id.as_str())
        .execute(&mut **transaction)
        .await
        .doing("store a host's token")?;
    Ok(done.rows_affected() > 0)
}
