//! What happens to a laptop: other networks, sleep, a dashboard that is down for a while.

use std::{
    net::TcpListener,
    thread,
    time::{Duration, Instant},
};

use crate::support::{
    agent::{Agent, Home, text_of},
    dashboard::{Answer, Dashboard, Speaks},
    eventually, journal,
    relay::Relay,
    wrapper::SUCCEEDS,
};
use nixfleet_protocol::journal::records::{DashboardContact, Outcome};
use rustix::process::Signal;

fn contact(agent: &Agent) -> Option<DashboardContact> {
    agent.record()?.dashboard
}

#[track_caller]
fn wait_until_well(agent: &Agent) {
    eventually("it gets on with the dashboard", || {
        let contact = contact(agent)?;
        (contact.protocol.is_some() && contact.failing_since.is_none()).then_some(())
    });
}

#[track_caller]
fn failure(agent: &Agent) -> String {
    eventually("it says what is wrong", || contact(agent)?.failure)
}

#[test]
fn a_dashboard_that_comes_up_late_is_found() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let home = Home::new(&format!("http://{address}"), SUCCEEDS);
    let id = journal::finished(&home.state(), Outcome::Succeeded);
    let agent = home.start();
    assert!(failure(&agent).contains("Connection refused"), "{}", failure(&agent));
    let dashboard = Dashboard::on(TcpListener::bind(address).unwrap(), Speaks::V2);
    text_of(&journal::directory(&home.state(), id).reported());
    wait_until_well(&agent);
    drop(dashboard);
}

#[test]
fn connections_that_end_are_made_anew_at_once() {
    let dashboard = Dashboard::new(Speaks::V2);
    let relay = Relay::new(dashboard.address());
    let home = Home::new(&relay.url(), SUCCEEDS);
    let agent = home.start();
    wait_until_well(&agent);
    dashboard.first("GET", "/poll");
    for number in 0..3 {
        relay.cut();
        dashboard.queue(&format!("c-{number}"), "no-such-verb");
        dashboard.first("PUT", &format!("/commands/c-{number}/answer"));
    }
    wait_until_well(&agent);
}

#[test]
fn connections_that_are_dead_without_a_word_are_given_up() {
    let dashboard = Dashboard::new(Speaks::V2);
    let relay = Relay::new(dashboard.address());
    let home = Home::new(&relay.url(), SUCCEEDS);
    let agent = home.start();
    wait_until_well(&agent);
    dashboard.first("GET", "/poll");
    let began = Instant::now();
    relay.kill_silently();
    assert!(failure(&agent).contains("did not answer in time"), "{}", failure(&agent));
    dashboard.queue("c-1", "no-such-verb");
    dashboard.first("PUT", "/commands/c-1/answer");
    // One time limit, and not one for each connection that was open.
    assert!(began.elapsed() < Duration::from_secs(45), "{:?}", began.elapsed());
    wait_until_well(&agent);
    assert!(agent.log().len() < 2000, "{}", agent.log());
}

#[test]
fn an_agent_that_did_not_run_for_a_while_goes_on() {
    let dashboard = Dashboard::new(Speaks::V2);
    let relay = Relay::new(dashboard.address());
    let home = Home::new(&relay.url(), SUCCEEDS);
    let agent = home.start();
    wait_until_well(&agent);
    agent.signal(Signal::STOP);
    relay.cut();
    thread::sleep(Duration::from_secs(2));
    let calls = dashboard.calls("POST", "/register").len();
    agent.signal(Signal::CONT);
    eventually("it registers", || dashboard.calls("POST", "/register").get(calls).cloned());
    wait_until_well(&agent);
    let calls = dashboard.calls("POST", "/register").len();
    thread::sleep(Duration::from_secs(2));
    let more = dashboard.calls("POST", "/register").len() - calls;
    assert!(more <= 4, "what was missed is not made up for: {more} calls in 2 s");
}

#[test]
fn a_dashboard_that_restarts_is_waited_for() {
    let dashboard = Dashboard::new(Speaks::V2);
    let relay = Relay::new(dashboard.address());
    let home = Home::new(&relay.url(), SUCCEEDS);
    let agent = home.start();
    wait_until_well(&agent);
    // As a TLS proxy answers while there is nobody behind it.
    dashboard.script(|_| Some(Answer::Text(502, "", "Bad Gateway".to_owned())));
    relay.cut();
    eventually("it says so", || contact(&agent)?.failure.filter(|why| why.contains("status 502")));
    let id = journal::finished(&home.state(), Outcome::Succeeded);
    dashboard.behave();
    text_of(&journal::directory(&home.state(), id).reported());
    wait_until_well(&agent);
    assert!(agent.log().len() < 4000, "{}", agent.log());
}
