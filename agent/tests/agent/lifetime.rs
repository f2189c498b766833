//! Coming up, being the only one, and ending in time.

use std::{
    fs,
    net::TcpListener,
    os::unix::{fs::symlink, net::UnixDatagram},
    time::{Duration, Instant},
};

use crate::support::{
    agent::Home,
    dashboard::{Answer, Call, Dashboard, Speaks},
    eventually, journal,
    wrapper::SUCCEEDS,
};
use nixfleet_protocol::journal::lock::Lock;
use rustix::process::Signal;

const IN_TIME: Duration = Duration::from_secs(1);

#[test]
fn the_agent_says_that_it_is_up_before_any_network() {
    // Connections are accepted by the system and never answered.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let home = Home::new(&format!("http://{}", listener.local_addr().unwrap()), SUCCEEDS);
    let notify = home.folder.path().join("notify");
    let systemd = UnixDatagram::bind(&notify).unwrap();
    systemd.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let config = home.write_private("config.toml", "");
    let home = home
        .with("NOTIFY_SOCKET", notify.to_str().unwrap())
        .with("NIXFLEET_CONFIG", config.to_str().unwrap());
    let agent = home.start();
    let record = agent.wait_until_up();
    let program = fs::canonicalize(env!("CARGO_BIN_EXE_nixfleet-agent")).unwrap();
    assert_eq!(record.exe, program);
    assert_eq!(record.invoked_as.unwrap().to_str(), Some(env!("CARGO_BIN_EXE_nixfleet-agent")));
    assert_eq!(record.version, env!("CARGO_PKG_VERSION"));
    assert_eq!(record.config_path, Some(config.clone()));
    assert_eq!(record.config_digest, nixfleet_protocol::digest::of_file(&config));
    assert_eq!(record.last_heartbeat_at, None);
    let mut message = [0; 64];
    let length = systemd.recv(&mut message).unwrap();
    assert_eq!(&message[..length], b"READY=1");
}

#[test]
fn a_heartbeat_that_was_answered_is_written_down() {
    let dashboard = Dashboard::new(Speaks::V1);
    let home = Home::new(&dashboard.url(), SUCCEEDS);
    let agent = home.start();
    let first = eventually("a heartbeat", || agent.record()?.last_heartbeat_at);
    eventually("a later one", || agent.record()?.last_heartbeat_at.filter(|later| *later > first));
}

#[test]
fn sigterm_and_sigint_end_it_in_time_whatever_it_waits_for() {
    let hangs = |_: &Call| Some(Answer::Silence);
    let behaves = |_: &Call| None;
    check_ending("a hanging request", "/register", hangs);
    check_ending("a long poll", "/poll", behaves);
}

fn check_ending(name: &str, part: &str, script: fn(&Call) -> Option<Answer>) {
    for signal in [Signal::TERM, Signal::INT] {
        let dashboard = Dashboard::new(Speaks::V2);
        dashboard.script(script);
        let home = Home::new(&dashboard.url(), SUCCEEDS);
        let mut agent = home.start();
        eventually(name, || {
            let calls = [dashboard.calls("POST", part), dashboard.calls("GET", part)].concat();
            calls.first().map(drop)
        });
        let began = Instant::now();
        agent.signal(signal);
        let status = agent.wait();
        assert_eq!(status.code(), Some(0), "{name}");
        assert!(began.elapsed() < IN_TIME, "{name}: {:?}", began.elapsed());
    }
}

#[test]
fn sigterm_ends_it_while_it_waits_for_another_agent() {
    let dashboard = Dashboard::new(Speaks::V2);
    let home = Home::new(&dashboard.url(), SUCCEEDS);
    let first = home.start();
    first.wait_until_up();
    let mut second = home.start();
    second.wait_until_logged("another agent still runs");
    let (status, took) = second.terminate();
    assert_eq!(status.code(), Some(0));
    assert!(took < IN_TIME, "{took:?}");
    assert!(first.record().is_some());
}

#[test]
fn a_second_agent_waits_for_the_first_and_takes_over() {
    let dashboard = Dashboard::new(Speaks::V2);
    let home = Home::new(&dashboard.url(), SUCCEEDS);
    let mut first = home.start();
    first.wait_until_up();
    let second = home.start();
    second.wait_until_logged("another agent still runs");
    assert!(second.record().is_none());
    first.terminate();
    second.wait_until_up();
}

#[test]
fn a_lock_that_an_agent_has_left_to_something_else_stops_no_agent() {
    let dashboard = Dashboard::new(Speaks::V2);
    let home = Home::new(&dashboard.url(), SUCCEEDS);
    let mut first = home.start();
    let old = first.wait_until_up();
    first.terminate();
    // Something that the first one had started, say.
    let _heir = Lock::take(&home.state().join("agent.lock")).unwrap();
    let second = home.start();
    second.wait_until_logged("no agent");
    eventually("the second is up", || second.record().filter(|record| *record != old));
}

#[test]
fn a_second_agent_gives_up_and_names_the_first() {
    let dashboard = Dashboard::new(Speaks::V2);
    let home = Home::new(&dashboard.url(), SUCCEEDS);
    let mut first = home.start();
    first.wait_until_up();
    let mut second = home.start();
    assert_eq!(second.wait().code(), Some(75));
    let expected = format!("another agent runs (pid {})", first.pid());
    assert!(second.log().contains(&expected), "{}", second.log());
    assert!(first.is_running());
}

#[test]
fn a_state_directory_that_will_not_do_is_said() {
    type Spoil = fn(&Home);
    let cases: [(&str, Spoil); 4] = [
        ("state directory", |home| {
            fs::create_dir_all(home.state().parent().unwrap()).unwrap();
            fs::write(home.state(), "a file").unwrap();
        }),
        ("agent.lock", |home| {
            journal::open(&home.state());
            symlink("/dev/null", home.state().join("agent.lock")).unwrap();
        }),
        ("agent.json", |home| {
            journal::open(&home.state());
            fs::create_dir(home.state().join("agent.json")).unwrap();
        }),
        ("switches", |home| {
            journal::open(&home.state());
            fs::remove_dir(home.state().join("switches")).unwrap();
            fs::write(home.state().join("switches"), "a file").unwrap();
        }),
    ];
    for (part, spoil) in cases {
        let home = Home::new("http://127.0.0.1:1", SUCCEEDS);
        spoil(&home);
        let mut agent = home.start();
        assert_eq!(agent.wait().code(), Some(74), "{part}");
        assert!(agent.log().contains(part), "{}", agent.log());
    }
}

#[test]
fn a_link_in_place_of_the_agent_s_record_is_replaced_and_not_followed() {
    let dashboard = Dashboard::new(Speaks::V2);
    let home = Home::new(&dashboard.url(), SUCCEEDS);
    journal::open(&home.state());
    let target = home.write_private("precious", "untouched");
    symlink(&target, home.state().join("agent.json")).unwrap();
    symlink(&target, home.state().join("token")).unwrap();
    home.start().wait_until_up();
    assert_eq!(fs::read_to_string(&target).unwrap(), "untouched");
}

#[test]
fn an_agent_that_was_killed_leaves_nothing_that_stops_the_next_one() {
    let dashboard = Dashboard::new(Speaks::V2);
    let home = Home::new(&dashboard.url(), SUCCEEDS);
    for _ in 0..3 {
        let mut agent = home.start();
        agent.wait_until_up();
        agent.signal(Signal::KILL);
        agent.wait();
    }
    let agent = home.start();
    agent.wait_until_up();
    dashboard.first("GET", "/poll");
}
