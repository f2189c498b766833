//! Watching home-manager from its start to its end: threads that only say what happened, one loop that acts.

use std::{
    io,
    os::unix::process::ExitStatusExt as _,
    process::{Child, ExitStatus},
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    thread,
    time::{Duration, Instant},
};

use nixfleet_protocol::{
    lifecycle::{Ending, StopCause},
    process::{self, ProcessIdentity},
};
use rustix::process::Signal;
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGWINCH},
    iterator::Signals,
};

use super::{
    stop::{self, Action, Supervision},
    terminal::Terminal,
};
use crate::messages::warn;

/// How long what is left of a stopped switch has before it is killed, once home-manager itself has ended.
const REMAINS_LIMIT: Duration = Duration::from_secs(2);

/// How long what is root's is waited for then: sudo is gone, and with it the way to end it.
const ROOT_REMAINS_LIMIT: Duration = Duration::from_mins(10);

/// Time between two looks at it.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What the threads say.
#[derive(Debug)]
pub(super) enum Happened {
    /// A signal came.
    Signal(i32),
    /// The interrupt key was passed on.
    InterruptKey,
    /// home-manager has ended.
    Ended(io::Result<ExitStatus>),
}

/// How a signal gets to the switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// It is the same user's.
    Direct,
    /// It is root's. sudo, which is ours to signal, passes SIGTERM, SIGINT and SIGQUIT on (sudo(8)). It cannot pass on
    /// SIGKILL: it would die and leave the switch at work, with nobody waiting for it.
    ThroughSudo,
}

/// What may go on when the child itself has ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaves {
    /// What it has left at work, it meant to leave.
    WhatItMeantTo,
    /// Nothing.
    Nothing,
}

/// Signals, caught from now on, and the channel on which everything arrives.
#[derive(Debug)]
pub(super) struct Watch {
    sender: Sender<Happened>,
    receiver: Receiver<Happened>,
}

/// How it went.
#[derive(Debug)]
pub(super) struct Watched {
    /// How home-manager ended.
    pub ending: Ending,
    /// Why it was asked to, if it was.
    pub stopped: Option<StopCause>,
    /// How long it ran.
    pub duration: Duration,
}

impl Watch {
    /// Catches the signals from now on.
    pub(super) fn begin() -> io::Result<Self> {
        let (sender, receiver) = mpsc::channel();
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGQUIT, SIGHUP, SIGWINCH])?;
        let signalled = sender.clone();
        thread::Builder::new().name("signals".to_owned()).spawn(move || {
            for signal in signals.forever() {
                if signalled.send(Happened::Signal(signal)).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { sender, receiver })
    }

    /// Where the terminal's thread tells of the interrupt key.
    pub(super) fn sender(&self) -> Sender<Happened> {
        self.sender.clone()
    }

    /// Watches home-manager to its end, and ends it when that is asked for or its time is up.
    pub(super) fn until_the_end(
        self,
        mut child: Child,
        identity: &ProcessIdentity,
        (reach, leaves): (Reach, Leaves),
        limit: Duration,
        terminal: Option<&Terminal>,
    ) -> io::Result<Watched> {
        let began = Instant::now();
        let ended = self.sender;
        thread::Builder::new().name("wait".to_owned()).spawn(move || {
            // If nobody listens any more, the wrapper is on its way out.
            let _ = ended.send(Happened::Ended(child.wait()));
        })?;
        let mut supervision = Supervision::Running { limit };
        let status = loop {
            let event = match next(&self.receiver, supervision, began) {
                Some(Happened::Ended(status)) => break status?,
                Some(Happened::Signal(SIGWINCH)) => {
                    if let Some(terminal) = terminal {
                        terminal.follow_size();
                    }
                    continue;
                }
                Some(Happened::Signal(signal)) => event_of(signal),
                Some(Happened::InterruptKey) => stop::Event::InterruptKey,
                None => stop::Event::Tick,
            };
            let action;
            (supervision, action) = supervision.handle(event, began.elapsed());
            perform(action, identity, reach);
        };
        let duration = began.elapsed();
        let (ending, stopped) = (ending(status), supervision.cause());
        end_remains((ending, leaves), stopped, identity, reach);
        Ok(Watched { ending, stopped, duration })
    }
}

