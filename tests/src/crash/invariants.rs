//! What must always be true, whatever dies: pure.

use std::{fmt, time::Duration};

use nixfleet_protocol::journal::records::{Outcome, SwitchResult};

use super::{
    facts::{Accepted, Facts, Told},
    home_manager::{self, Run},
};

/// The promise.
pub const NEVER_DARKER_THAN: Duration = Duration::from_mins(1);

/// home-manager's process is written down a moment before it runs, by another clock reading.
const CLOCK_SLACK_MS: i64 = 1_500;

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Violation {
    /// Not everything came to rest.
    Restless(String),
    /// The agent was away for too long, in milliseconds.
    Dark(i64),
    /// Two home-managers at a time.
    TwoAtOnce(u32, u32),
    /// home-manager ran and no journal knows of it.
    UnknownRun(u32),
    /// One command has more than one switch.
    CommandRanTwice(String),
    /// A switch without a result in the journal.
    NoResult(String),
    /// The dashboard does not have the switch, or not its result.
    NotTold(String),
    /// The dashboard has a switch that the journal does not know, or has it twice.
    Invented(String),
    /// The dashboard's result is not the journal's.
    ToldDifferently(String),
    /// A result that is not true.
    Untrue {
        /// The switch.
        id: String,
        /// What it says.
        says: String,
        /// What was.
        was: String,
    },
    /// A command of the dashboard that is not closed, or closed differently from its switch.
    Command(String),
    /// A name in the state directory.
    StrangeName(String),
    /// A record that cannot be read.
    Unreadable(String),
    /// A process that is left.
    Left(String),
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Restless(what) => write!(formatter, "it did not come to rest: {what}"),
            Self::Dark(for_ms) => write!(formatter, "the host was dark for {for_ms} ms"),
            Self::TwoAtOnce(one, other) => {
                write!(formatter, "home-managers {one} and {other} ran at the same time")
            }
            Self::UnknownRun(pid) => {
                write!(formatter, "home-manager {pid} ran and no journal knows of it")
            }
            Self::CommandRanTwice(id) => write!(formatter, "command {id} has several switches"),
            Self::NoResult(id) => write!(formatter, "switch {id} has no result"),
            Self::NotTold(id) => {
                write!(formatter, "the dashboard does not have the result of switch {id}")
            }
            Self::Invented(id) => {
                write!(formatter, "the dashboard has switch {id}, which nobody asked for")
            }
            Self::ToldDifferently(id) => {
                write!(formatter, "the dashboard has another result of switch {id}")
            }
            Self::Untrue { id, says, was } => {
                write!(formatter, "switch {id} says {says}, and it was: {was}")
            }
            Self::Command(what) => write!(formatter, "{what}"),
            Self::StrangeName(name) => write!(formatter, "{name} is in the state directory"),
            Self::Unreadable(what) => write!(formatter, "cannot be read: {what}"),
            Self::Left(command) => write!(formatter, "left behind: {command}"),
        }
    }
}

/// Everything that must not be and is.
pub fn violations(facts: &Facts) -> Vec<Violation> {
    let mut found: Vec<Violation> =
        facts.restless.iter().cloned().map(Violation::Restless).collect();
    let darkest = darkest(facts);
    if darkest > i64::try_from(NEVER_DARKER_THAN.as_millis()).unwrap_or(i64::MAX) {
        found.push(Violation::Dark(darkest));
    }
    let overlaps = home_manager::overlaps(&facts.runs).into_iter();
    found.extend(overlaps.map(|(one, other)| Violation::TwoAtOnce(one, other)));
    found.extend(run_violations(facts));
    for accepted in &facts.accepted {
        found.extend(violations_of(accepted, facts));
    }
    found.extend(inventions(facts));
    found.extend(command_violations(facts));
    let is_forgiven = |name: &str| facts.files_were_broken && name.ends_with(".unreadable");
    let names = facts.strange_names.iter().filter(|name| !is_forgiven(name));
    found.extend(names.cloned().map(Violation::StrangeName));
    found.extend(facts.unreadable.iter().cloned().map(Violation::Unreadable));
    found.extend(facts.left.iter().cloned().map(Violation::Left));
    found
}

/// The longest time from the end of an agent to the next heartbeat, in milliseconds, less what is excused.
pub fn darkest(facts: &Facts) -> i64 {
    let next_heard = |end: i64| {
        let later = facts.heartbeats.iter().map(|heartbeat| heartbeat.at).filter(|at| *at > end);
        later.min().unwrap_or(facts.until)
    };
    let dark_from = |end: i64| {
        let back = next_heard(end);
        let excused = |(from, to): &(i64, i64)| ((*to).min(back) - (*from).max(end)).max(0);
        (back - end - facts.excused.iter().map(excused).sum::<i64>()).max(0)
    };
    facts.ends.iter().map(|end| dark_from(*end)).max().unwrap_or(0)
}

