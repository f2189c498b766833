//! What is to be said of a cell, given what was seen. Pure.

use std::time::Duration;

use serde::Serialize;

use super::{dark, fault::Unhelpable, observation::Observation, truth};

/// The promise.
pub const NEVER_DARKER_THAN: Duration = Duration::from_mins(1);

/// How old the last heartbeat of an agent that is back may be: several of the stage's intervals.
const FRESH: i64 = 5_000;

/// What is to be said of a cell.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// An agent is up, and the dashboard hears it.
    pub back: bool,
    /// It is the job's. One that was started by hand, or outlived its job, is heard, but nobody starts it again.
    pub supervised: bool,
    /// From the end of an agent to the first heartbeat of the next, in seconds; the longest, 0 if none ended.
    pub dark_s: f64,
    /// The longest time without a heartbeat, in seconds, whatever the reason.
    pub silent_s: f64,
    /// Whether the dashboard has the truth.
    pub result: Truth,
    /// What of it is not true.
    pub untruths: Vec<String>,
    /// What hands would have to do.
    pub hands: Vec<String>,
    /// Processes that are left.
    pub left: Vec<String>,
    /// Where no program can help.
    pub named: Option<Named>,
}

/// Whether the dashboard has the truth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Truth {
    /// It has every result, once, as it was.
    True,
    /// It has not.
    False,
    /// A plain `home-manager switch` has no result that anybody would report.
    NoneToReport,
}

/// How what no program can help was said.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Named {
    /// What it is.
    pub why: Unhelpable,
    /// Seconds until it was said; `None` if it was not.
    pub after_s: Option<f64>,
}

impl Verdict {
    /// The host was dark, or silent, for too long.
    pub fn is_dark_too_long(&self) -> bool {
        let limit = NEVER_DARKER_THAN.as_secs_f64();
        self.dark_s > limit || self.silent_s > limit
    }

    /// What no program can help was not said in time.
    pub fn is_unnamed(&self) -> bool {
        let limit = NEVER_DARKER_THAN.as_secs_f64();
        self.named.is_some_and(|named| named.after_s.is_none_or(|after| after > limit))
    }

    /// Everything is as promised.
    pub fn is_good(&self) -> bool {
        let is_true = match self.result {
            Truth::True | Truth::NoneToReport => true,
            Truth::False => false,
        };
        is_true
            && !self.is_dark_too_long()
            && !self.is_unnamed()
            && self.hands.is_empty()
            && self.left.is_empty()
    }
}

/// The verdict.
pub fn judge(seen: &Observation) -> Verdict {
    let untruths = truth::untruths(seen);
    let result = if !untruths.is_empty() {
        Truth::False
    } else if seen.requests.is_empty() {
        Truth::NoneToReport
    } else {
        Truth::True
    };
    let back = is_back(seen);
    let naming = seen.unhelpable;
    Verdict {
        back,
        supervised: seen.is_supervised,
        dark_s: seconds(dark::darkest(seen)),
        silent_s: seconds(dark::longest_silence(seen)),
        result,
        untruths,
        hands: hands(seen, back),
        left: seen.left.clone(),
        named: naming
            .map(|naming| Named { why: naming.why, after_s: naming.after_ms.map(seconds) }),
    }
}

fn is_back(seen: &Observation) -> bool {
    let is_alive = seen.agents.iter().any(|agent| agent.gone.is_none());
    let is_heard = seen.heartbeats.iter().any(|heard| seen.until - heard <= FRESH);
    is_alive && is_heard
}

fn hands(seen: &Observation, back: bool) -> Vec<String> {
    let mut hands = Vec::new();
    if !back {
        hands.push("the agent has to be brought back".to_owned());
    }
    if let Some(difference) = &seen.outdated {
        hands.push(format!("the agent that runs has not the installed {difference}"));
    }
    if !seen.locks_are_free {
        hands.push("a lock is held by somebody who does not end".to_owned());
    }
    hands
}

#[expect(clippy::cast_precision_loss, reason = "the time of a cell in milliseconds is small")]
fn seconds(milliseconds: i64) -> f64 {
    milliseconds as f64 / 1000.0
}

#[cfg(test)]
pub(super) mod tests {
    use jiff::Timestamp;
    use nixfleet_protocol::{
        journal::records::{Activation, FORMAT, Initiator, Outcome, SwitchId, SwitchResult},
        operation::Operation,
        switch_kind::SwitchKind,
    };

