//! What a run of `nixfleet-switch` is to do: a switch, or another of the things that a dashboard may ask for. Pure.
//!
//! All of them go the same way: one at a time, under the switch lock, with a request, a start record, an output and one
//! result. So what is said of a switch elsewhere is said of each of them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::switch_kind::SwitchKind;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// Switch to what the config says.
    #[default]
    Switch,
    /// Bring the checkout up to date.
    Pull,
    /// Both, one after the other.
    PullSwitch,
    /// Run the host's tests.
    Test,
    /// Update the flake's inputs, commit that, and push it where possible.
    Update,
    /// Go back to the generation before this one.
    Rollback,
    /// Build, and say what a switch would change.
    DryRun,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Switch,
        Self::Pull,
        Self::PullSwitch,
        Self::Test,
        Self::Update,
        Self::Rollback,
        Self::DryRun,
    ];

    /// The word in the journal and on the wire: the dashboard's verb.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Switch => "switch",
            Self::Pull => "pull",
            Self::PullSwitch => "pull-switch",
            Self::Test => "test",
            Self::Update => "update",
            Self::Rollback => "rollback",
            Self::DryRun => "dry-run",
        }
    }

    /// The beginning of a sentence about it.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Switch => "Switch",
            Self::Pull => "Pull",
            Self::PullSwitch => "Pull and switch",
            Self::Test => "Test",
            Self::Update => "Update",
            Self::Rollback => "Rollback",
            Self::DryRun => "Dry run",
        }
    }

    /// As people type it: for messages.
    pub fn typed(self, kind: SwitchKind, arguments: &[String]) -> String {
        match self {
            Self::Switch => kind.typed(arguments),
            Self::Pull
            | Self::PullSwitch
            | Self::Test
            | Self::Update
            | Self::Rollback
            | Self::DryRun => format!("nixfleet-switch {self}"),
        }
    }

    /// Whether it activates a generation.
    pub const fn activates(self) -> bool {
        match self {
            Self::Switch | Self::PullSwitch | Self::Rollback => true,
            Self::Pull | Self::Test | Self::Update | Self::DryRun => false,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A word that names no operation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is nothing that nixfleet-switch can do")]
pub struct InvalidOperation(String);

impl FromStr for Operation {
    type Err = InvalidOperation;
    fn from_str(text: &str) -> Result<Self, InvalidOperation> {
        let operation = Self::ALL.into_iter().find(|operation| operation.as_str() == text);
        operation.ok_or_else(|| InvalidOperation(text.chars().take(80).collect()))
    }
}

/// A part of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// The checkout is brought up to date.
    Pull,
    /// The flake's inputs are updated.
    Update,
    /// The update is committed and pushed.
    Publish,
    /// A generation is built, to be compared.
    Build,
    /// It is compared with the one that is there.
    Compare,
    /// The host's tests run.
    Test,
    /// What switches runs: it evaluates, builds and activates.
    Switch,
    /// An earlier generation is activated.
    Activate,
}

impl Step {
    /// The word in the journal and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Update => "update",
            Self::Publish => "publish",
            Self::Build => "build",
            Self::Compare => "compare",
            Self::Test => "test",
            Self::Switch => "switch",
            Self::Activate => "activate",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// What a pull has brought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pulled {
    /// The revision before; none where there was no checkout.
    pub before: Option<String>,
    /// The revision now.
    pub after: String,
    /// The checkout was made anew.
    pub is_fresh: bool,
}

/// How the host's tests stand.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tests {
    /// How many there are.
    pub total: u32,
    /// The one that runs, counted from 1; 0 before the first.
    pub current: u32,
    /// How many have passed.
    pub passed: u32,
    /// Those that have not, by name: the first [`MAX_NAMED_TESTS`].
    #[serde(default)]
    pub failed: Vec<String>,
    /// None runs any more.
    pub is_over: bool,
}

/// So many tests that have failed are named.
pub const MAX_NAMED_TESTS: usize = 20;

impl Tests {
    /// `3/3 pass`, `2/3 pass, 1 fail`, `no tests`: the words of agents of the first generation.
    pub fn verdict(&self) -> String {
        let failed = self.total.saturating_sub(self.passed);
        match (self.total, failed) {
            (0, _) => "no tests".to_owned(),
            (total, 0) => format!("{total}/{total} pass"),
            (total, failed) => format!("{}/{total} pass, {failed} fail", self.passed),
        }
    }
}

/// What an update has brought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Updated {
    /// The commit; none where nothing was to be updated.
    pub commit: Option<String>,
    /// Why it was not pushed, where it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_pushed: Option<String>,
}

