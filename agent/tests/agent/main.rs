//! The agent that users run, and all that can happen to it. One program, so that tests that wait wait together.

mod support;

mod care;
mod commands_v1;
mod commands_v2;
mod configuration;
mod contact;
mod copied;
mod crashes;
mod healings;
mod host;
mod life;
mod lifetime;
mod logs;
mod parity_v1;
mod recovery;
mod reports;
mod status;
mod tokens;
mod transport;
