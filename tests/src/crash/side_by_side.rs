//! Many cells at a time: most of a cell's time is waiting.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use super::{
    cell::Cell,
    run::{self, Outcome},
};
use crate::stage::{Trouble, programs::Programs};

/// What came of a cell, or what kept it from being played.
pub type Played = Result<Outcome, Trouble>;

/// Plays all of them, so many at a time; `played` hears of each as it ends. The result is in the cells' order.
pub fn play(
    cells: &[Cell],
    jobs: usize,
    played: impl Fn(&Cell, &Played) + Sync,
) -> Result<Vec<Played>, Trouble> {
    // Built once, before the first one waits for it.
    Programs::get()?;
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, Played)>> = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, cells.len().max(1)) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(cell) = cells.get(index) else { break };
                    let outcome = run::run(cell);
                    played(cell, &outcome);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((index, outcome));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    Ok(done.into_iter().map(|(_, outcome)| outcome).collect())
}
