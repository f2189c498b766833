//! The command line, the environment and the token files; checked once, at the start.

use std::{
    env, fs, io,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{ArgAction, Args, Parser, Subcommand, ValueHint};
use nixfleet_protocol::wire::{
    fields::{FieldError, Token},
    v2::LEASE_SECONDS,
};

use crate::auth::{TokenDigest, Tokens};

/// The permissions that a token file must not have.
const OTHERS: u32 = 0o077;

/// The largest token file, in bytes.
const MAX_TOKEN_FILE_BYTES: u64 = 8 * 1024;

/// The NixFleet dashboard: agents report to it, operators queue commands
#[derive(Debug, Parser)]
#[command(name = "nixfleet-dashboard", version, disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve agents and operators until SIGTERM or SIGINT
    Serve(Box<ServeOptions>),
    #[command(flatten)]
    Manual(nixfleet_manual::Verb),
}

/// The options of `serve`, as they were given.
#[derive(Debug, Args)]
pub(crate) struct ServeOptions {
    /// Address and port to listen on; port 0 takes a free one
    #[arg(
        long,
        env = "NIXFLEET_LISTEN",
        hide_env_values = true,
        value_name = "ADDRESS:PORT",
        default_value = "127.0.0.1:8000"
    )]
    listen: SocketAddr,
    /// The SQLite file; it is made if it is not there
    #[arg(long, env = "NIXFLEET_DATABASE", hide_env_values = true, value_name = "PATH", value_hint = ValueHint::FilePath)]
    database: PathBuf,
    /// File with the token that all agents share
    #[arg(long, env = "NIXFLEET_API_TOKEN_FILE", hide_env_values = true, value_name = "PATH", value_hint = ValueHint::FilePath)]
    agent_token_file: Option<PathBuf>,
    /// File with the operator's token
    #[arg(long, env = "NIXFLEET_OPERATOR_TOKEN_FILE", hide_env_values = true, value_name = "PATH", value_hint = ValueHint::FilePath)]
    operator_token_file: Option<PathBuf>,
    /// Whether the shared token is good at all. With `false` only hosts that already have a token of their own get in
    #[arg(long, env = "NIXFLEET_ALLOW_SHARED_AGENT_TOKEN", hide_env_values = true, default_value_t = true, value_name = "true|false", hide_possible_values = true, action = ArgAction::Set)]
    allow_shared_agent_token: bool,
    /// Whether a host gets a token of its own on its first call
    #[arg(long, env = "NIXFLEET_AUTO_PROVISION_AGENT_TOKENS", hide_env_values = true, default_value_t = true, value_name = "true|false", hide_possible_values = true, action = ArgAction::Set)]
    provision_agent_tokens: bool,
    /// Whether to limit how often each address may call each path
    #[arg(long, env = "NIXFLEET_RATE_LIMITS", hide_env_values = true, default_value_t = true, value_name = "true|false", hide_possible_values = true, action = ArgAction::Set)]
    rate_limits: bool,
    /// The most connections at the same time; every waiting agent has one
    #[arg(
        long,
        env = "NIXFLEET_MAX_CONNECTIONS",
        hide_env_values = true,
        default_value_t = 10_000,
        value_name = "NUMBER"
    )]
    max_connections: u32,
    /// How long a command stays with an agent that does not acknowledge it; tests make it short
    #[arg(long, env = "NIXFLEET_LEASE_SECONDS", default_value_t = LEASE_SECONDS, hide = true)]
    lease_seconds: u32,
}

/// What the dashboard runs with.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) listen: SocketAddr,
    pub(crate) database: PathBuf,
    pub(crate) tokens: Tokens,
    pub(crate) rate_limits: bool,
    pub(crate) max_connections: u32,
    pub(crate) lease: Duration,
}

/// Why the tokens cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    /// There is none.
    #[error(
        "there is no {} token: set {} or give {} (to make one: umask 077; openssl rand -hex 32 > FILE)",
        source_names.name, source_names.variable, source_names.flag
    )]
    Missing {
        /// Which token.
        source_names: &'static TokenSource,
    },
    /// Its file cannot be read.
    #[error("cannot read the token file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Its file is not a private one.
    #[error("others can use the token file {0} (mode {mode:03o}); run: chmod 600 {0}", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Its file is no token file.
    #[error("the token file {} is larger than {MAX_TOKEN_FILE_BYTES} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It is not a token.
    #[error("the {name} token cannot be used")]
    Malformed {
        /// Which token.
        name: &'static str,
        /// Why.
        #[source]
        source: FieldError,
    },
    /// Both are the same, so every agent would be an operator.
    #[error("the agent token and the operator token are the same; make two")]
    Same,
}

/// Where a token comes from.
#[derive(Debug)]
pub(crate) struct TokenSource {
    name: &'static str,
    variable: &'static str,
    flag: &'static str,
}

const AGENT: TokenSource =
    TokenSource { name: "agent", variable: "NIXFLEET_API_TOKEN", flag: "--agent-token-file" };
const OPERATOR: TokenSource = TokenSource {
    name: "operator",
    variable: "NIXFLEET_OPERATOR_TOKEN",
    flag: "--operator-token-file",
};

impl Settings {
    /// Reads the tokens and checks what can be checked before anything is opened.
    pub(crate) fn from_options(options: ServeOptions) -> Result<Self, SettingsError> {
        let agent = read_token(&AGENT, options.agent_token_file.as_deref())?;
        let operator = read_token(&OPERATOR, options.operator_token_file.as_deref())?;
        if agent.is(operator) {
            return Err(SettingsError::Same);
        }
        Ok(Self {
            listen: options.listen,
            database: options.database,
            tokens: Tokens {
                agent,
                operator,
                allow_shared: options.allow_shared_agent_token,
                provision: options.provision_agent_tokens,
            },
            rate_limits: options.rate_limits,
            max_connections: options.max_connections.max(1),
            lease: Duration::from_secs(u64::from(options.lease_seconds)),
        })
    }
}

/// The file, where one is named; else the variable.
fn read_token(
    source_names: &'static TokenSource,
    file: Option<&Path>,
) -> Result<TokenDigest, SettingsError> {
    let text = match file {
        Some(path) => read_private(path)?,
        None => {
            env::var(source_names.variable).map_err(|_| SettingsError::Missing { source_names })?
        }
    };
    if text.trim().is_empty() {
        return Err(SettingsError::Missing { source_names });
    }
    let token = Token::new(text.trim())
        .map_err(|source| SettingsError::Malformed { name: source_names.name, source })?;
    Ok(TokenDigest::of(token.reveal()))
}

fn read_private(path: &Path) -> Result<String, SettingsError> {
    let failed = |source| SettingsError::Read { path: path.to_owned(), source };
    let metadata = fs::metadata(path).map_err(failed)?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & OTHERS != 0 {
        return Err(SettingsError::Exposed { path: path.to_owned(), mode });
    }
    if metadata.len() > MAX_TOKEN_FILE_BYTES {
        return Err(SettingsError::TooLarge { path: path.to_owned() });
    }
    fs::read_to_string(path).map_err(failed)
}
