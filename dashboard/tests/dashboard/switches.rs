//! Switches: their reports, their results, their output.

use nixfleet_protocol::{
    journal::records::{AgentVerdict, Outcome, SwitchId},
    wire::v2::{MAX_OUTPUT_CHUNK_BYTES, SwitchState},
};
use serde_json::{Value, json};

use crate::stage::{
    Dashboard, Reply,
    reports::{finished, reload, result, running},
};

fn started() -> Dashboard {
    let dashboard = Dashboard::start();
    dashboard.register_v2("mac");
    dashboard
}

fn seen(dashboard: &Dashboard, id: SwitchId) -> Value {
    dashboard.see(&format!("/api/hosts/mac/switches/{id}"))
}

fn send_output(dashboard: &Dashboard, id: SwitchId, offset: u64, piece: &[u8]) -> Reply {
    let path = format!("/api/hosts/mac/switches/{id}/output?offset={offset}");
    dashboard.agent("POST", &path).body(piece).send()
}

fn output(dashboard: &Dashboard, id: SwitchId, query: &str) -> Reply {
    dashboard.operator("GET", &format!("/api/hosts/mac/switches/{id}/output{query}")).send()
}

#[test]
fn a_switch_goes_its_way_and_closes_its_command() {
    let dashboard = started();
    let command = dashboard.queue("mac", "switch");
    let id = SwitchId::generate();
    let recorded = r#"{"status":"recorded","output_offset":0}"#;
    let report = |state| dashboard.report("mac", id, Some(&command), state);
    assert_eq!(report(SwitchState::Accepted).text(), recorded);
    assert_eq!(dashboard.commands("mac")[0]["status"], "acknowledged", "the agent has it");
    assert_eq!(report(running()).text(), recorded);
    assert_eq!(seen(&dashboard, id)["state"], "running");
    let end = result(id, Outcome::Failed, Some(1));
    assert_eq!(report(finished(end.clone(), None)).text(), recorded);
    let switch = seen(&dashboard, id);
    assert_eq!((&switch["state"], &switch["outcome"]), (&json!("finished"), &json!("failed")));
    assert_eq!(switch["result"], serde_json::to_value(&end).unwrap());
    assert_eq!(switch["command_id"], json!(command));
    let closed = dashboard.commands("mac").remove(0);
    assert_eq!((&closed["status"], &closed["output"]), (&json!("failed"), &json!("the end")));
    assert_eq!(closed["switch_id"], json!(id.to_string()));
    assert_eq!(dashboard.see("/api/hosts/mac")["status"], "error");
}

#[test]
fn a_finished_switch_is_final_but_for_its_reload() {
    let dashboard = started();
    let command = dashboard.queue("mac", "switch");
    let id = SwitchId::generate();
    let report = |state| {
        let reply = dashboard.report("mac", id, Some(&command), state);
        assert_eq!(reply.status, 200, "{}", reply.text());
        seen(&dashboard, id)
    };
    let good = || result(id, Outcome::Succeeded, Some(0));
    let bad = || result(id, Outcome::Failed, Some(1));
    let first = report(finished(good(), None));
    assert_eq!(report(finished(good(), None)), first, "again is the same as once");
    assert_eq!(report(finished(bad(), None)), first);
    assert_eq!(report(running()), first);
    assert_eq!(report(SwitchState::Accepted), first);
    let with_reload = report(finished(bad(), Some(reload(AgentVerdict::Back))));
    assert_eq!(with_reload["reload"]["verdict"], "back");
    assert_eq!((&with_reload["outcome"], &first["reload"]), (&json!("succeeded"), &Value::Null));
    let later = report(finished(good(), Some(reload(AgentVerdict::NotBack))));
    assert_eq!(later["reload"]["verdict"], "back", "the first one counts");
    assert_eq!(dashboard.commands("mac")[0]["status"], "succeeded");
}

