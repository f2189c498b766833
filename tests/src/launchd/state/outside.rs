//! What a `KeepAlive` looks at outside of its own job.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use super::{Effects, Event, Launchd};
use crate::launchd::{domain::ServiceTarget, moment::Moment};

impl Launchd {
    /// Takes note of which of [`Launchd::paths_for`] exist; the others are missing. What comes of it
    /// comes with the next event.
    pub fn see(&mut self, existing: BTreeSet<PathBuf>) {
        self.paths = existing;
    }

    /// The paths that matter to an event: those that a registered job looks at, or one that the event
    /// brings.
    pub fn paths_for(&self, event: &Event) -> BTreeSet<PathBuf> {
        let plists = match event {
            Event::Called { plists, .. } | Event::LoggedIn { plists } => plists.as_slice(),
            Event::Spawned { .. }
            | Event::SpawnFailed { .. }
            | Event::Exited { .. }
            | Event::LoggedInOverSsh
            | Event::LoggedOut
            | Event::Mood(_)
            | Event::Overridden { .. }
            | Event::Judged { .. }
            | Event::CalendarDue(_)
            | Event::SetupEvent(_)
            | Event::ThrownOut(_)
            | Event::Woke { .. }
            | Event::RebootRequested(_)
            | Event::ShutdownRequested
            | Event::Tick => &[],
        };
        let brought = plists.iter().filter_map(|plist| plist.job.as_ref().ok());
        let registered = self.jobs().map(|job| job.definition.as_ref());
        registered
            .chain(brought)
            .flat_map(|definition| definition.keep_alive.paths())
            .map(Path::to_owned)
            .collect()
    }

    /// Whether a registered job looks at paths.
    pub fn goes_by_paths(&self) -> bool {
        self.jobs().any(|job| job.definition.keep_alive.paths().next().is_some())
    }

    /// Whether what a job's `KeepAlive` says of anything outside of the job is so.
    pub(super) fn outside(&self, target: &ServiceTarget) -> bool {
        let registered = self.domains.get(&target.domain).map(|domain| &domain.jobs);
        let is_registered =
            |label: &str| registered.is_some_and(|labels| labels.contains_key(label));
        let exists = |path: &Path| self.paths.contains(path);
        self.job(target).is_some_and(|job| job.definition.keep_alive.outside(is_registered, exists))
    }

    /// Jobs without a process whose `KeepAlive` looks at something outside of them.
    pub(super) fn start_for_outside(&mut self, now: Moment, out: &mut Effects) {
        let looking: Vec<_> = self
            .jobs()
            .filter(|job| job.is_idle() && job.definition.keep_alive.looks_outside())
            .map(|job| job.target.clone())
            .collect();
        for target in looking {
            let (start, outside) = (self.start_policy(target.domain), self.outside(&target));
            if let Some(job) = self.job_mut(&target) {
                job.start_for_outside(outside, start, now, out);
            }
        }
    }
}
