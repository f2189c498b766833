//! A dashboard that lies, floods, hangs or turns us away.

// A program of its own: dozens of agents at once would disturb other tests.
#[path = "agent/support/mod.rs"]
mod support;

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    agent::{Home, SHARED_TOKEN, text_of},
    dashboard::{Answer, Dashboard, Speaks},
    eventually, journal,
    wrapper::SUCCEEDS,
};
use nixfleet_protocol::journal::records::Outcome;
use serde_json::json;

/// The most memory that an agent may ever have taken, in KiB.
const MOST_MEMORY: u64 = 40_000;

/// The most that its state directory may hold, in bytes.
const MOST_ON_DISK: u64 = 2_000_000;

/// What a dashboard does in the place of answering, how often the agent tries that while it is watched, and what it says.
struct Misdeed {
    name: &'static str,
    answer: Answer,
    tries: usize,
    says: &'static str,
}

impl Misdeed {
    fn text(
        name: &'static str,
        status: u16,
        header: &'static str,
        text: &str,
        says: &'static str,
    ) -> Self {
        Self { name, answer: Answer::Text(status, header, text.to_owned()), tries: 3, says }
    }

    fn raw(name: &'static str, bytes: Vec<u8>, says: &'static str) -> Self {
        Self { name, answer: Answer::Raw(bytes), tries: 3, says }
    }

    /// One that takes until a time limit.
    const fn slow(name: &'static str, answer: Answer, says: &'static str) -> Self {
        Self { name, answer, tries: 1, says }
    }
}

/// What can be done to any call.
fn misdeeds() -> Vec<Misdeed> {
    const NONSENSE: &str = "makes no sense";
    const PAGE: &str = "log in to";
    let page = "<!DOCTYPE html><html>Please log in</html>";
    let headers = |headers: String| format!("HTTP/1.1 200 OK\r\n{headers}\r\n{{}}").into_bytes();
    let gzip = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 10\r\n\r\n\x1f\x8b\x08\0\0\0\0\0\0\xff";
    let cut = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"status\":";
    vec![
        Misdeed::text("not JSON", 200, "", "registered", NONSENSE),
        Misdeed::text("empty", 200, "", "", NONSENSE),
        Misdeed::text(
            "wrong types",
            200,
            "",
            "{\"status\":[],\"host_id\":7,\"command\":5}",
            NONSENSE,
        ),
        Misdeed::text("an array", 200, "", "[1,2,3]", NONSENSE),
        Misdeed::text("deeply nested", 200, "", &"[".repeat(100_000), NONSENSE),
        Misdeed::text("nested objects", 200, "", &"{\"command\":".repeat(50_000), NONSENSE),
        Misdeed::text(
            "not Unicode",
            200,
            "",
            "{\"status\":\"\\ud800\",\"command\":{\"id\":\"\\ud800\"}}",
            NONSENSE,
        ),
        Misdeed::text("a captive portal", 200, "Content-Type: text/html\r\n", page, PAGE),
        Misdeed::text("one that says so", 511, "", page, PAGE),
        Misdeed::text("a login page", 302, "Location: http://127.0.0.1:1/login\r\n", page, PAGE),
        Misdeed::text("internal error", 500, "", "Internal Server Error", "status 500"),
        Misdeed::text("a teapot", 418, "", "no", "status 418"),
        Misdeed::text("a status that is none", 999, "", "no", "status 999"),
        Misdeed::raw("no HTTP", b"SSH-2.0-OpenSSH_9.9\r\n".to_vec(), "invalid HTTP"),
        Misdeed::raw(
            "ten thousand headers",
            headers("X-Bomb: 1\r\n".repeat(10_000)),
            "message head is too large",
        ),
        Misdeed::raw(
            "a header of 10 MB",
            headers(format!("X-Bomb: {}\r\n", "x".repeat(10_000_000))),
            "message head is too large",
        ),
        Misdeed::raw("compressed", gzip.to_vec(), NONSENSE),
        Misdeed::raw("cut short", cut.to_vec(), "connection"),
        Misdeed::raw("nothing", Vec::new(), "connection"),
        Misdeed {
            name: "100 MB",
            answer: Answer::Flood(100 * 1024 * 1024),
            tries: 2,
            says: "longer than",
        },
        Misdeed {
            name: "no end",
            answer: Answer::Flood(usize::MAX),
            tries: 2,
            says: "longer than",
        },
        Misdeed::slow(
            "a slow body",
            Answer::Drip("HTTP/1.1 200 OK\r\n\r\n"),
            "did not answer in time",
        ),
        Misdeed::slow(
            "slow headers",
            Answer::Drip("HTTP/1.1 200 OK\r\nX-Slow:"),
            "did not answer in time",
        ),
        Misdeed::slow("silence", Answer::Silence, "did not answer in time"),
    ]
}

