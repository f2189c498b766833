//! `cargo crash-points`: `kill -9` at every named crash point of agent, wrapper and watchdog, alone or in pairs.

use std::{io, process::ExitCode, thread};

use clap::Parser;
use nixfleet_tests::{
    crash::{
        cell::{self, Cell},
        report::{self, CellReport, Report},
        side_by_side,
    },
    stage::Trouble,
};

/// Cells for each processor: a cell mostly waits.
const JOBS_FOR_EACH_PROCESSOR: usize = 5;

/// Lets programs die at every named point, and looks whether everything is as it should be at the end.
#[derive(Debug, Parser)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
struct CommandLine {
    /// Every two points that can both be passed, instead of every point alone
    #[arg(long, conflicts_with = "sample")]
    all_pairs: bool,
    /// A fixed choice: every point once, and a handful of pairs
    #[arg(long)]
    sample: bool,
    /// Only cells whose name has this text in it
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// How many cells at a time
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
    /// Print one JSON object on standard output, and each cell on standard error
    #[arg(long)]
    json: bool,
    /// Print the cells' names and play none
    #[arg(long)]
    list_only: bool,
}

fn main() -> ExitCode {
    let line = CommandLine::parse();
    match play(&line) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&mut io::stderr(), &format!("error: {}", report::said(&error)));
            ExitCode::FAILURE
        }
    }
}

fn play(line: &CommandLine) -> Result<bool, Trouble> {
    let cells = cells(line);
    if line.list_only {
        for cell in &cells {
            say(&mut io::stdout(), &cell.to_string());
        }
        return Ok(true);
    }
    if !cfg!(debug_assertions) {
        let why = "programs built for release have no crash points; build without --release";
        return Err(Trouble::Said(why.to_owned()));
    }
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let jobs = line.jobs.unwrap_or(processors * JOBS_FOR_EACH_PROCESSOR);
    let played = side_by_side::play(&cells, jobs, |cell, played| {
        let text = CellReport::of(cell, played).text();
        if line.json { say(&mut io::stderr(), &text) } else { say(&mut io::stdout(), &text) }
    })?;
    let report = Report::of(&cells, &played);
    let summary = &report.summary;
    let text = if line.json {
        serde_json::to_string_pretty(&report).map_err(|error| Trouble::Said(error.to_string()))?
    } else {
        format!(
            "{} of {} cells as they should be, at most {:.1} s dark",
            summary.good, summary.cells, summary.worst_dark_seconds
        )
    };
    say(&mut io::stdout(), &text);
    Ok(report.is_good())
}

fn cells(line: &CommandLine) -> Vec<Cell> {
    let cells = if line.all_pairs {
        cell::pairs()
    } else if line.sample {
        cell::sample()
    } else {
        cell::singles()
    };
    let is_meant = |cell: &Cell| {
        line.filter.as_ref().is_none_or(|filter| cell.to_string().contains(filter.as_str()))
    };
    cells.into_iter().filter(is_meant).collect()
}

/// Who does not read any more need not be told.
fn say(stream: &mut dyn io::Write, text: &str) {
    let _ = writeln!(stream, "{text}");
}
