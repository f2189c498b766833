//! Executables, records and the plist: replaced, broken, put back.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use super::{Away, Record, World};
use crate::stage::{Trouble, programs::Programs};

impl World {
    /// Another executable that works, at the same path.
    pub(super) fn replace_agent(&mut self) -> Result<(), Trouble> {
        let copy = self.another_of(&Programs::get()?.agent(), "agent")?;
        self.away.remove(&Away::Agent);
        self.host.mac.folder.link("bin/nixfleet-agent", &copy)
    }

    /// An executable that ends at once.
    pub(super) fn break_agent(&mut self) -> Result<(), Trouble> {
        let folder = &self.host.mac.folder;
        let name = format!("broken-agent-{}", self.host.next_number());
        let path = folder.write(&name, "#!/bin/sh\nexit 3\n")?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
            .map_err(Trouble::file("open", &path))?;
        self.away.insert(Away::Agent);
        folder.link("bin/nixfleet-agent", &path)
    }

    /// Another wrapper is installed, as an upgrade does it.
    pub(super) fn upgrade_wrapper(&mut self) -> Result<(), Trouble> {
        let copy = self.another_of(&Programs::get()?.switch(), "switch")?;
        self.host.mac.folder.link("bin/nixfleet-switch", &copy)?;
        self.own.push(self.host.spawn_as_user("nixfleet-switch", &["install"])?);
        Ok(())
    }

    /// The same program as another file.
    fn another_of(&self, program: &Path, name: &str) -> Result<PathBuf, Trouble> {
        let copy = self.host.mac.folder.path(&format!("{name}-{}", self.host.next_number()));
        if fs::hard_link(program, &copy).is_err() {
            fs::copy(program, &copy).map_err(Trouble::file("write", &copy))?;
        }
        Ok(copy)
    }

    /// A record that is not there is not made.
    pub(super) fn break_record(&mut self, record: Record) -> Result<String, Trouble> {
        let journal = self.host.mac.folder.journal()?;
        let directory = journal.directory();
        let path = match record {
            Record::Agent => directory.agent_record(),
            Record::Watchdog => directory.watchdog_record(),
            Record::LastGood => directory.last_good_definition(),
            Record::LastGoodAgent => directory.last_good_agent(),
            Record::Restored => directory.restored_definition(),
        };
        self.files_were_broken = true;
        let done = rewrite(&path, |_text| b"{ nonsense".to_vec());
        Ok(done.err().map(|error| error.to_string()).unwrap_or_default())
    }

    /// Does something to the installed plist. One that is not there, because somebody replaces it, is left alone.
    pub(super) fn on_plist(&mut self, deed: impl FnOnce(&Path) -> io::Result<()>) -> String {
        self.files_were_broken = true;
        let done = deed(&self.host.mac.installed_plist());
        done.err().map(|error| error.to_string()).unwrap_or_default()
    }
}

pub(super) fn rewrite(path: &Path, change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> io::Result<()> {
    let text = change(fs::read(path)?);
    fs::remove_file(path)?;
    fs::write(path, text)
}
