//! What the selftest prints: a line for each step as it ends, and what all came to.

use std::{
    io::{self, IsTerminal as _, Write as _},
    path::Path,
    time::Duration,
};

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use super::{judge::Judgement, steps::StepDefinition};
use crate::Failure;

/// Clears the line that the cursor is in.
const CLEAR_LINE: &str = "\r\x1b[K";

/// One step, as it ended.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Step {
    pub(super) name: &'static str,
    pub(super) fact: &'static str,
    pub(super) expectation: &'static str,
    pub(super) ok: bool,
    pub(super) seconds: f64,
    pub(super) said: String,
}

/// One question, with what came of asking it.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Question {
    pub(super) question: &'static str,
    pub(super) answer: String,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Acceptance {
    pub(super) steps: Vec<Step>,
    pub(super) questions: Vec<Question>,
}

/// The same as JSON.
#[derive(Debug, Serialize)]
struct Document<'a> {
    steps: &'a [Step],
    passed: usize,
    failed: usize,
    questions: &'a [Question],
    #[serde(skip_serializing_if = "Option::is_none")]
    kept: Option<&'a Path>,
}

impl Step {
    pub(super) fn new(definition: &StepDefinition, judgement: Judgement, took: Duration) -> Self {
        Self {
            name: definition.name,
            fact: definition.fact,
            expectation: definition.expectation,
            ok: judgement.ok,
            seconds: rounded(took),
            said: judgement.said,
        }
    }
}

/// In seconds, to the millisecond.
pub(super) fn rounded(took: Duration) -> f64 {
    (took.as_secs_f64() * 1000.0).round() / 1000.0
}

impl Acceptance {
    /// Whether every step is as it should be.
    pub(super) fn is_all_ok(&self) -> bool {
        self.steps.iter().all(|step| step.ok)
    }

    fn passed(&self) -> usize {
        self.steps.iter().filter(|step| step.ok).count()
    }
}

/// What is said while it goes on.
#[derive(Debug)]
pub(super) struct Progress {
    shows_lines: bool,
    shows_current: bool,
}

impl Progress {
    /// With JSON, standard output is for the one document at the end.
    pub(super) fn new(json: bool) -> Self {
        Self { shows_lines: !json, shows_current: io::stderr().is_terminal() }
    }

    /// A step begins. Said where it can be taken back.
    pub(super) fn begin(&mut self, name: &str) {
        if self.shows_current {
            // Whoever closed the stream does not want to read it; cleaning up must be reached all the same.
            let _ = write!(io::stderr(), "{CLEAR_LINE}... {name}");
            let _ = io::stderr().flush();
        }
    }

    /// What was said of the current step is taken back.
    pub(super) fn clear(&mut self) {
        if self.shows_current {
            let _ = write!(io::stderr(), "{CLEAR_LINE}");
        }
    }

    /// A step has ended.
    pub(super) fn end(&mut self, step: &Step) {
        self.clear();
        if self.shows_lines {
            let _ = write!(io::stdout(), "{}", line(step, wants_colour()));
        }
    }
}

fn wants_colour() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn line(step: &Step, coloured: bool) -> String {
    let (word, colour) = if step.ok { ("ok", AnsiColor::Green) } else { ("NOT", AnsiColor::Red) };
    let style = if coloured { colour.on_default().bold() } else { Style::new() };
    let expected =
        if step.ok { String::new() } else { format!("{:>15}expected: {}\n", "", step.expectation) };
    format!(
        "{style}{word:<4}{style:#}{:>7.2} s  {} ({}): {}\n{expected}",
        step.seconds, step.name, step.fact, step.said
    )
}

/// Prints the end: the document, or what the lines before it came to.
pub(super) fn print(
    acceptance: &Acceptance,
    kept: Option<&Path>,
    json: bool,
) -> Result<(), Failure> {
    let text = if json {
        let passed = acceptance.passed();
        let document = Document {
            steps: &acceptance.steps,
            passed,
            failed: acceptance.steps.len() - passed,
            questions: &acceptance.questions,
            kept,
        };
        serde_json::to_string_pretty(&document).map_err(|error| Failure::Output(error.into()))?
            + "\n"
    } else {
        summary(acceptance, kept)
    };
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(Failure::Output)
}

fn summary(acceptance: &Acceptance, kept: Option<&Path>) -> String {
    let answers = acceptance
        .questions
        .iter()
        .fold(String::new(), |text, one| format!("{text}     {} {}\n", one.question, one.answer));
    let kept = kept.map(|folder| format!("kept: {}\n", folder.display())).unwrap_or_default();
    let seconds: f64 = acceptance.steps.iter().map(|step| step.seconds).sum();
    let (passed, all) = (acceptance.passed(), acceptance.steps.len());
    format!("{answers}{passed} of {all} steps as expected, {seconds:.0} s\n{kept}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(ok: bool) -> Step {
        Step {
            name: "kickstart",
            fact: "2 kickstart",
            expectation: "it starts",
            ok,
            seconds: 0.25,
            said: "it did".to_owned(),
        }
    }

    #[test]
    fn a_line_says_what_was_expected_only_where_that_was_not_seen() {
        assert_eq!(line(&step(true), false), "ok     0.25 s  kickstart (2 kickstart): it did\n");
        assert!(line(&step(false), false).ends_with("expected: it starts\n"));
        assert!(line(&step(false), false).starts_with("NOT "));
        assert!(line(&step(true), true).starts_with('\u{1b}'));
    }

    #[test]
    fn one_step_that_is_not_ok_is_enough() {
        let mut acceptance = Acceptance { steps: vec![step(true)], questions: Vec::new() };
        assert!(acceptance.is_all_ok());
        acceptance.steps.push(step(false));
        assert!(!acceptance.is_all_ok());
        assert!(summary(&acceptance, None).starts_with("1 of 2 steps"));
        assert!((rounded(Duration::from_micros(1_234_567)) - 1.235).abs() < 1e-9);
    }
}
