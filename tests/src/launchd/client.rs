//! `launchctl-sim`: hands its arguments to launchd, prints what comes back, exits as told.
//!
//! It is called through a link `launchctl` in a sandbox's `bin` and finds the socket beside that
//! folder, in `launchd/socket`: a job's bare environment holds no variable of ours.

use std::{
    env,
    ffi::{OsStr, OsString},
    io::{self, BufRead, BufReader, Write},
    os::unix::{net::UnixStream, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Duration,
};

use rustix::process::{Pid, Signal, getpid, getppid, kill_process};

use super::{
    message::{CallRequest, CallerSession, Request, Response},
    server::SOCKET,
};

/// Where the socket is, if not beside the program.
pub const SOCKET_VARIABLE: &str = "NIXFLEET_SIM_LAUNCHD";
/// The uid to claim instead of the real one, to play root or another user.
pub const UID_VARIABLE: &str = "NIXFLEET_SIM_CALLER_UID";
/// Where to sit: `aqua` or `background`, as over ssh. The old verbs act on the caller's session.
pub const SESSION_VARIABLE: &str = "NIXFLEET_SIM_CALLER_SESSION";

/// One piece of the noise before the output.
const NOISE: &[u8] = b"\tnoise = 0123456789 0123456789 0123456789 0123456789 012345678\n";

/// The exit code of a program that cannot be run.
const CANNOT_RUN: u8 = 127;

/// A little more than the simulation ever keeps a caller waiting.
const LONGEST_CALL: Duration = Duration::from_mins(16);

/// Why launchd could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The program cannot tell where it was called from.
    #[error("cannot tell where launchd is: {program} is not a path and not found in PATH")]
    NoSocket {
        /// The name it was called by.
        program: String,
    },
    /// Nobody answers there.
    #[error("launchd is gone: cannot talk to it at {path}")]
    Gone {
        /// The socket.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The answer is none.
    #[error("launchd at {path} hung up or talked nonsense")]
    NoAnswer {
        /// The socket.
        path: PathBuf,
        /// The cause.
        #[source]
        source: serde_json::Error,
    },
}

/// The program.
pub fn main() -> ExitCode {
    match call() {
        Ok(response) => report(&response),
        Err(error) => {
            let cause = std::error::Error::source(&error)
                .map(|source| format!(": {source}"))
                .unwrap_or_default();
            // Nobody is left to tell if standard error is gone.
            let _ = writeln!(io::stderr(), "launchctl-sim: {error}{cause}");
            ExitCode::FAILURE
        }
    }
}

/// Asks the launchd behind this socket.
pub fn ask(socket: &Path, request: &Request) -> Result<Response, ClientError> {
    let answer = converse(socket, request)
        .map_err(|source| ClientError::Gone { path: socket.to_owned(), source })?;
    serde_json::from_str(&answer)
        .map_err(|source| ClientError::NoAnswer { path: socket.to_owned(), source })
}

fn call() -> Result<Response, ClientError> {
    let mut arguments = env::args_os();
    let program = arguments.next().unwrap_or_default();
    let socket = socket(&program)?;
    let request = Request::Launchctl(CallRequest {
        argv: arguments.map(|word| word.to_string_lossy().into_owned()).collect(),
        uid: caller_uid(),
        pid: getpid().as_raw_nonzero().get(),
        directory: env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
        session: env::var(SESSION_VARIABLE).ok().and_then(|word| CallerSession::parse(&word)),
    });
    ask(&socket, &request)
}

fn report(response: &Response) -> ExitCode {
    if let Some(signal) = response.kill_caller {
        kill(getppid(), signal);
    }
    if let Some(signal) = response.kill_self {
        kill(Some(getpid()), signal);
    }
    // A reader that went away early still gets the exit code.
    let _ = make_noise(response.flood);
    let _ = io::stdout().write_all(response.stdout.as_bytes());
    let _ = io::stderr().write_all(response.stderr.as_bytes());
    match response.run.split_first() {
        Some((program, arguments)) => become_program(program, arguments),
        None => ExitCode::from(response.code),
    }
}

fn kill(process: Option<Pid>, signal: i32) {
    if let (Some(process), Some(signal)) = (process, Signal::from_named_raw(signal)) {
        // One that is gone already is what was wanted.
        let _ = kill_process(process, signal);
    }
}

fn make_noise(bytes: u64) -> io::Result<()> {
    let mut left = usize::try_from(bytes).unwrap_or(usize::MAX);
    let mut stdout = io::stdout().lock();
    while left > 0 {
        let piece = left.min(NOISE.len());
        stdout.write_all(NOISE.get(..piece).unwrap_or(NOISE))?;
        left -= piece;
    }
    stdout.flush()
}

/// `asuser`: the caller's uid stays, its session is now the user's.
fn become_program(program: &str, arguments: &[String]) -> ExitCode {
    let mut command = Command::new(program);
    command.args(arguments).env(SESSION_VARIABLE, CallerSession::Aqua.word());
    let error = command.exec();
    // Nobody is left to tell if standard error is gone.
    let _ = writeln!(io::stderr(), "{program}: {error}");
    ExitCode::from(CANNOT_RUN)
}

fn converse(socket: &Path, request: &Request) -> io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(LONGEST_CALL))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    Ok(answer)
}

fn socket(program: &OsStr) -> Result<PathBuf, ClientError> {
    if let Some(path) = env::var_os(SOCKET_VARIABLE) {
        return Ok(PathBuf::from(path));
    }
    called_as(program, env::var_os("PATH"))
        .and_then(|path| Some(path.parent()?.join("../launchd").join(SOCKET)))
        .ok_or_else(|| ClientError::NoSocket { program: program.to_string_lossy().into_owned() })
}

/// The path that the program was called by; a link is not followed.
fn called_as(program: &OsStr, search: Option<OsString>) -> Option<PathBuf> {
    let name = Path::new(program);
    if name.components().count() > 1 {
        return Some(name.to_owned());
    }
    env::split_paths(&search?).map(|folder| folder.join(name)).find(|path| path.is_file())
}

fn caller_uid() -> u32 {
    env::var(UID_VARIABLE)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| rustix::process::getuid().as_raw())
}