/// An agent of a dashboard that does this to calls of this kind: it says so once, does not spin, stays small, and goes on
/// once the dashboard behaves.
fn survives(misdeed: &Misdeed, method: &'static str, part: &'static str, lane: &str) {
    let name = misdeed.name;
    let dashboard = Dashboard::new(Speaks::V2);
    let answer = misdeed.answer.clone();
    dashboard.script(move |call| call.is(method, part).then(|| answer.clone()));
    let home = Home::new(&dashboard.url(), SUCCEEDS);
    let id = journal::finished(&home.state(), Outcome::Succeeded);
    let mut agent = home.start();
    let began = Instant::now();
    agent.wait_until_logged(&format!("{lane} fails"));
    eventually(&format!("{name} is tried again"), || {
        (dashboard.calls(method, part).len() >= misdeed.tries).then_some(())
    });
    // On a busy machine another call may have had another failure before.
    eventually(&format!("{name} is said to be: {}", misdeed.says), || {
        agent.record()?.dashboard?.failure.filter(|failure| failure.contains(misdeed.says))
    });
    let calls = dashboard.calls(method, part).len();
    assert!(calls as u64 <= 2 + began.elapsed().as_secs(), "{name}: {calls} calls");
    let log = agent.log();
    assert_eq!(log.matches(&format!("{lane} fails")).count(), 1, "{name}: {log}");
    assert!(log.len() < 4000 && !log.contains(SHARED_TOKEN), "{name}: {log}");
    assert!(agent.peak_memory().is_none_or(|peak| peak < MOST_MEMORY), "{name}");
    assert!(size_of(&home.state()) < MOST_ON_DISK, "{name}");
    dashboard.behave();
    text_of(&journal::directory(&home.state(), id).reported());
    eventually(&format!("after {name} all is well"), || {
        let contact = agent.record()?.dashboard?;
        (contact.protocol == Some(2) && contact.failing_since.is_none()).then_some(())
    });
    assert!(agent.is_running(), "{name}");
}

