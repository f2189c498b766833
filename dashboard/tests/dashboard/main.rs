//! Tests that run the real `nixfleet-dashboard` on a port of its own and talk to it as agents and operators do.

// `cfg(test)` tells clippy what cargo knows: that all of this is test code.
#[cfg(test)]
mod commands;
#[cfg(test)]
mod healings;
#[cfg(test)]
mod process;
#[cfg(test)]
mod stage;
#[cfg(test)]
mod switches;
#[cfg(test)]
mod tokens;
#[cfg(test)]
mod v1_conversation;
#[cfg(test)]
mod v1_refusals;
