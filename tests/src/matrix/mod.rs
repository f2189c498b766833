//! The fault matrix: every fault that launchd, home-manager and fate have, met by every kind of switch.
//!
//! Deciding:
//!
//! - [`axes`], [`fault`], [`catalogue`], [`cells`]: which cells there are, as data.
//! - [`observation`]: what was seen of a cell; [`dark`], [`truth`], [`judge`]: what is to be said of it.
//! - [`report`]: what is to be said of all.
//!
//! Doing:
//!
//! - `scene`: the machine of one cell; `inject`: what is done to it; `watch`, `stock`,
//!   `naming`: what is seen of it.
//! - [`run`]: one cell; `ending`: its end; [`pool`]: many cells side by side.

pub mod axes;
pub mod catalogue;
pub mod cells;
pub mod dark;
mod ending;
pub mod fault;
mod inject;
pub mod judge;
mod naming;
pub mod observation;
pub mod pool;
pub mod report;
pub mod run;
pub mod scene;
mod stock;
pub mod truth;
mod watch;
