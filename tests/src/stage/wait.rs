//! Waiting for a fact, with a limit and a name.

use std::{
    thread,
    time::{Duration, Instant},
};

use super::Trouble;

/// Long enough for anything that should happen at all, on a busy machine too.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Waits until `fact` gives something.
pub fn until<T>(
    what: &str,
    limit: Duration,
    mut fact: impl FnMut() -> Result<Option<T>, Trouble>,
) -> Result<T, Trouble> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = fact()? {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            return Err(Trouble::InVain { what: what.to_owned(), limit });
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// Waits until `fact` is true.
pub fn until_true(
    what: &str,
    limit: Duration,
    mut fact: impl FnMut() -> Result<bool, Trouble>,
) -> Result<(), Trouble> {
    until(what, limit, || Ok(fact()?.then_some(())))
}
