//! The core, driven by hand: events in, actions out, no world.

mod care;
mod healings;
mod operations;
mod outward;

use std::time::{Duration, Instant};

use nixfleet_protocol::{
    journal::records::{Initiator, Outcome, SwitchId},
    lifecycle::Phase,
    operation::Operation,
    wire::{
        fields::{CommandId, Text},
        v2::AnswerOutcome,
    },
};
use rustix::process::Signal;

use super::{
    State,
    action::Action,
    event::{Event, Welcome},
    facts::{
        Arrival, Closing, CommandView, Delivery, Ended, Look, Protocol, Serial, Stage, Standing,
        Surroundings, SwitchView, Taken,
    },
    handle,
};
use crate::dashboard_client::Failure;

/// A core with its own time and journal.
struct Core {
    state: State,
    now: Instant,
    serial: Serial,
    look: Look,
}

impl Core {
    fn new() -> Self {
        let now = Instant::now();
        let state =
            State::new(Duration::from_secs(30), None, "version 1, pid 7".to_owned(), 1, now);
        Self { state, now, serial: 0, look: Look::default() }
    }

    /// A core that has registered with a dashboard of this protocol, and has looked at this journal.
    fn with(protocol: Protocol, look: Look) -> (Self, Vec<Action>) {
        let mut core = Self::new();
        core.look = look;
        let mut actions = core.event(Event::TimeCame);
        actions.extend(core.look());
        actions.extend(core.registered(protocol, None));
        (core, without_notes(actions))
    }

    fn event(&mut self, event: Event) -> Vec<Action> {
        handle(&mut self.state, event, self.now)
    }

    fn registered(&mut self, protocol: Protocol, command: Option<Arrival>) -> Vec<Action> {
        self.event(Event::Registered(Ok(Welcome { protocol, command })))
    }

    fn look(&mut self) -> Vec<Action> {
        self.serial += 1;
        let (serial, look) = (self.serial, self.look.clone());
        self.event(Event::Looked { serial, look })
    }

    fn passes(&mut self, time: Duration) -> Vec<Action> {
        self.now += time;
        self.event(Event::TimeCame)
    }

    fn taken(&mut self, arrival: Arrival, taken: Taken) -> Vec<Action> {
        self.serial += 1;
        match &taken {
            Taken::Known => {}
            Taken::Switch(view) => self.look.switches.push(view.clone()),
            Taken::Command(view) => self.look.commands.push(view.clone()),
        }
        let serial = self.serial;
        without_notes(self.event(Event::Taken { serial, arrival, taken: Ok(taken) }))
    }
}

fn without_notes(actions: Vec<Action>) -> Vec<Action> {
    actions.into_iter().filter(|action| !matches!(action, Action::Note(_))).collect()
}

fn switch(initiator: Initiator, phase: Phase) -> SwitchView {
    SwitchView {
        id: SwitchId::generate(),
        operation: Operation::Switch,
        standing: Standing::default(),
        initiator,
        phase,
        age: Some(Duration::ZERO),
        may_start: true,
        ended: None,
        is_answered: false,
        output_bytes: 0,
    }
}

fn ended(initiator: Initiator, age: Duration, has_reload: bool) -> SwitchView {
    SwitchView {
        ended: Some(Ended { outcome: Outcome::Succeeded, age, has_reload }),
        ..switch(initiator, Phase::Finished { to_ensure: !has_reload, to_report: true })
    }
}

fn command(verb: &str, is_ours: bool) -> CommandView {
    CommandView {
        id: "c-1".parse().unwrap(),
        verb: Some(verb.to_owned()),
        is_ours,
        age: Some(Duration::ZERO),
        is_answered: false,
    }
}

fn arrival(verb: &str, delivery: Delivery) -> Arrival {
    Arrival { id: "c-1".parse().unwrap(), verb: Text::head(verb), delivery }
}

fn command_id() -> CommandId {
    "c-1".parse().unwrap()
}

