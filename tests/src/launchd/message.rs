//! What goes over the socket: one JSON line there, one back.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{answer::Answer, control::Control};

/// The longest request that is read.
pub const MAX_REQUEST_BYTES: u64 = 1 << 20;

/// What is asked of launchd.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// A call of `launchctl`.
    Launchctl(CallRequest),
    /// A happening that a test wants.
    Control(Control),
}

/// A call of `launchctl`, unread: the front parses nothing.
#[derive(Debug, Serialize, Deserialize)]
pub struct CallRequest {
    /// The arguments after the program's name.
    pub argv: Vec<String>,
    /// Who calls.
    pub uid: u32,
    /// The calling process.
    pub pid: i32,
    /// Where it stands, for plists named by a relative path.
    pub directory: PathBuf,
}

/// What the front prints and how it exits.
#[derive(Debug, Serialize, Deserialize)]
pub struct Response {
    /// The exit code.
    pub code: u8,
    /// For standard output.
    pub stdout: String,
    /// For standard error.
    pub stderr: String,
}

impl From<Answer> for Response {
    fn from(answer: Answer) -> Self {
        Self { code: answer.code, stdout: answer.stdout, stderr: answer.stderr }
    }
}
