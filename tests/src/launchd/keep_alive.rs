//! `KeepAlive`: when launchd starts a job by itself. The keys of a dictionary are OR-ed.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::process_end::ProcessEnd;

/// When an ended job is started again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeepAlive {
    /// Never by itself.
    Never,
    /// Always.
    Always,
    /// When one of the conditions holds.
    When(Conditions),
}

/// The conditions of a `KeepAlive` dictionary.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Conditions {
    /// `true`: after exit code 0; `false`: after anything else.
    pub successful_exit: Option<bool>,
    /// `true`: after a crash signal; `false`: after anything else.
    pub crashed: Option<bool>,
    /// While another label is registered, or while it is not.
    #[serde(default)]
    pub other_job_enabled: BTreeMap<String, bool>,
    /// While a path exists, or while it does not.
    #[serde(default)]
    pub path_state: BTreeMap<PathBuf, bool>,
    /// `true`: nothing of all this before the first demand.
    pub after_initial_demand: Option<bool>,
}

/// What a decision about keeping a job alive rests on.
#[derive(Debug, Clone, Copy)]
pub struct Situation {
    /// How the last run ended; `None` before the first.
    pub last_end: Option<ProcessEnd>,
    /// Whether somebody has asked for the job since it was loaded.
    pub demanded: bool,
    /// Whether a condition about something outside of the job holds.
    pub outside: bool,
}

impl KeepAlive {
    /// Whether launchd wants the job to run.
    pub fn wants_start(&self, situation: Situation) -> bool {
        match self {
            Self::Never => false,
            Self::Always => true,
            Self::When(conditions) => conditions.hold(situation),
        }
    }

    /// Whether a condition about something outside of the job holds, given who is registered in
    /// the domain and which paths exist.
    pub fn outside(
        &self,
        is_registered: impl Fn(&str) -> bool,
        exists: impl Fn(&Path) -> bool,
    ) -> bool {
        self.other_jobs().any(|(label, wanted)| is_registered(label) == wanted)
            || self.path_states().any(|(path, wanted)| exists(path) == wanted)
    }

    /// Whether anything outside of the job is looked at.
    pub fn looks_outside(&self) -> bool {
        self.other_jobs().next().is_some() || self.paths().next().is_some()
    }

    /// The paths that are looked at.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.path_states().map(|(path, _)| path)
    }

    fn other_jobs(&self) -> impl Iterator<Item = (&str, bool)> {
        self.conditions()
            .into_iter()
            .flat_map(|conditions| &conditions.other_job_enabled)
            .map(|(label, wanted)| (label.as_str(), *wanted))
    }

    fn path_states(&self) -> impl Iterator<Item = (&Path, bool)> {
        self.conditions()
            .into_iter()
            .flat_map(|conditions| &conditions.path_state)
            .map(|(path, wanted)| (path.as_path(), *wanted))
    }

    fn conditions(&self) -> Option<&Conditions> {
        match self {
            Self::Never | Self::Always => None,
            Self::When(conditions) => Some(conditions),
        }
    }
}

impl Conditions {
    fn hold(&self, situation: Situation) -> bool {
        if self.after_initial_demand == Some(true) && !situation.demanded {
            return false;
        }
        let by_end = match situation.last_end {
            Some(end) => {
                self.successful_exit == Some(end.is_success())
                    || self.crashed == Some(end.is_crash())
            }
            // `SuccessfulExit` needs a first run to judge; "did not crash" is true of a job
            // never run.
            None => self.successful_exit.is_some() || self.crashed == Some(false),
        };
        by_end || situation.outside || self.is_demand_alone()
    }

