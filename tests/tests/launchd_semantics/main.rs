//! The simulated launchd, semantic by semantic, through `launchctl` and with real jobs.
//!
//! Each test says what it stands for: a chapter of the collected facts about launchd, with the source
//! and how sure it is: [C] certain, [L] likely, [U] unknown, chosen here. The crate's `README.md`
//! lists what is modelled.

#[cfg(test)]
#[path = "../launchd_support/mod.rs"]
mod launchd_support;

#[cfg(test)]
mod common;
#[cfg(test)]
mod definition;
#[cfg(test)]
mod domains;
#[cfg(test)]
mod drains;
#[cfg(test)]
mod execution;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod legacy;
#[cfg(test)]
mod machine;
#[cfg(test)]
mod manners;
#[cfg(test)]
mod paths;
#[cfg(test)]
mod processes;
#[cfg(test)]
mod readme;
#[cfg(test)]
mod sessions;
#[cfg(test)]
mod starts;
#[cfg(test)]
mod texts;