/// What a folder holds, in bytes. What comes and goes meanwhile does not count.
fn size_of(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => size_of(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.map(size).sum()
}

fn all_survive(misdeeds: &[Misdeed], method: &'static str, part: &'static str, lane: &str) {
    thread::scope(|scope| {
        for misdeed in misdeeds {
            scope.spawn(move || survives(misdeed, method, part, lane));
        }
    });
}

#[test]
fn whatever_a_registration_is_answered_with_is_survived() {
    let mut all = misdeeds();
    let token = "{\"status\":\"\",\"host_id\":\"\",\"agent_token\":\"a b\"}";
    all.push(Misdeed::text("a bad token", 200, "", token, "makes no sense"));
    all_survive(&all, "POST", "/register", "heartbeat");
}

#[test]
fn whatever_a_poll_is_answered_with_is_survived() {
    let command = |id: &str, queued_at: &str| {
        json!({"command": {"id": id, "verb": "switch", "lease_seconds": 1, "queued_at": queued_at}})
            .to_string()
    };
    let good = "2026-01-01T00:00:00Z";
    let mut all = misdeeds();
    // A poll is held for longer than any other call.
    all.retain(|misdeed| misdeed.tries > 1);
    for (name, text, says) in [
        ("an id that leaves the folder", command("../../etc", good), "makes no sense"),
        ("an id that is a path", command("/etc/passwd", good), "makes no sense"),
        ("an empty id", command("", good), "makes no sense"),
        ("an id of 10 MB", command(&"x".repeat(10_000_000), good), "longer than"),
        ("an id of 1000 characters", command(&"x".repeat(1000), good), "makes no sense"),
        ("a time that is none", command("c-1", "yesterday"), "makes no sense"),
        (
            "a time that nobody lives to see",
            command("c-1", "99999-01-01T00:00:00Z"),
            "makes no sense",
        ),
    ] {
        all.push(Misdeed::text(name, 200, "", &text, says));
    }
    all_survive(&all, "GET", "/poll", "poll for commands");
}

#[test]
fn a_command_that_makes_no_sense_is_answered_and_runs_nothing() {
    let dashboard = Dashboard::new(Speaks::V2);
    let home = Home::new(&dashboard.url(), SUCCEEDS);
    let _agent = home.start();
    dashboard.queue("c-1", "no-such-verb");
    dashboard.first("PUT", "/commands/c-1/answer");
    assert_eq!(home.runs(), 0);
}

#[test]
fn a_dashboard_in_another_time_is_obeyed_all_the_same() {
    let dashboard = Dashboard::new(Speaks::V2);
    let is_first = AtomicBool::new(true);
    dashboard.script(move |call| {
        let far_off = json!({"command": {"id": "c-1", "verb": "switch", "lease_seconds": u32::MAX,
            "queued_at": "9999-12-30T00:00:00Z"}});
        let date = "Date: Thu, 01 Jan 2099 00:00:00 GMT\r\n";
        let is_wanted = call.is("GET", "/poll") && is_first.swap(false, Ordering::Relaxed);
        is_wanted.then(|| Answer::Text(200, date, far_off.to_string()))
    });
    let home = Home::new(&dashboard.url(), SUCCEEDS);
    let agent = home.start();
    dashboard.call("PUT", "/switches/", |call| call.body["command_id"] == "c-1");
    eventually("the clocks are compared", || agent.record()?.dashboard?.clock_ahead_seconds);
    eventually("it was run", || (home.runs() == 1).then_some(()));
}

#[test]
fn an_id_that_comes_again_with_another_verb_is_the_same_command() {
    let dashboard = Dashboard::new(Speaks::V2);
    let polls = AtomicUsize::new(0);
    dashboard.script(move |call| {
        let verb = ["no-such-verb", "switch", "stop"];
        call.is("GET", "/poll").then(|| {
            let verb = verb[polls.fetch_add(1, Ordering::Relaxed) % verb.len()];
            Answer::Json(
                200,
                json!({"command": {"id": "c-1", "verb": verb, "lease_seconds": 1,
                    "queued_at": "2026-01-01T00:00:00Z"}}),
            )
        })
    });
    let home = Home::new(&dashboard.url(), SUCCEEDS);
    let agent = home.start();
    dashboard.first("PUT", "/commands/c-1/answer");
    agent.wait_until_logged("commands without end");
    assert_eq!(home.runs(), 0);
    assert_eq!(fs::read_dir(home.state().join("commands")).unwrap().count(), 1);
    let polls = dashboard.calls("GET", "/poll").len();
    thread::sleep(Duration::from_secs(4));
    let more = dashboard.calls("GET", "/poll").len() - polls;
    assert!(more <= 4, "{more} polls in 4 s");
}

#[test]
fn ten_thousand_commands_are_let_in_slowly() {
    let dashboard = Dashboard::new(Speaks::V2);
    let number = AtomicUsize::new(0);
    dashboard.script(move |call| {
        call.is("GET", "/poll").then(|| {
            let id = format!("c-{}", number.fetch_add(1, Ordering::Relaxed));
            Answer::Json(
                200,
                json!({"command": {"id": id, "verb": "no-such-verb", "lease_seconds": 1,
                    "queued_at": "2026-01-01T00:00:00Z"}}),
            )
        })
    });
    let home = Home::new(&dashboard.url(), SUCCEEDS);
    let agent = home.start();
    agent.wait_until_logged("commands without end");
    let (polls, log) = (dashboard.calls("GET", "/poll").len(), agent.log().len());
    thread::sleep(Duration::from_secs(6));
    let more = dashboard.calls("GET", "/poll").len() - polls;
    assert!(more <= 5, "{more} polls in 6 s");
    assert!(agent.log().len() - log < 4000);
    assert_eq!(agent.log().matches("commands without end").count(), 1);
    assert!(size_of(&home.state()) < MOST_ON_DISK);
    assert!(agent.peak_memory().is_none_or(|peak| peak < MOST_MEMORY));
    // It still hears of what is sent then.
    dashboard.behave();
    dashboard.queue("c-last", "no-such-verb");
    dashboard.first("PUT", "/commands/c-last/answer");
}

#[test]
fn a_v1_dashboard_that_sends_a_command_each_time_is_not_asked_more_often() {
    let dashboard = Dashboard::new(Speaks::V1);
    dashboard.script(|call| {
        call.is("POST", "/register").then(|| {
            Answer::Json(200, json!({"status": "registered", "host_id": "host", "command": "stop"}))
        })
    });
    let home = Home::new(&dashboard.url(), SUCCEEDS);
    let agent = home.start();
    let began = dashboard.first("POST", "/register").at;
    let fifth = eventually("a fifth", || dashboard.calls("POST", "/register").get(4).cloned());
    assert!(fifth.at - began >= Duration::from_millis(3900));
    assert!(size_of(&home.state()) < MOST_ON_DISK);
    assert!(agent.peak_memory().is_none_or(|peak| peak < MOST_MEMORY));
}

#[test]
fn a_200_that_is_no_answer_does_not_count_as_taken() {
    let dashboard = Dashboard::new(Speaks::V2);
    let home = Home::new(&dashboard.url(), SUCCEEDS);
    let id = journal::finished(&home.state(), Outcome::Succeeded);
    dashboard.script(|call| {
        let login_page = "<html>Please log in</html>".to_owned();
        call.is("PUT", "/switches/").then_some(Answer::Text(200, "", login_page))
    });
    let agent = home.start();
    agent.wait_until_logged("report of a switch fails");
    assert!(!journal::directory(&home.state(), id).reported().exists());
    dashboard.behave();
    text_of(&journal::directory(&home.state(), id).reported());
}

#[test]
fn a_dashboard_that_answers_polls_at_once_is_not_asked_without_pause() {
    let dashboard = Dashboard::new(Speaks::V2);
    dashboard.script(|call| {
        call.is("GET", "/poll").then(|| Answer::Json(200, json!({"command": null})))
    });
    let home = Home::new(&dashboard.url(), SUCCEEDS);
    let _agent = home.start();
    let began = dashboard.first("GET", "/poll").at;
    let polls = eventually("three polls", || {
        Some(dashboard.calls("GET", "/poll")).filter(|polls| polls.len() >= 3)
    });
    assert!(polls[2].at - began >= Duration::from_millis(1900));
}

#[test]
fn retry_after_is_honoured() {
    let dashboard = Dashboard::new(Speaks::V1);
    dashboard.script(|_| Some(Answer::Text(429, "Retry-After: 4\r\n", "{}".to_owned())));
    let home = Home::new(&dashboard.url(), SUCCEEDS);
    let began = Instant::now();
    let _agent = home.start();
    let first = dashboard.first("POST", "/register").at;
    assert!(first - began < Duration::from_secs(3), "the first call is never delayed");
    let second =
        eventually("a second call", || dashboard.calls("POST", "/register").get(1).cloned());
    assert!(second.at - first >= Duration::from_millis(3900), "{:?}", second.at - first);
}

#[test]
fn a_token_of_the_host_s_own_is_stored_and_used_also_after_a_restart() {
    let dashboard = Dashboard::new(Speaks::V1);
    dashboard.script(|call| {
        (call.token == SHARED_TOKEN).then(|| {
            Answer::Json(
                200,
                json!({"status": "registered", "host_id": "host", "command": null,
                "agent_token": "own-token-1"}),
            )
        })
    });
    let home = Home::new(&dashboard.url(), SUCCEEDS);
    let agent = home.start();
    dashboard.call("POST", "/register", |call| call.token == "own-token-1");
    let stored = home.state().join("token");
    assert_eq!(fs::read_to_string(&stored).unwrap(), "own-token-1\n");
    assert_eq!(fs::metadata(&stored).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!agent.log().contains("own-token-1"));
    drop(agent);
    let before = dashboard.calls("POST", "/register").len();
    let _agent = home.start();
    let next =
        eventually("it registers", || dashboard.calls("POST", "/register").get(before).cloned());
    assert_eq!(next.token, "own-token-1");
}

#[test]
fn when_the_own_token_is_turned_away_the_shared_one_gets_a_new_one() {
    let dashboard = Dashboard::new(Speaks::V2);
    dashboard.script(|call| match call.token.as_str() {
        "own-token-2" => None,
        SHARED_TOKEN => Some(Answer::Json(
            200,
            json!({"status": "registered", "host_id": "host", "command": null,
                "agent_token": "own-token-2", "protocol": 2}),
        )),
        _ => Some(Answer::Json(401, json!({"detail": "Invalid API token"}))),
    });
    let home = Home::new(&dashboard.url(), SUCCEEDS);
    let id = journal::finished(&home.state(), Outcome::Succeeded);
    home.write_private(".local/state/nixfleet/token", "own-token-1\n");
    let _agent = home.start();
    let calls = dashboard.call("POST", "/register", |call| call.token == SHARED_TOKEN);
    let first = dashboard.first("POST", "/register");
    assert_eq!(first.token, "own-token-1");
    assert!(calls.at - first.at < Duration::from_millis(800), "the other token is tried at once");
    let report = dashboard.first("PUT", "/switches/");
    assert_eq!(report.token, "own-token-2");
    text_of(&journal::directory(&home.state(), id).reported());
}

#[test]
fn a_dashboard_that_takes_no_token_is_not_asked_without_pause() {
    let dashboard = Dashboard::new(Speaks::V2);
    dashboard.script(|_| Some(Answer::Json(401, json!({"detail": "Invalid API token"}))));
    let home = Home::new(&dashboard.url(), SUCCEEDS);
    journal::open(&home.state());
    home.write_private(".local/state/nixfleet/token", "own-token-1\n");
    let agent = home.start();
    let calls = eventually("five calls", || {
        Some(dashboard.calls("POST", "")).filter(|calls| calls.len() >= 5)
    });
    // Two at once, one for each token; then with growing pauses of at least 1, 2 and 4 s.
    assert!(calls[4].at - calls[0].at >= Duration::from_millis(6900));
    assert!(agent.log().contains("does not take the token"), "{}", agent.log());
}

#[test]
fn a_dashboard_that_changes_its_protocol_is_followed() {
    let dashboard = Dashboard::new(Speaks::V2);
    let old = json!({"status": "registered", "host_id": "host", "command": null});
    dashboard
        .script(move |call| call.is("POST", "/register").then(|| Answer::Json(200, old.clone())));
    let home = Home::new(&dashboard.url(), SUCCEEDS);
    let first = journal::finished(&home.state(), Outcome::Succeeded);
    let _agent = home.start();
    dashboard.first("POST", "/status");
    text_of(&journal::directory(&home.state(), first).reported());
    dashboard.behave();
    dashboard.first("GET", "/poll");
    let second = journal::finished(&home.state(), Outcome::Succeeded);
    dashboard.first("PUT", &format!("/switches/{second}"));
}
