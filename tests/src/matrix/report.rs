//! What is to be said of all cells: as JSON, and as Markdown. Pure.

mod markdown;

use std::time::Duration;

use serde::Serialize;

use super::{
    axes::Axes,
    catalogue::{AGENT_CHANGED, PLIST_CHANGED},
    cells::Cell,
    judge::{Truth, Verdict},
    run::Outcome,
};

/// Everything.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The whole in numbers.
    pub summary: Summary,
    /// Each cell.
    pub cells: Vec<CellReport>,
}

/// The whole in numbers.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Summary {
    /// How many cells there are.
    pub cells: usize,
    /// How many of them were not run.
    pub not_run: usize,
    /// Cells dark or silent for more than a minute.
    pub dark_over_60s: usize,
    /// Cells whose result in the dashboard is lost, double or not true.
    pub false_results: usize,
    /// Cells with a result to report, and it is true.
    pub true_results: usize,
    /// Cells that need a hand.
    pub hands: usize,
    /// Processes left.
    pub left_processes: usize,
    /// Cells in which no program can help.
    pub unhelpable: usize,
    /// Of those, the ones in which that was said within a minute.
    pub named_unhelpable: usize,
    /// The median time in the dark, over all cells that were run.
    pub median_dark_s: Option<f64>,
    /// The longest time in the dark.
    pub worst_dark_s: Option<f64>,
    /// The median over the fault-free cells in which the agent's plist changes.
    pub median_dark_changed_plist_s: Option<f64>,
    /// The median over the fault-free cells in which the plist is the same and the agent is another.
    pub median_dark_unchanged_plist_s: Option<f64>,
    /// How long it took.
    pub took_s: f64,
}

/// One cell.
#[derive(Debug, Clone, Serialize)]
pub struct CellReport {
    /// Its name.
    pub name: String,
    /// The fault's name.
    pub fault: &'static str,
    /// Its form.
    pub variant: &'static str,
    /// What it met.
    #[serde(flatten)]
    pub axes: Axes,
    /// What came of it.
    #[serde(flatten)]
    pub end: End,
}

/// What came of a cell.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "ended", rename_all = "snake_case")]
pub enum End {
    /// It was run.
    Judged {
        /// Everything is as promised.
        good: bool,
        /// The verdict.
        #[serde(flatten)]
        verdict: Verdict,
        /// How long the cell took, in seconds.
        took_s: f64,
    },
    /// It was not.
    NotRun {
        /// Why.
        why: String,
    },
}

impl Report {
    /// Of these cells.
    pub fn of(cells: Vec<(Cell, Outcome)>, took: Duration) -> Self {
        let cells: Vec<CellReport> =
            cells.into_iter().map(|(cell, outcome)| CellReport::of(&cell, outcome)).collect();
        Self { summary: Summary::of(&cells, took), cells }
    }
}

impl CellReport {
    fn of(cell: &Cell, outcome: Outcome) -> Self {
        let end = match outcome {
            Outcome::Judged { verdict, took } => {
                End::Judged { good: verdict.is_good(), verdict, took_s: took.as_secs_f64() }
            }
            Outcome::NotRun(why) => End::NotRun { why },
        };
        Self {
            name: cell.name(),
            fault: cell.fault,
            variant: cell.variant.name,
            axes: cell.axes,
            end,
        }
    }

    fn verdict(&self) -> Option<&Verdict> {
        match &self.end {
            End::Judged { verdict, .. } => Some(verdict),
            End::NotRun { .. } => None,
        }
    }

    /// What is not as promised.
    pub fn trouble(&self) -> Option<String> {
        match &self.end {
            End::NotRun { why } => Some(format!("not run: {why}")),
            End::Judged { good: true, .. } => None,
            End::Judged { verdict, .. } => Some(told_trouble(verdict)),
        }
    }
}

fn told_trouble(verdict: &Verdict) -> String {
    let mut parts = verdict.hands.clone();
    if verdict.is_dark_too_long() {
        parts.push(format!(
            "dark for {:.1} s, silent for {:.1} s",
            verdict.dark_s, verdict.silent_s
        ));
    }
    parts.extend(verdict.untruths.iter().cloned());
    if verdict.is_unnamed() {
        parts.push("that no program can help was not said within a minute".to_owned());
    }
    parts.extend(verdict.left.iter().map(|command| format!("left: `{command}`")));
    parts.join("; ")
}

