//! A Mac on which all is well, and what the doctor says of it.

use std::{fs, os::unix::fs::symlink, path::PathBuf, process::Command, time::Duration};

use jiff::Timestamp;
use nixfleet_protocol::{
    installed,
    journal::{
        atomic,
        lock::Lock,
        records::{
            Activation, AgentVerdict, DashboardContact, FORMAT, Initiator, Installation, Outcome,
            Reload, Reported, Request, RunningProgram, SwitchId, SwitchResult,
        },
    },
    operation::Operation,
    state_dir::StateDir,
    switch_kind::SwitchKind,
};
use nixfleet_tests::stage::{
    Trouble,
    dashboard::Dashboard,
    folder::Folder,
    mac::{LABEL, Mac, MacOptions},
    processes, wait,
};
use rustix::process::Signal;
use serde::Deserialize;
use tempfile::TempDir;

/// A Mac with its dashboard. The watchdog is a lock that the test holds.
pub(crate) struct Patient {
    pub(crate) mac: Mac,
    pub(crate) dashboard: Dashboard,
    pub(crate) watchdog: Option<Lock>,
    _place: TempDir,
}

/// What the doctor says.
#[derive(Debug, Deserialize)]
pub(crate) struct Report {
    pub(crate) healthy: bool,
    pub(crate) findings: Vec<Finding>,
    #[serde(skip)]
    pub(crate) code: Option<i32>,
}

/// One finding.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Finding {
    pub(crate) id: String,
    pub(crate) severity: String,
    pub(crate) summary: String,
    pub(crate) remedy: Option<Vec<String>>,
}

impl Patient {
    /// All is well: the agent runs, wrapper and watchdog are in place.
    pub(crate) fn well() -> Self {
        let place = tempfile::tempdir().unwrap();
        let dashboard = Dashboard::start(&place.path().join("dashboard")).unwrap();
        let mac = Mac::new(dashboard.url(), MacOptions::default()).unwrap();
        mac.folder.scenario("RELEASE=25.11").unwrap();
        let mut patient = Self { mac, dashboard, watchdog: None, _place: place };
        patient.install();
        patient.mac.wait_for_agent().unwrap();
        patient
    }

    /// What `nixfleet-switch install` leaves.
    fn install(&mut self) {
        let folder = &self.mac.folder;
        let wrapper = installed::stable_wrapper(&folder.home());
        fs::create_dir_all(wrapper.parent().unwrap()).unwrap();
        symlink(folder.path("bin/nixfleet-switch"), &wrapper).unwrap();
        let definition = folder.write("watchdog.definition", "").unwrap();
        let directory = StateDir::prepare(&folder.state_dir()).unwrap();
        let installation = Installation {
            format: FORMAT,
            installed_at: Timestamp::now(),
            version: "0".to_owned(),
            leads_to: wrapper.canonicalize().unwrap(),
            wrapper,
            watchdog_label: "com.nixfleet.watchdog".to_owned(),
            watchdog_definition: definition,
        };
        atomic::replace(&directory.installation(), &installation).unwrap();
        self.watchdog = Some(Lock::take(&directory.watchdog_lock()).unwrap());
    }

    pub(crate) fn folder(&self) -> &Folder {
        &self.mac.folder
    }

    pub(crate) fn state(&self) -> StateDir {
        StateDir::look(&self.folder().state_dir()).unwrap()
    }

    /// `gui/UID/LABEL`.
    pub(crate) fn target(&self) -> String {
        format!("{}/{LABEL}", self.mac.domain())
    }

    pub(crate) fn launchctl(&self, words: &[&str]) {
        self.mac.launchctl(words).unwrap();
    }

    /// Until this is dropped nobody can bring the agent's job back.
    pub(crate) fn keep_everybody_from_healing(&self) -> Lock {
        Lock::take_within(&self.state().ensure_lock(), Duration::from_mins(1)).unwrap()
    }

    /// The agent's process, as its record has it.
    pub(crate) fn agent_pid(&self) -> u32 {
        self.folder().agent_record().unwrap().unwrap().process.pid
    }

    pub(crate) fn wait_until_gone(&self, pid: u32) {
        wait::until_true("the agent's process is gone", wait::PATIENCE, || {
            Ok(!processes::of(self.folder().root()).iter().any(|found| found.pid == pid))
        })
        .unwrap();
    }

    /// Stops the agent, so that it neither writes its record nor hands over.
    pub(crate) fn freeze_agent(&self) -> u32 {
        let pid = self.agent_pid();
        processes::signal(pid, Signal::STOP);
        wait::until_true("the agent is stopped", wait::PATIENCE, || {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let state = stat.rsplit(')').next().unwrap_or_default().trim_start().chars().next();
            // Where there is no /proc, the signal has to do.
            Ok(state.is_none_or(|state| state == 'T'))
        })
        .unwrap();
        pid
    }

    /// The agent's record as it would be if the agent had seen this of its dashboard.
    pub(crate) fn write_contact(&self, contact: DashboardContact) {
        let record = self.folder().agent_record().unwrap().unwrap();
        let record = RunningProgram { dashboard: Some(contact), ..record };
        atomic::replace(&self.state().agent_record(), &record).unwrap();
    }

