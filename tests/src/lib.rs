//! What the end-to-end tests and the demo share: the outside world of the programs, rebuilt so
//! that it runs on one machine, in one folder, without root and without a Mac.
//!
//! Nothing here is used by the programs themselves; this crate depends on them, never the other
//! way round.

pub mod launchd;
