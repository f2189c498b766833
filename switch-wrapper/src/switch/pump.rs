//! Copying output: to the log always, to the terminal or the caller's stream as long as it takes it.
//!
//! A stream that is gone (a closed terminal, a reader that has seen enough) ends neither home-manager nor the log.
//! Memory is one buffer a stream, whatever comes.

use std::{
    fs::File,
    io::{self, Read, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// One buffer; what a pipe holds at most.
const BUFFER_BYTES: usize = 64 * 1024;

/// After home-manager's end: how long a stream must be silent to count as drained. A process that was left in the
/// background may hold it open for ever.
const SILENCE: Duration = Duration::from_millis(100);

/// After home-manager's end: how long a stream that does not take output is waited for.
const STUCK_LIMIT: Duration = Duration::from_secs(10);

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// A running copy.
#[derive(Debug)]
pub(super) struct Pump {
    thread: JoinHandle<()>,
    progress: Arc<Progress>,
}

#[derive(Debug, Default)]
struct Progress {
    /// Bytes read so far.
    bytes: AtomicU64,
    /// It waits for more, everything before is written.
    waits: AtomicBool,
}

/// Starts copying from `source` to `log` and `stream`.
pub(super) fn start(
    name: &str,
    source: impl Read + Send + 'static,
    log: File,
    stream: impl Write + Send + 'static,
) -> io::Result<Pump> {
    let progress = Arc::new(Progress::default());
    let shared = Arc::clone(&progress);
    let thread = thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || copy(source, log, stream, &shared))?;
    Ok(Pump { thread, progress })
}

fn copy(mut source: impl Read, mut log: File, stream: impl Write, progress: &Progress) {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut stream = Some(stream);
    loop {
        progress.waits.store(true, Ordering::Release);
        let length = match source.read(&mut buffer) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            // A terminal whose other side is closed answers with an error: that is the end.
            Err(_closed) => 0,
        };
        let Some(piece @ [_, ..]) = buffer.get(..length) else { return };
        progress.waits.store(false, Ordering::Release);
        progress.bytes.fetch_add(length as u64, Ordering::AcqRel);
        // A full disk must stop neither home-manager nor what the user sees.
        let _ = log.write_all(piece);
        if let Some(taking) = &mut stream
            && taking.write_all(piece).and_then(|()| taking.flush()).is_err()
        {
            stream = None;
        }
    }
}

/// Waits until all that home-manager wrote is copied: to the end of each stream, or until it is silent.
pub(super) fn drain(pumps: Vec<Pump>) {
    let began = Instant::now();
    for pump in pumps {
        pump.drain(began);
    }
}

impl Pump {
    fn drain(self, began: Instant) {
        let mut seen = self.progress.bytes.load(Ordering::Acquire);
        let mut silent_since = Instant::now();
        while !self.thread.is_finished() {
            let now = self.progress.bytes.load(Ordering::Acquire);
            let waits = self.progress.waits.load(Ordering::Acquire);
            if now != seen || !waits {
                seen = now;
                silent_since = Instant::now();
            }
            if silent_since.elapsed() >= SILENCE || began.elapsed() >= STUCK_LIMIT {
                return;
            }
            thread::sleep(LOOK_EVERY);
        }
        // It has ended; a panic in it would be a bug, and is printed by itself.
        let _ = self.thread.join();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn pipe() -> (io::PipeReader, io::PipeWriter) {
        io::pipe().unwrap()
    }

    #[test]
    fn everything_reaches_log_and_stream() {
        let directory = tempfile::tempdir().unwrap();
        let (log, out) = (directory.path().join("log"), directory.path().join("out"));
        let (reader, mut writer) = pipe();
        let pump =
            start("t", reader, File::create(&log).unwrap(), File::create(&out).unwrap()).unwrap();
        let text = "line\n".repeat(100_000);
        writer.write_all(text.as_bytes()).unwrap();
        drop(writer);
        drain(vec![pump]);
        assert_eq!(fs::read_to_string(log).unwrap(), text);
        assert_eq!(fs::read_to_string(out).unwrap(), text);
    }

    #[test]
    fn a_stream_that_is_gone_does_not_end_the_log() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let (reader, mut writer) = pipe();
        let (gone, stream) = pipe();
        drop(gone);
        let pump = start("t", reader, File::create(&log).unwrap(), stream).unwrap();
        for _ in 0..3 {
            writer.write_all(&vec![b'x'; BUFFER_BYTES]).unwrap();
        }
        drop(writer);
        drain(vec![pump]);
        assert_eq!(fs::metadata(log).unwrap().len(), 3 * BUFFER_BYTES as u64);
    }

    #[test]
    fn a_stream_held_open_is_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let log = directory.path().join("log");
        let (reader, mut writer) = pipe();
        let pump = start("t", reader, File::create(&log).unwrap(), io::sink()).unwrap();
        writer.write_all(b"before the end").unwrap();
        drain(vec![pump]);
        assert_eq!(fs::read_to_string(log).unwrap(), "before the end");
        drop(writer);
    }
}
