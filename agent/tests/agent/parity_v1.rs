//! What a v1 dashboard knows of us: the conversation with a real one, played again, and what it refuses.
//!
//! Both files come from the run of `tests/v1/real-dashboard`: `v1/conversation.json` is written by it, `v1/limits.json` is
//! tried against the dashboard by it.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is a failure with its place")]

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fs,
    sync::{Arc, Mutex},
};

use crate::support::{
    agent::{Home, SHARED_TOKEN},
    dashboard::{Answer, Call, Dashboard, Speaks},
    eventually,
};
use nixfleet_protocol::wire::v1::{Register, Status, TestProgress};
use serde::Deserialize;
use serde_json::{Value, json};

/// What the agent has said to the real dashboard, and what that has answered.
#[derive(Debug, Clone, Deserialize)]
struct Exchange {
    method: String,
    path: String,
    /// `shared` or `host`.
    token: String,
    said: Value,
    status: u16,
    answer: Value,
}

impl Exchange {
    fn endpoint(&self) -> &str {
        endpoint(&self.path)
    }

    fn command(&self) -> Option<&str> {
        self.answer["command"].as_str()
    }
}

/// What a field takes, at its limits, and what it refuses. `{"times": 3, "of": "x"}` stands for `xxx`.
#[derive(Debug, Deserialize)]
struct Limit {
    endpoint: String,
    field: String,
    taken: Vec<Value>,
    refused: Vec<Value>,
}

fn conversation() -> Vec<Exchange> {
    serde_json::from_str(include_str!("v1/conversation.json")).unwrap()
}

fn limits() -> Vec<Limit> {
    serde_json::from_str(include_str!("v1/limits.json")).unwrap()
}

fn endpoint(path: &str) -> &str {
    path.rsplit('/').next().unwrap()
}

/// Reads a body as our own type of the endpoint, and writes it again. `None` if the type has no place for it.
fn as_ours(endpoint: &str, body: &Value) -> Option<Value> {
    let body = body.clone();
    let ours = match endpoint {
        "register" => serde_json::to_value(serde_json::from_value::<Register>(body).ok()?),
        "status" => serde_json::to_value(serde_json::from_value::<Status>(body).ok()?),
        "test-progress" => serde_json::to_value(serde_json::from_value::<TestProgress>(body).ok()?),
        other => unreachable!("{other}"),
    };
    Some(ours.unwrap())
}

/// A whole body of the endpoint with this value in it.
fn body(endpoint: &str, field: &str, value: &Value) -> Value {
    let mut body = match endpoint {
        "register" => json!({ "hostname": "a", "host_type": "macos", "device_type": "server" }),
        "status" => json!({ "status": "ok" }),
        _ => json!({ "current": 0, "total": 0, "passed": 0, "running": true }),
    };
    body[field] = match (value["times"].as_u64(), value["of"].as_str()) {
        (Some(times), Some(of)) => of.repeat(times.try_into().unwrap()).into(),
        _ => value.clone(),
    };
    body
}

#[test]
fn no_message_of_ours_is_one_that_the_dashboard_refuses() {
    let mut differences = Vec::new();
    for limit in limits() {
        for value in &limit.taken {
            if as_ours(&limit.endpoint, &body(&limit.endpoint, &limit.field, value)).is_none() {
                differences.push(format!("{} {}: {value} is taken", limit.endpoint, limit.field));
            }
        }
        for value in &limit.refused {
            if as_ours(&limit.endpoint, &body(&limit.endpoint, &limit.field, value)).is_some() {
                differences.push(format!("{} {}: {value} is refused", limit.endpoint, limit.field));
            }
        }
    }
    assert!(differences.is_empty(), "{differences:#?}");
}

#[test]
fn the_recorded_messages_are_ours() {
    for exchange in conversation() {
        assert_eq!((exchange.method.as_str(), exchange.status), ("POST", 200));
        let ours = as_ours(exchange.endpoint(), &exchange.said).unwrap();
        for (field, value) in exchange.said.as_object().unwrap() {
            assert_eq!(&ours[field], value, "{} {field}", exchange.path);
        }
    }
}

/// Ends as the next line of `$state/endings` says, and runs the host's tests where that is what was asked for.
const AS_RECORDED: &str = r#"
count=$(grep -c '^run ' "$state/wrapper-calls")
set -- $(sed -n "${count}p" "$state/endings")
operation=$(sed -n 's/.*"operation": *"\([a-z-]*\)".*/\1/p' "$dir/request.json")
if [ "$operation" = test ]; then
    put "$dir/progress.json" <<END
{"format":1,"id":"$id","step":"test","tests":{"total":3,"current":2,"passed":1,"failed":[],"is_over":false}}
END
    until [ -e "$state/tests-are-told" ] || [ ! -d "$state" ]; do sleep 0.05; done
    put "$dir/progress.json" <<END
{"format":1,"id":"$id","step":"test","tests":{"total":3,"current":3,"passed":2,"failed":["T03-ill"],"is_over":true}}
END
    steps='{"step":"test","tests":{"total":3,"current":3,"passed":2,"failed":["T03-ill"],"is_over":true}}'
fi
put "$dir/result.json" <<END
{"format":1,"id":"$id","outcome":"$1","exit_code":$2,"signal":null,"started_at":"$(now)","finished_at":"$(now)",
"duration_ms":1200,"operation":"${operation:-switch}","argv":[],"initiator":"agent","generation_before":null,"generation_after":null,
"activation":"complete","output_bytes":0,"output_tail":"the end","wrapper_version":"fake","host":"host","steps":${steps:-null}}
END
reload healthy"#;

