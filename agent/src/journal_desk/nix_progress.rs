//! Following the output of a switch that is at work, for what Nix says that it is doing.

use std::{fs::File, io, os::unix::fs::FileExt as _};

use nixfleet_protocol::{
    journal::records::SwitchId,
    nix_log::{NixLog, NixPhase},
};

use super::Desk;

/// No more than this is read at one look, in bytes: the journal has other things to do.
const AT_ONE_LOOK: usize = 256 * 1024;

/// Whoever prints more than this between two looks is read from the end, in bytes.
const LEFT_OUT_FROM: u64 = 8 * 1024 * 1024;

/// How far the output of a switch was read.
#[derive(Debug, Default)]
pub(super) struct NixProgress {
    offset: u64,
    log: NixLog,
}

impl NixProgress {
    fn read_on(&mut self, file: &File) -> io::Result<()> {
        let length = file.metadata()?.len();
        if length.saturating_sub(self.offset) > LEFT_OUT_FROM {
            self.offset = length - AT_ONE_LOOK as u64;
        }
        if length <= self.offset {
            return Ok(());
        }
        let mut piece = vec![0; AT_ONE_LOOK];
        let read = file.read_at(&mut piece, self.offset)?;
        self.offset += read as u64;
        self.log.feed(&piece[..read]);
        Ok(())
    }
}

impl Desk {
    /// What it is doing, as far as its output says so by now.
    pub(super) fn read_on(&mut self, id: SwitchId) -> Option<NixPhase> {
        let path = self.journal.directory().switch(id).output_log();
        let progress = self.nix_logs.entry(id).or_default();
        // Only for people: an output that cannot be read says nothing.
        if let Ok(file) = File::open(path) {
            let _ = progress.read_on(&file);
        }
        progress.log.phase().cloned()
    }

    /// What it was doing at the last look.
    pub(super) fn phase_at_last_look(&self, id: SwitchId) -> Option<NixPhase> {
        self.nix_logs.get(&id).and_then(|progress| progress.log.phase().cloned())
    }
}
