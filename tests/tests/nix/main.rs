//! The Nix files: what the modules make of a user's definitions, without nixpkgs and home-manager.
//!
//! `tests/nix/` has what they use of both, written anew.
//!
//! - [`evaluated`], [`written`]: asking Nix, and writing what home-manager would make of the answers.
//! - [`files`]: every file, and the packages.
//! - [`jobs`]: the definitions of the agent's job.
//! - [`settings`]: the config file, and what is wrong with it.
//! - [`activation`]: the step of home-manager's activation.
//! - [`nixos`]: the NixOS module; [`darwin`]: the one for nix-darwin; [`sudoers`]: what sudo reads of their rules.
//! - [`on_a_mac`]: all of it with the programs that users run.
//! - [`real_home_manager`]: the same with the real home-manager, where it is.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is a failure with its place")]

mod activation;
mod darwin;
mod evaluated;
mod files;
mod jobs;
mod nixos;
mod on_a_mac;
mod real_home_manager;
mod settings;
mod sudoers;
mod written;