#[test]
fn switches_of_users_and_of_other_dashboards_are_recorded_too() {
    let dashboard = started();
    let mine = dashboard.queue("mac", "switch");
    let (first, second) = (SwitchId::generate(), SwitchId::generate());
    let end = |id| finished(result(id, Outcome::Succeeded, Some(0)), None);
    assert_eq!(dashboard.report("mac", first, None, end(first)).status, 200);
    assert_eq!(dashboard.report("mac", second, Some("not-from-here"), end(second)).status, 200);
    let listed = dashboard.see("/api/hosts/mac/switches")["switches"].clone();
    let ids: Vec<&str> =
        listed.as_array().unwrap().iter().map(|switch| switch["id"].as_str().unwrap()).collect();
    assert_eq!(ids, [second.to_string(), first.to_string()], "newest first");
    assert_eq!(listed[1]["initiator"], "user");
    let limited = dashboard.see("/api/hosts/mac/switches?limit=1");
    assert_eq!(limited["switches"].as_array().unwrap().len(), 1);
    let command = dashboard.commands("mac").remove(0);
    assert_eq!((&command["id"], &command["status"]), (&json!(mine), &json!("queued")));
}

#[test]
fn reports_that_make_no_sense_are_refused() {
    let dashboard = started();
    let (id, other) = (SwitchId::generate(), SwitchId::generate());
    let put = |path: &str, body: &str| dashboard.agent("PUT", path).json(body).send().status;
    let path = format!("/api/hosts/mac/switches/{id}");
    let report = |id: SwitchId| json!({ "id": id, "initiator": "user", "requested_at": "2026-11-23T02:00:00Z", "state": "accepted" });
    let lie = finished(result(id, Outcome::Succeeded, Some(1)), None);
    assert_eq!(dashboard.report("mac", id, None, lie).status, 422);
    let stranger = finished(result(other, Outcome::Succeeded, Some(0)), None);
    assert_eq!(dashboard.report("mac", id, None, stranger).status, 422);
    assert_eq!(put(&path, &report(other).to_string()), 422);
    for body in ["", "{", "[]", "null", "\u{0}", r#"{"id":1}"#] {
        assert_eq!(put(&path, body), 422, "{body:?}");
    }
    let trailing = format!("{} x", report(id));
    assert_eq!(put(&path, &trailing), 422);
    assert_eq!(put("/api/hosts/mac/switches/not-an-id", &report(id).to_string()), 404);
    let nowhere = format!("/api/hosts/unknown/switches/{id}");
    assert_eq!(put(&nowhere, &report(id).to_string()), 404);
    assert_eq!(put(&path, &" ".repeat(2 * 1024 * 1024)), 413);
    assert_eq!(dashboard.see("/api/hosts/mac/switches"), json!({ "switches": [] }));
    assert_eq!(put(&path, &report(id).to_string()), 200);
}

