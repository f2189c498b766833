//! What `nixfleet-switch` is set to: environment over config file over default, checked once.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};

use nixfleet_protocol::{
    config_file::{self, ConfigFile, ConfigFileError, LoadedConfig},
    installed::{self, DEFAULT_LABEL, DEFAULT_UNIT, WATCHDOG_LABEL, WATCHDOG_UNIT},
    redactor::Redactor,
    state_dir::{StateDir, StateDirError},
    switch_settings::{MergedSwitch, Surroundings, SwitchMistake, SwitchSettings},
    wire::fields::Token,
};

/// Where the system's own units are (systemd.unit(5)); on NixOS a link into the store.
const SYSTEM_UNITS: &str = "/etc/systemd/system";

/// How long a switch may take when nothing says otherwise.
const DEFAULT_TIMEOUT: Duration = Duration::from_hours(1);

/// Why the settings make no sense.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    /// The config file.
    #[error(transparent)]
    ConfigFile(#[from] ConfigFileError),
    /// The state directory has no place.
    #[error(transparent)]
    StateDir(#[from] StateDirError),
    /// A value is not what it should be.
    #[error("{key} is {value:?} ({source_name}), which is not {expected}")]
    Value {
        /// The key, as the source spells it.
        key: &'static str,
        /// The value.
        value: String,
        /// Where it comes from.
        source_name: String,
        /// What would be right.
        expected: &'static str,
    },
    /// What a switch is on this host.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Switch(Vec<SwitchMistake>),
    /// There is no home directory.
    #[error("HOME is not set and the user database has no home directory for this user; set HOME")]
    NoHome,
}

/// The program that runs the agent's job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ServiceManager {
    /// macOS.
    Launchd,
    /// Linux.
    Systemd(UnitManager),
    /// None: the agent is somebody else's business.
    None,
}

/// Which systemd has the agent's unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UnitManager {
    /// The user's own: it does what the user says.
    User,
    /// The whole system's. Everybody may look at its units; but only root may do anything about them.
    System,
}

impl UnitManager {
    /// How systemctl and journalctl are called, for a command line to be shown.
    pub(crate) const fn flag(self) -> &'static str {
        match self {
            Self::User => " --user",
            Self::System => "",
        }
    }

    /// What comes before `systemctl`, where it is to change something.
    pub(crate) const fn rights(self) -> &'static str {
        match self {
            Self::User => "",
            Self::System => "sudo ",
        }
    }
}

/// The settings, checked.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Where the journal is.
    pub state_dir: PathBuf,
    /// Who runs the agent's job.
    pub service_manager: ServiceManager,
    /// The job's label or unit.
    pub agent_label: String,
    /// The job's definition on disk, for launchd.
    pub agent_plist: PathBuf,
    /// The watchdog's label or unit.
    pub watchdog_label: String,
    /// The definition of the watchdog's job on disk, for launchd.
    pub watchdog_plist: PathBuf,
    /// Where the user's own systemd units are.
    pub units: PathBuf,
    /// The programs that are called.
    pub programs: Programs,
    /// How long a switch may take.
    pub timeout: Duration,
    /// The user's home directory.
    pub home: PathBuf,
    /// The user's name, where the environment has it.
    pub user: Option<String>,
    /// The host's name: as the fleet knows it, else the system's.
    pub host: String,
    /// The config file, where one was read.
    pub config_path: Option<PathBuf>,
    /// What a switch is on this host.
    pub switching: SwitchSettings,
    /// Variables for a switch from the config file.
    pub environment: BTreeMap<String, String>,
    /// What must not get into a result.
    pub redactor: Redactor,
}

/// The programs that are called.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    /// home-manager; found by PATH when not set.
    pub home_manager: Option<PathBuf>,
    /// `nixos-rebuild`, likewise.
    pub nixos_rebuild: Option<PathBuf>,
    /// `darwin-rebuild`, likewise.
    pub darwin_rebuild: Option<PathBuf>,
    /// `sudo`, likewise.
    pub sudo: Option<PathBuf>,
    /// `launchctl`.
    pub launchctl: PathBuf,
    /// `systemctl`.
    pub systemctl: PathBuf,
    /// `systemd-run`.
    pub systemd_run: PathBuf,
    /// `caffeinate`, which keeps a Mac awake.
    pub caffeinate: PathBuf,
}

/// Where values come from, in order.
struct Sources {
    file: ConfigFile,
    file_name: String,
}

impl Settings {
    /// Reads environment and config file.
    pub(crate) fn load() -> Result<Self, SettingsError> {
        let home = home()?;
        let loaded = load_config(&home)?;
        Self::of(home, loaded)
    }