fn look(switches: Vec<SwitchView>) -> Look {
    Look { switches, ..Look::default() }
}

const FINAL: Stage = Stage::Final { with_reload: true };
const FINAL_ALONE: Stage = Stage::Final { with_reload: false };

fn reports(actions: &[Action]) -> Vec<(SwitchId, Stage)> {
    let mut found = Vec::new();
    for action in actions {
        if let Action::Report { switch, stage, .. } = action {
            found.push((*switch, *stage));
        }
    }
    found
}

fn answer(actions: &[Action]) -> Option<(AnswerOutcome, String)> {
    for action in actions {
        if let Action::Answer { answer, .. } = action {
            return Some((answer.outcome, answer.message.clone()));
        }
    }
    None
}

fn marks(actions: &[Action]) -> Vec<SwitchId> {
    let mut found = Vec::new();
    for action in actions {
        if let Action::MarkSwitch { switch, .. } = action {
            found.push(*switch);
        }
    }
    found
}

#[test]
fn a_new_agent_registers_and_looks_at_once() {
    let actions = Core::new().event(Event::TimeCame);
    for expected in [Action::Register, Action::Look, Action::Prune] {
        assert!(actions.contains(&expected), "{expected:?} is not in {actions:?}");
    }
    assert!(!actions.contains(&Action::Poll));
}

#[test]
fn only_a_v2_dashboard_is_polled_and_a_change_is_followed() {
    let (mut core, actions) = Core::with(Protocol::V1, Look::default());
    assert!(!actions.contains(&Action::Poll));
    let actions = core.passes(Duration::from_secs(30));
    assert!(actions.contains(&Action::Register));
    assert!(core.registered(Protocol::V2, None).contains(&Action::Poll));
    core.passes(Duration::from_secs(30));
    core.registered(Protocol::V1, None);
    let actions = core.event(Event::Polled(Ok(None)));
    assert!(!actions.contains(&Action::Poll));
    assert!(!core.passes(Duration::from_secs(5)).contains(&Action::Poll));
}

#[test]
fn heartbeats_keep_their_interval_while_a_poll_hangs() {
    let (mut core, _) = Core::with(Protocol::V2, Look::default());
    for _ in 0..3 {
        assert!(!core.passes(Duration::from_secs(29)).contains(&Action::Register));
        assert!(core.passes(Duration::from_secs(1)).contains(&Action::Register));
        assert!(core.registered(Protocol::V2, None).contains(&Action::NoteHeartbeat));
    }
}

#[test]
fn a_dashboard_that_answers_polls_at_once_is_not_asked_without_pause() {
    let (mut core, _) = Core::with(Protocol::V2, Look::default());
    assert!(!core.event(Event::Polled(Ok(None))).contains(&Action::Poll));
    assert!(!core.passes(Duration::from_millis(900)).contains(&Action::Poll));
    assert!(core.passes(Duration::from_millis(100)).contains(&Action::Poll));
}

#[test]
fn a_switch_is_on_disk_then_acknowledged_then_started() {
    let (mut core, _) = Core::with(Protocol::V2, Look::default());
    let leased = arrival("switch", Delivery::Leased);
    let actions = without_notes(core.event(Event::Polled(Ok(Some(leased.clone())))));
    let take = Action::Take { arrival: leased.clone(), at_work: None };
    assert!(actions.contains(&take), "{actions:?}");
    assert!(!actions.iter().any(|action| matches!(action, Action::Acknowledge(_))));

    let view = switch(Initiator::Agent, Phase::Accepted);
    let actions = core.taken(leased.clone(), Taken::Switch(view.clone()));
    let at = |wanted: &Action| actions.iter().position(|action| action == wanted);
    let acknowledged = at(&Action::Acknowledge(command_id())).unwrap();
    assert!(acknowledged < at(&Action::Start(view.id)).unwrap());

    // The same command again is acknowledged again, and nothing is started.
    core.event(Event::Acknowledged { command: command_id(), reply: Ok(()) });
    core.now += Duration::from_secs(1);
    core.event(Event::TimeCame);
    core.event(Event::Polled(Ok(Some(leased.clone()))));
    let actions = core.taken(leased, Taken::Known);
    assert!(actions.contains(&Action::Acknowledge(command_id())));
    assert!(!actions.iter().any(|action| matches!(action, Action::Start(_))));
}