#[test]
fn output_grows_without_gap_or_repetition() {
    let dashboard = started();
    let id = SwitchId::generate();
    assert_eq!(send_output(&dashboard, id, 0, b"x").status, 404, "it has to be reported first");
    dashboard.report("mac", id, None, running());
    for (offset, piece, status, end) in [
        (0, &b"hello "[..], 200, 6),
        (0, b"hello ", 200, 6),
        (3, b"lo wor", 200, 9),
        (20, b"too far", 409, 9),
        (9, b"", 200, 9),
        (9, b"ld\n\xff\x00", 200, 14),
        (0, b"HELLO", 200, 14),
    ] {
        let reply = send_output(&dashboard, id, offset, piece);
        let expected = format!(r#"{{"output_offset":{end}}}"#);
        assert_eq!((reply.status, reply.text()), (status, expected.as_str()), "{offset} {piece:?}");
    }
    let whole = output(&dashboard, id, "");
    assert_eq!(whole.body, b"hello world\n\xff\x00");
    assert_eq!(whole.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(whole.header("x-output-truncated"), Some("false"));
    assert_eq!(output(&dashboard, id, "?offset=6").body, b"world\n\xff\x00");
    assert_eq!(output(&dashboard, id, "?offset=14").body, b"");
    assert_eq!(output(&dashboard, id, "?offset=99").body, b"");
    assert_eq!(output(&dashboard, id, "?offset=-1").status, 422);
    let again = dashboard.report("mac", id, None, running());
    assert_eq!(again.text(), r#"{"status":"recorded","output_offset":14}"#);
    assert_eq!(
        seen(&dashboard, id)["output"],
        json!({"bytes": 14, "kept": 14, "truncated": false})
    );
}

#[test]
fn bad_pieces_of_output_are_refused() {
    let dashboard = started();
    let id = SwitchId::generate();
    dashboard.report("mac", id, None, running());
    let largest = vec![b'x'; MAX_OUTPUT_CHUNK_BYTES];
    assert_eq!(send_output(&dashboard, id, 0, &largest).status, 200);
    let mut larger = largest.clone();
    larger.push(b'x');
    assert_eq!(send_output(&dashboard, id, 0, &larger).status, 413);
    let path = format!("/api/hosts/mac/switches/{id}/output");
    assert_eq!(dashboard.agent("POST", &path).body(b"x").send().status, 422, "no offset");
    assert_eq!(output(&dashboard, id, "").body, largest);
    assert_eq!(output(&dashboard, SwitchId::generate(), "").status, 404);
}

#[test]
fn output_beyond_the_limit_is_counted_and_not_kept() {
    const KEPT: u64 = 64 * 1024 * 1024;
    let dashboard = started();
    let id = SwitchId::generate();
    dashboard.report("mac", id, None, running());
    let piece = vec![b'x'; MAX_OUTPUT_CHUNK_BYTES];
    let step = piece.len() as u64;
    let mut offset = 0;
    while offset <= KEPT {
        let reply = send_output(&dashboard, id, offset, &piece);
        offset += step;
        assert_eq!(reply.text(), format!(r#"{{"output_offset":{offset}}}"#));
    }
    let shown = seen(&dashboard, id)["output"].clone();
    assert_eq!(shown, json!({ "bytes": KEPT + step, "kept": KEPT, "truncated": true }));
    let whole = output(&dashboard, id, "");
    assert_eq!(whole.body.len() as u64, KEPT);
    assert_eq!(whole.header("x-output-truncated"), Some("true"));
}

#[test]
fn what_was_answered_outlives_a_kill() {
    let mut dashboard = started();
    let command = dashboard.queue("mac", "switch");
    let id = SwitchId::generate();
    dashboard.report("mac", id, Some(&command), running());
    assert_eq!(send_output(&dashboard, id, 0, b"before").status, 200);
    dashboard.kill();
    dashboard.go_up();
    let next = send_output(&dashboard, id, 6, b" and after");
    assert_eq!(next.text(), r#"{"output_offset":16}"#);
    let end = finished(result(id, Outcome::Succeeded, Some(0)), Some(reload(AgentVerdict::Back)));
    assert_eq!(dashboard.report("mac", id, Some(&command), end).status, 200);
    dashboard.kill();
    dashboard.go_up();
    let switch = seen(&dashboard, id);
    assert_eq!(
        (&switch["outcome"], &switch["reload"]["verdict"]),
        (&json!("succeeded"), &json!("back"))
    );
    assert_eq!(output(&dashboard, id, "").body, b"before and after");
    assert_eq!(dashboard.commands("mac")[0]["status"], "succeeded");
}

#[test]
fn only_the_newest_switches_are_kept() {
    let dashboard = started();
    let ids: Vec<SwitchId> = (0..502).map(|_| SwitchId::generate()).collect();
    for id in &ids {
        assert_eq!(dashboard.report("mac", *id, None, running()).status, 200);
    }
    let listed = dashboard.see("/api/hosts/mac/switches?limit=2000");
    assert_eq!(listed["switches"].as_array().unwrap().len(), 500);
    let oldest = format!("/api/hosts/mac/switches/{}", ids[1]);
    assert_eq!(dashboard.operator("GET", &oldest).send().status, 404);
    seen(&dashboard, ids[2]);
}