/// The dashboard's side of the conversation. It gives the next command when the one before is closed, as the operator did.
#[derive(Debug)]
struct Replay {
    /// First the answer that brings the token, then those that bring commands.
    registrations: VecDeque<Value>,
    /// The answer to a heartbeat that brings nothing.
    idle: Value,
    updated: Value,
    has_open_command: bool,
}

impl Replay {
    fn of(conversation: &[Exchange]) -> Self {
        let answers = |fits: fn(&Exchange) -> bool| {
            conversation.iter().filter(move |exchange| fits(exchange)).map(|one| one.answer.clone())
        };
        let mut registrations: VecDeque<_> = answers(|one| one.command().is_some()).collect();
        registrations.push_front(conversation[0].answer.clone());
        Self {
            registrations,
            idle: conversation.last().unwrap().answer.clone(),
            updated: answers(|one| one.endpoint() == "status").next().unwrap(),
            has_open_command: false,
        }
    }

    fn answer(&mut self, call: &Call) -> Answer {
        let answer = match endpoint(&call.path) {
            "register" if self.has_open_command => self.idle.clone(),
            "register" => self.registrations.pop_front().unwrap_or_else(|| self.idle.clone()),
            "status" => {
                self.has_open_command = false;
                self.updated.clone()
            }
            "test-progress" => self.updated.clone(),
            _ => return Answer::Json(404, json!({ "detail": "Not Found" })),
        };
        self.has_open_command |= answer["command"].is_string();
        Answer::Json(200, answer)
    }
}

#[test]
fn the_recorded_conversation_is_held_again() {
    let conversation = conversation();
    let results: Vec<_> =
        conversation.iter().filter(|exchange| exchange.endpoint() == "status").collect();
    let dashboard = Dashboard::new(Speaks::V1);
    let replay = Arc::new(Mutex::new(Replay::of(&conversation)));
    dashboard.script(move |call| Some(replay.lock().unwrap().answer(call)));
    let home = Home::new(&dashboard.url(), AS_RECORDED);
    fs::create_dir_all(home.state()).unwrap();
    let endings = results.iter().map(|result| match result.said["status"].as_str() {
        Some("ok") => "succeeded 0\n",
        _ => "failed 1\n",
    });
    fs::write(home.state().join("endings"), endings.collect::<String>()).unwrap();

    let mut agent = home.start();
    dashboard.first("POST", "/test-progress");
    fs::write(home.state().join("tests-are-told"), "").unwrap();
    assert!(agent.wait().success(), "the last command was to restart");
    let before = dashboard.calls("POST", "/register").len();
    let _next = home.start();
    let registrations = eventually("the next agent's heartbeats", || {
        let calls = dashboard.calls("POST", "/register");
        (calls.len() >= before + 2).then_some(calls)
    });

    let told = dashboard.calls("POST", "/status");
    let words = |status: &Value, comment: &Value| {
        let title = comment.as_str().unwrap().split([':', '.']).next().unwrap().to_owned();
        (status.as_str().unwrap().to_owned(), title)
    };
    let told: Vec<_> =
        told.iter().map(|call| words(&call.body["status"], &call.body["comment"])).collect();
    let recorded: Vec<_> =
        results.iter().map(|one| words(&one.said["status"], &one.said["comment"])).collect();
    assert_eq!(told, recorded);
    assert_eq!(registrations[0].token, SHARED_TOKEN);
    let own = conversation[0].answer["agent_token"].as_str().unwrap();
    assert!(
        registrations[1..].iter().all(|call| call.token == own),
        "its own, after a restart too"
    );
    assert_eq!(conversation[0].token, "shared");
    assert!(conversation[1..].iter().all(|exchange| exchange.token == "host"));

    for method in ["GET", "PUT"] {
        assert!(
            dashboard.calls(method, "/").is_empty(),
            "a v1 dashboard is told nothing by {method}"
        );
    }
    every_call_looks_as_recorded(&dashboard.calls("POST", "/"), &conversation);
}

/// The type of a value, so far as the dashboard tells types apart.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Each endpoint gets the fields that were recorded and none that the dashboard does not know, of the recorded types.
fn every_call_looks_as_recorded(calls: &[Call], conversation: &[Exchange]) {
    // A v1 dashboard passes over what it does not know.
    let is_our_own = |field: &str| field == "protocol";
    let limits = limits();
    let mut recorded: BTreeMap<&str, BTreeMap<&str, BTreeSet<&str>>> = BTreeMap::new();
    for exchange in conversation {
        let fields = recorded.entry(exchange.endpoint()).or_default();
        for (field, value) in exchange.said.as_object().unwrap() {
            fields.entry(field).or_default().insert(kind(value));
        }
    }
    let mut seen = BTreeSet::new();
    for call in calls {
        let endpoint = endpoint(&call.path);
        seen.insert(endpoint);
        let body = call.body.as_object().unwrap();
        let fields = &recorded[endpoint];
        for (field, value) in body {
            let has_limits = |limit: &Limit| limit.endpoint == endpoint && limit.field == *field;
            let is_known = limits.iter().any(has_limits) || is_our_own(field);
            assert!(is_known, "{endpoint} {field}");
            let is_as_recorded = fields.get(field.as_str()).is_none_or(|kinds| {
                value.is_null()
                    || kinds.contains(kind(value))
                    || kinds.iter().all(|kind| *kind == "null")
            });
            assert!(is_as_recorded, "{endpoint} {field}: {value}");
        }
        let like_this = conversation.iter().filter(|exchange| exchange.endpoint() == endpoint);
        let is_always_there =
            |field: &&&str| like_this.clone().all(|exchange| exchange.said.get(**field).is_some());
        for field in fields.keys().filter(is_always_there) {
            assert!(body.contains_key(*field), "{endpoint} lacks {field}: {}", call.body);
        }
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["register", "status", "test-progress"]);
}
