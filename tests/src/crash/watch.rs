//! The agent's life while a scene runs: who was heard when.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use jiff::Timestamp;
use nixfleet_protocol::{
    journal::{read, records::RunningProgram},
    process::ProcessIdentity,
};

use super::host::Host;
use crate::stage::Trouble;

/// Time between two looks at what the agent writes: what is measured is off by at most this.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A heartbeat that the dashboard took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    /// Whose.
    pub agent: ProcessIdentity,
    /// When, in milliseconds since 1970.
    pub at: i64,
}

/// Looks until it is dropped.
#[derive(Debug)]
pub struct Watch {
    heartbeats: Arc<Mutex<Vec<Heartbeat>>>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Begins to look.
    pub fn begin(host: &Host) -> Result<Self, Trouble> {
        let record = host.mac.folder.journal()?.directory().agent_record();
        let heartbeats = Arc::new(Mutex::new(Vec::new()));
        let is_over = Arc::new(AtomicBool::new(false));
        let (seen, over) = (Arc::clone(&heartbeats), Arc::clone(&is_over));
        let thread = thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                if let Some(record) = read::read::<RunningProgram>(&record).present() {
                    note(&seen, &record);
                }
                thread::sleep(LOOK_EVERY);
            }
        });
        Ok(Self { heartbeats, is_over, thread: Some(thread) })
    }

    /// What was seen so far.
    pub fn heartbeats(&self) -> Vec<Heartbeat> {
        self.heartbeats.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn note(seen: &Mutex<Vec<Heartbeat>>, record: &RunningProgram) {
    let Some(at) = record.last_heartbeat_at.map(Timestamp::as_millisecond) else { return };
    let heartbeat = Heartbeat { agent: record.process.clone(), at };
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    if seen.last() != Some(&heartbeat) {
        seen.push(heartbeat);
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It has nothing to say, and a panic in it was printed.
            let _ = thread.join();
        }
    }
}
