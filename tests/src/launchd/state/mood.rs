//! What launchd may start by itself. A demand is never kept waiting by any of this.

use super::{Domain, Effects, Launchd, Settings, job::StartPolicy};
use crate::launchd::{domain::ServiceTarget, moment::Moment};

/// A change of what launchd may start by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// The on-demand count of the screen session.
    OnDemandCount(u32),
    /// Low Power Mode, or a loaded machine.
    LowPower(bool),
    /// Whether pended starts stay pended when the cause is over.
    PendedStay(bool),
}

/// All of them at once.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Moods {
    on_demand_count: u32,
    low_power: bool,
    pended_stay: bool,
}

impl Moods {
    /// The count that `print` shows for a domain.
    pub(super) fn on_demand_count(self, domain: Domain) -> u32 {
        match domain {
            Domain::Gui(_) => self.on_demand_count,
            // Jobs of the background domain were seen to start.
            Domain::User(_) | Domain::System => 0,
        }
    }

    pub(super) fn start_policy(self, domain: Domain, settings: &Settings) -> StartPolicy {
        let low_power = match domain {
            Domain::Gui(_) => self.low_power,
            Domain::User(_) | Domain::System => false,
        };
        StartPolicy {
            delay: settings.spawn_delay,
            on_demand_only: low_power || self.on_demand_count(domain) > 0,
        }
    }

    /// The count belongs to a session and ends with it.
    pub(super) fn forget_count(&mut self) {
        self.on_demand_count = 0;
    }
}

impl Launchd {
    /// What a job of this domain needs to know of launchd to schedule its own start.
    pub(super) fn start_policy(&self, domain: Domain) -> StartPolicy {
        self.moods.start_policy(domain, &self.settings)
    }

    pub(super) fn set_mood(&mut self, mood: Mood, now: Moment) {
        match mood {
            Mood::OnDemandCount(count) => self.moods.on_demand_count = count,
            Mood::LowPower(on) => self.moods.low_power = on,
            Mood::PendedStay(on) => self.moods.pended_stay = on,
        }
        if self.moods.pended_stay {
            return;
        }
        let Self { domains, moods, settings, .. } = self;
        for (name, domain) in domains.iter_mut() {
            let policy = moods.start_policy(*name, settings);
            for job in domain.jobs.values_mut() {
                job.release_pended(policy, now);
            }
        }
    }

    /// The calendar, or whoever asks without waiting for an answer.
    pub(super) fn start_by_demand(
        &mut self,
        target: &ServiceTarget,
        now: Moment,
        out: &mut Effects,
    ) {
        let policy = self.start_policy(target.domain);
        if let Some(job) = self.job_mut(target) {
            job.demand_unasked(policy, now, out);
        }
    }

    /// A job leaves the penalty box and is tried once more.
    pub(super) fn set_up(&mut self, target: &ServiceTarget, now: Moment, out: &mut Effects) {
        let policy = self.start_policy(target.domain);
        if let Some(job) = self.job_mut(target) {
            job.leave_penalty_box(policy, now, out);
        }
    }
}
