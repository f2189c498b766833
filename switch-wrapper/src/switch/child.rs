//! home-manager's process, and the gate before it.
//!
//! `started.json` must be on disk before home-manager runs a line: otherwise a wrapper that dies in between leaves a
//! home-manager that nobody knows of, and the next switch would run beside it. So the child is first this program
//! itself, as leader of its own session, waiting at its standard input for the word to go on. The word brings the
//! real standard input along, and the child becomes home-manager, under the same pid. If the wrapper dies before it
//! gives the word, the child reads the end of its input and ends without having done anything.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{net::UnixStream, process::CommandExt as _},
    },
    path::Path,
    process::{Child, Command, Stdio},
};

use rustix::{
    io::Errno,
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
    },
    process::{ioctl_tiocsctty, setsid},
    stdio::dup2_stdin,
};

use crate::messages::fail;

/// The hidden verb under which this program is the child at the gate.
pub(crate) const GATE_VERB: &str = "internal-wait-at-the-gate";

/// What the child says by its exit code when it cannot become home-manager: as a shell would.
const CANNOT_EXEC: u8 = 126;

/// home-manager leads the session of its pseudo-terminal, so its end hangs that terminal up, and what an activation has
/// left in the background would be ended with it. It must not be: at the user's own terminal it would live on. Nothing
/// from outside is in this text; program and arguments come as its parameters.
const DEAF_TO_HANGUP: &str = r#"trap '' HUP; exec "$@""#;

/// A child that waits at the gate.
#[derive(Debug)]
pub(crate) struct Waiting {
    /// The process.
    pub child: Child,
    gate: UnixStream,
}

/// Where the child's output goes.
#[derive(Debug)]
pub(crate) struct Outputs {
    /// Standard output.
    pub stdout: Stdio,
    /// Standard error.
    pub stderr: Stdio,
}

/// Starts the child that will be the program of this command and leaves it at the gate.
pub(crate) fn start(
    words: &[OsString],
    variables: &BTreeMap<OsString, OsString>,
    folder: Option<&Path>,
    outputs: Outputs,
) -> io::Result<Waiting> {
    let (gate, child_end) = UnixStream::pair()?;
    let mut command = Command::new(std::env::current_exe()?);
    command
        .arg(GATE_VERB)
        .args(words)
        .env_clear()
        .envs(variables)
        .stdin(OwnedFd::from(child_end))
        .stdout(outputs.stdout)
        .stderr(outputs.stderr);
    if let Some(folder) = folder {
        command.current_dir(folder);
    }
    Ok(Waiting { child: command.spawn()?, gate })
}

impl Waiting {
    /// Lets the child become home-manager, with this standard input and, where there is one, this terminal as its
    /// own.
    pub(crate) fn open_gate(
        self,
        stdin: BorrowedFd<'_>,
        terminal: Option<BorrowedFd<'_>>,
    ) -> io::Result<Child> {
        let descriptors: Vec<BorrowedFd<'_>> = [stdin].into_iter().chain(terminal).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(io::Error::other("the descriptors do not fit into the message"));
        }
        match sendmsg(&self.gate, &[IoSlice::new(b"g")], &mut ancillary, SendFlags::empty()) {
            // A child that has ended at the gate: whoever waits for it sees how.
            Ok(_) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(self.child),
            Err(error) => Err(error.into()),
        }
    }

    /// Sends the child away.
    pub(crate) fn send_away(self) -> io::Result<()> {
        let Self { mut child, gate } = self;
        drop(gate);
        child.wait().map(|_status| ())
    }
}

/// The child's side: waits for the word, then becomes the program. Returns only if it does not come to that, with
/// the exit code.
pub(crate) fn wait_at_the_gate(arguments: &[OsString]) -> u8 {
    // A session of its own: no signal for the wrapper's terminal or group reaches home-manager by accident.
    if let Err(error) = setsid() {
        return complain("become a session leader", &error.into());
    }
    let mut descriptors = match receive_descriptors() {
        Ok(descriptors) => descriptors.into_iter(),
        Err(error) => return complain("wait for the wrapper", &error),
    };
    let Some(stdin) = descriptors.next() else {
        // The wrapper is gone. Nothing has happened, nobody asks.
        return 0;
    };
    let terminal = descriptors.next();
    if let Some(terminal) = &terminal
        && let Err(error) = ioctl_tiocsctty(terminal.as_fd())
    {
        return complain("take over the terminal", &error.into());
    }
    let has_terminal = terminal.is_some();
    drop(terminal);
    if let Err(error) = dup2_stdin(stdin) {
        return complain("take over the standard input", &error.into());
    }
    let Some((program, arguments)) = arguments.split_first() else {
        return complain("find the program's name", &io::Error::other("there is none"));
    };
    let error = if has_terminal {
        Command::new("/bin/sh")
            .args(["-c", DEAF_TO_HANGUP, "sh"])
            .arg(program)
            .args(arguments)
            .exec()
    } else {
        Command::new(program).args(arguments).exec()
    };
    complain(&format!("run {}", Path::new(program).display()), &error)
}

fn receive_descriptors() -> io::Result<Vec<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut word = [0];
    let stdin = io::stdin();
    let mut buffers = [IoSliceMut::new(&mut word)];
    let received = rustix::io::retry_on_intr(|| {
        recvmsg(stdin.as_fd(), &mut buffers, &mut ancillary, RecvFlags::empty())
    })?;
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            descriptors.extend(received);
        }
    }
    Ok(if received.bytes == 0 { Vec::new() } else { descriptors })
}

fn complain(what: &str, error: &io::Error) -> u8 {
    fail(&format!("cannot {what}: {error}"));
    CANNOT_EXEC
}

/// Whether these arguments are the child's.
pub(crate) fn is_child(arguments: &[OsString]) -> bool {
    arguments.first().is_some_and(|verb| verb == OsStr::new(GATE_VERB))
}

#[cfg(test)]
mod tests {
    use std::{fs::File, os::unix::process::ExitStatusExt as _};

    use super::*;

    #[test]
    fn a_child_that_was_killed_at_the_gate_has_an_end_like_any_other() {
        let (gate, child_end) = UnixStream::pair().unwrap();
        drop(child_end);
        let child = Command::new("/bin/sh").args(["-c", "kill -KILL $$"]).spawn().unwrap();
        let stdin = File::open("/dev/null").unwrap();
        let mut child = Waiting { child, gate }.open_gate(stdin.as_fd(), None).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(9));
    }
}
