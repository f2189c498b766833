//! A kind of call to the dashboard: one at a time, and after a failure not again too soon.

use std::{
    fmt,
    time::{Duration, Instant},
};

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};

use super::{action::Note, contact::Failing};
use crate::dashboard_client::{Failure, FailureKind};

/// The wait after a first failure, before jitter.
const SHORTEST: Duration = Duration::from_secs(1);

/// The longest wait, jitter included.
const LONGEST: Duration = Duration::from_mins(5);

/// The kinds of calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LaneName {
    Register,
    Poll,
    Command,
    Report,
    Output,
    Healing,
}

impl fmt::Display for LaneName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Register => "heartbeat",
            Self::Poll => "poll for commands",
            Self::Command => "answer to a command",
            Self::Report => "report of a switch",
            Self::Output => "output of a switch",
            Self::Healing => "report of a healing",
        })
    }
}

/// A lane.
#[derive(Debug)]
pub(super) struct Lane {
    name: LaneName,
    is_busy: bool,
    not_before: Option<Instant>,
    schedule: ExponentialBuilder,
    delays: ExponentialBackoff,
    trouble: Option<(FailureKind, Failing)>,
}

impl Lane {
    pub(super) fn new(name: LaneName, seed: u64) -> Self {
        // Jitter adds up to the delay itself, so half of the longest is where growing ends.
        let schedule = ExponentialBuilder::default()
            .with_min_delay(SHORTEST)
            .with_max_delay(LONGEST / 2)
            .with_factor(2.0)
            .with_jitter_seed(seed)
            .with_jitter()
            .without_max_times();
        Self {
            name,
            is_busy: false,
            not_before: None,
            schedule,
            delays: schedule.build(),
            trouble: None,
        }
    }

    /// Whether a call may be made now.
    pub(super) fn is_free(&self, now: Instant) -> bool {
        !self.is_busy && self.not_before.is_none_or(|not_before| not_before <= now)
    }

    /// A call is under way.
    pub(super) const fn begin(&mut self) {
        self.is_busy = true;
    }

    /// The call ended without having been made.
    pub(super) const fn end(&mut self) {
        self.is_busy = false;
    }

    /// The call was answered as it should be.
    pub(super) fn succeed(&mut self) -> Option<Note> {
        self.is_busy = false;
        self.not_before = None;
        self.delays = self.schedule.build();
        self.trouble.take().map(|_| Note::Recovered { lane: self.name })
    }

    /// The call was not; says so when that is news.
    pub(super) fn fail(&mut self, failure: &Failure, now: Instant) -> Option<Note> {
        self.is_busy = false;
        let next_try = now + self.delay(failure);
        self.not_before = Some(next_try);
        if is_passing(failure) {
            return None;
        }
        let (kind, status) = (failure.kind(), failure.http_status());
        let known = self.trouble.take();
        let since = known.as_ref().map_or(now, |(_, failing)| failing.since);
        let is_news = known.as_ref().is_none_or(|(known, _)| *known != kind);
        // The words of the same failure may differ each time; the first ones stay.
        let same = known.filter(|(_, failing)| !is_news && failing.http_status == status);
        let mut told = same.unwrap_or_else(|| {
            let (lane, why) = (self.name, failure.explanation());
            (kind, Failing { lane, since, http_status: status, why, next_try })
        });
        told.1.next_try = next_try;
        let note = is_news.then(|| Note::Failing { lane: self.name, why: told.1.why.clone() });
        self.trouble = Some(told);
        note
    }

    /// What is wrong with the calls of this kind.
    pub(super) fn failing(&self) -> Option<&Failing> {
        self.trouble.as_ref().map(|(_, failing)| failing)
    }

    fn delay(&mut self, failure: &Failure) -> Duration {
        if is_passing(failure) {
            return Duration::ZERO;
        }
        let own = self.delays.next().unwrap_or(LONGEST).min(LONGEST);
        match failure {
            Failure::Retry { after: Some(after), .. } => own.max(*after),
            Failure::Retry { after: None, .. }
            | Failure::Refused { .. }
            | Failure::Missing { .. }
            | Failure::Unauthorized { .. } => own,
        }
    }

    /// A person at the machine does not want to wait, whatever the wait is for.
    pub(super) fn hurry(&mut self) {
        self.not_before = None;
        self.delays = self.schedule.build();
    }

    /// No call before this time.
    pub(super) fn rest_until(&mut self, time: Instant) {
        self.not_before = self.not_before.max(Some(time));
    }

