//! The throw-away folder of one selftest: who it belongs to, and where everything in it is.
//!
//! ```text
//! scene.json            whose it is: written by the selftest, read by its stand-ins and by the next selftest
//! bin/                  copies of this program, and the links by which it is called
//! home/                 HOME of all that is started: state directory, profile, installed plists
//! generations/          what the stand-in for home-manager installs
//! processes/            the stand-ins, one file each, written by themselves
//! ```

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use nixfleet_protocol::{
    installed,
    journal::atomic,
    process::ProcessIdentity,
    state_dir::{StateDir, StateDirError},
};
use serde::{Deserialize, Serialize};

use super::Trouble;

/// Begins the folder's name; the pid follows.
pub(super) const FOLDER_PREFIX: &str = "nixfleet-selftest-";

/// Begins the labels; the pid follows.
pub(super) const LABEL_PREFIX: &str = "com.nixfleet.selftest.";

/// The file that says whose the folder is.
const RECORD: &str = "scene.json";

/// The link by which the wrapper calls the stand-in for home-manager. Its name says what it is: a link called
/// `home-manager` may be somebody's own.
pub(super) const HOME_MANAGER_LINK: &str = "nixfleet-selftest-home-manager";

/// What jobs find programs by under launchd.
const SYSTEM_PATH: &str = "/usr/bin:/bin:/usr/sbin:/sbin";

/// The folder, and what all that act in it have to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Scene {
    /// The folder itself, without links in its path.
    pub(super) folder: PathBuf,
    /// The selftest's own process.
    pub(super) process: ProcessIdentity,
    /// Where its jobs are loaded: `gui/UID` or `user/UID`.
    pub(super) domain: String,
    /// The agent's label.
    pub(super) agent_label: String,
    /// The watchdog's label.
    pub(super) watchdog_label: String,
    /// The tool of the real service manager.
    pub(super) launchctl: PathBuf,
    /// What keeps the Mac awake during a switch.
    pub(super) caffeinate: PathBuf,
}

/// The two labels of the selftest with this pid.
pub(super) fn labels(pid: u32) -> (String, String) {
    (format!("{LABEL_PREFIX}{pid}.agent"), format!("{LABEL_PREFIX}{pid}.watchdog"))
}

/// The pid in one of our labels.
pub(super) fn pid_of_label(label: &str) -> Option<u32> {
    let (pid, kind) = label.strip_prefix(LABEL_PREFIX)?.split_once('.')?;
    matches!(kind, "agent" | "watchdog").then_some(())?;
    pid.parse().ok()
}

