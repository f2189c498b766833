//! Does to launchd what the plan says, and looks again.

use std::{
    cell::OnceCell,
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use jiff::Timestamp;
use nixfleet_protocol::{
    crash_point::{self, CrashPoint},
    journal::records::AgentVerdict,
    process::ProcessIdentity,
    state_dir::StateDir,
};
use rustix::process::Signal;

use super::{
    Conclusion, Task,
    definition::{self, Definition, Domain, OnDisk},
    job::JobKind,
    last_good::{self, LastGood},
    launchctl::{self, JobView},
    launchd_plan::{self, Decision, Memory, Observation, Step},
    original::{self, Found},
    program::{self, ProgramView},
    steps::{Steps, shortened},
};
use crate::{messages::with_causes, settings::Settings};

/// How long an agent must have been up to be kept as one that works: longer than launchd waits before it starts one again.
const KEEP_AFTER: Duration = Duration::from_secs(11);

/// From then on there is no hurry, and launchd is asked less often.
const HURRY: Duration = Duration::from_secs(5);

/// Time between two looks from then on.
const LOOK_AT_LEISURE: Duration = Duration::from_millis(250);

/// Looks and acts until the plan ends.
pub(super) fn drive(
    settings: &Settings,
    directory: &StateDir,
    task: &Task,
    steps: &mut Steps,
) -> Conclusion {
    let launchd = Launchd {
        settings,
        kind: task.kind,
        keeps_what_runs: task.keeps_what_runs,
        uid: rustix::process::geteuid().as_raw(),
        last_good: LastGood::new(directory),
    };
    if task.kind == JobKind::Agent
        && let Some(conclusion) = launchd.left_as_it_is(directory, task, steps)
    {
        return conclusion;
    }
    let mut memory = Memory::of_stuck(task.stuck);
    loop {
        let observation = launchd.observe(task.since, steps);
        let now = steps.elapsed();
        memory.saw(&observation, now);
        match launchd_plan::next(&observation, &memory, task.limits, now) {
            Decision::End(conclusion) => {
                launchd.keep_if_it_works(&observation, &conclusion, steps);
                return conclusion;
            }
            Decision::Wait(time) if now < HURRY => thread::sleep(time),
            Decision::Wait(time) => thread::sleep(time.max(LOOK_AT_LEISURE)),
            Decision::Do(step) => {
                let (code, said) = launchd.perform(step, steps);
                memory.did(step, code, &said, now);
                crash_point::reached(crash_point_after(step));
            }
        }
    }
}

const fn crash_point_after(step: Step) -> CrashPoint {
    match step {
        Step::Enable(_) => CrashPoint::EnsureEnabled,
        Step::Bootout(_) => CrashPoint::EnsureBootedOut,
        Step::Bootstrap(_) | Step::BootstrapCopy(_) => CrashPoint::EnsureBootstrapped,
        Step::Kickstart(_) => CrashPoint::EnsureKickstarted,
        Step::Terminate(..) | Step::TerminateStray(_) | Step::Kill(_) => {
            CrashPoint::EnsureTerminated
        }
        Step::Install | Step::Restore => CrashPoint::EnsureRestored,
    }
}

struct Launchd<'a> {
    settings: &'a Settings,
    kind: JobKind,
    /// What runs stays, whatever is installed by now.
    keeps_what_runs: bool,
    uid: u32,
    last_good: LastGood,
}

