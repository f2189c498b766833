//! What is said to the dashboard about switches and commands, from what the journal says. Pure.

use std::time::Duration;

use nixfleet_protocol::{
    journal::{
        records::{Activation, Initiator, Outcome, Reload, SwitchResult},
        store::Entry,
    },
    nix_log::NixPhase,
    operation::{Step, Steps, Tests},
    wire::{
        fields::{Generation, Text},
        v1::{Output, Status, StatusWord, TestProgress},
        v2::{AnswerOutcome, CommandAnswer, SwitchReport, SwitchState},
    },
};

use crate::decide::facts::Stage;

/// What a v1 dashboard hears before a restart.
pub(crate) const RESTARTING: &str = "Agent restarting...";

/// The longest note or explanation in a headline, in characters: the output's end must find room beside it.
const MAX_EXPLANATION: usize = 700;

/// Where a switch stands, for a v2 dashboard. Nothing if the journal does not say it.
pub(crate) fn of_switch(
    entry: &Entry,
    stage: Stage,
    phase: Option<NixPhase>,
) -> Option<SwitchReport> {
    let request = entry.request.as_present();
    let result = entry.result.as_present();
    let standing = match stage {
        Stage::Accepted => SwitchState::Accepted,
        Stage::Running => SwitchState::Running {
            started_at: entry.started.as_present()?.started_at,
            steps: entry.progress.as_present().map(|progress| progress.steps.clone()),
            phase,
        },
        Stage::Final { with_reload: _ } => SwitchState::Finished {
            result: Box::new(result?.clone()),
            reload: entry.reload.as_present().cloned().map(Box::new),
        },
    };
    Some(SwitchReport {
        id: entry.id,
        command_id: request.and_then(|request| request.command_id.clone()),
        operation: request
            .map(|request| request.operation)
            .or_else(|| result.map(|result| result.operation))
            .unwrap_or_default(),
        initiator: request
            .map(|request| request.initiator)
            .or_else(|| result.map(|result| result.initiator))
            .unwrap_or(Initiator::Agent),
        // A request that cannot be read leaves the result's word for it.
        requested_at: request
            .map(|request| request.requested_at)
            .or_else(|| result.map(|result| result.started_at))?,
        state: standing,
    })
}

/// The result of a switch in the words of v1. Nothing if there is none.
pub(crate) fn status_of_switch(entry: &Entry, current: Option<&Generation>) -> Option<Status> {
    let result = entry.result.as_present()?;
    let headline = headline(result, entry.reload.as_present());
    let first_line = headline.lines().next().unwrap_or_default();
    Some(Status {
        status: match result.outcome {
            Outcome::Succeeded => StatusWord::Ok,
            Outcome::Failed
            | Outcome::TimedOut
            | Outcome::Cancelled
            | Outcome::Interrupted
            | Outcome::NotStarted => StatusWord::Error,
        },
        current_generation: text_of(current),
        output: Some(Output::tail(&format!("{headline}\n{}", result.output_tail))),
        test_status: tests_of(result).map(|tests| Text::head(&tests.verdict())),
        comment: Some(Text::head(first_line)),
    })
}

/// The answer to another command in the words of v1.
pub(crate) fn status_of_answer(answer: &CommandAnswer, current: Option<&Generation>) -> Status {
    Status {
        status: match answer.outcome {
            AnswerOutcome::Succeeded => StatusWord::Ok,
            AnswerOutcome::Failed | AnswerOutcome::Refused => StatusWord::Error,
        },
        current_generation: text_of(current),
        output: Some(Output::tail(answer.message.as_str())),
        test_status: None,
        comment: Some(Text::head(answer.message.as_str())),
    }
}

/// What a v1 dashboard hears before a restart.
pub(crate) fn status_of_restart(current: Option<&Generation>) -> Status {
    Status {
        status: StatusWord::Ok,
        current_generation: text_of(current),
        output: Some(Output::tail(RESTARTING)),
        test_status: None,
        comment: Some(Text::head(RESTARTING)),
    }
}

fn text_of(current: Option<&Generation>) -> Option<Text<64>> {
    current.map(|generation| Text::head(generation.as_str()))
}

/// How it ended in a sentence, and what to know beside it.
fn headline(result: &SwitchResult, reload: Option<&Reload>) -> String {
    let took = Duration::from_millis(result.duration_ms).as_secs_f64();
    let what = result.operation.title();
    let mut text = match result.outcome {
        Outcome::Succeeded => format!("{what}: succeeded in {took:.1} s"),
        Outcome::Failed => format!("{what}: failed {} after {took:.1} s", ending(result)),
        Outcome::TimedOut => format!("{what}: took too long and was ended after {took:.1} s"),
        Outcome::Cancelled => format!("{what}: cancelled after {took:.1} s"),
        Outcome::Interrupted => format!("{what}: interrupted, nobody saw how it ended"),
        Outcome::NotStarted => format!("{what}: not started"),
    };
    if let Some(step) = cut_at(result) {
        text.push_str(", at the step `");
        text.push_str(step.as_str());
        text.push('`');
    }
    if let Some(summary) = result.steps.as_ref().and_then(Steps::summary) {
        text.push_str(": ");
        text.extend(summary.chars().take(MAX_EXPLANATION));
    }
    if let Some(note) = &result.note {
        text.push_str(": ");
        text.extend(note.chars().take(MAX_EXPLANATION));
    }
    match result.activation {
        Activation::Incomplete => {
            text.push_str(
                "\nThe new generation is set, but its activation did not run to its end.",
            );
        }
        Activation::Complete | Activation::Unknown => {}
    }
    if let Some(reload) = reload.filter(|reload| !reload.verdict.is_fine()) {
        text.push_str("\nThe agent: ");
        text.push_str(reload.verdict.as_str());
        text.push_str(": ");
        text.extend(reload.explanation.chars().take(MAX_EXPLANATION));
    }
    text
}