impl Scene {
    /// Makes the folder. One that is there already is an error: whose it is is not known.
    pub(super) fn create(&self) -> Result<(), Trouble> {
        let failed = |path: &Path| Trouble::file("create", path);
        DirBuilder::new().mode(0o700).create(&self.folder).map_err(failed(&self.folder))?;
        // First of all, so that whoever finds the folder knows whose it is.
        let text = serde_json::to_vec(self)
            .map_err(|error| Trouble::file("write", &self.folder)(error.into()))?;
        atomic::replace_content(&self.folder.join(RECORD), "selftest's record", &text)?;
        for folder in [
            self.folder.join("bin"),
            self.folder.join("generations"),
            self.processes(),
            self.agent_plist().parent().unwrap_or(&self.folder).to_owned(),
        ] {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&folder)
                .map_err(failed(&folder))?;
        }
        StateDir::prepare(&self.state_root())?;
        Ok(())
    }

    /// Reads what the folder says about itself.
    pub(super) fn read(folder: &Path) -> Result<Self, Trouble> {
        let path = folder.join(RECORD);
        let text = fs::read(&path).map_err(Trouble::file("read", &path))?;
        let scene: Self = serde_json::from_slice(&text)
            .map_err(|error| Trouble::file("understand", &path)(error.into()))?;
        Ok(Self { folder: folder.to_owned(), ..scene })
    }

    /// The home directory of all that is started.
    pub(super) fn home(&self) -> PathBuf {
        self.folder.join("home")
    }

    fn state_home(&self) -> PathBuf {
        self.home().join(".local/state")
    }

    fn state_root(&self) -> PathBuf {
        self.state_home().join("nixfleet")
    }

    /// The state directory.
    pub(super) fn state_dir(&self) -> Result<StateDir, StateDirError> {
        StateDir::look(&self.state_root())
    }

    /// The agent's definition, as installed.
    pub(super) fn agent_plist(&self) -> PathBuf {
        installed::launch_agent(&self.home(), &self.agent_label)
    }

    /// The watchdog's definition, as installed.
    pub(super) fn watchdog_plist(&self) -> PathBuf {
        installed::launch_agent(&self.home(), &self.watchdog_label)
    }

    /// The wrapper.
    pub(super) fn wrapper(&self) -> PathBuf {
        self.folder.join("bin/nixfleet-switch")
    }

    /// The path that the agent's definition names: a link, as it is in real life.
    pub(super) fn agent(&self) -> PathBuf {
        self.folder.join("bin/agent")
    }

    /// What that link leads to, before and after an upgrade.
    pub(super) fn agent_executable(&self, version: u32) -> PathBuf {
        self.folder.join(format!("bin/agent-{version}"))
    }

    /// The link by which the wrapper calls the stand-in for home-manager.
    pub(super) fn home_manager(&self) -> PathBuf {
        self.folder.join("bin").join(HOME_MANAGER_LINK)
    }

    /// What a generation installs.
    pub(super) fn generation(&self, number: u32) -> PathBuf {
        self.folder.join(format!("generations/{number}"))
    }

    /// The profile's link to the generation that is set.
    pub(super) fn profile(&self) -> PathBuf {
        self.state_home().join("nix/profiles/home-manager")
    }

    /// The link to the generation that was activated to its end; beside it lies the one to that which is being
    /// activated.
    pub(super) fn current_home(&self) -> PathBuf {
        self.state_home().join("home-manager/gcroots/current-home")
    }

    /// Where the stand-ins write down who they are.
    pub(super) fn processes(&self) -> PathBuf {
        self.folder.join("processes")
    }

    /// What the stand-in agent is asked to have switched.
    pub(super) fn asked(&self) -> PathBuf {
        self.folder.join("asked.json")
    }

    /// Where a stand-in for home-manager that waits to be killed says so.
    pub(super) fn held(&self) -> PathBuf {
        self.folder.join("held.json")
    }

    /// Where the agent's child with a session of its own says that it has one.
    pub(super) fn child(&self) -> PathBuf {
        self.folder.join("child.json")
    }

    /// Where a stand-in agent says that it was sent SIGTERM.
    pub(super) fn term_of(&self, pid: u32) -> PathBuf {
        self.folder.join(format!("term-{pid}"))
    }

    /// `DOMAIN/LABEL` of the agent's job.
    pub(super) fn agent_target(&self) -> String {
        format!("{}/{}", self.domain, self.agent_label)
    }

    /// `DOMAIN/LABEL` of the watchdog's job.
    pub(super) fn watchdog_target(&self) -> String {
        format!("{}/{}", self.domain, self.watchdog_label)
    }

    /// The whole environment of what is started: nothing of the user's own is in it.
    pub(super) fn environment(&self) -> BTreeMap<&'static str, PathBuf> {
        BTreeMap::from([
            ("HOME", self.home()),
            ("LC_ALL", PathBuf::from("C")),
            ("NIXFLEET_AGENT_LABEL", PathBuf::from(&self.agent_label)),
            ("NIXFLEET_AGENT_PLIST", self.agent_plist()),
            ("NIXFLEET_CAFFEINATE", self.caffeinate.clone()),
            ("NIXFLEET_HOME_MANAGER", self.home_manager()),
            ("NIXFLEET_LAUNCHCTL", self.launchctl.clone()),
            ("NIXFLEET_SERVICE_MANAGER", PathBuf::from("launchd")),
            ("NIXFLEET_STATE_DIR", self.state_root()),
            ("NIXFLEET_WATCHDOG_LABEL", PathBuf::from(&self.watchdog_label)),
            ("PATH", PathBuf::from(SYSTEM_PATH)),
            ("XDG_CACHE_HOME", self.home().join(".cache")),
            ("XDG_CONFIG_HOME", self.home().join(".config")),
            ("XDG_STATE_HOME", self.state_home()),
        ])
    }

    /// Writes down who this process is, so that it can be ended if nobody else does it.
    pub(super) fn register(&self, process: &ProcessIdentity) -> Result<(), Trouble> {
        let path = self.processes().join(format!("{}.json", process.pid));
        write_identity(&path, process)
    }
}

/// Writes down a process.
pub(super) fn write_identity(path: &Path, process: &ProcessIdentity) -> Result<(), Trouble> {
    let text = serde_json::to_vec(process)
        .map_err(|error| Trouble::file("write", path)(io::Error::from(error)))?;
    Ok(atomic::replace_content(path, "record of a process", &text)?)
}

/// The process that is written down there, if one is.
pub(super) fn read_identity(path: &Path) -> Option<ProcessIdentity> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_labels_have_a_pid() {
        let (agent, watchdog) = labels(42);
        for (label, expected) in [
            (agent.as_str(), Some(42)),
            (watchdog.as_str(), Some(42)),
            ("com.nixfleet.selftest.42", None),
            ("com.nixfleet.selftest.x.agent", None),
            ("com.nixfleet.selftest.42.other", None),
            ("com.nixfleet.agent", None),
        ] {
            assert_eq!(pid_of_label(label), expected, "{label}");
        }
    }
}
