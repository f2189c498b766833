//! Many cells side by side: they mostly wait.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError, mpsc},
    thread,
};

use super::{
    cells::Cell,
    run::{self, Outcome},
    scene::Shared,
};

/// Why a cell was not begun, or not played to its end.
pub(super) const STOPPED: &str = "somebody has asked for an early end";

/// A cell with its place in the list.
type Numbered = (usize, Cell);

/// Runs the cells, so many at the same time; tells each as it ends, and gives all in the order of the list.
///
/// `first_number` is that of the first cell: machines of one dashboard need different names.
pub fn run(
    cells: Vec<Cell>,
    first_number: usize,
    jobs: usize,
    shared: &Shared,
    mut tell: impl FnMut(&Cell, &Outcome),
) -> Vec<(Cell, Outcome)> {
    let mut waiting: Vec<Numbered> = cells.into_iter().enumerate().collect();
    // Those that take long are begun first, or the end is spent waiting for them.
    waiting.sort_by_key(|(_, cell)| !cell.variant.is_slow);
    let waiting = Mutex::new(VecDeque::from(waiting));
    let (sender, ended) = mpsc::channel();
    let mut all = Vec::new();
    thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            let (sender, waiting) = (sender.clone(), &waiting);
            scope.spawn(move || {
                while let Some((number, cell)) = next(waiting) {
                    let outcome = if shared.is_stopping() {
                        Outcome::NotRun(STOPPED.to_owned())
                    } else {
                        run::run(&cell, first_number + number, shared)
                    };
                    // The receiver outlives this thread.
                    let _ = sender.send((number, cell, outcome));
                }
            });
        }
        drop(sender);
        for (number, cell, outcome) in ended {
            tell(&cell, &outcome);
            all.push((number, cell, outcome));
        }
    });
    all.sort_by_key(|(number, _, _)| *number);
    all.into_iter().map(|(_, cell, outcome)| (cell, outcome)).collect()
}

fn next(waiting: &Mutex<VecDeque<Numbered>>) -> Option<Numbered> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
}
