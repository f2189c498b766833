//! Each switch, from its acceptance to the dashboard's last word on it.

use std::time::{Duration, Instant};

use nixfleet_protocol::{
    journal::records::{Initiator, SwitchId},
    lifecycle::{self, Circumstances, Phase, Recovery},
};

use super::{
    REST_AFTER_FAILURE, State,
    action::{Action, Note},
    facts::{Closing, Protocol, Stage, Standing, SwitchView},
    output::OutputStream,
    reception::Reception,
    tests_told::TestsTold,
};

/// How often `ensure-agent` is tried for one switch.
const MAX_ENSURE_TRIES: u8 = 3;

/// Time between two of these tries.
const ENSURE_AGAIN: Duration = Duration::from_secs(30);

/// A result without a word about the agent's job is complete after this time.
const RELOAD_EXPECTED_FOR: Duration = Duration::from_mins(2);

/// A result is not held open for its output any longer than this.
const OUTPUT_AWAITED_FOR: Duration = Duration::from_mins(1);

/// A switch that has ended is looked at often for so long.
const FRESHLY_ENDED: Duration = Duration::from_secs(30);

/// A switch, and what this agent has done about it.
#[derive(Debug)]
pub(super) struct TrackedSwitch {
    pub(super) view: SwitchView,
    seen_at: Instant,
    /// What the dashboard was told last, and when.
    pub(super) told: Option<(Stage, Instant)>,
    /// How far it was then.
    pub(super) told_standing: Standing,
    pub(super) tests: TestsTold,
    pub(super) output: OutputStream,
    pub(super) reception: Reception,
    /// The dashboard will never take the result.
    pub(super) refusal: Option<Closing>,
    was_tried: bool,
    wrapper_failure: Option<String>,
    is_busy: bool,
    rests_until: Option<Instant>,
    ensure_tries: u8,
    ensure_not_before: Option<Instant>,
}

impl TrackedSwitch {
    fn new(view: SwitchView, now: Instant) -> Self {
        Self {
            view,
            seen_at: now,
            told: None,
            told_standing: Standing::default(),
            tests: TestsTold::default(),
            output: OutputStream::default(),
            reception: Reception::default(),
            refusal: None,
            was_tried: false,
            wrapper_failure: None,
            is_busy: false,
            rests_until: None,
            ensure_tries: 0,
            ensure_not_before: None,
        }
    }

    pub(super) fn forget_what_was_told(&mut self) {
        self.told = None;
        self.told_standing = Standing::default();
        self.tests = TestsTold::default();
        self.output = OutputStream::default();
        self.reception = Reception::default();
    }

    /// Whether something new may be seen any moment.
    pub(super) fn is_moving(&self) -> bool {
        match self.view.ended {
            Some(ended) => !ended.has_reload && ended.age < FRESHLY_ENDED,
            None => match self.view.phase {
                Phase::Accepted
                | Phase::Starting
                | Phase::Running
                | Phase::Orphaned
                | Phase::Remains
                | Phase::Interrupted
                | Phase::Ensuring => true,
                Phase::Empty | Phase::Waiting | Phase::Finished { .. } => false,
            },
        }
    }

    /// Time since it ended, once it has.
    pub(super) fn ended_for(&self, now: Instant) -> Option<Duration> {
        self.view.ended.map(|ended| ended.age + now.saturating_duration_since(self.seen_at))
    }

    pub(super) fn is_resting(&self, now: Instant) -> bool {
        self.rests_until.is_some_and(|until| now < until)
    }

    /// The dashboard knows how it ended, as far as this agent has told it.
    pub(super) fn told_final(&self) -> Option<(bool, Instant)> {
        match self.told {
            Some((Stage::Final { with_reload }, at)) => Some((with_reload, at)),
            Some((Stage::Accepted | Stage::Running, _)) | None => None,
        }
    }

    fn circumstances(&self, now: Instant) -> Circumstances {
        let since = now.saturating_duration_since(self.seen_at);
        Circumstances {
            age: self.view.age.map(|age| age + since),
            was_tried: self.was_tried,
            may_start: self.view.may_start,
        }
    }