    /// What the environment alone says: for whoever has to go on although the config file makes no sense.
    pub(crate) fn load_without_file() -> Result<Self, SettingsError> {
        Self::of(home()?, LoadedConfig { path: None, digest: None, file: ConfigFile::default() })
    }

    fn of(home: PathBuf, loaded: LoadedConfig) -> Result<Self, SettingsError> {
        let config_path = loaded.path.clone();
        let merged = MergedSwitch::of(&loaded, text_variable);
        let sources = Sources {
            file_name: loaded
                .path
                .as_deref()
                .map_or_else(String::new, |path| path.display().to_string()),
            file: loaded.file,
        };
        let user = text_variable("USER").or_else(|| text_variable("LOGNAME"));
        let xdg_state_home = path_variable("XDG_STATE_HOME");
        let service_manager = sources.service_manager()?;
        let agent_label = sources.agent_label(service_manager);
        let watchdog_label = sources.watchdog_label(service_manager);
        let state_dir =
            match path_variable("NIXFLEET_STATE_DIR").or_else(|| sources.file.state_dir.clone()) {
                Some(path) => path,
                None => StateDir::default_path(xdg_state_home.as_deref(), Some(&home))?,
            };
        let switching = merged
            .check(Surroundings {
                state_dir: &state_dir,
                xdg_state_home: xdg_state_home.as_deref(),
                home: &home,
                user: user.as_deref(),
            })
            .map_err(SettingsError::Switch)?;
        Ok(Self {
            redactor: redactor(&sources, &state_dir),
            service_manager,
            agent_plist: path_variable("NIXFLEET_AGENT_PLIST")
                .or_else(|| sources.file.agent_plist.clone())
                .unwrap_or_else(|| installed::launch_agent(&home, &agent_label)),
            agent_label,
            watchdog_plist: installed::launch_agent(&home, &watchdog_label),
            watchdog_label,
            units: units(&home),
            programs: sources.programs(),
            timeout: sources.timeout()?,
            switching,
            environment: sources.file.environment.unwrap_or_default(),
            host: text_variable("NIXFLEET_HOSTNAME")
                .or(sources.file.hostname)
                .unwrap_or_else(system_name),
            state_dir,
            config_path,
            home,
            user,
        })
    }
}

impl Settings {
    /// What home-manager writes anew when the agent's job changes.
    pub(crate) fn agent_definition(&self) -> PathBuf {
        match self.service_manager {
            ServiceManager::Systemd(UnitManager::User) => self.units.join(&self.agent_label),
            ServiceManager::Systemd(UnitManager::System) => {
                Path::new(SYSTEM_UNITS).join(&self.agent_label)
            }
            ServiceManager::Launchd | ServiceManager::None => self.agent_plist.clone(),
        }
    }
}

impl Sources {
    /// A text from the environment or the file, with the name of its source.
    fn text(&self, variable: &str, in_file: Option<&String>) -> Option<(String, String)> {
        text_variable(variable)
            .map(|value| (value, format!("environment variable {variable}")))
            .or_else(|| in_file.map(|value| (value.clone(), self.file_name.clone())))
    }

    fn service_manager(&self) -> Result<ServiceManager, SettingsError> {
        let set = self.text("NIXFLEET_SERVICE_MANAGER", self.file.service_manager.as_ref());
        let Some((value, source_name)) = set else { return Ok(ServiceManager::of_this_system()) };
        match value.as_str() {
            "launchd" => Ok(ServiceManager::Launchd),
            "systemd" => Ok(ServiceManager::Systemd(UnitManager::User)),
            "systemd-system" => Ok(ServiceManager::Systemd(UnitManager::System)),
            "none" => Ok(ServiceManager::None),
            _ => Err(SettingsError::Value {
                key: "service_manager",
                value,
                source_name,
                expected: "one of `launchd`, `systemd`, `systemd-system`, `none`",
            }),
        }
    }

    fn agent_label(&self, service_manager: ServiceManager) -> String {
        let set = self.text("NIXFLEET_AGENT_LABEL", self.file.agent_label.as_ref());
        label(set, service_manager, (DEFAULT_LABEL, DEFAULT_UNIT))
    }

    fn watchdog_label(&self, service_manager: ServiceManager) -> String {
        let set = self.text("NIXFLEET_WATCHDOG_LABEL", self.file.watchdog_label.as_ref());
        label(set, service_manager, (WATCHDOG_LABEL, WATCHDOG_UNIT))
    }

    fn timeout(&self) -> Result<Duration, SettingsError> {
        let set = self.text("NIXFLEET_SWITCH_TIMEOUT", self.file.switch_timeout.as_ref());
        let Some((value, source_name)) = set else { return Ok(DEFAULT_TIMEOUT) };
        parse_duration(&value).ok_or(SettingsError::Value {
            key: "switch_timeout",
            value,
            source_name,
            expected: "a duration such as `90s`, `45min` or `2h`",
        })
    }

