//! Answers made of files, kept until one of the files looks different. So a heartbeat costs a look at each of them, and
//! they are read again only after a switch, a pull or an upgrade.

use std::{
    fs::{File, OpenOptions},
    io::{BufRead as _, BufReader, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::SystemTime,
};

use rustix::fs::OFlags;

use crate::file_stamp::Stamp;

/// No file that is read whole is larger.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// No file that is searched line by line is larger: git's file of a hundred thousand refs.
const MAX_SEARCHED_BYTES: u64 = 16 * 1024 * 1024;

/// An answer, and the files that it was made of.
#[derive(Debug)]
pub(super) struct Remembered<T> {
    answer: Option<T>,
    seen: Vec<(PathBuf, Option<Stamp>)>,
}

/// The files that an answer is made of, as they are read.
#[derive(Debug, Default)]
pub(super) struct Reading {
    seen: Vec<(PathBuf, Option<Stamp>)>,
}

impl<T: Clone> Remembered<T> {
    pub(super) const fn new() -> Self {
        Self { answer: None, seen: Vec::new() }
    }

    /// The answer, made again if a file that it was made of, or that was not there, looks different by now.
    pub(super) fn get(&mut self, make: impl FnOnce(&mut Reading) -> T) -> T {
        if let Some(answer) = self.answer.as_ref().filter(|_| !self.may_have_changed()) {
            return answer.clone();
        }
        let mut reading = Reading::default();
        let answer = make(&mut reading);
        self.seen = reading.seen;
        self.answer.insert(answer).clone()
    }

    fn may_have_changed(&self) -> bool {
        let now = SystemTime::now();
        self.seen.iter().any(|(path, stamp)| {
            Stamp::of(path) != *stamp || stamp.is_some_and(|stamp| stamp.is_fresh(now))
        })
    }
}

impl Reading {
    /// The file's text; nothing if there is none, or what is there is no such file.
    pub(super) fn text(&mut self, path: &Path) -> Option<String> {
        let mut text = String::new();
        self.open(path)?.take(MAX_FILE_BYTES).read_to_string(&mut text).ok()?;
        Some(text)
    }

    /// What the first line says that says something.
    pub(super) fn line<T>(&mut self, path: &Path, says: impl Fn(&str) -> Option<T>) -> Option<T> {
        let lines = BufReader::new(self.open(path)?.take(MAX_SEARCHED_BYTES)).lines();
        lines.map_while(Result::ok).find_map(|line| says(&line))
    }

    /// Its stamp first: a change while it is read shows at the next look.
    fn open(&mut self, path: &Path) -> Option<File> {
        let stamp = Stamp::of(path);
        self.seen.push((path.to_owned(), stamp));
        stamp?;
        open_file(path)
    }
}

/// The file, if it is one. Not blocking: a FIFO in its place must not hang us.
pub(super) fn open_file(path: &Path) -> Option<File> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
    file.metadata().is_ok_and(|metadata| metadata.is_file()).then_some(file)
}

#[cfg(test)]
mod tests {
    use std::{
        cell::Cell,
        fs,
        time::{Duration, SystemTime},
    };

    use super::*;

    #[test]
    fn files_that_look_the_same_are_not_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "one\ntwo\n").unwrap();
        let reads = Cell::new(0);
        let mut remembered = Remembered::new();
        let mut ask = || {
            remembered.get(|reading| {
                reads.set(reads.get() + 1);
                reading.line(&path, |line| (line != "one").then(|| line.to_owned()))
            })
        };
        assert_eq!(ask().as_deref(), Some("two"));
        // What was just written may be written again within the same stamp.
        assert_eq!(ask().as_deref(), Some("two"));
        assert_eq!(reads.get(), 2);
        fs::write(&path, "one\nthree\n").unwrap();
        assert_eq!(ask().as_deref(), Some("three"));
        fs::remove_file(&path).unwrap();
        assert_eq!(ask(), None);
        let before = reads.get();
        assert_eq!(ask(), None);
        assert_eq!(reads.get(), before, "what is not there is not looked for again");
        fs::write(&path, "four").unwrap();
        assert_eq!(ask().as_deref(), Some("four"));
    }

    #[test]
    fn an_old_file_is_read_once() {
        // A file of the system's, which nobody writes while this runs.
        let path = Path::new("/etc/passwd");
        let stamp = Stamp::of(path).unwrap();
        if stamp.is_fresh(SystemTime::now() - Duration::from_mins(1)) {
            return;
        }
        let mut remembered = Remembered::new();
        let first = remembered.get(|reading| reading.text(path));
        assert!(first.is_some());
        assert_eq!(remembered.get(|_| unreachable!()), first);
    }

    #[test]
    fn what_is_no_file_says_nothing() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Reading::default().text(folder.path()), None);
        assert_eq!(Reading::default().text(Path::new("/dev/zero")), None);
    }
}
