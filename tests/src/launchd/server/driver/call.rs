//! A call of `launchctl` from its arrival to its answer, with the fault that lies over it.

use std::{
    sync::mpsc::{self, Sender},
    time::{Duration, Instant},
};

use super::{Driver, ServerError, Todo};
use crate::launchd::{
    answer::{Answer, Privilege},
    command::{Command, VerbName},
    fault::{Fault, FaultError, Hang, Work},
    message::{CallRequest, Response},
    plist_file::{self, LoadedPlist},
    record::{Call, Record, unix_ms},
    server::error_chain,
    state::{CallId, Event, Who},
};

/// The exit code of every call while the list of faults cannot be read.
const BROKEN_FAULTS: u8 = 70;

/// A call that is not answered yet.
#[derive(Debug)]
pub(super) struct OpenCall {
    request: CallRequest,
    response: Sender<Response>,
    who: Who,
    fault: Option<Fault>,
    since: Instant,
    unix_ms: i64,
}

impl Driver {
    pub(super) fn open_call(&mut self, request: CallRequest, response: Sender<Response>) {
        let command = Command::parse(&request.argv, self.parts.macos);
        let verb = request.argv.first().and_then(|word| VerbName::parse(word));
        let met = self.meet_fault(verb, command.as_ref().ok(), &request);
        match met {
            Ok(fault) => {
                let delay = fault.as_ref().map_or(Duration::ZERO, |one| one.hang_at(Hang::Before));
                let call = self.note_call(request, response, fault);
                self.do_after(delay, Todo::Work(call, command));
            }
            Err(error) => {
                let call = self.note_call(request, response, None);
                let text = format!("launchd-sim: {}\n", error_chain(&error));
                self.todo.push_back(Todo::Send(call, Answer::refused(BROKEN_FAULTS, text)));
            }
        }
    }

    /// A call that nobody waits for, and that no fault meets.
    pub(super) fn call_unasked(&mut self, argv: Vec<String>) {
        let command = Command::parse(&argv, self.parts.macos);
        let request = CallRequest {
            argv,
            uid: self.parts.uid,
            pid: rustix::process::getpid().as_raw_nonzero().get(),
            directory: "/".into(),
            session: None,
        };
        let (response, _nobody) = mpsc::channel();
        let call = self.note_call(request, response, None);
        self.todo.push_back(Todo::Handle(call, command));
    }

    pub(super) fn work(
        &mut self,
        call: CallId,
        command: Result<Command, Answer>,
    ) -> Result<(), ServerError> {
        let Some(open) = self.calls.get(&call) else { return Ok(()) };
        for control in open.fault.clone().map(|fault| fault.before).unwrap_or_default() {
            self.control(control)?;
        }
        // Behind what the fault wanted, which may be that the machine sleeps.
        self.todo.push_back(Todo::Handle(call, command));
        Ok(())
    }

    pub(super) fn handle(
        &mut self,
        call: CallId,
        command: Result<Command, Answer>,
    ) -> Result<(), ServerError> {
        let Some(open) = self.calls.get(&call) else { return Ok(()) };
        let skipped = open.fault.as_ref().is_some_and(|fault| fault.work() == Work::Skipped);
        match (skipped, command) {
            (true, _) => self.answer(call, Answer::silent()),
            (false, Err(answer)) => self.answer(call, answer),
            (false, Ok(command)) => {
                let plists = self.load_plists(&command, &open.request);
                let caller = open.who;
                self.tell(Event::Called { call, caller, command, plists });
                Ok(())
            }
        }
    }

    /// launchd has answered; a fault may change that, add to it, or hold it back.
    pub(super) fn answer(&mut self, call: CallId, answer: Answer) -> Result<(), ServerError> {
        let Some(open) = self.calls.get(&call) else { return Ok(()) };
        let Some(fault) = open.fault.clone() else {
            self.todo.push_back(Todo::Send(call, answer));
            return Ok(());
        };
        let subject = open.request.argv.last().map_or("", String::as_str);
        let answer = fault.answer(answer, open.who.privilege, subject);
        for control in fault.after.clone() {
            self.control(control)?;
        }
        // Whom a reboot meets in the middle of a call, it meets before the answer.
        if self.reboot.is_none() {
            self.do_after(fault.hang_at(Hang::After), Todo::Send(call, answer));
        }
        Ok(())
    }

    pub(super) fn send(&mut self, call: CallId, answer: Answer) -> Result<(), ServerError> {
        let Some(open) = self.calls.remove(&call) else { return Ok(()) };
        let duration_ms = u64::try_from(open.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.record(Record::Call(Call {
            unix_ms: open.unix_ms,
            duration_ms,
            argv: open.request.argv,
            uid: open.request.uid,
            pid: open.request.pid,
            code: answer.code,
            stderr: answer.stderr.clone(),
        }))?;
        let response = match &open.fault {
            Some(fault) => fault.response(answer),
            None => answer.into(),
        };
        // A caller that was killed meanwhile takes no answer.
        let _ = open.response.send(response);
        Ok(())
    }

    fn note_call(
        &mut self,
        request: CallRequest,
        response: Sender<Response>,
        fault: Option<Fault>,
    ) -> CallId {
        let call = CallId(self.next_call);
        self.next_call += 1;
        let who = Who { privilege: self.privilege(request.uid), session: request.session };
        let (since, unix_ms) = (Instant::now(), unix_ms());
        self.calls.insert(call, OpenCall { request, response, who, fault, since, unix_ms });
        call
    }

    fn meet_fault(
        &mut self,
        verb: Option<VerbName>,
        command: Option<&Command>,
        request: &CallRequest,
    ) -> Result<Option<Fault>, FaultError> {
        let Some(verb) = verb else { return Ok(None) };
        let label = command.and_then(|command| match command.label() {
            Some(label) => Some(label.to_owned()),
            None => self
                .load_plists(command, request)
                .into_iter()
                .find_map(|plist| Some(plist.job.ok()?.label)),
        });
        self.parts.faults.meet(verb, label.as_deref())
    }

    /// The old verbs take folders too.
    fn load_plists(&self, command: &Command, request: &CallRequest) -> Vec<LoadedPlist> {
        let rules = &self.parts.rules;
        let paths = command.plists().iter().map(|path| request.directory.join(path));
        let takes_folders = matches!(command, Command::Load { .. } | Command::Unload { .. });
        paths
            .flat_map(|path| match plist_file::scan(&path, rules) {
                Ok(plists) if takes_folders && path.is_dir() => plists,
                Ok(_) | Err(_) => vec![plist_file::load(&path, rules)],
            })
            .collect()
    }

    /// Whoever has the simulated user's uid is that user, even where that uid is 0.
    fn privilege(&self, uid: u32) -> Privilege {
        match uid {
            uid if uid == self.parts.uid => Privilege::Owner,
            0 => Privilege::Root,
            _ => Privilege::Stranger,
        }
    }
}