    /// A switch that ended so long ago. Told or not.
    pub(crate) fn write_switch(&self, host: &str, ended: Duration, is_told: bool) -> SwitchId {
        let (id, at) = (SwitchId::generate(), Timestamp::now() - ended);
        let journal = self.folder().journal().unwrap();
        let request = Request {
            format: FORMAT,
            id,
            initiator: Initiator::User,
            command_id: None,
            operation: Operation::default(),
            kind: SwitchKind::default(),
            argv: Vec::new(),
            cwd: self.folder().home(),
            requested_at: at,
            host: host.to_owned(),
        };
        // First that it was told: the agent must not tell it in between.
        let directory = journal.directory().switch(id);
        fs::create_dir_all(directory.root()).unwrap();
        if is_told {
            let told = Reported { format: FORMAT, reported_at: at, protocol: 2, with_reload: true };
            atomic::create_once(&directory.reported(), &told).unwrap();
        }
        atomic::create_once(&directory.reload(), &reload(id, at)).unwrap();
        atomic::create_once(&directory.result(), &result(id, host, at)).unwrap();
        atomic::create_once(&directory.request(), &request).unwrap();
        id
    }

    /// The doctor, as the user calls it.
    pub(crate) fn doctor(&self) -> Command {
        let mut command = self.folder().user_command("nixfleet-switch");
        command.arg("doctor");
        command
    }

    /// What it says.
    pub(crate) fn report(&self) -> Report {
        report(&mut self.doctor())
    }

    /// The doctor finds exactly this to need attention.
    #[track_caller]
    pub(crate) fn assert_found(&self, expected: &[(&str, &str)]) -> Report {
        let report = self.report();
        report.assert_found(expected);
        report
    }

    /// Does what the doctor says, as a user would, and waits until nothing needs attention any more.
    #[track_caller]
    pub(crate) fn mend(&self, report: &Report) {
        for finding in report.attention() {
            for line in finding.remedy.iter().flatten() {
                let mut command = self.folder().user_command("nixfleet-switch");
                let environment: Vec<_> = command.get_envs().map(to_owned).collect();
                command = Command::new("/bin/sh");
                command.arg("-c").arg(line).current_dir(self.folder().home()).env_clear();
                command.envs(environment);
                let output = command.output().unwrap();
                assert!(output.status.success(), "{}: `{line}` {output:?}", finding.id);
            }
        }
        self.wait_until_well();
    }

    #[track_caller]
    pub(crate) fn wait_until_well(&self) {
        let mut last = None;
        let well = wait::until_true("the doctor is content", wait::PATIENCE, || {
            Ok(last.insert(self.report()).healthy)
        });
        assert!(well.is_ok(), "{last:#?}");
    }

    /// Ends the Mac and looks whether anything of it is left.
    pub(crate) fn end(self) {
        let root = self.folder().root().to_owned();
        let Self { mac, dashboard, watchdog, _place } = self;
        let Mac { launchd, folder, .. } = mac;
        launchd.stop();
        drop((dashboard, watchdog));
        // A look-after that begins at this moment finds no launchd and gives up within its minute.
        processes::none_left(&root, Duration::from_secs(75)).unwrap();
        drop(folder);
    }
}

fn to_owned(
    (name, value): (&std::ffi::OsStr, Option<&std::ffi::OsStr>),
) -> (std::ffi::OsString, std::ffi::OsString) {
    (name.to_owned(), value.unwrap_or_default().to_owned())
}

impl Report {
    /// What needs attention.
    pub(crate) fn attention(&self) -> impl Iterator<Item = &Finding> {
        let needs_it = |finding: &&Finding| matches!(&*finding.severity, "warning" | "error");
        self.findings.iter().filter(needs_it)
    }

    /// Exactly this needs attention, and the exit code says whether anything does.
    #[track_caller]
    pub(crate) fn assert_found(&self, expected: &[(&str, &str)]) {
        let found: Vec<(&str, &str)> =
            self.attention().map(|finding| (&*finding.id, &*finding.severity)).collect();
        assert_eq!(found, expected, "{self:#?}");
        assert_eq!(self.code, Some(i32::from(!expected.is_empty())), "{self:#?}");
        assert_eq!(self.healthy, expected.is_empty(), "{self:#?}");
    }

    /// The finding of this name.
    #[track_caller]
    pub(crate) fn finding(&self, id: &str) -> &Finding {
        let finding = self.findings.iter().find(|finding| finding.id == id);
        assert!(finding.is_some(), "there is no {id}: {self:#?}");
        finding.unwrap()
    }
}

/// Runs the doctor for its JSON.
pub(crate) fn report(doctor: &mut Command) -> Report {
    let output = doctor.arg("--json").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let report: Result<Report, _> = serde_json::from_str(&text);
    assert!(report.is_ok(), "{report:?} {output:?}");
    Report { code: output.status.code(), ..report.unwrap() }
}

fn result(id: SwitchId, host: &str, at: Timestamp) -> SwitchResult {
    SwitchResult {
        format: FORMAT,
        id,
        outcome: Outcome::Succeeded,
        exit_code: Some(0),
        signal: None,
        started_at: at,
        finished_at: at,
        duration_ms: 1,
        operation: Operation::default(),
        kind: SwitchKind::default(),
        argv: Vec::new(),
        initiator: Initiator::User,
        generation_before: None,
        generation_after: None,
        activation: Activation::Unknown,
        output_bytes: 0,
        output_tail: String::new(),
        wrapper_version: "0".to_owned(),
        host: host.to_owned(),
        steps: None,
        note: None,
    }
}

fn reload(id: SwitchId, at: Timestamp) -> Reload {
    Reload {
        format: FORMAT,
        switch: Some(id),
        verdict: AgentVerdict::Healthy,
        explanation: "the agent runs".to_owned(),
        began_at: at,
        duration_ms: 1,
        agent_pid: None,
        steps: Vec::new(),
    }
}

/// Waits until something is so.
pub(crate) fn until(what: &str, fact: impl FnMut() -> Result<bool, Trouble>) {
    wait::until_true(what, wait::PATIENCE, fact).unwrap();
}

/// Where the plist is.
pub(crate) fn plist(patient: &Patient) -> PathBuf {
    patient.mac.installed_plist()
}
