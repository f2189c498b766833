//! An agent that is no longer what is installed, and a watchdog that is gone.

use std::time::SystemTime;

use nixfleet_protocol::installed::Difference;

use super::*;
use crate::decide::{
    action::Note,
    facts::{Outdated, Surroundings, WatchdogLook, WatchdogTrouble},
};

const STEP: Duration = Duration::from_secs(1);

fn quiet() -> Surroundings {
    Surroundings { is_lock_free: true, ..Surroundings::default() }
}

fn outdated(difference: Difference, number: u64) -> Surroundings {
    Surroundings { outdated: Some(Outdated { difference, number, flaw: None }), ..quiet() }
}

fn unwatched() -> Surroundings {
    Surroundings { watchdog: WatchdogLook::Missing, ..quiet() }
}

/// A core whose surroundings stay as they are; what it does about them, and after how many seconds.
struct Scene {
    core: Core,
    seen: Surroundings,
    passed: u32,
    is_handing_over: bool,
    is_mending: bool,
    done: Vec<(u32, Action)>,
    notes: Vec<Note>,
}

impl Scene {
    fn new(seen: Surroundings) -> Self {
        Self::with(seen, Look::default())
    }

    fn with(seen: Surroundings, look: Look) -> Self {
        let (mut core, actions) = Core::with(Protocol::V2, look);
        assert!(actions.contains(&Action::LookAround));
        core.event(Event::Pruned);
        let mut scene = Self {
            core,
            seen,
            passed: 0,
            is_handing_over: false,
            is_mending: false,
            done: Vec::new(),
            notes: Vec::new(),
        };
        scene.look_around();
        scene
    }

    fn look_around(&mut self) {
        let seen = self.seen.clone();
        let actions = self.core.event(Event::LookedAround(seen));
        self.take(actions);
    }

    fn take(&mut self, actions: Vec<Action>) {
        for action in actions {
            if action == Action::LookAround {
                self.look_around();
            } else if action == Action::Look {
                let more = self.core.look();
                self.take(more);
            } else if let Action::Note(note) = action {
                self.notes.push(note);
            } else if action == Action::HandOver {
                assert!(!std::mem::replace(&mut self.is_handing_over, true), "one at a time");
                self.done.push((self.passed, action));
            } else if let Action::MendWatchdog(_) = action {
                assert!(!std::mem::replace(&mut self.is_mending, true), "one at a time");
                self.done.push((self.passed, action));
            }
        }
    }

    /// Lets time pass; what is tried ends at once and without effect.
    fn passes(&mut self, seconds: u32) -> &mut Self {
        for _ in 0..seconds {
            self.passed += 1;
            if std::mem::take(&mut self.is_handing_over) {
                let actions = self.core.event(Event::HandOverEnded);
                self.take(actions);
            }
            if std::mem::take(&mut self.is_mending) {
                let actions = self.core.event(Event::WatchdogMended);
                self.take(actions);
            }
            let actions = self.core.passes(STEP);
            self.take(actions);
        }
        self
    }

    fn is_idle(&self) -> bool {
        self.done.is_empty()
    }

    fn times(&self) -> Vec<u32> {
        self.done.iter().map(|(at, _)| *at).collect()
    }
}

#[test]
fn an_outdated_agent_hands_over_after_two_looks_and_then_ever_less_often() {
    for difference in [Difference::Executable, Difference::Config, Difference::Definition] {
        let mut scene = Scene::new(outdated(difference, 1));
        assert!(scene.passes(4).is_idle(), "one look is not enough");
        scene.passes(3600);
        assert!(scene.done.iter().all(|(_, action)| *action == Action::HandOver));
        let times = scene.times();
        assert!((5..=6).contains(&times[0]), "{times:?}");
        let pauses: Vec<u32> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        for (index, pause) in pauses.iter().enumerate() {
            let expected = if index < 2 { 30..=45 } else { 600..=615 };
            assert!(expected.contains(pause), "{pauses:?}");
        }
        assert!(pauses.len() >= 6, "{pauses:?}");
        let said = [Note::Outdated { difference }, Note::StillOutdated { difference }];
        let notes: Vec<&Note> = scene.notes.iter().filter(|note| said.contains(note)).collect();
        assert_eq!(notes, [&said[0], &said[1]], "each once");
    }
}

#[test]
fn what_goes_away_or_changes_begins_anew() {
    let mut scene = Scene::new(outdated(Difference::Config, 1));
    scene.passes(4).seen = quiet();
    assert!(scene.passes(60).is_idle());
    scene.seen = outdated(Difference::Config, 2);
    let before = scene.passed;
    scene.passes(20);
    assert_eq!(scene.done.len(), 1);
    assert!(scene.times()[0] >= before + 5);

    // Still being written: each look sees another one.
    let mut scene = Scene::new(quiet());
    for number in 1..40 {
        scene.seen = outdated(Difference::Definition, number);
        scene.passes(5);
    }
    assert!(scene.is_idle());
    scene.passes(15);
    assert_eq!(scene.done.len(), 1);

    // After all quick tries a new state is worth quick ones again.
    let mut scene = Scene::new(outdated(Difference::Executable, 1));
    scene.passes(200);
    assert_eq!(scene.done.len(), 3);
    scene.seen = outdated(Difference::Executable, 2);
    scene.passes(200);
    assert_eq!(scene.done.len(), 6);
}