    use super::*;
    use crate::matrix::{
        observation::{AgentLife, Command, Naming, Request, Told},
        truth::Run,
    };

    pub(in crate::matrix) fn result(
        host: &str,
        outcome: Outcome,
        exit_code: Option<i32>,
    ) -> SwitchResult {
        SwitchResult {
            format: FORMAT,
            id: SwitchId::generate(),
            outcome,
            exit_code,
            signal: None,
            started_at: Timestamp::UNIX_EPOCH,
            finished_at: Timestamp::UNIX_EPOCH,
            duration_ms: 1,
            operation: Operation::Switch,
            kind: SwitchKind::default(),
            argv: Vec::new(),
            initiator: Initiator::Agent,
            generation_before: None,
            generation_after: None,
            activation: Activation::Complete,
            output_bytes: 0,
            output_tail: String::new(),
            wrapper_version: "1".to_owned(),
            host: host.to_owned(),
            steps: None,
            note: None,
        }
    }

    /// A switch as it should be: asked for at 0, the old agent gone at 1 s, the next one heard at 2.5 s.
    pub(in crate::matrix) fn observed() -> Observation {
        let command = || Some("c".to_owned());
        Observation {
            began: 0,
            until: 6_000,
            agents: vec![
                AgentLife { pid: 1, up: -5_000, gone: Some(1_000) },
                AgentLife { pid: 2, up: 2_000, gone: None },
            ],
            heartbeats: vec![-1_000, 0, 990, 2_500, 3_500, 4_500, 5_500],
            requests: vec![Request { id: "s".to_owned(), command: command(), child: Some(10) }],
            told: vec![Told {
                id: "s".to_owned(),
                command: command(),
                result: Some(result("a", Outcome::Succeeded, Some(0))),
            }],
            runs: vec![Run {
                exit_code: Some(0),
                set_profile: true,
                completed: true,
                ..Run::begun(10)
            }],
            command: Some(Command { id: "c".to_owned(), status: "succeeded".to_owned() }),
            is_supervised: true,
            locks_are_free: true,
            ..Observation::default()
        }
    }

    fn verdict(change: impl FnOnce(&mut Observation)) -> Verdict {
        let mut seen = observed();
        change(&mut seen);
        judge(&seen)
    }

    #[test]
    fn a_switch_as_it_should_be() {
        let verdict = verdict(|_seen| ());
        assert!(verdict.is_good(), "{verdict:?}");
        assert!((verdict.dark_s - 1.5).abs() < 1e-9, "{verdict:?}");
        assert_eq!((verdict.back, verdict.result), (true, Truth::True));
    }

    #[test]
    fn an_agent_that_is_not_back_needs_a_hand() {
        let gone = verdict(|seen| {
            seen.agents[1].gone = Some(3_000);
            seen.heartbeats.retain(|heard| *heard < 3_000);
            seen.until = 70_000;
        });
        assert!(!gone.back && !gone.is_good() && gone.is_dark_too_long(), "{gone:?}");
        assert_eq!(gone.hands.len(), 1);
        let deaf = verdict(|seen| seen.until = 20_000);
        assert!(!deaf.back && !deaf.is_good() && !deaf.is_dark_too_long(), "{deaf:?}");
    }

    #[test]
    fn what_is_left_or_held_is_not_good() {
        assert!(!verdict(|seen| seen.left.push("sleep 5".to_owned())).is_good());
        assert!(!verdict(|seen| seen.locks_are_free = false).is_good());
        assert!(!verdict(|seen| seen.outdated = Some("config".to_owned())).is_good());
    }

    #[test]
    fn without_a_request_there_is_nothing_to_report() {
        let plain = verdict(|seen| {
            seen.requests.clear();
            seen.told.clear();
            seen.command = None;
            seen.plain_runs = 1;
        });
        assert_eq!(plain.result, Truth::NoneToReport, "{plain:?}");
        assert!(plain.is_good());
        let lost = verdict(|seen| seen.told.clear());
        assert_eq!(lost.result, Truth::False);
        assert!(!lost.is_good());
    }

    #[test]
    fn what_no_program_can_help_is_to_be_said_in_time() {
        for (after_ms, is_good) in [(Some(2_000), true), (Some(61_000), false), (None, false)] {
            let named = verdict(|seen| {
                seen.unhelpable = Some(Naming { why: Unhelpable::Blocked, after_ms });
            });
            assert_eq!(named.is_good(), is_good, "{named:?}");
        }
    }
}
