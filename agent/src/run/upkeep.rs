//! What the agent does beside its work: looking around, and having itself or its watchdog put right.

use nixfleet_protocol::journal::records::HealingCause;

use super::{Shared, jobs};
use crate::{
    decide::{event::Event, facts::WatchdogTrouble},
    journal_desk::{Desk, DeskGone},
    wrapper::WrapperError,
};

pub(super) async fn look_around(shared: &Shared) -> Result<Event, DeskGone> {
    jobs::done(shared, |desk| desk.keep_log_within_limit()).await?;
    let (_, seen) = shared.desk.run(Desk::look_around).await?;
    Ok(match seen {
        Ok(seen) => Event::LookedAround(seen),
        Err(error) => {
            shared.trouble.say(&error);
            Event::LookAroundFailed
        }
    })
}

/// If all goes well, this agent is ended before the call is.
pub(super) async fn hand_over(shared: &Shared) -> Event {
    say(shared, shared.wrapper.ensure_agent(HealingCause::AgentOutdated).await);
    Event::HandOverEnded
}

pub(super) async fn mend_watchdog(shared: &Shared, trouble: WatchdogTrouble) -> Event {
    let cause = match trouble {
        WatchdogTrouble::Missing => HealingCause::WatchdogMissing,
        WatchdogTrouble::Stuck => HealingCause::WatchdogStuck,
    };
    say(shared, shared.wrapper.ensure_watchdog(cause).await);
    Event::WatchdogMended
}

/// What does not work is tried again and again, and said now and then.
fn say(shared: &Shared, ended: Result<(), WrapperError>) {
    if let Err(error) = ended {
        shared.trouble.say(&error);
    }
}

/// Writes down how far the clocks are apart, when an answer has told something new.
pub(super) async fn note_clock(shared: &Shared) -> Result<(), DeskGone> {
    let Some(ahead) = shared.unnoted_clock() else { return Ok(()) };
    jobs::done(shared, move |desk| desk.note_clock(ahead)).await?;
    Ok(())
}
