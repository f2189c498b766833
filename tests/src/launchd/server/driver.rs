//! The one thread that acts: takes what comes in, asks the deciding half, does what it says, and
//! lays faults over the calls they are meant for.

use std::{
    collections::{HashMap, VecDeque},
    path::PathBuf,
    sync::mpsc::{Receiver, RecvTimeoutError, Sender},
    time::{Duration, Instant},
};

use super::{Input, ServerError, error_chain, file_error, override_file, process::Processes};
use crate::launchd::{
    answer::{Answer, NO_SUCH_SERVICE, Privilege},
    command::{Command, VerbName},
    control::Control,
    fault::{Fault, FaultBook, FaultError, Hang, Work},
    message::{CallRequest, Request, Response},
    moment::Moment,
    plist_file::{self, LoadedPlist, Rules},
    record::{Call, JobRecord, Record, RecordLog, unix_ms},
    state::{CallId, Effect, Event, Launchd, Override},
};

/// The exit code of every call while the list of faults cannot be read.
const BROKEN_FAULTS: u8 = 70;

/// What the driver is made of.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) launchd: Launchd,
    pub(super) processes: Processes,
    pub(super) log: RecordLog,
    pub(super) faults: FaultBook,
    pub(super) directory: PathBuf,
    pub(super) launch_agents: PathBuf,
    pub(super) rules: Rules,
    pub(super) login_rules: Rules,
    pub(super) macos: u32,
    pub(super) uid: u32,
}

/// The driver with what it has to do.
#[derive(Debug)]
pub(super) struct Driver {
    parts: Parts,
    started: Instant,
    todo: VecDeque<Todo>,
    held: Vec<Held>,
    calls: HashMap<CallId, OpenCall>,
    next_call: u64,
    life: Life,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Up,
    Over,
}

#[derive(Debug)]
enum Todo {
    Tell(Event),
    Work(CallId, Result<Command, Answer>),
    Send(CallId, Answer),
}

/// Something that a fault holds back.
#[derive(Debug)]
struct Held {
    until: Instant,
    todo: Todo,
}

/// A call that is not answered yet.
#[derive(Debug)]
struct OpenCall {
    request: CallRequest,
    response: Sender<Response>,
    privilege: Privilege,
    fault: Option<Fault>,
    since: Instant,
    unix_ms: i64,
}

impl Driver {
    pub(super) fn new(parts: Parts) -> Self {
        Self {
            parts,
            started: Instant::now(),
            todo: VecDeque::new(),
            held: Vec::new(),
            calls: HashMap::new(),
            next_call: 0,
            life: Life::Up,
        }
    }

    /// Works until launchd has ended.
    pub(super) fn run(&mut self, inputs: &Receiver<Input>) -> Result<(), ServerError> {
        loop {
            self.work_off()?;
            if self.life == Life::Over {
                return Ok(());
            }
            match self.wait(inputs) {
                Ok(input) => self.take(input)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => self.tell(Event::ShutdownRequested),
            }
            self.release_held();
            self.tell(Event::Tick);
        }
    }

    /// The user logs in at the screen.
    pub(super) fn log_in(&mut self) -> Result<(), ServerError> {
        let directory = &self.parts.launch_agents;
        let plists = plist_file::scan(directory, &self.parts.login_rules)
            .map_err(file_error("read", directory))?;
        self.tell(Event::LoggedIn { plists });
        Ok(())
    }

    fn wait(&self, inputs: &Receiver<Input>) -> Result<Input, RecvTimeoutError> {
        match self.next_deadline() {
            Some(delay) => inputs.recv_timeout(delay),
            None => inputs.recv().map_err(|_| RecvTimeoutError::Disconnected),
        }
    }

    fn next_deadline(&self) -> Option<Duration> {
        let now = self.now();
        let launchd = self.parts.launchd.next_deadline().map(|at| at.until(now));
        let held =
            self.held.iter().map(|held| held.until.saturating_duration_since(Instant::now()));
        launchd.into_iter().chain(held).min()
    }

    fn now(&self) -> Moment {
        Moment::at(self.started.elapsed())
    }

    fn tell(&mut self, event: Event) {
        self.todo.push_back(Todo::Tell(event));
    }

    fn release_held(&mut self) {
        let now = Instant::now();
        let (due, waiting) =
            std::mem::take(&mut self.held).into_iter().partition(|held| held.until <= now);
        self.held = waiting;
        self.todo.extend(Vec::into_iter(due).map(|held: Held| held.todo));
    }

    fn take(&mut self, input: Input) -> Result<(), ServerError> {
        match input {
            Input::Asked { request: Request::Launchctl(request), response } => {
                self.open_call(request, response);
                Ok(())
            }
            Input::Asked { request: Request::Control(control), response } => {
                let answer = self.control(control)?;
                self.work_off()?;
                // A test that no longer waits needs no answer.
                let _ = response.send(answer.into());
                Ok(())
            }
            Input::Exited { pid, end } => {
                self.tell(Event::Exited { pid, end });
                Ok(())
            }
            Input::Shutdown => {
                self.tell(Event::ShutdownRequested);
                Ok(())
            }
        }
    }

