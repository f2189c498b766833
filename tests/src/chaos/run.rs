//! The loop: a step, rest, a look at everything, the next step.

use std::{
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use serde::Serialize;

use super::{ledger::Ledger, named::Case, schedule::Schedule, step::Step, world::World};
use crate::{
    crash::{
        facts::Facts,
        invariants::{self, Violation},
        report, rest,
        run::kept_with,
        teardown,
    },
    stage::Trouble,
};

/// How long a host may take to come to rest after the last thing that happened: what nobody starts is given up after a
/// minute, a command that nobody has acknowledged is leased anew after half a minute, the agent may be away for a minute,
/// and what goes to a dashboard that was down is tried again ever more rarely.
const REST_LIMIT: Duration = Duration::from_secs(170);

/// When a run is over.
#[derive(Debug, Clone, Copy)]
pub enum Until {
    /// No step begins after this time.
    Time(Duration),
    /// After so many steps.
    Steps(u32),
}

/// What came of a step.
#[derive(Debug, Clone, Serialize)]
pub struct StepReport {
    /// Which one.
    pub number: u32,
    /// What it was.
    pub step: String,
    /// What there is to say of what was done.
    pub notes: Vec<String>,
    /// How long it took.
    pub seconds: f64,
    /// What must not be and is.
    pub violations: Vec<String>,
}

/// What came of a run.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The seed, or the name of the case.
    pub name: String,
    /// How many steps were done.
    pub steps: usize,
    /// How often home-manager ran.
    pub home_manager_runs: usize,
    /// How many switches were accepted.
    pub switches: usize,
    /// The longest dark time, what was beyond help left out.
    pub worst_dark_seconds: f64,
    /// Nothing was that must not be.
    pub good: bool,
    /// What came of each step.
    pub history: Vec<StepReport>,
    /// Processes that were left at the end.
    pub left: Vec<String>,
    /// Where the host's story was kept, if it went wrong.
    pub kept: Option<String>,
}

/// Runs the schedule of a seed until it is over or something is wrong; `done` hears of each step.
pub fn run(seed: u64, until: Until, done: impl FnMut(&StepReport)) -> Result<Report, Trouble> {
    run_steps(&format!("seed-{seed}"), Schedule::new(seed), until, done)
}

/// The same with the steps of a case.
pub fn run_case(case: Case, done: impl FnMut(&StepReport)) -> Result<Report, Trouble> {
    run_steps(&case.name.replace(' ', "-"), case.steps(), Until::Steps(u32::MAX), done)
}

fn run_steps(
    name: &str,
    steps: impl IntoIterator<Item = Step>,
    until: Until,
    mut done: impl FnMut(&StepReport),
) -> Result<Report, Trouble> {
    let mut world = World::new()?;
    let mut ledger = Ledger::default();
    let mut excused = Vec::new();
    let mut history: Vec<StepReport> = Vec::new();
    let mut last = look(&world, &mut ledger, &[], None)?;
    let began = Instant::now();
    for step in steps {
        if is_over(until, began.elapsed(), step.number) {
            break;
        }
        let performed = perform(&mut world, &step, &mut excused).and_then(|performed| {
            Ok((performed, look(&world, &mut ledger, &excused, Some(&step))?))
        });
        let ((mut report, restless), facts) = match performed {
            Ok(performed) => performed,
            Err(trouble) => {
                let kept = teardown::keep(&world.host, name)?;
                return Err(kept_with(&trouble, &kept));
            }
        };
        last = facts;
        last.restless = restless;
        report.violations = said(&invariants::violations(&last));
        done(&report);
        history.push(report);
        if !invariants::violations(&last).is_empty() {
            break;
        }
        world.clear_up()?;
    }
    let is_bad = !invariants::violations(&last).is_empty();
    let kept = if is_bad { Some(teardown::keep(&world.host, name)?) } else { None };
    world.clear_up()?;
    let World { host, watch, .. } = world;
    drop(watch);
    let left = teardown::end(host);
    Ok(Report {
        name: name.to_owned(),
        steps: history.len(),
        home_manager_runs: last.runs.len(),
        switches: last.accepted.len(),
        worst_dark_seconds: Duration::from_millis(
            u64::try_from(invariants::darkest(&last)).unwrap_or(0),
        )
        .as_secs_f64(),
        good: !is_bad && left.is_empty(),
        history,
        left,
        kept: kept.map(|place| place.display().to_string()),
    })
}

fn is_over(until: Until, elapsed: Duration, next: u32) -> bool {
    match until {
        Until::Time(limit) => elapsed >= limit,
        Until::Steps(steps) => next > steps,
    }
}

fn said(violations: &[Violation]) -> Vec<String> {
    violations.iter().map(ToString::to_string).collect()
}

/// Does what the step says, at its times, and waits for rest.
fn perform(
    world: &mut World,
    step: &Step,
    excused: &mut Vec<(i64, i64)>,
) -> Result<(StepReport, Option<String>), Trouble> {
    let (began, began_at) = (Instant::now(), Timestamp::now().as_millisecond());
    let mut notes = Vec::new();
    world.begin(step)?;
    for timed in &step.acts {
        let at = began + Duration::from_millis(timed.at_ms);
        thread::sleep(at.saturating_duration_since(Instant::now()));
        match world.act(timed.act) {
            Ok(note) if note.is_empty() => {}
            Ok(note) => notes.push(format!("{:?}: {note}", timed.act)),
            Err(error) => {
                let error = report::said(&error);
                return Err(Trouble::Said(format!("step {step}: {:?}: {error}", timed.act)));
            }
        }
    }
    if step.is_beyond_help() {
        excused.push((began_at, Timestamp::now().as_millisecond()));
    }
    let restless = rest::wait_for(&world.host, &mut world.own, REST_LIMIT)?;
    let report = StepReport {
        number: step.number,
        step: step.to_string(),
        notes,
        seconds: began.elapsed().as_secs_f64(),
        violations: Vec::new(),
    };
    Ok((report, restless))
}

/// Looks at everything that was ever done to this host.
fn look(
    world: &World,
    ledger: &mut Ledger,
    excused: &[(i64, i64)],
    step: Option<&Step>,
) -> Result<Facts, Trouble> {
    let mut facts = Facts::gather(&world.host, &world.watch, &world.commands)?;
    facts.plain_runs.clone_from(&world.plain_runs);
    facts.files_were_broken = world.files_were_broken;
    facts.excused = excused.to_vec();
    ledger.complete(&mut facts, step.is_some_and(Step::may_kill_a_wrapper));
    Ok(facts)
}
