//! What the agent is set to, in three steps: [`ConfigFile`] as it stands on disk, [`merged`] with the source of each
//! value, and [`Settings`], which are checked and never checked again.
//!
//! [`ConfigFile`]: nixfleet_protocol::config_file::ConfigFile

mod check;
mod environment;
mod merged;
mod public_key_pin;
mod show;
pub(crate) mod token_file;
pub(crate) mod token_source;

use std::{path::PathBuf, time::Duration};

use nixfleet_protocol::{
    config_file::{self, ConfigFileError, LoadedConfig},
    switch_settings::{SwitchMistake, SwitchSettings},
    wire::fields::{Criticality, DeviceType, FieldError, HostId, PollInterval, Text, ThemeColor},
};
use reqwest::Url;
use rustls::pki_types::CertificateDer;
use tracing::Level;

pub(crate) use environment::Environment;
pub(crate) use merged::Merged;
pub(crate) use public_key_pin::PublicKeyPin;
pub(crate) use show::{print, print_errors, said, token_place};

use crate::{command_line::Flags, messages};
use merged::Source;
use token_file::TokenFileError;
use token_source::TokenSource;

/// The settings, checked.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The dashboard; the path ends with `/`.
    pub(crate) url: Url,
    /// Where the token is from that the host was given by its operator.
    pub(crate) token: TokenSource,
    /// The host's name at the dashboard.
    pub(crate) hostname: HostId,
    /// Time between two heartbeats.
    pub(crate) interval: PollInterval,
    /// Where a switch runs that the dashboard asks for.
    pub(crate) repo_dir: PathBuf,
    /// Whether `repo_dir` was set, and thus is worth telling.
    pub(crate) names_repo: bool,
    /// `nixfleet-switch`, where it was set.
    pub(crate) switch: Option<PathBuf>,
    /// Where the journal is.
    pub(crate) state_dir: PathBuf,
    /// Certificates of authorities to trust beside the bundled ones.
    pub(crate) certificates: Vec<CertificateDer<'static>>,
    /// The dashboard's public key is one of these, if there are any.
    pub(crate) pinned_public_keys: Vec<PublicKeyPin>,
    /// What is logged, and how.
    pub(crate) log: LogSettings,
    /// Whether the dashboard is told how busy the host is.
    pub(crate) metrics: bool,
    /// What the dashboard shows of the host.
    pub(crate) location: Option<Text<50>>,
    /// The kind of device.
    pub(crate) device_type: DeviceType,
    /// The host's colour.
    pub(crate) theme_color: Option<ThemeColor>,
    /// How much it matters when the host is down.
    pub(crate) criticality: Option<Criticality>,
    /// What a switch is on this host.
    pub(crate) switching: SwitchSettings,
    /// The config file as it was read.
    pub(crate) config_path: Option<PathBuf>,
    /// Its digest at that time.
    pub(crate) config_digest: Option<String>,
    /// The definition of the job that this agent is, on disk, where it is known.
    pub(crate) definition: Option<PathBuf>,
    /// The home directory, where there is one.
    pub(crate) home: Option<PathBuf>,
    /// The variable that names a proxy to the dashboard, if one does. What it says is the HTTP library's to read.
    pub(crate) proxy_variable: Option<&'static str>,
    /// `PATH`, for finding `nixfleet-switch`.
    pub(crate) search_path: Option<String>,
    /// systemd's socket for `READY=1`.
    pub(crate) notify_socket: Option<PathBuf>,
    /// The time within which systemd wants to hear `WATCHDOG=1`, if it does.
    pub(crate) watchdog_period: Option<Duration>,
}

/// What is logged, and how.
#[derive(Debug, Clone)]
pub(crate) struct LogSettings {
    /// How much.
    pub(crate) level: Level,
    /// How a line looks.
    pub(crate) format: LogFormat,
    /// Whether a terminal may be written to in colours (<https://no-color.org>).
    pub(crate) may_colour: bool,
    /// What systemd says of the stream that leads to its journal.
    pub(crate) journal_stream: Option<String>,
}

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// As it is best read where it goes to.
    Auto,
    /// Text without colours, with the time.
    Plain,
    /// A JSON object.
    Json,
}

