//! Agents that are killed or in a hurry, commands that are, tokens that are no longer good.

use std::{fs, time::Duration};

use nixfleet_tests::stage::{mac::Mac, processes, wait};
use rustix::process::Signal;

use crate::{
    Real,
    operator::{Operator, Row},
    recorder::Recorder,
};

/// Asks for a switch, and waits until home-manager builds.
fn building(mac: &Mac, operator: &Operator, host: &str, scenario: &str) -> Row {
    let runs = mac.folder.home_manager_runs();
    mac.folder.scenario(scenario).unwrap();
    let row = operator.deliver(host, "switch");
    wait::until_true("home-manager builds", wait::PATIENCE, || {
        Ok(mac.folder.home_manager_runs() > runs)
    })
    .unwrap();
    row
}

#[test]
fn the_next_agent_closes_the_row_of_a_switch_by_its_true_result() {
    const DEAD: &str = "killed";
    let Some(real) = Real::there() else { return };
    let mac = real.mac(DEAD, &real.url, "");
    let operator = Operator::log_in(&real);
    operator.wait_until_online(DEAD);
    for (scenario, status, beginning) in [
        ("BUILD_SECONDS=20", "ok", "Switch: succeeded"),
        ("BUILD_SECONDS=20\nFAIL_AT=before-bootout", "error", "Switch: failed with exit code 1"),
    ] {
        let row = building(&mac, &operator, DEAD, scenario);
        let old = mac.agent().unwrap().unwrap();
        processes::signal(old.process.pid, Signal::KILL);
        let runs = mac.folder.home_manager_runs();
        mac.wait_for_next_agent(&old).unwrap();
        // What the agent says when it comes up has been said by now.
        std::thread::sleep(Duration::from_secs(1));
        let open = operator.again(DEAD, &row);
        assert_eq!((open.status.as_str(), open.completed_at), ("running", None));
        let closed = operator.wait_until_closed(DEAD, &row);
        assert_eq!(closed.status, status, "{closed}");
        assert!(closed.output.as_deref().unwrap().starts_with(beginning), "{closed}");
        assert_eq!(mac.folder.home_manager_runs(), runs, "it was run once");
    }
    assert_eq!(operator.rows(DEAD).len(), 2);
}

#[test]
fn of_two_commands_each_has_its_own_row() {
    const BUSY: &str = "busy";
    let Some(real) = Real::there() else { return };
    let mac = real.mac(BUSY, &real.url, "");
    let operator = Operator::log_in(&real);
    operator.wait_until_online(BUSY);

    // The dashboard closes the newest open row, whatever the status is for.
    let first = building(&mac, &operator, BUSY, "BUILD_SECONDS=12");
    let second = operator.ask(BUSY, "switch");
    assert_eq!(second.status, "error", "{second}");
    assert!(second.output.as_deref().unwrap().starts_with("Switch: not started"), "{second}");
    assert_eq!(operator.again(BUSY, &first).completed_at, None, "that was not its status");
    let first = operator.wait_until_closed(BUSY, &first);
    assert_eq!(first.status, "ok", "{first}");
    assert!(first.output.as_deref().unwrap().starts_with("Switch: succeeded"), "{first}");

    // It has one place for a command: the later one takes the place of the one before.
    mac.folder.scenario("").unwrap();
    operator.queue(BUSY, "pull");
    let last = operator.ask(BUSY, "switch");
    let rows = operator.rows(BUSY);
    assert_eq!((last.command.as_str(), last.status.as_str(), rows.len()), ("switch", "ok", 3));
}

#[test]
fn a_token_that_is_taken_away_and_a_host_that_is_deleted_mend_themselves() {
    const FORGOTTEN: &str = "forgotten";
    let Some(real) = Real::there() else { return };
    let mac = real.mac(FORGOTTEN, &real.url, "");
    let operator = Operator::log_in(&real);
    operator.wait_until_online(FORGOTTEN);
    operator.rotate_token(FORGOTTEN);
    assert_eq!(operator.ask(FORGOTTEN, "switch").status, "ok", "by the token that all share");

    let token = fs::read_to_string(mac.folder.state_dir().join("token")).unwrap();
    operator.delete(FORGOTTEN);
    operator.wait_until_online(FORGOTTEN);
    assert_eq!(operator.ask(FORGOTTEN, "switch").status, "ok");
    let new_token = fs::read_to_string(mac.folder.state_dir().join("token")).unwrap();
    assert_ne!(new_token, token, "the dashboard has given it another");
}

#[test]
fn an_agent_that_asks_too_often_is_slow_and_loses_nothing() {
    const EAGER: &str = "eager";
    let Some(real) = Real::there() else { return };
    let recorder = Recorder::before(&real.url, &real.token);
    let mac = real.mac_with_interval(EAGER, &recorder.url(), 1, "");
    let operator = Operator::log_in(&real);
    operator.wait_until_online(EAGER);
    // It answers its own error to what is over 30 in a minute.
    wait::until_true("it has asked too often", wait::PATIENCE, || {
        Ok(recorder.exchanges().iter().any(|exchange| exchange.status == 500))
    })
    .unwrap();
    let row = operator.ask(EAGER, "switch");
    assert_eq!(row.status, "ok", "{row}");
    assert_eq!((operator.rows(EAGER).len(), mac.folder.home_manager_runs()), (1, 1));
}