#[test]
fn a_second_switch_is_said_to_come_at_a_bad_time() {
    let running = switch(Initiator::User, Phase::Running);
    let (mut core, _) = Core::with(Protocol::V1, look(vec![running.clone()]));
    core.passes(Duration::from_secs(30));
    let once = arrival("switch", Delivery::Once);
    let actions = core.registered(Protocol::V1, Some(once.clone()));
    assert!(actions.contains(&Action::Take { arrival: once, at_work: Some(running.id) }));
}

#[test]
fn a_command_that_cannot_be_written_down_is_tried_again_for_a_while() {
    let (mut core, _) = Core::with(Protocol::V1, Look::default());
    core.passes(Duration::from_secs(30));
    let once = arrival("switch", Delivery::Once);
    core.registered(Protocol::V1, Some(once.clone()));
    let mut tries = 1;
    for _ in 0..30 {
        let failed = Event::Taken {
            serial: core.serial,
            arrival: once.clone(),
            taken: Err(super::event::CannotTake),
        };
        core.event(failed);
        core.now += Duration::from_secs(5);
        let actions = core.event(Event::TimeCame);
        if !actions.iter().any(|action| matches!(action, Action::Take { .. })) {
            break;
        }
        tries += 1;
    }
    assert_eq!(tries, 13);
}

#[test]
fn what_an_earlier_agent_accepted_is_started_once_and_a_user_s_never() {
    let ours = switch(Initiator::Agent, Phase::Accepted);
    let theirs = switch(Initiator::User, Phase::Accepted);
    let (mut core, actions) = Core::with(Protocol::V2, look(vec![ours.clone(), theirs.clone()]));
    assert!(actions.contains(&Action::Start(ours.id)));
    assert!(!actions.contains(&Action::Start(theirs.id)));
    assert!(!core.look().contains(&Action::Start(ours.id)));
}

#[test]
fn a_wrapper_that_fails_before_it_began_closes_its_switch_at_once() {
    let ours = switch(Initiator::Agent, Phase::Accepted);
    let (mut core, _) = Core::with(Protocol::V2, look(vec![ours.clone()]));
    let how = "exit code 78".to_owned();
    let actions = core.event(Event::WrapperFailed { switch: ours.id, how: how.clone() });
    let recover = Action::Recover { switch: ours.id, was_tried: true, why: Some(how) };
    assert!(actions.contains(&recover), "{actions:?}");
    assert!(!core.look().contains(&recover), "it is at it already");
    core.serial += 1;
    let serial = core.serial;
    core.event(Event::SwitchWorked { serial, switch: ours.id, is_done: false });
    assert!(!core.look().contains(&recover), "it rests");
    core.now += Duration::from_secs(5);
    assert!(core.look().contains(&recover));
}

#[test]
fn open_ends_are_recovered() {
    for (phase, recovers) in [
        (Phase::Interrupted, true),
        (Phase::Remains, true),
        (Phase::Orphaned, false),
        (Phase::Running, false),
        (Phase::Starting, false),
        (Phase::Waiting, false),
    ] {
        let view = switch(Initiator::Agent, phase);
        let (_, actions) = Core::with(Protocol::V2, look(vec![view]));
        let found = actions.iter().any(|action| matches!(action, Action::Recover { .. }));
        assert_eq!(found, recovers, "{phase:?}");
    }
}

