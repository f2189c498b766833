//! Runs one cell, from the machine's first moment to the last process's end.

use std::{
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::{
    axes::Initiator,
    cells::Cell,
    ending::{end, keep_evidence},
    fault::{Act, Actor, Expected, Trigger, Victim, When},
    judge::{Verdict, judge},
    naming::NamingWatch,
    observation::Observation,
    pool::STOPPED,
    scene::{Scene, Shared},
    stock,
    truth::{self, Run},
    watch::Watch,
};
use crate::stage::Trouble;

/// How long after the last thing that happened everything must be as it should be. A little more than the promise, so
/// that one that is kept just so is seen.
const PATIENCE: Duration = Duration::from_secs(75);

/// No cell takes longer, whatever its programs do.
const LONGEST_CELL: Duration = Duration::from_mins(5);

/// How long a step that was told to launchd takes at most to show.
const A_MOMENT: Duration = Duration::from_millis(500);

/// Time between two looks while something is to be done at a moment, and otherwise.
const LOOK_CLOSELY: Duration = Duration::from_millis(5);
const LOOK: Duration = Duration::from_millis(50);

/// How long the dashboard may be too busy to answer in the end.
const ANSWERED_WITHIN: Duration = Duration::from_secs(20);

/// Time between two looks at journal and dashboard.
const TAKE_STOCK_EVERY: Duration = Duration::from_millis(400);

/// What came of a cell.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// It was run, and this is to be said of it.
    Judged {
        /// The verdict.
        verdict: Verdict,
        /// How long the cell took.
        took: Duration,
    },
    /// It could not be run, or what it is about did not happen.
    NotRun(String),
}

/// Runs it.
pub fn run(cell: &Cell, number: usize, shared: &Shared) -> Outcome {
    if cell.variant.needs_root && !rustix::process::geteuid().is_root() {
        return Outcome::NotRun("only root can do this to a machine".to_owned());
    }
    let began = Instant::now();
    match play(cell, number, shared) {
        Ok(Played::Judged(verdict)) => Outcome::Judged { verdict, took: began.elapsed() },
        Ok(Played::DidNotHappen(why)) => Outcome::NotRun(why),
        Err(error) => {
            let cause = std::error::Error::source(&error);
            let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
            Outcome::NotRun(format!("the stage failed: {error}{cause}"))
        }
    }
}

enum Played {
    Judged(Verdict),
    DidNotHappen(String),
}

fn play(cell: &Cell, number: usize, shared: &Shared) -> Result<Played, Trouble> {
    let mut scene = Scene::prepare(cell, number, shared)?;
    let mut player = Player::begin(&scene)?;
    for act in &cell.variant.before {
        scene.perform(act)?;
    }
    player.began = now();
    scene.ask()?;
    player.play(&mut scene, shared)?;
    if shared.is_stopping() {
        end(scene);
        return Ok(Played::DidNotHappen(STOPPED.to_owned()));
    }
    let mut seen = player.last_look(&scene)?;
    let missed = player.what_did_not_happen(&scene);
    if let Some(place) = &shared.evidence {
        let verdict = judge(&seen);
        if missed.is_some() || !verdict.is_good() {
            keep_evidence(&scene, place)?;
        }
    }
    seen.left = end(scene);
    Ok(match missed {
        Some(missed) => Played::DidNotHappen(missed),
        None => Played::Judged(judge(&seen)),
    })
}

fn now() -> i64 {
    Timestamp::now().as_millisecond()
}

/// Where the play stands.
struct Player {
    watch: Watch,
    triggers: Vec<Trigger>,
    next: usize,
    /// When the moment of the next trigger was seen.
    moment: Option<Instant>,
    missed: Vec<String>,
    began: i64,
    /// When the initiator was over.
    over: Option<Instant>,
    last_disturbance: (Instant, i64),
    good_since: Option<Instant>,
    naming: Option<NamingWatch>,
    last_stock: Option<Instant>,
    is_in_order: bool,
}

impl Player {
    fn begin(scene: &Scene) -> Result<Self, Trouble> {
        let mut watch = Watch::default();
        watch.look(scene)?;
        let naming = match &scene.cell.variant.expected {
            Expected::Back => None,
            Expected::Named { why, rescue } => Some(NamingWatch::new(*why, rescue.clone())),
        };
        Ok(Self {
            watch,
            triggers: scene.cell.variant.during.clone(),
            next: 0,
            moment: None,
            missed: Vec::new(),
            began: now(),
            over: None,
            last_disturbance: (Instant::now(), now()),
            good_since: None,
            naming,
            last_stock: None,
            is_in_order: false,
        })
    }

