//! The socket: one short thread per connection, one request and one response each.

use std::{
    fs,
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    sync::mpsc::{self, Sender},
    time::Duration,
};

use super::{Input, SOCKET, ServerError, file_error, spawn_thread};
use crate::launchd::message::{MAX_REQUEST_BYTES, Request, Response};

/// A caller has this long to say what it wants and to take the answer.
const CONVERSATION: Duration = Duration::from_secs(5);
/// The longest that any call is kept waiting, by a fault or by a job that does not end.
pub(crate) const LONGEST_CALL: Duration = Duration::from_mins(15);

/// The exit code for a request that is none.
const MALFORMED: u8 = 70;

/// Starts to listen; the socket's path comes back.
pub(super) fn listen(directory: &Path, sender: Sender<Input>) -> Result<PathBuf, ServerError> {
    let path = directory.join(SOCKET);
    let listener = bind(&path)?;
    spawn_thread("listener", move || {
        // A caller that went away while connecting is none.
        for stream in listener.incoming().flatten() {
            converse_apart(stream, sender.clone());
        }
    })?;
    Ok(path)
}

/// A socket left behind by a killed predecessor is replaced; a living one is respected.
fn bind(path: &Path) -> Result<UnixListener, ServerError> {
    match UnixStream::connect(path) {
        Ok(_) => return Err(ServerError::AlreadyRunning { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(_) => fs::remove_file(path).map_err(file_error("remove", path))?,
    }
    UnixListener::bind(path).map_err(file_error("listen at", path))
}

fn converse_apart(stream: UnixStream, sender: Sender<Input>) {
    // Without a thread the stream is dropped here, and the caller sees launchd hang up.
    let _ = spawn_thread("conversation", move || {
        // A caller that went away needs no answer.
        let _ = converse(&stream, &sender);
    });
}

fn converse(stream: &UnixStream, sender: &Sender<Input>) -> io::Result<()> {
    stream.set_read_timeout(Some(CONVERSATION))?;
    stream.set_write_timeout(Some(CONVERSATION))?;
    let mut line = Vec::new();
    BufReader::new(stream.take(MAX_REQUEST_BYTES)).read_until(b'\n', &mut line)?;
    let response = match serde_json::from_slice::<Request>(&line) {
        Ok(request) => match ask(request, sender) {
            Some(response) => response,
            // Ending: hang up without a word.
            None => return Ok(()),
        },
        Err(error) => Response {
            code: MALFORMED,
            stderr: format!("launchd-sim: the request cannot be understood: {error}\n"),
            ..Response::default()
        },
    };
    let mut bytes = serde_json::to_vec(&response)?;
    bytes.push(b'\n');
    (&*stream).write_all(&bytes)
}

fn ask(request: Request, sender: &Sender<Input>) -> Option<Response> {
    let (response, answer) = mpsc::channel();
    sender.send(Input::Asked { request, response }).ok()?;
    answer.recv_timeout(LONGEST_CALL).ok()
}
