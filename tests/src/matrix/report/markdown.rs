//! The report as Markdown.

use std::fmt::Write as _;

use super::{CellReport, Report, Summary};
use crate::matrix::{
    catalogue,
    judge::{Truth, Verdict},
};

impl Report {
    /// As Markdown.
    pub fn markdown(&self) -> String {
        let mut text = self.summary.markdown();
        text.push_str(&self.faults_table());
        text.push_str(&self.trouble_table());
        text.push_str(&self.cells_table());
        text
    }

    fn faults_table(&self) -> String {
        let mut text =
            "\n## By fault\n\n| fault | what | source | cells | worst dark | hands | false | \
                        not run |\n|---|---|---|--:|--:|--:|--:|--:|\n"
                .to_owned();
        for fault in catalogue::all() {
            let of_fault: Vec<&CellReport> =
                self.cells.iter().filter(|cell| cell.fault == fault.id).collect();
            if of_fault.is_empty() {
                continue;
            }
            let verdicts: Vec<&Verdict> =
                of_fault.iter().filter_map(|cell| cell.verdict()).collect();
            let worst = verdicts.iter().map(|verdict| verdict.dark_s).fold(0.0, f64::max);
            let hands = verdicts.iter().filter(|verdict| !verdict.hands.is_empty()).count();
            let is_false = |verdict: &&&Verdict| verdict.result == Truth::False;
            line(
                &mut text,
                &[
                    fault.id,
                    fault.what,
                    fault.source,
                    &of_fault.len().to_string(),
                    &format!("{worst:.1} s"),
                    &hands.to_string(),
                    &verdicts.iter().filter(is_false).count().to_string(),
                    &(of_fault.len() - verdicts.len()).to_string(),
                ],
            );
        }
        text
    }

    fn trouble_table(&self) -> String {
        let trouble: Vec<(&CellReport, String)> =
            self.cells.iter().filter_map(|cell| Some((cell, cell.trouble()?))).collect();
        if trouble.is_empty() {
            return String::new();
        }
        let mut text =
            "\n## Not as promised, or not run\n\n| cell | what |\n|---|---|\n".to_owned();
        for (cell, what) in trouble {
            line(&mut text, &[&cell.name, &what]);
        }
        text
    }

    fn cells_table(&self) -> String {
        let mut text =
            "\n## Every cell\n\n| cell | agent | dark | silent | result | hands | left |\n\
                        |---|---|--:|--:|---|--:|--:|\n"
                .to_owned();
        for cell in &self.cells {
            match cell.verdict() {
                Some(verdict) => line(
                    &mut text,
                    &[
                        &cell.name,
                        told_agent(verdict),
                        &format!("{:.2} s", verdict.dark_s),
                        &format!("{:.2} s", verdict.silent_s),
                        told_result(verdict.result),
                        &verdict.hands.len().to_string(),
                        &verdict.left.len().to_string(),
                    ],
                ),
                None => line(&mut text, &[&cell.name, "not run", "", "", "", "", ""]),
            }
        }
        text
    }
}

fn told_agent(verdict: &Verdict) -> &'static str {
    match (verdict.back, verdict.supervised, verdict.named.is_some()) {
        (true, true, false) => "back",
        (true, true, true) => "named, then back",
        (true, false, _) => "back, not as the job",
        (false, _, _) => "not back",
    }
}

const fn told_result(result: Truth) -> &'static str {
    match result {
        Truth::True => "true",
        Truth::False => "false",
        Truth::NoneToReport => "none to report",
    }
}

/// A line of a table; what would end a column is told another way.
fn line(text: &mut String, columns: &[&str]) {
    let columns: Vec<String> =
        columns.iter().map(|column| column.replace('|', "/").replace('\n', " ")).collect();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "| {} |", columns.join(" | "));
}

impl Summary {
    fn markdown(&self) -> String {
        let seconds =
            |dark: Option<f64>| dark.map_or("-".to_owned(), |dark| format!("{dark:.2} s"));
        let mut text = "# The fault matrix\n\n| | |\n|---|--:|\n".to_owned();
        for (what, number) in [
            ("cells", self.cells.to_string()),
            ("dark for more than a minute", self.dark_over_60s.to_string()),
            ("results lost or not true", self.false_results.to_string()),
            ("results that are true", self.true_results.to_string()),
            ("cells that need a hand", self.hands.to_string()),
            ("processes left", self.left_processes.to_string()),
            (
                "cells that no program can help, of which said within a minute",
                format!("{}, {}", self.unhelpable, self.named_unhelpable),
            ),
            ("not run", self.not_run.to_string()),
            ("median time in the dark", seconds(self.median_dark_s)),
            ("longest time in the dark", seconds(self.worst_dark_s)),
            ("median without a fault, plist changed", seconds(self.median_dark_changed_plist_s)),
            (
                "median without a fault, plist the same and agent changed",
                seconds(self.median_dark_unchanged_plist_s),
            ),
            ("took", format!("{:.0} s", self.took_s)),
        ] {
            line(&mut text, &[what, &number]);
        }
        text
    }
}
