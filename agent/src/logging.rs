//! The log: on standard error, plain unless that is a terminal. Only what this project says; the HTTP library's own
//! words could hold headers.

use std::io::{self, IsTerminal as _};

use tracing::Level;
use tracing_subscriber::{
    filter::Targets, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

/// Sets the log up. A second call changes nothing.
pub(crate) fn begin(level: Level) {
    let ours =
        Targets::new().with_target("nixfleet_agent", level).with_target("nixfleet_protocol", level);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false);
    // It fails only if there is a log already, and then that one is used.
    let _ = tracing_subscriber::registry().with(lines).with(ours).try_init();
}
