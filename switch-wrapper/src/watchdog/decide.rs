//! Whether the agent is to be looked after: pure. What was seen and the time since the watchdog came up go in.
//!
//! It acts only on what it has seen twice: an agent that is being replaced is missing for a moment. While a switch or an
//! activation is under way it holds off, since home-manager itself takes the job out and loads it again, and whoever
//! cuts in between makes that fail; but never for so long that the host is dark for a minute.

use std::time::{Duration, SystemTime};

use nixfleet_protocol::journal::records::HealingCause;

/// Between the first look at a missing agent and the one that counts. A little less than a tick, for ticks are not exact.
const SECOND_LOOK_AFTER: Duration = Duration::from_millis(9_500);

/// How long a switch or an activation is waited for. The first look may have come a tick late, and bringing the agent back
/// takes its time too: all three together stay under a minute.
const HOLD_OFF_LIMIT: Duration = Duration::from_secs(30);

/// How long an agent that has given signs of life may give none. It gives one every five seconds.
const STILL_LIMIT: Duration = Duration::from_secs(28);

/// That many looks must have seen it still: one look may come late, after a sleep.
const STILL_LOOKS: u32 = 3;

/// That many looks in a row that find another agent each time find one that does not stay up. launchd starts it again
/// every ten seconds, and so may have one up at each look.
const OTHERS_IN_A_ROW: u32 = 3;

/// How long an agent must have been seen up to be kept as one that works: longer than launchd's throttle of ten seconds.
const KEEP_AFTER: Duration = Duration::from_secs(18);

/// Between two tries in vain: the first pause, doubled each time up to the last.
const PAUSE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_mins(1));

/// Between two looks after a job that is not installed here, until its definition changes.
const PAUSE_WITHOUT_JOB: Duration = Duration::from_mins(5);

/// The agent, as one look sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AgentLook {
    /// It holds its lock.
    Up(Up),
    /// Nobody holds its lock.
    Missing,
    /// It cannot be seen.
    Unknown,
}

/// An agent that is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Up {
    /// The stamp that it has left on its lock.
    pub(super) stamp: Option<SystemTime>,
    /// It has left one since it came up: it does leave stamps.
    pub(super) has_stamped: bool,
    /// Its pid, where it has said it.
    pub(super) pid: Option<u32>,
    /// There is no process with that pid.
    pub(super) is_gone: bool,
}

/// One look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Look {
    /// The agent.
    pub(super) agent: AgentLook,
    /// A switch or an activation is under way.
    pub(super) is_busy: bool,
    /// When the definition of the agent's job was written.
    pub(super) definition: Option<SystemTime>,
}

impl Life {
    fn first(up: Up, now: Duration) -> Self {
        let Up { stamp, has_stamped, pid, is_gone: _ } = up;
        Self {
            stamp,
            still_since: now,
            still_looks: 1,
            has_stamped,
            up_since: now,
            is_kept: false,
            pid,
            others: 0,
        }
    }

    fn goes_on(self, up: Up, now: Duration) -> Self {
        let first = Self::first(up, now);
        if self.pid != up.pid {
            return Self { others: self.others + 1, ..first };
        }
        let Self { up_since, is_kept, .. } = self;
        if self.stamp == up.stamp {
            let has_stamped = self.has_stamped || up.has_stamped;
            Self { still_looks: self.still_looks + 1, has_stamped, others: 0, ..self }
        } else {
            Self { has_stamped: true, up_since, is_kept, ..first }
        }
    }
}

/// What is to be done after a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Nothing.
    Rest,
    /// Nothing yet: it was missed for the first time.
    LookAgain,
    /// The agent stays up: let it be kept as one that works.
    Keep,
    /// Have the agent looked after.
    Heal { cause: HealingCause, missed_for: Duration },
}

/// What came of having it looked after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Healed {
    /// It runs.
    Back,
    /// It is not back.
    NotBack,
    /// There is no such job here, or nobody who could run it.
    NoJob,
}