    fn control(&mut self, control: Control) -> Result<Answer, ServerError> {
        let event = match control {
            Control::Login => {
                self.log_in()?;
                return Ok(Answer::silent());
            }
            Control::Logout => Event::LoggedOut,
            Control::OnDemandCount(count) => Event::OnDemandCount(count),
            Control::Disable(label) => Event::Overridden { label, to: Override::Disabled },
            Control::Enable(label) => Event::Overridden { label, to: Override::Enabled },
            Control::Remove(target) => {
                if !self.parts.launchd.is_registered(&target) {
                    return Ok(Answer::refused(
                        NO_SUCH_SERVICE,
                        format!("{target} is not registered\n"),
                    ));
                }
                Event::ThrownOut(target)
            }
        };
        self.tell(event);
        Ok(Answer::silent())
    }

    fn open_call(&mut self, request: CallRequest, response: Sender<Response>) {
        let call = CallId(self.next_call);
        self.next_call += 1;
        let command = Command::parse(&request.argv, self.parts.macos);
        let verb = request.argv.first().and_then(|word| VerbName::parse(word));
        let met = self.meet_fault(verb, command.as_ref().ok(), &request);
        let privilege = self.privilege(request.uid);
        let open = OpenCall {
            request,
            response,
            privilege,
            fault: None,
            since: Instant::now(),
            unix_ms: unix_ms(),
        };
        match met {
            Ok(fault) => {
                let delay = fault.as_ref().map_or(Duration::ZERO, |one| one.hang_at(Hang::Before));
                self.calls.insert(call, OpenCall { fault, ..open });
                self.do_after(delay, Todo::Work(call, command));
            }
            Err(error) => {
                self.calls.insert(call, open);
                let text = format!("launchd-sim: {}\n", error_chain(&error));
                self.todo.push_back(Todo::Send(call, Answer::refused(BROKEN_FAULTS, text)));
            }
        }
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

    fn load_plists(&self, command: &Command, request: &CallRequest) -> Vec<LoadedPlist> {
        command
            .plists()
            .iter()
            .map(|path| plist_file::load(&request.directory.join(path), &self.parts.rules))
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

    fn do_after(&mut self, delay: Duration, todo: Todo) {
        if delay.is_zero() {
            self.todo.push_back(todo);
        } else {
            self.held.push(Held { until: Instant::now() + delay, todo });
        }
    }

    fn work_off(&mut self) -> Result<(), ServerError> {
        while let Some(todo) = self.todo.pop_front() {
            match todo {
                Todo::Tell(event) => {
                    let now = self.now();
                    for effect in self.parts.launchd.handle(event, now) {
                        self.perform(effect)?;
                    }
                }
                Todo::Work(call, command) => self.work(call, command)?,
                Todo::Send(call, answer) => self.send(call, answer)?,
            }
        }
        Ok(())
    }

    fn work(&mut self, call: CallId, command: Result<Command, Answer>) -> Result<(), ServerError> {
        let Some(open) = self.calls.get(&call) else { return Ok(()) };
        let privilege = open.privilege;
        let fault = open.fault.clone();
        for control in fault.iter().flat_map(|fault| fault.before.clone()) {
            self.control(control)?;
        }
        let skipped = fault.is_some_and(|fault| fault.work() == Work::Skipped);
        match (skipped, command) {
            (true, _) => self.answer(call, Answer::silent()),
            (false, Err(answer)) => self.answer(call, answer),
            (false, Ok(command)) => {
                let plists = self
                    .calls
                    .get(&call)
                    .map(|open| self.load_plists(&command, &open.request))
                    .unwrap_or_default();
                self.tell(Event::Called { call, caller: privilege, command, plists });
                Ok(())
            }
        }
    }

    /// launchd has answered; a fault may change that, add to it, or hold it back.
    fn answer(&mut self, call: CallId, answer: Answer) -> Result<(), ServerError> {
        let Some(open) = self.calls.get(&call) else { return Ok(()) };
        let Some(fault) = open.fault.clone() else {
            self.todo.push_back(Todo::Send(call, answer));
            return Ok(());
        };
        let answer = fault.answer(answer, open.privilege);
        for control in fault.after.clone() {
            self.control(control)?;
        }
        self.do_after(fault.hang_at(Hang::After), Todo::Send(call, answer));
        Ok(())
    }

    fn send(&mut self, call: CallId, answer: Answer) -> Result<(), ServerError> {
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
        // A caller that was killed meanwhile takes no answer.
        let _ = open.response.send(answer.into());
        Ok(())
    }

    fn perform(&mut self, effect: Effect) -> Result<(), ServerError> {
        match effect {
            Effect::Reply { call, answer } => self.answer(call, answer),
            Effect::Spawn { target, definition } => {
                let event = match self.parts.processes.spawn(&definition) {
                    Ok(pid) => Event::Spawned { target, pid },
                    Err(error) => Event::SpawnFailed { target, reason: error_chain(&error) },
                };
                // Before anything else: until then the job is neither up nor down.
                self.todo.push_front(Todo::Tell(event));
                Ok(())
            }
            Effect::Signal { pid, signal } => {
                self.parts.processes.signal(pid, signal);
                Ok(())
            }
            Effect::Reap { pid, group } => {
                self.parts.processes.reap(pid, group);
                Ok(())
            }
            Effect::Record { target, event } => self.record(Record::Job(JobRecord {
                unix_ms: unix_ms(),
                domain: target.domain,
                label: target.label,
                event,
            })),
            Effect::KeepOverrides(overrides) => {
                override_file::store(&self.parts.directory, self.parts.uid, &overrides)
            }
            Effect::End => {
                self.life = Life::Over;
                Ok(())
            }
        }
    }

    fn record(&mut self, record: Record) -> Result<(), ServerError> {
        let path = self.parts.directory.join(super::CALLS);
        self.parts.log.append(record).map_err(file_error("write", &path))
    }
}
