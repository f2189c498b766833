//! Which jobs there are: taking a plist in, and forgetting a label.

use std::path::PathBuf;

use super::{
    Domain, Effects, Launchd, Override, Verdict,
    job::{Fate, Job},
};
use crate::launchd::{
    answer::Failure, definition::Definition, domain::ServiceTarget, moment::Moment,
    plist_file::LoadedPlist, record::JobEvent,
};

/// How a plist came to launchd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Somebody asked for it.
    ByHand,
    /// `load -F`: even if it is disabled.
    Forced,
    /// The scan at login.
    AtLogin,
}

impl Launchd {
    /// Runs `change` on a registered job and forgets the job if that is what came of it.
    pub(super) fn change_job(
        &mut self,
        target: &ServiceTarget,
        out: &mut Effects,
        change: impl FnOnce(&mut Job, &mut Effects) -> Fate,
    ) {
        let Some(job) = self.job_mut(target) else { return };
        match change(job, out) {
            Fate::Kept => {}
            Fate::Removed => self.forget(target, out),
        }
    }

    fn forget(&mut self, target: &ServiceTarget, out: &mut Effects) {
        let removed = self
            .domains
            .get_mut(&target.domain)
            .and_then(|domain| domain.jobs.remove(&target.label));
        if let Some(job) = removed {
            job.answer_those_who_waited(out);
            out.record(target, JobEvent::Removed);
        }
    }

    pub(super) fn register(
        &mut self,
        domain: Domain,
        plist: LoadedPlist,
        way: Way,
        now: Moment,
        out: &mut Effects,
    ) -> Result<(), Failure> {
        let definition = match plist.job {
            Ok(definition) => definition,
            Err(error) => {
                let label = plist.path.display().to_string();
                let failure = error.failure();
                out.record(
                    &ServiceTarget { domain, label },
                    JobEvent::Refused { reason: error.to_string() },
                );
                return Err(failure);
            }
        };
        let target = ServiceTarget { domain, label: definition.label.clone() };
        if let Err(failure) = self.may_register(&target, &definition, way) {
            out.record(&target, JobEvent::Refused { reason: failure.text().to_owned() });
            return Err(failure);
        }
        if way == Way::AtLogin && self.verdict(&target.label) != Verdict::Allowed {
            let reason = "Background Items do not allow it".to_owned();
            out.record(&target, JobEvent::Refused { reason });
            // launchd is never asked: to the scan this is no failure.
            return Ok(());
        }
        self.accept(&target, plist.path, definition, now, out);
        Ok(())
    }

    /// Registers a job that nothing speaks against.
    pub(super) fn accept(
        &mut self,
        target: &ServiceTarget,
        path: PathBuf,
        definition: Definition,
        now: Moment,
        out: &mut Effects,
    ) {
        out.record(target, JobEvent::Registered);
        let start = self.start_policy(target.domain);
        let job = Job::new(target.clone(), path, definition);
        let jobs = &mut self.domains.entry(target.domain).or_default().jobs;
        jobs.insert(target.label.clone(), job);
        // Only now, for a job may look at who is registered.
        let outside = self.outside(target);
        if let Some(job) = self.job_mut(target) {
            job.loaded(outside, start, now, out);
        }
    }

    pub(super) fn may_register(
        &self,
        target: &ServiceTarget,
        definition: &Definition,
        way: Way,
    ) -> Result<(), Failure> {
        if self.is_registered(target) {
            return Err(Failure::AlreadyInProgress);
        }
        let session_fits = match target.domain {
            Domain::System => false,
            Domain::User(_) => definition.allows_background(),
            Domain::Gui(_) => definition.allows_gui(),
        };
        if !session_fits {
            return Err(Failure::WrongSession);
        }
        let disabled = match self.overrides.get(&target.label) {
            Some(Override::Disabled) => true,
            Some(Override::Enabled) => false,
            None => definition.disabled,
        };
        if disabled && way != Way::Forced { Err(Failure::Disabled) } else { Ok(()) }
    }
}
