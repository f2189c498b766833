//! What others on this machine are to know of the agent: that it lives, and how it gets on with its dashboard.

use super::*;
use crate::decide::contact::Contact;

fn is_seen_within(systemd_watches: Option<Duration>, limit: Duration) {
    let began = Instant::now();
    let mut state = State::new(
        Duration::from_secs(30),
        systemd_watches,
        "version 1, pid 7".to_owned(),
        1,
        began,
    );
    let (mut now, mut last) = (began, began);
    while now < began + Duration::from_mins(1) {
        if handle(&mut state, Event::TimeCame, now).contains(&Action::ShowLife) {
            last = now;
        }
        now = state.wake_at(now);
        assert!(now - last <= limit, "{systemd_watches:?}: nothing for {:?}", now - last);
    }
}

#[test]
fn a_sign_of_life_comes_in_time_whatever_is_under_way() {
    // Here all that is begun stays under way for ever: the look, the calls, the look around.
    is_seen_within(None, Duration::from_secs(4));
    for millis in [500, 1000, 2000, 3000, 4100, 5000, 10_000, 30_000, 600_000] {
        let period = Duration::from_millis(millis);
        is_seen_within(Some(period), (period / 2).min(Duration::from_secs(4)));
    }
}

fn contacts(actions: &[Action]) -> Vec<Contact> {
    let mut found = Vec::new();
    for action in actions {
        if let Action::NoteContact(contact) = action {
            found.push(contact.clone());
        }
    }
    found
}

#[test]
fn contact_is_said_when_it_changes_and_not_with_every_failure() {
    let mut core = Core::new();
    assert_eq!(contacts(&core.event(Event::TimeCame)), []);
    let failed = |core: &mut Core, failure: Failure| {
        core.now += Duration::from_mins(6);
        core.event(Event::TimeCame);
        contacts(&core.event(Event::Registered(Err(failure))))
    };
    let unreachable = |why: &str| Failure::unreachable(why.to_owned());
    let first = failed(&mut core, unreachable("connection refused"));
    let since = core.now;
    let failing = first[0].failing.as_ref().unwrap();
    assert_eq!((failing.since, failing.http_status), (since, None));
    assert_eq!(failing.why, "connection refused");
    assert_eq!(failed(&mut core, unreachable("connection refused")), []);
    assert_eq!(failed(&mut core, unreachable("it did not answer in time")), [], "much the same");
    let answered = failed(&mut core, Failure::nonsense(502, "bad gateway".to_owned()));
    let failing = answered[0].failing.as_ref().unwrap();
    assert_eq!((failing.since, failing.http_status), (since, Some(502)), "since the first one");
    assert_eq!(failed(&mut core, Failure::nonsense(502, "bad gateway, 2".to_owned())), []);
    let other = failed(&mut core, Failure::nonsense(500, "oh".to_owned()));
    assert_eq!(other[0].failing.as_ref().unwrap().http_status, Some(500));
    let refused = Failure::Unauthorized { status: 401, has_other: false };
    let rejected = failed(&mut core, refused);
    assert_eq!(rejected[0].failing.as_ref().unwrap().http_status, Some(401));

    let good = contacts(&core.registered(Protocol::V2, None));
    assert_eq!(good, [Contact { protocol: Some(Protocol::V2), failing: None }]);
    core.passes(Duration::from_secs(30));
    assert_eq!(contacts(&core.registered(Protocol::V2, None)), []);
}

#[test]
fn a_token_for_which_there_is_another_is_no_trouble_yet() {
    let mut core = Core::new();
    core.event(Event::TimeCame);
    let failure = Failure::Unauthorized { status: 401, has_other: true };
    assert_eq!(contacts(&core.event(Event::Registered(Err(failure)))), []);
}

#[test]
fn after_a_sleep_what_was_out_of_reach_is_tried_at_once() {
    let mut core = Core::new();
    core.event(Event::TimeCame);
    let failed = |core: &mut Core| {
        let failure = Failure::unreachable("no route to host".to_owned());
        core.event(Event::Registered(Err(failure)))
    };
    for _ in 0..10 {
        failed(&mut core);
        core.now += Duration::from_mins(6);
        core.event(Event::TimeCame);
    }
    assert!(!failed(&mut core).contains(&Action::Register));
    assert!(!core.event(Event::TimeCame).contains(&Action::Register));
    assert!(core.event(Event::Woke).contains(&Action::Register));
    failed(&mut core);
    // The network may take a moment.
    assert!(core.passes(Duration::from_secs(2)).contains(&Action::Register));
}
