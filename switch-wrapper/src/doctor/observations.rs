//! All that the doctor has seen, as plain values: what [`super::observe`] gathers and [`super::examine`] judges.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;
use nixfleet_protocol::{
    installed::Difference,
    journal::{
        lock::Holder,
        read::Found,
        records::{Activation, Installation, RunningProgram, SwitchId},
    },
    lifecycle::Phase,
    switch_kind::SwitchKind,
};

use crate::{
    ensure::{definition::OnDisk, launchctl::JobView, systemd_plan::UnitView},
    settings::UnitManager,
};

/// All of it.
#[derive(Debug, Clone)]
pub(crate) struct Observations {
    /// When.
    pub(super) now: Timestamp,
    /// Why the configuration cannot be used, where it cannot.
    pub(super) configuration: Result<(), Misconfigured>,
    /// The rest; `None` where not even the environment alone makes sense.
    pub(super) host: Option<Host>,
}

/// What is wrong with the configuration.
#[derive(Debug, Clone)]
pub(super) struct Misconfigured {
    /// In words, with the place.
    pub(super) why: String,
    /// The config file, where it is the file's fault.
    pub(super) file: Option<PathBuf>,
}

/// What was seen of the host.
#[derive(Debug, Clone)]
pub(super) struct Host {
    /// What things are called and where they are.
    pub(super) names: Names,
    /// The service manager, and the agent's job in it.
    pub(super) service: Service,
    /// The agent, by its own record.
    pub(super) agent: Agent,
    /// The watchdog.
    pub(super) watchdog: Watchdog,
    /// The wrapper's stable path.
    pub(super) wrapper: Installed,
    /// The state directory.
    pub(super) state: State,
    /// What the journal says; `None` where there is no state directory to read it from.
    pub(super) journal: Option<JournalView>,
    /// home-manager.
    pub(super) home_manager: HomeManager,
    /// Whether the profile is what was activated.
    pub(super) activation: Activation,
}

/// What things are called and where they are.
#[derive(Debug, Clone)]
pub(super) struct Names {
    /// The host.
    pub(super) host: String,
    /// The user.
    pub(super) uid: u32,
    /// Whose the home directory is.
    pub(super) home_owner: Option<u32>,
    /// The agent's label or unit.
    pub(super) label: String,
    /// The agent's definition on disk.
    pub(super) plist: PathBuf,
    /// The state directory.
    pub(super) state: PathBuf,
    /// The switch lock in it.
    pub(super) switch_lock: PathBuf,
    /// `launchctl`.
    pub(super) launchctl: PathBuf,
}

/// The service manager, and the agent's job in it.
#[derive(Debug, Clone)]
pub(super) enum Service {
    /// macOS.
    Launchd(Box<Launchd>),
    /// Linux.
    Systemd(Systemd),
    /// None is in use.
    None,
}

/// What was seen of launchd.
#[derive(Debug, Clone)]
pub(super) struct Launchd {
    /// Why nothing more was asked, where launchctl did not answer.
    pub(super) silent: Option<String>,
    /// `gui/UID` itself.
    pub(super) gui: Domain,
    /// The label in `gui/UID`.
    pub(super) in_gui: JobLook,
    /// The label in `user/UID`.
    pub(super) in_user: JobLook,
    /// The labels that an override forbids; `Err` if that could not be read.
    pub(super) disabled: Result<BTreeSet<String>, String>,
    /// The definition on disk.
    pub(super) plist: Plist,
    /// The release of macOS, where the kernel tells it.
    pub(super) macos: Option<u32>,
}

/// A domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Domain {
    /// It is not there.
    Absent,
    /// It is. While the count is above zero only a demand starts a job.
    There {
        /// `on-demand count`.
        on_demand_count: u32,
    },
    /// launchctl did not say.
    Unclear(String),
}

/// The label in one domain.
#[derive(Debug, Clone)]
pub(super) struct JobLook {
    /// What the look-after would see.
    pub(super) view: JobView,
    /// How often it was started.
    pub(super) runs: Option<u32>,
    /// `state`, in launchd's word.
    pub(super) state: Option<String>,
    /// Why launchd has put off starting it, in launchd's word.
    pub(super) pended: Option<String>,
}

impl JobLook {
    /// Nothing was seen.
    pub(super) fn unclear(why: &str) -> Self {
        let view = JobView::Unclear(why.to_owned());
        Self { view, runs: None, state: None, pended: None }
    }
}

/// The definition on disk, as a file.
#[derive(Debug, Clone)]
pub(super) struct Plist {
    /// What it says.
    pub(super) on_disk: OnDisk,
    /// The entry itself, links not followed.
    pub(super) file: Option<Entry>,
    /// Its folder.
    pub(super) folder: Option<Entry>,
    /// What it runs and is not there.
    pub(super) missing: Vec<PathBuf>,
}

/// A file or folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    /// It is a symbolic link.
    pub(super) is_link: bool,
    /// Whose it is.
    pub(super) owner: u32,
    /// The permission bits.
    pub(super) mode: u32,
    /// Whether this user may write it.
    pub(super) is_writable: bool,
}

/// What was seen of systemd.
#[derive(Debug, Clone)]
pub(super) struct Systemd {
    /// Whose unit the agent is.
    pub(super) manager: UnitManager,
    /// The agent's unit.
    pub(super) unit: UnitView,
    /// Whether the manager outlives a logout; `Err` if that could not be read.
    pub(super) lingers: Result<bool, String>,
}

