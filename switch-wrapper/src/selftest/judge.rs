//! Whether what a step has seen is what was expected: pure.

use std::time::Duration;

use nixfleet_protocol::journal::records::{AgentVerdict, Initiator, Outcome};

use super::{Trouble, code_in_words, stage::Answer};
use crate::messages::with_causes;

/// A host may be without its agent for so long.
const DARK_LIMIT: Duration = Duration::from_mins(1);

/// `print` of a label that is not registered.
const NOT_LOADED: Option<i32> = Some(113);

/// `bootstrap` of a label that is still there: masked, and as root.
const REFUSED: [Option<i32>; 2] = [Some(5), Some(37)];

/// `bootout` that has told the job to go. 36 is what older releases say of a slow job.
const BOOTED_OUT: [Option<i32>; 2] = [Some(0), Some(36)];

/// `bootstrap` of a job that is disabled: masked, and as root.
const DISABLED: [Option<i32>; 2] = [Some(5), Some(119)];

/// What a step has seen.
#[derive(Debug)]
pub(super) enum Seen {
    /// The system.
    System { release: String, architecture: String, manager: Answer, gui: Answer, user: Answer },
    /// What selftests that were killed had left, and what of it could not be removed.
    Leftovers { removed: Vec<String>, left: Vec<String> },
    /// A job came up after this time.
    Up { pid: u32, after: Duration },
    /// A slow job was booted out.
    Drain {
        bootout: Answer,
        process_lives: bool,
        state: Option<String>,
        bootstrap: Answer,
        gone_after: Duration,
        print_after: Option<i32>,
    },
    /// A job that was loaded and not started, and `kickstart` on it.
    Kickstarted { idle: Option<bool>, kickstart: Answer, up_after: Duration },
    /// An agent that was killed, and the next one.
    Restarted { killed: u32, next: u32, after: Duration },
    /// A job that was disabled and enabled again.
    Enabled { disabled: Answer, loaded: bool, enabled: Answer, up_after: Duration },
    /// A job that was booted out and had a child with a session of its own.
    Child { print_after: Option<i32>, child_lives: bool },
    /// A switch.
    Switch(SwitchSeen),
    /// `install` or `uninstall`.
    Installation { exit: Option<i32>, loaded: bool, program: bool, wanted: bool },
}

/// What was seen of a switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SwitchSeen {
    /// What should come of it.
    pub(super) wanted: Wanted,
    /// The result in the journal.
    pub(super) outcome: Option<Outcome>,
    /// Who asked, as the result says.
    pub(super) initiator: Option<Initiator>,
    /// What the wrapper says of the agent.
    pub(super) verdict: Option<AgentVerdict>,
    /// What was done to the agent's job.
    pub(super) steps: Vec<String>,
    /// How many agents have come up since.
    pub(super) agents: usize,
    /// How long there was none.
    pub(super) dark: Option<Duration>,
    /// Whether the agent at the end runs with the definition that is installed.
    pub(super) as_installed: bool,
    /// Whether what is installed is what the switch has brought.
    pub(super) is_new: bool,
}

/// What should come of a switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    /// How it ended, in truth.
    pub(super) outcome: Outcome,
    /// Who asked.
    pub(super) initiator: Initiator,
    /// How often the agent may come up.
    pub(super) restarts: Restarts,
    /// Which definition is installed at the end.
    pub(super) definition: Which,
    /// Who brings the agent back.
    pub(super) healer: Healer,
}

/// How often the agent may come up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Restarts {
    /// Once and not more.
    Once,
    /// Once or more.
    Some,
}

/// Which definition is installed at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// The one that the switch has brought.
    New,
    /// The one before.
    LastGood,
    /// Either; home-manager was killed before it said.
    Any,
}

/// Who brings the agent back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Healer {
    /// The wrapper, or home-manager itself.
    Wrapper,
    /// The watchdog: the wrapper was killed.
    Watchdog,
}

/// The judgement: whether it is as expected, and what was seen in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Judgement {
    pub(super) ok: bool,
    pub(super) said: String,
}

/// Judges what came of a step.
pub(super) fn judge(outcome: Result<Seen, Trouble>) -> Judgement {
    match outcome {
        Ok(seen) => seen.judge(),
        Err(trouble) => Judgement { ok: false, said: with_causes(&trouble) },
    }
}

