//! Pure: which command goes to the agent next, where a command stands, and what a v1 status closes.
//!
//! A v2 agent gets a command as a lease and closes it by its id. A v1 agent gets a bare word, once; it does one thing at
//! a time and its statuses carry no id, so what a status closes is inferred from the order of things.

use std::time::Duration;

use nixfleet_protocol::wire::v2::AnswerOutcome;

use crate::{
    agent_v1::{StatusReport, StatusWord},
    clock::Millis,
    limits::V1_ANSWER_LIMIT,
    store::CommandRow,
};

/// The pattern of the commands that an operator may queue; also part of the answer to any other.
pub(crate) const VERB_PATTERN: &str =
    "^(pull|switch|pull-switch|test|update|rollback|dry-run|stop|restart)$";

/// The commands that an operator may queue.
pub(crate) const VERBS: [&str; 9] = [
    "pull",
    VERB_SWITCH,
    VERB_PULL_SWITCH,
    "test",
    "update",
    "rollback",
    "dry-run",
    VERB_STOP,
    "restart",
];

/// Switches.
const VERB_SWITCH: &str = "switch";

/// Pulls, then switches; a v1 agent sends a status after each.
const VERB_PULL_SWITCH: &str = "pull-switch";

/// Cancels; a v1 dashboard never sends it, since its agents do not know it.
const VERB_STOP: &str = "stop";

/// What an operator reads on a `stop` that came to a v1 agent.
pub(crate) const REFUSED_FOR_V1: &str = "this host's agent does not know `stop`";

/// What an operator reads on a command whose v1 agent was started anew.
pub(crate) const LOST_BY_RESTART: &str =
    "the agent was started again before it reported on this command";

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AnswerWord {
    Succeeded,
    Failed,
    Refused,
    Unknown,
    Lost,
}

impl AnswerWord {
    /// The word in the database and in the API.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
            Self::Lost => "lost",
        }
    }
}

impl From<AnswerOutcome> for AnswerWord {
    fn from(outcome: AnswerOutcome) -> Self {
        match outcome {
            AnswerOutcome::Succeeded => Self::Succeeded,
            AnswerOutcome::Failed => Self::Failed,
            AnswerOutcome::Refused => Self::Refused,
        }
    }
}

impl From<StatusWord> for AnswerWord {
    fn from(word: StatusWord) -> Self {
        match word {
            StatusWord::Ok => Self::Succeeded,
            StatusWord::Error => Self::Failed,
            StatusWord::Unknown => Self::Unknown,
        }
    }
}

/// Where a command stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// No agent has it.
    Queued,
    /// An agent was sent it and has not acknowledged.
    Leased { until: Millis },
    /// An agent has it on disk.
    Acknowledged,
    /// A v1 agent was sent it.
    HandedOver,
    /// A v1 agent was sent it and was silent for too long. A late status still closes it.
    Lost,
    /// It ended.
    Closed,
}

impl Standing {
    /// The word in the API. A lease is no state of its own there: nobody knows yet whether it arrived.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Queued | Self::Leased { .. } => "queued",
            Self::Acknowledged => "acknowledged",
            Self::HandedOver => "running",
            Self::Lost => AnswerWord::Lost.as_str(),
            Self::Closed => "closed",
        }
    }
}

/// Where the command stands now, with leases of this length.
pub(crate) fn standing(command: &CommandRow, lease: Duration, now: Millis) -> Standing {
    if command.closed_at.is_some() {
        return Standing::Closed;
    }
    if command.handed_over {
        let is_late =
            command.delivered_at.is_some_and(|delivered| now > delivered.after(V1_ANSWER_LIMIT));
        return if is_late { Standing::Lost } else { Standing::HandedOver };
    }
    if command.acknowledged_at.is_some() {
        return Standing::Acknowledged;
    }
    match command.leased_until {
        // A lease that ends later than any lease given now could was given by a clock that has since been set back.
        Some(until) if now < until && until <= now.after(lease) => Standing::Leased { until },
        Some(_) | None => Standing::Queued,
    }
}

/// What a poll can have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Lease {
    /// This command, at once.
    Now(Box<CommandRow>),
    /// Nothing before this, when a lease runs out.
    NotBefore(Millis),
    /// Nothing until a command is queued.
    Nothing,
}

/// The oldest command that nobody has.
pub(crate) fn next_lease(open: &[CommandRow], lease: Duration, now: Millis) -> Lease {
    let mut earliest_end = None;
    for command in open {
        match standing(command, lease, now) {
            Standing::Queued => return Lease::Now(Box::new(command.clone())),
            Standing::Leased { until } => {
                earliest_end = Some(earliest_end.map_or(until, |end: Millis| end.min(until)));
            }
            Standing::Acknowledged | Standing::HandedOver | Standing::Lost | Standing::Closed => {}
        }
    }
    earliest_end.map_or(Lease::Nothing, Lease::NotBefore)
}