    fn play(&mut self, scene: &mut Scene, shared: &Shared) -> Result<(), Trouble> {
        let deadline = Instant::now() + LONGEST_CELL;
        while Instant::now() < deadline && !shared.is_stopping() {
            self.watch.look(scene)?;
            self.see_whether_it_is_over(scene)?;
            self.fire(scene)?;
            if self.is_played() {
                self.name(scene)?;
                if self.is_settled(scene)? || self.is_out_of_patience() {
                    return Ok(());
                }
            }
            let closely = self.next < self.triggers.len();
            thread::sleep(if closely { LOOK_CLOSELY } else { LOOK });
        }
        Ok(())
    }

    /// Nothing more will be done by us.
    fn is_played(&self) -> bool {
        self.next >= self.triggers.len() && self.over.is_some()
    }

    fn is_out_of_patience(&self) -> bool {
        let is_named = self.naming.as_ref().is_none_or(NamingWatch::is_over);
        is_named && self.last_disturbance.0.elapsed() >= PATIENCE
    }

    fn disturbed(&mut self) {
        self.last_disturbance = (Instant::now(), now());
        self.good_since = None;
    }

    fn see_whether_it_is_over(&mut self, scene: &mut Scene) -> Result<(), Trouble> {
        if self.over.is_some() {
            return Ok(());
        }
        let is_over = match (&mut scene.user, &scene.command) {
            (Some(child), _) => {
                child.try_wait().map_err(Trouble::run("the user's switch"))?.is_some()
            }
            // Only looked at now and then: it reads the journal.
            (None, Some(command)) => {
                is_due(&mut self.last_stock, TAKE_STOCK_EVERY) && stock::has_result(scene, command)?
            }
            (None, None) => true,
        };
        let is_asked_in_vain = Instant::now() >= self.last_disturbance.0 + LONGEST_CELL / 3;
        if is_over || is_asked_in_vain {
            self.over = Some(Instant::now());
            self.disturbed();
        }
        Ok(())
    }

    fn fire(&mut self, scene: &mut Scene) -> Result<(), Trouble> {
        let Some(trigger) = self.triggers.get(self.next).cloned() else { return Ok(()) };
        if self.moment.is_none() && self.has_come(trigger.when, scene) {
            self.moment = Some(Instant::now());
        }
        match self.moment {
            Some(moment) if moment.elapsed() >= trigger.delay => {
                scene.perform(&trigger.act)?;
                self.disturbed();
                self.go_on(trigger.when);
            }
            None if self.over.is_some_and(|over| over.elapsed() >= A_MOMENT * 4) => {
                self.missed.push(format!("{:?} did not come", trigger.when));
                self.go_on(trigger.when);
            }
            Some(_) | None => {}
        }
        Ok(())
    }

    /// Several things may be done after one moment.
    fn go_on(&mut self, when: When) {
        self.next += 1;
        let is_the_same = self.triggers.get(self.next).is_some_and(|next| next.when == when);
        if !is_the_same {
            self.moment = None;
        }
    }

    fn has_come(&self, when: When, scene: &Scene) -> bool {
        let trace = scene.mac.folder.home_manager_trace();
        let is_at = |step: &str| trace.iter().any(|(_, at)| at.split(' ').next() == Some(step));
        match when {
            When::Step(step) => is_at(step),
            When::BootedOut => {
                is_at("bootout") && (self.watch.is_first_gone() || is_old(scene, A_MOMENT))
            }
            When::SwitchEnded => {
                self.over.is_some() || truth::runs(&trace).last().is_some_and(has_ended)
            }
        }
    }

    /// Sees whether what no program can help was said; if so, the user helps.
    fn name(&mut self, scene: &mut Scene) -> Result<(), Trouble> {
        let Some(naming) = &mut self.naming else { return Ok(()) };
        if naming.is_over() || !naming.look(scene, self.began)? {
            return Ok(());
        }
        scene.perform(&Act::Happens(naming.rescue()))?;
        scene.excused.push((self.began, now()));
        self.disturbed();
        Ok(())
    }