#[test]
fn results_go_out_oldest_first_one_at_a_time() {
    let first = ended(Initiator::Agent, Duration::from_hours(1), true);
    let second = ended(Initiator::User, Duration::from_mins(1), true);
    let running = switch(Initiator::Agent, Phase::Running);
    let views = vec![running.clone(), second.clone(), first.clone()];
    let (mut core, actions) = Core::with(Protocol::V2, look(views));
    assert_eq!(reports(&actions), [(first.id, FINAL)]);
    let actions = core.event(Event::Reported {
        standing: Standing::default(),
        switch: first.id,
        stage: FINAL,
        reply: Ok(Some(0)),
    });
    assert_eq!(reports(&actions), [(second.id, FINAL)]);
    assert_eq!(marks(&actions), [first.id]);
    let actions = core.event(Event::Reported {
        standing: Standing::default(),
        switch: second.id,
        stage: FINAL,
        reply: Ok(Some(0)),
    });
    assert_eq!(reports(&actions), [(running.id, Stage::Running)]);
    assert_eq!(marks(&actions), [second.id]);
}

#[test]
fn a_result_is_told_at_once_and_again_with_the_reload() {
    let view = ended(Initiator::Agent, Duration::ZERO, false);
    let id = view.id;
    let (mut core, actions) = Core::with(Protocol::V2, look(vec![view.clone()]));
    assert_eq!(reports(&actions), [(id, FINAL_ALONE)]);
    let told = Event::Reported {
        standing: Standing::default(),
        switch: id,
        stage: FINAL_ALONE,
        reply: Ok(Some(0)),
    };
    assert_eq!(reports(&core.event(told)), []);

    core.look.switches = vec![SwitchView {
        ended: Some(Ended {
            outcome: Outcome::Succeeded,
            age: Duration::from_secs(3),
            has_reload: true,
        }),
        phase: Phase::Finished { to_ensure: false, to_report: true },
        ..view
    }];
    let actions = core.look();
    assert_eq!(reports(&actions), [(id, FINAL)]);
    assert_eq!(marks(&actions), []);
    let actions = core.event(Event::Reported {
        standing: Standing::default(),
        switch: id,
        stage: FINAL,
        reply: Ok(Some(0)),
    });
    let mark = Action::MarkSwitch {
        switch: id,
        closing: Closing::Taken,
        protocol: Protocol::V2,
        with_reload: true,
    };
    assert!(actions.contains(&mark), "{actions:?}");
    core.serial += 1;
    let serial = core.serial;
    let actions = core.event(Event::SwitchMarked { serial, switch: id, is_done: true });
    assert!(actions.contains(&Action::Settle(id)), "{actions:?}");
}

#[test]
fn a_result_without_a_reload_is_complete_after_two_minutes() {
    let view = ended(Initiator::Agent, Duration::ZERO, false);
    let id = view.id;
    let (mut core, _) = Core::with(Protocol::V2, look(vec![view]));
    core.event(Event::Reported {
        standing: Standing::default(),
        switch: id,
        stage: FINAL_ALONE,
        reply: Ok(Some(0)),
    });
    assert_eq!(marks(&core.passes(Duration::from_secs(119))), []);
    assert_eq!(marks(&core.passes(Duration::from_secs(1))), [id]);
}

#[test]
fn a_v1_dashboard_is_told_once_and_after_the_reload() {
    let view = ended(Initiator::Agent, Duration::ZERO, false);
    let id = view.id;
    let (mut core, actions) = Core::with(Protocol::V1, look(vec![view]));
    assert_eq!(reports(&actions), []);
    assert_eq!(reports(&core.passes(Duration::from_secs(19))), []);
    assert_eq!(reports(&core.passes(Duration::from_secs(1))), [(id, FINAL_ALONE)]);
    let told = Event::Reported {
        standing: Standing::default(),
        switch: id,
        stage: FINAL_ALONE,
        reply: Ok(None),
    };
    let actions = core.event(told);
    assert_eq!(reports(&actions), []);
    assert_eq!(marks(&actions), [id]);
}

