//! `agent.json` says how the agent and its dashboard get on.

use crate::support::{
    agent::{Agent, Home, SHARED_TOKEN},
    dashboard::{Answer, Dashboard, Speaks},
    eventually,
    wrapper::SUCCEEDS,
};
use jiff::{SignedDuration, Timestamp, fmt::rfc2822::DateTimePrinter};
use nixfleet_protocol::journal::records::DashboardContact;
use serde_json::json;

fn contact(
    agent: &Agent,
    what: &str,
    fits: impl Fn(&DashboardContact) -> bool,
) -> DashboardContact {
    eventually(what, || agent.record()?.dashboard.filter(|contact| fits(contact)))
}

#[test]
fn what_is_wrong_is_said_with_its_beginning_and_taken_back() {
    let dashboard = Dashboard::new(Speaks::V2);
    dashboard.script(|call| {
        // One that shows the caller what it sent.
        let said = format!("who is {}?", call.token);
        Some(Answer::Text(401, "", said))
    });
    let before = Timestamp::now() - SignedDuration::from_secs(1);
    let home = Home::new(&dashboard.url(), SUCCEEDS);
    let agent = home.start();
    let rejected = contact(&agent, "rejected", |contact| contact.http_status == Some(401));
    let since = rejected.failing_since.unwrap();
    assert!(since >= before && since <= Timestamp::now(), "{since}");
    assert!(rejected.failure.unwrap().contains("token_file"));
    assert_eq!((rejected.protocol, rejected.clock_ahead_seconds), (None, None));

    dashboard.script(|call| Some(Answer::Text(500, "", format!("{} broke me", call.token))));
    let broken = contact(&agent, "broken", |contact| contact.http_status == Some(500));
    assert_eq!(broken.failing_since, Some(since), "it has failed all the time");
    let text = std::fs::read_to_string(home.state().join("agent.json")).unwrap();
    assert!(text.contains("broke me") && !text.contains(SHARED_TOKEN), "{text}");

    dashboard.behave();
    let good = contact(&agent, "good again", |contact| contact.failing_since.is_none());
    let expected = DashboardContact { protocol: Some(2), ..DashboardContact::default() };
    assert_eq!(good, expected);
}

#[test]
fn nobody_there_is_no_status() {
    let home = Home::new("http://127.0.0.1:1", SUCCEEDS);
    let agent = home.start();
    let gone = contact(&agent, "nobody there", |contact| contact.failing_since.is_some());
    assert_eq!(gone.http_status, None);
    assert!(gone.failure.is_some());
}

#[test]
fn a_clock_that_is_wrong_shows_in_the_answers() {
    let dashboard = Dashboard::new(Speaks::V2);
    let says = |behind: i64| {
        move |call: &crate::support::dashboard::Call| {
            let date = Timestamp::now() - SignedDuration::from_secs(behind);
            let date = DateTimePrinter::new().timestamp_to_rfc9110_string(&date).unwrap();
            let header: &'static str = Box::leak(format!("Date: {date}\r\n").into_boxed_str());
            let welcome = json!({"status": "registered", "host_id": "host", "protocol": 2});
            call.is("POST", "/register").then(|| Answer::Text(200, header, welcome.to_string()))
        }
    };
    dashboard.script(says(3600));
    let home = Home::new(&dashboard.url(), SUCCEEDS);
    let agent = home.start();
    let near = |expected: i64| {
        move |contact: &DashboardContact| {
            contact.clock_ahead_seconds.is_some_and(|ahead| ahead.abs_diff(expected) <= 3)
        }
    };
    contact(&agent, "an hour ahead", near(3600));
    dashboard.script(says(-7200));
    contact(&agent, "two hours behind", near(-7200));
    dashboard.behave();
    let beat = agent.record().unwrap().last_heartbeat_at;
    eventually("a later heartbeat", || {
        agent.record().filter(|record| record.last_heartbeat_at > beat)
    });
    // An answer without a date does not make it unknown.
    contact(&agent, "still two hours behind", near(-7200));
}

#[test]
fn a_failure_that_stays_the_same_keeps_its_beginning_and_says_when_it_is_tried_again() {
    let dashboard = Dashboard::new(Speaks::V2);
    dashboard.script(|_| Some(Answer::Text(503, "", "not now".to_owned())));
    let home = Home::new(&dashboard.url(), SUCCEEDS);
    let agent = home.start();
    contact(&agent, "it fails", |contact| contact.failing_since.is_some());
    let first = contact(&agent, "when it is tried again", |_| true);
    let again = contact(&agent, "a later try", |contact| contact.next_try_at > first.next_try_at);
    assert_eq!(again.failing_call.as_deref(), Some("heartbeat"));
    let same = DashboardContact { next_try_at: first.next_try_at, ..again };
    assert_eq!(same, first);
}