    /// The dashboard's last word, when it is time to write it down.
    fn mark_due(&self, protocol: Option<Protocol>, now: Instant) -> Option<(Closing, bool)> {
        if self.view.is_answered {
            return None;
        }
        if let Some(refusal) = &self.refusal {
            return Some((refusal.clone(), false));
        }
        let (with_reload, told_at) = self.told_final()?;
        match protocol? {
            Protocol::V1 => Some((Closing::Taken, with_reload)),
            Protocol::V2 => {
                let is_complete = with_reload || self.ended_for(now)? >= RELOAD_EXPECTED_FOR;
                let has_output = self.output.is_done()
                    || now.saturating_duration_since(told_at) >= OUTPUT_AWAITED_FOR;
                (is_complete && has_output).then_some((Closing::Taken, with_reload))
            }
        }
    }

    /// Whether nothing will happen to it any more.
    fn is_settled(&self) -> bool {
        match self.view.phase {
            Phase::Finished { to_ensure, to_report: _ } => {
                self.view.is_answered
                    && (!to_ensure || self.ensure_tries >= MAX_ENSURE_TRIES)
                    && !self.output.is_flowing()
            }
            Phase::Empty
            | Phase::Accepted
            | Phase::Waiting
            | Phase::Starting
            | Phase::Running
            | Phase::Orphaned
            | Phase::Remains
            | Phase::Interrupted
            | Phase::Ensuring => false,
        }
    }
}

impl State {
    pub(super) fn take_in_switches(&mut self, views: Vec<SwitchView>, now: Instant) {
        let still_open: std::collections::BTreeSet<SwitchId> =
            views.iter().map(|view| view.id).collect();
        self.switches.retain(|id, _| still_open.contains(id));
        for view in views {
            self.track(view, now);
        }
    }

    pub(super) fn track(&mut self, view: SwitchView, now: Instant) {
        let tracked =
            self.switches.entry(view.id).or_insert_with(|| TrackedSwitch::new(view.clone(), now));
        tracked.view = view;
        tracked.seen_at = now;
    }

    /// The switch that is at work, or is about to be.
    pub(super) fn at_work(&self) -> Option<SwitchId> {
        let is_about_to = |tracked: &TrackedSwitch| {
            tracked.view.phase == Phase::Accepted
                && tracked.was_tried
                && tracked.wrapper_failure.is_none()
        };
        self.switches
            .values()
            .find(|tracked| tracked.view.phase.is_at_work() || is_about_to(tracked))
            .map(|tracked| tracked.view.id)
    }

    pub(super) fn plan_switches(&mut self, now: Instant, actions: &mut Vec<Action>) {
        let ids: Vec<SwitchId> = self.switches.keys().copied().collect();
        for id in ids {
            self.plan_switch(id, now, actions);
        }
    }

    fn plan_switch(&mut self, id: SwitchId, now: Instant, actions: &mut Vec<Action>) {
        let protocol = self.protocol;
        let may_ensure = self.may_ensure();
        let Some(tracked) = self.switches.get_mut(&id) else { return };
        if tracked.is_busy || tracked.is_resting(now) {
            return;
        }
        if let (Some((closing, with_reload)), Some(protocol)) =
            (tracked.mark_due(protocol, now), protocol)
        {
            tracked.is_busy = true;
            actions.push(Action::MarkSwitch { switch: id, closing, protocol, with_reload });
            return;
        }
        if tracked.is_settled() {
            self.switches.remove(&id);
            self.pruning.closed += 1;
            actions.push(Action::Settle(id));
            return;
        }
        match lifecycle::recovery(tracked.view.phase, tracked.circumstances(now)) {
            Recovery::Wait => {
                // A wrapper that gave up will not come; there is nothing to wait for.
                if tracked.view.phase == Phase::Accepted && tracked.wrapper_failure.is_some() {
                    recover(tracked, actions);
                }
            }
            // What a user's wrapper has accepted only that wrapper starts.
            Recovery::Start => match tracked.view.initiator {
                Initiator::Agent => {
                    tracked.was_tried = true;
                    actions.push(Action::Start(id));
                }
                Initiator::User => {}
            },
            Recovery::CloseNotStarted | Recovery::EndRemains | Recovery::CloseInterrupted => {
                recover(tracked, actions);
            }
            Recovery::Finish { ensure: true, .. } if may_ensure => {
                if ensure(tracked, now, actions) {
                    self.is_ensuring = true;
                }
            }
            Recovery::Nothing | Recovery::Finish { .. } => {}
            Recovery::Remove => {
                tracked.is_busy = true;
                actions.push(Action::Remove(id));
            }
        }
    }