impl Seen {
    fn judge(&self) -> Judgement {
        let (ok, said) = match self {
            Self::System { release, architecture, manager, gui, user } => {
                system(release, architecture, manager, gui, user)
            }
            Self::Leftovers { removed, left } => leftovers(removed, left),
            Self::Up { pid, after } => (true, format!("pid {pid} after {}", seconds(*after))),
            Self::Drain { bootout, process_lives, state, bootstrap, gone_after, print_after } => {
                let is_async = *process_lives && bootout.took < *gone_after;
                let ok = BOOTED_OUT.contains(&bootout.code)
                    && is_async
                    && REFUSED.contains(&bootstrap.code)
                    && *print_after == NOT_LOADED;
                let lives = if *process_lives { "alive" } else { "gone" };
                (
                    ok,
                    format!(
                        "bootout answered {} after {}, the process {lives}, state {}; bootstrap answered {}; gone after {}, then print {}",
                        code_in_words(bootout.code),
                        seconds(bootout.took),
                        state.as_deref().unwrap_or("none"),
                        code_in_words(bootstrap.code),
                        seconds(*gone_after),
                        code_in_words(*print_after),
                    ),
                )
            }
            Self::Kickstarted { idle, kickstart, up_after } => (
                *idle == Some(true) && kickstart.code == Some(0),
                format!(
                    "{} after bootstrap; kickstart answered {}, up after {}",
                    match idle {
                        Some(true) => "not running",
                        Some(false) => "running",
                        None => "not loaded",
                    },
                    code_in_words(kickstart.code),
                    seconds(*up_after),
                ),
            ),
            Self::Restarted { killed, next, after } => {
                (killed != next, format!("pid {next} {} after pid {killed}", seconds(*after)))
            }
            Self::Enabled { disabled, loaded, enabled, up_after } => (
                DISABLED.contains(&disabled.code) && !loaded && enabled.code == Some(0),
                format!(
                    "disabled: bootstrap answered {}{}; enabled: {}, up after {}",
                    code_in_words(disabled.code),
                    if *loaded { " and loaded it" } else { "" },
                    code_in_words(enabled.code),
                    seconds(*up_after),
                ),
            ),
            Self::Child { print_after, child_lives } => (
                *print_after == NOT_LOADED && *child_lives,
                format!(
                    "print of the job {}, the child {}",
                    code_in_words(*print_after),
                    if *child_lives { "lives" } else { "is gone" }
                ),
            ),
            Self::Switch(seen) => seen.judge(),
            Self::Installation { exit, loaded, program, wanted } => (
                *exit == Some(0) && loaded == wanted && program == wanted,
                format!(
                    "exit {}; watchdog {}, program {}",
                    code_in_words(*exit),
                    if *loaded { "loaded" } else { "not loaded" },
                    if *program { "in place" } else { "not in place" }
                ),
            ),
        };
        Judgement { ok, said }
    }
}

fn system(
    release: &str,
    architecture: &str,
    manager: &Answer,
    gui: &Answer,
    user: &Answer,
) -> (bool, String) {
    let has = |domain: &Answer| match domain.code {
        Some(0) => "there".to_owned(),
        other => format!("not there ({})", code_in_words(other)),
    };
    let manager_name = manager.stdout.trim();
    let ok = manager.code == Some(0) && (gui.code == Some(0) || user.code == Some(0));
    let said = format!(
        "{release}, {architecture}, managername {}, gui {}, user {}",
        if manager_name.is_empty() { "not told" } else { manager_name },
        has(gui),
        has(user)
    );
    (ok, said)
}

fn leftovers(removed: &[String], left: &[String]) -> (bool, String) {
    let said = match (removed.is_empty(), left.is_empty()) {
        (true, true) => "none".to_owned(),
        (false, true) => format!("removed {}", removed.join(", ")),
        (true, false) => format!("still there: {}", left.join(", ")),
        (false, false) => {
            format!("removed {}; still there: {}", removed.join(", "), left.join(", "))
        }
    };
    (left.is_empty(), said)
}

impl SwitchSeen {
    fn judge(&self) -> (bool, String) {
        let wanted = self.wanted;
        let is_true =
            self.outcome == Some(wanted.outcome) && self.initiator == Some(wanted.initiator);
        // What worked last may be an earlier executable too.
        let is_the_one = self.as_installed || wanted.definition == Which::LastGood;
        let is_back = self.dark.is_some_and(|dark| dark < DARK_LIMIT) && is_the_one;
        let is_healed = match wanted.healer {
            Healer::Wrapper => {
                matches!(self.verdict, Some(AgentVerdict::Healthy | AgentVerdict::Back))
            }
            Healer::Watchdog => self.verdict == Some(AgentVerdict::Back),
        };
        let restarts = match wanted.restarts {
            Restarts::Once => self.agents == 1,
            Restarts::Some => self.agents >= 1,
        };
        let definition = match wanted.definition {
            Which::New => self.is_new,
            Which::LastGood => !self.is_new,
            Which::Any => true,
        };
        let steps =
            if self.steps.is_empty() { "nothing".to_owned() } else { self.steps.join(", ") };
        let said = format!(
            "result {}, asked by {}; agent {} after {} dark, {} came up{}; done: {steps}",
            self.outcome.map_or("none", Outcome::as_str),
            match self.initiator {
                Some(Initiator::Agent) => "the agent",
                Some(Initiator::User) => "the user",
                None => "nobody",
            },
            self.verdict.map_or("unknown", AgentVerdict::as_str),
            self.dark.map_or_else(|| "more time than was waited,".to_owned(), seconds),
            self.agents,
            if self.is_new { "" } else { ", with the definition from before" },
        );
        (is_true && is_back && is_healed && restarts && definition, said)
    }
}

/// A time as people read it.
pub(super) fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests;
