//! What the end-to-end tests and the demo share: the outside world of the programs, rebuilt so
//! that it runs on one machine, in one folder, without root and without a Mac.
//!
//! - [`launchd`]: a simulated launchd.
//! - [`chaos`]: a seed that drives everything at once.
//! - [`crash`]: programs that die at every point.
//! - [`stage`]: the real programs in it, and a real `systemd --user`.
//! - [`matrix`]: every fault that launchd and fate have, each met by every kind of switch.
//!
//! Nothing here is used by the programs themselves; this crate depends on them, never the other
//! way round.

pub mod chaos;
pub mod crash;
pub mod launchd;
pub mod matrix;
pub mod stage;
