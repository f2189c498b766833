//! `cargo chaos`: a seed drives switches, faults, deaths and outages against one host.

use std::{io, process::ExitCode, time::Duration};

use clap::Parser;
use nixfleet_tests::{
    chaos::{
        named::{CASES, Case},
        run::{self, Report, StepReport, Until},
        schedule::Schedule,
    },
    crash::report,
    stage::Trouble,
};

/// How many steps `--list-only` prints unless told otherwise.
const LISTED: u32 = 100;

/// Drives switches, faults, deaths and outages against one host, and looks after each step whether all is as it must be.
#[derive(Debug, Parser)]
struct CommandLine {
    /// What decides all; a run with the same seed does the same at the same steps [default: another each time]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// For how long new steps begin
    #[arg(long, value_name = "M", default_value_t = 5.0)]
    minutes: f64,
    /// So many steps, however long they take
    #[arg(long, value_name = "N")]
    steps: Option<u32>,
    /// A case that went wrong once, by a part of its name, instead of a seed
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["seed", "minutes", "steps"])]
    case: Option<String>,
    /// Print the steps and do none
    #[arg(long)]
    list_only: bool,
    /// Print one JSON object on standard output, and each step on standard error
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let line = CommandLine::parse();
    // Below what a JSON number can hold.
    let seed = line.seed.unwrap_or_else(|| fastrand::u64(..1 << 48));
    if line.list_only && line.case.is_none() {
        let steps = line.steps.unwrap_or(LISTED);
        for step in Schedule::new(seed).take(usize::try_from(steps).unwrap_or(usize::MAX)) {
            say(&mut io::stdout(), &step.to_string());
        }
        return ExitCode::SUCCESS;
    }
    match play(&line, seed) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&mut io::stderr(), &format!("error: {}", report::said(&error)));
            ExitCode::FAILURE
        }
    }
}

fn play(line: &CommandLine, seed: u64) -> Result<bool, Trouble> {
    let until = match line.steps {
        Some(steps) => Until::Steps(steps),
        None => Until::Time(
            Duration::try_from_secs_f64(line.minutes * 60.0)
                .map_err(|error| Trouble::Said(format!("--minutes: {error}")))?,
        ),
    };
    let tell = |text: &str| {
        if line.json { say(&mut io::stderr(), text) } else { say(&mut io::stdout(), text) }
    };
    let report = if let Some(text) = &line.case {
        let case = Case::find(text).ok_or_else(|| {
            let names: Vec<&str> = CASES.iter().map(|case| case.name).collect();
            Trouble::Said(format!("there is no case {text:?}; there are:\n{}", names.join("\n")))
        })?;
        tell(case.name);
        run::run_case(case, |step| tell(&text_of(step)))?
    } else {
        tell(&format!("seed {seed}"));
        run::run(seed, until, |step| tell(&text_of(step)))?
    };
    let text = if line.json {
        serde_json::to_string_pretty(&report).map_err(|error| Trouble::Said(error.to_string()))?
    } else {
        summary(&report)
    };
    say(&mut io::stdout(), &text);
    Ok(report.good)
}

fn text_of(step: &StepReport) -> String {
    let mark = if step.violations.is_empty() { "ok  " } else { "FAIL" };
    let mut text = format!("{mark} {:5.1} s {}", step.seconds, step.step);
    for line in step.notes.iter().chain(&step.violations) {
        text.push_str("\n            ");
        text.push_str(line);
    }
    text
}

fn summary(report: &Report) -> String {
    let Report { name, steps, home_manager_runs, switches, worst_dark_seconds, .. } = report;
    let mut text = format!(
        "{name}: {steps} steps, {switches} switches, {home_manager_runs} runs of home-manager, \
         at most {worst_dark_seconds:.1} s dark"
    );
    let left = report.left.iter().map(|left| format!("left behind: {left}"));
    let kept = report.kept.iter().map(|kept| format!("kept in {kept}"));
    let again = name.strip_prefix("seed-").filter(|_| !report.good);
    let again = again.map(|seed| format!("again with: cargo chaos --seed {seed} --steps {steps}"));
    for line in left.chain(kept).chain(again) {
        text.push('\n');
        text.push_str(&line);
    }
    text
}

/// Who does not read any more need not be told.
fn say(stream: &mut dyn io::Write, text: &str) {
    let _ = writeln!(stream, "{text}");
}
