//! Programs that die at any line: `kill -9` at every named crash point, alone and in pairs.
//!
//! A [`cell`] is data: who asks for a switch, what it meets, where somebody dies. [`run`] plays it on a [`host`] of its
//! own, [`facts`] are what is there to see at the end, and [`invariants`] says what of it must not be. The last two are
//! shared with the randomised run.
//!
//! - [`home_manager`]: what home-manager really did, by its own trace.
//! - [`files`]: what may lie in a state directory.
//! - [`watch`]: the agent's life while a scene runs.
//! - [`rest`]: whether a host has come to rest.
//! - [`teardown`]: the end of a host, and what is left of it.
//! - [`side_by_side`]: many cells at a time.
//! - [`report`]: what is printed.

pub mod cell;
pub mod facts;
pub mod files;
pub mod home_manager;
pub mod host;
pub mod invariants;
pub mod report;
pub mod rest;
pub mod run;
pub mod side_by_side;
pub mod teardown;
pub mod watch;
