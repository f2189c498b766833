//! Logins and logouts, sleep, the end of launchd and what comes after it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{
    Domain, DomainLife, DomainState, Effect, Effects, Launchd, Running, SHUTDOWN_GRACE,
    registry::Way,
};
use crate::launchd::{moment::Moment, plist_file::LoadedPlist};

/// These domains, with nothing in them; the system's always exists.
pub(super) fn domains(names: BTreeSet<Domain>) -> BTreeMap<Domain, DomainState> {
    let all = names.into_iter().chain([Domain::System]);
    all.map(|domain| (domain, DomainState::default())).collect()
}

impl Launchd {
    pub(super) fn logged_in(&mut self, plists: Vec<LoadedPlist>, now: Moment, out: &mut Effects) {
        self.logged_in_over_ssh();
        let gui = Domain::Gui(self.settings.uid);
        let domain = self.domains.entry(gui).or_default();
        domain.life = DomainLife::Active;
        for plist in plists {
            // A refusal is in the record; the scan goes on with the next plist, as at a login.
            let _refused = self.register(gui, plist, Way::AtLogin, now, out);
        }
    }

    /// Any login makes the user's background domain; nothing is loaded into it.
    pub(super) fn logged_in_over_ssh(&mut self) {
        let user = Domain::User(self.settings.uid);
        self.domains.entry(user).or_default().life = DomainLife::Active;
    }

    pub(super) fn tear_down(&mut self, domain: Domain, now: Moment, out: &mut Effects) {
        let Some(state) = self.domains.get_mut(&domain) else { return };
        state.life = DomainLife::TearingDown;
        let targets: Vec<_> = state.jobs.values().map(|job| job.target.clone()).collect();
        for target in targets {
            self.change_job(&target, out, |job, out| job.stop_for_removal(now, None, out));
        }
    }

    pub(super) fn shut_down(&mut self, now: Moment, out: &mut Effects) {
        match self.running {
            Running::Up => self.end_all_jobs(now, out),
            // The jobs are being ended already; now nothing comes after them.
            Running::Rebooting(_) => {}
            Running::Ending | Running::Ended => return,
        }
        self.running = Running::Ending;
    }

    /// All jobs and domains end; what is on disk stays. A second wish changes nothing.
    pub(super) fn reboot(&mut self, after: BTreeSet<Domain>, now: Moment, out: &mut Effects) {
        if self.running != Running::Up {
            return;
        }
        self.running = Running::Rebooting(after);
        self.end_all_jobs(now, out);
    }

    /// What was to come of the machine once no job is left.
    pub(super) fn end_when_empty(&mut self, out: &mut Effects) {
        if self.jobs().next().is_some() {
            return;
        }
        match std::mem::replace(&mut self.running, Running::Up) {
            Running::Up => {}
            Running::Ending => {
                self.running = Running::Ended;
                out.push(Effect::End);
            }
            Running::Rebooting(after) => {
                self.domains = domains(after);
                self.moods.forget_count();
                out.push(Effect::Booted);
            }
            Running::Ended => self.running = Running::Ended,
        }
    }

    /// Interval timers do not count the time asleep the way other timers do.
    pub(super) fn woke(&mut self, slept: Duration, now: Moment) {
        for domain in self.domains.values_mut() {
            for job in domain.jobs.values_mut() {
                job.woke(slept, now);
            }
        }
    }

    fn end_all_jobs(&mut self, now: Moment, out: &mut Effects) {
        let domains: Vec<_> = self.domains.keys().copied().collect();
        for domain in domains {
            self.tear_down(domain, now, out);
        }
        let kill_at = now.plus(SHUTDOWN_GRACE);
        for domain in self.domains.values_mut() {
            for job in domain.jobs.values_mut() {
                job.kill_no_later_than(kill_at);
            }
        }
    }
}
