//! `report-now`: has the running agent send a heartbeat and all that waits, and says whether the dashboard took it. The agent
//! is asked by a signal and answers in its record, which is where everybody else looks too.

use std::{
    thread,
    time::{Duration, Instant},
};

use nixfleet_protocol::{
    journal::{
        read,
        records::{DashboardContact, RunningProgram},
    },
    state_dir::StateDir,
};
use rustix::process::Signal;

use crate::status::{self, StatusError};

/// How long the dashboard has. A call has half a minute itself.
const TAKEN_WITHIN: Duration = Duration::from_secs(30);

/// Time between two looks at the record.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How the record names the calls that matter here.
const HEARTBEAT: &str = "heartbeat";

/// Why the dashboard has not heard anything.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReportError {
    #[error(transparent)]
    Status(#[from] StatusError),
    #[error("no agent runs that could report; `nixfleet-switch ensure-agent` brings it back")]
    NoAgent,
    #[error("the dashboard did not take the heartbeat: {why}")]
    Refused { why: String },
    #[error("the dashboard has not taken a heartbeat within {} s; `nixfleet-agent status` says how the agent is", TAKEN_WITHIN.as_secs())]
    TooLong,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    Taken,
    Refused(String),
    /// Nothing yet.
    None,
}

/// Asks, and waits for the answer. Says how many results still wait.
pub(crate) fn report_now(directory: &StateDir) -> Result<usize, ReportError> {
    let record = || read::read::<RunningProgram>(&directory.agent_record()).present();
    let before = record();
    if !status::is_running(directory, before.as_ref())? {
        return Err(ReportError::NoAgent);
    }
    let Some(before) = before else { return Err(ReportError::NoAgent) };
    let was_asked = before.process.signal(Signal::USR1).map_err(StatusError::from)?;
    if !was_asked {
        return Err(ReportError::NoAgent);
    }
    let deadline = Instant::now() + TAKEN_WITHIN;
    while Instant::now() < deadline {
        // A record that is just being replaced is there at the next look.
        match record().map_or(Answer::None, |now| answer(&before, &now)) {
            Answer::Taken => return Ok(status::results_waiting(directory)?),
            Answer::Refused(why) => return Err(ReportError::Refused { why }),
            Answer::None => thread::sleep(LOOK_EVERY),
        }
    }
    Err(ReportError::TooLong)
}

/// The answer is what is new in the record. An agent that has taken over meanwhile has answered as well.
fn answer(before: &RunningProgram, now: &RunningProgram) -> Answer {
    if now.last_heartbeat_at.is_some() && now.last_heartbeat_at != before.last_heartbeat_at {
        return Answer::Taken;
    }
    let next_try = |record: &RunningProgram| record.dashboard.as_ref()?.next_try_at;
    let failed = now.dashboard.as_ref().filter(|contact| {
        contact.failing_call.as_deref() == Some(HEARTBEAT)
            && contact.next_try_at.is_some()
            && next_try(before) != contact.next_try_at
    });
    failed.map_or(Answer::None, |contact| Answer::Refused(why(contact)))
}

/// What others have said may have been meant for a terminal.
fn why(contact: &DashboardContact) -> String {
    contact.failure.as_deref().unwrap_or_default().replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use nixfleet_protocol::{journal::records::FORMAT, process::ProcessIdentity};

    use super::*;

    fn record(heartbeat: Option<i64>, failing: Option<(&str, i64)>) -> RunningProgram {
        let at = |second| Timestamp::from_second(second).unwrap();
        RunningProgram {
            format: FORMAT,
            process: ProcessIdentity { pid: 7, start: "1".to_owned() },
            started_at: at(0),
            version: "1".to_owned(),
            exe: "/agent".into(),
            invoked_as: None,
            config_path: None,
            config_digest: None,
            definition_path: None,
            definition_digest: None,
            last_heartbeat_at: heartbeat.map(at),
            dashboard: Some(DashboardContact {
                failing_call: failing.map(|(call, _)| call.to_owned()),
                failure: failing.map(|_| "no".to_owned()),
                next_try_at: failing.map(|(_, again)| at(again)),
                ..DashboardContact::default()
            }),
        }
    }

    #[test]
    fn what_is_new_in_the_record_is_the_answer() {
        let refused = || Answer::Refused("no".to_owned());
        let (beats, tries) =
            (Some("heartbeat"), |call: Option<&'static str>, at| call.map(|call| (call, at)));
        for (before, now, expected) in [
            ((None, None), (None, None), Answer::None),
            ((None, None), (Some(1), None), Answer::Taken),
            ((Some(1), None), (Some(1), None), Answer::None),
            ((Some(1), None), (Some(2), None), Answer::Taken),
            ((Some(1), None), (Some(1), tries(beats, 5)), refused()),
            ((Some(1), tries(beats, 5)), (Some(1), tries(beats, 5)), Answer::None),
            ((Some(1), tries(beats, 5)), (Some(1), tries(beats, 6)), refused()),
            ((Some(1), tries(beats, 5)), (Some(2), None), Answer::Taken),
            // A later agent, which was not heard yet.
            ((Some(1), None), (None, None), Answer::None),
            ((Some(1), None), (Some(1), tries(Some("poll for commands"), 5)), Answer::None),
        ] {
            let found = answer(&record(before.0, before.1), &record(now.0, now.1));
            assert_eq!(found, expected, "{before:?} {now:?}");
        }
    }
}
