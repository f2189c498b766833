//! What the agent has put right beside its work: itself, once another agent, config or definition is installed, and its
//! watchdog, when that is gone or does not react. It touches no job itself; it asks `nixfleet-switch` to.

use std::time::{Duration, Instant, SystemTime};

use nixfleet_protocol::{installed::Difference, lifecycle::Phase};

use super::{
    GLANCE_EVERY, State,
    action::{Action, Note},
    facts::{Outdated, Protocol, Surroundings, WatchdogLook, WatchdogTrouble},
    switches::TrackedSwitch,
};

/// Time between two looks around.
const LOOK_AROUND_EVERY: Duration = Duration::from_secs(10);

/// What is installed is to be another for so long: whoever installs may not be done.
const OUTDATED_FOR: Duration = Duration::from_secs(5);

/// The watchdog is to be missing for so long: it may just be starting anew.
const MISSED_FOR: Duration = Duration::from_secs(10);

/// How long the watchdog may leave no stamp on its lock. It leaves one every ten seconds, but not while it has the agent
/// looked after, for which it takes 130 s at most.
const STILL_LIMIT: Duration = Duration::from_secs(160);

/// So many looks must have seen it still: the first ones after a sleep say nothing.
const STILL_LOOKS: u32 = 8;

/// So many tries come one soon after the other.
const QUICK_TRIES: u32 = 3;

/// Time between two of those.
const QUICK_PAUSE: Duration = Duration::from_secs(30);

/// Time between two later ones.
const SLOW_PAUSE: Duration = Duration::from_mins(10);

/// What was right for so long is not the same trouble any more when it is wrong again.
const RIGHT_FOR: Duration = Duration::from_mins(10);

/// home-manager's link to the generation that it activates holds us off for so long. One that was killed leaves it behind.
const ACTIVATION_LIMIT: Duration = Duration::from_mins(5);

/// With a new definition on disk only for so long: home-manager takes the job out and loads it right beside writing that
/// file, so by then it has, or never will.
const NEW_DEFINITION_LIMIT: Duration = Duration::from_secs(30);

/// What is known of the agent's surroundings.
#[derive(Debug)]
pub(super) struct Care {
    is_looking: bool,
    due: Instant,
    activating_since: Option<Instant>,
    outdated: Option<Wrong<InstalledState>>,
    /// The config of this state was said to be no good.
    said_unusable: Option<u64>,
    leaving: Leaving,
    watchdog: Option<Wrong<WatchdogTrouble>>,
    watchdog_life: Option<WatchdogLife>,
    is_mending_watchdog: bool,
}

/// How far this agent is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaving {
    /// It stays.
    Not,
    /// Only the answer to a heartbeat is waited for; none is sent after it.
    AboutTo,
    /// It has asked to be changed over.
    HandingOver,
}

/// What is installed, as far as it is not what runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct InstalledState {
    difference: Difference,
    number: u64,
}

/// The signs of life of a watchdog that is up.
#[derive(Debug, Clone, Copy)]
struct WatchdogLife {
    stamp: Option<SystemTime>,
    /// Since when the stamp is the same, and in how many looks.
    still_since: Instant,
    still_looks: u32,
}

/// Something that is wrong, and what was tried against it.
#[derive(Debug)]
struct Wrong<T> {
    what: T,
    since: Instant,
    right_since: Option<Instant>,
    tries: u32,
    not_before: Instant,
}

impl Care {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            is_looking: false,
            due: now,
            activating_since: None,
            outdated: None,
            said_unusable: None,
            leaving: Leaving::Not,
            watchdog: None,
            watchdog_life: None,
            is_mending_watchdog: false,
        }
    }
}

