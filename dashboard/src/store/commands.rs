//! The table of commands.

use std::time::Duration;

use nixfleet_protocol::wire::{
    fields::{CommandId, HostId},
    v2::CommandAnswer,
};
use sqlx::{FromRow, Sqlite, Transaction};

use super::{Doing as _, Store, StoreError};
use crate::{
    agent_v1::{StatusReport, word_of},
    clock::Millis,
    delivery::{self, AnswerWord, HandOver, Lease, StatusEffect},
    limits::{MAX_COMMANDS_KEPT, MAX_WAITING_COMMANDS},
};

/// A command as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, FromRow)]
pub(crate) struct CommandRow {
    pub(crate) sequence: i64,
    pub(crate) id: String,
    pub(crate) verb: String,
    pub(crate) queued_at: Millis,
    pub(crate) delivered_at: Option<Millis>,
    pub(crate) leased_until: Option<Millis>,
    /// Given to a v1 agent.
    pub(crate) handed_over: bool,
    pub(crate) acknowledged_at: Option<Millis>,
    pub(crate) closed_at: Option<Millis>,
    pub(crate) outcome: Option<String>,
    pub(crate) message: Option<String>,
    pub(crate) answered_at: Option<Millis>,
    pub(crate) switch_id: Option<String>,
    pub(crate) v1_statuses: i64,
}

/// A command to be queued.
#[derive(Debug)]
pub(crate) struct NewCommand<'a> {
    pub(crate) id: &'a str,
    pub(crate) verb: &'a str,
    pub(crate) queued_at: Millis,
}

/// What came of queueing a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum QueueOutcome {
    /// It waits for the host.
    Queued,
    /// Too many wait already.
    Full,
}

/// The commands that are open, oldest first.
const SELECT_OPEN: &str =
    "SELECT * FROM commands WHERE host_id = ? AND closed_at IS NULL ORDER BY sequence";

