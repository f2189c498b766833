//! The command line. A flag is only read here; what it means is decided in [`crate::settings`].

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueHint};

/// The NixFleet agent: polls the dashboard, starts switches, reports how they ended.
#[derive(Debug, Parser)]
#[command(name = "nixfleet-agent", version, disable_help_subcommand = true)]
pub(crate) struct CommandLine {
    #[command(flatten)]
    pub(crate) flags: Flags,
    #[command(subcommand)]
    pub(crate) verb: Option<Verb>,
}

/// What to do.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Verb {
    /// Run the agent (the default)
    Run,
    /// Check the configuration, say each setting with its source, and exit
    CheckConfig {
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Say how the agent is, what it is at, and what needs attention
    Status {
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Have the running agent send a heartbeat and all that waits, at once
    ReportNow,
    #[command(flatten)]
    Manual(nixfleet_manual::Verb),
}

/// The settings that have a flag.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Settings")]
pub(crate) struct Flags {
    /// The config file [default: ~/.config/nixfleet/config.toml, else /etc/nixfleet/config.toml, if it exists]
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,

    /// The dashboard, such as https://fleet.example.org
    #[arg(long, global = true, value_name = "URL", value_hint = ValueHint::Url)]
    pub(crate) url: Option<String>,

    /// The file with the dashboard's token; only its owner may read it
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) token_file: Option<PathBuf>,

    /// The host's name at the dashboard [default: the system's, up to the first dot]
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) hostname: Option<String>,

    /// Seconds between two heartbeats [default: 30]
    #[arg(long, global = true, value_name = "SECONDS")]
    pub(crate) interval: Option<String>,

    /// Where home-manager runs [default: the home directory]
    #[arg(long, global = true, value_name = "DIRECTORY", value_hint = ValueHint::DirPath)]
    pub(crate) repo_dir: Option<PathBuf>,

    /// nixfleet-switch [default: ~/.local/state/nixfleet/bin, beside this program, PATH]
    #[arg(long, global = true, value_name = "PROGRAM", value_hint = ValueHint::ExecutablePath)]
    pub(crate) switch: Option<PathBuf>,

    /// Where the agent keeps its journal [default: ~/.local/state/nixfleet]
    #[arg(long, global = true, value_name = "DIRECTORY", value_hint = ValueHint::DirPath)]
    pub(crate) state_dir: Option<PathBuf>,

    /// Send the token over plain http too
    #[arg(long, global = true, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) allow_insecure_http: Option<String>,

    /// Certificates (PEM) to trust beside the bundled ones
    #[arg(long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) ca_file: Option<PathBuf>,

    /// The dashboard's public key, as curl takes it: sha256//BASE64, several parted by `;`
    #[arg(long, global = true, value_name = "PIN")]
    pub(crate) pinned_public_key: Option<String>,

    /// error, warn, info, debug or trace [default: info]
    #[arg(long, global = true, value_name = "LEVEL")]
    pub(crate) log_level: Option<String>,

    /// auto, plain or json; auto is plain but for colours in a terminal [default: auto]
    #[arg(long, global = true, value_name = "FORMAT")]
    pub(crate) log_format: Option<String>,
}
