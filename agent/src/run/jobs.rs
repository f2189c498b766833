//! Performing actions: each ends with the event that tells how it went.

use std::{error::Error, sync::Arc};

use nixfleet_protocol::{
    crash_point::{self, CrashPoint},
    journal::{lock::Lock, records::SwitchId, recovery, store::Entry},
    wire::fields::CommandId,
};

use super::{Shared, calls, upkeep};
use crate::{
    decide::{
        action::Action,
        event::{CannotTake, Event},
        facts::{Arrival, Serial},
    },
    journal_desk::{Desk, DeskGone, Recovered},
    messages,
    wrapper::ending,
};

/// Performs an action to its end.
pub(super) async fn perform(shared: Arc<Shared>, action: Action) -> Result<Event, DeskGone> {
    let event = perform_on(&shared, action).await?;
    upkeep::note_clock(&shared).await?;
    Ok(event)
}

async fn perform_on(shared: &Shared, action: Action) -> Result<Event, DeskGone> {
    match action {
        Action::Register => calls::register(shared).await,
        Action::Poll => calls::poll(shared).await,
        Action::Acknowledge(command) => Ok(calls::acknowledge(shared, command).await),
        Action::SendAnswer { command, protocol } => {
            calls::send_answer(shared, command, protocol).await
        }
        Action::Report { switch, stage, protocol } => {
            calls::report(shared, switch, stage, protocol).await
        }
        Action::ReportTests { switch, tests } => {
            Ok(calls::report_tests(shared, switch, tests).await)
        }
        Action::SendOutput { switch, offset } => calls::send_output(shared, switch, offset).await,
        Action::TellRestart(command) => calls::tell_restart(shared, command).await,
        // A glance that came so far has seen a change.
        Action::Glance => Ok(Event::JournalChanged),
        Action::Look => look(shared).await,
        Action::Take { arrival, at_work } => take(shared, arrival, at_work).await,
        Action::Start(switch) => Ok(start(shared, switch).await),
        Action::Ensure(switch) => Ok(ensure(shared, switch).await),
        Action::Recover { switch, was_tried, why } => recover(shared, switch, was_tried, why).await,
        Action::Remove(switch) => on_switch(shared, switch, move |desk| desk.remove(switch)).await,
        Action::SignalWrapper(switch) => {
            quietly(shared, move |desk| desk.signal_wrapper(switch).map(drop)).await
        }
        Action::SignalHomeManager { switch, signal } => {
            quietly(shared, move |desk| desk.signal_home_manager(switch, signal).map(drop)).await
        }
        Action::MarkSwitch { switch, closing, protocol, with_reload } => {
            let job =
                move |desk: &mut Desk| desk.mark_switch(switch, &closing, protocol, with_reload);
            let (serial, is_done) = done(shared, job).await?;
            if is_done {
                crash_point::reached(CrashPoint::AgentReportMarked);
            }
            Ok(Event::SwitchMarked { serial, switch, is_done })
        }
        Action::Answer { command, answer } => {
            on_command(shared, command, move |desk, command| desk.answer(command, &answer)).await
        }
        Action::MarkCommand { command, closing, protocol } => {
            let marked = command.clone();
            let job = move |desk: &mut Desk| desk.mark_command(&marked, &closing, protocol);
            let (serial, is_done) = done(shared, job).await?;
            Ok(Event::CommandMarked { serial, command, is_done })
        }
        Action::Settle(switch) => {
            shared.desk.run(move |desk| desk.settle(switch)).await?;
            Ok(Event::Done)
        }
        Action::ReportHealing(healing) => calls::report_healing(shared, healing).await,
        Action::MarkHealing { healing, closing, protocol } => {
            let job = move |desk: &mut Desk| desk.mark_healing(healing, &closing, protocol);
            let (serial, is_done) = done(shared, job).await?;
            if is_done {
                crash_point::reached(CrashPoint::AgentReportMarked);
            }
            Ok(Event::HealingMarked { serial, healing, is_done })
        }
        Action::LookAround => upkeep::look_around(shared).await,
        Action::HandOver => Ok(upkeep::hand_over(shared).await),
        Action::MendWatchdog(trouble) => Ok(upkeep::mend_watchdog(shared, trouble).await),
        Action::NoteContact(contact) => {
            quietly(shared, move |desk| desk.note_contact(&contact)).await
        }
        Action::NoteHeartbeat => quietly(shared, Desk::note_heartbeat).await,
        Action::Prune => {
            done(shared, Desk::prune).await?;
            Ok(Event::Pruned)
        }
        // These are the loop's own.
        Action::Exit | Action::Note(_) | Action::ShowLife => Ok(Event::Done),
    }
}

/// An error in words.
pub(super) fn said(error: &dyn Error) -> String {
    messages::with_causes(error)
}

