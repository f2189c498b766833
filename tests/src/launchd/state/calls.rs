//! What each `launchctl` verb does.

use std::time::Duration;

use rustix::process::Signal;

use super::{
    CallId, Domain, Effect, Effects, Launchd, Override, Who,
    drain::{GivesUp, RemovalWaiter},
    job::{Fate, Job, JobState},
    print,
    reach::{Caller, Unreachable},
    registry::Way,
    start_waiter::StartWaiter,
};
use crate::launchd::{
    answer::{Answer, Failure, Privilege},
    command::{Command, Launch, Patience, Report, VerbName, WhenRunning},
    domain::ServiceTarget,
    moment::Moment,
    plist_file::LoadedPlist,
};

/// Up to this macOS, `bootout` waits a moment and then says "now in progress".
const LAST_MACOS_WITH_IN_PROGRESS: u32 = 11;
/// That moment.
const IN_PROGRESS_AFTER: Duration = Duration::from_secs(1);

/// The flags of `kickstart`.
#[derive(Debug, Clone, Copy)]
struct Kickstart {
    running: WhenRunning,
    report: Report,
    launch: Launch,
}

impl Launchd {
    pub(super) fn called(
        &mut self,
        call: CallId,
        who: Who,
        command: Command,
        plists: Vec<LoadedPlist>,
        now: Moment,
        out: &mut Effects,
    ) {
        let caller = Caller { call, privilege: who.privilege, session: who.session };
        let answer = match command {
            Command::Bootstrap { domain, .. } => self.bootstrap(caller, domain, plists, now, out),
            Command::Bootout { target, patience } => {
                return self.bootout(caller, &target, patience, now, out);
            }
            Command::BootoutPlist { domain, .. } => {
                return self.bootout_plist(caller, domain, plists, now, out);
            }
            Command::BootoutDomain(domain) => self.bootout_domain(caller, domain, now, out),
            Command::Kickstart { target, running, report, launch } => {
                let wish = Kickstart { running, report, launch };
                return self.kickstart(caller, &target, wish, now, out);
            }
            Command::Kill { signal, target } => self.kill(caller, signal, &target, out),
            Command::PrintDomain(domain) => self.print_domain(caller, domain),
            Command::PrintService(target) => self.print_service(caller, &target),
            Command::PrintDisabled(domain) => self.print_disabled(caller, domain),
            Command::Enable(target) => self.set(caller, target, Override::Enabled, out),
            Command::Disable(target) => self.set(caller, target, Override::Disabled, out),
            Command::List => Answer::printed(print::list(self.jobs_of_callers_domain(caller))),
            Command::ListLabel(label) => self.list_label(caller, &label),
            Command::Load { options, .. } => self.load(caller, options, plists, now, out),
            Command::Unload { options, .. } => self.unload(caller, options, plists, now, out),
            Command::Remove(label) => self.remove(caller, label, now, out),
            Command::Start(label) => self.start(caller, label, now, out),
            Command::Stop(label) => self.stop(caller, label, now, out),
            Command::Submit(definition) => self.submit(caller, *definition, now, out),
            Command::Asuser { uid, words } => self.run_as_user(caller, uid, words),
            Command::Managername => Answer::printed(format!("{}\n", self.session_name(caller))),
            Command::Manageruid => Answer::printed(format!("{}\n", self.settings.uid)),
            Command::Version => Answer::printed(print::version(&self.settings)),
        };
        out.reply(call, answer);
    }

    fn bootstrap(
        &mut self,
        caller: Caller,
        domain: Domain,
        plists: Vec<LoadedPlist>,
        now: Moment,
        out: &mut Effects,
    ) -> Answer {
        let what = VerbName::Bootstrap.in_failures();
        if let Err(failure) = self.changeable(caller, domain) {
            return Answer::failed(what, failure, caller.privilege);
        }
        let several = plists.len() > 1;
        let mut failures = Vec::new();
        for plist in plists {
            let path = plist.path.clone();
            if let Err(failure) = self.register(domain, plist, Way::ByHand, now, out) {
                failures.push((path, failure));
            }
        }
        match failures.as_slice() {
            [] => Answer::silent(),
            [(_, failure)] if !several => Answer::failed(what, *failure, caller.privilege),
            _ => {
                let lines: Vec<_> = failures
                    .iter()
                    .map(|(path, failure)| {
                        let text = failure.seen_by(caller.privilege).text();
                        format!("{}: {text}\n", path.display())
                    })
                    .collect();
                let answer = Answer::failed(what, Failure::Multiple, caller.privilege);
                Answer { stderr: lines.concat() + &answer.stderr, ..answer }
            }
        }
    }

    fn bootout(
        &mut self,
        caller: Caller,
        target: &ServiceTarget,
        patience: Patience,
        now: Moment,
        out: &mut Effects,
    ) {
        if let Err(failure) = self.stoppable(caller, target, patience) {
            return out.reply(caller.call, boot_out_failed(failure, caller));
        }
        let waiter = match patience {
            Patience::UntilGone => Some(RemovalWaiter { call: caller.call, gives_up: None }),
            Patience::AtOnce if self.settings.macos <= LAST_MACOS_WITH_IN_PROGRESS => {
                let answer = boot_out_failed(Failure::InProgress, caller);
                let at = now.plus(IN_PROGRESS_AFTER);
                Some(RemovalWaiter { call: caller.call, gives_up: Some(GivesUp { at, answer }) })
            }
            Patience::AtOnce => None,
        };
        let answered_later = waiter.is_some();
        self.change_job(target, out, |job, out| job.stop_for_removal(now, waiter, out));
        if !answered_later {
            out.reply(caller.call, Answer::silent());
        }
    }

