//! Starting `nixfleet-switch`. The agent keeps nothing of it: no pipe, no group; what counts is what it writes.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use nixfleet_protocol::{installed, journal::records::SwitchId, state_dir::StateDir};
use rustix::fs::OFlags;
use tokio::process::{Child, Command};

use crate::settings::Settings;

/// How long looking after the agent's job may take before it is ended.
const ENSURE_LIMIT: Duration = Duration::from_mins(5);

/// What our own environment has and no child gets.
const PRIVATE_VARIABLES: [&str; 2] = ["NIXFLEET_TOKEN", "NOTIFY_SOCKET"];

/// Why it was not started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WrapperError {
    /// It is nowhere.
    #[error("there is no nixfleet-switch; looked for {looked_for}; install it or set `switch`")]
    NotFound { looked_for: String },
    /// Its log cannot be opened.
    #[error("cannot open {} for what nixfleet-switch has to say", path.display())]
    Log {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The system refused.
    #[error("cannot start {}", program.display())]
    Spawn {
        program: PathBuf,
        #[source]
        source: io::Error,
    },
    /// It cannot be waited for.
    #[error("cannot wait for nixfleet-switch")]
    Wait(#[source] io::Error),
    /// It took too long.
    #[error("nixfleet-switch did not end within {} s and was ended", limit.as_secs())]
    TooLong { limit: Duration },
}

/// Where to find the wrapper and what it is told about this agent.
#[derive(Debug, Clone)]
pub(crate) struct Wrapper {
    places: Vec<PathBuf>,
    state_dir: StateDir,
    config_path: Option<PathBuf>,
}

impl Wrapper {
    pub(crate) fn new(settings: &Settings, state_dir: StateDir) -> Self {
        let own = std::env::current_exe().ok();
        Self {
            places: places(settings, own.as_deref()),
            state_dir,
            config_path: settings.config_path.clone(),
        }
    }

    /// Starts the wrapper of a switch.
    pub(crate) fn start(&self, switch: SwitchId) -> Result<Child, WrapperError> {
        self.spawn(&["run".to_owned(), switch.to_string()], switch)
    }

    /// Has the agent's job looked after, and waits for that.
    pub(crate) async fn ensure_agent(&self, switch: SwitchId) -> Result<ExitStatus, WrapperError> {
        let arguments = ["ensure-agent".to_owned(), "--switch".to_owned(), switch.to_string()];
        let mut child = self.spawn(&arguments, switch)?;
        match tokio::time::timeout(ENSURE_LIMIT, child.wait()).await {
            Ok(ended) => ended.map_err(WrapperError::Wait),
            Err(_elapsed) => {
                child.kill().await.map_err(WrapperError::Wait)?;
                Err(WrapperError::TooLong { limit: ENSURE_LIMIT })
            }
        }
    }

    fn spawn(&self, arguments: &[String], switch: SwitchId) -> Result<Child, WrapperError> {
        let program = self.find()?;
        let log = self.open_log(switch)?;
        let mut command = Command::new(&program);
        command
            .args(arguments)
            .env("NIXFLEET_STATE_DIR", self.state_dir.root())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        for variable in PRIVATE_VARIABLES {
            command.env_remove(variable);
        }
        if let Some(path) = &self.config_path {
            command.env("NIXFLEET_CONFIG", path);
        }
        command.spawn().map_err(|source| WrapperError::Spawn { program, source })
    }

    fn find(&self) -> Result<PathBuf, WrapperError> {
        self.places.iter().find(|place| is_program(place)).cloned().ok_or_else(|| {
            let places: Vec<String> =
                self.places.iter().map(|place| place.display().to_string()).collect();
            WrapperError::NotFound { looked_for: places.join(", ") }
        })
    }

    fn open_log(&self, switch: SwitchId) -> Result<File, WrapperError> {
        let path = self.state_dir.switch(switch).wrapper_log();
        OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
            .open(&path)
            .map_err(|source| WrapperError::Log { path, source })
    }
}

/// Where the wrapper may be, best first. A place that was set is the only one.
fn places(settings: &Settings, own: Option<&Path>) -> Vec<PathBuf> {
    if let Some(set) = &settings.switch {
        return vec![set.clone()];
    }
    let stable = settings.home.as_ref().map(|home| installed::stable_folder(home));
    let beside = own.and_then(Path::parent).map(Path::to_owned);
    let path = settings.search_path.as_deref().unwrap_or_default();
    let on_path = std::env::split_paths(path).filter(|folder| folder.is_absolute());
    stable
        .into_iter()
        .chain(beside)
        .chain(on_path)
        .map(|folder| folder.join(installed::WRAPPER))
        .collect()
}

fn is_program(place: &Path) -> bool {
    place
        .metadata()
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}
