//! Every bound of the dashboard that is not part of the wire protocol.

use std::time::Duration;

/// The largest request body, in bytes. v1 dashboards have no limit; a larger body is answered with 413.
pub(crate) const MAX_BODY_BYTES: usize = 1024 * 1024;

/// How long a request may take, from its head to its answer. Longer than the longest poll.
pub(crate) const REQUEST_LIMIT: Duration = Duration::from_mins(1);

/// How long a connection may stay without a byte in either direction. Longer than [`REQUEST_LIMIT`].
pub(crate) const IDLE_CONNECTION_LIMIT: Duration = Duration::from_secs(90);

/// How long open requests may go on after a signal.
pub(crate) const SHUTDOWN_GRACE: Duration = Duration::from_millis(600);

/// How long a query may wait for a database connection, and a connection for the database's lock.
pub(crate) const DATABASE_WAIT: Duration = Duration::from_secs(5);

/// How often the last-seen times are written to the database.
pub(crate) const LIVENESS_WRITE_INTERVAL: Duration = Duration::from_secs(5);

/// How long a v1 agent may take to report on a command before it is shown as lost.
pub(crate) const V1_ANSWER_LIMIT: Duration = Duration::from_hours(2);

/// The most commands that may wait for one host.
pub(crate) const MAX_WAITING_COMMANDS: i64 = 100;

/// How many commands of a host are kept.
pub(crate) const MAX_COMMANDS_KEPT: i64 = 2000;

/// How many switches of a host are kept.
pub(crate) const MAX_SWITCHES_KEPT: i64 = 500;

/// How many healings of a host are kept.
pub(crate) const MAX_HEALINGS_KEPT: i64 = 200;

/// How much output of one switch is kept, in bytes.
pub(crate) const MAX_OUTPUT_KEPT: u64 = 64 * 1024 * 1024;

/// The largest metrics object that is kept, as JSON, in bytes. A larger one is taken and dropped.
pub(crate) const MAX_METRICS_BYTES: usize = 16 * 1024;

/// How many entries a list has if the caller does not say.
pub(crate) const DEFAULT_LIST_LENGTH: u32 = 50;

/// How many entries a list may have.
pub(crate) const MAX_LIST_LENGTH: u32 = 2000;

/// File descriptors that are not client connections: database, listener, log.
pub(crate) const SPARE_FILES: u64 = 64;
