//! The one thread that acts: takes what comes in, asks the deciding half and does what it says.

mod call;
mod happen;

use std::{
    collections::{HashMap, VecDeque},
    path::PathBuf,
    sync::mpsc::{Receiver, RecvTimeoutError, Sender},
    time::Duration,
};

use self::call::OpenCall;
use super::{
    Input, ServerError, clock::Clock, error_chain, file_error, override_file, paths,
    process::Processes, relatives::Relatives,
};
use crate::launchd::{
    answer::Answer,
    command::Command,
    fault::FaultBook,
    handle::Session,
    message::{Request, Response},
    moment::Moment,
    plist_file::Rules,
    record::{JobRecord, Record, RecordLog, unix_ms},
    state::{CallId, Effect, Event, Launchd},
};

/// What the driver is made of.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) launchd: Launchd,
    pub(super) processes: Processes,
    pub(super) relatives: Relatives,
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
    clock: Clock,
    todo: VecDeque<Todo>,
    held: Vec<Held>,
    calls: HashMap<CallId, OpenCall>,
    next_call: u64,
    /// What came in while the machine slept.
    kept: Vec<Input>,
    reboot: Option<Reboot>,
    life: Life,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Up,
    Over,
}

#[derive(Debug)]
enum Todo {
    /// Hand an event to the deciding half.
    Tell(Event),
    /// A call's turn has come: what a fault wants before it, then the call.
    Work(CallId, Result<Command, Answer>),
    /// The call itself.
    Handle(CallId, Result<Command, Answer>),
    /// Answer the caller.
    Send(CallId, Answer),
}

/// Something that a fault holds back.
#[derive(Debug)]
struct Held {
    until: Moment,
    todo: Todo,
}

/// A reboot that is under way.
#[derive(Debug)]
struct Reboot {
    session: Session,
    response: Option<Sender<Response>>,
}

impl Driver {
    pub(super) fn new(parts: Parts) -> Self {
        Self {
            parts,
            clock: Clock::start(),
            todo: VecDeque::new(),
            held: Vec::new(),
            calls: HashMap::new(),
            next_call: 0,
            kept: Vec::new(),
            reboot: None,
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
                Err(RecvTimeoutError::Disconnected) => self.shut_down()?,
            }
            if self.clock.until_wake() == Some(Duration::ZERO) {
                self.wake_up()?;
            }
            if !self.clock.is_asleep() {
                self.release_held();
                self.tell(Event::Tick);
            }
        }
    }

    fn wait(&self, inputs: &Receiver<Input>) -> Result<Input, RecvTimeoutError> {
        match self.next_deadline() {
            Some(delay) => inputs.recv_timeout(delay),
            None => inputs.recv().map_err(|_| RecvTimeoutError::Disconnected),
        }
    }

    fn next_deadline(&self) -> Option<Duration> {
        if self.clock.is_asleep() {
            return self.clock.until_wake();
        }
        let now = self.clock.now();
        let launchd = self.parts.launchd.next_deadline();
        let held = self.held.iter().map(|held| held.until);
        let look = self.parts.launchd.goes_by_paths().then(|| now.plus(paths::BETWEEN_LOOKS));
        launchd.into_iter().chain(held).chain(look).min().map(|at| at.until(now))
    }

    fn tell(&mut self, event: Event) {
        self.todo.push_back(Todo::Tell(event));
    }

    fn release_held(&mut self) {
        let now = self.clock.now();
        let (due, waiting) =
            std::mem::take(&mut self.held).into_iter().partition(|held| held.until <= now);
        self.held = waiting;
        self.todo.extend(Vec::into_iter(due).map(|held: Held| held.todo));
    }

    fn take(&mut self, input: Input) -> Result<(), ServerError> {
        match input {
            Input::Asked { request: Request::Control(control), response } => {
                self.take_control(control, response)
            }
            Input::Shutdown => self.shut_down(),
            asked_or_told @ (Input::Asked { .. } | Input::Exited { .. })
                if self.clock.is_asleep() =>
            {
                self.kept.push(asked_or_told);
                Ok(())
            }
            Input::Asked { request: Request::Launchctl(request), response } => {
                self.open_call(request, response);
                Ok(())
            }
            Input::Exited { pid, end } => {
                self.tell(Event::Exited { pid, end });
                Ok(())
            }
        }
    }

    /// Even a machine that sleeps can be ended.
    fn shut_down(&mut self) -> Result<(), ServerError> {
        self.wake_up()?;
        self.tell(Event::ShutdownRequested);
        Ok(())
    }

    fn do_after(&mut self, delay: Duration, todo: Todo) {
        if delay.is_zero() {
            self.todo.push_back(todo);
        } else {
            self.held.push(Held { until: self.clock.now().plus(delay), todo });
        }
    }

    /// Does what there is to do, as long as the machine is awake.
    fn work_off(&mut self) -> Result<(), ServerError> {
        while !self.clock.is_asleep()
            && let Some(todo) = self.todo.pop_front()
        {
            match todo {
                Todo::Tell(event) => {
                    let launchd = &mut self.parts.launchd;
                    launchd.see(paths::existing(launchd.paths_for(&event)));
                    let now = self.clock.now();
                    for effect in self.parts.launchd.handle(event, now) {
                        self.perform(effect)?;
                    }
                }
                Todo::Work(call, command) => self.work(call, command)?,
                Todo::Handle(call, command) => self.handle(call, command)?,
                Todo::Send(call, answer) => self.send(call, answer)?,
            }
        }
        Ok(())
    }

    fn perform(&mut self, effect: Effect) -> Result<(), ServerError> {
        match effect {
            Effect::Reply { call, answer } => self.answer(call, answer),
            Effect::Spawn { target, definition, launch } => {
                let event = match self.parts.processes.spawn(&definition, launch) {
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
            Effect::Booted => self.boot(),
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
