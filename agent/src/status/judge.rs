//! What needs somebody: pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::Status;

/// An agent's loop turns at least every few seconds.
const STILL_LIMIT: Duration = Duration::from_mins(1);

/// An agent that has just come up has not been heard yet, and a call may take half a minute.
const UNHEARD_LIMIT: Duration = Duration::from_mins(2);

/// Other calls fail now and then, and are tried again.
const PASSING: Duration = Duration::from_mins(1);

/// A result goes out within seconds, and one that waits for another somewhat later.
const RESULT_LIMIT: Duration = Duration::from_mins(5);

/// Clocks further apart than this confuse people who read times.
const CLOCK_LIMIT_SECONDS: u64 = 60;

/// Something that needs somebody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Attention {
    /// For programs; it keeps its meaning.
    pub(super) id: &'static str,
    /// For people.
    pub(super) text: String,
    /// A command line that mends it, where there is one.
    pub(super) remedy: Option<&'static str>,
}

/// All of it, the gravest first.
pub(super) fn attention(status: &Status, now: Timestamp) -> Vec<Attention> {
    [
        config_wrong(status),
        not_running(status),
        stuck(status, now),
        dashboard_fails(status, now),
        unheard(status, now),
        results_wait(status, now),
        clock_wrong(status),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn config_wrong(status: &Status) -> Option<Attention> {
    let errors = &status.config.errors;
    let text = format!("no agent would come up with this configuration: {}", errors.join("; "));
    (!errors.is_empty()).then_some(Attention {
        id: "config-wrong",
        text,
        remedy: Some("nixfleet-agent check-config"),
    })
}

fn not_running(status: &Status) -> Option<Attention> {
    (!status.running).then(|| Attention {
        id: "agent-not-running",
        text: match &status.agent {
            Some(last) => format!("no agent runs; the last one was pid {}", last.pid),
            None => "no agent runs, and none has run here yet".to_owned(),
        },
        remedy: Some("nixfleet-switch ensure-agent"),
    })
}

fn stuck(status: &Status, now: Timestamp) -> Option<Attention> {
    let stamp = status.agent.as_ref().filter(|_| status.running)?.last_sign_of_life_at?;
    is_past(stamp, STILL_LIMIT, now).then(|| Attention {
        id: "agent-stuck",
        text: format!("the agent runs and does not react: no sign of life since {}", said(stamp)),
        remedy: Some("nixfleet-switch ensure-agent"),
    })
}

fn dashboard_fails(status: &Status, now: Timestamp) -> Option<Attention> {
    let failing = status.dashboard.failing.as_ref().filter(|_| status.running)?;
    // A token that is refused does not mend itself.
    let is_rejected = matches!(failing.http_status, Some(401 | 403));
    let text = format!("the {} fails since {}: {}", failing.call, said(failing.since), failing.why);
    (is_rejected || is_past(failing.since, PASSING, now)).then_some(Attention {
        id: if is_rejected { "token-rejected" } else { "dashboard-fails" },
        text,
        remedy: (!is_rejected).then_some("nixfleet-agent report-now"),
    })
}

fn unheard(status: &Status, now: Timestamp) -> Option<Attention> {
    let agent = status.agent.as_ref().filter(|_| status.running)?;
    let next = status.dashboard.next_try_at.unwrap_or(agent.started_at);
    let is_silent = status.dashboard.failing.is_none() && is_past(next, UNHEARD_LIMIT, now);
    is_silent.then(|| Attention {
        id: "heartbeat-missing",
        text: format!("the dashboard should have taken a heartbeat at {}", said(next)),
        remedy: Some("nixfleet-agent report-now"),
    })
}

fn results_wait(status: &Status, now: Timestamp) -> Option<Attention> {
    let (waiting, oldest) = (&status.waiting, status.waiting.oldest_result_at?);
    is_past(oldest, RESULT_LIMIT, now).then(|| Attention {
        id: "results-waiting",
        text: format!(
            "results that the dashboard has not taken: {}, the oldest of {}",
            waiting.results.len(),
            said(oldest)
        ),
        remedy: Some("nixfleet-agent report-now"),
    })
}

fn clock_wrong(status: &Status) -> Option<Attention> {
    let ahead = status.dashboard.clock_ahead_seconds?;
    let way = if ahead > 0 { "ahead of" } else { "behind" };
    (ahead.unsigned_abs() > CLOCK_LIMIT_SECONDS).then(|| Attention {
        id: "clock-wrong",
        text: format!("the clock is {} s {way} the dashboard's; set it", ahead.unsigned_abs()),
        remedy: None,
    })
}

/// Whether this was longer ago. What is to come is not.
fn is_past(moment: Timestamp, limit: Duration, now: Timestamp) -> bool {
    let limit = SignedDuration::try_from(limit).unwrap_or(SignedDuration::MAX);
    now.duration_since(moment) > limit
}

/// For people.
pub(super) fn said(moment: Timestamp) -> String {
    moment.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{Agent, Config, Dashboard, Failing, Waiting};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + seconds).unwrap()
    }

    /// An agent with which all is well, at the time 0.
    fn well() -> Status {
        Status {
            running: true,
            agent: Some(Agent {
                pid: 7,
                version: "1".to_owned(),
                exe: "/agent".into(),
                started_at: at(-3600),
                last_sign_of_life_at: Some(at(-2)),
            }),
            dashboard: Dashboard {
                url: None,
                host: "h".to_owned(),
                protocol: Some(2),
                last_heartbeat_at: Some(at(-10)),
                failing: None,
                next_try_at: Some(at(20)),
                clock_ahead_seconds: Some(1),
            },
            token: None,
            work: None,
            waiting: Waiting::default(),
            config: Config { path: None, errors: Vec::new() },
            attention: Vec::new(),
        }
    }

    fn fails(since: i64, http_status: Option<u16>) -> Failing {
        let why = "no".to_owned();
        Failing { call: "heartbeat".to_owned(), since: at(since), http_status, why }
    }

    #[track_caller]
    fn check(what: &str, change: impl FnOnce(&mut Status), expected: &[&str]) {
        let mut status = well();
        change(&mut status);
        let found = attention(&status, at(0));
        let ids: Vec<&str> = found.iter().map(|attention| attention.id).collect();
        assert_eq!(ids, expected, "{what}");
    }

    #[test]
    fn what_needs_somebody_is_said_once() {
        check("well", |_| {}, &[]);
        check("gone", |status| status.running = false, &["agent-not-running"]);
        check(
            "never there",
            |status| {
                status.running = false;
                status.agent = None;
            },
            &["agent-not-running"],
        );
        check(
            "gone, and what it said last counts no more",
            |status| {
                status.running = false;
                status.dashboard.failing = Some(fails(-3600, None));
            },
            &["agent-not-running"],
        );
        check(
            "stuck",
            |status| status.agent.as_mut().unwrap().last_sign_of_life_at = Some(at(-61)),
            &["agent-stuck"],
        );
        check(
            "fails, for a moment",
            |status| status.dashboard.failing = Some(fails(-5, Some(502))),
            &[],
        );
        check(
            "fails",
            |status| status.dashboard.failing = Some(fails(-61, None)),
            &["dashboard-fails"],
        );
        for code in [401, 403] {
            check(
                "rejected",
                |status| status.dashboard.failing = Some(fails(-1, Some(code))),
                &["token-rejected"],
            );
        }
        check(
            "not heard",
            |status| status.dashboard.next_try_at = Some(at(-121)),
            &["heartbeat-missing"],
        );
        check("never heard", |status| status.dashboard.next_try_at = None, &["heartbeat-missing"]);
        check(
            "a result that has just come",
            |status| {
                status.waiting.oldest_result_at = Some(at(-10));
            },
            &[],
        );
        check(
            "a result that waits",
            |status| {
                status.waiting.oldest_result_at = Some(at(-301));
            },
            &["results-waiting"],
        );
        for (ahead, expected) in
            [(60, &[][..]), (-60, &[]), (61, &["clock-wrong"]), (i64::MIN, &["clock-wrong"])]
        {
            check("clock", |status| status.dashboard.clock_ahead_seconds = Some(ahead), expected);
        }
        check(
            "two things",
            |status| {
                status.config.errors = vec!["no".to_owned()];
                status.running = false;
            },
            &["config-wrong", "agent-not-running"],
        );
    }
}
