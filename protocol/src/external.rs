//! The one door to other programs that are asked something: a time limit, bounded output, no shell.
//!
//! A program that takes too long is killed, with its whole process group, and so is one that prints without end. Its
//! descendants may keep its pipes open; they are not waited for.

use std::{
    io::{self, Read},
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process_group};

/// What is kept of each of the two outputs, in bytes; the rest is read and dropped.
const MAX_OUTPUT_BYTES: usize = 256 * 1024;

/// How long to wait for the outputs once the program has ended: a descendant may hold them open for ever.
const DRAIN_LIMIT: Duration = Duration::from_secs(1);

/// How a program ended, and what it said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Its exit code; `None` if a signal ended it.
    pub exit_code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// The beginning of its standard output.
    pub stdout: String,
    /// The beginning of its standard error.
    pub stderr: String,
}

/// Why there is no answer from a program.
#[derive(Debug, thiserror::Error)]
pub enum ExternalError {
    /// It could not be started.
    #[error("cannot run {program}")]
    Spawn {
        /// The program.
        program: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It took longer than it may, and was killed.
    #[error("{program} did not answer within {} s and was ended", limit.as_secs())]
    TimedOut {
        /// The program.
        program: String,
        /// How long it may take.
        limit: Duration,
    },
}

/// Runs a program to its end, or to `limit`, in a process group of its own.
pub fn run(command: &mut Command, limit: Duration) -> Result<Ended, ExternalError> {
    run_in(Group::Own, command, limit)
}

/// As [`run`], in our own process group: whoever ends that ends it too. Only the program itself is killed when it takes too
/// long.
pub fn run_in_our_group(command: &mut Command, limit: Duration) -> Result<Ended, ExternalError> {
    run_in(Group::Ours, command, limit)
}

/// Which process group a program is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Group {
    Own,
    Ours,
}

fn run_in(group: Group, command: &mut Command, limit: Duration) -> Result<Ended, ExternalError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let failed = |source| ExternalError::Spawn { program: program.clone(), source };
    match group {
        Group::Own => command.process_group(0),
        Group::Ours => command,
    };
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().map_err(failed)?;
    let stdout = read_in_background(child.stdout.take());
    let stderr = read_in_background(child.stderr.take());
    let status = wait_until(&mut child, group, Instant::now() + limit).map_err(failed)?;
    let Some(status) = status else {
        return Err(ExternalError::TimedOut { program, limit });
    };
    Ok(Ended {
        exit_code: status.code(),
        signal: status.signal(),
        stdout: collect(&stdout),
        stderr: collect(&stderr),
    })
}

/// Waits for the child; `None` if it had to be killed.
fn wait_until(
    child: &mut Child,
    group: Group,
    deadline: Instant,
) -> io::Result<Option<ExitStatus>> {
    // There is no wait with a limit; short naps that grow cost nothing beside starting a program.
    let mut nap = Duration::from_micros(200);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            let leader = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            // It may have ended just now; then there is nobody to kill.
            let _ = match (group, leader) {
                (Group::Own, Some(leader)) => {
                    kill_process_group(leader, Signal::KILL).map_err(io::Error::from)
                }
                (Group::Own, None) | (Group::Ours, _) => child.kill(),
            };
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(nap);
        nap = (nap * 2).min(Duration::from_millis(5));
    }
}

/// An output that a thread reads while the program runs.
struct Reading {
    kept: Arc<Mutex<Vec<u8>>>,
    at_end: mpsc::Receiver<()>,
}

fn read_in_background(pipe: Option<impl Read + Send + 'static>) -> Reading {
    let kept = Arc::new(Mutex::new(Vec::new()));
    let (sender, at_end) = mpsc::sync_channel(1);
    let shared = Arc::clone(&kept);
    thread::spawn(move || {
        if let Some(pipe) = pipe {
            read_all(pipe, &shared);
        }
        // Nobody may be waiting any more.
        let _ = sender.send(());
    });
    Reading { kept, at_end }
}

/// Reads to the end, keeping the first [`MAX_OUTPUT_BYTES`]. A read error ends the output as its end does.
fn read_all(mut pipe: impl Read, kept: &Mutex<Vec<u8>>) {
    let mut piece = [0; 8192];
    while let Ok(length @ 1..) = pipe.read(&mut piece) {
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        let room = MAX_OUTPUT_BYTES.saturating_sub(kept.len());
        kept.extend(piece.iter().take(length.min(room)));
    }
}

fn collect(reading: &Reading) -> String {
    // When the time is up, what has come so far is the output.
    let _ = reading.at_end.recv_timeout(DRAIN_LIMIT);
    let kept = reading.kept.lock().unwrap_or_else(PoisonError::into_inner);
    String::from_utf8_lossy(&kept).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limit: Duration) -> Result<Ended, ExternalError> {
        run(Command::new("/bin/sh").args(["-c", script]), limit)
    }

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn code_signal_and_both_outputs_come_back() {
        let ended = shell("echo out; echo err >&2; exit 3", LONG).unwrap();
        let expected = Ended {
            exit_code: Some(3),
            signal: None,
            stdout: "out\n".to_owned(),
            stderr: "err\n".to_owned(),
        };
        assert_eq!(ended, expected);
        assert_eq!(shell("kill -9 $$", LONG).unwrap().signal, Some(9));
    }

    #[test]
    fn one_that_hangs_is_ended_with_its_children() {
        let began = Instant::now();
        let error = shell("sleep 30 & wait", Duration::from_millis(300)).unwrap_err();
        assert!(matches!(error, ExternalError::TimedOut { .. }), "{error}");
        assert!(began.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn one_of_our_group_is_in_it_and_has_its_limit() {
        let ask = |script: &str, limit| {
            run_in_our_group(Command::new("/bin/sh").args(["-c", script]), limit)
        };
        let group = ask("ps -o pgid= -p $$", LONG).unwrap().stdout;
        let ours = rustix::process::getpgrp().as_raw_nonzero().to_string();
        assert_eq!(group.trim(), ours);
        let error = ask("exec sleep 30", Duration::from_millis(300)).unwrap_err();
        assert!(matches!(error, ExternalError::TimedOut { .. }), "{error}");
    }

    #[test]
    fn output_without_end_is_cut() {
        let ended = shell("head -c 3000000 /dev/zero", LONG).unwrap();
        assert_eq!(ended.exit_code, Some(0));
        assert_eq!(ended.stdout.len(), MAX_OUTPUT_BYTES);
    }

    #[test]
    fn a_descendant_that_keeps_the_pipe_is_not_waited_for() {
        let began = Instant::now();
        let ended = shell("sleep 5 & echo $!", LONG).unwrap();
        assert_eq!(ended.exit_code, Some(0));
        assert!(began.elapsed() < Duration::from_secs(4));
        // It was started here, so it ends here.
        let pid = Pid::from_raw(ended.stdout.trim().parse().unwrap()).unwrap();
        rustix::process::kill_process(pid, Signal::KILL).unwrap();
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = run(&mut Command::new("/nonexistent/tool"), LONG).unwrap_err();
        assert_eq!(error.to_string(), "cannot run /nonexistent/tool");
    }
}
