//! What the old verbs do. They name no domain, and most of them hide how it went.

use std::path::PathBuf;

use super::{
    Effect, Effects, Launchd, Override,
    job::{Fate, Job},
    print,
    reach::Caller,
    registry::Way,
};
use crate::launchd::{
    answer::{Answer, Failure, LegacyVerb, NO_SUCH_SERVICE, Privilege},
    command::{LegacyOptions, Patience, VerbName},
    definition::Definition,
    domain::{Domain, ServiceTarget},
    moment::Moment,
    plist_file::LoadedPlist,
};

/// Where a submitted job comes from, for `print`.
const SUBMITTED: &str = "(submitted by launchctl)";

impl Launchd {
    pub(super) fn load(
        &mut self,
        caller: Caller,
        options: LegacyOptions,
        plists: Vec<LoadedPlist>,
        now: Moment,
        out: &mut Effects,
    ) -> Answer {
        let domain = self.callers_domain(caller);
        let way = if options.force { Way::Forced } else { Way::ByHand };
        let failures = plists.into_iter().filter_map(|plist| {
            self.write_override(&plist, options, Override::Enabled, out);
            let allowed = self.changeable(caller, domain);
            allowed.and_then(|()| self.register(domain, plist, way, now, out)).err()
        });
        all_said(failures.map(|why| Answer::legacy(LegacyVerb::Load, why, caller.privilege)))
    }

    pub(super) fn unload(
        &mut self,
        caller: Caller,
        options: LegacyOptions,
        plists: Vec<LoadedPlist>,
        now: Moment,
        out: &mut Effects,
    ) -> Answer {
        let domain = self.callers_domain(caller);
        let failures = plists.into_iter().filter_map(|plist| {
            self.write_override(&plist, options, Override::Disabled, out);
            self.unload_one(caller, domain, plist, now, out).err()
        });
        all_said(failures.map(|why| Answer::legacy(LegacyVerb::Unload, why, caller.privilege)))
    }

    /// An absent label is as good as a removed one.
    pub(super) fn remove(
        &mut self,
        caller: Caller,
        label: String,
        now: Moment,
        out: &mut Effects,
    ) -> Answer {
        let target = ServiceTarget { domain: self.callers_domain(caller), label };
        self.change_job(&target, out, |job, out| job.stop_for_removal(now, None, out));
        Answer::silent()
    }

    pub(super) fn start(
        &mut self,
        caller: Caller,
        label: String,
        now: Moment,
        out: &mut Effects,
    ) -> Answer {
        let target = ServiceTarget { domain: self.callers_domain(caller), label };
        if !self.is_registered(&target) {
            return Answer::mute(Failure::NoSuchProcess.code());
        }
        self.start_by_demand(&target, now, out);
        Answer::silent()
    }

    pub(super) fn stop(
        &mut self,
        caller: Caller,
        label: String,
        now: Moment,
        out: &mut Effects,
    ) -> Answer {
        let target = ServiceTarget { domain: self.callers_domain(caller), label };
        if !self.is_registered(&target) {
            return Answer::mute(Failure::NoSuchProcess.code());
        }
        self.change_job(&target, out, |job, out| {
            job.stop(now, out);
            Fate::Kept
        });
        Answer::silent()
    }

    pub(super) fn submit(
        &mut self,
        caller: Caller,
        definition: Definition,
        now: Moment,
        out: &mut Effects,
    ) -> Answer {
        let domain = self.callers_domain(caller);
        let target = ServiceTarget { domain, label: definition.label.clone() };
        let allowed = self
            .changeable(caller, domain)
            .and_then(|()| self.may_register(&target, &definition, Way::ByHand));
        match allowed {
            Ok(()) => {
                self.accept(&target, PathBuf::from(SUBMITTED), definition, now, out);
                Answer::silent()
            }
            Err(why) => Answer::failed(VerbName::Submit.in_failures(), why, caller.privilege),
        }
    }

    /// Needs root; the program keeps its uid and is only moved into the user's context.
    pub(super) fn run_as_user(&self, caller: Caller, uid: u32, words: Vec<String>) -> Answer {
        let exists = [Domain::Gui(uid), Domain::User(uid)]
            .iter()
            .any(|domain| self.domains.contains_key(domain));
        if caller.privilege != Privilege::Root || !exists {
            let why = Failure::NotPermitted;
            let text =
                format!("Could not switch to audit session: {}: {}\n", why.code(), why.text());
            return Answer::refused(why.code(), text);
        }
        Answer { run: words, ..Answer::silent() }
    }

    pub(super) fn list_label(&self, caller: Caller, label: &str) -> Answer {
        let target = ServiceTarget { domain: self.callers_domain(caller), label: label.to_owned() };
        self.job(&target).map_or_else(
            || {
                let text = format!("Could not find service \"{label}\" in domain for port\n");
                Answer::refused(NO_SUCH_SERVICE, text)
            },
            |job| Answer::printed(print::list_job(job)),
        )
    }

    pub(super) fn jobs_of_callers_domain(&self, caller: Caller) -> impl Iterator<Item = &Job> {
        let domain = self.callers_domain(caller);
        self.jobs().filter(move |job| job.target.domain == domain)
    }

    fn unload_one(
        &mut self,
        caller: Caller,
        domain: Domain,
        plist: LoadedPlist,
        now: Moment,
        out: &mut Effects,
    ) -> Result<(), Failure> {
        let label = match plist.job {
            Ok(definition) => definition.label,
            Err(error) => return Err(error.failure()),
        };
        let target = ServiceTarget { domain, label };
        if !self.is_registered(&target) {
            return Err(Failure::InputOutput);
        }
        self.stoppable(caller, &target, Patience::AtOnce)?;
        self.change_job(&target, out, |job, out| job.stop_for_removal(now, None, out));
        Ok(())
    }

    /// `-w` changes the database whatever becomes of the job.
    fn write_override(
        &mut self,
        plist: &LoadedPlist,
        options: LegacyOptions,
        to: Override,
        out: &mut Effects,
    ) {
        if let (true, Ok(definition)) = (options.write, &plist.job) {
            self.overrides.insert(definition.label.clone(), to);
            out.push(Effect::KeepOverrides(self.overrides.clone()));
        }
    }
}

fn all_said(answers: impl Iterator<Item = Answer>) -> Answer {
    Answer { stderr: answers.map(|answer| answer.stderr).collect(), ..Answer::silent() }
}
