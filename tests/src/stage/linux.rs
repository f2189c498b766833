//! A Linux machine: a real `systemd --user` of its own, with the agent as a unit.
//!
//! The user manager runs in a folder of its own (`XDG_RUNTIME_DIR`, `XDG_CONFIG_HOME`), beside whatever the machine
//! has; it needs systemd and dbus to be installed, and root or a control group that it may use.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use nixfleet_protocol::journal::records::RunningProgram;
use rustix::process::Signal;

use super::{
    Trouble,
    folder::{Config, Folder},
    processes, wait,
};

/// The agent's unit.
pub const UNIT: &str = "nixfleet-agent.service";

/// The user manager's program.
const SYSTEMD: &str = "/lib/systemd/systemd";

/// How long the user manager may take to come up.
const MANAGER_LIMIT: Duration = Duration::from_secs(20);

/// A Linux machine. Everything on it ends when this is dropped.
#[derive(Debug)]
pub struct Linux {
    manager: Child,
    bus: Child,
    /// Its folder.
    pub folder: Folder,
}

/// Why no user manager can run here; `None` if one can.
pub fn missing() -> Option<String> {
    let has_bus = Command::new("dbus-daemon")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !Path::new(SYSTEMD).exists() {
        Some(format!("there is no {SYSTEMD}"))
    } else if !has_bus {
        Some("there is no dbus-daemon".to_owned())
    } else {
        None
    }
}

impl Linux {
    /// A machine whose agent speaks to the dashboard at `url`. The agent is started.
    pub fn new(url: &str) -> Result<Self, Trouble> {
        let folder = Folder::new()?;
        let runtime = folder.path("run");
        fs::create_dir_all(&runtime).map_err(Trouble::file("create", &runtime))?;
        let closed = fs::Permissions::from_mode(0o700);
        fs::set_permissions(&runtime, closed).map_err(Trouble::file("close", &runtime))?;
        folder.write_config(&Config {
            url: url.to_owned(),
            service_manager: "systemd",
            label: UNIT.to_owned(),
            interval: 1,
        })?;
        let bus = start_bus(&folder)?;
        let manager = match start_manager(&folder) {
            Ok(manager) => manager,
            Err(error) => {
                processes::signal(bus.id(), Signal::KILL);
                return Err(error);
            }
        };
        let linux = Self { manager, bus, folder };
        linux.wait_for_manager()?;
        linux.install_unit(1)?;
        linux.systemctl(&["daemon-reload"])?;
        linux.systemctl(&["start", UNIT])?;
        Ok(linux)
    }

    /// Writes the unit of a generation.
    fn install_unit(&self, version: u32) -> Result<(), Trouble> {
        let folder = self.folder.path("home/.config/systemd/user");
        fs::create_dir_all(&folder).map_err(Trouble::file("create", &folder))?;
        let path = folder.join(UNIT);
        fs::write(&path, self.unit_text(version)).map_err(Trouble::file("write", &path))
    }

    /// The next switch installs a unit that differs: home-manager restarts the agent. More lines may follow.
    pub fn next_switch_replaces_the_agent(&self, version: u32, more: &str) -> Result<(), Trouble> {
        let folder = self.folder.path(&format!("generation-{version}"));
        fs::create_dir_all(&folder).map_err(Trouble::file("create", &folder))?;
        let unit = folder.join(UNIT);
        fs::write(&unit, self.unit_text(version)).map_err(Trouble::file("write", &unit))?;
        self.folder.scenario(&format!("PLATFORM=linux\nNEW_UNIT={}\n{more}\n", unit.display()))
    }

    fn unit_text(&self, version: u32) -> String {
        format!(
            "[Unit]\nDescription=NixFleet agent, generation {version}\n\n[Service]\nType=notify\n\
             ExecStart={} run --config {}\nRestart=always\nRestartSec=1\nTimeoutStopSec=5\nWatchdogSec=10\n\
             StandardError=append:{}\n",
            self.folder.path("bin/nixfleet-agent").display(),
            self.folder.path("config.toml").display(),
            self.folder.path("agent.log").display(),
        )
    }

