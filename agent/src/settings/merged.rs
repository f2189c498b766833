//! Flags over environment over config file over default: each value with its source, nothing checked yet.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use nixfleet_protocol::{
    config_file::{ConfigFile, LoadedConfig, OneOrMore},
    state_dir::StateDir,
    switch_settings::{MergedSwitch, Origin, Said},
};

use super::environment::Environment;
use crate::command_line::Flags;

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// A flag.
    Flag(&'static str),
    /// An environment variable.
    Environment(&'static str),
    /// The config file.
    File(PathBuf),
    /// Nobody said anything.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(formatter, "flag {flag}"),
            Self::Environment(variable) => write!(formatter, "environment variable {variable}"),
            Self::File(path) => write!(formatter, "config file {}", path.display()),
            Self::Default => formatter.write_str("default"),
        }
    }
}

/// A value and its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sourced<T> {
    pub(crate) value: T,
    pub(crate) source: Source,
}

impl<T: Clone> From<&Said<T>> for Sourced<T> {
    fn from(said: &Said<T>) -> Self {
        let source = match &said.origin {
            Origin::Variable(name) => Source::Environment(name),
            Origin::File(path) => Source::File(path.clone()),
        };
        Self { value: said.value.clone(), source }
    }
}

/// The token as it is set. The text is never shown.
#[derive(Clone)]
pub(crate) enum TokenSetting {
    Text(String),
    File(PathBuf),
    Command(Vec<String>),
    /// The config file names a file and a command.
    Both,
}

/// All settings with their sources. `None` where nobody said anything and there is no default.
pub(crate) struct Merged {
    pub(crate) url: Option<Sourced<String>>,
    pub(crate) token: Option<Sourced<TokenSetting>>,
    pub(crate) hostname: Sourced<String>,
    pub(crate) interval: Sourced<String>,
    pub(crate) repo_dir: Option<Sourced<PathBuf>>,
    pub(crate) switch: Option<Sourced<PathBuf>>,
    pub(crate) state_dir: Option<Sourced<PathBuf>>,
    pub(crate) allow_insecure_http: Sourced<String>,
    pub(crate) ca_file: Option<Sourced<PathBuf>>,
    pub(crate) pinned_public_key: Option<Sourced<String>>,
    pub(crate) log_level: Sourced<String>,
    pub(crate) log_format: Sourced<String>,
    pub(crate) metrics: Sourced<String>,
    pub(crate) location: Option<Sourced<String>>,
    pub(crate) device_type: Sourced<String>,
    pub(crate) theme_color: Option<Sourced<String>>,
    pub(crate) criticality: Option<Sourced<String>>,
    pub(crate) switching: MergedSwitch,
}

/// The sources, in the order in which they win.
struct Sources<'a> {
    environment: &'a Environment,
    file: &'a Path,
}

