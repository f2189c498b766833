//! The same for people: plain columns that read well with and without a terminal.

use std::{fmt::Write as _, time::Duration};

use nixfleet_protocol::{
    journal::records::{Activation, Initiator, Outcome, Reload, SwitchResult},
    operation::{Operation, Steps},
};

use super::{Status, Told, moment};

/// `status`.
pub(super) fn status(status: &Status) -> String {
    let mut text = String::new();
    match &status.current {
        Some(current) => line(&mut text, "switch", &under_way(current)),
        None if status.busy => {
            line(&mut text, "switch", "the lock is held, the journal does not say by which switch");
        }
        None => line(&mut text, "switch", "none is running"),
    }
    match &status.last {
        Some(last) => line(&mut text, "last", &ended(last)),
        None => line(&mut text, "last", "there has been none yet"),
    }
    match &status.agent {
        Some(agent) if agent.running => {
            let heartbeat = agent.record.last_heartbeat_at.map_or_else(
                || "no heartbeat yet".to_owned(),
                |at| format!("last heartbeat {}", moment(at)),
            );
            let (pid, version) = (agent.record.process.pid, &agent.record.version);
            line(
                &mut text,
                "agent",
                &format!("running (pid {pid}, version {version}), {heartbeat}"),
            );
        }
        Some(agent) => {
            let pid = agent.record.process.pid;
            line(
                &mut text,
                "agent",
                &format!(
                    "not running (it was pid {pid}); `nixfleet-switch ensure-agent` brings it back"
                ),
            );
        }
        None => line(&mut text, "agent", "none has run here yet"),
    }
    if status.unreported > 0 {
        let (number, noun) =
            (status.unreported, if status.unreported == 1 { "result" } else { "results" });
        line(&mut text, "dashboard", &format!("{number} {noun} not taken yet"));
    }
    text
}

/// `history`.
pub(super) fn history(switches: &[Told]) -> String {
    if switches.is_empty() {
        return "There has been no switch yet.\n".to_owned();
    }
    let mut text = format!(
        "{:<36}  {:<23}  {:<11}  {:<12}  {:>9}  {:<5}  {:<9}  {}\n",
        "ID", "BEGAN", "WHAT", "OUTCOME", "TOOK", "BY", "AGENT", "DASHBOARD"
    );
    for told in switches {
        let began = told
            .result
            .as_ref()
            .map(|result| result.started_at)
            .or_else(|| told.request.as_ref().map(|request| request.requested_at));
        let initiator = told
            .result
            .as_ref()
            .map(|result| result.initiator)
            .or_else(|| told.request.as_ref().map(|request| request.initiator));
        let what = told.operation().as_str();
        let outcome = told.result.as_ref().map_or(told.phase, |result| result.outcome.as_str());
        let took = told.result.as_ref().map(took).unwrap_or_default();
        let agent = told.reload.as_ref().map_or("-", |reload| reload.verdict.as_str());
        let dashboard = if told.reported { "told" } else { "not told" };
        // Writing to a `String` cannot fail.
        let _ = writeln!(
            text,
            "{:<36}  {:<23}  {what:<11}  {outcome:<12}  {took:>9}  {:<5}  {agent:<9}  {dashboard}",
            told.id.to_string(),
            began.map(moment).unwrap_or_default(),
            initiator.map_or("-", by),
        );
    }
    text
}

/// `ensure-agent`.
pub(super) fn reload(reload: &Reload) -> String {
    let mut text = format!("{}\n", reload.explanation);
    for step in &reload.steps {
        let code = step.exit_code.map_or_else(|| "-".to_owned(), |code| code.to_string());
        let said = step.said.lines().next().unwrap_or_default();
        let _ = writeln!(text, "  {:>6} ms  {:<13} {code:>3}  {said}", step.at_ms, step.step);
    }
    text
}

fn line(text: &mut String, label: &str, value: &str) {
    let _ = writeln!(text, "{label:<10} {value}");
}

/// What it is, unless it is a switch, which goes without saying.
fn named(told: &Told, then: &str) -> String {
    let operation = told.operation();
    if operation == Operation::Switch { String::new() } else { format!("{operation}{then}") }
}

fn under_way(told: &Told) -> String {
    let request = told.request.as_ref();
    let by = request.map_or("-", |request| by(request.initiator));
    let since = request.map(|request| moment(request.requested_at)).unwrap_or_default();
    let what = named(told, ", ");
    let step = told.step.map(|step| format!(", at the step `{step}`")).unwrap_or_default();
    let doing = told.doing.as_ref().map(|doing| format!(", {doing}")).unwrap_or_default();
    format!("{what}{} since {since}, asked for by the {by} ({}){step}{doing}", told.phase, told.id)
}

fn ended(told: &Told) -> String {
    let Some(result) = &told.result else { return told.phase.to_owned() };
    let what = named(told, " ");
    let mut text = format!(
        "{what}{}{} after {}, {}",
        result.outcome,
        code(result),
        took(result),
        moment(result.finished_at)
    );
    if let Some(summary) = result.steps.as_ref().and_then(Steps::summary) {
        let _ = write!(text, "; {summary}");
    }
    if result.activation == Activation::Incomplete {
        text.push_str("; the activation did not run to its end");
    }
    if let Some(reload) = &told.reload {
        let _ = write!(text, "; {}", reload.explanation);
    }
    text
}

fn code(result: &SwitchResult) -> String {
    match (result.outcome, result.exit_code, result.signal) {
        (Outcome::Succeeded, _, _) | (_, None, None) => String::new(),
        (_, Some(code), _) => format!(" (exit code {code})"),
        (_, None, Some(signal)) => format!(" (signal {signal})"),
    }
}

fn took(result: &SwitchResult) -> String {
    // Whole tenths read well; nobody needs the rest.
    let tenths = result.duration_ms / 100 * 100;
    humantime::format_duration(Duration::from_millis(tenths)).to_string()
}

const fn by(initiator: Initiator) -> &'static str {
    match initiator {
        Initiator::Agent => "agent",
        Initiator::User => "user",
    }
}
