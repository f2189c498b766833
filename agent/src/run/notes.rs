//! What the core has to say, in the log.

use nixfleet_protocol::wire::v2::AnswerOutcome;

use crate::{
    decide::{
        action::Note,
        facts::{Protocol, WatchdogTrouble},
    },
    settings::Settings,
};

pub(super) fn log(note: &Note, settings: &Settings) {
    let dashboard = settings.url.host_str().unwrap_or_default();
    match note {
        Note::Failing { lane, why } => tracing::warn!(dashboard, "{lane} fails: {why}"),
        Note::Recovered { lane } => tracing::info!(dashboard, "{lane} works again"),
        Note::Speaks(Protocol::V1) => tracing::info!(dashboard, "the dashboard speaks protocol 1"),
        Note::Speaks(Protocol::V2) => tracing::info!(dashboard, "the dashboard speaks protocol 2"),
        Note::Received { verb } => tracing::info!(verb, "the dashboard sent a command"),
        Note::CommandsSlowed => tracing::warn!(
            dashboard,
            "the dashboard sends commands without end; from now on they are taken slowly"
        ),
        Note::CommandLost { verb } => {
            tracing::error!(verb, "a command was not taken: it cannot be written down");
        }
        Note::Refused { switch, status, said } => {
            tracing::error!(%switch, status, said, "the dashboard refuses a report for good");
        }
        Note::ResultTaken { switch } => tracing::info!(%switch, "the dashboard has the result"),
        Note::CommandAnswered { verb, outcome, message } => {
            let outcome = match outcome {
                AnswerOutcome::Succeeded => "succeeded",
                AnswerOutcome::Failed => "failed",
                AnswerOutcome::Refused => "refused",
            };
            tracing::info!(verb, outcome, message, "a command is answered");
        }
        Note::EnsureGivenUp { switch } => {
            tracing::warn!(%switch, "this is the last try to have the agent's job looked after");
        }
        Note::HealingRefused { healing, status, said } => {
            tracing::error!(%healing, status, said, "the dashboard refuses a healing for good");
        }
        Note::HealingTaken { healing } => tracing::info!(%healing, "the dashboard has the healing"),
        Note::Outdated { difference } => {
            tracing::info!(%difference, "another agent is installed by now; handing over to it");
        }
        Note::StillOutdated { difference } => tracing::warn!(
            %difference,
            "this agent was not replaced by the one that is installed; that is tried every ten minutes from now on"
        ),
        Note::ConfigUnusable { why } => tracing::error!(
            "the config has changed and cannot be used, so this agent goes on with the one that it has: {why}"
        ),
        Note::WatchdogWrong(trouble) => {
            tracing::warn!("the watchdog does not {}; having its job looked after", verb(*trouble));
        }
        Note::WatchdogStillWrong(trouble) => tracing::warn!(
            "the watchdog still does not {}; that is tried every ten minutes from now on",
            verb(*trouble)
        ),
        Note::OutputGivenUp { switch } => {
            tracing::warn!(%switch, "the rest of the output is not sent");
        }
    }
}

const fn verb(trouble: WatchdogTrouble) -> &'static str {
    match trouble {
        WatchdogTrouble::Missing => "run",
        WatchdogTrouble::Stuck => "react",
    }
}
