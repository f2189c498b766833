//! What agent and dashboard say to each other over HTTP.
//!
//! [`v1`] is the protocol that existing dashboards speak, with its limits built into the types: a message that a v1
//! dashboard would refuse cannot be made. [`v2`] is the superset that a dashboard offers by answering `"protocol": 2` to a
//! registration: commands with an id, leases, results that are idempotent by switch id, live output.

pub mod fields;
pub mod v1;
pub mod v2;

/// The newest protocol that this crate speaks.
pub const PROTOCOL: u32 = 2;

/// The largest answer that an agent reads, in bytes. A longer one is refused unread.
pub const MAX_ANSWER_BYTES: usize = 1024 * 1024;