impl Launchd<'_> {
    /// Sees to it that the file on disk is the one that counts. Where another one has to stay, an agent that is at work is not
    /// looked at against it.
    fn left_as_it_is(
        &self,
        directory: &StateDir,
        task: &Task,
        steps: &mut Steps,
    ) -> Option<Conclusion> {
        let at_work = OnceCell::new();
        let at_work = || {
            at_work.get_or_init(|| {
                program::look(self.settings, self.kind, task.since)
                    .filter(|program| program.age >= KEEP_AFTER && task.stuck.is_none())
            })
        };
        let (last_good, is_at_work) = (&self.last_good, || at_work().is_some());
        let found =
            original::before_look_after(self.settings, directory, last_good, is_at_work, steps);
        let why = match found {
            Found::WhatCounts => return None,
            Found::LentToASwitch => {
                "a switch is under way, and home-manager has its own definition on disk until it is over"
            }
            Found::Stuck => {
                "on disk is home-manager's own, with which none comes up, and nothing can be put in its place"
            }
        };
        let pid = at_work().as_ref()?.pid();
        let runs = format!("the agent runs (pid {pid}) with its last definition that worked");
        Some(Conclusion::new(AgentVerdict::Healthy, format!("{runs}; {why}")))
    }

    fn observe(&self, since: Timestamp, steps: &Steps) -> Observation {
        let (plist, label) = (self.plist(), self.kind.label(self.settings));
        let on_disk = definition::read(plist, label);
        let is_good = matches!(on_disk, OnDisk::Good(_));
        Observation {
            kind: self.kind,
            gui: self.look_at(Domain::Gui, steps),
            user: self.look_at(Domain::User, steps),
            is_in_generation: !is_good && self.in_generation().is_some(),
            has_other_that_worked: self.can_go_back() && self.last_good.has_other_than(plist),
            copy: if is_good { None } else { self.copy() },
            on_disk,
            // Last: a program that was seen after its job cannot be one from before.
            program: program::look(self.settings, self.kind, since)
                .map(|program| program.kept_if(self.keeps_what_runs)),
            trace: self.kind.trace(self.settings),
        }
    }

    const fn plist(&self) -> &PathBuf {
        self.kind.plist(self.settings)
    }

    /// The watchdog's definition never changes: it is written anew by `install`, and there is no older one.
    const fn can_go_back(&self) -> bool {
        matches!(self.kind, JobKind::Agent)
    }

    /// The definition that home-manager's generation has for the place on disk.
    fn in_generation(&self) -> Option<PathBuf> {
        let name = self.plist().file_name()?;
        let plist = self.settings.switching.links.launch_agents()?.join(name);
        let label = self.kind.label(self.settings);
        matches!(definition::read(&plist, label), OnDisk::Good(_)).then_some(plist)
    }

    fn copy(&self) -> Option<Definition> {
        match definition::read(self.last_good.definition(), self.kind.label(self.settings)) {
            OnDisk::Good(definition) if self.can_go_back() => Some(definition),
            OnDisk::Good(_) | OnDisk::Absent | OnDisk::Bad(_) | OnDisk::SomebodyElses(_) => None,
        }
    }

    fn look_at(&self, domain: Domain, steps: &Steps) -> JobView {
        let mut command =
            launchctl::command(&self.settings.programs.launchctl, &["print", &self.job(domain)]);
        launchctl::read_print(&steps.look(&mut command))
    }

    fn job(&self, domain: Domain) -> String {
        format!("{}/{}", domain.target(self.uid), self.kind.label(self.settings))
    }

    fn perform(&self, step: Step, steps: &mut Steps) -> (Option<i32>, String) {
        match step {
            Step::Enable(domain) => self.call("enable", &["enable", &self.job(domain)], steps),
            Step::Bootout(domain) => self.call("bootout", &["bootout", &self.job(domain)], steps),
            Step::Bootstrap(domain) => self.bootstrap(domain, self.plist(), steps),
            Step::BootstrapCopy(domain) => {
                self.bootstrap(domain, self.last_good.definition(), steps)
            }
            Step::Kickstart(domain) => {
                self.call("kickstart", &["kickstart", &self.job(domain)], steps)
            }
            Step::Terminate(domain, _pid) => {
                self.call("terminate", &["kill", "SIGTERM", &self.job(domain)], steps)
            }
            Step::TerminateStray(pid) => terminate_stray(pid, steps),
            Step::Kill(pid) => kill(pid, steps),
            Step::Install => match self.in_generation() {
                Some(source) => self.put_on_disk("install", steps, |plist| {
                    last_good::put_in_place(plist, &fs::read(source)?)?;
                    Ok("the definition of home-manager's generation")
                }),
                None => self.go_back("install", steps),
            },
            Step::Restore => self.go_back("restore", steps),
        }
    }

    fn go_back(&self, name: &str, steps: &mut Steps) -> (Option<i32>, String) {
        // Where it cannot be written down, the agent comes back all the same, and home-manager has to cope.
        if let Err(error) = self.last_good.note_restoring(self.plist(), None) {
            steps.note("note-restored", with_causes(&error));
        }
        self.put_on_disk(name, steps, |plist| {
            self.last_good.restore_to(plist)?;
            Ok("the last definition that worked")
        })
    }

    fn bootstrap(&self, domain: Domain, plist: &Path, steps: &mut Steps) -> (Option<i32>, String) {
        let (target, plist) = (domain.target(self.uid), plist.to_string_lossy());
        self.call("bootstrap", &["bootstrap", &target, &plist], steps)
    }

    /// Puts a definition where launchd reads it. The code is 0 if it is there.
    fn put_on_disk(
        &self,
        name: &str,
        steps: &mut Steps,
        put: impl FnOnce(&Path) -> io::Result<&'static str>,
    ) -> (Option<i32>, String) {
        let plist = self.plist();
        let (code, said) = match put(plist) {
            Ok(what) => (Some(0), format!("{what} is back at {}", plist.display())),
            Err(error) => {
                (None, format!("no definition can be put at {}: {error}", plist.display()))
            }
        };
        steps.note(name, said.clone());
        (code, said)
    }

    /// Keeps what the agent is up with, if that is what is on disk.
    fn keep_if_it_works(&self, seen: &Observation, conclusion: &Conclusion, steps: &mut Steps) {
        let is_up = matches!(conclusion.verdict, AgentVerdict::Healthy | AgentVerdict::Back);
        let Some(ProgramView { record, difference: None, age, .. }) = &seen.program else { return };
        let is_good = matches!(seen.on_disk, OnDisk::Good(_));
        // One that does not stay up is up for a moment too. Where nothing is kept yet, it is better than nothing.
        let is_proven = *age >= KEEP_AFTER || !self.last_good.is_there();
        if is_up
            && is_good
            && is_proven
            && self.can_go_back()
            && let Err(error) = self.last_good.keep(self.plist(), record)
        {
            steps.note("keep-definition", error.to_string());
        }
    }

    fn call(&self, name: &str, words: &[&str], steps: &mut Steps) -> (Option<i32>, String) {
        let mut command = launchctl::command(&self.settings.programs.launchctl, words);
        match steps.call(name, &mut command) {
            Ok(ended) => (ended.exit_code, shortened(&ended.stderr)),
            Err(error) => (None, with_causes(&error)),
        }
    }
}

/// Asks a process that its job has left behind to end. launchd has no label for it any more.
fn terminate_stray(pid: u32, steps: &mut Steps) -> (Option<i32>, String) {
    let what = "was asked to end: it has outlived its job";
    signal("terminate", pid, Signal::TERM, what, steps)
}

/// Kills a process that launchd should have killed itself.
fn kill(pid: u32, steps: &mut Steps) -> (Option<i32>, String) {
    signal("kill", pid, Signal::KILL, "was killed: it was overdue", steps)
}

fn signal(
    step: &str,
    pid: u32,
    signal: Signal,
    what: &str,
    steps: &mut Steps,
) -> (Option<i32>, String) {
    let said = match ProcessIdentity::of(pid) {
        Ok(Some(process)) => match process.signal(signal) {
            Ok(true) => format!("pid {pid} {what}"),
            Ok(false) => format!("pid {pid} is gone"),
            Err(error) => with_causes(&error),
        },
        Ok(None) => format!("pid {pid} is gone"),
        Err(error) => with_causes(&error),
    };
    steps.note(step, said.clone());
    (None, said)
}