    fn programs(&self) -> Programs {
        let program = |variable, in_file: &Option<PathBuf>, default: &str| {
            path_variable(variable)
                .or_else(|| in_file.clone())
                .unwrap_or_else(|| PathBuf::from(default))
        };
        Programs {
            home_manager: path_variable("NIXFLEET_HOME_MANAGER")
                .or_else(|| self.file.home_manager.clone()),
            nixos_rebuild: path_variable("NIXFLEET_NIXOS_REBUILD")
                .or_else(|| self.file.nixos_rebuild.clone()),
            darwin_rebuild: path_variable("NIXFLEET_DARWIN_REBUILD")
                .or_else(|| self.file.darwin_rebuild.clone()),
            sudo: path_variable("NIXFLEET_SUDO").or_else(|| self.file.sudo.clone()),
            launchctl: program("NIXFLEET_LAUNCHCTL", &self.file.launchctl, "/bin/launchctl"),
            systemctl: program("NIXFLEET_SYSTEMCTL", &self.file.systemctl, "systemctl"),
            systemd_run: program("NIXFLEET_SYSTEMD_RUN", &self.file.systemd_run, "systemd-run"),
            caffeinate: program(
                "NIXFLEET_CAFFEINATE",
                &self.file.caffeinate,
                "/usr/bin/caffeinate",
            ),
        }
    }
}

impl ServiceManager {
    /// The one that this system has.
    fn of_this_system() -> Self {
        if rustix::system::uname().sysname().to_bytes() == b"Darwin" {
            Self::Launchd
        } else if Path::new("/run/systemd/system").exists() {
            Self::Systemd(UnitManager::User)
        } else {
            Self::None
        }
    }
}

/// The name of a job: as it was set, or the default for launchd or for systemd.
fn label(
    set: Option<(String, String)>,
    service_manager: ServiceManager,
    (for_launchd, for_systemd): (&str, &str),
) -> String {
    let default = match service_manager {
        ServiceManager::Systemd(_) => for_systemd,
        ServiceManager::Launchd | ServiceManager::None => for_launchd,
    };
    let label = set.map_or_else(|| default.to_owned(), |(label, _source)| label);
    // systemctl takes a unit's name with and without its type; control groups are called by the whole of it.
    let has_type = Path::new(&label).extension().is_some_and(|kind| kind == "service");
    match service_manager {
        ServiceManager::Systemd(_) if !has_type => format!("{label}.service"),
        ServiceManager::Systemd(_) | ServiceManager::Launchd | ServiceManager::None => label,
    }
}

/// The host's name, as the system has it.
pub(crate) fn system_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// A duration as people write it, at least a second.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    humantime::parse_duration(text).ok().filter(|duration| *duration >= Duration::from_secs(1))
}

fn home() -> Result<PathBuf, SettingsError> {
    env::home_dir().filter(|home| home.is_absolute()).ok_or(SettingsError::NoHome)
}

/// systemd.unit(5).
fn units(home: &Path) -> PathBuf {
    let set = path_variable("XDG_CONFIG_HOME").filter(|path| path.is_absolute());
    set.unwrap_or_else(|| home.join(".config")).join("systemd/user")
}

fn load_config(home: &Path) -> Result<LoadedConfig, ConfigFileError> {
    if let Some(path) = path_variable("NIXFLEET_CONFIG") {
        return config_file::load(&path);
    }
    let xdg_config_home = path_variable("XDG_CONFIG_HOME");
    let places = config_file::default_places(xdg_config_home.as_deref(), Some(home));
    config_file::load_default(&places)
}

/// The tokens that this host knows. One that cannot be read cannot get into an output from here either.
fn redactor(sources: &Sources, state_dir: &Path) -> Redactor {
    let from_file = |path: PathBuf| {
        let text = std::fs::read_to_string(path).ok()?;
        let text = text.trim();
        Token::new(text.strip_prefix("NIXFLEET_TOKEN=").unwrap_or(text)).ok()
    };
    let token_file =
        path_variable("NIXFLEET_TOKEN_FILE").or_else(|| sources.file.token_file.clone());
    let host_token = StateDir::look(state_dir).ok().map(|directory| directory.host_token());
    let in_environment =
        text_variable("NIXFLEET_TOKEN").and_then(|text| Token::new(text.trim()).ok());
    let in_files = token_file.into_iter().chain(host_token).filter_map(from_file);
    Redactor::new(in_files.chain(in_environment))
}

/// A variable that is set to something.
fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

fn path_variable(name: &str) -> Option<PathBuf> {
    variable(name).map(PathBuf::from)
}

fn text_variable(name: &str) -> Option<String> {
    variable(name).and_then(|value| value.into_string().ok())
}