    /// Everything has been as it should be for long enough.
    fn is_settled(&mut self, scene: &mut Scene) -> Result<bool, Trouble> {
        if self.naming.as_ref().is_some_and(|naming| !naming.is_over()) {
            return Ok(false);
        }
        // Somebody who has not come by yet may still come.
        if !scene.points_not_reached().is_empty() {
            return Ok(false);
        }
        if is_due(&mut self.last_stock, TAKE_STOCK_EVERY) {
            self.is_in_order = self.watch.is_heard_since(self.last_disturbance.1)
                && are_over(scene)?
                && stock::outdated(scene)?.is_none()
                // A dashboard that is too busy to answer is asked again.
                && self.observe(scene).is_ok_and(|seen| truth::untruths(&seen).is_empty())
                && stock::locks_are_free(scene)?;
        }
        if !self.is_in_order {
            self.good_since = None;
            return Ok(false);
        }
        let since = *self.good_since.get_or_insert_with(Instant::now);
        // At this very moment an agent may be handing over to one that cannot run.
        Ok(since.elapsed() >= scene.cell.variant.look_on
            && self.observe(scene).is_ok_and(|seen| judge(&seen).back))
    }

    /// The look that counts; a dashboard that is too busy to answer is asked again.
    fn last_look(&self, scene: &Scene) -> Result<Observation, Trouble> {
        let deadline = Instant::now() + ANSWERED_WITHIN;
        loop {
            match self.observe(scene) {
                Err(Trouble::Http(_) | Trouble::Said(_)) if Instant::now() < deadline => {
                    thread::sleep(TAKE_STOCK_EVERY);
                }
                seen_or_failed => return seen_or_failed,
            }
        }
    }

    fn observe(&self, scene: &Scene) -> Result<Observation, Trouble> {
        let runs = truth::runs(&scene.mac.folder.home_manager_trace());
        let helpers = scene.helpers.iter().filter(|(actor, _)| *actor == Actor::HomeManager);
        let own = usize::from(scene.cell.axes.initiator == Initiator::Plain);
        Ok(Observation {
            began: self.began,
            until: now(),
            agents: self.watch.agents(scene)?,
            heartbeats: self.watch.heartbeats(),
            excused: scene.excused.clone(),
            requests: stock::requests(scene)?,
            told: stock::told(scene)?,
            runs,
            plain_runs: own + helpers.count(),
            command: stock::command(scene)?,
            wrapper_was_killed: scene.cell.variant.kills_the_wrapper(),
            unhelpable: self.naming.as_ref().map(NamingWatch::naming),
            is_supervised: stock::is_supervised(scene)?,
            outdated: stock::outdated(scene)?,
            locks_are_free: stock::locks_are_free(scene)?,
            left: Vec::new(),
        })
    }

    fn what_did_not_happen(&self, scene: &Scene) -> Option<String> {
        let points = scene.points_not_reached().into_iter();
        let points = points.map(|point| format!("nobody came by the crash point {point}"));
        let all: Vec<String> = self.missed.iter().cloned().chain(points).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }
}

fn is_due(last: &mut Option<Instant>, every: Duration) -> bool {
    let is_due = last.is_none_or(|last| last.elapsed() >= every);
    if is_due {
        *last = Some(Instant::now());
    }
    is_due
}

/// Whether home-manager's driver has come to its end, or is gone without.
fn has_ended(run: &Run) -> bool {
    let is_alive = nixfleet_protocol::process::ProcessIdentity::of(run.pid)
        .is_ok_and(|process| process.is_some());
    run.exit_code.is_some() || !is_alive
}

/// home-manager's trace was last written so long ago.
fn is_old(scene: &Scene, age: Duration) -> bool {
    let trace = scene.mac.folder.path("home-manager/trace.log");
    let written = trace.metadata().and_then(|metadata| metadata.modified());
    written.ok().and_then(|written| written.elapsed().ok()).is_some_and(|passed| passed >= age)
}

/// Whether all that were made to act have ended, but an agent, which is not meant to.
fn are_over(scene: &mut Scene) -> Result<bool, Trouble> {
    for (actor, child) in &mut scene.helpers {
        let has_ended = child.try_wait().map_err(Trouble::run("a helper"))?.is_some();
        if !has_ended && *actor != Actor::Agent {
            return Ok(false);
        }
    }
    Ok(true)
}

impl super::fault::Variant {
    /// Whether a wrapper need not know how its home-manager ended.
    fn kills_the_wrapper(&self) -> bool {
        let acts = self.before.iter().chain(self.during.iter().map(|trigger| &trigger.act));
        acts.into_iter().any(|act| {
            let kills_it = matches!(act, Act::Kill(victims) if victims.contains(&Victim::Wrapper));
            kills_it || matches!(act, Act::Reboot | Act::Arm(_))
        })
    }
}
