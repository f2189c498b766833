//! What happens to the machine: logins, reboots, sleep, and whatever else a test wants.

use std::{sync::mpsc::Sender, time::Duration};

use rustix::process::Signal;

use super::{Driver, Reboot, ServerError, Todo};
use crate::launchd::{
    answer::{Answer, NO_SUCH_SERVICE},
    control::{Control, Verdict},
    domain::ServiceTarget,
    handle::Session,
    message::{Request, Response},
    plist_file,
    record::{Happening, Record, unix_ms},
    server::{Input, domains, file_error},
    state::{Event, Mood, Override},
};

/// The exit code for what cannot happen now.
const NOT_NOW: u8 = 75;

impl Driver {
    /// The user logs in at the screen.
    pub(in crate::launchd::server) fn log_in(&mut self) -> Result<(), ServerError> {
        let directory = &self.parts.launch_agents;
        let plists = plist_file::scan(directory, &self.parts.login_rules)
            .map_err(file_error("read", directory))?;
        self.tell(Event::LoggedIn { plists });
        Ok(())
    }

    pub(super) fn take_control(
        &mut self,
        control: Control,
        response: Sender<Response>,
    ) -> Result<(), ServerError> {
        let waits =
            self.clock.is_asleep() && !matches!(control, Control::Wake | Control::CalendarDue(_));
        if waits {
            self.kept.push(Input::Asked { request: Request::Control(control), response });
            return Ok(());
        }
        let is_reboot = matches!(control, Control::Reboot(_));
        let answer = self.control(control)?;
        if let (true, Some(reboot)) = (is_reboot && answer.code == 0, &mut self.reboot) {
            reboot.response = Some(response);
            return Ok(());
        }
        self.work_off()?;
        // A test that no longer waits needs no answer.
        let _ = response.send(answer.into());
        Ok(())
    }

    pub(super) fn control(&mut self, control: Control) -> Result<Answer, ServerError> {
        self.record(Record::Happening(Happening { unix_ms: unix_ms(), control: control.clone() }))?;
        let event = match control {
            Control::Login => {
                self.log_in()?;
                return Ok(Answer::silent());
            }
            Control::SshLogin => Event::LoggedInOverSsh,
            Control::Logout => Event::LoggedOut,
            Control::Reboot(session) => return Ok(self.begin_reboot(session)),
            Control::Sleep => return Ok(self.fall_asleep(None)),
            Control::SleepFor(length) => {
                return Ok(self.fall_asleep(Some(Duration::from_millis(length))));
            }
            Control::Wake => return self.wake_up(),
            Control::OnDemandCount(count) => Event::Mood(Mood::OnDemandCount(count)),
            Control::LowPower(on) => Event::Mood(Mood::LowPower(on)),
            Control::PendedStay(on) => Event::Mood(Mood::PendedStay(on)),
            Control::Disable(label) => Event::Overridden { label, to: Override::Disabled },
            Control::Enable(label) => Event::Overridden { label, to: Override::Enabled },
            Control::Policy { label, verdict } => Event::Judged { label, verdict },
            Control::LoginItem { label, on } => {
                let (to, verdict) = if on {
                    (Override::Enabled, Verdict::Allowed)
                } else {
                    (Override::Disabled, Verdict::SpawnRefused)
                };
                self.tell(Event::Overridden { label: label.clone(), to });
                Event::Judged { label, verdict }
            }
            Control::CalendarDue(target) => {
                return Ok(self.tell_registered(target, Event::CalendarDue));
            }
            Control::SetupEvent(target) => {
                return Ok(self.tell_registered(target, Event::SetupEvent));
            }
            Control::Remove(target) => return Ok(self.tell_registered(target, Event::ThrownOut)),
            Control::Launchctl(words) => {
                self.call_unasked(words);
                return Ok(Answer::silent());
            }
        };
        self.tell(event);
        Ok(Answer::silent())
    }

    /// Wakes the machine, if it sleeps, and makes up for what came meanwhile.
    pub(super) fn wake_up(&mut self) -> Result<Answer, ServerError> {
        let Some(slept) = self.clock.wake() else {
            return Ok(not_now("the machine is awake"));
        };
        self.parts.processes.signal_all(Signal::CONT);
        self.parts.relatives.signal(Signal::CONT);
        self.tell(Event::Woke { slept });
        for input in std::mem::take(&mut self.kept) {
            self.take(input)?;
        }
        Ok(Answer::silent())
    }

    /// All jobs are gone. So is every other process of the machine, and whoever waits for an answer.
    pub(super) fn boot(&mut self) -> Result<(), ServerError> {
        self.parts.processes.end_groups();
        self.parts.relatives.signal(Signal::KILL);
        self.calls.clear();
        self.held.clear();
        // What was asked before the reboot is not to be done after it.
        self.todo.retain(|todo| !matches!(todo, Todo::Tell(Event::Called { .. })));
        let Some(Reboot { session, response }) = self.reboot.take() else { return Ok(()) };
        if session == Session::GuiLogin {
            self.log_in()?;
        }
        if let Some(response) = response {
            // A test that no longer waits needs no answer.
            let _ = response.send(Answer::silent().into());
        }
        Ok(())
    }

    fn begin_reboot(&mut self, session: Session) -> Answer {
        if self.reboot.is_some() {
            return not_now("the machine is rebooting already");
        }
        self.reboot = Some(Reboot { session, response: None });
        self.tell(Event::RebootRequested(domains(session, self.parts.uid)));
        Answer::silent()
    }

    fn fall_asleep(&mut self, length: Option<Duration>) -> Answer {
        if self.clock.is_asleep() {
            return not_now("the machine is asleep");
        }
        self.clock.sleep(length);
        self.parts.relatives.signal(Signal::STOP);
        self.parts.processes.signal_all(Signal::STOP);
        Answer::silent()
    }

    fn tell_registered(
        &mut self,
        target: ServiceTarget,
        event: impl FnOnce(ServiceTarget) -> Event,
    ) -> Answer {
        if !self.parts.launchd.is_registered(&target) {
            return Answer::refused(NO_SUCH_SERVICE, format!("{target} is not registered\n"));
        }
        self.tell(event(target));
        Answer::silent()
    }
}

fn not_now(why: &str) -> Answer {
    Answer::refused(NOT_NOW, format!("launchd-sim: {why}\n"))
}
