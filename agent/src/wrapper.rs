//! Starting `nixfleet-switch`. The agent keeps nothing of it: no pipe, no group; what counts is what it writes.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::{
        fs::{OpenOptionsExt as _, PermissionsExt as _},
        process::ExitStatusExt as _,
    },
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use nixfleet_protocol::{
    installed,
    journal::records::{HealingCause, SwitchId},
    state_dir::StateDir,
};
use rustix::fs::OFlags;
use tokio::process::{Child, Command};

use crate::settings::Settings;

/// How long looking after the agent's job may take before it is ended.
const ENSURE_LIMIT: Duration = Duration::from_mins(5);

/// What our own environment has and no child gets.
pub(crate) const PRIVATE_VARIABLES: [&str; 4] =
    ["NIXFLEET_TOKEN", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

/// The log of calls that no switch is the reason for begins anew when it is longer, in bytes.
const MAX_LOG_BYTES: u64 = 256 * 1024;

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
    /// It did not do what it was to do.
    #[error("{how}; what it had to say is in {}", log.display())]
    Unsuccessful { how: String, log: PathBuf },
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
        let log = self.state_dir.switch(switch).wrapper_log();
        self.spawn(&["run".to_owned(), switch.to_string()], open_log(&log)?)
    }

    /// Has the agent's job looked after for a switch, and waits for that.
    pub(crate) async fn ensure_for(&self, switch: SwitchId) -> Result<(), WrapperError> {
        let arguments = ["ensure-agent".to_owned(), "--switch".to_owned(), switch.to_string()];
        self.run(&arguments, self.state_dir.switch(switch).wrapper_log()).await
    }

    /// Has the agent's job looked after without a switch. If all goes well, this process does not see the end of it.
    pub(crate) async fn ensure_agent(&self, cause: HealingCause) -> Result<(), WrapperError> {
        self.heal("ensure-agent", cause).await
    }

    /// Has the watchdog's job looked after.
    pub(crate) async fn ensure_watchdog(&self, cause: HealingCause) -> Result<(), WrapperError> {
        self.heal("ensure-watchdog", cause).await
    }

    async fn heal(&self, verb: &str, cause: HealingCause) -> Result<(), WrapperError> {
        let arguments = [verb.to_owned(), "--cause".to_owned(), cause.as_str().to_owned()];
        self.run(&arguments, self.state_dir.wrapper_log()).await
    }

    async fn run(&self, arguments: &[String], log: PathBuf) -> Result<(), WrapperError> {
        let mut child = self.spawn(arguments, open_log(&log)?)?;
        let Ok(ended) = tokio::time::timeout(ENSURE_LIMIT, child.wait()).await else {
            child.kill().await.map_err(WrapperError::Wait)?;
            return Err(WrapperError::TooLong { limit: ENSURE_LIMIT });
        };
        let status = ended.map_err(WrapperError::Wait)?;
        if status.success() {
            Ok(())
        } else {
            Err(WrapperError::Unsuccessful { how: ending(status), log })
        }
    }

    fn spawn(&self, arguments: &[String], log: File) -> Result<Child, WrapperError> {
        let program = self.find()?;
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
}

/// How a wrapper ended, in words.
pub(crate) fn ending(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("nixfleet-switch ended with exit code {code}"),
        (None, Some(signal)) => format!("nixfleet-switch was ended by signal {signal}"),
        (None, None) => "nixfleet-switch ended".to_owned(),
    }
}

fn open_log(path: &Path) -> Result<File, WrapperError> {
    let failed = |source| WrapperError::Log { path: path.to_owned(), source };
    let log = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
        .open(path)
        .map_err(failed)?;
    if log.metadata().map_err(failed)?.len() > MAX_LOG_BYTES {
        log.set_len(0).map_err(failed)?;
    }
    Ok(log)
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