impl Care {
    /// home-manager may still be at work on what this agent would change over to.
    fn is_held_off(&self, now: Instant) -> bool {
        let is_definition = |wrong: &&Wrong<InstalledState>| match wrong.what.difference {
            Difference::Definition => true,
            Difference::Executable | Difference::Config => false,
        };
        let new_definition = self.outdated.as_ref().filter(is_definition);
        let (since, limit) = match new_definition {
            Some(wrong) => (wrong.since, NEW_DEFINITION_LIMIT),
            None => (self.activating_since.unwrap_or(now), ACTIVATION_LIMIT),
        };
        self.activating_since.is_some() && now.saturating_duration_since(since) < limit
    }

    fn trouble_of_watchdog(&mut self, look: WatchdogLook, now: Instant) -> Option<WatchdogTrouble> {
        let stamp = match look {
            WatchdogLook::Up { stamp } => stamp,
            WatchdogLook::NotInstalled | WatchdogLook::Missing => {
                self.watchdog_life = None;
                return (look == WatchdogLook::Missing).then_some(WatchdogTrouble::Missing);
            }
        };
        let life = match self.watchdog_life {
            Some(life) if life.stamp == stamp => {
                WatchdogLife { still_looks: life.still_looks.saturating_add(1), ..life }
            }
            Some(_) | None => WatchdogLife { stamp, still_since: now, still_looks: 1 },
        };
        self.watchdog_life = Some(life);
        let is_stuck = now.saturating_duration_since(life.still_since) >= STILL_LIMIT
            && life.still_looks >= STILL_LOOKS;
        is_stuck.then_some(WatchdogTrouble::Stuck)
    }
}

impl<T: PartialEq> Wrong<T> {
    /// As it is seen now: the same goes on, anything else begins anew.
    fn seen(before: Option<Self>, what: Option<T>, now: Instant) -> Option<Self> {
        match (before, what) {
            (Some(mut same), Some(what)) if same.what == what => {
                if same.right_since.take().is_some() {
                    same.since = now;
                }
                Some(same)
            }
            (_, Some(what)) => {
                Some(Self { what, since: now, right_since: None, tries: 0, not_before: now })
            }
            (Some(mut before), None) => {
                let right_since = *before.right_since.get_or_insert(now);
                let is_over = now.saturating_duration_since(right_since) >= RIGHT_FOR;
                (before.tries > 0 && !is_over).then_some(before)
            }
            (None, None) => None,
        }
    }

    /// Whether it was seen wrong over all this time, and may be tried again.
    fn is_due(&self, wrong_for: Duration, now: Instant) -> bool {
        self.right_since.is_none()
            && now.saturating_duration_since(self.since) >= wrong_for
            && self.not_before <= now
    }

    /// Something is done about it.
    const fn begin(&mut self) -> u32 {
        self.tries = self.tries.saturating_add(1);
        self.tries
    }

    /// It was done.
    fn end(&mut self, now: Instant) {
        let pause = if self.tries < QUICK_TRIES { QUICK_PAUSE } else { SLOW_PAUSE };
        self.not_before = now + pause;
    }
}

impl State {
    pub(super) fn plan_look_around(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.care.due <= now && !self.care.is_looking {
            self.care.is_looking = true;
            actions.push(Action::LookAround);
        }
    }

    pub(super) fn looked_around(
        &mut self,
        seen: Surroundings,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        self.look_around_ended(now);
        let Surroundings { outdated, is_lock_free, is_activating, watchdog } = seen;
        self.care.activating_since =
            is_activating.then(|| self.care.activating_since.unwrap_or(now));
        self.care_for_watchdog(watchdog, now, actions);
        self.care_for_itself(outdated, is_lock_free, now, actions);
    }

    pub(super) fn look_around_ended(&mut self, now: Instant) {
        self.care.is_looking = false;
        if self.care.leaving == Leaving::AboutTo {
            self.care.leaving = Leaving::Not;
        }
        self.care.due = now + LOOK_AROUND_EVERY;
    }

    // The agent itself.

