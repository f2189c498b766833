//! What was put right without a switch, and the dashboard's word on it.

use nixfleet_protocol::journal::records::HealingId;

use super::*;

fn with(protocol: Protocol, count: usize) -> (Core, Vec<HealingId>, Vec<Action>) {
    let healings: Vec<HealingId> = (0..count).map(|_| HealingId::generate()).collect();
    let look = Look { healings: healings.clone(), ..Look::default() };
    let (core, actions) = Core::with(protocol, look);
    (core, healings, actions)
}

fn told(actions: &[Action]) -> Vec<HealingId> {
    let mut found = Vec::new();
    for action in actions {
        if let Action::ReportHealing(healing) = action {
            found.push(*healing);
        }
    }
    found
}

fn reply(core: &mut Core, healing: HealingId, reply: Result<(), Failure>) -> Vec<Action> {
    without_notes(core.event(Event::HealingReported { healing, reply }))
}

fn marked(core: &mut Core, healing: HealingId, is_done: bool) -> Vec<Action> {
    core.serial += 1;
    core.look.healings.retain(|open| !is_done || *open != healing);
    without_notes(core.event(Event::HealingMarked { serial: core.serial, healing, is_done }))
}

fn mark(healing: HealingId, closing: Closing) -> Action {
    Action::MarkHealing { healing, closing, protocol: Protocol::V2 }
}

#[test]
fn they_go_oldest_first_one_at_a_time_and_once() {
    let (mut core, ids, actions) = with(Protocol::V2, 3);
    assert_eq!(told(&actions), [ids[0]]);
    assert!(told(&core.look()).is_empty());
    let actions = reply(&mut core, ids[0], Ok(()));
    assert!(actions.contains(&mark(ids[0], Closing::Taken)), "{actions:?}");
    assert_eq!(told(&actions), [ids[1]]);
    assert!(!core.look().contains(&mark(ids[0], Closing::Taken)), "once");
    assert!(told(&marked(&mut core, ids[0], true)).is_empty());
    assert_eq!(told(&reply(&mut core, ids[1], Ok(()))), [ids[2]]);
    reply(&mut core, ids[2], Ok(()));
    marked(&mut core, ids[1], true);
    marked(&mut core, ids[2], true);
    assert!(told(&core.look()).is_empty());
    assert!(core.state.healings.is_empty());
}

#[test]
fn a_mark_that_cannot_be_written_is_tried_again_and_nothing_is_told_twice() {
    let (mut core, ids, _) = with(Protocol::V2, 1);
    reply(&mut core, ids[0], Ok(()));
    let actions = marked(&mut core, ids[0], false);
    assert!(!actions.contains(&mark(ids[0], Closing::Taken)), "{actions:?}");
    let actions = core.passes(REST);
    assert!(actions.contains(&mark(ids[0], Closing::Taken)), "{actions:?}");
    assert!(told(&actions).is_empty());
}

const REST: Duration = Duration::from_secs(5);

#[test]
fn a_v1_dashboard_has_no_place_for_them() {
    let (mut core, ids, actions) = with(Protocol::V1, 1);
    assert!(told(&actions).is_empty());
    assert!(told(&core.passes(Duration::from_secs(30))).is_empty());
    assert_eq!(told(&core.registered(Protocol::V2, None)), ids);
}

#[test]
fn those_that_wait_cost_no_looks() {
    let (mut core, _, _) = with(Protocol::V1, 5);
    for _ in 0..10 {
        assert!(!core.passes(Duration::from_secs(1)).contains(&Action::Look));
    }
}

#[test]
fn what_is_refused_for_good_is_marked_and_the_next_one_goes() {
    let (mut core, ids, _) = with(Protocol::V2, 2);
    let said = "no such field".to_owned();
    let refused = Failure::Refused { status: 422, said: said.clone() };
    let actions = reply(&mut core, ids[0], Err(refused));
    assert!(actions.contains(&mark(ids[0], Closing::Refused { status: 422, said })));
    assert_eq!(told(&actions), [ids[1]]);
}

#[test]
fn a_dashboard_that_does_not_know_the_host_is_registered_with_first() {
    let (mut core, ids, _) = with(Protocol::V2, 1);
    let missing = || Failure::Missing { said: "who?".to_owned() };
    for _ in 0..3 {
        let actions = reply(&mut core, ids[0], Err(missing()));
        assert!(actions.contains(&Action::Register), "{actions:?}");
        core.registered(Protocol::V2, None);
        let actions = core.passes(Duration::from_secs(20));
        assert_eq!(told(&actions), ids, "{actions:?}");
        core.registered(Protocol::V2, None);
    }
    let actions = reply(&mut core, ids[0], Err(missing()));
    let refused = Closing::Refused { status: 404, said: "who?".to_owned() };
    assert!(actions.contains(&mark(ids[0], refused)), "{actions:?}");
}

#[test]
fn one_that_the_dashboard_chokes_on_lets_the_others_pass() {
    let (mut core, ids, _) = with(Protocol::V2, 2);
    for _ in 0..5 {
        let choked = Failure::nonsense(500, "500".to_owned());
        assert!(told(&reply(&mut core, ids[0], Err(choked))).is_empty());
        core.now += Duration::from_mins(5);
        let next = told(&core.event(Event::TimeCame));
        assert_eq!(next.len(), 1);
        if next == [ids[1]] {
            reply(&mut core, ids[1], Ok(()));
            return;
        }
    }
    panic!("the second never had its turn");
}

#[test]
fn one_that_the_journal_has_lost_is_forgotten() {
    let (mut core, ids, _) = with(Protocol::V2, 2);
    core.look.healings.remove(0);
    let actions = core.event(Event::HealingNotReportable { healing: ids[0] });
    assert_eq!(told(&actions), [ids[1]]);
    assert!(actions.contains(&Action::Look));
}
