//! The superset: commands with an id and a lease, results that are idempotent by switch id, live output,
//! healings.
//!
//! The contract is [`nixfleet_protocol::wire::v2`]. Every call may come twice and has the same effect as once; nothing
//! is answered before it is on disk.

mod commands;
mod healings;
mod output;
mod poll;
mod switches;

pub(crate) use self::{
    commands::{acknowledge, answer},
    healings::report_healing,
    output::append_output,
    poll::poll,
    switches::report_switch,
};
