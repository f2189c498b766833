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
    /// Where the caller sits, if it says so.
    #[serde(default)]
    pub session: Option<CallerSession>,
}

/// A session that a caller belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallerSession {
    /// At the screen.
    Aqua,
    /// Over ssh.
    Background,
}

impl CallerSession {
    /// `aqua` or `background`.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "aqua" => Some(Self::Aqua),
            "background" => Some(Self::Background),
            _ => None,
        }
    }

    /// The word that [`Self::parse`] reads.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Aqua => "aqua",
            Self::Background => "background",
        }
    }
}

/// What the front prints and how it exits.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Response {
    /// The exit code.
    pub code: u8,
    /// For standard output.
    pub stdout: String,
    /// For standard error.
    pub stderr: String,
    /// So many bytes of noise before the rest of standard output.
    #[serde(default)]
    pub flood: u64,
    /// The program to become in place of exiting.
    #[serde(default)]
    pub run: Vec<String>,
    /// A signal for the process that called.
    #[serde(default)]
    pub kill_caller: Option<i32>,
    /// A signal for `launchctl` itself, before it prints anything.
    #[serde(default)]
    pub kill_self: Option<i32>,
}

impl From<Answer> for Response {
    fn from(answer: Answer) -> Self {
        Self {
            code: answer.code,
            stdout: answer.stdout,
            stderr: answer.stderr,
            run: answer.run,
            ..Self::default()
        }
    }
}