/// How the host's tests stand, where the operation was to run them and came to do so.
fn tests_of(result: &SwitchResult) -> Option<&Tests> {
    result.steps.as_ref()?.tests.as_ref()
}

/// The step at which it ended before its end.
fn cut_at(result: &SwitchResult) -> Option<Step> {
    let steps = result.steps.as_ref()?;
    match result.outcome {
        Outcome::Failed | Outcome::TimedOut | Outcome::Cancelled | Outcome::Interrupted => {
            Some(steps.step)
        }
        Outcome::Succeeded | Outcome::NotStarted => None,
    }
}

/// The test progress as it stands, in the words of v1.
pub(crate) fn test_progress(tests: &Tests) -> TestProgress {
    TestProgress {
        current: tests.current,
        total: tests.total,
        passed: tests.passed,
        running: !tests.is_over,
        result: tests.is_over.then(|| tests.verdict()),
        comment: tests.failed.first().map(|name| format!("{name} failed")),
    }
}

fn ending(result: &SwitchResult) -> String {
    match (result.exit_code, result.signal) {
        (Some(code), _) => format!("with exit code {code}"),
        (None, Some(signal)) => format!("by signal {signal}"),
        (None, None) => "without an exit code".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use nixfleet_protocol::{
        journal::{
            read::Found,
            records::{AgentVerdict, FORMAT, SwitchId},
        },
        operation::Operation,
        switch_kind::SwitchKind,
    };

    use super::*;

    fn result(outcome: Outcome, exit_code: Option<i32>, signal: Option<i32>) -> SwitchResult {
        SwitchResult {
            format: FORMAT,
            id: SwitchId::generate(),
            outcome,
            exit_code,
            signal,
            started_at: Timestamp::UNIX_EPOCH,
            finished_at: Timestamp::UNIX_EPOCH,
            duration_ms: 12_340,
            operation: Operation::default(),
            kind: SwitchKind::default(),
            argv: Vec::new(),
            initiator: Initiator::User,
            generation_before: None,
            generation_after: None,
            activation: Activation::Unknown,
            output_bytes: 0,
            output_tail: "the end".to_owned(),
            wrapper_version: "1".to_owned(),
            host: "h".to_owned(),
            steps: None,
            note: None,
        }
    }

    fn entry(result: SwitchResult) -> Entry {
        Entry {
            id: result.id,
            request: Found::Absent,
            started: Found::Absent,
            progress: Found::Absent,
            result: Found::Present(result),
            reload: Found::Absent,
            reported: Found::Absent,
            refused: Found::Absent,
        }
    }

    #[test]
    fn only_success_is_ok_on_v1() {
        for (outcome, code, signal, word, headline) in [
            (Outcome::Succeeded, Some(0), None, StatusWord::Ok, "Switch: succeeded in 12.3 s"),
            (
                Outcome::Failed,
                Some(1),
                None,
                StatusWord::Error,
                "Switch: failed with exit code 1 after 12.3 s",
            ),
            (
                Outcome::Failed,
                None,
                Some(9),
                StatusWord::Error,
                "Switch: failed by signal 9 after 12.3 s",
            ),
            (
                Outcome::TimedOut,
                None,
                Some(15),
                StatusWord::Error,
                "Switch: took too long and was ended after 12.3 s",
            ),
            (
                Outcome::Cancelled,
                None,
                Some(15),
                StatusWord::Error,
                "Switch: cancelled after 12.3 s",
            ),
            (
                Outcome::Interrupted,
                None,
                None,
                StatusWord::Error,
                "Switch: interrupted, nobody saw how it ended",
            ),
            (Outcome::NotStarted, None, None, StatusWord::Error, "Switch: not started"),
        ] {
            let entry = entry(result(outcome, code, signal));
            let status = status_of_switch(&entry, None).unwrap();
            assert_eq!(status.status, word);
            assert_eq!(status.comment.unwrap().as_str(), headline);
            assert_eq!(status.output.unwrap().as_str(), format!("{headline}\nthe end"));
        }
    }

    #[test]
    fn notes_and_an_agent_that_is_not_back_are_said_and_the_end_of_the_output_stays() {
        let mut long = result(Outcome::Failed, Some(1), None);
        long.note = Some("n".repeat(9000));
        long.output_tail = format!("{}the error", "x".repeat(8000));
        long.activation = Activation::Incomplete;
        let mut entry = entry(long);
        entry.reload = Found::Present(Reload {
            format: FORMAT,
            switch: None,
            verdict: AgentVerdict::NotBack,
            explanation: "bootstrap answered 5".to_owned(),
            began_at: Timestamp::UNIX_EPOCH,
            duration_ms: 1,
            agent_pid: None,
            steps: Vec::new(),
        });
        let status = status_of_switch(&entry, None).unwrap();
        let output = status.output.unwrap();
        for part in ["Switch: failed", "did not run to its end", "not_back: bootstrap", "the error"]
        {
            assert!(output.as_str().contains(part), "{part}");
        }
    }

    #[test]
    fn a_broken_request_does_not_keep_the_result_back() {
        let mut entry = entry(result(Outcome::Interrupted, None, None));
        entry.request = Found::Unreadable { why: "?".to_owned() };
        let report = of_switch(&entry, Stage::Final { with_reload: false }, None).unwrap();
        assert_eq!(report.initiator, Initiator::User);
        assert!(of_switch(&entry, Stage::Running, None).is_none());
    }
}