    fn care_for_itself(
        &mut self,
        outdated: Option<Outdated>,
        is_lock_free: bool,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        let state = outdated.and_then(|outdated| self.usable(outdated, actions));
        self.care.outdated = Wrong::seen(self.care.outdated.take(), state, now);
        let may_go = is_lock_free && self.may_hand_over() && !self.care.is_held_off(now);
        let awaits_answer = self.is_given_commands_once() && self.register.is_busy();
        let Some(wrong) = &mut self.care.outdated else { return };
        if !wrong.is_due(OUTDATED_FOR, now) {
            if wrong.tries == 0 && wrong.right_since.is_none() {
                self.care.due = now + OUTDATED_FOR;
            }
            return;
        }
        if !may_go {
            return;
        }
        if awaits_answer {
            self.care.leaving = Leaving::AboutTo;
            self.care.due = now + GLANCE_EVERY;
            return;
        }
        let difference = wrong.what.difference;
        match wrong.begin() {
            1 => actions.push(Action::Note(Note::Outdated { difference })),
            QUICK_TRIES => actions.push(Action::Note(Note::StillOutdated { difference })),
            _ => {}
        }
        self.is_ensuring = true;
        self.care.leaving = Leaving::HandingOver;
        actions.push(Action::HandOver);
    }

    /// What is worth changing over to. An agent does not give way to a config with which none would come up.
    fn usable(&mut self, outdated: Outdated, actions: &mut Vec<Action>) -> Option<InstalledState> {
        let Outdated { difference, number, flaw } = outdated;
        match (difference, flaw) {
            (Difference::Config, Some(why)) => {
                if self.care.said_unusable.replace(number) != Some(number) {
                    actions.push(Action::Note(Note::ConfigUnusable { why }));
                }
                None
            }
            (Difference::Config, None) | (Difference::Executable | Difference::Definition, _) => {
                Some(InstalledState { difference, number })
            }
        }
    }

    /// Not beside a switch, and not with a command in hand that is on no disk yet.
    fn may_hand_over(&self) -> bool {
        let is_about_to_start = |tracked: &TrackedSwitch| {
            matches!(tracked.view.phase, Phase::Accepted | Phase::Waiting)
        };
        self.may_ensure()
            && !self.switches.values().any(is_about_to_start)
            && self.arriving.is_empty()
            && self.restarting.is_none()
    }

    /// Whether a command that comes now would be lost with this agent: a v1 dashboard gives it with the answer to a
    /// heartbeat, and to nobody else.
    pub(super) fn would_lose_a_command(&self) -> bool {
        self.care.leaving != Leaving::Not && self.is_given_commands_once()
    }

    fn is_given_commands_once(&self) -> bool {
        self.protocol != Some(Protocol::V2)
    }

    /// It is over and this agent is still here.
    pub(super) fn hand_over_ended(&mut self, now: Instant) {
        self.is_ensuring = false;
        self.care.leaving = Leaving::Not;
        if let Some(wrong) = &mut self.care.outdated {
            wrong.end(now);
        }
    }

    // Its watchdog.

    fn care_for_watchdog(&mut self, look: WatchdogLook, now: Instant, actions: &mut Vec<Action>) {
        let trouble = self.care.trouble_of_watchdog(look, now);
        self.care.watchdog = Wrong::seen(self.care.watchdog.take(), trouble, now);
        let Some(wrong) = &mut self.care.watchdog else { return };
        if self.care.is_mending_watchdog || !wrong.is_due(MISSED_FOR, now) {
            return;
        }
        let trouble = wrong.what;
        match wrong.begin() {
            1 => actions.push(Action::Note(Note::WatchdogWrong(trouble))),
            QUICK_TRIES => actions.push(Action::Note(Note::WatchdogStillWrong(trouble))),
            _ => {}
        }
        self.care.is_mending_watchdog = true;
        actions.push(Action::MendWatchdog(trouble));
    }

    pub(super) fn watchdog_mended(&mut self, now: Instant) {
        self.care.is_mending_watchdog = false;
        if let Some(wrong) = &mut self.care.watchdog {
            wrong.end(now);
        }
    }
}
