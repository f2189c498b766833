//! The steps, as a table: what is done, what it rests on, what is expected.
//!
//! `fact` names chapter and row of the collected facts about launchd.

use super::{Trouble, basics, judge::Seen, stage::Stage, switches};

/// A step.
#[derive(Debug)]
pub(super) struct StepDefinition {
    /// Its name.
    pub(super) name: &'static str,
    /// What it rests on.
    pub(super) fact: &'static str,
    /// What should be seen.
    pub(super) expectation: &'static str,
    /// Performs it and says what was seen.
    pub(super) act: fn(&mut Stage) -> Result<Seen, Trouble>,
}

/// After so many steps the questions are asked: launchd alone is through, and the whole way comes next.
pub(super) const QUESTIONS_AFTER: usize = 8;

/// All of them but the last, which is cleaning up.
pub(super) const STEPS: &[StepDefinition] = &[
    StepDefinition {
        name: "system",
        fact: "3 gui/UID",
        expectation: "launchd answers and has a domain for this user's jobs",
        act: basics::system,
    },
    StepDefinition {
        name: "leftovers",
        fact: "3 print",
        expectation: "nothing of a selftest that was killed is left",
        act: basics::leftovers,
    },
    StepDefinition {
        name: "bootstrap",
        fact: "2 bootstrap",
        expectation: "a job is loaded from any path and started",
        act: basics::bootstrap,
    },
    StepDefinition {
        name: "bootout of a slow job",
        fact: "2 bootout",
        expectation: "bootout answers before the process has ended, bootstrap is refused until then, and print says 113 afterwards",
        act: basics::bootout,
    },
    StepDefinition {
        name: "kickstart",
        fact: "2 kickstart",
        expectation: "a job that is loaded and not running is started",
        act: basics::kickstart,
    },
    StepDefinition {
        name: "KeepAlive",
        fact: "4 KeepAlive",
        expectation: "an agent that is killed is started again",
        act: basics::keep_alive,
    },
    StepDefinition {
        name: "disabled override",
        fact: "5 Disabled override",
        expectation: "bootstrap is refused while the job is disabled, and taken after enable",
        act: basics::disabled,
    },
    StepDefinition {
        name: "child in a session of its own",
        fact: "4 Stop",
        expectation: "the child lives on after its job was booted out",
        act: basics::child,
    },
    StepDefinition {
        name: "switch by the user, as 25.11",
        fact: "1 H1",
        expectation: "result succeeded, agent back with the new definition in under 60 s",
        act: switches::user_25_11,
    },
    StepDefinition {
        name: "switch by the user, as 26.05",
        fact: "1 H2",
        expectation: "result succeeded, agent back with the new definition in under 60 s",
        act: switches::user_26_05,
    },
    StepDefinition {
        name: "switch by the agent",
        fact: "5 Self-kill",
        expectation: "the agent is booted out by its own switch: result succeeded, agent back in under 60 s",
        act: switches::agent,
    },
    StepDefinition {
        name: "home-manager killed",
        fact: "1 H3",
        expectation: "killed after the bootout: result failed, agent back by the wrapper in under 60 s",
        act: switches::home_manager_killed,
    },
    StepDefinition {
        name: "other executable, same definition",
        fact: "4 Plist",
        expectation: "the agent is restarted once and runs from the new executable",
        act: switches::other_executable,
    },
    StepDefinition {
        name: "definition that cannot run",
        fact: "4 Exec failure",
        expectation: "the last definition that worked comes back, agent back in under 60 s",
        act: switches::broken,
    },
    StepDefinition {
        name: "install",
        fact: "4 RunAtLoad",
        expectation: "the watchdog is loaded and the program is at its stable path",
        act: switches::install,
    },
    StepDefinition {
        name: "wrapper and home-manager killed",
        fact: "1 H3",
        expectation: "killed after the bootout: agent back by the watchdog in under 60 s, result interrupted",
        act: switches::both_killed,
    },
    StepDefinition {
        name: "uninstall",
        fact: "2 bootout",
        expectation: "the watchdog is not loaded and the program is gone from its stable path",
        act: switches::uninstall,
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_different_and_facts_begin_with_their_chapter() {
        let names: BTreeSet<&str> = STEPS.iter().map(|step| step.name).collect();
        assert_eq!(names.len(), STEPS.len());
        for step in STEPS {
            let chapter = step.fact.split(' ').next().unwrap();
            assert!(chapter.parse::<u32>().is_ok_and(|chapter| chapter < 11), "{}", step.fact);
            assert!(!step.expectation.is_empty());
        }
        assert!(QUESTIONS_AFTER < STEPS.len());
    }
}
