//! What somebody at the machine may ask: how the agent is, and to have everything told at once.

use std::{
    fs,
    process::Output,
    time::{Duration, Instant},
};

use crate::support::{
    agent::{Home, SHARED_TOKEN},
    dashboard::{Answer, Dashboard, Speaks},
    eventually, journal,
    sleeper::Sleeper,
    wrapper::SUCCEEDS,
};
use nixfleet_protocol::journal::{
    lock::Lock,
    records::{Initiator, Outcome},
};
use rustix::process::Signal;
use serde_json::{Value, json};

/// What `status --json` says. It is the same as for people, and no token is in either.
#[track_caller]
#[expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]
fn status(home: &Home) -> (Value, Vec<String>) {
    let ended = home.run(&["status", "--json"]);
    let text = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert!(!text.contains(SHARED_TOKEN), "{text}");
    let said: Value = serde_json::from_str(&text).unwrap();
    let attention = said["attention"].as_array().unwrap();
    let ids = attention.iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ended.status.code(), Some(i32::from(!attention.is_empty())), "{text}");
    (said, ids)
}

fn text(ended: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr))
}

#[test]
fn all_is_well_until_the_agent_is_gone() {
    let dashboard = Dashboard::new(Speaks::V2);
    let home = Home::new(&dashboard.url(), SUCCEEDS);
    let (said, attention) = status(&home);
    assert_eq!((&said["running"], &said["agent"]), (&json!(false), &Value::Null));
    assert_eq!(attention, ["agent-not-running"]);
    assert!(!home.state().exists(), "status changes nothing");

    let mut agent = home.start();
    let said = eventually("all is well", || {
        let (said, attention) = status(&home);
        (attention.is_empty() && said["dashboard"]["protocol"] == 2).then_some(said)
    });
    assert_eq!(said["agent"]["pid"], agent.pid());
    assert_eq!(said["dashboard"]["host"], "host");
    assert!(said["dashboard"]["url"].as_str().unwrap().starts_with(&dashboard.url()));
    for key in ["last_heartbeat_at", "next_try_at"] {
        assert!(said["dashboard"][key].is_string(), "{said:#}");
    }
    let token = &said["token"];
    assert!(token["place"].as_str().unwrap().contains("/token"), "{token}");
    assert_eq!(token["named_by"], "environment variable NIXFLEET_TOKEN_FILE");
    assert_eq!((&said["work"], &said["waiting"]["results"]), (&Value::Null, &json!([])));
    let shown = text(&home.run(&["status"]));
    for part in ["running since", &agent.pid().to_string(), "protocol 2", "nothing", "token"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(!shown.contains(SHARED_TOKEN) && !shown.contains("ATTENTION"), "{shown}");

    agent.signal(Signal::KILL);
    agent.wait();
    let (said, attention) = status(&home);
    assert_eq!((&said["running"], &said["agent"]["pid"]), (&json!(false), &json!(agent.pid())));
    assert_eq!(attention, ["agent-not-running"]);
    let ended = home.run(&["status"]);
    assert_eq!(ended.status.code(), Some(1));
    assert!(text(&ended).contains("nixfleet-switch ensure-agent"), "{}", text(&ended));
}

#[test]
fn what_fails_is_said_and_no_secret_that_came_back_with_it() {
    let dashboard = Dashboard::new(Speaks::V2);
    dashboard.script(|call| Some(Answer::Text(401, "", format!("who is {}?", call.token))));
    let home = Home::new(&dashboard.url(), SUCCEEDS);
    let _agent = home.start();
    let said = eventually("the token is refused", || {
        let (said, attention) = status(&home);
        (attention == ["token-rejected"]).then_some(said)
    });
    let failing = &said["dashboard"]["failing"];
    assert_eq!((&failing["call"], &failing["http_status"]), (&json!("heartbeat"), &json!(401)));
    assert!(failing["why"].as_str().unwrap().contains("token_file"), "{failing}");
    assert!(said["dashboard"]["next_try_at"].is_string());
}

#[test]
fn what_is_at_work_and_what_waits_is_said() {
    let dashboard = Dashboard::new(Speaks::V1);
    dashboard.script(|call| {
        call.is("POST", "/status").then(|| Answer::Text(503, "", "not now".to_owned()))
    });
    let home = Home::new(&dashboard.url(), SUCCEEDS);
    let state = home.state();
    let waits = journal::finished(&state, Outcome::Succeeded);
    journal::heal(&state);
    let id = journal::accept(&state, Initiator::User, 5);
    let child = Sleeper::start();
    let wrapper = nixfleet_protocol::process::ProcessIdentity::current().unwrap();
    journal::start(&state, id, child.identity(), wrapper);
    let _lock = journal::hold_lock(&state, id);
    let _agent = home.start();
    dashboard.first("POST", "/register");
    let (said, _) = status(&home);
    assert_eq!(said["work"]["id"], id.to_string());
    assert_eq!(
        (&said["work"]["operation"], &said["work"]["phase"]),
        (&json!("switch"), &json!("running"))
    );
    assert_eq!(said["work"]["initiator"], "user");
    assert_eq!(said["waiting"]["results"], json!([waits.to_string()]));
    assert_eq!(said["waiting"]["healings"], 1);
    let shown = text(&home.run(&["status"]));
    assert!(shown.contains("switch is running") && shown.contains("results: 1"), "{shown}");
}

#[test]
fn a_configuration_that_makes_no_sense_is_said_where_it_can_be() {
    let home = Home::new("http://127.0.0.1:1", SUCCEEDS).with("NIXFLEET_INTERVAL", "never");
    let (said, attention) = status(&home);
    assert_eq!(attention, ["config-wrong", "agent-not-running"]);
    assert!(said["config"]["errors"][0].as_str().unwrap().contains("interval"), "{said}");

    let path = home.write_private("config.toml", "not toml");
    let home = home.with("NIXFLEET_CONFIG", path.to_str().unwrap());
    for verb in ["status", "report-now"] {
        let ended = home.run(&[verb]);
        assert_eq!(ended.status.code(), Some(78));
        assert!(text(&ended).contains("config.toml"), "{}", text(&ended));
    }
    let home = home.without("NIXFLEET_CONFIG").with("NIXFLEET_STATE_DIR", "relative");
    assert_eq!(home.run(&["status"]).status.code(), Some(74));
}

#[test]
fn report_now_ends_every_wait() {
    let dashboard = Dashboard::new(Speaks::V1);
    dashboard.script(|call| {
        let later = "Retry-After: 3600\r\n";
        (call.method == "POST").then(|| Answer::Text(503, later, "later".to_owned()))
    });
    let home = Home::new(&dashboard.url(), SUCCEEDS).with("NIXFLEET_INTERVAL", "3600");
    let result = journal::finished(&home.state(), Outcome::Succeeded);
    let agent = home.start();
    eventually("it has failed", || {
        agent.record()?.dashboard.filter(|contact| contact.failing_since.is_some())
    });

    // In vain, and said at once.
    let began = Instant::now();
    let ended = home.run(&["report-now"]);
    assert_eq!(ended.status.code(), Some(1));
    assert!(text(&ended).contains("503"), "{}", text(&ended));
    assert!(began.elapsed() < Duration::from_secs(20));

    dashboard.behave();
    let ended = home.run(&["report-now"]);
    assert_eq!(ended.status.code(), Some(0), "{}", text(&ended));
    assert!(text(&ended).contains("has a heartbeat"), "{}", text(&ended));
    dashboard.first("POST", "/status");
    let reported = journal::directory(&home.state(), result).reported();
    crate::support::agent::text_of(&reported);

    // Once more where nothing was wrong, and where nobody is.
    let beats = dashboard.calls("POST", "/register").len();
    assert!(home.run(&["report-now"]).status.success());
    assert_eq!(dashboard.calls("POST", "/register").len(), beats + 1);
    assert!(text(&home.run(&["report-now"])).contains("no result waits"));
    drop(agent);
    let ended = home.run(&["report-now"]);
    assert_eq!(ended.status.code(), Some(1));
    assert!(text(&ended).contains("ensure-agent"), "{}", text(&ended));
}

#[test]
fn another_process_with_the_agent_s_pid_is_not_asked() {
    let home = Home::new("http://127.0.0.1:1", SUCCEEDS);
    let mut agent = home.start();
    agent.wait_until_up();
    agent.signal(Signal::KILL);
    agent.wait();
    // The lock is held, as by a child that the agent has left behind, and the pid is another's by now.
    let directory = journal::open(&home.state()).directory().clone();
    let _lock = Lock::take(&directory.agent_lock()).unwrap();
    let mut sleeper = Sleeper::start();
    let text_then = fs::read_to_string(directory.agent_record()).unwrap();
    let mut record: Value = serde_json::from_str(&text_then).unwrap();
    record["process"]["pid"] = json!(sleeper.pid());
    record["process"]["start"] = json!("long ago");
    fs::write(directory.agent_record(), record.to_string()).unwrap();
    let ended = home.run(&["report-now"]);
    assert_eq!(ended.status.code(), Some(1));
    assert!(text(&ended).contains("no agent runs"), "{}", text(&ended));
    assert!(sleeper.is_running(), "SIGUSR1 would have ended it");
}
