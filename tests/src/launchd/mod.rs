//! A simulated launchd: the job control of macOS for one user, with real processes.
//!
//! Two programs come out of it. `launchd-sim` is launchd; `launchctl-sim` is `launchctl` and
//! knows nothing but where the socket is. [`LaunchdSim`] starts and ends the pair for a test.
//!
//! Deciding is apart from doing. [`state`] holds the domains and jobs and turns an event and the
//! time into effects: it reads no clock, no file and starts nothing. [`server`] performs the
//! effects. What is modelled, and from which measurement, is in the crate's `README.md`.

pub mod answer;
pub mod client;
pub mod command;
pub mod control;
pub mod definition;
pub mod domain;
pub mod fault;
mod handle;
pub mod keep_alive;
pub mod message;
pub mod moment;
pub mod plist_file;
pub mod process_end;
pub mod record;
pub mod server;
pub mod state;

pub use control::{Control, Verdict};
pub use fault::{Disguise, Fault};
pub use handle::{LaunchdSim, LaunchdSimError, Options, Programs, Session};
pub use record::{Call, Happening, JobEvent, JobRecord, Record};
