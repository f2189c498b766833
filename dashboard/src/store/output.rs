//! The output of switches, piece by piece.

use nixfleet_protocol::{journal::records::SwitchId, wire::fields::HostId};
use sqlx::{FromRow, Sqlite, Transaction};

use super::{Doing as _, Store, StoreError};
use crate::progress::{self, Taken};

/// A stored piece smaller than this is joined with the next one, so that an output that comes line by line does not
/// become a row for each line.
const JOIN_BELOW: usize = 16 * 1024;

/// What came of a piece of output. The number is how much of the output was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Appended {
    /// No such switch was reported.
    UnknownSwitch,
    /// The piece does not follow on what there is.
    Gap(u64),
    /// It was taken, as far as it was new.
    Now(u64),
}

/// A stored piece.
#[derive(Debug, FromRow)]
struct Piece {
    /// The offset of its first byte.
    start: i64,
    data: Vec<u8>,
}

impl Store {
    /// Appends a piece of output that begins at `offset`.
    pub(crate) async fn append_output(
        &self,
        host: &HostId,
        switch: SwitchId,
        offset: u64,
        piece: &[u8],
    ) -> Result<Appended, StoreError> {
        let mut transaction = self.write().await?;
        let Some((received, kept)) = lengths(&mut transaction, (host, switch)).await? else {
            return Ok(Appended::UnknownSwitch);
        };
        match progress::take_output(received, kept, offset, piece) {
            Taken::Gap => Ok(Appended::Gap(received)),
            Taken::Known => Ok(Appended::Now(received)),
            Taken::New { received, keep } => {
                keep_piece(&mut transaction, (host, switch), kept, keep).await?;
                let kept = kept + keep.len() as u64;
                set_lengths(&mut transaction, (host, switch), received, kept).await?;
                transaction.commit().await.doing("commit a piece of output")?;
                Ok(Appended::Now(received))
            }
        }
    }

    /// Stored output from `offset` on: the rest of one piece, or nothing at the end.
    pub(crate) async fn output_from(
        &self,
        host: &HostId,
        switch: SwitchId,
        offset: u64,
    ) -> Result<Vec<u8>, StoreError> {
        let offset = i64::try_from(offset).unwrap_or(i64::MAX);
        let piece: Option<Piece> = sqlx::query_as(
            "SELECT start, data FROM switch_output WHERE host_id = ? AND switch_id = ? AND start <= ? \
             ORDER BY start DESC LIMIT 1",
        )
        .bind(host.as_str())
        .bind(switch.to_string())
        .bind(offset)
        .fetch_optional(&self.readers)
        .await
        .doing("read the output")?;
        let Some(Piece { start, mut data }) = piece else { return Ok(Vec::new()) };
        let skip = usize::try_from(offset - start).unwrap_or(usize::MAX).min(data.len());
        Ok(data.split_off(skip))
    }
}

/// Which switch of which host.
type Key<'a> = (&'a HostId, SwitchId);

/// How much was received and how much of that is kept; `None` without such a switch.
async fn lengths(
    transaction: &mut Transaction<'static, Sqlite>,
    (host, switch): Key<'_>,
) -> Result<Option<(u64, u64)>, StoreError> {
    let lengths: Option<(i64, i64)> = sqlx::query_as(
        "SELECT output_received, output_kept FROM switches WHERE host_id = ? AND id = ?",
    )
    .bind(host.as_str())
    .bind(switch.to_string())
    .fetch_optional(&mut **transaction)
    .await
    .doing("read the length of the output")?;
    let unsigned = |length| u64::try_from(length).unwrap_or(0);
    Ok(lengths.map(|(received, kept)| (unsigned(received), unsigned(kept))))
}

async fn keep_piece(
    transaction: &mut Transaction<'static, Sqlite>,
    (host, switch): Key<'_>,
    kept: u64,
    piece: &[u8],
) -> Result<(), StoreError> {
    if piece.is_empty() {
        return Ok(());
    }
    let last: Option<Piece> = sqlx::query_as(
        "SELECT start, data FROM switch_output WHERE host_id = ? AND switch_id = ? ORDER BY start DESC LIMIT 1",
    )
    .bind(host.as_str())
    .bind(switch.to_string())
    .fetch_optional(&mut **transaction)
    .await
    .doing("read the end of the output")?;
    let (start, data) = match last {
        Some(mut last) if last.data.len() < JOIN_BELOW => {
            last.data.extend_from_slice(piece);
            (last.start, last.data)
        }
        Some(_) | None => (i64::try_from(kept).unwrap_or(i64::MAX), piece.to_vec()),
    };
    sqlx::query(
        "INSERT OR REPLACE INTO switch_output (host_id, switch_id, start, data) VALUES (?, ?, ?, ?)",
    )
    .bind(host.as_str())
    .bind(switch.to_string())
    .bind(start)
    .bind(data)
    .execute(&mut **transaction)
    .await
    .doing("store a piece of output")?;
    Ok(())
}

async fn set_lengths(
    transaction: &mut Transaction<'static, Sqlite>,
    (host, switch): Key<'_>,
    received: u64,
    kept: u64,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE switches SET output_received = ?, output_kept = ? WHERE host_id = ? AND id = ?",
    )
    .bind(i64::try_from(received).unwrap_or(i64::MAX))
    .bind(i64::try_from(kept).unwrap_or(i64::MAX))
    .bind(host.as_str())
    .bind(switch.to_string())
    .execute(&mut **transaction)
    .await
    .doing("store the length of the output")?;
    Ok(())
}