/// What a v1 agent gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HandOver {
    /// Commands that it would not understand.
    pub(crate) refuse: Vec<i64>,
    /// The one that it gets.
    pub(crate) hand_over: Option<CommandRow>,
}

/// The oldest command that nobody has and that a v1 agent knows; the others before it are refused.
pub(crate) fn next_hand_over(open: &[CommandRow], lease: Duration, now: Millis) -> HandOver {
    let mut refuse = Vec::new();
    for command in open {
        match standing(command, lease, now) {
            Standing::Queued if command.verb == VERB_STOP => refuse.push(command.sequence),
            Standing::Queued => return HandOver { refuse, hand_over: Some(command.clone()) },
            Standing::Leased { .. }
            | Standing::Acknowledged
            | Standing::HandedOver
            | Standing::Lost
            | Standing::Closed => {}
        }
    }
    HandOver { refuse, hand_over: None }
}

/// What a v1 status changes about commands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StatusEffect {
    /// It ends this command.
    Close { sequence: i64, verb: String, word: AnswerWord },
    /// It is the second half of this one, which the first half has closed.
    Amend { sequence: i64, verb: String, word: AnswerWord, message: String },
    /// The agent is new and does none of these.
    LoseAll { sequences: Vec<i64> },
    /// It belongs to no command.
    Nothing,
}

impl StatusEffect {
    /// Whether the host has just switched.
    pub(crate) fn has_switched(&self) -> bool {
        match self {
            Self::Close { verb, word, .. } | Self::Amend { verb, word, .. } => {
                *word == AnswerWord::Succeeded && (verb == VERB_SWITCH || verb == VERB_PULL_SWITCH)
            }
            Self::LoseAll { .. } | Self::Nothing => false,
        }
    }
}

/// What a status means for the commands that were handed over: `rows` are the open ones and the newest of all, newest
/// first.
///
/// A v1 dashboard lets any status close the newest open command. Two of its mistakes are not repeated: the notice that
/// an agent sends when it starts closes nothing as done, and the switch of a `pull-switch`, which comes as a second
/// status, is not lost behind the pull.
pub(crate) fn effect_of_status(rows: &[CommandRow], report: &StatusReport) -> StatusEffect {
    let mut open = rows.iter().filter(|row| row.closed_at.is_none());
    if report.is_start_notice() {
        let sequences: Vec<i64> = open.map(|row| row.sequence).collect();
        return if sequences.is_empty() {
            StatusEffect::Nothing
        } else {
            StatusEffect::LoseAll { sequences }
        };
    }
    let word = AnswerWord::from(report.status);
    if let Some(row) = open.next() {
        return StatusEffect::Close { sequence: row.sequence, verb: row.verb.clone(), word };
    }
    match rows.first() {
        Some(row) if is_half_done(row) => StatusEffect::Amend {
            sequence: row.sequence,
            verb: row.verb.clone(),
            word,
            message: both_outputs(row.message.as_deref(), report.output.as_deref()),
        },
        Some(_) | None => StatusEffect::Nothing,
    }
}

/// Whether only the pull of a `pull-switch` was reported so far; after a failed pull there is no switch.
fn is_half_done(row: &CommandRow) -> bool {
    row.verb == VERB_PULL_SWITCH
        && row.v1_statuses == 1
        && row.outcome.as_deref() == Some(AnswerWord::Succeeded.as_str())
}

