//! A randomised run: one host, and a seed that drives switches, faults, deaths and outages against it.
//!
//! A [`schedule`] is a pure function of the seed: the same seed gives the same [`step`]s, whatever comes of them. Each
//! step is performed on a [`world`], then what no program can heal is lifted, and everything must come to rest and be
//! true again, by the same invariants as at every crash point.
//!
//! - [`ledger`]: what was seen in earlier steps and may be pruned by now.
//! - [`named`]: steps that went wrong once.
//! - [`run`]: the loop.

pub mod ledger;
pub mod named;
pub mod run;
pub mod schedule;
pub mod step;
pub mod world;