/// What the watchdog remembers.
#[derive(Debug, Default)]
pub(super) struct State {
    missing_since: Option<Duration>,
    life: Option<Life>,
    /// The stamp that was last seen on a lock whose recorded agent is gone.
    last_stamp: Option<SystemTime>,
    tries: u32,
    not_before: Duration,
    definition: Option<SystemTime>,
}

/// The signs of life of an agent that is up.
#[derive(Debug, Clone, Copy)]
struct Life {
    stamp: Option<SystemTime>,
    /// Since when the stamp is the same, and in how many looks.
    still_since: Duration,
    still_looks: u32,
    /// This agent does leave stamps.
    has_stamped: bool,
    up_since: Duration,
    is_kept: bool,
    pid: Option<u32>,
    /// How many looks in a row have found another agent than the one before.
    others: u32,
}

impl State {
    /// Takes in a look and says what to do.
    pub(super) fn handle(&mut self, look: &Look, now: Duration) -> Action {
        if look.definition != self.definition {
            // Another job: what was in vain for the old one may work for this one.
            self.definition = look.definition;
            (self.tries, self.not_before) = (0, Duration::ZERO);
        }
        match look.agent {
            AgentLook::Unknown => Action::Rest,
            AgentLook::Up(up) if up.is_gone && self.is_still(up) => self.missing(look.is_busy, now),
            AgentLook::Up(up) => {
                self.last_stamp = self.last_stamp.filter(|_| up.is_gone);
                self.up(up, now)
            }
            AgentLook::Missing => self.missing(look.is_busy, now),
        }
    }

    /// Whether the stamp on the lock is the one that was there before. Of an agent whose process is gone, something that it
    /// has started may hold the lock, but nothing stamps it.
    fn is_still(&mut self, up: Up) -> bool {
        let before = std::mem::replace(&mut self.last_stamp, up.stamp);
        before.is_none() || before == up.stamp
    }

    fn up(&mut self, up: Up, now: Duration) -> Action {
        self.missing_since = None;
        let life = self.life.map_or_else(|| Life::first(up, now), |life| life.goes_on(up, now));
        self.life = Some(life);
        if life.others >= OTHERS_IN_A_ROW {
            return self.heal_if_due(HealingCause::AgentCrashing, Duration::ZERO, now);
        }
        let still_for = now.saturating_sub(life.still_since);
        let is_stuck =
            life.has_stamped && still_for >= STILL_LIMIT && life.still_looks > STILL_LOOKS;
        if is_stuck {
            return self.heal_if_due(HealingCause::AgentStuck, still_for, now);
        }
        (self.tries, self.not_before) = (0, Duration::ZERO);
        if !life.is_kept && now.saturating_sub(life.up_since) >= KEEP_AFTER {
            self.life = Some(Life { is_kept: true, ..life });
            return Action::Keep;
        }
        Action::Rest
    }

    fn missing(&mut self, is_busy: bool, now: Duration) -> Action {
        self.life = None;
        let Some(since) = self.missing_since else {
            self.missing_since = Some(now);
            return Action::LookAgain;
        };
        let missed_for = now.saturating_sub(since);
        let patience = if is_busy { HOLD_OFF_LIMIT } else { SECOND_LOOK_AFTER };
        if missed_for < patience {
            return Action::Rest;
        }
        self.heal_if_due(HealingCause::AgentMissing, missed_for, now)
    }

    fn heal_if_due(&self, cause: HealingCause, missed_for: Duration, now: Duration) -> Action {
        if now < self.not_before { Action::Rest } else { Action::Heal { cause, missed_for } }
    }

