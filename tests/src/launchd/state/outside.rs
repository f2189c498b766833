//! What a `KeepAlive` looks at outside of its own job.

use super::{Effects, Launchd};
use crate::launchd::{domain::ServiceTarget, moment::Moment};

impl Launchd {
    /// Whether what a job's `KeepAlive` says of anything outside of the job is so.
    pub(super) fn outside(&self, target: &ServiceTarget) -> bool {
        let registered = self.domains.get(&target.domain).map(|domain| &domain.jobs);
        let is_registered =
            |label: &str| registered.is_some_and(|labels| labels.contains_key(label));
        self.job(target).is_some_and(|job| job.definition.keep_alive.outside(is_registered))
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