impl Sources<'_> {
    fn text(
        &self,
        flag: Option<(&'static str, Option<&String>)>,
        variable: Option<&'static str>,
        in_file: Option<String>,
    ) -> Option<Sourced<String>> {
        let by_flag = flag.and_then(|(name, value)| {
            value.map(|value| Sourced { value: value.clone(), source: Source::Flag(name) })
        });
        by_flag
            .or_else(|| {
                let variable = variable?;
                let value = self.environment.text(variable)?;
                Some(Sourced { value, source: Source::Environment(variable) })
            })
            .or_else(|| in_file.map(|value| self.in_file(value)))
    }

    fn path(
        &self,
        flag: (&'static str, Option<&PathBuf>),
        variable: &'static str,
        in_file: Option<&PathBuf>,
    ) -> Option<Sourced<PathBuf>> {
        let (name, value) = flag;
        value
            .map(|value| Sourced { value: value.clone(), source: Source::Flag(name) })
            .or_else(|| {
                let value = self.environment.path(variable)?;
                Some(Sourced { value, source: Source::Environment(variable) })
            })
            .or_else(|| in_file.map(|value| self.in_file(value.clone())))
    }

    fn in_file<T>(&self, value: T) -> Sourced<T> {
        Sourced { value, source: Source::File(self.file.to_owned()) }
    }
}

fn default<T>(value: T) -> Sourced<T> {
    Sourced { value, source: Source::Default }
}

/// Merges all sources. `system_name` is what the system calls itself, up to the first dot.
pub(crate) fn merge(
    flags: &Flags,
    environment: &Environment,
    loaded: &LoadedConfig,
    system_name: &str,
) -> Merged {
    let file = &loaded.file;
    let path = loaded.path.as_deref().unwrap_or_else(|| Path::new(""));
    let sources = Sources { environment, file: path };
    let only_in_file = |value: &Option<String>| sources.text(None, None, value.clone());
    Merged {
        url: sources.text(
            Some(("--url", flags.url.as_ref())),
            Some("NIXFLEET_URL"),
            file.url.clone(),
        ),
        token: token(&sources, flags, file),
        hostname: sources
            .text(
                Some(("--hostname", flags.hostname.as_ref())),
                Some("NIXFLEET_HOSTNAME"),
                file.hostname.clone(),
            )
            .unwrap_or_else(|| default(system_name.to_owned())),
        interval: sources
            .text(
                Some(("--interval", flags.interval.as_ref())),
                Some("NIXFLEET_INTERVAL"),
                file.interval.map(|seconds| seconds.to_string()),
            )
            .unwrap_or_else(|| default("30".to_owned())),
        repo_dir: sources
            .path(
                ("--repo-dir", flags.repo_dir.as_ref()),
                "NIXFLEET_REPO_DIR",
                file.repo_dir.as_ref(),
            )
            .or_else(|| environment.home().map(|home| default(home.to_owned()))),
        switch: sources.path(
            ("--switch", flags.switch.as_ref()),
            "NIXFLEET_SWITCH",
            file.switch.as_ref(),
        ),
        state_dir: sources
            .path(
                ("--state-dir", flags.state_dir.as_ref()),
                "NIXFLEET_STATE_DIR",
                file.state_dir.as_ref(),
            )
            .or_else(|| default_state_dir(environment)),
        allow_insecure_http: sources
            .text(
                Some(("--allow-insecure-http", flags.allow_insecure_http.as_ref())),
                Some("NIXFLEET_ALLOW_INSECURE_HTTP"),
                file.allow_insecure_http.map(|allowed| allowed.to_string()),
            )
            .unwrap_or_else(|| default("false".to_owned())),
        ca_file: sources.path(
            ("--ca-file", flags.ca_file.as_ref()),
            "NIXFLEET_CA_FILE",
            file.ca_file.as_ref(),
        ),
        pinned_public_key: sources.text(
            Some(("--pinned-public-key", flags.pinned_public_key.as_ref())),
            Some("NIXFLEET_PINNED_PUBKEY"),
            file.pinned_public_key.as_ref().map(|set| match set {
                OneOrMore::One(pin) => pin.clone(),
                OneOrMore::More(pins) => pins.join(";"),
            }),
        ),
        log_level: sources
            .text(
                Some(("--log-level", flags.log_level.as_ref())),
                Some("NIXFLEET_LOG_LEVEL"),
                file.log_level.clone(),
            )
            .unwrap_or_else(|| default("info".to_owned())),
        log_format: sources
            .text(
                Some(("--log-format", flags.log_format.as_ref())),
                Some("NIXFLEET_LOG_FORMAT"),
                file.log_format.clone(),
            )
            .unwrap_or_else(|| default("auto".to_owned())),
        metrics: sources
            .text(None, Some("NIXFLEET_METRICS"), file.metrics.map(|wanted| wanted.to_string()))
            .unwrap_or_else(|| default("true".to_owned())),
        location: only_in_file(&file.location),
        device_type: only_in_file(&file.device_type)
            .unwrap_or_else(|| default("server".to_owned())),
        theme_color: only_in_file(&file.theme_color),
        criticality: only_in_file(&file.criticality),
        switching: MergedSwitch::of(loaded, |name| environment.text(name)),
    }
}

fn default_state_dir(environment: &Environment) -> Option<Sourced<PathBuf>> {
    let xdg = environment.path("XDG_STATE_HOME");
    StateDir::default_path(xdg.as_deref(), environment.home()).ok().map(default)
}

/// The token, its file or its command. Within the environment the token itself is the most direct word.
fn token(sources: &Sources<'_>, flags: &Flags, file: &ConfigFile) -> Option<Sourced<TokenSetting>> {
    if let Some(path) = &flags.token_file {
        let source = Source::Flag("--token-file");
        return Some(Sourced { value: TokenSetting::File(path.clone()), source });
    }
    let environment = sources.environment;
    let text = environment.text("NIXFLEET_TOKEN").map(TokenSetting::Text);
    let path = environment.path("NIXFLEET_TOKEN_FILE").map(TokenSetting::File);
    let words = |text: String| text.split_whitespace().map(str::to_owned).collect();
    let command = environment.text("NIXFLEET_TOKEN_COMMAND").map(words).map(TokenSetting::Command);
    let by_variable = [
        ("NIXFLEET_TOKEN", text),
        ("NIXFLEET_TOKEN_FILE", path),
        ("NIXFLEET_TOKEN_COMMAND", command),
    ];
    let said = by_variable.into_iter().find_map(|(variable, value)| Some((variable, value?)));
    if let Some((variable, value)) = said {
        return Some(Sourced { value, source: Source::Environment(variable) });
    }
    let value = match (&file.token_file, &file.token_command) {
        (Some(_), Some(_)) => TokenSetting::Both,
        (Some(path), None) => TokenSetting::File(path.clone()),
        (None, Some(words)) => TokenSetting::Command(words.clone()),
        (None, None) => return None,
    };
    Some(sources.in_file(value))
}

#[cfg(test)]
mod tests {
    use nixfleet_protocol::config_file::ConfigFile;

    use super::*;

    fn loaded(file: ConfigFile) -> LoadedConfig {
        LoadedConfig { path: Some("/etc/n.toml".into()), digest: None, file }
    }

    #[test]
    fn flag_wins_over_environment_over_file_over_default() {
        let in_file = ConfigFile { interval: Some(3), ..ConfigFile::default() };
        let by_flag = Flags { interval: Some("1".to_owned()), ..Flags::default() };
        let in_environment = Environment::of(&[("NIXFLEET_INTERVAL", "2")]);
        let nowhere = Environment::of(&[("NIXFLEET_INTERVAL", "")]);
        for (flags, environment, file, value, source) in [
            (&by_flag, &in_environment, &in_file, "1", "flag --interval"),
            (
                &Flags::default(),
                &in_environment,
                &in_file,
                "2",
                "environment variable NIXFLEET_INTERVAL",
            ),
            (&Flags::default(), &nowhere, &in_file, "3", "config file /etc/n.toml"),
            (&Flags::default(), &nowhere, &ConfigFile::default(), "30", "default"),
        ] {
            let merged = merge(flags, environment, &loaded(file.clone()), "host");
            assert_eq!(merged.interval.value, value);
            assert_eq!(merged.interval.source.to_string(), source);
        }
    }

    #[test]
    fn the_token_comes_from_the_most_direct_place() {
        let in_file = ConfigFile { token_file: Some("/file".into()), ..ConfigFile::default() };
        let by_flag = Flags { token_file: Some("/flag".into()), ..Flags::default() };
        let both =
            Environment::of(&[("NIXFLEET_TOKEN", "t"), ("NIXFLEET_TOKEN_FILE", "/environment")]);
        let only_file = Environment::of(&[
            ("NIXFLEET_TOKEN_FILE", "/environment"),
            ("NIXFLEET_TOKEN_COMMAND", "show it"),
        ]);
        let only_command = Environment::of(&[("NIXFLEET_TOKEN_COMMAND", "show  it")]);
        let command = ConfigFile {
            token_command: Some(vec!["/bin/show".to_owned(), "my token".to_owned()]),
            ..ConfigFile::default()
        };
        let twice = ConfigFile { token_file: Some("/file".into()), ..command.clone() };
        let (none, nowhere) = (Flags::default(), Environment::default());
        for (flags, environment, file, expected) in [
            (&by_flag, &both, &in_file, "file /flag"),
            (&none, &both, &in_file, "text"),
            (&none, &only_file, &in_file, "file /environment"),
            (&none, &only_command, &in_file, "command show|it"),
            (&none, &nowhere, &in_file, "file /file"),
            (&none, &nowhere, &command, "command /bin/show|my token"),
            (&none, &nowhere, &twice, "both"),
            (&by_flag, &nowhere, &twice, "file /flag"),
        ] {
            let merged = merge(flags, environment, &loaded(file.clone()), "host");
            let found = match merged.token.unwrap().value {
                TokenSetting::Text(_) => "text".to_owned(),
                TokenSetting::File(path) => format!("file {}", path.display()),
                TokenSetting::Command(words) => format!("command {}", words.join("|")),
                TokenSetting::Both => "both".to_owned(),
            };
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn pinned_keys_are_one_text_wherever_they_stand() {
        let one = OneOrMore::One("a;b".to_owned());
        let more = OneOrMore::More(vec!["a".to_owned(), "b".to_owned()]);
        for pins in [one, more] {
            let file = ConfigFile { pinned_public_key: Some(pins), ..ConfigFile::default() };
            let merged = merge(&Flags::default(), &Environment::default(), &loaded(file), "host");
            assert_eq!(merged.pinned_public_key.unwrap().value, "a;b");
        }
    }
}
