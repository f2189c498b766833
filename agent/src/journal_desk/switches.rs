//! Closing switches, marking them, and reading what is to be said about them.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
};

use nixfleet_protocol::{
    journal::{
        atomic::{self, WriteError},
        lock::{Lock, LockError},
        records::{Initiator, Started, SwitchId},
        store::{Entry, JournalError},
    },
    lifecycle::{self, Circumstances, Phase, Recovery},
    output_tail,
    process::{self, AskError},
    wire::{v1::Status, v2::SwitchReport},
};
use rustix::{fs::OFlags, process::Signal};

use super::{
    Desk,
    commands::{keep_first, refused, reported},
    look::since,
};
use crate::{
    decide::facts::{Closing, Protocol, Stage},
    report,
};

/// A piece of output as it is sent, in bytes.
const PIECE_BYTES: usize = 64 * 1024;

/// What a look under the lock has led to.
#[derive(Debug)]
pub(crate) enum Recovered {
    /// It is closed, or somebody else has done it.
    Settled,
    /// Somebody has the lock; it cannot be done now.
    NotNow,
    /// What home-manager has left behind is to be ended first. That takes time, so it is done elsewhere.
    Remains(Box<Entry>, Lock),
}

/// Why a switch cannot be closed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecoverError {
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Lock(#[from] LockError),
}

impl Desk {
    /// Closes a switch that nobody else will close. What was seen without the lock is looked at again under it.
    pub(crate) fn recover(
        &mut self,
        id: SwitchId,
        was_tried: bool,
        why: Option<&str>,
    ) -> Result<Recovered, RecoverError> {
        let lock = match Lock::take(&self.journal.directory().switch_lock()) {
            Ok(lock) => lock,
            Err(LockError::Held { .. }) => return Ok(Recovered::NotNow),
            Err(error @ LockError::Io { .. }) => return Err(error.into()),
        };
        let entry = self.journal.entry(id);
        let phase = self.journal.phase_under_lock(&entry)?;
        let request = entry.request.as_present();
        let circumstances = Circumstances {
            age: request.and_then(|request| since(request.requested_at)),
            was_tried,
            may_start: request.is_some_and(|request| self.may_start(request)),
        };
        match lifecycle::recovery(phase, circumstances) {
            Recovery::CloseNotStarted => self.close_not_started(&entry, why)?,
            Recovery::Wait if phase == Phase::Accepted && why.is_some() => {
                self.close_not_started(&entry, why)?;
            }
            Recovery::CloseInterrupted => {
                self.closer().close_interrupted(&self.journal, &entry, &lock)?;
            }
            Recovery::EndRemains => return Ok(Recovered::Remains(Box::new(entry), lock)),
            Recovery::Nothing
            | Recovery::Wait
            | Recovery::Start
            | Recovery::Finish { .. }
            | Recovery::Remove => {}
        }
        Ok(Recovered::Settled)
    }

    fn close_not_started(&self, entry: &Entry, why: Option<&str>) -> Result<(), JournalError> {
        let request = entry.request.as_present().filter(|request| !self.may_start(request));
        let never = request.map(|request| match request.initiator {
            Initiator::User => "its wrapper was gone before anything was started".to_owned(),
            Initiator::Agent => {
                format!("it was accepted on {}, and this is {}", request.host, self.host.as_str())
            }
        });
        let why = why
            .or(never.as_deref())
            .unwrap_or("it was not started within a minute of being asked for");
        let note = match self.last_words(entry.id) {
            Some(words) => format!("{why}; nixfleet-switch said: {words}"),
            None => why.to_owned(),
        };
        self.closer().close_not_started(&self.journal, entry, &note)
    }

    /// The last line that the wrapper said.
    fn last_words(&self, id: SwitchId) -> Option<String> {
        let log = self.journal.directory().switch(id).wrapper_log();
        let (tail, _) = output_tail::of_file(&log, &self.redactor()).ok()?;
        tail.lines().last().map(|line| line.chars().take(500).collect())
    }

    /// Removes the folder of a switch that was never accepted.
    pub(crate) fn remove(&mut self, id: SwitchId) -> io::Result<()> {
        fs::remove_dir_all(self.journal.directory().switch(id).root())
    }

    /// Writes down the dashboard's last word on a switch.
    pub(crate) fn mark_switch(
        &mut self,
        id: SwitchId,
        closing: &Closing,
        protocol: Protocol,
        with_reload: bool,
    ) -> Result<(), WriteError> {
        let directory = self.journal.directory().switch(id);
        match closing {
            Closing::Taken => {
                let reported = reported(protocol, with_reload);
                keep_first(atomic::create_once(&directory.reported(), &reported))?;
            }
            Closing::Refused { status, said } => {
                let refused = refused(*status, said);
                keep_first(atomic::create_once(&directory.refused(), &refused))?;
            }
        }
        self.complete.remove(&id);
        Ok(())
    }

    /// What a v2 dashboard is told; nothing if the journal does not say it any more.
    pub(crate) fn report(&self, id: SwitchId, stage: Stage) -> Option<SwitchReport> {
        report::of_switch(&self.journal.entry(id), stage, self.phase_at_last_look(id))
    }

    /// What a v1 dashboard is told.
    pub(crate) fn status(&mut self, id: SwitchId) -> Option<Status> {
        let current = self.current_generation();
        report::status_of_switch(&self.journal.entry(id), current.as_ref())
    }

    /// A piece of output from this byte on, its secrets masked.
    pub(crate) fn output(&self, id: SwitchId, offset: u64) -> io::Result<Vec<u8>> {
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let path = self.journal.directory().switch(id).output_log();
        let log = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        // A secret may begin in the piece before this one or end in the next.
        let redactor = self.redactor();
        let before =
            usize::try_from(offset).map_or(redactor.reach(), |all| all.min(redactor.reach()));
        let mut read = vec![0; before + PIECE_BYTES + redactor.reach()];
        let length = read_at(&log, &mut read, offset - before as u64)?;
        read.truncate(length);
        redactor.mask_growing(&mut read);
        let piece = read.get(before..).unwrap_or_default();
        if piece.is_empty() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the log has become shorter"));
        }
        Ok(piece.iter().copied().take(PIECE_BYTES).collect())
    }

    /// Asks the wrapper of a switch to end it; `false` if it is gone.
    pub(crate) fn signal_wrapper(&self, id: SwitchId) -> Result<bool, AskError> {
        self.started(id).map_or(Ok(false), |started| started.wrapper.signal(Signal::TERM))
    }

    /// Sends a signal to the process group of the switch; `false` if it is gone.
    pub(crate) fn signal_home_manager(
        &self,
        id: SwitchId,
        signal: Signal,
    ) -> Result<bool, AskError> {
        let kind = self.journal.entry(id).request.present().map(|request| request.kind);
        let is_under_sudo =
            kind.is_some_and(|kind| kind.is_under_sudo(rustix::process::geteuid().is_root()));
        // A sudo that was killed leaves at work what it was to end.
        let signal = if is_under_sudo && signal == Signal::KILL { Signal::QUIT } else { signal };
        self.started(id).map_or(Ok(false), |started| process::signal_group(&started.child, signal))
    }

    /// The start record, if it is of this boot: after another one its pids are other processes'.
    fn started(&self, id: SwitchId) -> Option<Started> {
        let started = self.journal.entry(id).started.present()?;
        let boot = process::boot_id().ok()?;
        (started.boot_id == boot).then_some(started)
    }
}

fn read_at(log: &File, piece: &mut [u8], offset: u64) -> io::Result<usize> {
    loop {
        match log.read_at(piece, offset) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return read,
        }
    }
}
