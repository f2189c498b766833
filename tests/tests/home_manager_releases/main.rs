//! The stand-in for home-manager against the simulated launchd: what each release does when all goes
//! well, and the ways in which the real ones leave an agent dark.
//!
//! H1 to H8 are the names these ways have in the collected facts about launchd, chapter 1, which also
//! has the release matrix.

#[cfg(test)]
#[path = "../launchd_support/mod.rs"]
mod launchd_support;

#[cfg(test)]
mod common;
#[cfg(test)]
mod hazards;
#[cfg(test)]
mod releases;
#[cfg(test)]
mod stand_in;