#[test]
fn on_v1_a_user_s_result_waits_for_the_dashboard_s_own_switch() {
    let theirs = ended(Initiator::User, Duration::from_mins(5), true);
    let ours = switch(Initiator::Agent, Phase::Running);
    let (mut core, actions) = Core::with(Protocol::V1, look(vec![theirs.clone(), ours.clone()]));
    assert_eq!(reports(&actions), []);
    let done = SwitchView { id: ours.id, ..ended(Initiator::Agent, Duration::ZERO, true) };
    core.look.switches = vec![theirs.clone(), done];
    assert_eq!(reports(&core.look()), [(ours.id, FINAL)]);
    let told = Event::Reported {
        standing: Standing::default(),
        switch: ours.id,
        stage: FINAL,
        reply: Ok(None),
    };
    assert_eq!(reports(&core.event(told)), []);
    core.event(Event::TimeCame);
    core.serial += 1;
    let serial = core.serial;
    let marked = Event::SwitchMarked { serial, switch: ours.id, is_done: true };
    assert_eq!(reports(&core.event(marked)), [(theirs.id, FINAL)]);
}

#[test]
fn on_v1_the_newest_of_the_dashboard_s_commands_is_told_first() {
    let first = switch(Initiator::Agent, Phase::Running);
    let not_started =
        Ended { outcome: Outcome::NotStarted, age: Duration::ZERO, has_reload: false };
    let second =
        SwitchView { ended: Some(not_started), ..ended(Initiator::Agent, Duration::ZERO, false) };
    let (_, actions) = Core::with(Protocol::V1, look(vec![first.clone(), second.clone()]));
    assert_eq!(reports(&actions), [(second.id, FINAL_ALONE)], "nothing is waited for");

    let done = SwitchView { id: first.id, ..ended(Initiator::Agent, Duration::ZERO, true) };
    let running = switch(Initiator::Agent, Phase::Running);
    let (mut core, actions) = Core::with(Protocol::V1, look(vec![done.clone(), running.clone()]));
    assert_eq!(reports(&actions), [], "it would close the one that runs");
    let over = SwitchView { id: running.id, ..ended(Initiator::Agent, Duration::ZERO, true) };
    core.look.switches = vec![done.clone(), over.clone()];
    assert_eq!(reports(&core.look()), [(over.id, FINAL)]);
    core.look.switches = vec![done.clone(), SwitchView { is_answered: true, ..over }];
    let told = Event::Reported {
        standing: Standing::default(),
        switch: running.id,
        stage: FINAL,
        reply: Ok(None),
    };
    core.event(told);
    core.serial += 1;
    let serial = core.serial;
    let marked = Event::SwitchMarked { serial, switch: running.id, is_done: true };
    assert_eq!(reports(&core.event(marked)), [(done.id, FINAL)]);

    let (_, actions) = Core::with(Protocol::V2, look(vec![done.clone(), running]));
    assert!(reports(&actions).contains(&(done.id, FINAL)), "there results close by id");
}

#[test]
fn a_refused_result_is_set_aside_and_the_next_one_goes() {
    let first = ended(Initiator::Agent, Duration::from_hours(1), true);
    let second = ended(Initiator::User, Duration::from_mins(1), true);
    let (mut core, _) = Core::with(Protocol::V2, look(vec![first.clone(), second.clone()]));
    let refused = Failure::Refused { status: 422, said: "no".to_owned() };
    let event = Event::Reported {
        standing: Standing::default(),
        switch: first.id,
        stage: FINAL,
        reply: Err(refused),
    };
    let actions = core.event(event);
    let closing = Closing::Refused { status: 422, said: "no".to_owned() };
    let mark = Action::MarkSwitch {
        switch: first.id,
        closing,
        protocol: Protocol::V2,
        with_reload: false,
    };
    assert!(actions.contains(&mark), "{actions:?}");
    assert_eq!(reports(&actions), [(second.id, FINAL)]);
}

