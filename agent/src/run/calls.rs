//! The calls to the dashboard, each from an action to its event.

use std::{sync::PoisonError, time::Duration};

use nixfleet_protocol::{
    crash_point::{self, CrashPoint},
    journal::records::{HealingId, SwitchId},
    operation::Tests,
    wire::{
        fields::{CommandId, Text, Token},
        v1::Registered,
        v2::{Polled, SwitchReport, SwitchState},
    },
};
use uuid::Uuid;

use super::{Shared, jobs::said};
use crate::{
    decide::{
        event::{Event, Welcome},
        facts::{Arrival, Delivery, Protocol, Stage, Standing},
    },
    journal_desk::{Desk, DeskGone},
    report,
};

/// How long a v1 dashboard has to hear of a restart.
const RESTART_TOLD_WITHIN: Duration = Duration::from_secs(3);

pub(super) async fn register(shared: &Shared) -> Result<Event, DeskGone> {
    let (_, host) = shared.desk.run(Desk::host).await?;
    let registration = host.registration(&shared.settings);
    let mut reply = shared.client.register(&registration).await;
    if let Ok(registered) = &mut reply {
        take_token(shared, registered.agent_token.take()).await?;
    }
    let reply = reply.map(welcome);
    if reply.as_ref().is_ok_and(|welcome| welcome.command.is_some()) {
        crash_point::reached(CrashPoint::AgentCommandCame);
    }
    Ok(Event::Registered(reply))
}

fn welcome(registered: Registered) -> Welcome {
    Welcome {
        protocol: Protocol::offered(registered.protocol),
        command: registered
            .command
            .filter(|verb| !verb.is_empty())
            .and_then(|verb| delivered_once(&verb)),
    }
}

/// A command without an id gets one, so that it goes the same way as all others.
fn delivered_once(verb: &str) -> Option<Arrival> {
    let id = Uuid::new_v4().to_string().parse().ok()?;
    Some(Arrival { id, verb: Text::head(verb), delivery: Delivery::Once })
}

pub(super) async fn poll(shared: &Shared) -> Result<Event, DeskGone> {
    let mut reply = shared.client.poll().await;
    if let Ok(polled) = &mut reply {
        take_token(shared, polled.agent_token.take()).await?;
    }
    let reply = reply.map(leased);
    if reply.as_ref().is_ok_and(Option::is_some) {
        crash_point::reached(CrashPoint::AgentCommandCame);
    }
    Ok(Event::Polled(reply))
}

fn leased(polled: Polled) -> Option<Arrival> {
    polled.command.map(|command| Arrival {
        id: command.id,
        verb: command.verb,
        delivery: Delivery::Leased,
    })
}

/// Takes over a token of the host's own: first onto the disk, then into use. One that cannot be stored is kept for the
/// next call; the dashboard sends it only once.
async fn take_token(shared: &Shared, offered: Option<Token>) -> Result<(), DeskGone> {
    let earlier = {
        let mut slot = shared.unstored_token.lock().unwrap_or_else(PoisonError::into_inner);
        slot.take()
    };
    let Some(token) = offered.or(earlier) else { return Ok(()) };
    let had_one = shared.client.own_token();
    if had_one.as_ref() == Some(&token) {
        return Ok(());
    }
    let to_store = token.clone();
    let (_, stored) = shared.desk.run(move |desk| desk.store_token(&to_store)).await?;
    match stored {
        Ok(()) => {
            // One that gives another each time is not to fill the log.
            if had_one.is_none() {
                tracing::info!("the dashboard gave this host a token of its own");
            } else {
                tracing::debug!("the dashboard gave this host another token of its own");
            }
            shared.client.adopt(token);
        }
        Err(error) => {
            tracing::error!("the host's own token is not used yet: {}", said(&error));
            let mut slot = shared.unstored_token.lock().unwrap_or_else(PoisonError::into_inner);
            *slot = Some(token);
        }
    }
    Ok(())
}

pub(super) async fn acknowledge(shared: &Shared, command: CommandId) -> Event {
    let reply = shared.client.acknowledge(&command).await;
    if reply.is_ok() {
        crash_point::reached(CrashPoint::AgentAcknowledged);
    }
    Event::Acknowledged { command, reply }
}