impl Summary {
    fn of(cells: &[CellReport], took: Duration) -> Self {
        let verdicts: Vec<&Verdict> = cells.iter().filter_map(CellReport::verdict).collect();
        let count = |is: &dyn Fn(&Verdict) -> bool| verdicts.iter().filter(|v| is(v)).count();
        let dark = |is: &dyn Fn(&CellReport) -> bool| {
            let of = cells.iter().filter(|cell| is(cell)).filter_map(CellReport::verdict);
            of.map(|verdict| verdict.dark_s).collect::<Vec<f64>>()
        };
        let is_baseline = |cell: &CellReport| cell.fault == "baseline";
        Self {
            cells: cells.len(),
            not_run: cells.len() - verdicts.len(),
            dark_over_60s: count(&Verdict::is_dark_too_long),
            false_results: count(&|verdict| verdict.result == Truth::False),
            true_results: count(&|verdict| verdict.result == Truth::True),
            hands: count(&|verdict| !verdict.hands.is_empty()),
            left_processes: verdicts.iter().map(|verdict| verdict.left.len()).sum(),
            unhelpable: count(&|verdict| verdict.named.is_some()),
            named_unhelpable: count(&|verdict| verdict.named.is_some() && !verdict.is_unnamed()),
            median_dark_s: median(dark(&|_cell| true)),
            worst_dark_s: dark(&|_cell| true).into_iter().reduce(f64::max),
            median_dark_changed_plist_s: median(dark(&|cell| {
                is_baseline(cell) && cell.variant == PLIST_CHANGED
            })),
            median_dark_unchanged_plist_s: median(dark(&|cell| {
                is_baseline(cell) && AGENT_CHANGED.contains(&cell.variant)
            })),
            took_s: took.as_secs_f64(),
        }
    }

    /// Whether everything that was run is as promised.
    pub fn is_good(&self) -> bool {
        let bad = [self.dark_over_60s, self.false_results, self.hands, self.left_processes];
        bad.iter().all(|count| *count == 0) && self.named_unhelpable == self.unhelpable
    }
}

/// The middle, or the mean of the two in the middle.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = values.get(middle)?;
    if values.len() % 2 == 1 {
        return Some(*upper);
    }
    let lower = values.get(middle.checked_sub(1)?)?;
    Some(f64::midpoint(*lower, *upper))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::{
        cells,
        judge::{judge, tests::observed},
    };

    #[test]
    fn the_median_is_the_middle() {
        for (values, expected) in [
            (vec![], None),
            (vec![3.0], Some(3.0)),
            (vec![9.0, 1.0, 2.0], Some(2.0)),
            (vec![4.0, 1.0, 2.0, 9.0], Some(3.0)),
        ] {
            assert_eq!(median(values), expected);
        }
    }

    fn report(outcomes: impl IntoIterator<Item = Outcome>) -> Report {
        let cells = cells::filtered(cells::all(), &["baseline/plist-changed".to_owned()]);
        Report::of(cells.into_iter().zip(outcomes).collect(), Duration::from_secs(3))
    }

    fn judged(change: impl FnOnce(&mut Verdict)) -> Outcome {
        let mut verdict = judge(&observed());
        change(&mut verdict);
        Outcome::Judged { verdict, took: Duration::from_secs(2) }
    }

    #[test]
    fn a_good_report_is_good() {
        let report = report([judged(|_| ()), judged(|v| v.dark_s = 2.5)]);
        assert!(report.summary.is_good(), "{:?}", report.summary);
        let summary = &report.summary;
        assert_eq!((summary.cells, summary.not_run, summary.true_results), (2, 0, 2));
        assert_eq!(summary.median_dark_changed_plist_s, Some(2.0));
        assert_eq!(summary.median_dark_unchanged_plist_s, None);
        let text = report.markdown();
        assert!(
            text.contains("| baseline/plist-changed/agent/24.11/macos15 | back | 1.50 s |"),
            "{text}"
        );
        assert!(!text.contains("Not as promised"), "{text}");
    }

    #[test]
    fn what_is_not_good_is_counted_and_told() {
        let report = report([
            judged(|v| v.dark_s = 61.0),
            judged(|v| v.result = Truth::False),
            judged(|v| v.hands.push("a hand".to_owned())),
            judged(|v| v.left.push("sleep | 5".to_owned())),
            Outcome::NotRun("no such verb".to_owned()),
        ]);
        let summary = &report.summary;
        assert!(!summary.is_good());
        let counts = [
            summary.cells,
            summary.dark_over_60s,
            summary.false_results,
            summary.hands,
            summary.left_processes,
            summary.not_run,
        ];
        assert_eq!(counts, [5, 1, 1, 1, 1, 1]);
        let text = report.markdown();
        for told in ["dark for 61.0 s", "a hand", "left: `sleep / 5`", "not run: no such verb"] {
            assert!(text.contains(told), "{told} is not in {text}");
        }
    }

    #[test]
    fn the_json_is_flat_and_has_the_summary() {
        let report = report([judged(|_| ()), Outcome::NotRun("why".to_owned())]);
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["summary"]["cells"], 2);
        let [good, not_run] = [&json["cells"][0], &json["cells"][1]];
        assert_eq!(good["initiator"], "agent");
        assert_eq!((&good["release"], &good["macos"]), (&"24.11".into(), &"15".into()));
        assert_eq!((&good["ended"], &good["back"]), (&"judged".into(), &true.into()));
        assert_eq!((&not_run["ended"], &not_run["why"]), (&"not_run".into(), &"why".into()));
    }
}
