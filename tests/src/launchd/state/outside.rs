//! What a `KeepAlive` looks at outside of its own job.

use super::{Effects, Launchd};
use crate::launchd::{domain::ServiceTarget, keep_alive::KeepAlive, moment::Moment};

impl Launchd {
    /// Whether what a job's `KeepAlive` says of other jobs is so.
    pub(super) fn other_job(&self, target: &ServiceTarget) -> bool {
        let registered = self.domains.get(&target.domain).map(|domain| &domain.jobs);
        let is_registered =
            |label: &str| registered.is_some_and(|labels| labels.contains_key(label));
        self.job(target).is_some_and(|job| job.definition.keep_alive.other_job(is_registered))
    }

    /// Jobs without a process whose `KeepAlive` looks at other jobs.
    pub(super) fn start_for_others(&mut self, now: Moment, out: &mut Effects) {
        let looking: Vec<_> = self
            .jobs()
            .filter(|job| job.is_idle() && looks_at_others(&job.definition.keep_alive))
            .map(|job| job.target.clone())
            .collect();
        for target in looking {
            let (start, other_job) = (self.start_policy(target.domain), self.other_job(&target));
            if let Some(job) = self.job_mut(&target) {
                job.start_for_others(other_job, start, now, out);
            }
        }
    }
}

fn looks_at_others(keep_alive: &KeepAlive) -> bool {
    keep_alive.other_jobs().next().is_some()
}