#[test]
fn nobody_gives_way_to_a_config_that_cannot_be_used() {
    let broken = |number| Surroundings {
        outdated: Some(Outdated {
            difference: Difference::Config,
            number,
            flaw: Some("url is missing".to_owned()),
        }),
        ..quiet()
    };
    let mut scene = Scene::new(broken(1));
    let said = Note::ConfigUnusable { why: "url is missing".to_owned() };
    let count = |scene: &Scene| scene.notes.iter().filter(|note| **note == said).count();
    assert!(scene.passes(1200).is_idle());
    assert_eq!(count(&scene), 1, "said once");
    scene.seen = broken(2);
    scene.passes(60);
    assert_eq!((count(&scene), scene.done.len()), (2, 0), "another typo is said too");
    // Mended without a change of the config itself.
    scene.seen = outdated(Difference::Config, 2);
    scene.passes(30);
    assert_eq!(scene.done.len(), 1);

    // With another executable there may be another idea of what a config is.
    let mut other = broken(1);
    other.outdated.as_mut().unwrap().difference = Difference::Executable;
    assert_eq!(Scene::new(other).passes(30).done.len(), 1);
}

#[test]
fn nobody_hands_over_beside_a_switch() {
    let seen = || outdated(Difference::Executable, 1);
    for phase in [
        Phase::Accepted,
        Phase::Waiting,
        Phase::Starting,
        Phase::Running,
        Phase::Orphaned,
        Phase::Ensuring,
    ] {
        let view = switch(Initiator::User, phase);
        let mut scene = Scene::with(seen(), look(vec![view]));
        assert!(scene.passes(30).is_idle(), "{phase:?}");
        scene.core.look.switches.clear();
        scene.passes(30);
        assert_eq!(scene.done.len(), 1, "{phase:?}");
    }
    let mut scene = Scene::new(Surroundings { is_lock_free: false, ..seen() });
    assert!(scene.passes(1200).is_idle());
    scene.seen = seen();
    scene.passes(11);
    assert_eq!(scene.done.len(), 1);
}

#[test]
fn a_command_that_is_on_no_disk_yet_holds_up() {
    let mut scene = Scene::new(quiet());
    scene.core.event(Event::Polled(Ok(Some(arrival("switch", Delivery::Leased)))));
    scene.seen = outdated(Difference::Executable, 1);
    assert!(scene.passes(40).is_idle());
}

#[test]
fn no_v1_command_is_lost_on_its_way_to_an_agent_that_is_about_to_go() {
    for (protocol, goes_at_once) in [(Protocol::V1, false), (Protocol::V2, true)] {
        let (mut core, _) = Core::with(protocol, Look::default());
        let seen = outdated(Difference::Executable, 1);
        core.event(Event::LookedAround(seen.clone()));
        assert!(core.passes(Duration::from_secs(30)).contains(&Action::Register));
        // The heartbeat is under way, and its answer may bring a command.
        let actions = core.event(Event::LookedAround(seen.clone()));
        assert_eq!(actions.contains(&Action::HandOver), goes_at_once, "{protocol:?}");
        // No other one follows, and it is seen to soon after.
        core.now += Duration::from_secs(29);
        core.event(Event::TimeCame);
        core.registered(protocol, None);
        let actions = core.passes(Duration::from_secs(1));
        assert_eq!(actions.contains(&Action::Register), goes_at_once, "{protocol:?}");
        let actions = core.event(Event::LookedAround(seen));
        assert_eq!(actions.contains(&Action::HandOver), !goes_at_once, "{protocol:?}");
        if goes_at_once {
            core.registered(protocol, None);
        }
        // It goes on if the wrapper does not end this agent.
        let actions = core.passes(Duration::from_secs(30));
        assert_eq!(actions.contains(&Action::Register), goes_at_once, "{protocol:?}");
        let actions = core.event(Event::HandOverEnded);
        assert_eq!(actions.contains(&Action::Register), !goes_at_once, "{protocol:?}");
    }
}

#[test]
fn a_heartbeat_that_always_is_under_way_when_the_agent_looks_holds_up_for_a_moment_only() {
    let (mut core, _) = Core::with(Protocol::V1, Look::default());
    let seen = outdated(Difference::Executable, 1);
    core.state.heartbeat_due = core.now;
    let mut is_under_way = false;
    for second in 0..60 {
        // The answer comes half a second after the call, and each look is in between.
        core.now += Duration::from_millis(500);
        if std::mem::take(&mut is_under_way) {
            core.registered(Protocol::V1, None);
            core.state.heartbeat_due = core.now + Duration::from_millis(400);
        }
        let mut actions = core.passes(Duration::from_millis(500));
        is_under_way |= actions.contains(&Action::Register);
        if actions.contains(&Action::LookAround) || second == 0 {
            actions.extend(core.event(Event::LookedAround(seen.clone())));
        }
        if actions.contains(&Action::HandOver) {
            assert!((6..=12).contains(&second), "after {second} s");
            return;
        }
    }
    panic!("it never went");
}