#[test]
fn an_unknown_host_registers_and_is_finally_refused() {
    let view = ended(Initiator::Agent, Duration::ZERO, true);
    let id = view.id;
    let (mut core, _) = Core::with(Protocol::V2, look(vec![view]));
    let mut tries = 1;
    loop {
        let reply = Err(Failure::Missing { said: "who?".to_owned() });
        let actions = core.event(Event::Reported {
            standing: Standing::default(),
            switch: id,
            stage: FINAL,
            reply,
        });
        if marks(&actions) == [id] {
            break;
        }
        assert!(actions.contains(&Action::Register));
        core.registered(Protocol::V2, None);
        assert_eq!(reports(&core.passes(Duration::from_secs(20))).len(), 1);
        tries += 1;
    }
    assert_eq!(tries, 4);
}

#[test]
fn a_result_that_the_dashboard_chokes_on_lets_the_others_pass() {
    let first = ended(Initiator::Agent, Duration::from_hours(1), true);
    let second = ended(Initiator::User, Duration::from_mins(1), true);
    let (mut core, _) = Core::with(Protocol::V2, look(vec![first.clone(), second.clone()]));
    for try_number in 1..=5 {
        let reply = Err(Failure::nonsense(500, "500".to_owned()));
        core.event(Event::Reported {
            standing: Standing::default(),
            switch: first.id,
            stage: FINAL,
            reply,
        });
        let next = reports(&core.passes(Duration::from_mins(5)));
        let expected = if try_number < 5 { first.id } else { second.id };
        assert_eq!(next, [(expected, FINAL)]);
    }
}

#[test]
fn when_the_dashboard_is_back_results_do_not_wait_out_their_backoff() {
    let view = ended(Initiator::Agent, Duration::ZERO, true);
    let id = view.id;
    let (mut core, _) = Core::with(Protocol::V2, look(vec![view]));
    for _ in 0..12 {
        let reply = Err(Failure::unreachable("down".to_owned()));
        core.event(Event::Reported {
            standing: Standing::default(),
            switch: id,
            stage: FINAL,
            reply,
        });
        core.passes(Duration::from_mins(5));
    }
    let reply = Err(Failure::unreachable("down".to_owned()));
    core.event(Event::Reported { standing: Standing::default(), switch: id, stage: FINAL, reply });
    assert_eq!(reports(&core.passes(Duration::from_secs(2))), []);
    assert_eq!(reports(&core.registered(Protocol::V2, None)), [(id, FINAL)]);
}

#[test]
fn output_goes_on_where_the_dashboard_says() {
    let view = SwitchView { output_bytes: 100, ..switch(Initiator::Agent, Phase::Running) };
    let id = view.id;
    let (mut core, _) = Core::with(Protocol::V2, look(vec![view]));
    let told = Event::Reported {
        standing: Standing::default(),
        switch: id,
        stage: Stage::Running,
        reply: Ok(Some(40)),
    };
    let send = |offset| Action::SendOutput { switch: id, offset };
    assert!(core.event(told).contains(&send(40)));
    assert!(core.event(Event::OutputSent { switch: id, reply: Ok(70) }).contains(&send(70)));
    assert!(core.event(Event::OutputSent { switch: id, reply: Ok(60) }).contains(&send(60)));
    let sends = |actions: Vec<Action>| {
        actions.iter().any(|action| matches!(action, Action::SendOutput { .. }))
    };
    assert!(!sends(core.event(Event::OutputSent { switch: id, reply: Ok(100) })));
    // The dashboard stands still: it is not sent the same piece for ever.
    core.look.switches[0].output_bytes = 200;
    assert!(sends(core.look()));
    for _ in 0..4 {
        assert!(sends(core.event(Event::OutputSent { switch: id, reply: Ok(100) })));
    }
    assert!(!sends(core.event(Event::OutputSent { switch: id, reply: Ok(100) })));
}