impl Store {
    /// Queues a command for a host that is known.
    pub(crate) async fn queue(
        &self,
        host: &HostId,
        command: NewCommand<'_>,
    ) -> Result<QueueOutcome, StoreError> {
        let mut transaction = self.write().await?;
        let waiting: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM commands WHERE host_id = ? AND closed_at IS NULL \
             AND acknowledged_at IS NULL AND handed_over = 0",
        )
        .bind(host.as_str())
        .fetch_one(&mut *transaction)
        .await
        .doing("count the waiting commands")?;
        if waiting >= MAX_WAITING_COMMANDS {
            return Ok(QueueOutcome::Full);
        }
        sqlx::query("INSERT INTO commands (id, host_id, verb, queued_at) VALUES (?, ?, ?, ?)")
            .bind(command.id)
            .bind(host.as_str())
            .bind(command.verb)
            .bind(command.queued_at)
            .execute(&mut *transaction)
            .await
            .doing("queue a command")?;
        forget_old_commands(&mut transaction, host).await?;
        transaction.commit().await.doing("commit a queued command")?;
        Ok(QueueOutcome::Queued)
    }

    /// The host's commands, newest first.
    pub(crate) async fn commands(
        &self,
        host: &HostId,
        limit: u32,
    ) -> Result<Vec<CommandRow>, StoreError> {
        sqlx::query_as("SELECT * FROM commands WHERE host_id = ? ORDER BY sequence DESC LIMIT ?")
            .bind(host.as_str())
            .bind(limit)
            .fetch_all(&self.readers)
            .await
            .doing("read the commands")
    }

    /// Which command could be leased now; changes nothing.
    pub(crate) async fn look_for_lease(
        &self,
        host: &HostId,
        lease: Duration,
        now: Millis,
    ) -> Result<Lease, StoreError> {
        let open: Vec<CommandRow> = sqlx::query_as(SELECT_OPEN)
            .bind(host.as_str())
            .fetch_all(&self.readers)
            .await
            .doing("read the open commands")?;
        Ok(delivery::next_lease(&open, lease, now))
    }

    /// Leases the command whose turn it is.
    pub(crate) async fn lease(
        &self,
        host: &HostId,
        lease: Duration,
        now: Millis,
    ) -> Result<Lease, StoreError> {
        let mut transaction = self.write().await?;
        let next = delivery::next_lease(&open_commands(&mut transaction, host).await?, lease, now);
        if let Lease::Now(command) = &next {
            sqlx::query(
                "UPDATE commands SET leased_until = ?, delivered_at = ? WHERE sequence = ?",
            )
            .bind(now.after(lease))
            .bind(now)
            .bind(command.sequence)
            .execute(&mut *transaction)
            .await
            .doing("lease a command")?;
            transaction.commit().await.doing("commit a lease")?;
        }
        Ok(next)
    }

    /// Gives the next command to a v1 agent, for good.
    pub(crate) async fn hand_over(
        &self,
        host: &HostId,
        lease: Duration,
        now: Millis,
    ) -> Result<Option<String>, StoreError> {
        let mut transaction = self.write().await?;
        let open = open_commands(&mut transaction, host).await?;
        let HandOver { refuse, hand_over } = delivery::next_hand_over(&open, lease, now);
        for sequence in refuse {
            let closing =
                Closing { word: AnswerWord::Refused, message: Some(delivery::REFUSED_FOR_V1) };
            close(&mut transaction, sequence, &closing, now).await?;
        }
        if let Some(command) = &hand_over {
            sqlx::query("UPDATE commands SET handed_over = 1, delivered_at = ? WHERE sequence = ?")
                .bind(now)
                .bind(command.sequence)
                .execute(&mut *transaction)
                .await
                .doing("hand a command over")?;
        }
        transaction.commit().await.doing("commit a handed-over command")?;
        Ok(hand_over.map(|command| command.verb))
    }

    /// Notes that the agent has the command; says whether there is such a command.
    pub(crate) async fn acknowledge(
        &self,
        host: &HostId,
        command: &CommandId,
        now: Millis,
    ) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "UPDATE commands SET acknowledged_at = coalesce(acknowledged_at, ?) WHERE host_id = ? AND id = ?",
        )
        .bind(now)
        .bind(host.as_str())
        .bind(command.as_str())
        .execute(&self.writer)
        .await
        .doing("acknowledge a command")?;
        Ok(done.rows_affected() > 0)
    }

    /// Closes a command with the agent's answer, unless it is closed; says whether there is such a command.
    pub(crate) async fn answer(
        &self,
        host: &HostId,
        command: &CommandId,
        answer: &CommandAnswer,
        now: Millis,
    ) -> Result<bool, StoreError> {
        let mut transaction = self.write().await?;
        sqlx::query(
            "UPDATE commands SET closed_at = ?1, acknowledged_at = coalesce(acknowledged_at, ?1), outcome = ?2, \
             message = ?3, answered_at = ?4 WHERE host_id = ?5 AND id = ?6 AND closed_at IS NULL",
        )
        .bind(now)
        .bind(AnswerWord::from(answer.outcome).as_str())
        .bind(answer.message.as_str())
        .bind(Millis::from(answer.answered_at))
        .bind(host.as_str())
        .bind(command.as_str())
        .execute(&mut *transaction)
        .await
        .doing("close a command")?;
        let known: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM commands WHERE host_id = ? AND id = ?)",
        )
        .bind(host.as_str())
        .bind(command.as_str())
        .fetch_one(&mut *transaction)
        .await
        .doing("look for a command")?;
        transaction.commit().await.doing("commit an answer")?;
        Ok(known)
    }

    /// Stores a v1 agent's status: on the host, and on the command that it belongs to.
    pub(crate) async fn save_status(
        &self,
        host: &HostId,
        report: &StatusReport,
        now: Millis,
    ) -> Result<(), StoreError> {
        let mut transaction = self.write().await?;
        let handed_over = newest_handed_over(&mut transaction, host).await?;
        let effect = delivery::effect_of_status(&handed_over, report);
        let switched_at = effect.has_switched().then_some(now);
        apply_effect(&mut transaction, &effect, report, now).await?;
        update_host(&mut transaction, host, report, switched_at).await?;
        transaction.commit().await.doing("commit a status")
    }
}

/// How a command ends.
struct Closing<'a> {
    word: AnswerWord,
    message: Option<&'a str>,
}

