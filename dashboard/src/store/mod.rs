//! The database: the only module that knows SQL.
//!
//! One SQLite file in WAL mode. All writes go through one connection with `synchronous=FULL`, so a commit that has
//! returned is on disk; reads have connections of their own and never wait for a write. A second dashboard on the same
//! file would not wake this one's polls, so a lock file keeps it out.

mod commands;
mod files;
mod healings;
mod hosts;
mod output;
mod switches;

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use sqlx::{
    Sqlite, SqlitePool, Transaction,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

pub(crate) use self::files::FileError;
pub(crate) use self::{
    commands::{CommandRow, NewCommand, QueueOutcome},
    healings::HealingRow,
    hosts::{HostFacts, HostRow, TestRun},
    output::Appended,
    switches::SwitchRow,
};
use crate::limits::DATABASE_WAIT;

/// How many reads run at the same time.
const READERS: u32 = 4;

/// Why a query did not work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// SQLite refused it, or no connection was free in time.
    #[error("cannot {doing}")]
    Query {
        /// What was tried, as the rest of "cannot".
        doing: &'static str,
        /// What SQLite said.
        #[source]
        source: sqlx::Error,
    },
    /// A record could not be written as JSON.
    #[error("cannot write the {record} as JSON")]
    Encode {
        /// Which record.
        record: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The database says something that this program never writes.
    #[error("the database holds {value:?} as the {what}")]
    Damaged {
        /// What it should be.
        what: &'static str,
        /// What it is.
        value: String,
    },
}

/// Why the database cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// Its files cannot be used.
    #[error(transparent)]
    File(FileError),
    /// SQLite cannot open it.
    #[error("cannot open the database {}", path.display())]
    Connect {
        /// The database.
        path: PathBuf,
        /// What SQLite said.
        #[source]
        source: sqlx::Error,
    },
    /// Its tables are not those of this version, and cannot be made so.
    #[error("cannot bring the tables of {} up to date (was it written by a newer version?)", path.display())]
    Migrate {
        /// The database.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: sqlx::migrate::MigrateError,
    },
}

/// Gives a database error the words for what was tried.
trait Doing<T> {
    fn doing(self, doing: &'static str) -> Result<T, StoreError>;
}

impl<T> Doing<T> for Result<T, sqlx::Error> {
    fn doing(self, doing: &'static str) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::Query { doing, source })
    }
}

/// The open database.
#[derive(Debug)]
pub(crate) struct Store {
    writer: SqlitePool,
    readers: SqlitePool,
    /// Held until the dashboard ends.
    _lock: File,
}

impl Store {
    /// Opens the database, makes it if it is not there, and brings its tables up to date.
    pub(crate) async fn open(path: &Path) -> Result<Self, OpenError> {
        let lock = files::prepare(path).map_err(OpenError::File)?;
        let failed = |source| OpenError::Connect { path: path.to_owned(), source };
        let writer = pool(1).connect_with(options(path)).await.map_err(failed)?;
        sqlx::migrate!()
            .run(&writer)
            .await
            .map_err(|source| OpenError::Migrate { path: path.to_owned(), source })?;
        let read_only = options(path).pragma("query_only", "on");
        let readers = pool(READERS).connect_with(read_only).await.map_err(failed)?;
        Ok(Self { writer, readers, _lock: lock })
    }

    /// Whether the database answers.
    pub(crate) async fn check(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1").execute(&self.readers).await.doing("ask the database anything")?;
        Ok(())
    }

    /// Folds the WAL into the database and closes it.
    pub(crate) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    /// Begins a transaction that may write from its first statement on, so that it never has to be repeated.
    async fn write(&self) -> Result<Transaction<'static, Sqlite>, StoreError> {
        self.writer.begin_with("BEGIN IMMEDIATE").await.doing("begin a transaction")
    }
}

fn pool(connections: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(DATABASE_WAIT)
        .idle_timeout(None)
        .max_lifetime(None)
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(DATABASE_WAIT)
        // On macOS a plain fsync leaves the data in the drive's cache; elsewhere these two change nothing.
        .pragma("fullfsync", "on")
        .pragma("checkpoint_fullfsync", "on")
}