    /// Measured to wait until the process has ended; a plist never loaded gives 5 and not 3.
    fn bootout_plist(
        &mut self,
        caller: Caller,
        domain: Domain,
        plists: Vec<LoadedPlist>,
        now: Moment,
        out: &mut Effects,
    ) {
        let label = plists.into_iter().find_map(|plist| Some(plist.job.ok()?.label));
        let target = label.map(|label| ServiceTarget { domain, label });
        match target {
            Some(target) if self.is_registered(&target) => {
                self.bootout(caller, &target, Patience::UntilGone, now, out);
            }
            Some(_) | None => {
                let failure = self.changeable(caller, domain).err();
                let failure = failure.unwrap_or(Failure::InputOutput);
                out.reply(caller.call, boot_out_failed(failure, caller));
            }
        }
    }

    fn bootout_domain(
        &mut self,
        caller: Caller,
        domain: Domain,
        now: Moment,
        out: &mut Effects,
    ) -> Answer {
        if let Err(failure) = self.changeable(caller, domain) {
            return boot_out_failed(failure, caller);
        }
        self.tear_down(domain, now, out);
        Answer::silent()
    }

    fn kickstart(
        &mut self,
        caller: Caller,
        target: &ServiceTarget,
        wish: Kickstart,
        now: Moment,
        out: &mut Effects,
    ) {
        if let Err(answer) = self.found(caller, target, VerbName::Kickstart) {
            return out.reply(caller.call, answer);
        }
        let policy = self.start_policy(target.domain);
        let signal = self.settings.kickstart_signal;
        let waiter = StartWaiter { call: caller.call, report: wish.report };
        self.change_job(target, out, |job, out| {
            match (&job.state, wish.running) {
                (JobState::Running { .. }, WhenRunning::Restart) => {
                    job.restart(waiter, signal, now, out);
                }
                (_, WhenRunning::Keep | WhenRunning::Restart) => {
                    job.demand_start(waiter, wish.launch, policy, now, out);
                }
            }
            Fate::Kept
        });
    }

    fn kill(
        &mut self,
        caller: Caller,
        signal: Signal,
        target: &ServiceTarget,
        out: &mut Effects,
    ) -> Answer {
        if let Err(answer) = self.found(caller, target, VerbName::Kill) {
            return answer;
        }
        match self.job(target).and_then(Job::pid) {
            Some(pid) => {
                out.signal(target, pid, signal);
                Answer::silent()
            }
            None => {
                Answer::refused(Failure::NoSuchProcess.code(), "No process to signal.\n".to_owned())
            }
        }
    }

    fn print_domain(&self, caller: Caller, domain: Domain) -> Answer {
        match self.readable(caller, domain) {
            Err(Unreachable::NotPermitted) => not_permitted("print domain"),
            Err(Unreachable::Absent) => Answer::no_such_domain(domain),
            Ok(()) => {
                let jobs = self.jobs().filter(|job| job.target.domain == domain);
                let count = self.moods.on_demand_count(domain);
                Answer::printed(print::domain(domain, count, jobs))
            }
        }
    }

    fn print_service(&self, caller: Caller, target: &ServiceTarget) -> Answer {
        match self.readable(caller, target.domain) {
            Err(Unreachable::NotPermitted) => not_permitted("print service"),
            Err(Unreachable::Absent) => Answer::no_such_domain(target.domain),
            Ok(()) => self.job(target).map_or_else(
                || Answer::no_such_service(target),
                |job| Answer::printed(print::service(job)),
            ),
        }
    }

    fn print_disabled(&self, caller: Caller, domain: Domain) -> Answer {
        match self.readable(caller, domain) {
            Err(Unreachable::NotPermitted) => not_permitted("print domain"),
            Err(Unreachable::Absent) => Answer::no_such_domain(domain),
            Ok(()) => Answer::printed(print::disabled(&self.overrides, self.settings.macos)),
        }
    }

    /// The database is the user's: it can be written while no domain exists.
    fn set(
        &mut self,
        caller: Caller,
        target: ServiceTarget,
        to: Override,
        out: &mut Effects,
    ) -> Answer {
        let what = match to {
            Override::Enabled => "enable service",
            Override::Disabled => "disable service",
        };
        let own = target.domain.uid() == Some(self.settings.uid);
        if caller.privilege == Privilege::Stranger || !own {
            return not_permitted(what);
        }
        self.overrides.insert(target.label, to);
        out.push(Effect::KeepOverrides(self.overrides.clone()));
        Answer::silent()
    }
}

fn boot_out_failed(failure: Failure, caller: Caller) -> Answer {
    Answer::failed(VerbName::Bootout.in_failures(), failure, caller.privilege)
}

fn not_permitted(what: &str) -> Answer {
    let failure = Failure::NotPermitted;
    Answer::refused(
        failure.code(),
        format!("Could not {what}: {}: {}\n", failure.code(), failure.text()),
    )
}
