//! Pure: what a report changes about a switch, and what a piece of output adds.

use nixfleet_protocol::{journal::records::SwitchResult, wire::v2::SwitchState};

use crate::limits::MAX_OUTPUT_KEPT;

/// Where a switch stands. A later stage never goes back to an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Accepted,
    Running,
    Finished,
}

impl Stage {
    /// The word in the database and in the API.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Running => "running",
            Self::Finished => "finished",
        }
    }

    /// The stage of a word.
    pub(crate) fn from_word(word: &str) -> Option<Self> {
        [Self::Accepted, Self::Running, Self::Finished]
            .into_iter()
            .find(|stage| stage.as_str() == word)
    }

    fn of(state: &SwitchState) -> Self {
        match state {
            SwitchState::Accepted => Self::Accepted,
            SwitchState::Running { .. } => Self::Running,
            SwitchState::Finished { .. } => Self::Finished,
        }
    }
}

/// What the dashboard has of a switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Known {
    pub(crate) stage: Stage,
    pub(crate) has_reload: bool,
}

/// What a report changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// The switch goes to the report's stage.
    Advance,
    /// It was finished, and now it is also known what was done to the agent's job.
    AddReload,
    /// It runs as before, and is further.
    Further,
    /// Nothing that is not known.
    Nothing,
}

/// What the report of this state changes. A finished switch is final but for its reload, which may come once.
pub(crate) fn change(known: Option<Known>, reported: &SwitchState) -> Change {
    let Some(known) = known else { return Change::Advance };
    let has_reload = match reported {
        SwitchState::Accepted | SwitchState::Running { .. } => false,
        SwitchState::Finished { reload, .. } => reload.is_some(),
    };
    let is_further = match reported {
        SwitchState::Running { started_at: _, steps, phase } => steps.is_some() || phase.is_some(),
        SwitchState::Accepted | SwitchState::Finished { .. } => false,
    };
    if Stage::of(reported) > known.stage {
        Change::Advance
    } else if known.stage == Stage::Finished && has_reload && !known.has_reload {
        Change::AddReload
    } else if known.stage == Stage::Running && is_further {
        Change::Further
    } else {
        Change::Nothing
    }
}

/// What a result says to the operator who queued its command.
pub(crate) fn said(result: &SwitchResult) -> String {
    match &result.note {
        Some(note) if result.output_tail.is_empty() => note.clone(),
        Some(note) => format!("{note}\n{}", result.output_tail),
        None => result.output_tail.clone(),
    }
}

/// What a piece of output is to the dashboard.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken<'a> {
    /// It begins beyond what there is.
    Gap,
    /// All of it is there already.
    Known,
    /// There is more now than before.
    New {
        /// How much of the output was received with it.
        received: u64,
        /// What of it is to be stored.
        keep: &'a [u8],
    },
}

