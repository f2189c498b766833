//! `cargo fault-matrix`: every fault, met by every kind of switch, and what came of it.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Arc, atomic::AtomicBool},
    time::Instant,
};

use clap::Parser;
use nixfleet_tests::{
    matrix::{
        cells::{self, Cell},
        pool,
        report::Report,
        run::Outcome,
        scene::Shared,
    },
    stage::{Trouble, dashboard::Dashboard, programs::Programs},
};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    flag,
};

/// How many cells run side by side. Cells wait most of the time: see docs/fault-matrix.md for what was measured.
const JOBS: usize = 24;

/// How many cells without a fault run side by side: what they measure is speed.
const QUIET_JOBS: usize = 16;

/// Runs every cell of the fault matrix and says what came of it.
///
/// Exit code 0 only if no host was dark for more than a minute, no result was lost or false, no hand was needed, nothing
/// was left running, and every cell was run.
#[derive(Debug, Parser)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
struct CommandLine {
    /// Only a fixed choice: every fault and variant, initiator, release and macOS at least once
    #[arg(long)]
    sample: bool,
    /// Only cells whose name contains all words of this; given several times, of any of them
    #[arg(long, value_name = "TEXT")]
    filter: Vec<String>,
    /// How many cells run side by side
    #[arg(long, value_name = "NUMBER", default_value_t = JOBS)]
    jobs: usize,
    /// Print one JSON object, and not the table
    #[arg(long)]
    json: bool,
    /// Only name the cells
    #[arg(long)]
    list: bool,
    /// Cells that cannot be run here do not count for the exit code
    #[arg(long)]
    allow_not_run: bool,
    /// Also write fault-matrix.md and fault-matrix.json into this folder
    #[arg(long, value_name = "FOLDER")]
    write: Option<PathBuf>,
    /// Keep what is known of each cell that is not as promised in this folder
    #[arg(long, value_name = "FOLDER")]
    evidence: Option<PathBuf>,
}

fn main() -> ExitCode {
    let line = CommandLine::parse();
    match run(&line) {
        Ok(code) => code,
        Err(error) => {
            let cause = std::error::Error::source(&error);
            let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
            say(&format!("error: {error}{cause}"));
            ExitCode::FAILURE
        }
    }
}

fn run(line: &CommandLine) -> Result<ExitCode, Trouble> {
    let cells = if line.sample { cells::sample() } else { cells::all() };
    let cells = cells::filtered(cells, &line.filter);
    if cells.is_empty() {
        return Err(Trouble::Said("no cell has such a name; --list names all".to_owned()));
    }
    if line.list {
        let names: Vec<String> = cells.iter().map(Cell::name).collect();
        return print(&names.join("\n")).map(|()| ExitCode::SUCCESS);
    }
    let report = play(cells, line)?;
    if let Some(folder) = &line.write {
        write(&report, folder)?;
    }
    print(&if line.json { json(&report)? } else { report.markdown() })?;
    let is_whole = line.allow_not_run || report.summary.not_run == 0;
    let is_good = report.summary.is_good() && is_whole;
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn play(cells: Vec<Cell>, line: &CommandLine) -> Result<Report, Trouble> {
    say("building the programs ...");
    let programs = Programs::get()?;
    let place = tempfile::tempdir().map_err(Trouble::run("a temporary folder"))?;
    let dashboard = Dashboard::start(&place.path().join("dashboard"))?;
    let shared = Shared {
        url: dashboard.url().to_owned(),
        other_agent: other_agent(&programs.agent(), place.path())?,
        evidence: line.evidence.clone(),
        stopping: stopped_by_signals()?,
    };
    let began = Instant::now();
    let total = cells.len();
    let mut done = 0;
    let mut tell = |cell: &Cell, outcome: &Outcome| {
        done += 1;
        say(&format!("{done:>4}/{total} {:<60} {}", cell.name(), told(outcome)));
    };
    let (quiet, others): (Vec<Cell>, Vec<Cell>) =
        cells.into_iter().partition(|cell| cell.fault == "baseline");
    let first_other = quiet.len();
    let mut all = pool::run(quiet, 0, line.jobs.min(QUIET_JOBS), &shared, &mut tell);
    all.extend(pool::run(others, first_other, line.jobs, &shared, &mut tell));
    Ok(Report::of(all, began.elapsed()))
}

/// Set as soon as a signal asks for an early end: then the cells are ended in order, and leave nothing. A second Ctrl-C
/// ends this at once; other signals may come twice for one wish, as from `timeout`.
fn stopped_by_signals() -> Result<Arc<AtomicBool>, Trouble> {
    let stopping = Arc::new(AtomicBool::new(false));
    let failed = || Trouble::run("a handler of signals");
    flag::register_conditional_shutdown(SIGINT, 1, Arc::clone(&stopping)).map_err(failed())?;
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        flag::register(signal, Arc::clone(&stopping)).map_err(failed())?;
    }
    Ok(stopping)
}

/// The same agent as another file.
fn other_agent(agent: &Path, place: &Path) -> Result<PathBuf, Trouble> {
    let other = place.join("nixfleet-agent");
    fs::copy(agent, &other).map_err(Trouble::file("copy", agent))?;
    Ok(other)
}

fn told(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Judged { verdict, took } => {
            let word = if verdict.is_good() { "ok" } else { "NOT AS PROMISED" };
            format!("{word}, dark for {:.2} s, took {:.1} s", verdict.dark_s, took.as_secs_f64())
        }
        Outcome::NotRun(why) => format!("not run: {why}"),
    }
}

fn json(report: &Report) -> Result<String, Trouble> {
    serde_json::to_string_pretty(report).map_err(|error| Trouble::Said(error.to_string()))
}

fn write(report: &Report, folder: &Path) -> Result<(), Trouble> {
    fs::create_dir_all(folder).map_err(Trouble::file("create", folder))?;
    for (name, text) in
        [("fault-matrix.md", report.markdown()), ("fault-matrix.json", json(report)?)]
    {
        let path = folder.join(name);
        fs::write(&path, text).map_err(Trouble::file("write", &path))?;
    }
    Ok(())
}

fn print(text: &str) -> Result<(), Trouble> {
    match writeln!(io::stdout().lock(), "{text}") {
        // Whoever closed the stream does not want to read it.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        printed => printed.map_err(Trouble::run("the standard output")),
    }
}

/// Tells whoever watches.
fn say(text: &str) {
    // Whoever closed the stream does not want to read it.
    let _ = writeln!(io::stderr().lock(), "{text}");
}
