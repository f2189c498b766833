//! Whom a caller may ask for what: domains that are there or not, and the caller's own.

use super::{CallId, Domain, DomainLife, Launchd, job::JobState};
use crate::launchd::{
    answer::{Answer, Failure, Privilege},
    command::{Patience, VerbName},
    domain::ServiceTarget,
    message::CallerSession,
};

/// A call while it is handled.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caller {
    pub(super) call: CallId,
    pub(super) privilege: Privilege,
    pub(super) session: Option<CallerSession>,
}

/// Why a domain cannot be used.
#[derive(Debug, Clone, Copy)]
pub(super) enum Unreachable {
    NotPermitted,
    Absent,
}

impl Launchd {
    /// The old verbs act on the caller's own session.
    pub(super) fn callers_domain(&self, caller: Caller) -> Domain {
        let uid = self.settings.uid;
        match (caller.privilege, caller.session) {
            (Privilege::Root, None) => Domain::System,
            (_, Some(CallerSession::Aqua)) => Domain::Gui(uid),
            (_, Some(CallerSession::Background)) => Domain::User(uid),
            (Privilege::Owner | Privilege::Stranger, None) => {
                let gui = Domain::Gui(uid);
                if self.domains.contains_key(&gui) { gui } else { Domain::User(uid) }
            }
        }
    }

    pub(super) fn session_name(&self, caller: Caller) -> &'static str {
        match self.callers_domain(caller) {
            Domain::System => "System",
            Domain::User(_) => "Background",
            Domain::Gui(_) => "Aqua",
        }
    }

    pub(super) fn readable(&self, caller: Caller, domain: Domain) -> Result<(), Unreachable> {
        let own = domain.uid().is_none_or(|uid| uid == self.settings.uid);
        match (caller.privilege, own) {
            (Privilege::Root | Privilege::Owner, true) => {}
            (Privilege::Root, false) => return Err(Unreachable::Absent),
            (Privilege::Stranger, true) if domain == Domain::System => {}
            (Privilege::Owner, false) | (Privilege::Stranger, _) => {
                return Err(Unreachable::NotPermitted);
            }
        }
        self.domains.contains_key(&domain).then_some(()).ok_or(Unreachable::Absent)
    }

    pub(super) fn changeable(&self, caller: Caller, domain: Domain) -> Result<(), Failure> {
        if domain == Domain::System && caller.privilege != Privilege::Root {
            return Err(Failure::NotPermitted);
        }
        match self.readable(caller, domain) {
            Err(Unreachable::NotPermitted) => return Err(Failure::NotPermitted),
            Err(Unreachable::Absent) => return Err(Failure::UnsupportedAction),
            Ok(()) => {}
        }
        match self.domains.get(&domain).map(|state| state.life) {
            Some(DomainLife::TearingDown) => Err(Failure::TearingDown),
            Some(DomainLife::Active) | None => Ok(()),
        }
    }

    pub(super) fn stoppable(
        &self,
        caller: Caller,
        target: &ServiceTarget,
        patience: Patience,
    ) -> Result<(), Failure> {
        self.changeable(caller, target.domain)?;
        let job = self.job(target).ok_or(Failure::NoSuchProcess)?;
        match (&job.state, patience) {
            (JobState::Spawning { .. }, _) => Err(Failure::AlreadyInProgress),
            (JobState::Draining(drain), Patience::AtOnce) if drain.ends_in_removal() => {
                Err(Failure::AlreadyInProgress)
            }
            (
                JobState::NotRunning
                | JobState::Pended(_)
                | JobState::PenaltyBox
                | JobState::SpawnScheduled { .. }
                | JobState::Running { .. }
                | JobState::Draining(_),
                _,
            ) => Ok(()),
        }
    }

    pub(super) fn found(
        &self,
        caller: Caller,
        target: &ServiceTarget,
        verb: VerbName,
    ) -> Result<(), Answer> {
        match self.readable(caller, target.domain) {
            Err(Unreachable::NotPermitted) if verb == VerbName::Kickstart => {
                let code = Failure::NotPermitted.code();
                Err(Answer::kickstart_failed(code, &target.label))
            }
            Err(Unreachable::NotPermitted) => {
                let what = verb.in_failures();
                Err(Answer::failed(what, Failure::NotPermitted, caller.privilege))
            }
            Err(Unreachable::Absent) => Err(Answer::no_such_domain(target.domain)),
            Ok(()) if self.is_registered(target) => Ok(()),
            Ok(()) => Err(Answer::no_such_service(target)),
        }
    }
}