    /// `AfterInitialDemand` with nothing beside it: always, from then on.
    fn is_demand_alone(&self) -> bool {
        self.after_initial_demand == Some(true)
            && self.successful_exit.is_none()
            && self.crashed.is_none()
            && self.other_job_enabled.is_empty()
            && self.path_state.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNTOUCHED: Situation = Situation { last_end: None, demanded: false, outside: false };

    fn when(change: impl FnOnce(&mut Conditions)) -> KeepAlive {
        let mut conditions = Conditions::default();
        change(&mut conditions);
        KeepAlive::When(conditions)
    }

    /// Chapter 4: SuccessfulExit and Crashed; SIGKILL and exit 1 are no crash [C A842, man].
    #[test]
    fn how_the_last_run_ended() {
        let ends = [
            ProcessEnd::Exited(0),
            ProcessEnd::Exited(1),
            ProcessEnd::Signalled(9),
            ProcessEnd::Signalled(11),
        ];
        let check = |keep: &KeepAlive, expected: [bool; 5]| {
            let after =
                ends.map(|end| keep.wants_start(Situation { last_end: Some(end), ..UNTOUCHED }));
            assert_eq!(after[..], expected[..4], "{keep:?}");
            assert_eq!(keep.wants_start(UNTOUCHED), expected[4], "first start, {keep:?}");
        };
        check(&KeepAlive::Always, [true; 5]);
        check(&KeepAlive::Never, [false; 5]);
        check(&when(|keys| keys.successful_exit = Some(false)), [false, true, true, true, true]);
        check(&when(|keys| keys.successful_exit = Some(true)), [true, false, false, false, true]);
        check(&when(|keys| keys.crashed = Some(true)), [false, false, false, true, false]);
        check(&when(|keys| keys.crashed = Some(false)), [true, true, true, false, true]);
        let either = when(|keys| {
            keys.successful_exit = Some(true);
            keys.crashed = Some(true);
        });
        check(&either, [true, false, false, true, true]);
    }

    /// Chapter 4: AfterInitialDemand, nothing until the first demand [C A842 job_keepalive].
    #[test]
    fn nothing_before_the_first_demand() {
        let alone = when(|keys| keys.after_initial_demand = Some(true));
        let with_exit = when(|keys| {
            keys.after_initial_demand = Some(true);
            keys.successful_exit = Some(true);
        });
        let failed = Situation { last_end: Some(ProcessEnd::Exited(1)), ..UNTOUCHED };
        for keep in [&alone, &with_exit] {
            assert!(!keep.wants_start(UNTOUCHED) && !keep.wants_start(failed));
        }
        let demanded = Situation { demanded: true, ..failed };
        assert!(alone.wants_start(demanded));
        assert!(!with_exit.wants_start(demanded));
    }

    /// Chapter 4: OtherJobEnabled [C A842 job_keepalive].
    #[test]
    fn another_job_that_is_registered_or_not() {
        let keep = when(|keys| {
            keys.other_job_enabled = [("a".to_owned(), true), ("b".to_owned(), false)].into();
        });
        let outside = |is_registered: fn(&str) -> bool| keep.outside(is_registered, |_| false);
        assert!(outside(|label| label == "a"));
        assert!(!outside(|label| label == "b"));
        assert!(outside(|_| false), "b is not there, which is what is wanted");
        assert!(keep.wants_start(Situation { outside: true, ..UNTOUCHED }));
    }

    /// Chapter 4: PathState, `true` while the path exists, `false` while it does not; entries and
    /// keys are OR-ed [C launchd-392 job_keepalive, man].
    #[test]
    fn a_path_that_exists_or_not() {
        let check = |entries: &[(&str, bool)], existing: &[&str], expected: bool| {
            let keep = when(|keys| {
                keys.path_state =
                    entries.iter().map(|(path, wanted)| (PathBuf::from(path), *wanted)).collect();
            });
            let exists = |path: &Path| existing.iter().any(|one| Path::new(one) == path);
            let outside = keep.outside(|_| false, exists);
            assert_eq!(outside, expected, "{entries:?} with {existing:?}");
            assert_eq!(keep.wants_start(Situation { outside, ..UNTOUCHED }), expected);
        };
        check(&[], &["/a"], false);
        check(&[("/a", true)], &["/a"], true);
        check(&[("/a", true)], &[], false);
        check(&[("/a", false)], &["/a"], false);
        check(&[("/a", false)], &[], true);
        let either = [("/a", true), ("/b", false)];
        check(&either, &[], true);
        check(&either, &["/a"], true);
        check(&either, &["/b"], false);
        check(&either, &["/a", "/b"], true);
        let beside = when(|keys| {
            keys.path_state = [("/a".into(), true)].into();
            keys.other_job_enabled = [("b".to_owned(), true)].into();
            keys.after_initial_demand = Some(true);
        });
        assert!(beside.outside(|_| true, |_| false) && beside.outside(|_| false, |_| true));
        assert!(!beside.outside(|_| false, |_| false));
        let demanded = Situation { demanded: true, ..UNTOUCHED };
        assert!(!beside.wants_start(demanded), "it is not AfterInitialDemand alone");
        assert!(!beside.wants_start(Situation { outside: true, ..UNTOUCHED }));
        assert!(beside.wants_start(Situation { outside: true, ..demanded }));
    }
}
