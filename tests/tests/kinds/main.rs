//! Hosts on which root's rights are needed: other kinds of switch, and an agent that is a unit of the whole system.
//!
//! sudo stands between a user and root, so there has to be a user who is not: where the tests run as root, the scenes are
//! given to another user. sudo itself has a stand-in, which runs what it is given as whoever called it.
//!
//! - [`bench`]: the machine.
//! - [`nix_darwin`]: `darwin-rebuild`, with home-manager in it.
//! - [`switches`]: `nixos-rebuild` and `darwin-rebuild`, which sudo runs, and a command of the config's.
//! - [`system_unit`]: the agent under the system's own manager.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is a failure with its place")]

mod bench;
mod nix_darwin;
mod switches;
mod system_unit;
