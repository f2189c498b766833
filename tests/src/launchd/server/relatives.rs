//! Every process of the sandbox, for what happens to a whole machine: sleep and reboot.
//!
//! A process belongs to the sandbox if its command line or its environment names the folder. Found
//! in `/proc`; where there is none, only the jobs' own groups are known. A folder counts as a sandbox
//! by the link that stands in it: without, only what names launchd's own folder is meant.

use std::{collections::BTreeSet, fs, path::Path};

use rustix::process::{Pid, Signal, getpid, kill_process};

/// Processes that start others while they are looked for are looked for again, this often.
const ROUNDS: u32 = 20;

/// Finds and signals the processes of a sandbox.
#[derive(Debug)]
pub(super) struct Relatives {
    needle: Vec<u8>,
}

impl Relatives {
    /// For the sandbox that this folder lies in.
    pub(super) fn beside(directory: &Path) -> Self {
        let sandbox = directory.parent().filter(|folder| folder.join("bin/launchctl").is_symlink());
        let mut needle = sandbox.unwrap_or(directory).as_os_str().as_encoded_bytes().to_vec();
        needle.push(b'/');
        Self { needle }
    }

    /// Signals all of them but ourselves and our ancestors, until no new one is found.
    pub(super) fn signal(&self, signal: Signal) {
        let mut reached = ancestors();
        for _round in 0..ROUNDS {
            let found: Vec<i32> =
                self.find().into_iter().filter(|pid| !reached.contains(pid)).collect();
            if found.is_empty() {
                return;
            }
            for raw in found {
                if let Some(pid) = Pid::from_raw(raw) {
                    // It may have ended meanwhile.
                    let _ = kill_process(pid, signal);
                }
                reached.insert(raw);
            }
        }
    }

    fn find(&self) -> Vec<i32> {
        let names_it = |pid: &i32| {
            ["cmdline", "environ"].into_iter().any(|file| {
                // A process that has ended, or is somebody else's, names nothing.
                let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
                bytes.windows(self.needle.len()).any(|window| window == self.needle)
            })
        };
        pids().filter(names_it).collect()
    }
}

fn pids() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// We ourselves, and whoever started us.
fn ancestors() -> BTreeSet<i32> {
    let mut known = BTreeSet::new();
    let mut next = Some(getpid().as_raw_nonzero().get());
    while let Some(pid) = next {
        next = known.insert(pid).then(|| parent(pid)).flatten();
    }
    known
}

fn parent(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in brackets may hold anything; the parent is the second word after it.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok().filter(|pid| *pid > 0)
}
