//! The call log, `calls.jsonl`: one line per `launchctl` call, per thing that happened to a job and
//! per happening that a test wanted. Written by `launchd-sim` alone; tests read it.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::Path,
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{control::Control, domain::Domain, process_end::ProcessEnd};

/// The longest text of one field.
const MAX_FIELD_CHARS: usize = 2048;
/// The most arguments of one call.
const MAX_ARGUMENTS: usize = 32;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Record {
    /// Somebody called `launchctl`.
    Call(Call),
    /// Something happened to a job.
    Job(JobRecord),
    /// Something happened to the machine, because a test wanted it.
    Happening(Happening),
}

/// Something that a test made happen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Happening {
    /// When, in milliseconds since 1970.
    pub unix_ms: i64,
    /// What.
    pub control: Control,
}

/// A call of `launchctl`, written when it was answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// When it came in, in milliseconds since 1970.
    pub unix_ms: i64,
    /// How long the answer took.
    pub duration_ms: u64,
    /// The arguments after the program's name.
    pub argv: Vec<String>,
    /// Who called.
    pub uid: u32,
    /// The calling process.
    pub pid: i32,
    /// The exit code it got.
    pub code: u8,
    /// The error text it got.
    pub stderr: String,
}

impl Call {
    /// The verb.
    pub fn verb(&self) -> &str {
        self.argv.first().map_or("", String::as_str)
    }
}

/// Something that happened to a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRecord {
    /// When, in milliseconds since 1970.
    pub unix_ms: i64,
    /// Where the job is registered.
    pub domain: Domain,
    /// Which job.
    pub label: String,
    /// What happened.
    pub event: JobEvent,
}

/// What can happen to a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobEvent {
    /// The label was registered.
    Registered,
    /// A plist that was not loaded.
    Refused {
        /// Why.
        reason: String,
    },
    /// A start that waits until the domain leaves its on-demand-only mode.
    Pended {
        /// `speculative` or `inefficient`.
        reason: String,
    },
    /// A process was started.
    Spawned {
        /// The process, leader of its own group.
        pid: i32,
    },
    /// No process could be started.
    SpawnFailed {
        /// Why.
        reason: String,
    },
    /// The main process was signalled.
    Signalled {
        /// Which process.
        pid: i32,
        /// The signal's number.
        signal: i32,
    },
    /// The main process ended.
    Exited {
        /// Which process.
        pid: i32,
        /// How.
        end: ProcessEnd,
    },
    /// What was left of the process group got its one SIGTERM.
    GroupSignalled {
        /// Which group.
        group: i32,
    },
    /// The label is registered no more.
    Removed,
}

/// Now, as the log writes it.
pub fn unix_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

/// The open log.
#[derive(Debug)]
pub struct RecordLog(File);

impl RecordLog {
    /// Opens the log for appending.
    pub fn open(path: &Path) -> io::Result<Self> {
        OpenOptions::new().create(true).append(true).open(path).map(Self)
    }

    /// Appends one line in one write.
    pub fn append(&mut self, record: Record) -> io::Result<()> {
        let mut line = serde_json::to_vec(&record.bounded())?;
        line.push(b'\n');
        self.0.write_all(&line)
    }
}

/// A line that is no record.
#[derive(Debug, thiserror::Error)]
#[error("line {line} is no record")]
pub struct UnknownLine {
    line: usize,
    #[source]
    source: serde_json::Error,
}

/// The records of a log, oldest first. Who reads while launchd writes may see the beginning of a
/// line: what does not end in a line feed is not yet there.
pub fn records(log: &[u8]) -> Result<Vec<Record>, UnknownLine> {
    let written = log.split_inclusive(|&byte| byte == b'\n').filter(|line| line.ends_with(b"\n"));
    written
        .enumerate()
        .map(|(number, line)| {
            serde_json::from_slice(line).map_err(|source| UnknownLine { line: number + 1, source })
        })
        .collect()
}

impl Record {
    /// The call, if it is one.
    pub fn into_call(self) -> Option<Call> {
        match self {
            Self::Call(call) => Some(call),
            Self::Job(_) | Self::Happening(_) => None,
        }
    }

    /// The job's record, if it is one.
    pub fn into_job(self) -> Option<JobRecord> {
        match self {
            Self::Job(record) => Some(record),
            Self::Call(_) | Self::Happening(_) => None,
        }
    }

    fn bounded(self) -> Self {
        match self {
            Self::Call(call) => Self::Call(Call {
                argv: call.argv.iter().take(MAX_ARGUMENTS).map(|word| shortened(word)).collect(),
                stderr: shortened(&call.stderr),
                ..call
            }),
            Self::Job(record) => {
                let (label, event) = (shortened(&record.label), record.event.bounded());
                Self::Job(JobRecord { label, event, ..record })
            }
            // A test's own words.
            Self::Happening(happening) => Self::Happening(happening),
        }
    }
}

impl JobEvent {
    fn bounded(self) -> Self {
        match self {
            Self::Refused { reason } => Self::Refused { reason: shortened(&reason) },
            Self::SpawnFailed { reason } => Self::SpawnFailed { reason: shortened(&reason) },
            Self::Registered
            | Self::Pended { .. }
            | Self::Spawned { .. }
            | Self::Signalled { .. }
            | Self::Exited { .. }
            | Self::GroupSignalled { .. }
            | Self::Removed => self,
        }
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(MAX_FIELD_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_bounded_and_readable() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("calls.jsonl");
        let call = Call {
            unix_ms: unix_ms(),
            duration_ms: 1,
            argv: vec!["x".repeat(100_000); 100],
            uid: 501,
            pid: 1,
            code: 64,
            stderr: "y".repeat(100_000),
        };
        RecordLog::open(&path).unwrap().append(Record::Call(call)).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.len() < 100_000, "{} bytes", text.len());
        let Record::Call(back) = serde_json::from_str(text.trim_end()).unwrap() else {
            panic!("not a call");
        };
        assert_eq!((back.argv.len(), back.code), (MAX_ARGUMENTS, 64));
    }

    #[test]
    fn the_beginning_of_a_line_is_no_record_yet() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("calls.jsonl");
        let mut log = RecordLog::open(&path).unwrap();
        for _ in 0..2 {
            let happening = Happening { unix_ms: 7, control: Control::Login };
            log.append(Record::Happening(happening)).unwrap();
        }
        let bytes = std::fs::read(&path).unwrap();
        let of_one = bytes.len() / 2;
        for seen in 0..=bytes.len() {
            assert_eq!(records(&bytes[..seen]).unwrap().len(), seen / of_one, "{seen} bytes");
        }
    }

    #[test]
    fn a_line_that_is_no_record_is_named() {
        let error = records(b"{\"kind\":\"nothing\"}\n").unwrap_err();
        assert_eq!(error.to_string(), "line 1 is no record");
    }
}
