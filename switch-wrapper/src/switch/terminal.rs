//! The terminal: home-manager gets a pseudo-terminal of the same size and settings, ours is passed through.
//!
//! While ours is in raw mode every key goes to home-manager's, whose line discipline makes signals of Ctrl-C and
//! Ctrl-\ just as ours would have. The settings come back when [`Terminal`] is dropped.

use std::{
    fs::File,
    io::{self, IsTerminal as _, Read as _, Write as _},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::mpsc::Sender,
    thread,
};

use rustix::{
    io::{FdFlags, dup, fcntl_setfd},
    process::getpgrp,
    termios::{
        LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetpgrp, tcgetwinsize,
        tcsetattr, tcsetwinsize,
    },
};

/// Who makes a signal of the interrupt key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyReading {
    /// home-manager's terminal, as it is set.
    ByTerminal,
    /// sudo: it may put another terminal between ours and what it runs (sudoers(5), `use_pty`), and sets ours so that every
    /// key reaches that one.
    ByRelay,
}

/// Our terminal and home-manager's.
#[derive(Debug)]
pub(super) struct Terminal {
    ours: OwnedFd,
    /// Our side of home-manager's terminal.
    controller: OwnedFd,
    /// home-manager's side; given up once it is started, so that its end can be seen.
    user: Option<OwnedFd>,
    /// Our settings, to be put back.
    saved: Option<Termios>,
}

impl Terminal {
    /// Opens a terminal for home-manager if one of our standard streams is one.
    pub(super) fn open() -> io::Result<Option<Self>> {
        let Some(ours) = our_terminal()? else { return Ok(None) };
        let settings = tcgetattr(&ours).ok();
        let size = tcgetwinsize(&ours).ok();
        let pair = rustix_openpty::openpty(settings.as_ref(), size.as_ref())?;
        for side in [&pair.controller, &pair.user] {
            fcntl_setfd(side, FdFlags::CLOEXEC)?;
        }
        Ok(Some(Self { ours, controller: pair.controller, user: Some(pair.user), saved: None }))
    }

    /// home-manager's side.
    pub(super) fn user(&self) -> Option<BorrowedFd<'_>> {
        self.user.as_ref().map(AsFd::as_fd)
    }

    /// Another descriptor for home-manager's side.
    pub(super) fn user_copy(&self) -> io::Result<OwnedFd> {
        self.user.as_ref().ok_or_else(|| io::Error::other("the terminal was given up"))?.try_clone()
    }

    /// Gives up home-manager's side.
    pub(super) fn give_up_user_side(&mut self) {
        self.user = None;
    }

    /// Where home-manager's output comes from.
    pub(super) fn output(&self) -> io::Result<File> {
        self.controller.try_clone().map(File::from)
    }

    /// Our terminal, to write to.
    pub(super) fn ours(&self) -> io::Result<File> {
        self.ours.try_clone().map(File::from)
    }

    /// Passes the size on.
    pub(super) fn follow_size(&self) {
        // A terminal that has no size leaves home-manager's as it is.
        if let Ok(size) = tcgetwinsize(&self.ours) {
            let _ = tcsetwinsize(&self.controller, size);
        }
    }

    /// Passes every key on if we are in the terminal's foreground: home-manager may ask on its terminal even where its
    /// standard input is something else. `interrupted` hears
    /// of each interrupt key that becomes a signal on the other side.
    pub(super) fn pass_input<E: Send + 'static>(
        &mut self,
        reading: KeyReading,
        interrupted: Sender<E>,
        event: impl Fn() -> E + Send + 'static,
    ) -> io::Result<()> {
        if !is_in_foreground(&self.ours) {
            return Ok(());
        }
        let settings = tcgetattr(&self.ours)?;
        let mut raw = settings.clone();
        raw.make_raw();
        tcsetattr(&self.ours, OptionalActions::Now, &raw)?;
        self.saved = Some(settings);
        let (ours, controller) = (self.ours()?, self.output()?);
        // Not joined: it sits in a read that only a key ends, and goes with the process.
        thread::Builder::new().name("keys".to_owned()).spawn(move || {
            // Whichever side ends, there are no more keys to pass.
            let _ = pass_keys(ours, controller, reading, &interrupted, event);
        })?;
        Ok(())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(saved) = &self.saved {
            // Not waiting for output to be taken: it may never be. In the background, setting it would stop us, and
            // whoever is in the foreground has settings of their own. A terminal that is gone needs none.
            if is_in_foreground(&self.ours) {
                let _ = tcsetattr(&self.ours, OptionalActions::Now, saved);
            }
        }
    }
}

/// Whether one of our standard streams is a terminal.
pub(super) fn is_there() -> bool {
    io::stdout().is_terminal() || io::stderr().is_terminal() || io::stdin().is_terminal()
}

fn our_terminal() -> io::Result<Option<OwnedFd>> {
    let (stdout, stderr, stdin) = (io::stdout(), io::stderr(), io::stdin());
    let first = if stdout.is_terminal() {
        Some(stdout.as_fd())
    } else if stderr.is_terminal() {
        Some(stderr.as_fd())
    } else if stdin.is_terminal() {
        Some(stdin.as_fd())
    } else {
        None
    };
    let Some(terminal) = first else { return Ok(None) };
    let copy = dup(terminal)?;
    fcntl_setfd(&copy, FdFlags::CLOEXEC)?;
    Ok(Some(copy))
}

/// In the background, reading the terminal or setting it would stop us.
fn is_in_foreground(terminal: impl AsFd) -> bool {
    tcgetpgrp(terminal).is_ok_and(|foreground| foreground == getpgrp())
}

fn pass_keys<E>(
    mut ours: File,
    mut controller: File,
    reading: KeyReading,
    interrupted: &Sender<E>,
    event: impl Fn() -> E,
) -> io::Result<()> {
    let mut keys = [0; 4096];
    loop {
        let length = ours.read(&mut keys)?;
        let Some(pressed @ [_, ..]) = keys.get(..length) else { return Ok(()) };
        let interrupts =
            interrupt_key(&controller, reading).is_some_and(|key| pressed.contains(&key));
        // Told before it is passed on: its end would be told first otherwise, and taken for one of its own.
        if interrupts && interrupted.send(event()).is_err() {
            return Ok(());
        }
        controller.write_all(pressed)?;
    }
}

/// The key that becomes SIGINT on home-manager's side, unless it has switched that off.
fn interrupt_key(controller: &File, reading: KeyReading) -> Option<u8> {
    let settings = tcgetattr(controller).ok()?;
    let makes_signals = match reading {
        KeyReading::ByTerminal => settings.local_modes.contains(LocalModes::ISIG),
        KeyReading::ByRelay => true,
    };
    makes_signals.then(|| settings.special_codes[SpecialCodeIndex::VINTR])
}