/// Why the settings make no sense. Each names the key, and where there is one, the value and its source.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    /// The config file.
    #[error(transparent)]
    ConfigFile(#[from] ConfigFileError),
    /// What a switch is on this host.
    #[error(transparent)]
    Switch(#[from] SwitchMistake),
    /// Something without a default was not set.
    #[error("{key} is not set; {remedy}")]
    Missing { key: &'static str, remedy: &'static str },
    /// A value that a field does not take.
    #[error("{key} = {value:?} ({origin}) cannot be used{advice}")]
    Field {
        key: &'static str,
        value: String,
        origin: Source,
        advice: String,
        #[source]
        source: FieldError,
    },
    /// A value that is not what it should be.
    #[error("{key} = {value:?} ({origin}) is not {expected}")]
    Value { key: &'static str, value: String, origin: Source, expected: &'static str },
    /// Plain http.
    #[error(
        "url = {url:?} ({origin}) would send the token unencrypted; use https://, or set allow_insecure_http = true in the config file, NIXFLEET_ALLOW_INSECURE_HTTP=true or --allow-insecure-http if you accept that"
    )]
    PlainHttp { url: String, origin: Source },
    /// The token in a variable is none. Its text stays out.
    #[error("token ({origin}) cannot be used")]
    Token {
        origin: Source,
        #[source]
        source: FieldError,
    },
    /// The token's file.
    #[error("token_file ({origin}) cannot be used")]
    TokenFile {
        origin: Source,
        #[source]
        source: TokenFileError,
    },
    /// A file and a command for the same.
    #[error("token_file and token_command ({origin}) are both set; keep one of them")]
    TwoTokens { origin: Source },
    /// The command for the token is none.
    #[error(
        "token_command ({origin}) does not name a program; give a list of words, the first one an absolute path or a name that PATH finds"
    )]
    TokenCommand { origin: Source },
    /// The file with certificates.
    #[error("ca_file = {path:?} ({origin}) does not hold certificates in PEM form")]
    Certificates {
        path: PathBuf,
        origin: Source,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// What was set, and what it comes to.
pub(crate) struct Outcome {
    pub(crate) merged: Option<Merged>,
    pub(crate) checked: Result<Settings, Vec<SettingsError>>,
}

/// What the settings are made of beside the files: to find out whether an agent would come up with the files as they are
/// by now.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    flags: Flags,
    environment: Environment,
}

impl Origin {
    pub(crate) const fn new(flags: Flags, environment: Environment) -> Self {
        Self { flags, environment }
    }

    /// The settings as they would be now.
    pub(crate) fn load(&self) -> Outcome {
        load(&self.flags, &self.environment)
    }

    /// Why an agent would not come up with the settings as they are now.
    pub(crate) fn flaw(&self) -> Option<String> {
        let errors = self.load().checked.err()?;
        let said: Vec<String> = errors.iter().map(|error| messages::with_causes(error)).collect();
        Some(said.join("; "))
    }
}

/// Reads, merges and checks everything.
fn load(flags: &Flags, environment: &Environment) -> Outcome {
    let loaded = match load_file(flags, environment) {
        Ok(loaded) => loaded,
        Err(error) => return Outcome { merged: None, checked: Err(vec![error.into()]) },
    };
    let merged = merged::merge(flags, environment, &loaded, &system_name());
    let checked = check::check(&merged, loaded, environment);
    Outcome { merged: Some(merged), checked }
}

fn load_file(flags: &Flags, environment: &Environment) -> Result<LoadedConfig, ConfigFileError> {
    let named = flags.config.clone().or_else(|| environment.path("NIXFLEET_CONFIG"));
    if let Some(path) = named {
        return config_file::load(&path);
    }
    let xdg = environment.path("XDG_CONFIG_HOME");
    config_file::load_default(&config_file::default_places(xdg.as_deref(), environment.home()))
}

/// What the system calls itself, up to the first dot.
fn system_name() -> String {
    let uname = rustix::system::uname();
    let name = uname.nodename().to_string_lossy();
    name.split('.').next().unwrap_or_default().to_owned()
}