#[test]
fn unknown_verbs_are_answered_as_such() {
    for verb in ["pull", "test", "rm -rf /", ""] {
        let (mut core, _) = Core::with(Protocol::V2, Look::default());
        let leased = arrival(verb, Delivery::Leased);
        core.event(Event::Polled(Ok(Some(leased.clone()))));
        let actions = core.taken(leased, Taken::Command(command(verb, true)));
        let expected = (AnswerOutcome::Refused, format!("Unknown command: {verb}"));
        assert_eq!(answer(&actions), Some(expected));
        core.serial += 1;
        let serial = core.serial;
        let worked = Event::CommandWorked { serial, command: command_id(), is_done: true };
        core.event(worked);
        let actions = core.event(Event::Acknowledged { command: command_id(), reply: Ok(()) });
        let send = Action::SendAnswer { command: command_id(), protocol: Protocol::V2 };
        assert!(actions.contains(&send), "{actions:?}");
        let answered = Event::AnswerSent { command: command_id(), reply: Ok(()) };
        let mut actions = core.event(answered);
        actions.extend(core.event(Event::TimeCame));
        assert!(actions.iter().any(|action| matches!(action, Action::MarkCommand { .. })));
    }
}

#[test]
fn a_restart_happens_once_the_dashboard_has_heard_of_it() {
    for (delivery, protocol, heard) in [
        (
            Delivery::Leased,
            Protocol::V2,
            Event::Acknowledged { command: command_id(), reply: Ok(()) },
        ),
        (Delivery::Once, Protocol::V1, Event::RestartTold),
    ] {
        for hears in [true, false] {
            let (mut core, _) = Core::with(protocol, Look::default());
            core.passes(Duration::from_secs(30));
            let restart = arrival("restart", delivery);
            core.registered(protocol, Some(restart.clone()));
            let actions = core.taken(restart, Taken::Command(command("restart", true)));
            assert!(!actions.contains(&Action::Exit));
            let actions =
                if hears { core.event(heard.clone()) } else { core.passes(Duration::from_secs(3)) };
            assert!(actions.contains(&Action::Exit), "{protocol:?} {actions:?}");
        }
    }
}

#[test]
fn the_next_agent_answers_for_a_restart() {
    let commands = vec![command("restart", false)];
    let (_, actions) = Core::with(Protocol::V2, Look { commands, ..Look::default() });
    let expected = (AnswerOutcome::Succeeded, "agent restarted: version 1, pid 7".to_owned());
    assert_eq!(answer(&actions), Some(expected));
}

/// Sends `stop` to a core with this switch, up to the look that shows what is at work.
fn stop(view: Option<SwitchView>) -> (Core, Vec<Action>) {
    let (mut core, _) = Core::with(Protocol::V2, look(view.into_iter().collect()));
    let leased = arrival("stop", Delivery::Leased);
    core.event(Event::Polled(Ok(Some(leased.clone()))));
    core.taken(leased, Taken::Command(command("stop", true)));
    let actions = core.look();
    (core, without_notes(actions))
}

#[test]
fn stop_without_a_switch_is_refused() {
    let (_, actions) = stop(None);
    let expected = (AnswerOutcome::Refused, "no switch is running".to_owned());
    assert_eq!(answer(&actions), Some(expected));
}

#[test]
fn stop_asks_the_wrapper_and_answers_with_the_result() {
    let running = switch(Initiator::User, Phase::Running);
    let id = running.id;
    let (mut core, actions) = stop(Some(running));
    assert_eq!(answer(&actions), None);
    let pressed = [actions, core.look()].concat();
    let signals = pressed.iter().filter(|action| **action == Action::SignalWrapper(id)).count();
    assert_eq!(signals, 1);

    let mut done = SwitchView { id, ..ended(Initiator::User, Duration::ZERO, true) };
    done.ended = Some(Ended { outcome: Outcome::Cancelled, age: Duration::ZERO, has_reload: true });
    core.look.switches = vec![done];
    let expected = (AnswerOutcome::Succeeded, format!("switch {id}: cancelled"));
    assert_eq!(answer(&core.look()), Some(expected));
}

