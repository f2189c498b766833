//! What the agent's tests share: a scripted dashboard, the real agent in a folder of its own, and a fake wrapper.

#![allow(dead_code, reason = "each of the programs with tests uses a part of this")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper that cannot go on fails its test")]

pub(crate) mod agent;
pub(crate) mod dashboard;
pub(crate) mod journal;
pub(crate) mod proxy;
pub(crate) mod relay;
pub(crate) mod sleeper;
pub(crate) mod tls;
pub(crate) mod wrapper;

use std::{
    thread,
    time::{Duration, Instant},
};

/// No fact is waited for any longer.
const DEADLINE: Duration = Duration::from_mins(1);

/// Waits until something is so.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "still not so: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}