    /// One at a time, and not beside a switch: home-manager changes the agent's job itself while it runs.
    pub(super) fn may_ensure(&self) -> bool {
        let is_in_hand = |tracked: &TrackedSwitch| {
            tracked.view.phase.is_at_work() || tracked.view.phase == Phase::Ensuring
        };
        !self.is_ensuring && !self.switches.values().any(is_in_hand)
    }

    pub(super) fn switch_worked(&mut self, id: SwitchId, is_done: bool, now: Instant) {
        if let Some(tracked) = self.switches.get_mut(&id) {
            tracked.is_busy = false;
        }
        if is_done {
            self.look_soon(now);
        } else {
            self.let_rest(id, now);
        }
    }

    pub(super) fn switch_marked(
        &mut self,
        id: SwitchId,
        is_done: bool,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        let Some(tracked) = self.switches.get_mut(&id) else { return };
        tracked.is_busy = false;
        if !is_done {
            tracked.rests_until = Some(now + REST_AFTER_FAILURE);
            return;
        }
        tracked.view.is_answered = true;
        tracked.view.phase = match tracked.view.phase {
            Phase::Finished { to_ensure, to_report: _ } => {
                Phase::Finished { to_ensure, to_report: false }
            }
            other @ (Phase::Empty
            | Phase::Accepted
            | Phase::Waiting
            | Phase::Starting
            | Phase::Running
            | Phase::Orphaned
            | Phase::Remains
            | Phase::Interrupted
            | Phase::Ensuring) => other,
        };
        if tracked.refusal.is_none() {
            actions.push(Action::Note(Note::ResultTaken { switch: id }));
        }
    }

    pub(super) fn let_rest(&mut self, id: SwitchId, now: Instant) {
        if let Some(tracked) = self.switches.get_mut(&id) {
            tracked.rests_until = Some(now + REST_AFTER_FAILURE);
        }
    }

    pub(super) fn wrapper_failed(&mut self, id: SwitchId, how: String, now: Instant) {
        if let Some(tracked) = self.switches.get_mut(&id) {
            tracked.wrapper_failure = Some(how);
        }
        // The phase is to be a fresh one before anything is closed for this.
        self.look_soon(now);
    }

    pub(super) fn ensure_ended(&mut self, id: SwitchId, now: Instant) {
        self.is_ensuring = false;
        if let Some(tracked) = self.switches.get_mut(&id) {
            tracked.ensure_not_before = Some(now + ENSURE_AGAIN);
        }
        self.look_soon(now);
    }
}

fn recover(tracked: &mut TrackedSwitch, actions: &mut Vec<Action>) {
    tracked.is_busy = true;
    actions.push(Action::Recover {
        switch: tracked.view.id,
        was_tried: tracked.was_tried,
        why: tracked.wrapper_failure.clone(),
    });
}

/// Has the agent's job looked after, if there are tries left and it is time; whether it does.
fn ensure(tracked: &mut TrackedSwitch, now: Instant, actions: &mut Vec<Action>) -> bool {
    let is_time = tracked.ensure_not_before.is_none_or(|not_before| not_before <= now);
    if tracked.ensure_tries >= MAX_ENSURE_TRIES || !is_time {
        return false;
    }
    tracked.ensure_tries += 1;
    actions.push(Action::Ensure(tracked.view.id));
    if tracked.ensure_tries == MAX_ENSURE_TRIES {
        actions.push(Action::Note(Note::EnsureGivenUp { switch: tracked.view.id }));
    }
    true
}