pub(super) async fn send_answer(
    shared: &Shared,
    command: CommandId,
    protocol: Protocol,
) -> Result<Event, DeskGone> {
    let wanted = command.clone();
    let job = move |desk: &mut Desk| {
        desk.answer_to(&wanted).map(|answer| (answer, desk.current_generation()))
    };
    let (_, found) = shared.desk.run(job).await?;
    let Some((answer, current)) = found else {
        return Ok(Event::NotAnswerable { command });
    };
    let reply = match protocol {
        Protocol::V1 => {
            shared.client.status(&report::status_of_answer(&answer, current.as_ref())).await
        }
        Protocol::V2 => shared.client.answer(&command, &answer).await,
    };
    if reply.is_ok() {
        crash_point::reached(CrashPoint::AgentReported);
    }
    Ok(Event::AnswerSent { command, reply })
}

pub(super) async fn report(
    shared: &Shared,
    switch: SwitchId,
    stage: Stage,
    protocol: Protocol,
) -> Result<Event, DeskGone> {
    let (standing, reply) = match protocol {
        Protocol::V1 => {
            let (_, status) = shared.desk.run(move |desk| desk.status(switch)).await?;
            let Some(status) = status else { return Ok(Event::NotReportable { switch }) };
            (Standing::default(), shared.client.status(&status).await.map(|()| None))
        }
        Protocol::V2 => {
            let (_, report) = shared.desk.run(move |desk| desk.report(switch, stage)).await?;
            let Some(report) = report else { return Ok(Event::NotReportable { switch }) };
            let standing = standing_of(&report);
            (standing, shared.client.report(&report).await.map(Some))
        }
    };
    match stage {
        Stage::Final { .. } if reply.is_ok() => crash_point::reached(CrashPoint::AgentReported),
        Stage::Accepted | Stage::Running | Stage::Final { .. } => {}
    }
    Ok(Event::Reported { switch, stage, standing, reply })
}

/// How far the switch is, as this report says it.
fn standing_of(report: &SwitchReport) -> Standing {
    match &report.state {
        SwitchState::Running { started_at: _, steps, phase } => {
            Standing { steps: steps.clone(), phase: phase.clone() }
        }
        SwitchState::Accepted | SwitchState::Finished { .. } => Standing::default(),
    }
}

pub(super) async fn report_tests(shared: &Shared, switch: SwitchId, tests: Tests) -> Event {
    let reply = shared.client.test_progress(&report::test_progress(&tests)).await;
    Event::TestsReported { switch, tests, reply }
}

pub(super) async fn report_healing(shared: &Shared, healing: HealingId) -> Result<Event, DeskGone> {
    let (_, told) = shared.desk.run(move |desk| desk.healing(healing)).await?;
    let Some(told) = told else { return Ok(Event::HealingNotReportable { healing }) };
    let reply = shared.client.healing(&told).await;
    if reply.is_ok() {
        crash_point::reached(CrashPoint::AgentReported);
    }
    Ok(Event::HealingReported { healing, reply })
}

pub(super) async fn send_output(
    shared: &Shared,
    switch: SwitchId,
    offset: u64,
) -> Result<Event, DeskGone> {
    let (_, piece) = shared.desk.run(move |desk| desk.output(switch, offset)).await?;
    match piece {
        Ok(piece) => {
            let reply = shared.client.output(switch, offset, piece).await;
            Ok(Event::OutputSent { switch, reply })
        }
        Err(error) => {
            tracing::warn!(%switch, %error, "the output cannot be read");
            Ok(Event::OutputUnreadable { switch })
        }
    }
}

/// Tells a v1 dashboard of a restart. If it does not hear of it, the next agent says that it is there.
pub(super) async fn tell_restart(shared: &Shared, command: CommandId) -> Result<Event, DeskGone> {
    let (_, current) = shared.desk.run(Desk::current_generation).await?;
    let status = report::status_of_restart(current.as_ref());
    let told = tokio::time::timeout(RESTART_TOLD_WITHIN, shared.client.status(&status)).await;
    if let Ok(Ok(())) = told {
        let (_, closed) = shared.desk.run(move |desk| desk.close_restart(&command)).await?;
        if let Err(error) = closed {
            tracing::warn!("{}", said(&error));
        }
    }
    Ok(Event::RestartTold)
}
