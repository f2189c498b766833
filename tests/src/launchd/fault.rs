//! Faults that a test injects. `faults.json` is a list of [`Fault`]s, written by the test in one
//! atomic step and looked at for each call; a new file starts the counting anew.

mod disguise;

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{
    answer::{Answer, Failure, LegacyVerb, Privilege, words},
    command::VerbName,
    control::Control,
    message::Response,
};

pub use self::disguise::Disguise;

/// `bootstrap` has words of its own for EEXIST.
const ALREADY_BOOTSTRAPPED: u8 = 17;

/// What goes wrong, and with which calls.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// The calls it meets.
    pub verb: VerbName,
    /// Only calls about this label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Lets this many matching calls pass first.
    #[serde(default)]
    pub skip: u32,
    /// Meets this many calls, then no more; for ever if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    /// Happens right before the call is handled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<Control>,
    /// Whether the call does what it is for. If absent: only when no answer is given below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work: Option<Work>,
    /// Happens right after the call was handled, before it is answered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<Control>,
    /// How long the call hangs.
    #[serde(default)]
    pub hang_seconds: f64,
    /// Where it hangs.
    #[serde(default)]
    pub hang: Hang,
    /// The exit code to give.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<u8>,
    /// The standard output to give.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// The standard error to give; if absent, launchd's text for the code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stderr: Option<String>,
    /// What becomes of the true texts on their way to the caller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disguise: Option<Disguise>,
    /// The number of a signal that ends `launchctl` itself, when all is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kill_self: Option<i32>,
    /// The number of a signal for the process that called `launchctl`, when all is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kill_caller: Option<i32>,
}

/// Whether a call does what it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// It does, whatever it answers.
    Done,
    /// It does nothing.
    Skipped,
}

/// Where a call hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hang {
    /// Before anything is done.
    #[default]
    Before,
    /// When all is done, before the answer.
    After,
}

impl Fault {
    /// A fault for every call of this verb, that so far does nothing.
    pub fn on(verb: VerbName) -> Self {
        Self {
            verb,
            label: None,
            skip: 0,
            times: None,
            before: Vec::new(),
            work: None,
            after: Vec::new(),
            hang_seconds: 0.0,
            hang: Hang::Before,
            code: None,
            output: None,
            stderr: None,
            disguise: None,
            kill_self: None,
            kill_caller: None,
        }
    }

    /// The same fault with an exit code to give.
    #[must_use]
    pub fn code(self, code: u8) -> Self {
        Self { code: Some(code), ..self }
    }

    /// The same fault, a number of times only.
    #[must_use]
    pub fn times(self, times: u32) -> Self {
        Self { times: Some(times), ..self }
    }

    /// Whether the call does what it is for.
    pub fn work(&self) -> Work {
        self.work.unwrap_or(if self.gives_an_answer() { Work::Skipped } else { Work::Done })
    }

    /// How long the call hangs at this place.
    pub fn hang_at(&self, place: Hang) -> Duration {
        let length = Duration::try_from_secs_f64(self.hang_seconds).unwrap_or(Duration::ZERO);
        if self.hang == place { length } else { Duration::ZERO }
    }

    /// The same fault, from the call after so many on.
    #[must_use]
    pub fn skip(self, skip: u32) -> Self {
        Self { skip, ..self }
    }

    /// The same fault, with the texts disguised.
    #[must_use]
    pub fn disguise(self, disguise: Disguise) -> Self {
        Self { disguise: Some(disguise), ..self }
    }

    /// What the caller gets, where the call itself would have given `real`. `subject` is what the
    /// call is about, as typed.
    pub fn answer(&self, real: Answer, caller: Privilege, subject: &str) -> Answer {
        let given = match self.code {
            Some(0) => Answer::silent(),
            Some(code) => self.failure(code, caller, subject),
            None => real,
        };
        let given = Answer {
            stdout: self.output.clone().unwrap_or(given.stdout),
            stderr: self.stderr.clone().unwrap_or(given.stderr),
            ..given
        };
        match self.disguise {
            Some(disguise) => disguise.over(given),
            None => given,
        }
    }

    /// What goes over the socket.
    pub fn response(&self, answer: Answer) -> Response {
        Response {
            flood: self.disguise.map_or(0, Disguise::flood),
            kill_self: self.kill_self,
            kill_caller: self.kill_caller,
            ..answer.into()
        }
    }

    fn gives_an_answer(&self) -> bool {
        self.code.is_some() || self.output.is_some() || self.stderr.is_some()
    }

    fn failure(&self, code: u8, caller: Privilege, subject: &str) -> Answer {
        // `kickstart` never explains itself.
        if self.verb == VerbName::Kickstart {
            return Answer::mute(code);
        }
        if (self.verb, code) == (VerbName::Bootstrap, ALREADY_BOOTSTRAPPED) {
            return Answer::refused(code, format!("{subject}: service already bootstrapped\n"));
        }
        let legacy = LegacyVerb::of(self.verb);
        if let (Some(verb), Some(failure)) = (legacy, Failure::from_code(code)) {
            return Answer::legacy(verb, failure, caller);
        }
        let what = self.verb.in_failures();
        match Failure::from_code(code) {
            // The test asked for this code, so it is not masked.
            Some(failure) if failure.seen_by(caller) != failure => {
                Answer::failed(what, failure, Privilege::Root)
            }
            Some(failure) => Answer::failed(what, failure, caller),
            None => Answer::refused(code, format!("{what} failed: {code}: {}\n", words(code))),
        }
    }
}

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
    fn what_a_fault_answers() {
        let real = Answer::printed("real".to_owned());
        let hang = Fault { hang_seconds: 2.0, ..Fault::on(VerbName::Bootout) };
        assert_eq!(hang.work(), Work::Done);
        assert_eq!(hang.answer(real.clone(), Privilege::Owner, ""), real);
        assert_eq!(hang.hang_at(Hang::Before), Duration::from_secs(2));

        let eio = Fault::on(VerbName::Bootstrap).code(5);
        assert_eq!(eio.work(), Work::Skipped);
        let answer = eio.answer(real.clone(), Privilege::Owner, "");
        assert!(answer.stderr.starts_with("Bootstrap failed: 5: Input/output error\n"));

        let disabled = Fault::on(VerbName::Bootstrap).code(119).answer(real, Privilege::Owner, "");
        assert_eq!(disabled.code, 119);
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