/// How far an operation of several steps is, and what its steps have brought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Steps {
    /// The step that runs, or was the last to.
    pub step: Step,
    /// What the pull has brought, once it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pulled: Option<Pulled>,
    /// How the tests stand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tests: Option<Tests>,
    /// What the update has brought, once it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated: Option<Updated>,
}

impl Steps {
    /// At its first step.
    pub const fn at(step: Step) -> Self {
        Self { step, pulled: None, tests: None, updated: None }
    }

    /// As they stand when the operation has ended, however that came: nothing of it goes on.
    #[must_use]
    pub fn ended(mut self) -> Self {
        if let Some(tests) = &mut self.tests {
            tests.is_over = true;
        }
        self
    }

    /// What the steps have brought, in words; nothing where there is nothing to say.
    pub fn summary(&self) -> Option<String> {
        let pulled = self.pulled.as_ref().map(|pulled| {
            let after = short(&pulled.after);
            match &pulled.before {
                Some(before) if *before == pulled.after && !pulled.is_fresh => {
                    format!("already up to date at {after}")
                }
                Some(before) if *before != pulled.after => {
                    format!("{}..{after}", short(before))
                }
                Some(_) | None => format!("cloned at {after}"),
            }
        });
        let updated =
            self.updated.as_ref().map(|updated| match (&updated.commit, &updated.not_pushed) {
                (None, _) => "no input had anything new".to_owned(),
                (Some(commit), None) => format!("inputs updated and pushed as {}", short(commit)),
                (Some(commit), Some(why)) => {
                    format!("inputs updated as {}, not pushed: {why}", short(commit))
                }
            });
        let tests = self.tests.as_ref().map(|tests| {
            let verdict = tests.verdict();
            if tests.failed.is_empty() {
                verdict
            } else {
                format!("{verdict}: {}", tests.failed.join(", "))
            }
        });
        let said: Vec<String> = [pulled, updated, tests].into_iter().flatten().collect();
        (!said.is_empty()).then(|| said.join("; "))
    }
}

/// A revision as people write it.
pub fn short(revision: &str) -> &str {
    revision.get(..7).unwrap_or(revision)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_have_one_spelling() {
        for operation in Operation::ALL {
            assert_eq!(operation.as_str().parse(), Ok(operation));
            assert_eq!(serde_json::to_value(operation).unwrap(), operation.as_str());
        }
        for wrong in ["Switch", "restart", "stop", "", "switch "] {
            assert!(wrong.parse::<Operation>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn steps_have_the_word_that_is_written() {
        for step in [
            Step::Pull,
            Step::Update,
            Step::Publish,
            Step::Build,
            Step::Compare,
            Step::Test,
            Step::Switch,
            Step::Activate,
        ] {
            assert_eq!(serde_json::to_value(step).unwrap(), step.as_str());
        }
    }

    #[test]
    fn tests_are_counted_as_before() {
        for (total, passed, expected) in [
            (0, 0, "no tests"),
            (3, 3, "3/3 pass"),
            (3, 2, "2/3 pass, 1 fail"),
            (1, 0, "0/1 pass, 1 fail"),
        ] {
            let tests = Tests { total, passed, ..Tests::default() };
            assert_eq!(tests.verdict(), expected);
        }
    }

    #[test]
    fn what_the_steps_have_brought_is_said() {
        let (old, new) = ("a".repeat(40), "b".repeat(40));
        let pulled = |before: Option<&String>, after: &String, is_fresh| Steps {
            pulled: Some(Pulled { before: before.cloned(), after: after.clone(), is_fresh }),
            ..Steps::at(Step::Pull)
        };
        let updated = |commit: Option<&String>, not_pushed: Option<&str>| Steps {
            updated: Some(Updated {
                commit: commit.cloned(),
                not_pushed: not_pushed.map(str::to_owned),
            }),
            ..Steps::at(Step::Publish)
        };
        let failed =
            Tests { total: 2, passed: 1, failed: vec!["T01".to_owned()], ..Tests::default() };
        for (steps, expected) in [
            (Steps::at(Step::Pull), None),
            (pulled(None, &new, true), Some("cloned at bbbbbbb")),
            (pulled(Some(&new), &new, true), Some("cloned at bbbbbbb")),
            (pulled(Some(&new), &new, false), Some("already up to date at bbbbbbb")),
            (pulled(Some(&old), &new, false), Some("aaaaaaa..bbbbbbb")),
            (updated(None, None), Some("no input had anything new")),
            (updated(Some(&new), None), Some("inputs updated and pushed as bbbbbbb")),
            (updated(Some(&new), Some("no")), Some("inputs updated as bbbbbbb, not pushed: no")),
            (Steps { tests: Some(failed), ..Steps::at(Step::Test) }, Some("1/2 pass, 1 fail: T01")),
        ] {
            assert_eq!(steps.summary().as_deref(), expected);
        }
    }
}