    /// Calls `systemctl --user` of this machine's manager; its failure is ours.
    pub fn systemctl(&self, words: &[&str]) -> Result<String, Trouble> {
        let mut command = Command::new("systemctl");
        in_session(&self.folder, &mut command);
        let output =
            command.arg("--user").args(words).output().map_err(Trouble::run("systemctl"))?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(Trouble::Said(format!("systemctl {words:?} ended with {}: {said}", output.status)))
        }
    }

    /// A program as the user starts it, in this machine's session.
    pub fn user_command(&self, name: &str) -> Command {
        let mut command = self.folder.user_command(name);
        for (variable, value) in session(&self.folder) {
            command.env(variable, value);
        }
        command
    }

    fn wait_for_manager(&self) -> Result<(), Trouble> {
        wait::until_true("the user manager is up", MANAGER_LIMIT, || {
            let said = self.systemctl(&["show", "--property=Version"]);
            Ok(said.is_ok())
        })
    }

    /// The agent that is up: its record names the unit's main process.
    pub fn agent(&self) -> Result<Option<RunningProgram>, Trouble> {
        let Some(record) = self.folder.agent_record()? else { return Ok(None) };
        let said = self.systemctl(&["show", "--property=MainPID", "--value", UNIT])?;
        Ok((said.trim() == record.process.pid.to_string()).then_some(record))
    }

    /// Waits until an agent is up that the dashboard has heard from, other than `old`.
    pub fn wait_for_agent(&self, old: Option<&RunningProgram>) -> Result<RunningProgram, Trouble> {
        wait::until("the agent is up and has reached the dashboard", wait::PATIENCE, || {
            let is_new =
                |agent: &RunningProgram| old.is_none_or(|old| agent.process != old.process);
            let agent = self.agent()?.filter(is_new);
            Ok(agent.filter(|agent| agent.last_heartbeat_at.is_some()))
        })
    }
}

/// The variables of this machine's session.
fn session(folder: &Folder) -> Vec<(&'static str, PathBuf)> {
    let runtime = folder.path("run");
    vec![
        ("HOME", folder.home()),
        ("XDG_RUNTIME_DIR", runtime.clone()),
        ("XDG_CONFIG_HOME", folder.path("home/.config")),
        ("XDG_DATA_HOME", folder.path("home/.local/share")),
        ("DBUS_SESSION_BUS_ADDRESS", PathBuf::from(format!("unix:path={}/bus", runtime.display()))),
    ]
}

fn in_session(folder: &Folder, command: &mut Command) {
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("USER", "root")
        .envs(session(folder))
        .stdin(Stdio::null());
}

fn start_bus(folder: &Folder) -> Result<Child, Trouble> {
    let mut command = Command::new("dbus-daemon");
    in_session(folder, &mut command);
    let address = format!("unix:path={}", folder.path("run/bus").display());
    command
        .args(["--session", "--nofork", "--nopidfile", &format!("--address={address}")])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(Trouble::run("dbus-daemon"))
}

fn start_manager(folder: &Folder) -> Result<Child, Trouble> {
    // A systemd that finds no running system manager refuses to be a user's.
    let booted = Path::new("/run/systemd/system");
    if !booted.exists() {
        fs::create_dir_all(booted).map_err(Trouble::file("create", booted))?;
    }
    let log = folder.path("systemd.log");
    let log = fs::File::create(&log).map_err(Trouble::file("create", &log))?;
    let mut command = Command::new(SYSTEMD);
    in_session(folder, &mut command);
    command
        .arg("--user")
        .args(["--log-target=console", "--log-level=warning"])
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .map_err(Trouble::run("systemd --user"))
}

impl Drop for Linux {
    fn drop(&mut self) {
        // The manager ends its units first; what it leaves, the folder's end takes.
        for child in [&mut self.manager, &mut self.bus] {
            processes::signal(child.id(), Signal::TERM);
            let gone = wait::until_true("it has ended", Duration::from_secs(5), || {
                Ok(child.try_wait().is_ok_and(|ended| ended.is_some()))
            });
            if gone.is_err() {
                processes::signal(child.id(), Signal::KILL);
                let _ = child.wait();
            }
        }
    }
}
