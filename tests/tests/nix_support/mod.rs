//! Asking Nix, and writing what home-manager would make of the answers.

pub(crate) mod evaluated;
pub(crate) mod written;
