//! The temporary folder of a scene, and what every machine in it has.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use nixfleet_protocol::{
    journal::{
        read,
        records::{RunningProgram, SwitchId},
        store::Journal,
    },
    state_dir::StateDir,
};
use tempfile::TempDir;

use super::{Trouble, dashboard::AGENT_TOKEN, processes, programs::Programs};

/// The machine's name in the dashboard, where a scene gives it no other.
pub const HOST: &str = "testmac";

/// A machine's folder:
///
/// ```text
/// bin/            launchctl, home-manager, nixfleet-switch, nixfleet-agent: links, as installed
/// home/           the user's home
/// config.toml     the agent's and the wrapper's
/// token           the agent's token
/// home-manager/   scenario.sh, trace.log
/// ```
#[derive(Debug)]
pub struct Folder {
    temporary: TempDir,
    host: String,
}

/// What a machine's config says beside what every machine's does.
#[derive(Debug, Clone)]
pub struct Config {
    /// The dashboard.
    pub url: String,
    /// `launchd` or `systemd`.
    pub service_manager: &'static str,
    /// The job's label or unit.
    pub label: String,
    /// Seconds between two heartbeats.
    pub interval: u32,
}

impl Folder {
    /// A new one, with everything installed.
    pub fn new() -> Result<Self, Trouble> {
        Self::of_host(HOST)
    }

    /// A new one for a machine of this name: where several machines have one dashboard.
    pub fn of_host(host: &str) -> Result<Self, Trouble> {
        let place = std::env::temp_dir();
        let temporary = tempfile::Builder::new()
            .prefix("nixfleet-")
            .tempdir()
            .map_err(Trouble::file("create a folder in", &place))?;
        let folder = Self { temporary, host: host.to_owned() };
        for name in ["bin", "home/Library/LaunchAgents", "home-manager"] {
            let path = folder.path(name);
            fs::create_dir_all(&path).map_err(Trouble::file("create", &path))?;
        }
        let programs = Programs::get()?;
        folder.link("bin/home-manager", &Programs::home_manager())?;
        folder.link("bin/nixfleet-switch", &programs.switch())?;
        folder.link("bin/nixfleet-agent", &programs.agent())?;
        write_private(&folder.path("token"), AGENT_TOKEN)?;
        folder.scenario("")?;
        Ok(folder)
    }

    /// The machine's name in the dashboard.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        self.temporary.path()
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    /// Makes or replaces a link.
    pub fn link(&self, name: &str, target: &Path) -> Result<(), Trouble> {
        let path = self.path(name);
        let next = self.path(&format!("{name}.next"));
        symlink(target, &next).map_err(Trouble::file("link", &next))?;
        fs::rename(&next, &path).map_err(Trouble::file("replace", &path))
    }

    /// Writes a file.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf, Trouble> {
        let path = self.path(name);
        let next = self.path(&format!("{name}.next"));
        fs::write(&next, text).map_err(Trouble::file("write", &next))?;
        fs::rename(&next, &path).map_err(Trouble::file("replace", &path))?;
        Ok(path)
    }

    /// Says what home-manager will do; see `programs/home-manager` for what can be said.
    pub fn scenario(&self, text: &str) -> Result<(), Trouble> {
        self.write("home-manager/scenario.sh", text).map(|_path| ())
    }

    /// Writes the config that agent and wrapper share.
    pub fn write_config(&self, config: &Config) -> Result<PathBuf, Trouble> {
        let quoted = |path: PathBuf| format!("{:?}", path.display().to_string());
        let text = format!(
            "url = {url:?}\nallow_insecure_http = true\ntoken_file = {token}\nhostname = {host:?}\n\
             interval = {interval}\nrepo_dir = {home}\nstate_dir = {state}\nswitch = {switch}\n\
             service_manager = {manager:?}\nagent_label = {label:?}\nlaunchctl = {launchctl}\n\
             home_manager = {home_manager}\ncaffeinate = {caffeinate}\n",
            url = config.url,
            host = self.host,
            token = quoted(self.path("token")),
            interval = config.interval,
            home = quoted(self.home()),
            state = quoted(self.state_dir()),
            switch = quoted(self.path("bin/nixfleet-switch")),
            manager = config.service_manager,
            label = config.label,
            launchctl = quoted(self.path("bin/launchctl")),
            home_manager = quoted(self.path("bin/home-manager")),
            caffeinate = quoted(self.path("bin/caffeinate")),
        );
        self.write("config.toml", &text)
    }

    /// The user's home.
    pub fn home(&self) -> PathBuf {
        self.path("home")
    }

    /// Where the journal is.
    pub fn state_dir(&self) -> PathBuf {
        self.path("home/.local/state/nixfleet")
    }

    /// The journal.
    pub fn journal(&self) -> Result<Journal, Trouble> {
        let directory = StateDir::look(&self.state_dir());
        Ok(Journal::new(directory.map_err(|error| Trouble::Said(error.to_string()))?))
    }

    /// The agent's own record.
    pub fn agent_record(&self) -> Result<Option<RunningProgram>, Trouble> {
        Ok(read::read(&self.journal()?.directory().agent_record()).present())
    }

    /// The newest switch in the journal.
    pub fn newest_switch(&self) -> Result<Option<SwitchId>, Trouble> {
        let ids = self.journal()?.switch_ids();
        Ok(ids.map_err(|error| Trouble::Said(error.to_string()))?.last().copied())
    }

    /// A program as the user starts it, in the user's environment. Nothing of the caller's own is in it.
    pub fn user_command(&self, name: &str) -> Command {
        let inherited = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new(self.path("bin").join(name));
        command
            .env_clear()
            .env("HOME", self.home())
            .env("USER", "tester")
            .env("PATH", format!("{}:{inherited}", self.path("bin").display()))
            .env("NIXFLEET_CONFIG", self.path("config.toml"))
            .current_dir(self.home())
            .stdin(Stdio::null());
        command
    }

    /// The steps that home-manager took, in order: pid and step.
    pub fn home_manager_trace(&self) -> Vec<(u32, String)> {
        let text = fs::read_to_string(self.path("home-manager/trace.log")).unwrap_or_default();
        text.lines()
            .filter_map(|line| {
                let mut words = line.splitn(3, ' ');
                let (_time, pid, step) = (words.next()?, words.next()?, words.next()?);
                Some((pid.parse().ok()?, step.to_owned()))
            })
            .collect()
    }

    /// How often home-manager was started.
    pub fn home_manager_runs(&self) -> usize {
        self.home_manager_trace().iter().filter(|(_, step)| step.starts_with("start")).count()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        processes::kill_all(self.root());
    }
}

/// Writes a file that only the owner can read.
pub fn write_private(path: &Path, text: &str) -> Result<(), Trouble> {
    fs::write(path, text).map_err(Trouble::file("write", path))?;
    let closed = fs::Permissions::from_mode(0o600);
    fs::set_permissions(path, closed).map_err(Trouble::file("close", path))
}
