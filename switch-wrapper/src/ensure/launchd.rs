//! Does to launchd what the plan says, and looks again.

use std::thread;

use jiff::Timestamp;
use nixfleet_protocol::{
    journal::records::AgentVerdict, process::ProcessIdentity, state_dir::StateDir,
};
use rustix::process::Signal;

use super::{
    Conclusion, agent,
    definition::{self, Definition, Domain, OnDisk},
    last_good::LastGood,
    launchctl::{self, JobView},
    launchd_plan::{self, Decision, Memory, Observation, Step},
    steps::{Steps, shortened},
};
use crate::{messages::with_causes, settings::Settings};

/// Looks and acts until the plan ends. `since`: an agent that came up later was brought back.
pub(super) fn drive(
    settings: &Settings,
    directory: &StateDir,
    since: Timestamp,
    steps: &mut Steps,
) -> Conclusion {
    let launchd = Launchd {
        settings,
        uid: rustix::process::geteuid().as_raw(),
        last_good: LastGood::new(directory.last_good_definition()),
    };
    let mut memory = Memory::default();
    loop {
        let observation = launchd.observe(since, steps);
        let now = steps.elapsed();
        memory.saw(&observation, now);
        match launchd_plan::next(&observation, &memory, now) {
            Decision::End(conclusion) => {
                launchd.keep_if_it_works(&observation, &conclusion, steps);
                return conclusion;
            }
            Decision::Wait(time) => thread::sleep(time),
            Decision::Do(step) => {
                let (code, said) = launchd.perform(step, steps);
                memory.did(step, code, &said, now);
            }
        }
    }
}

struct Launchd<'a> {
    settings: &'a Settings,
    uid: u32,
    last_good: LastGood,
}

impl Launchd<'_> {
    fn observe(&self, since: Timestamp, steps: &Steps) -> Observation {
        Observation {
            gui: self.look_at(Domain::Gui, steps),
            user: self.look_at(Domain::User, steps),
            on_disk: definition::read(&self.settings.agent_plist, &self.settings.agent_label),
            has_other_that_worked: self.last_good.has_other_than(&self.settings.agent_plist),
            // Last: an agent that was seen after its job cannot be one from before.
            agent: agent::look(self.settings, since),
        }
    }

    fn look_at(&self, domain: Domain, steps: &Steps) -> JobView {
        let mut command =
            launchctl::command(&self.settings.programs.launchctl, &["print", &self.job(domain)]);
        launchctl::read_print(&steps.look(&mut command))
    }

    fn job(&self, domain: Domain) -> String {
        format!("{}/{}", domain.target(self.uid), self.settings.agent_label)
    }

    fn perform(&self, step: Step, steps: &mut Steps) -> (Option<i32>, String) {
        let plist = self.settings.agent_plist.to_string_lossy();
        match step {
            Step::Enable(domain) => self.call("enable", &["enable", &self.job(domain)], steps),
            Step::Bootout(domain) => self.call("bootout", &["bootout", &self.job(domain)], steps),
            Step::Bootstrap(domain) => {
                self.call("bootstrap", &["bootstrap", &domain.target(self.uid), &plist], steps)
            }
            Step::Kickstart(domain) => {
                self.call("kickstart", &["kickstart", &self.job(domain)], steps)
            }
            Step::Terminate(domain, _pid) => {
                self.call("terminate", &["kill", "SIGTERM", &self.job(domain)], steps)
            }
            Step::Kill(pid) => kill(pid, steps),
            Step::Restore => self.restore(steps),
        }
    }

    /// Puts the last definition that worked on disk.
    fn restore(&self, steps: &mut Steps) -> (Option<i32>, String) {
        let plist = &self.settings.agent_plist;
        let said = match self.last_good.restore_to(plist) {
            Ok(()) => format!("the last definition that worked is back at {}", plist.display()),
            Err(error) => format!("it cannot be put back at {}: {error}", plist.display()),
        };
        steps.note("restore", said.clone());
        (None, said)
    }

    /// Keeps a copy of a definition with which the agent is up.
    fn keep_if_it_works(&self, seen: &Observation, conclusion: &Conclusion, steps: &mut Steps) {
        let is_up = matches!(conclusion.verdict, AgentVerdict::Healthy | AgentVerdict::Back);
        // Of one whose time cannot be trusted it is not known whether the agent was started with it.
        let is_known =
            matches!(&seen.on_disk, OnDisk::Good(Definition { written_at: Some(_), .. }));
        if is_up
            && is_known
            && let Err(error) = self.last_good.keep(&self.settings.agent_plist)
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

/// Kills a process that launchd should have killed itself.
fn kill(pid: u32, steps: &mut Steps) -> (Option<i32>, String) {
    let said = match ProcessIdentity::of(pid) {
        Ok(Some(process)) => match process.signal(Signal::KILL) {
            Ok(true) => format!("pid {pid} was killed: it was overdue"),
            Ok(false) => format!("pid {pid} is gone"),
            Err(error) => with_causes(&error),
        },
        Ok(None) => format!("pid {pid} is gone"),
        Err(error) => with_causes(&error),
    };
    steps.note("kill", said.clone());
    (None, said)
}