    /// Takes in what came of it; `now` is when it was over.
    pub(super) fn healed(&mut self, healed: Healed, now: Duration) {
        let (first, longest) = PAUSE;
        let pause = match healed {
            Healed::NoJob => PAUSE_WITHOUT_JOB,
            // One that is gone again at the next look is in vain too.
            Healed::Back | Healed::NotBack => {
                first.saturating_mul(1 << self.tries.min(8)).min(longest)
            }
        };
        self.tries += 1;
        self.not_before = now + pause;
        // Whoever comes up now is another one.
        self.life = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UP: Look = Look {
        agent: AgentLook::Up(Up { stamp: None, has_stamped: false, pid: Some(1), is_gone: false }),
        is_busy: false,
        definition: None,
    };
    const MISSING: Look = Look { agent: AgentLook::Missing, is_busy: false, definition: None };
    const BUSY: Look = Look { is_busy: true, ..MISSING };

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn stamped(seconds: u64) -> Look {
        let stamp = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        Look {
            agent: AgentLook::Up(Up { stamp, has_stamped: false, pid: Some(1), is_gone: false }),
            ..UP
        }
    }

    /// Looks at these seconds; what is done at each.
    #[track_caller]
    fn check(state: &mut State, looks: &[(u64, Look, Action)]) {
        for (at, look, expected) in looks {
            assert_eq!(state.handle(look, seconds(*at)), *expected, "at {at} s");
        }
    }

    fn heal(missed_for: u64) -> Action {
        Action::Heal { cause: HealingCause::AgentMissing, missed_for: seconds(missed_for) }
    }

    #[test]
    fn it_acts_on_what_it_has_missed_twice() {
        check(
            &mut State::default(),
            &[
                (0, UP, Action::Rest),
                (10, MISSING, Action::LookAgain),
                // Woken up too early.
                (15, MISSING, Action::Rest),
                (20, MISSING, heal(10)),
            ],
        );
        // One that is back in between was only being replaced.
        check(
            &mut State::default(),
            &[
                (0, MISSING, Action::LookAgain),
                (10, UP, Action::Rest),
                (20, MISSING, Action::LookAgain),
                (30, Look { agent: AgentLook::Unknown, ..UP }, Action::Rest),
                (31, MISSING, heal(11)),
            ],
        );
    }

    #[test]
    fn it_holds_off_while_a_switch_runs_but_not_for_ever() {
        check(
            &mut State::default(),
            &[
                (0, BUSY, Action::LookAgain),
                (10, BUSY, Action::Rest),
                (20, BUSY, Action::Rest),
                (30, BUSY, heal(30)),
            ],
        );
        // When the switch ends with the agent still missing, it was missed for long enough.
        check(
            &mut State::default(),
            &[(0, BUSY, Action::LookAgain), (10, BUSY, Action::Rest), (20, MISSING, heal(20))],
        );
    }

    #[test]
    fn the_deadline_leaves_time_to_bring_it_back() {
        // A tick before the first look, the hold-off, a tick of delay, and a few seconds for the work.
        assert!(seconds(10) + HOLD_OFF_LIMIT + seconds(10) + seconds(5) < seconds(60));
    }

    #[test]
    fn tries_in_vain_become_rarer_and_start_anew_with_another_definition() {
        let mut state = State::default();
        check(&mut state, &[(0, MISSING, Action::LookAgain), (10, MISSING, heal(10))]);
        state.healed(Healed::NotBack, seconds(40));
        check(&mut state, &[(45, MISSING, Action::Rest), (50, MISSING, heal(50))]);
        state.healed(Healed::NotBack, seconds(100));
        check(&mut state, &[(115, MISSING, Action::Rest), (120, MISSING, heal(120))]);
        for _ in 0..20 {
            state.healed(Healed::NotBack, seconds(200));
        }
        check(&mut state, &[(255, MISSING, Action::Rest), (260, MISSING, heal(260))]);
        state.healed(Healed::NotBack, seconds(300));
        let new = Look { definition: Some(SystemTime::UNIX_EPOCH), ..MISSING };
        check(&mut state, &[(310, new, heal(310))]);
    }

    #[test]
    fn what_is_not_installed_is_seldom_asked_about() {
        let mut state = State::default();
        check(&mut state, &[(0, MISSING, Action::LookAgain), (10, MISSING, heal(10))]);
        state.healed(Healed::NoJob, seconds(11));
        check(&mut state, &[(20, MISSING, Action::Rest), (200, MISSING, Action::Rest)]);
        check(&mut state, &[(311, MISSING, heal(311))]);
        check(&mut state, &[(320, UP, Action::Rest), (330, MISSING, Action::LookAgain)]);
        check(&mut state, &[(340, MISSING, heal(10))]);
    }

    #[test]
    fn an_agent_that_gives_no_more_signs_of_life_is_stuck() {
        let stuck = |still_for: u64| Action::Heal {
            cause: HealingCause::AgentStuck,
            missed_for: seconds(still_for),
        };
        let mut state = State::default();
        check(
            &mut state,
            &[
                (0, stamped(1), Action::Rest),
                (10, stamped(9), Action::Rest),
                (20, stamped(9), Action::Keep),
                (30, stamped(9), Action::Rest),
                (40, stamped(9), stuck(30)),
            ],
        );
        state.healed(Healed::Back, seconds(45));
        check(&mut state, &[(50, stamped(48), Action::Rest), (60, stamped(58), Action::Rest)]);
    }

    #[test]
    fn one_late_look_or_an_agent_without_stamps_is_not_stuck() {
        // A long sleep between two looks.
        check(
            &mut State::default(),
            &[
                (0, stamped(1), Action::Rest),
                (10, stamped(9), Action::Rest),
                (500, stamped(9), Action::Keep),
                (510, stamped(505), Action::Rest),
            ],
        );
        let action = |look| if look == 2 { Action::Keep } else { Action::Rest };
        let still: Vec<(u64, Look, Action)> =
            (0..20).map(|look| (look * 10, stamped(1), action(look))).collect();
        check(&mut State::default(), &still);
    }

    #[test]
    fn another_agent_at_each_look_is_one_that_does_not_stay_up() {
        let of = |pid| Look {
            agent: AgentLook::Up(Up {
                stamp: None,
                has_stamped: false,
                pid: Some(pid),
                is_gone: false,
            }),
            ..UP
        };
        let crashing =
            Action::Heal { cause: HealingCause::AgentCrashing, missed_for: Duration::ZERO };
        check(
            &mut State::default(),
            &[
                (0, of(1), Action::Rest),
                (10, of(2), Action::Rest),
                (20, of(3), Action::Rest),
                (30, of(4), crashing),
            ],
        );
        // Restarted twice, and then it stays.
        check(
            &mut State::default(),
            &[
                (0, of(1), Action::Rest),
                (10, of(2), Action::Rest),
                (20, of(3), Action::Rest),
                (30, of(3), Action::Rest),
                (40, of(4), Action::Rest),
            ],
        );
    }

    #[test]
    fn one_that_was_stuck_before_the_first_look_is_seen_too() {
        let stuck = |still_for: u64| Action::Heal {
            cause: HealingCause::AgentStuck,
            missed_for: seconds(still_for),
        };
        let stamp = Some(SystemTime::UNIX_EPOCH);
        let look = Look {
            agent: AgentLook::Up(Up { stamp, has_stamped: true, pid: Some(1), is_gone: false }),
            ..UP
        };
        check(
            &mut State::default(),
            &[
                (0, look, Action::Rest),
                (10, look, Action::Rest),
                (20, look, Action::Keep),
                (30, look, stuck(30)),
            ],
        );
    }

    #[test]
    fn each_agent_that_stays_up_is_kept_once() {
        let of = |pid| Look {
            agent: AgentLook::Up(Up {
                stamp: None,
                has_stamped: false,
                pid: Some(pid),
                is_gone: false,
            }),
            ..UP
        };
        check(
            &mut State::default(),
            &[
                (0, of(1), Action::Rest),
                (10, of(1), Action::Rest),
                (20, of(1), Action::Keep),
                (30, of(1), Action::Rest),
                (40, of(2), Action::Rest),
                (60, of(2), Action::Keep),
            ],
        );
    }

    #[test]
    fn a_lock_that_outlives_its_agent_is_no_agent_unless_it_is_stamped() {
        let held = |stamp| {
            let stamp = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(stamp));
            let up = Up { stamp, has_stamped: true, pid: Some(1), is_gone: true };
            Look { agent: AgentLook::Up(up), ..UP }
        };
        check(&mut State::default(), &[(0, held(1), Action::LookAgain), (10, held(1), heal(10))]);
        // An agent that could not write itself down, on a full disk for one.
        check(
            &mut State::default(),
            &[
                (0, held(1), Action::LookAgain),
                (10, held(9), Action::Rest),
                (20, held(19), Action::Rest),
            ],
        );
    }
}