#[test]
fn stop_ends_an_orphan_itself_first_gently() {
    let orphan = switch(Initiator::Agent, Phase::Orphaned);
    let id = orphan.id;
    let (mut core, actions) = stop(Some(orphan));
    let signal = |signal| Action::SignalHomeManager { switch: id, signal };
    assert!(actions.contains(&signal(Signal::TERM)), "{actions:?}");
    assert!(!core.passes(Duration::from_secs(9)).contains(&signal(Signal::KILL)));
    assert!(core.passes(Duration::from_secs(1)).contains(&signal(Signal::KILL)));
    assert!(!core.passes(Duration::from_secs(1)).contains(&signal(Signal::KILL)));
}

#[test]
fn stop_does_not_wait_for_ever() {
    for (phase, after) in [(Phase::Running, 60), (Phase::Starting, 10)] {
        let (mut core, _) = stop(Some(switch(Initiator::Agent, phase)));
        assert_eq!(answer(&core.passes(Duration::from_secs(after - 1))), None);
        let (outcome, _) = answer(&core.passes(Duration::from_secs(1))).unwrap();
        assert_eq!(outcome, AnswerOutcome::Failed, "{phase:?}");
    }
}

#[test]
fn the_agent_s_job_is_looked_after_a_few_times_and_not_beside_a_switch() {
    let lost = ended(Initiator::User, Duration::from_mins(3), false);
    let running = switch(Initiator::User, Phase::Running);
    let (mut core, actions) = Core::with(Protocol::V1, look(vec![lost.clone(), running]));
    assert!(!actions.contains(&Action::Ensure(lost.id)));
    core.look.switches.truncate(1);
    let mut tries = 0;
    for _ in 0..10 {
        if core.look().contains(&Action::Ensure(lost.id)) {
            tries += 1;
            assert!(!core.look().contains(&Action::Ensure(lost.id)), "one at a time");
            core.event(Event::EnsureEnded { switch: lost.id });
        }
        core.now += Duration::from_secs(30);
    }
    assert_eq!(tries, 3);
}

#[test]
fn an_old_look_changes_nothing() {
    let (mut core, _) = Core::with(Protocol::V2, Look::default());
    let leased = arrival("switch", Delivery::Leased);
    core.event(Event::Polled(Ok(Some(leased.clone()))));
    core.now += Duration::from_secs(1);
    assert!(core.event(Event::JournalChanged).contains(&Action::Look));
    // The look is from before the switch was put on disk, and comes in after it.
    core.serial += 1;
    let view = switch(Initiator::Agent, Phase::Accepted);
    core.taken(leased, Taken::Switch(view));
    let stale = Event::Looked { serial: core.serial - 1, look: Look::default() };
    assert!(core.event(stale).contains(&Action::Look));
    assert_eq!(core.state.switches.len(), 1);
}

#[test]
fn nothing_is_done_and_nothing_is_due_while_idle() {
    let (mut core, _) = Core::with(Protocol::V2, Look::default());
    core.event(Event::Pruned);
    core.event(Event::LookedAround(Surroundings::default()));
    core.event(Event::TimeCame);
    let began = core.now;
    let (mut wakes, mut signs, mut looks_around) = (0, 0, 0);
    while core.now < began + Duration::from_secs(20) {
        core.now = core.state.wake_at(core.now);
        wakes += 1;
        let actions = core.event(Event::TimeCame);
        let of_kind = |kind: &Action| actions.iter().filter(|action| *action == kind).count();
        let [glance, sign, look] =
            [Action::Glance, Action::ShowLife, Action::LookAround].map(|kind| of_kind(&kind));
        assert_eq!(glance + sign + look, actions.len(), "{actions:?}");
        signs += sign;
        looks_around += look;
        if look > 0 {
            core.event(Event::LookedAround(Surroundings::default()));
        }
    }
    assert!(wakes <= 21, "{wakes} wakes in 20 s");
    assert!((5..=10).contains(&signs), "{signs} signs of life in 20 s");
    assert_eq!(looks_around, 2);
}
