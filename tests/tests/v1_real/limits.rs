//! That `agent/tests/agent/v1/limits.json` is true: the agent's tests hold its messages to what stands there.

use reqwest::{Client, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Real;

/// What a field takes, at its limits, and what it refuses. `{"times": 3, "of": "x"}` stands for `xxx`.
#[derive(Deserialize)]
struct Limit {
    endpoint: String,
    field: String,
    taken: Vec<Value>,
    refused: Vec<Value>,
}

const LIMITS: &str = include_str!("../../../agent/tests/agent/v1/limits.json");

/// The smallest body that the endpoint takes, with this value in it.
fn body(endpoint: &str, field: &str, value: &Value) -> Value {
    let mut body = match endpoint {
        "register" => json!({ "hostname": "limits", "host_type": "macos" }),
        "status" => json!({ "status": "ok" }),
        _ => json!({ "current": 0, "total": 0 }),
    };
    body[field] = match (value["times"].as_u64(), value["of"].as_str()) {
        (Some(times), Some(of)) => of.repeat(times.try_into().unwrap()).into(),
        _ => value.clone(),
    };
    body
}

#[tokio::test]
async fn each_field_takes_and_refuses_what_the_table_says() {
    let Some(real) = Real::there() else { return };
    let client = Client::builder().no_proxy().build().unwrap();
    let limits: Vec<Limit> = serde_json::from_str(LIMITS).unwrap();
    let mut differences = Vec::new();
    for (index, limit) in limits.iter().enumerate() {
        // It takes 30 calls a minute of each host.
        let url = format!("{}/api/hosts/limits{index}/{}", real.url, limit.endpoint);
        let taken = limit.taken.iter().map(|value| (value, StatusCode::OK));
        let refused = limit.refused.iter().map(|value| (value, StatusCode::UNPROCESSABLE_ENTITY));
        for (value, expected) in taken.chain(refused) {
            let body = body(&limit.endpoint, &limit.field, value);
            let answer = client.post(&url).bearer_auth(&real.token).json(&body).send().await;
            let status = answer.unwrap().status();
            if status != expected {
                differences.push(format!("{} {}: {value}: {status}", limit.endpoint, limit.field));
            }
        }
    }
    assert!(differences.is_empty(), "{differences:#?}");
}