/// The next thing that happens; `None` when it is time to look at the clock.
fn next(
    receiver: &Receiver<Happened>,
    supervision: Supervision,
    began: Instant,
) -> Option<Happened> {
    let heard = match supervision.next_look() {
        Some(look) => receiver.recv_timeout(look.saturating_sub(began.elapsed())),
        None => receiver.recv().map_err(|_gone| RecvTimeoutError::Disconnected),
    };
    match heard {
        Ok(happened) => Some(happened),
        Err(RecvTimeoutError::Timeout) => None,
        // The thread that waits for home-manager always speaks before it goes.
        Err(RecvTimeoutError::Disconnected) => {
            Some(Happened::Ended(Err(io::Error::other("nobody waits for the switch any more"))))
        }
    }
}

fn event_of(signal: i32) -> stop::Event {
    match signal {
        SIGINT => stop::Event::Interrupt,
        SIGQUIT => stop::Event::Quit,
        SIGHUP => stop::Event::HangUp,
        // Only the signals above are caught beside SIGTERM.
        _ => stop::Event::Terminate,
    }
}

fn perform(action: Action, identity: &ProcessIdentity, reach: Reach) {
    let signal = match (action, reach) {
        (Action::Nothing, _) => return,
        (Action::PassInterrupt, _) => Signal::INT,
        (Action::PassTerminate, _) => Signal::TERM,
        (Action::PassQuit, _) => Signal::QUIT,
        (Action::Kill, Reach::Direct) => Signal::KILL,
        (Action::Kill, Reach::ThroughSudo) => {
            let pid = identity.pid;
            warn(&format!(
                "not all of it has ended, and it is root's: it is waited for; `sudo kill -KILL -- -{pid}` ends it"
            ));
            Signal::QUIT
        }
    };
    // At its very start home-manager has no group of its own yet. One that is gone needs no signal; its end arrives by
    // itself.
    if !process::signal_group(identity, signal).unwrap_or(false) {
        let _ = identity.signal(signal);
    }
}

/// A home-manager that was stopped or killed leaves nothing at work: what it had started may be the activation itself,
/// and the next switch must not run beside it. What one that ended by itself leaves behind, it meant to leave.
fn end_remains(
    (ending, leaves): (Ending, Leaves),
    stopped: Option<StopCause>,
    identity: &ProcessIdentity,
    reach: Reach,
) {
    match (ending, stopped) {
        (Ending::Exited(_), None) if leaves == Leaves::WhatItMeantTo => return,
        (Ending::Exited(_) | Ending::Signalled(_), None) => {
            perform(Action::PassTerminate, identity, reach);
        }
        // It was told already.
        (Ending::Exited(_) | Ending::Signalled(_), Some(_)) => {}
    }
    let is_gone_within = |limit| {
        let deadline = Instant::now() + limit;
        while process::group_runs(identity).unwrap_or(false) {
            if Instant::now() >= deadline {
                return false;
            }
            thread::sleep(LOOK_EVERY);
        }
        true
    };
    if is_gone_within(REMAINS_LIMIT) {
        return;
    }
    perform(Action::Kill, identity, reach);
    match reach {
        Reach::Direct => {}
        // Nothing but waiting is left: no other switch may run beside it.
        Reach::ThroughSudo => {
            is_gone_within(ROOT_REMAINS_LIMIT);
        }
    }
}

fn ending(status: ExitStatus) -> Ending {
    match (status.code(), status.signal()) {
        (Some(code), _) => Ending::Exited(code),
        (None, Some(signal)) => Ending::Signalled(signal),
        // wait(2) reports an end as one of the two.
        (None, None) => Ending::Exited(-1),
    }
}