/// The agent, by its own record.
#[derive(Debug, Clone)]
pub(super) struct Agent {
    /// `agent.json`.
    pub(super) record: Found<RunningProgram>,
    /// Whether that process lives.
    pub(super) life: Life,
    /// Its process group.
    pub(super) group: Option<u32>,
    /// What of it is not what is installed.
    pub(super) difference: Option<Difference>,
    /// For how long it has not stamped its lock, where that is too long.
    pub(super) stuck_for: Option<Duration>,
}

impl Agent {
    /// The agent that lives.
    pub(super) fn alive(&self) -> Option<&RunningProgram> {
        self.record.as_present().filter(|_| self.life == Life::Alive)
    }

    /// Whether it belongs to a job with this main process.
    pub(super) fn belongs_to(&self, job: u32) -> bool {
        self.alive().is_some_and(|agent| agent.process.pid == job) || self.group == Some(job)
    }
}

/// Whether a process lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Life {
    /// It does.
    Alive,
    /// It does not, or there is none.
    Gone,
    /// The system does not tell.
    Unclear(String),
}

/// The watchdog.
#[derive(Debug, Clone)]
pub(super) struct Watchdog {
    /// `installation.json`.
    pub(super) installation: Found<Installation>,
    /// Whether somebody holds its lock; `None` if that cannot be read.
    pub(super) is_running: Option<bool>,
    /// Whether the definition of its job is on disk.
    pub(super) has_definition: bool,
}

/// A program at a stable path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Installed {
    /// There is nothing.
    Absent(PathBuf),
    /// It is a link whose end is gone.
    LeadsNowhere {
        /// The link.
        path: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// It is there.
    There(PathBuf),
}

/// The state directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    /// It cannot be used.
    Unusable(String),
    /// There is none.
    Missing,
    /// It is there.
    There {
        /// As a folder.
        entry: Entry,
        /// The room left on its disk, in bytes.
        free_bytes: Option<u64>,
    },
}

/// What the journal says.
#[derive(Debug, Clone, Default)]
pub(super) struct JournalView {
    /// Why it cannot be read.
    pub(super) trouble: Option<String>,
    /// Files of it that cannot be read.
    pub(super) broken: Vec<BrokenFile>,
    /// Who has the switch lock.
    pub(super) lock: SwitchLock,
    /// Switches without a result that nobody is at, and home-managers without a wrapper.
    pub(super) open: Vec<OpenSwitch>,
    /// What the dashboard was not told.
    pub(super) unsent: Unsent,
    /// The newest switch.
    pub(super) newest: Option<NewestSwitch>,
}

/// A file that cannot be read.
#[derive(Debug, Clone)]
pub(super) struct BrokenFile {
    /// The file.
    pub(super) path: PathBuf,
    /// Why.
    pub(super) why: String,
    /// It is of a later version, so nothing is wrong with it.
    pub(super) is_too_new: bool,
}

/// Who has the switch lock.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum SwitchLock {
    /// Nobody.
    #[default]
    Free,
    /// A living wrapper.
    Held(Box<Holder>),
    /// Somebody who does not say who it is.
    HeldByStranger,
    /// Nobody, but it names a process that is gone.
    Stale(Box<Holder>),
    /// The file is no lock.
    Unusable(String),
}

/// A switch without a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OpenSwitch {
    /// The switch.
    pub(super) id: SwitchId,
    /// Where it stands.
    pub(super) phase: Phase,
    /// home-manager's pid and process group, once it was started.
    pub(super) child: Option<u32>,
    /// When it was asked for.
    pub(super) since: Option<Timestamp>,
}

/// What the dashboard was not told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Unsent {
    /// Results of switches.
    pub(super) results: usize,
    /// Look-afters without a switch.
    pub(super) healings: usize,
    /// Answers to other commands.
    pub(super) answers: usize,
    /// Since when the oldest of them waits.
    pub(super) since: Option<Timestamp>,
}

/// The newest switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NewestSwitch {
    /// What home-manager got after `switch`.
    pub(super) argv: Vec<String>,
    /// Where.
    pub(super) cwd: PathBuf,
    /// On which host.
    pub(super) host: String,
    /// Whether it ran in this boot; `None` if it never ran or the system does not tell.
    pub(super) is_of_this_boot: Option<bool>,
}

/// home-manager, or what switches this host in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum HomeManager {
    /// Another kind of switch is configured: its program, or why there is none.
    NotUsed(SwitchKind, Result<PathBuf, String>),
    /// There is none.
    Missing(String),
    /// It does not answer.
    Silent(String),
    /// It answers, and names no release.
    Unnamed(String),
    /// Its release.
    Release {
        /// The program.
        path: PathBuf,
        /// The two numbers.
        release: (u32, u32),
    },
}

impl Host {
    /// Whether there is an agent on this host, or was.
    pub(super) fn has_agent(&self) -> bool {
        let has_run = !matches!(self.agent.record, Found::Absent);
        let is_defined = match &self.service {
            Service::Launchd(launchd) => launchd.plist.on_disk != OnDisk::Absent,
            Service::Systemd(systemd) => matches!(systemd.unit, UnitView::Known(_)),
            Service::None => false,
        };
        has_run || is_defined
    }

    /// Whether a switch is running, so that what is seen of the agent's job may be of the moment.
    pub(super) fn is_switching(&self) -> bool {
        let lock = self.journal.as_ref().map(|journal| &journal.lock);
        matches!(lock, Some(SwitchLock::Held(_)))
    }
}

impl Names {
    /// The plist, as it is shown.
    pub(super) fn plist_text(&self) -> String {
        shown(&self.plist)
    }
}

/// A path as it is shown.
pub(super) fn shown(path: &Path) -> String {
    path.display().to_string()
}
