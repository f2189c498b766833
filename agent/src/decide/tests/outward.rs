//! What others on this machine are to know of the agent: that it lives, and how it gets on with its dashboard.

use super::*;
use crate::decide::{contact::Contact, lane::LaneName};

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
fn contact_says_what_fails_since_when_and_when_it_is_tried_again() {
    let mut core = Core::new();
    assert_eq!(contacts(&core.event(Event::TimeCame)), []);
    let failed = |core: &mut Core, failure: Failure| {
        core.now += Duration::from_mins(6);
        core.event(Event::TimeCame);
        let contacts = contacts(&core.event(Event::Registered(Err(failure))));
        let failing = contacts[0].failing.clone().unwrap();
        let again = failing.next_try - core.now;
        assert!(again >= Duration::from_secs(1) && again <= Duration::from_mins(5), "{again:?}");
        assert_eq!((contacts.len(), failing.lane), (1, LaneName::Register));
        failing
    };
    let unreachable = |why: &str| Failure::unreachable(why.to_owned());
    let first = failed(&mut core, unreachable("connection refused"));
    let since = core.now;
    for (failure, http_status, why) in [
        (unreachable("connection refused"), None, "connection refused"),
        // Much the same.
        (unreachable("it did not answer in time"), None, "connection refused"),
        (Failure::nonsense(502, "bad gateway".to_owned()), Some(502), "bad gateway"),
        (Failure::nonsense(502, "bad gateway, 2".to_owned()), Some(502), "bad gateway"),
        (Failure::nonsense(500, "oh".to_owned()), Some(500), "oh"),
        (Failure::Unauthorized { status: 401, has_other: false }, Some(401), "token"),
    ] {
        let failing = failed(&mut core, failure);
        assert_eq!((failing.since, failing.http_status), (since, http_status), "since the first");
        assert!(failing.why.contains(why), "{failing:?}");
        assert!(failing.next_try > first.next_try);
    }
    let good = contacts(&core.registered(Protocol::V2, None));
    assert_eq!(good, [Contact { protocol: Some(Protocol::V2), failing: None }]);
    core.passes(Duration::from_secs(30));
    assert_eq!(contacts(&core.registered(Protocol::V2, None)), []);
}

#[test]
fn who_asks_has_a_heartbeat_and_all_that_waits_sent_at_once() {
    let result = ended(Initiator::User, Duration::from_secs(3), true);
    let look = Look { switches: vec![result], ..Look::default() };
    let (mut core, actions) = Core::with(Protocol::V2, look);
    let id = core.look.switches[0].id;
    assert_eq!(reports(&actions), [(id, FINAL)]);
    let failure = Failure::Retry {
        after: Some(Duration::from_hours(1)),
        status: Some(503),
        why: String::new(),
    };
    core.event(Event::Reported {
        switch: id,
        stage: FINAL,
        standing: Standing::default(),
        reply: Err(failure),
    });
    let waits = core.passes(Duration::from_secs(10));
    assert!(reports(&waits).is_empty() && !waits.contains(&Action::Register), "{waits:?}");
    let asked = core.event(Event::ReportAsked);
    assert_eq!(reports(&asked), [(id, FINAL)]);
    assert!(asked.contains(&Action::Register), "{asked:?}");
    // One that is under way will do.
    assert!(!core.event(Event::ReportAsked).contains(&Action::Register));
    // Nobody hurries it after that.
    core.registered(Protocol::V2, None);
    assert!(!core.passes(Duration::from_secs(20)).contains(&Action::Register));
    assert!(core.passes(Duration::from_secs(10)).contains(&Action::Register));
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
