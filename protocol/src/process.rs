//! Which process is meant by a pid, and whether it is still there.
//!
//! A pid alone is reused; a pid with its start time is not. Linux tells both in `/proc`; macOS has no `/proc`, and
//! `/bin/ps` tells there. Which of the two is asked is found out at run time.

use std::{
    fs, io,
    path::Path,
    process::{Command, Stdio},
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde::{Deserialize, Serialize};

use crate::external::{self, Ended, ExternalError};

/// How long `ps` and `sysctl` may take.
const ASKING_LIMIT: Duration = Duration::from_secs(5);

/// Time between two looks at what is to end.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A process, told apart from a later one with the same pid.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProcessIdentity {
    /// The pid.
    pub pid: u32,
    /// When it was started, in the system's own words: clock ticks since boot on Linux, a date in UTC on macOS. Only
    /// good for comparing within one boot.
    pub start: String,
}

/// What is known of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    pid: u32,
    start: String,
    group: u32,
    is_zombie: bool,
}

/// A process was looked for and the system did not tell. That is not the same as its being gone.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The system's own files.
    #[error("cannot read {path}")]
    Proc {
        /// Which.
        path: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The program that tells where there are no such files.
    #[error("cannot find out which processes run")]
    Tool(#[source] ExternalError),
    /// It ran, and said nothing that can be understood.
    #[error("{program} does not tell which processes run")]
    Silent {
        /// Which.
        program: String,
    },
}

impl ProcessIdentity {
    /// This process.
    pub fn current() -> Result<Self, AskError> {
        let pid = std::process::id();
        Ok(Self::of(pid)?.unwrap_or_else(|| Self { pid, start: String::new() }))
    }

    /// The process that has this pid now, if there is one.
    pub fn of(pid: u32) -> Result<Option<Self>, AskError> {
        Ok(look_at(pid)?.map(|seen| Self { pid, start: seen.start }))
    }

    /// Whether this very process still runs. One that has ended but was not waited for does not.
    pub fn is_alive(&self) -> Result<bool, AskError> {
        Ok(look_at(self.pid)?.is_some_and(|seen| seen.start == self.start && !seen.is_zombie))
    }

    /// Sends a signal to this very process; `false` if it is gone.
    pub fn signal(&self, signal: Signal) -> Result<bool, AskError> {
        Ok(self.is_alive()?
            && as_pid(self.pid).is_some_and(|pid| kill_process(pid, signal).is_ok()))
    }
}

/// Whether anything runs in the process group that this process led. The leader itself may be gone.
pub fn group_runs(leader: &ProcessIdentity) -> Result<bool, AskError> {
    // The group's number stays taken while it has members, so another process with that pid and another start time
    // means that the whole group is gone.
    if let Some(seen) = look_at(leader.pid)?
        && seen.start != leader.start
    {
        return Ok(false);
    }
    Ok(all_processes()?.iter().any(|seen| seen.group == leader.pid && !seen.is_zombie))
}

/// Sends a signal to the process group that this process led; `false` if nothing of it runs.
pub fn signal_group(leader: &ProcessIdentity, signal: Signal) -> Result<bool, AskError> {
    Ok(group_runs(leader)?
        && as_pid(leader.pid).is_some_and(|group| kill_process_group(group, signal).is_ok()))
}

/// Ends everything in this process's group but itself: asked to first, and after `grace` for good. Blocks until nothing is
/// left, for at most twice as long. For one that leads its group and has started all that is in it.
pub fn end_own_group(grace: Duration) -> Result<(), AskError> {
    let me = std::process::id();
    let others = || -> Result<Vec<u32>, AskError> {
        let is_other = |seen: &&Seen| seen.group == me && seen.pid != me && !seen.is_zombie;
        Ok(all_processes()?.iter().filter(is_other).map(|seen| seen.pid).collect())
    };
    for signal in [Signal::TERM, Signal::KILL] {
        let deadline = Instant::now() + grace;
        let mut left = others()?;
        for pid in left.iter().copied().filter_map(as_pid) {
            // One that has ended meanwhile needs no signal.
            let _ = kill_process(pid, signal);
        }
        while !left.is_empty() && Instant::now() < deadline {
            thread::sleep(LOOK_EVERY);
            left = others()?;
        }
    }
    Ok(())
}

fn as_pid(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

/// The id of this boot; the same string until the machine is started again.
pub fn boot_id() -> Result<String, AskError> {
    static BOOT_ID: OnceLock<String> = OnceLock::new();
    if let Some(known) = BOOT_ID.get() {
        return Ok(known.clone());
    }
    let told = match fs::read_to_string("/proc/sys/kernel/random/boot_id") {
        Ok(told) => told,
        Err(_no_proc) => ask("/usr/sbin/sysctl", &["-n", "kern.bootsessionuuid"])?.stdout,
    };
    let told = told.trim();
    if told.is_empty() {
        return Err(AskError::Silent { program: "the kernel".to_owned() });
    }
    Ok(BOOT_ID.get_or_init(|| told.to_owned()).clone())
}

fn has_proc() -> bool {
    Path::new("/proc/self/stat").exists()
}

fn look_at(pid: u32) -> Result<Option<Seen>, AskError> {
    if has_proc() {
        return look_at_proc(&format!("/proc/{pid}/stat"));
    }
    let ended = ask("/bin/ps", &["-o", "pid=,pgid=,stat=,lstart=", "-p", &pid.to_string()])?;
    match (ended.exit_code, ended.stdout.lines().find_map(from_ps)) {
        (_, Some(seen)) => Ok(Some(seen)),
        // ps(1) exits 1 when none of the processes is there.
        (Some(1), None) if ended.stderr.trim().is_empty() => Ok(None),
        (_, None) => Err(AskError::Silent { program: "/bin/ps".to_owned() }),
    }
}

fn look_at_proc(path: &str) -> Result<Option<Seen>, AskError> {
    match fs::read_to_string(path) {
        Ok(line) => Ok(from_stat(&line)),
        Err(error) if is_gone(&error) => Ok(None),
        Err(source) => Err(AskError::Proc { path: path.to_owned(), source }),
    }
}

/// The process ended before, or while, its file was read.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

fn all_processes() -> Result<Vec<Seen>, AskError> {
    if has_proc() {
        let failed = |source| AskError::Proc { path: "/proc".to_owned(), source };
        let mut all = Vec::new();
        for entry in fs::read_dir("/proc").map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            if name.as_encoded_bytes().iter().all(u8::is_ascii_digit) {
                all.extend(look_at_proc(&format!("/proc/{}/stat", name.display()))?);
            }
        }
        return Ok(all);
    }
    let ended = ask("/bin/ps", &["-A", "-o", "pid=,pgid=,stat=,lstart="])?;
    let all: Vec<Seen> = ended.stdout.lines().filter_map(from_ps).collect();
    // At least `ps` itself runs.
    if ended.exit_code == Some(0) && !all.is_empty() {
        Ok(all)
    } else {
        Err(AskError::Silent { program: "/bin/ps".to_owned() })
    }
}

fn ask(program: &str, arguments: &[&str]) -> Result<Ended, AskError> {
    let mut command = Command::new(program);
    // The date must not change its spelling with the user's language or travel with the time zone.
    command.args(arguments).env("LC_ALL", "C").env("TZ", "UTC").stdin(Stdio::null());
    external::run(&mut command, ASKING_LIMIT).map_err(AskError::Tool)
}

/// A line of `/proc/PID/stat` (proc_pid_stat(5)): the name stands in parentheses and may hold spaces and parentheses.
fn from_stat(line: &str) -> Option<Seen> {
    let pid = line.split_ascii_whitespace().next()?.parse().ok()?;
    let after_name = line.get(line.rfind(')')? + 1..)?;
    let fields: Vec<&str> = after_name.split_ascii_whitespace().collect();
    Some(Seen {
        pid,
        is_zombie: matches!(*fields.first()?, "Z" | "X" | "x"),
        group: fields.get(2)?.parse().ok()?,
        start: (*fields.get(19)?).to_owned(),
    })
}

/// A line of `ps -o pid=,pgid=,stat=,lstart=`.
fn from_ps(line: &str) -> Option<Seen> {
    let mut fields = line.split_ascii_whitespace();
    let pid = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    let is_zombie = fields.next()?.starts_with('Z');
    let start = fields.collect::<Vec<_>>().join(" ");
    (!start.is_empty()).then_some(Seen { pid, start, group, is_zombie })
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt as _;

    use super::*;

    #[test]
    fn stat_lines_are_read_whatever_the_name() {
        let rest = "S 1 77 77 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 424242 1 2 3";
        for name in ["sh", "a b", "a) Z 1 2", "((("] {
            let seen = from_stat(&format!("77 ({name}) {rest}")).unwrap();
            assert_eq!(
                seen,
                Seen { pid: 77, start: "424242".to_owned(), group: 77, is_zombie: false },
                "{name}"
            );
        }
        assert!(from_stat("77 (sh) Z 1 77").is_none());
        assert!(from_stat("").is_none());
    }

    #[test]
    fn ps_lines_are_read() {
        assert_eq!(
            from_ps("  77 501 Ss+  Mon Nov 23 01:02:03 2026    "),
            Some(Seen {
                pid: 77,
                start: "Mon Nov 23 01:02:03 2026".to_owned(),
                group: 501,
                is_zombie: false
            })
        );
        assert!(from_ps("77 501 Z Mon Nov 23 01:02:03 2026").unwrap().is_zombie);
        assert_eq!(from_ps(""), None);
    }

    #[test]
    fn a_process_is_itself_until_it_ends() {
        let me = ProcessIdentity::current().unwrap();
        assert!(me.is_alive().unwrap());
        let impostor = ProcessIdentity { start: "other".to_owned(), ..me };
        assert!(!impostor.is_alive().unwrap());

        let mut child = Command::new("sleep").arg("60").process_group(0).spawn().unwrap();
        let identity = ProcessIdentity::of(child.id()).unwrap().unwrap();
        assert!(identity.is_alive().unwrap());
        assert!(group_runs(&identity).unwrap());
        assert!(identity.signal(Signal::KILL).unwrap());
        // Not waited for yet: gone all the same, as soon as it has died.
        let deadline = Instant::now() + Duration::from_secs(10);
        while identity.is_alive().unwrap() {
            assert!(Instant::now() < deadline, "it does not die");
            thread::yield_now();
        }
        assert!(!group_runs(&identity).unwrap());
        child.wait().unwrap();
        assert!(!identity.is_alive().unwrap());
        assert!(!identity.signal(Signal::KILL).unwrap());
    }

    #[test]
    fn the_boot_has_an_id_that_stays() {
        let first = boot_id().unwrap();
        assert!(!first.is_empty());
        assert_eq!(first, boot_id().unwrap());
    }
}
