//! The sign of life: the lock's stamp, and systemd's watchdog.

#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

use std::{
    collections::HashSet,
    os::unix::net::UnixDatagram,
    time::{Duration, Instant, SystemTime},
};

use crate::support::{
    agent::Home,
    dashboard::{Answer, Dashboard, Speaks},
    eventually, journal,
    wrapper::SUCCEEDS,
};
use nixfleet_protocol::journal::lock;
use rustix::process::Signal;

/// A watcher is promised a stamp in this time.
const PROMISED: Duration = Duration::from_secs(5);

fn stamp(home: &Home) -> Option<SystemTime> {
    lock::stamp_of(&journal::open(&home.state()).directory().agent_lock())
}

#[test]
fn the_lock_is_stamped_also_while_the_dashboard_hangs_and_not_by_an_agent_that_is_stopped() {
    let dashboard = Dashboard::new(Speaks::V2);
    dashboard.script(|_| Some(Answer::Silence));
    let home = Home::new(&dashboard.url(), SUCCEEDS);
    let agent = home.start();
    agent.wait_until_up();
    let mut last = stamp(&home);
    for _ in 0..3 {
        let began = Instant::now();
        last = eventually("another stamp", || Some(stamp(&home)).filter(|now| *now != last));
        assert!(began.elapsed() < PROMISED, "{:?}", began.elapsed());
    }
    // The process is there, the lock is held, and only the stamp tells.
    agent.signal(Signal::STOP);
    let stopped = stamp(&home);
    let path = journal::open(&home.state()).directory().agent_lock();
    let until = Instant::now() + PROMISED;
    eventually("the time is over", || {
        assert_eq!(stamp(&home), stopped);
        (Instant::now() >= until).then_some(())
    });
    assert_ne!(lock::look(&path).unwrap(), lock::LockState::Free);
    agent.signal(Signal::CONT);
    eventually("it goes on", || (stamp(&home) != stopped).then_some(()));
}

fn systemd(home: &Home) -> UnixDatagram {
    let socket = UnixDatagram::bind(home.folder.path().join("notify")).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    socket
}

fn message(systemd: &UnixDatagram) -> String {
    let mut message = [0; 64];
    let length = systemd.recv(&mut message).unwrap();
    String::from_utf8(message[..length].to_vec()).unwrap()
}

#[test]
fn systemd_hears_of_it_in_half_its_period() {
    let home = Home::new("http://127.0.0.1:1", SUCCEEDS);
    let systemd = systemd(&home);
    let notify = home.folder.path().join("notify");
    let home =
        home.with("NOTIFY_SOCKET", notify.to_str().unwrap()).with("WATCHDOG_USEC", "3000000");
    let _agent = home.start();
    assert_eq!(message(&systemd), "READY=1");
    let mut last = Instant::now();
    for _ in 0..5 {
        assert_eq!(message(&systemd), "WATCHDOG=1");
        assert!(last.elapsed() < Duration::from_millis(1500), "{:?}", last.elapsed());
        last = Instant::now();
    }
}

#[test]
fn a_watchdog_that_means_another_process_hears_nothing() {
    let home = Home::new("http://127.0.0.1:1", SUCCEEDS);
    let systemd = systemd(&home);
    let notify = home.folder.path().join("notify");
    let home = home
        .with("NOTIFY_SOCKET", notify.to_str().unwrap())
        .with("WATCHDOG_USEC", "1000000")
        .with("WATCHDOG_PID", "1");
    let mut agent = home.start();
    assert_eq!(message(&systemd), "READY=1");
    let mut stamps = HashSet::new();
    eventually("it stamps its lock", || {
        stamps.insert(stamp(&home));
        (stamps.len() > 3).then_some(())
    });
    agent.terminate();
    systemd.set_nonblocking(true).unwrap();
    assert!(systemd.recv(&mut [0; 64]).is_err(), "it said something");
}