#[test]
fn a_left_over_of_an_activation_holds_up_for_five_minutes_only() {
    let activating = || Surroundings { is_activating: true, ..outdated(Difference::Executable, 1) };
    let mut scene = Scene::new(activating());
    assert!(scene.passes(290).is_idle());
    scene.passes(25);
    assert_eq!(scene.done.len(), 1);

    // home-manager is done with a definition as soon as it is written.
    let new = Surroundings { is_activating: true, ..outdated(Difference::Definition, 1) };
    let mut scene = Scene::new(new);
    assert!(scene.passes(29).is_idle());
    scene.passes(11);
    assert_eq!(scene.done.len(), 1);

    // One after the other is not one for ever.
    let mut scene = Scene::new(Surroundings { is_activating: true, ..quiet() });
    scene.passes(200).seen = quiet();
    scene.passes(20).seen = activating();
    assert!(scene.passes(200).is_idle());
    scene.seen = outdated(Difference::Executable, 1);
    scene.passes(11);
    assert_eq!(scene.done.len(), 1);
}

#[test]
fn a_missing_watchdog_is_brought_back_after_two_looks() {
    let mut scene = Scene::new(unwatched());
    assert!(scene.passes(9).is_idle());
    scene.passes(3);
    assert_eq!(scene.done, [(scene.times()[0], Action::MendWatchdog(WatchdogTrouble::Missing))]);
    scene.passes(1800);
    let times = scene.times();
    assert_eq!(times.iter().filter(|at| **at < 200).count(), 3, "{times:?}");
    assert_eq!(times.len(), 3 + 2, "{times:?}");
    let missing = WatchdogTrouble::Missing;
    let said = [Note::WatchdogWrong(missing), Note::WatchdogStillWrong(missing)];
    let notes: Vec<&Note> = scene.notes.iter().filter(|note| said.contains(note)).collect();
    assert_eq!(notes, [&said[0], &said[1]]);
}

#[test]
fn a_watchdog_that_comes_and_goes_does_not_win_quick_tries_each_time() {
    let mut scene = Scene::new(unwatched());
    for _ in 0..30 {
        scene.passes(40).seen = quiet();
        scene.passes(20).seen = unwatched();
    }
    // Half an hour: three quick tries, and one every ten minutes.
    assert!((4..=6).contains(&scene.done.len()), "{:?}", scene.times());
    // What was right for long is a new trouble.
    scene.seen = quiet();
    scene.passes(700).seen = unwatched();
    let before = scene.done.len();
    scene.passes(25);
    assert_eq!(scene.done.len(), before + 1);
}

fn stamped(seconds: u64) -> Surroundings {
    let stamp = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
    Surroundings { watchdog: WatchdogLook::Up { stamp }, ..quiet() }
}

#[test]
fn a_watchdog_that_leaves_no_stamps_any_more_is_stuck() {
    let mut scene = Scene::new(stamped(0));
    for second in 1..30 {
        scene.passes(10).seen = stamped(second * 10);
    }
    assert!(scene.passes(160).is_idle(), "it may be having the agent looked after");
    scene.passes(30);
    let stuck = WatchdogTrouble::Stuck;
    assert_eq!(scene.done, [(scene.times()[0], Action::MendWatchdog(stuck))]);
    assert_eq!(scene.notes, [Note::WatchdogWrong(stuck)]);
    // The next one does leave them.
    for second in 60..120 {
        scene.seen = stamped(second * 10);
        scene.passes(10);
    }
    assert_eq!(scene.done.len(), 1);
}

#[test]
fn a_few_looks_at_the_same_stamp_say_nothing_however_far_apart() {
    let (mut core, _) = Core::with(Protocol::V2, Look::default());
    for _ in 0..6 {
        let actions = core.event(Event::LookedAround(stamped(1)));
        assert!(!actions.iter().any(|action| matches!(action, Action::MendWatchdog(_))));
        core.passes(Duration::from_mins(10));
    }
}

#[test]
fn a_look_around_that_failed_is_repeated_and_changes_nothing() {
    let (mut core, actions) = Core::with(Protocol::V1, Look::default());
    assert!(actions.contains(&Action::LookAround));
    assert!(!core.passes(Duration::from_mins(1)).contains(&Action::LookAround), "one at a time");
    core.event(Event::LookAroundFailed);
    assert!(!core.passes(Duration::from_secs(9)).contains(&Action::LookAround));
    assert!(core.passes(Duration::from_secs(1)).contains(&Action::LookAround));
}