/// Has a job done whose success is all that counts; a failure is logged here.
pub(super) async fn done<E: Error + Send + 'static>(
    shared: &Shared,
    job: impl FnOnce(&mut Desk) -> Result<(), E> + Send + 'static,
) -> Result<(Serial, bool), DeskGone> {
    let (serial, outcome) = shared.desk.run(job).await?;
    if let Err(error) = &outcome {
        shared.trouble.say(error);
    }
    Ok((serial, outcome.is_ok()))
}

async fn quietly<E: Error + Send + 'static>(
    shared: &Shared,
    job: impl FnOnce(&mut Desk) -> Result<(), E> + Send + 'static,
) -> Result<Event, DeskGone> {
    done(shared, job).await?;
    Ok(Event::Done)
}

async fn on_switch<E: Error + Send + 'static>(
    shared: &Shared,
    switch: SwitchId,
    job: impl FnOnce(&mut Desk) -> Result<(), E> + Send + 'static,
) -> Result<Event, DeskGone> {
    let (serial, is_done) = done(shared, job).await?;
    Ok(Event::SwitchWorked { serial, switch, is_done })
}

async fn on_command<E: Error + Send + 'static>(
    shared: &Shared,
    command: CommandId,
    job: impl FnOnce(&mut Desk, &CommandId) -> Result<(), E> + Send + 'static,
) -> Result<Event, DeskGone> {
    let worked_on = command.clone();
    let (serial, is_done) = done(shared, move |desk: &mut Desk| job(desk, &worked_on)).await?;
    Ok(Event::CommandWorked { serial, command, is_done })
}

async fn look(shared: &Shared) -> Result<Event, DeskGone> {
    let (serial, looked) = shared.desk.run(Desk::look).await?;
    Ok(match looked {
        Ok(look) => Event::Looked { serial, look },
        Err(error) => {
            shared.trouble.say(&error);
            Event::LookFailed
        }
    })
}

async fn take(
    shared: &Shared,
    arrival: Arrival,
    at_work: Option<SwitchId>,
) -> Result<Event, DeskGone> {
    let to_take = arrival.clone();
    let (serial, taken) = shared.desk.run(move |desk| desk.take(&to_take, at_work)).await?;
    let taken = taken.map_err(|error| {
        shared.trouble.say(&error);
        CannotTake
    });
    if taken.is_ok() {
        crash_point::reached(CrashPoint::AgentCommandTaken);
    }
    Ok(Event::Taken { serial, arrival, taken })
}

/// Starts a wrapper and waits for its end. What it has done is in the journal; its exit code only tells when it has
/// done nothing and will do nothing.
async fn start(shared: &Shared, switch: SwitchId) -> Event {
    let mut child = match shared.wrapper.start(switch) {
        Ok(child) => child,
        Err(error) => {
            let how = said(&error);
            tracing::error!(%switch, "the switch cannot be started: {how}");
            return Event::WrapperFailed { switch, how };
        }
    };
    tracing::info!(%switch, pid = child.id(), "nixfleet-switch is started");
    crash_point::reached(CrashPoint::AgentWrapperStarted);
    match child.wait().await {
        Ok(status) if status.success() => Event::WrapperEnded,
        Ok(status) => Event::WrapperFailed { switch, how: ending(status) },
        Err(error) => {
            tracing::warn!(%switch, %error, "cannot wait for nixfleet-switch");
            Event::WrapperEnded
        }
    }
}

async fn ensure(shared: &Shared, switch: SwitchId) -> Event {
    tracing::info!(%switch, "having the agent's job looked after");
    if let Err(error) = shared.wrapper.ensure_for(switch).await {
        tracing::warn!(%switch, "{}", said(&error));
    }
    Event::EnsureEnded { switch }
}

async fn recover(
    shared: &Shared,
    switch: SwitchId,
    was_tried: bool,
    why: Option<String>,
) -> Result<Event, DeskGone> {
    let job = move |desk: &mut Desk| desk.recover(switch, was_tried, why.as_deref());
    let (serial, recovered) = shared.desk.run(job).await?;
    let is_done = match recovered {
        Ok(Recovered::Settled) => true,
        Ok(Recovered::NotNow) => false,
        Ok(Recovered::Remains(entry, lock)) => end_remains(entry, lock).await,
        Err(error) => {
            shared.trouble.say(&error);
            false
        }
    };
    Ok(Event::SwitchWorked { serial, switch, is_done })
}

/// Ends what a dead home-manager has left behind. It takes seconds, so it is not done where the journal is kept.
async fn end_remains(entry: Box<Entry>, lock: Lock) -> bool {
    let switch = entry.id;
    tracing::warn!(%switch, "ending what home-manager has left behind");
    let ended = tokio::task::spawn_blocking(move || recovery::end_remains(&entry, &lock)).await;
    match ended {
        Ok(Ok(())) => true,
        Ok(Err(error)) => {
            tracing::error!(%switch, "{}", said(&error));
            false
        }
        Err(error) => {
            tracing::error!(%switch, "{}", said(&error));
            false
        }
    }
}