/// The run of this switch: the first by the process that was written down, from that moment on.
fn run_of<'a>(accepted: &Accepted, facts: &'a Facts) -> Option<&'a Run> {
    let (pid, at) = accepted.child?;
    facts.runs.iter().find(|run| run.pid == pid && run.began >= at - CLOCK_SLACK_MS)
}

fn run_violations(facts: &Facts) -> Vec<Violation> {
    let of_switches: Vec<&Run> =
        facts.accepted.iter().filter_map(|accepted| run_of(accepted, facts)).collect();
    let unknown = facts.runs.iter().filter(|run| {
        !facts.plain_runs.contains(&run.pid) && !of_switches.iter().any(|known| known == run)
    });
    unknown.map(|run| Violation::UnknownRun(run.pid)).collect()
}

fn violations_of(accepted: &Accepted, facts: &Facts) -> Vec<Violation> {
    let id = || accepted.id.clone();
    let Some(result) = &accepted.result else { return vec![Violation::NoResult(id())] };
    let mut found = Vec::new();
    let told: Vec<&Told> = facts.told.iter().filter(|told| told.id == accepted.id).collect();
    match told.as_slice() {
        [told] => match &told.result {
            None => found.push(Violation::NotTold(id())),
            Some(other) if is_same(result, other) && told.command == accepted.command => {}
            Some(_) => found.push(Violation::ToldDifferently(id())),
        },
        [] => found.push(Violation::NotTold(id())),
        _several => found.push(Violation::Invented(id())),
    }
    if let Some(was) =
        what_was_instead(result, run_of(accepted, facts), accepted.wrapper_may_have_died)
    {
        let says = format!("{} ({:?}, {:?})", result.outcome, result.exit_code, result.signal);
        found.push(Violation::Untrue { id: id(), says, was });
    }
    found
}

fn is_same(one: &SwitchResult, other: &SwitchResult) -> bool {
    (one.outcome, one.exit_code, one.signal) == (other.outcome, other.exit_code, other.signal)
}

/// What was, where the result says something else.
fn what_was_instead(
    result: &SwitchResult,
    run: Option<&Run>,
    wrapper_may_have_died: bool,
) -> Option<String> {
    let ran = run.and_then(|run| run.exit_code);
    let is_true = match result.outcome {
        Outcome::Succeeded => ran == Some(0) && result.exit_code == Some(0),
        Outcome::Failed => match (run, result.exit_code) {
            (Some(_), Some(code)) => code != 0 && ran == Some(code),
            // Killed: it may have come to its last line all the same.
            (_, None) => result.signal.is_some(),
            (None, Some(_)) => false,
        },
        Outcome::TimedOut | Outcome::Cancelled => run.is_some() || result.exit_code.is_none(),
        Outcome::Interrupted => wrapper_may_have_died,
        Outcome::NotStarted => run.is_none(),
    };
    let was = match run {
        None => "home-manager never ran".to_owned(),
        Some(Run { exit_code: None, .. }) => "home-manager never came to its end".to_owned(),
        Some(Run { exit_code: Some(code), .. }) => format!("home-manager exited with {code}"),
    };
    (!is_true).then_some(was)
}

fn inventions(facts: &Facts) -> Vec<Violation> {
    let is_known = |told: &&Told| facts.accepted.iter().any(|accepted| accepted.id == told.id);
    let unknown = facts.told.iter().filter(|told| !is_known(told));
    unknown.map(|told| Violation::Invented(told.id.clone())).collect()
}

/// The statuses of a command that is not over.
pub const OPEN: [&str; 4] = ["queued", "acknowledged", "running", "lost"];

fn command_violations(facts: &Facts) -> Vec<Violation> {
    let mut found = Vec::new();
    for command in &facts.commands {
        let (id, status) = (&command.id, command.status.as_str());
        let is_its = |accepted: &&Accepted| accepted.command.as_ref() == Some(id);
        let switches: Vec<&Accepted> = facts.accepted.iter().filter(is_its).collect();
        if switches.len() > 1 {
            found.push(Violation::CommandRanTwice(id.clone()));
        }
        if OPEN.contains(&status) {
            found.push(Violation::Command(format!("command {id} is still {status}")));
            continue;
        }
        let outcomes = switches.iter().filter_map(|switch| switch.result.as_ref());
        let outcomes: Vec<&str> = outcomes.map(|result| result.outcome.as_str()).collect();
        let is_told_right =
            outcomes.contains(&status) || (switches.is_empty() && status == "refused");
        if command.is_switch && !is_told_right {
            let what = format!("command {id} is {status}, its switch is {outcomes:?}");
            found.push(Violation::Command(what));
        }
    }
    found
}

#[cfg(test)]
#[path = "invariants_tests.rs"]
mod tests;
