//! Steps that went wrong once, each with the name of what it showed. They are played like those of a seed.

use super::step::{Act, Deed, HomeManager, NextAgent, Record, Step, Timed};

/// A case, by name.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// What it shows.
    pub name: &'static str,
    steps: fn() -> Vec<Step>,
}

/// All of them.
pub const CASES: [Case; 3] = [
    Case {
        name: "a torn plist does not keep an agent from its new config",
        steps: torn_plist_and_new_config,
    },
    Case {
        name: "a torn plist does not keep a definition that cannot run in place",
        steps: torn_plist_and_definition_that_cannot_run,
    },
    Case {
        name: "a watchdog whose record is nonsense writes it anew",
        steps: nonsense_of_watchdog,
    },
];

impl Case {
    /// The case whose name has this text in it.
    pub fn find(text: &str) -> Option<Self> {
        CASES.into_iter().find(|case| case.name.contains(text))
    }

    /// What happens in it.
    pub fn steps(self) -> Vec<Step> {
        (self.steps)()
    }
}

fn step(deed: Deed, agent: NextAgent, acts: &[(u64, Act)]) -> Step {
    Step {
        number: 1,
        faults: Vec::new(),
        armed: Vec::new(),
        deed,
        home_manager: HomeManager { release: "25.11", agent, build_tenths: 0, fails_at: None },
        acts: acts.iter().map(|(at_ms, act)| Timed { at_ms: *at_ms, act: *act }).collect(),
    }
}

/// The agent runs, its plist does not tell how: whoever looked after it found it well and left it outdated.
fn torn_plist_and_new_config() -> Vec<Step> {
    let acts = [(0, Act::TearPlist), (500, Act::ChangeConfig)];
    vec![step(Deed::Nothing, NextAgent::Unchanged, &acts)]
}

/// The job is loaded and cannot be started: whoever looked after it started it again and again.
fn torn_plist_and_definition_that_cannot_run() -> Vec<Step> {
    vec![step(Deed::Plain, NextAgent::CannotRun, &[(3_000, Act::TearPlist)])]
}

/// The watchdog wrote its record once, when it came up: whoever read it saw no watchdog.
fn nonsense_of_watchdog() -> Vec<Step> {
    let acts = [(0, Act::BreakRecord(Record::Watchdog))];
    vec![step(Deed::Nothing, NextAgent::Unchanged, &acts)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_is_found_by_what_its_name_says_and_has_steps() {
        for case in CASES {
            assert_eq!(Case::find(case.name).map(|found| found.name), Some(case.name));
            assert!(!case.steps().is_empty(), "{case:?}");
        }
        assert!(Case::find("no such case").is_none());
    }
}
