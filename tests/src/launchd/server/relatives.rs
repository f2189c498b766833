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
    needle: Option<Vec<u8>>,
}

impl Relatives {
    /// For the sandbox that this folder lies in.
    pub(super) fn beside(directory: &Path) -> Self {
        Self { needle: needle(directory) }
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
        let Some(needle) = &self.needle else { return Vec::new() };
        let names_it = |pid: &i32| {
            ["cmdline", "environ"].into_iter().any(|file| {
                // A process that has ended, or is somebody else's, names nothing.
                let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
                bytes.windows(needle.len()).any(|window| window == needle)
            })
        };
        pids().filter(names_it).collect()
    }
}

/// What a process of the sandbox names: its path with a slash at the end. Never a relative path and
/// never the root, which would be in everything.
fn needle(directory: &Path) -> Option<Vec<u8>> {
    let own = std::path::absolute(directory).ok()?;
    let sandbox = own.parent().filter(|folder| folder.join("bin/launchctl").is_symlink());
    let folder = sandbox.unwrap_or(&own);
    folder.parent()?;
    let mut needle = folder.as_os_str().as_encoded_bytes().to_vec();
    needle.push(b'/');
    Some(needle)
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_sandbox_is_known_by_its_link_and_the_root_is_none() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("launchd");
        let text = |path: &Path| String::from_utf8(needle(path).unwrap()).unwrap();
        assert_eq!(text(&directory), format!("{}/", directory.display()));
        fs::create_dir(place.path().join("bin")).unwrap();
        symlink("/nonexistent", place.path().join("bin/launchctl")).unwrap();
        assert_eq!(text(&directory), format!("{}/", place.path().display()));
        assert_eq!(needle(Path::new("/")), None);
        assert!(text(Path::new("launchd")).len() > "launchd/".len(), "an absolute path");
    }

    #[test]
    fn we_and_our_ancestors_are_spared() {
        let known = ancestors();
        assert!(known.contains(&getpid().as_raw_nonzero().get()));
        assert!(known.len() > 1 || parent(getpid().as_raw_nonzero().get()).is_none());
    }
}