    /// The dashboard answers again: what only waited for that waits no longer.
    pub(super) fn dashboard_is_back(&mut self) {
        match &self.trouble {
            Some((FailureKind::Unreachable, _)) => self.not_before = None,
            Some((
                FailureKind::Refused
                | FailureKind::Unauthorized
                | FailureKind::Missing
                | FailureKind::Answered,
                _,
            ))
            | None => {}
        }
    }

    /// What could not be reached may be by now; the waits begin with the shortest.
    pub(super) fn begin_anew(&mut self) {
        self.dashboard_is_back();
        self.delays = self.schedule.build();
    }

    /// When a call may be made, if one waits for a time and not for an answer.
    pub(super) const fn opens_at(&self) -> Option<Instant> {
        if self.is_busy { None } else { self.not_before }
    }

    /// Whether a call is under way.
    pub(super) const fn is_busy(&self) -> bool {
        self.is_busy
    }
}

/// Whether the same call is worth making again at once.
const fn is_passing(failure: &Failure) -> bool {
    match failure {
        Failure::Unauthorized { has_other, .. } => *has_other,
        Failure::Refused { .. } | Failure::Missing { .. } | Failure::Retry { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unreachable() -> Failure {
        Failure::unreachable("no".to_owned())
    }

    #[test]
    fn waits_grow_to_their_limit() {
        let now = Instant::now();
        let mut lane = Lane::new(LaneName::Register, 7);
        assert!(lane.is_free(now));
        let mut least = SHORTEST;
        for _ in 0..20 {
            lane.begin();
            assert!(!lane.is_free(now));
            lane.fail(&unreachable(), now);
            let wait = lane.opens_at().unwrap() - now;
            assert!(wait >= least && wait <= LONGEST, "{wait:?}, at least {least:?}");
            least = (least * 2).min(LONGEST / 2);
        }
        lane.succeed();
        assert!(lane.is_free(now));
        lane.fail(&unreachable(), now);
        assert!(lane.opens_at().unwrap() - now <= SHORTEST * 2);
    }

    #[test]
    fn the_dashboard_s_own_wish_counts_when_it_is_longer() {
        let now = Instant::now();
        let mut lane = Lane::new(LaneName::Report, 1);
        let after = Duration::from_mins(10);
        let failure = Failure::Retry { after: Some(after), status: Some(503), why: String::new() };
        lane.fail(&failure, now);
        assert_eq!(lane.opens_at().unwrap() - now, after);
        // That it answers elsewhere does not cut short what it asked for here.
        lane.dashboard_is_back();
        assert!(!lane.is_free(now));
    }

    #[test]
    fn who_is_asked_to_hurry_waits_for_nothing_and_then_anew() {
        let now = Instant::now();
        let mut lane = Lane::new(LaneName::Report, 1);
        let after = Some(Duration::from_mins(10));
        for _ in 0..9 {
            lane.fail(&Failure::Retry { after, status: Some(429), why: String::new() }, now);
        }
        assert!(!lane.is_free(now));
        lane.hurry();
        assert!(lane.is_free(now));
        lane.fail(&unreachable(), now);
        assert!(lane.opens_at().unwrap() - now <= SHORTEST * 2);
        assert_eq!(lane.failing().unwrap().next_try, lane.opens_at().unwrap());
    }

    #[test]
    fn trouble_is_said_when_it_begins_changes_and_ends() {
        let now = Instant::now();
        let mut lane = Lane::new(LaneName::Poll, 1);
        assert!(lane.succeed().is_none());
        assert!(lane.fail(&unreachable(), now).is_some());
        assert!(lane.fail(&unreachable(), now).is_none());
        assert!(lane.fail(&Failure::nonsense(200, "?".to_owned()), now).is_some());
        assert_eq!(lane.succeed(), Some(Note::Recovered { lane: LaneName::Poll }));
        assert!(lane.succeed().is_none());
    }

    #[test]
    fn after_a_sleep_the_waits_are_short_again() {
        let now = Instant::now();
        let mut lane = Lane::new(LaneName::Register, 1);
        for _ in 0..20 {
            lane.fail(&unreachable(), now);
        }
        lane.begin_anew();
        assert!(lane.is_free(now));
        lane.fail(&unreachable(), now);
        assert!(lane.opens_at().unwrap() - now <= SHORTEST * 2);
    }

    #[test]
    fn another_token_is_tried_at_once() {
        let now = Instant::now();
        let mut lane = Lane::new(LaneName::Register, 1);
        assert!(lane.fail(&Failure::Unauthorized { status: 401, has_other: true }, now).is_none());
        assert!(lane.is_free(now));
        assert!(lane.fail(&Failure::Unauthorized { status: 401, has_other: false }, now).is_some());
        assert!(!lane.is_free(now));
    }
}
