//! What `nixfleet-switch` does beside a plain switch: pulling, testing, updating, going back, looking ahead. With a real
//! git, remote repositories in folders, and the stand-in for home-manager.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is a failure with its place")]

mod bench;
mod checks;
mod fleet;
mod generations;
mod pulling;
mod remote;
mod updating;