async fn open_commands(
    transaction: &mut Transaction<'static, Sqlite>,
    host: &HostId,
) -> Result<Vec<CommandRow>, StoreError> {
    sqlx::query_as(SELECT_OPEN)
        .bind(host.as_str())
        .fetch_all(&mut **transaction)
        .await
        .doing("read the open commands")
}

/// What was given to the v1 agent and is open, and the newest of all; newest first.
async fn newest_handed_over(
    transaction: &mut Transaction<'static, Sqlite>,
    host: &HostId,
) -> Result<Vec<CommandRow>, StoreError> {
    sqlx::query_as(
        "SELECT * FROM commands WHERE host_id = ?1 AND handed_over = 1 AND (closed_at IS NULL OR sequence = \
         (SELECT max(sequence) FROM commands WHERE host_id = ?1 AND handed_over = 1)) ORDER BY sequence DESC",
    )
    .bind(host.as_str())
    .fetch_all(&mut **transaction)
    .await
    .doing("read the commands of a v1 agent")
}

async fn apply_effect(
    transaction: &mut Transaction<'static, Sqlite>,
    effect: &StatusEffect,
    report: &StatusReport,
    now: Millis,
) -> Result<(), StoreError> {
    match effect {
        StatusEffect::Nothing => Ok(()),
        StatusEffect::LoseAll { sequences } => {
            for sequence in sequences {
                let closing =
                    Closing { word: AnswerWord::Lost, message: Some(delivery::LOST_BY_RESTART) };
                close(transaction, *sequence, &closing, now).await?;
            }
            Ok(())
        }
        StatusEffect::Close { sequence, word, .. } => {
            let closing = Closing { word: *word, message: report.output.as_deref() };
            close(transaction, *sequence, &closing, now).await
        }
        StatusEffect::Amend { sequence, word, message, .. } => {
            let closing = Closing { word: *word, message: Some(message) };
            close(transaction, *sequence, &closing, now).await
        }
    }
}

async fn close(
    transaction: &mut Transaction<'static, Sqlite>,
    sequence: i64,
    closing: &Closing<'_>,
    now: Millis,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE commands SET closed_at = ?, outcome = ?, message = ?, v1_statuses = v1_statuses + 1 \
         WHERE sequence = ?",
    )
    .bind(now)
    .bind(closing.word.as_str())
    .bind(closing.message)
    .bind(sequence)
    .execute(&mut **transaction)
    .await
    .doing("close a command")?;
    Ok(())
}

async fn update_host(
    transaction: &mut Transaction<'static, Sqlite>,
    host: &HostId,
    report: &StatusReport,
    switched_at: Option<Millis>,
) -> Result<(), StoreError> {
    // An agent that has just started says `ok` of itself, not of the work before.
    let status = (!report.is_start_notice()).then(|| word_of(report.status));
    sqlx::query(
        "UPDATE hosts SET status = coalesce(?, status), current_generation = coalesce(?, current_generation), \
         test_status = coalesce(?, test_status), comment = coalesce(?, comment), \
         last_switch = coalesce(?, last_switch) WHERE id = ?",
    )
    .bind(status)
    .bind(&report.current_generation)
    .bind(&report.test_status)
    .bind(report.comment_for_host())
    .bind(switched_at)
    .bind(host.as_str())
    .execute(&mut **transaction)
    .await
    .doing("store a host's status")?;
    Ok(())
}

/// Keeps the newest commands; one that waits is never forgotten.
async fn forget_old_commands(
    transaction: &mut Transaction<'static, Sqlite>,
    host: &HostId,
) -> Result<(), StoreError> {
    sqlx::query(
        "DELETE FROM commands WHERE host_id = ?1 AND sequence <= (SELECT sequence FROM commands \
         WHERE host_id = ?1 ORDER BY sequence DESC LIMIT 1 OFFSET ?2) \
         AND (closed_at IS NOT NULL OR acknowledged_at IS NOT NULL OR handed_over = 1)",
    )
    .bind(host.as_str())
    .bind(MAX_COMMANDS_KEPT)
    .execute(&mut **transaction)
    .await
    .doing("forget old commands")?;
    Ok(())
}