/// What of a piece is new, and what of that is kept. Once the limit is reached nothing more is kept, but the count goes
/// on, so that the agent can.
pub(crate) fn take_output(received: u64, kept: u64, offset: u64, piece: &[u8]) -> Taken<'_> {
    if offset > received {
        return Taken::Gap;
    }
    let known = usize::try_from(received - offset).unwrap_or(usize::MAX);
    let new = piece.get(known..).unwrap_or(&[]);
    if new.is_empty() {
        return Taken::Known;
    }
    let is_whole = kept == received;
    let room = if is_whole { MAX_OUTPUT_KEPT.saturating_sub(kept) } else { 0 };
    let length = usize::try_from(room).unwrap_or(usize::MAX).min(new.len());
    Taken::New { received: received + new.len() as u64, keep: &new[..length] }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use nixfleet_protocol::{
        journal::records::{
            Activation, AgentVerdict, FORMAT, Initiator, Outcome, Reload, SwitchId, SwitchResult,
        },
        operation::{Operation, Step, Steps},
        switch_kind::SwitchKind,
    };

    use super::*;

    fn finished(with_reload: bool) -> SwitchState {
        let result = SwitchResult {
            format: FORMAT,
            id: SwitchId::generate(),
            outcome: Outcome::Succeeded,
            exit_code: Some(0),
            signal: None,
            started_at: Timestamp::UNIX_EPOCH,
            finished_at: Timestamp::UNIX_EPOCH,
            duration_ms: 0,
            operation: Operation::default(),
            kind: SwitchKind::default(),
            argv: Vec::new(),
            initiator: Initiator::Agent,
            generation_before: None,
            generation_after: None,
            activation: Activation::Complete,
            output_bytes: 0,
            output_tail: String::new(),
            wrapper_version: "1".to_owned(),
            host: "h".to_owned(),
            steps: None,
            note: None,
        };
        let reload = Reload {
            format: FORMAT,
            switch: None,
            verdict: AgentVerdict::Back,
            explanation: String::new(),
            began_at: Timestamp::UNIX_EPOCH,
            duration_ms: 0,
            agent_pid: None,
            steps: Vec::new(),
        };
        SwitchState::Finished {
            result: Box::new(result),
            reload: with_reload.then(|| Box::new(reload)),
        }
    }

    #[test]
    fn a_switch_only_goes_forward_and_ends_once() {
        let at_step =
            |steps| SwitchState::Running { started_at: Timestamp::UNIX_EPOCH, steps, phase: None };
        let running = at_step(None);
        let further = at_step(Some(Steps::at(Step::Pull)));
        let at = |stage, has_reload| Some(Known { stage, has_reload });
        for (known, reported, expected) in [
            (None, SwitchState::Accepted, Change::Advance),
            (None, finished(true), Change::Advance),
            (at(Stage::Accepted, false), SwitchState::Accepted, Change::Nothing),
            (at(Stage::Accepted, false), running.clone(), Change::Advance),
            (at(Stage::Accepted, false), finished(false), Change::Advance),
            (at(Stage::Running, false), SwitchState::Accepted, Change::Nothing),
            (at(Stage::Running, false), running.clone(), Change::Nothing),
            (at(Stage::Accepted, false), further.clone(), Change::Advance),
            (at(Stage::Running, false), further.clone(), Change::Further),
            (at(Stage::Finished, false), further, Change::Nothing),
            (at(Stage::Running, false), finished(true), Change::Advance),
            (at(Stage::Finished, false), SwitchState::Accepted, Change::Nothing),
            (at(Stage::Finished, false), running, Change::Nothing),
            (at(Stage::Finished, false), finished(false), Change::Nothing),
            (at(Stage::Finished, false), finished(true), Change::AddReload),
            (at(Stage::Finished, true), finished(true), Change::Nothing),
            (at(Stage::Finished, true), finished(false), Change::Nothing),
        ] {
            assert_eq!(change(known, &reported), expected, "{known:?} {reported:?}");
        }
    }

    #[test]
    fn output_is_appended_without_gap_or_repetition() {
        let new = |received, keep: &'static [u8]| Taken::New { received, keep };
        for (received, offset, piece, expected) in [
            (0, 0, &b"abc"[..], new(3, b"abc")),
            (3, 3, b"de", new(5, b"de")),
            (3, 1, b"bcde", new(5, b"de")),
            (3, 0, b"abc", Taken::Known),
            (3, 1, b"b", Taken::Known),
            (3, 3, b"", Taken::Known),
            (3, 4, b"x", Taken::Gap),
            (3, 4, b"", Taken::Gap),
            (u64::MAX, 0, b"x", Taken::Known),
        ] {
            assert_eq!(
                take_output(received, received, offset, piece),
                expected,
                "{received} {offset}"
            );
        }
    }

    #[test]
    fn beyond_the_limit_output_is_counted_but_not_kept() {
        let last = MAX_OUTPUT_KEPT - 1;
        assert_eq!(
            take_output(last, last, last, b"abc"),
            Taken::New { received: last + 3, keep: b"a" }
        );
        assert_eq!(
            take_output(last + 3, MAX_OUTPUT_KEPT, last + 3, b"de"),
            Taken::New { received: last + 5, keep: b"" }
        );
    }

    #[test]
    fn every_stage_has_its_word() {
        for stage in [Stage::Accepted, Stage::Running, Stage::Finished] {
            assert_eq!(Stage::from_word(stage.as_str()), Some(stage));
        }
        assert_eq!(Stage::from_word("done"), None);
    }
}
