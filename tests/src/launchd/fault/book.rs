//! The list of faults on disk, and how often each was met.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::Fault;
use crate::launchd::command::VerbName;

/// The faults in force, and how often each was met.
#[derive(Debug)]
pub struct FaultBook {
    path: PathBuf,
    read: Option<Edition>,
    faults: Vec<Counted>,
}

#[derive(Debug)]
struct Counted {
    fault: Fault,
    matched: u32,
}

/// Tells one written file from the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Edition {
    inode: u64,
    modified: (i64, i64),
    length: u64,
}

/// Why the list of faults cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FaultError {
    /// It cannot be read.
    #[error("cannot read the faults in {path}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// It is no list of faults.
    #[error("cannot understand the faults in {path}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: serde_json::Error,
    },
}

impl FaultBook {
    /// A book over this file, which need not exist.
    pub fn new(path: PathBuf) -> Self {
        Self { path, read: None, faults: Vec::new() }
    }

    /// The fault that meets this call, counted.
    pub fn meet(
        &mut self,
        verb: VerbName,
        label: Option<&str>,
    ) -> Result<Option<Fault>, FaultError> {
        self.refresh()?;
        Ok(self.faults.iter_mut().find_map(|counted| counted.meet(verb, label)))
    }

    fn refresh(&mut self) -> Result<(), FaultError> {
        let edition = edition(&self.path)
            .map_err(|source| FaultError::Unreadable { path: self.path.clone(), source })?;
        if edition == self.read {
            return Ok(());
        }
        self.faults = match edition {
            None => Vec::new(),
            Some(_) => self.load()?,
        };
        self.read = edition;
        Ok(())
    }

    fn load(&self) -> Result<Vec<Counted>, FaultError> {
        let bytes = fs::read(&self.path)
            .map_err(|source| FaultError::Unreadable { path: self.path.clone(), source })?;
        let faults: Vec<Fault> = serde_json::from_slice(&bytes)
            .map_err(|source| FaultError::Malformed { path: self.path.clone(), source })?;
        Ok(faults.into_iter().map(|fault| Counted { fault, matched: 0 }).collect())
    }
}

impl Counted {
    fn meet(&mut self, verb: VerbName, label: Option<&str>) -> Option<Fault> {
        let about = self.fault.label.as_deref().is_none_or(|wanted| Some(wanted) == label);
        if self.fault.verb != verb || !about {
            return None;
        }
        let number = self.matched;
        self.matched = self.matched.saturating_add(1);
        let last = self.fault.times.map(|times| self.fault.skip.saturating_add(times));
        let met = number >= self.fault.skip && last.is_none_or(|last| number < last);
        met.then(|| self.fault.clone())
    }
}

fn edition(path: &Path) -> io::Result<Option<Edition>> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(Edition {
            inode: metadata.ino(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            length: metadata.len(),
        })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launchd::control::Control;

    fn book(text: &str) -> (tempfile::TempDir, FaultBook) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("faults.json");
        fs::write(&path, text).unwrap();
        (folder, FaultBook::new(path))
    }

    #[test]
    fn faults_are_counted_per_written_file() {
        let (folder, mut book) =
            book(r#"[{"verb":"bootstrap","skip":1,"times":2,"code":5,"label":"a"}]"#);
        let mut meet = |label| book.meet(VerbName::Bootstrap, Some(label)).unwrap().is_some();
        assert_eq!(
            [meet("a"), meet("b"), meet("a"), meet("a"), meet("a")],
            [false, false, true, true, false]
        );
        let rewritten = folder.path().join("new");
        fs::write(&rewritten, r#"[{"verb":"bootstrap","times":1,"code":5}]"#).unwrap();
        fs::rename(&rewritten, folder.path().join("faults.json")).unwrap();
        assert_eq!([meet("a"), meet("a")], [true, false]);
    }

    #[test]
    fn a_misspelt_fault_is_an_error_and_no_file_is_none() {
        let (_folder, mut book) = book(r#"[{"verb":"print","outptu":""}]"#);
        assert!(book.meet(VerbName::Print, None).is_err());
        let mut none = FaultBook::new(PathBuf::from("/nonexistent/faults.json"));
        assert_eq!(none.meet(VerbName::Print, None).unwrap(), None);
    }

    #[test]
    fn every_happening_can_be_bound_to_a_call() {
        let text = r#"[
            {"verb":"bootstrap","work":"done","after":[{"remove":{"domain":{"gui":501},"label":"a"}}]},
            {"verb":"enable","work":"done","after":[{"disable":"a"}]},
            {"verb":"bootout","before":["logout"]},
            {"verb":"bootstrap","before":[{"on_demand_count":1}]}
        ]"#;
        let (_folder, mut book) = book(text);
        let fault = book.meet(VerbName::Bootout, None).unwrap().unwrap();
        assert_eq!(fault.before, [Control::Logout]);
    }
}