fn both_outputs(first: Option<&str>, second: Option<&str>) -> String {
    let parts: Vec<&str> = [first, second].into_iter().flatten().collect();
    parts.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(30);
    const NOW: Millis = Millis(10_000_000);

    fn command(sequence: i64, verb: &str) -> CommandRow {
        CommandRow {
            sequence,
            id: format!("c{sequence}"),
            verb: verb.to_owned(),
            queued_at: Millis(0),
            delivered_at: None,
            leased_until: None,
            handed_over: false,
            acknowledged_at: None,
            closed_at: None,
            outcome: None,
            message: None,
            answered_at: None,
            switch_id: None,
            v1_statuses: 0,
        }
    }

    fn leased(sequence: i64, until: i64) -> CommandRow {
        CommandRow { leased_until: Some(Millis(until)), ..command(sequence, "switch") }
    }

    fn acknowledged(sequence: i64) -> CommandRow {
        CommandRow { acknowledged_at: Some(NOW), ..leased(sequence, 0) }
    }

    fn handed_over(sequence: i64, verb: &str) -> CommandRow {
        CommandRow { handed_over: true, delivered_at: Some(NOW), ..command(sequence, verb) }
    }

    fn closed(row: CommandRow, word: AnswerWord, v1_statuses: i64) -> CommandRow {
        CommandRow {
            closed_at: Some(NOW),
            outcome: Some(word.as_str().to_owned()),
            message: Some("first".to_owned()),
            v1_statuses,
            ..row
        }
    }

    #[test]
    fn the_oldest_command_that_nobody_has_is_leased() {
        let now = |row: CommandRow| Lease::Now(Box::new(row));
        let in_ten = NOW.0 + 10_000;
        let in_twenty = NOW.0 + 20_000;
        for (open, expected) in [
            (vec![], Lease::Nothing),
            (vec![command(1, "a"), command(2, "b")], now(command(1, "a"))),
            (vec![leased(1, in_ten), command(2, "b")], now(command(2, "b"))),
            (vec![leased(1, in_twenty), leased(2, in_ten)], Lease::NotBefore(Millis(in_ten))),
            (vec![leased(1, NOW.0)], now(leased(1, NOW.0))),
            (vec![leased(1, NOW.0 + 1)], Lease::NotBefore(Millis(NOW.0 + 1))),
            (vec![leased(1, NOW.0 + 30_001)], now(leased(1, NOW.0 + 30_001))),
            (vec![acknowledged(1), command(2, "b")], now(command(2, "b"))),
            (vec![acknowledged(1), handed_over(2, "b")], Lease::Nothing),
        ] {
            assert_eq!(next_lease(&open, LEASE, NOW), expected, "{open:?}");
        }
    }

    #[test]
    fn a_v1_agent_gets_what_it_knows_and_nobody_else_has() {
        let in_ten = NOW.0 + 10_000;
        for (open, refused, handed) in [
            (vec![], vec![], None),
            (vec![command(1, "pull"), command(2, "test")], vec![], Some(1)),
            (vec![command(1, "stop"), command(2, "test")], vec![1], Some(2)),
            (vec![command(1, "stop")], vec![1], None),
            (vec![leased(1, in_ten), command(2, "test")], vec![], Some(2)),
            (vec![handed_over(1, "pull"), acknowledged(2)], vec![], None),
        ] {
            let next = next_hand_over(&open, LEASE, NOW);
            assert_eq!(next.refuse, refused, "{open:?}");
            assert_eq!(next.hand_over.map(|row| row.sequence), handed, "{open:?}");
        }
    }

    #[test]
    fn a_v1_command_without_a_status_is_lost_in_the_end() {
        let row = handed_over(1, "switch");
        let limit = NOW.after(V1_ANSWER_LIMIT);
        assert_eq!(standing(&row, LEASE, limit), Standing::HandedOver);
        assert_eq!(standing(&row, LEASE, Millis(limit.0 + 1)), Standing::Lost);
        let closed = closed(row, AnswerWord::Succeeded, 1);
        assert_eq!(standing(&closed, LEASE, Millis(limit.0 + 1)), Standing::Closed);
    }

    #[test]
    fn a_status_closes_the_newest_open_command_of_a_v1_agent() {
        let done = |output: &str| StatusReport::for_test(StatusWord::Ok, output);
        let failed = |output: &str| StatusReport::for_test(StatusWord::Error, output);
        let close = |sequence, verb: &str, word| StatusEffect::Close {
            sequence,
            verb: verb.to_owned(),
            word,
        };
        let amend = |word| StatusEffect::Amend {
            sequence: 1,
            verb: "pull-switch".to_owned(),
            word,
            message: "first\nSwitch: x".to_owned(),
        };
        let pulled = || closed(handed_over(1, "pull-switch"), AnswerWord::Succeeded, 1);
        for (rows, report, expected) in [
            (vec![], done("x"), StatusEffect::Nothing),
            (vec![handed_over(1, "switch")], done("x"), close(1, "switch", AnswerWord::Succeeded)),
            (
                vec![handed_over(2, "test"), handed_over(1, "pull")],
                failed("x"),
                close(2, "test", AnswerWord::Failed),
            ),
            (
                vec![
                    closed(handed_over(2, "test"), AnswerWord::Succeeded, 1),
                    handed_over(1, "pull"),
                ],
                done("x"),
                close(1, "pull", AnswerWord::Succeeded),
            ),
            (
                vec![handed_over(2, "switch"), handed_over(1, "pull")],
                done("Agent started (1.0.0)"),
                StatusEffect::LoseAll { sequences: vec![2, 1] },
            ),
            (vec![pulled()], done("Agent started (1.0.0)"), StatusEffect::Nothing),
            (vec![pulled()], done("Switch: x"), amend(AnswerWord::Succeeded)),
            (vec![pulled()], failed("Switch: x"), amend(AnswerWord::Failed)),
            (
                vec![closed(handed_over(1, "pull-switch"), AnswerWord::Failed, 1)],
                done("x"),
                StatusEffect::Nothing,
            ),
            (
                vec![closed(handed_over(1, "pull-switch"), AnswerWord::Succeeded, 2)],
                done("x"),
                StatusEffect::Nothing,
            ),
            (
                vec![closed(handed_over(1, "switch"), AnswerWord::Succeeded, 1)],
                done("x"),
                StatusEffect::Nothing,
            ),
        ] {
            assert_eq!(effect_of_status(&rows, &report), expected, "{rows:?} {report:?}");
        }
    }

    #[test]
    fn the_pattern_names_the_verbs() {
        assert_eq!(VERB_PATTERN, format!("^({})$", VERBS.join("|")));
    }
}
