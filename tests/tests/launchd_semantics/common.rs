//! What the tests have in common.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use nixfleet_tests::launchd::JobEvent;
use rustix::process::{Pid, test_kill_process};

pub(crate) use crate::launchd_support::{Bed, Said, drains_until, said, wait_until};

pub(crate) const LABEL: &str = "com.example.job";
pub(crate) const FOREVER: &str = "while :; do sleep 0.05; done";
pub(crate) const RUN_AT_LOAD: &str = "<key>RunAtLoad</key><true/>";
pub(crate) const KEEP_ALIVE: &str = "<key>KeepAlive</key><true/>";
pub(crate) const QUICK: &str = "<key>ThrottleInterval</key><integer>1</integer>";

impl Bed {
    pub(crate) fn bootstrap(&self, plist: &Path) -> Said {
        self.launchctl(&["bootstrap", &self.gui(), plist.to_str().unwrap()])
    }

    /// Writes the plist of an agent into the user's home.
    pub(crate) fn agent(&self, label: &str, script: &str, keys: &str) -> PathBuf {
        let path = self.agent_path(label);
        self.write_plist(&path, label, script, keys);
        path
    }
}

pub(crate) fn silent(code: i32) -> Said {
    Said { code: Some(code), stdout: String::new(), stderr: String::new() }
}

pub(crate) fn refused(code: i32, stderr: &str) -> Said {
    Said { stderr: stderr.to_owned(), ..silent(code) }
}

pub(crate) fn bootstrap_failed_5() -> Said {
    refused(
        5,
        "Bootstrap failed: 5: Input/output error\n\
         Try re-running the command as root for richer errors.\n",
    )
}

pub(crate) fn as_root(bed: &Bed, arguments: &[&str]) -> Said {
    let mut command = Command::new(bed.simulation.launchctl());
    said(command.args(arguments).env("NIXFLEET_SIM_CALLER_UID", "0"))
}

/// A bed whose user is not root, so that root is somebody else.
pub(crate) fn bed_of_501() -> Bed {
    Bed::with(|options| options.uid = Some(501))
}

pub(crate) fn start(bed: &Bed, script: &str, keys: &str) -> Pid {
    assert_eq!(bed.bootstrap(&bed.agent(LABEL, script, keys)), silent(0));
    running(bed)
}

pub(crate) fn running(bed: &Bed) -> Pid {
    bed.wait_for_field(LABEL, "state", "running");
    pid_of(&bed.field(LABEL, "pid").unwrap())
}

pub(crate) fn pid_of(text: &str) -> Pid {
    Pid::from_raw(text.trim().parse().unwrap()).unwrap()
}

pub(crate) fn lives(pid: Pid) -> bool {
    test_kill_process(pid).is_ok()
}

/// Reads a pid that a job writes into a file.
pub(crate) fn pid_in(bed: &Bed, file: &str) -> Pid {
    let path = bed.path(file);
    wait_until(file, || fs::read_to_string(&path).is_ok_and(|text| text.ends_with('\n')));
    pid_of(&fs::read_to_string(&path).unwrap())
}

pub(crate) fn events(bed: &Bed) -> Vec<JobEvent> {
    let records = bed.simulation.job_records(LABEL).unwrap();
    records.into_iter().map(|record| record.event).collect()
}

pub(crate) fn spawn_times(bed: &Bed) -> Vec<i64> {
    let records = bed.simulation.job_records(LABEL).unwrap();
    records
        .into_iter()
        .filter(|record| matches!(record.event, JobEvent::Spawned { .. }))
        .map(|record| record.unix_ms)
        .collect()
}

pub(crate) fn spawned(bed: &Bed) -> Vec<Pid> {
    events(bed)
        .into_iter()
        .filter_map(
            |event| {
                if let JobEvent::Spawned { pid } = event { Pid::from_raw(pid) } else { None }
            },
        )
        .collect()
}
