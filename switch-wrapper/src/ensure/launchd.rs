//! Does to launchd what the plan says, and looks again.

use std::thread;

use jiff::Timestamp;
use nixfleet_protocol::process::ProcessIdentity;
use rustix::process::Signal;

use super::{
    Conclusion, agent,
    definition::{self, Domain},
    launchctl::{self, JobView},
    launchd_plan::{self, Decision, Memory, Observation, Step},
    steps::{Steps, shortened},
};
use crate::{messages::with_causes, settings::Settings};

/// Looks and acts until the plan ends. `since`: an agent that came up later was brought back.
pub(super) fn drive(settings: &Settings, since: Timestamp, steps: &mut Steps) -> Conclusion {
    let launchd = Launchd { settings, uid: rustix::process::geteuid().as_raw() };
    let mut memory = Memory::default();
    loop {
        let observation = launchd.observe(since, steps);
        let now = steps.elapsed();
        memory.saw(&observation, now);
        match launchd_plan::next(&observation, &memory, now) {
            Decision::End(conclusion) => return conclusion,
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
}

impl Launchd<'_> {
    fn observe(&self, since: Timestamp, steps: &Steps) -> Observation {
        Observation {
            gui: self.look_at(Domain::Gui, steps),
            user: self.look_at(Domain::User, steps),
            on_disk: definition::read(&self.settings.agent_plist, &self.settings.agent_label),
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
