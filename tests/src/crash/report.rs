//! What is printed of the cells.

use serde::Serialize;

use super::{cell::Cell, side_by_side::Played};

/// One cell, for JSON.
#[derive(Debug, Serialize)]
pub struct CellReport {
    /// Its name.
    pub cell: String,
    /// Everything is as it should be.
    pub good: bool,
    /// Why it could not be played.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// Points that nobody passed.
    pub not_passed: Vec<&'static str>,
    /// What must not be and is.
    pub violations: Vec<String>,
    /// The longest time from the end of an agent to the next heartbeat.
    pub dark_seconds: f64,
    /// How many switches it took.
    pub switches: usize,
    /// How long it took.
    pub seconds: f64,
    /// Where its story was kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept: Option<String>,
}

/// All cells, for JSON.
#[derive(Debug, Serialize)]
pub struct Report {
    /// In figures.
    pub summary: Summary,
    /// One by one.
    pub cells: Vec<CellReport>,
}

/// All cells in figures.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// How many.
    pub cells: usize,
    /// How many are as they should be.
    pub good: usize,
    /// In how many a point was not passed.
    pub not_passed: usize,
    /// The longest dark time of all.
    pub worst_dark_seconds: f64,
}

impl CellReport {
    /// Of a cell that was played.
    pub fn of(cell: &Cell, played: &Played) -> Self {
        let cell = cell.to_string();
        match played {
            Ok(outcome) => Self {
                cell,
                good: outcome.is_good(),
                trouble: None,
                not_passed: outcome.not_passed.iter().map(|point| point.as_str()).collect(),
                violations: outcome.violations.iter().map(ToString::to_string).collect(),
                dark_seconds: outcome.dark.as_secs_f64(),
                switches: outcome.switches,
                seconds: outcome.took.as_secs_f64(),
                kept: outcome.kept.clone(),
            },
            Err(trouble) => Self {
                cell,
                good: false,
                trouble: Some(said(trouble)),
                not_passed: Vec::new(),
                violations: Vec::new(),
                dark_seconds: 0.0,
                switches: 0,
                seconds: 0.0,
                kept: None,
            },
        }
    }

    /// One line, and more where something is wrong.
    pub fn text(&self) -> String {
        let mark = if self.good { "ok  " } else { "FAIL" };
        let mut text = format!(
            "{mark} {:5.1} s, dark {:4.1} s, {} switch{}: {}",
            self.seconds,
            self.dark_seconds,
            self.switches,
            if self.switches == 1 { "" } else { "es" },
            self.cell,
        );
        let troubles = self.trouble.iter().map(|trouble| format!("not played: {trouble}"));
        let not_passed = self.not_passed.iter().map(|point| format!("not passed: {point}"));
        let kept = self.kept.iter().map(|place| format!("kept in {place}"));
        for line in troubles.chain(not_passed).chain(self.violations.iter().cloned()).chain(kept) {
            text.push_str("\n       ");
            text.push_str(&line);
        }
        text
    }
}

impl Report {
    /// Of all that were played.
    pub fn of(cells: &[Cell], played: &[Played]) -> Self {
        let cells: Vec<CellReport> =
            cells.iter().zip(played).map(|(cell, played)| CellReport::of(cell, played)).collect();
        let summary = Summary {
            cells: cells.len(),
            good: cells.iter().filter(|cell| cell.good).count(),
            not_passed: cells.iter().filter(|cell| !cell.not_passed.is_empty()).count(),
            worst_dark_seconds: cells.iter().map(|cell| cell.dark_seconds).fold(0.0, f64::max),
        };
        Self { summary, cells }
    }

    /// Every cell is as it should be.
    pub const fn is_good(&self) -> bool {
        self.summary.good == self.summary.cells
    }
}

/// An error and its causes.
pub fn said(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
