//! Which cells there are, and which of them are the sample. Pure.

use super::{
    axes::Axes,
    catalogue,
    fault::{Fault, Variant},
};

/// Every so many of a baseline's combinations are in the sample.
const BASELINE_EVERY: usize = 3;

/// How far the sample moves on from one variant's combination to the next one's. It shares no factor with the number of
/// combinations, so that all of them come up.
const STRIDE: usize = 7;

/// One cell of the matrix.
#[derive(Debug, Clone)]
pub struct Cell {
    /// The fault's name.
    pub fault: &'static str,
    /// Its form.
    pub variant: Variant,
    /// What it meets.
    pub axes: Axes,
}

impl Cell {
    /// The cell's name.
    pub fn name(&self) -> String {
        format!("{}/{}/{}", self.fault, self.variant.name, self.axes)
    }
}

/// All cells.
pub fn all() -> Vec<Cell> {
    of(&catalogue::all(), |_fault, _number, axes| axes)
}

/// The sample: every variant, every initiator, every release and both macOS, and enough baselines for a median. The same
/// at every call.
pub fn sample() -> Vec<Cell> {
    of(&catalogue::all(), |fault, number, axes| {
        if fault.id == "baseline" {
            axes.into_iter().skip(number % BASELINE_EVERY).step_by(BASELINE_EVERY).collect()
        } else {
            let at = number * STRIDE % axes.len();
            axes.into_iter().skip(at).take(1).collect()
        }
    })
}

/// Those that one of the texts means: their names contain all its words. Without a text, all.
pub fn filtered(cells: Vec<Cell>, texts: &[String]) -> Vec<Cell> {
    let means = |text: &String, name: &str| text.split_whitespace().all(|word| name.contains(word));
    let is_meant = |cell: &Cell| {
        let name = cell.name();
        texts.is_empty() || texts.iter().any(|text| means(text, &name))
    };
    cells.into_iter().filter(is_meant).collect()
}

/// The cells of these faults; `choose` picks among the combinations that the variant with this number can meet.
fn of(faults: &[Fault], choose: impl Fn(&Fault, usize, Vec<Axes>) -> Vec<Axes>) -> Vec<Cell> {
    let variants = faults.iter().flat_map(|fault| fault.variants.iter().map(move |v| (fault, v)));
    variants
        .enumerate()
        .flat_map(|(number, (fault, variant))| {
            let met = |axes: &Axes| variant.initiators.contains(&axes.initiator);
            let axes = Axes::all().into_iter().filter(met).collect();
            let chosen = choose(fault, number, axes);
            chosen.into_iter().map(|axes| Cell { fault: fault.id, variant: variant.clone(), axes })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::matrix::axes::{Initiator, Macos, Release};

    #[test]
    fn names_are_unique_and_say_everything() {
        let cells = all();
        let names: HashSet<String> = cells.iter().map(Cell::name).collect();
        assert_eq!(names.len(), cells.len());
        assert!(names.contains("F2/once/agent/24.11/macos15"), "{names:?}");
    }

    #[test]
    fn every_combination_of_every_variant_is_a_cell() {
        let expected: usize = catalogue::all()
            .iter()
            .flat_map(|fault| &fault.variants)
            .map(|variant| variant.initiators.len() * Release::ALL.len() * Macos::ALL.len())
            .sum();
        assert_eq!(all().len(), expected);
    }

    #[test]
    fn the_sample_covers_everything_and_is_always_the_same() {
        let sample = sample();
        assert!(sample.len() >= 100, "{}", sample.len());
        let key = |cell: &Cell| (cell.fault, cell.variant.name);
        let covered: HashSet<_> = sample.iter().map(key).collect();
        let variants: HashSet<_> = all().iter().map(key).collect();
        assert_eq!(covered, variants);
        let faulty = sample.iter().filter(|cell| cell.fault != "baseline");
        let combinations: HashSet<_> = faulty.map(|cell| cell.axes).collect();
        for axes in Axes::all() {
            assert!(combinations.contains(&axes), "{axes} is not in the sample");
        }
        assert!(Initiator::ALL.iter().all(|i| sample.iter().any(|cell| cell.axes.initiator == *i)));
        let names = |cells: &[Cell]| cells.iter().map(Cell::name).collect::<Vec<_>>();
        assert_eq!(names(&sample), names(&super::sample()));
    }

    #[test]
    fn a_filter_finds_what_the_name_says() {
        let found = |texts: &[&str]| {
            let texts: Vec<String> = texts.iter().map(|&text| text.to_owned()).collect();
            filtered(all(), &texts)
        };
        let one = found(&["F4/speculative/ agent"]);
        assert_eq!(one.len(), 8);
        assert!(one.iter().all(|cell| cell.axes.initiator == Initiator::Agent));
        assert_eq!(found(&["F4/speculative/ agent", "F4/speculative/ user macos15"]).len(), 12);
        assert!(found(&["no such cell"]).is_empty());
        assert_eq!(found(&[]).len(), all().len());
    }
}
