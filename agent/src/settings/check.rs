//! From merged values to [`Settings`]. All mistakes are found in one go, not one per attempt.

use std::{
    fs,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use nixfleet_protocol::{
    config_file::{ConfigFile, LoadedConfig},
    installed::{self, DEFAULT_LABEL},
    switch_settings::{Surroundings, SwitchMistake, SwitchSettings},
    wire::fields::{FieldError, HostId, PollInterval, Text, Token},
};
use reqwest::Url;
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use tracing::Level;

use super::{
    LogFormat, LogSettings, PublicKeyPin, Settings, SettingsError,
    environment::Environment,
    merged::{Merged, Source, Sourced, TokenSetting},
    token_file,
    token_source::TokenSource,
};

/// Checks all values; either they are all good, or every mistake is named.
pub(super) fn check(
    merged: &Merged,
    loaded: LoadedConfig,
    environment: &Environment,
) -> Result<Settings, Vec<SettingsError>> {
    let mut mistakes = Mistakes(Vec::new());
    let allow_insecure_http =
        mistakes.take(truth("allow_insecure_http", &merged.allow_insecure_http));
    let url = mistakes.take(url(merged.url.as_ref(), allow_insecure_http.unwrap_or(false)));
    let token = mistakes.take(token(merged.token.as_ref()));
    let hostname = mistakes.take(hostname(&merged.hostname));
    let interval = mistakes.take(interval(&merged.interval));
    let repo_dir = mistakes.take(repo_dir(merged.repo_dir.as_ref()));
    let switch = mistakes.take(absolute("switch", merged.switch.as_ref()));
    let state_dir = mistakes.take(state_dir(merged.state_dir.as_ref()));
    let certificates = mistakes.take(certificates(merged.ca_file.as_ref()));
    let pinned_public_keys = mistakes.take(pins(merged.pinned_public_key.as_ref(), url.as_ref()));
    let level = mistakes.take(log_level(&merged.log_level));
    let format = mistakes.take(log_format(&merged.log_format));
    let log = level.zip(format).map(|(level, format)| log(level, format, environment));
    let metrics = mistakes.take(truth("metrics", &merged.metrics));
    let location =
        mistakes.take(optional("location", merged.location.as_ref(), |text| Text::new(text)));
    let device_type = mistakes.take(field("device_type", &merged.device_type, parsed));
    let theme_color = mistakes.take(optional("theme_color", merged.theme_color.as_ref(), parsed));
    let criticality = mistakes.take(optional("criticality", merged.criticality.as_ref(), parsed));
    let switching = mistakes.take_switch(switching(merged, environment));

    let settings = (|| {
        Some(Settings {
            proxy_variable: proxy_variable(environment, url.as_ref()?),
            url: url?,
            token: token?,
            hostname: hostname?,
            interval: interval?,
            repo_dir: repo_dir?,
            names_repo: names_repo(merged),
            switch: switch?,
            state_dir: state_dir?,
            certificates: certificates?,
            pinned_public_keys: pinned_public_keys?,
            log: log?,
            metrics: metrics?,
            location: location?,
            device_type: device_type?,
            theme_color: theme_color?,
            criticality: criticality?,
            switching: switching?,
            definition: definition(&loaded.file, environment),
            config_path: loaded.path,
            config_digest: loaded.digest,
            home: environment.home().map(PathBuf::from),
            search_path: environment.text("PATH"),
            notify_socket: environment.path("NOTIFY_SOCKET"),
            watchdog_period: watchdog_period(environment, std::process::id()),
        })
    })();
    match settings {
        Some(settings) if mistakes.0.is_empty() => Ok(settings),
        Some(_) | None => Err(mistakes.0),
    }
}

/// A value, or what is wrong with it.
type Checked<T> = Result<T, Box<SettingsError>>;

/// Collects what is wrong.
struct Mistakes(Vec<SettingsError>);

impl Mistakes {
    fn take<T>(&mut self, checked: Checked<T>) -> Option<T> {
        checked.map_err(|error| self.0.push(*error)).ok()
    }

    fn take_switch(
        &mut self,
        checked: Result<SwitchSettings, Vec<SwitchMistake>>,
    ) -> Option<SwitchSettings> {
        let collect = |mistakes: Vec<SwitchMistake>| {
            self.0.extend(mistakes.into_iter().map(SettingsError::from));
        };
        checked.map_err(collect).ok()
    }
}

fn switching(
    merged: &Merged,
    environment: &Environment,
) -> Result<SwitchSettings, Vec<SwitchMistake>> {
    let xdg_state_home = environment.path("XDG_STATE_HOME");
    let user = environment.text("USER").or_else(|| environment.text("LOGNAME"));
    merged.switching.check(Surroundings {
        // Without one, that is the mistake which is said.
        state_dir: merged.state_dir.as_ref().map_or(Path::new(""), |set| &set.value),
        xdg_state_home: xdg_state_home.as_deref(),
        home: environment.home().unwrap_or(Path::new("")),
        user: user.as_deref(),
    })
}

/// launchd tells a job its label. Whoever starts an agent by hand may have another's label in the environment: that agent
/// is no job, whatever the config says of one.
fn definition(file: &ConfigFile, environment: &Environment) -> Option<PathBuf> {
    let label = environment.text("XPC_SERVICE_NAME")?;
    let ours = environment
        .text("NIXFLEET_AGENT_LABEL")
        .or_else(|| file.agent_label.clone())
        .unwrap_or_else(|| DEFAULT_LABEL.to_owned());
    let at_its_place = || Some(installed::launch_agent(environment.home()?, &label));
    let set = environment.path("NIXFLEET_AGENT_PLIST").or_else(|| file.agent_plist.clone());
    (label == ours).then(|| set.or_else(at_its_place)).flatten()
}

/// What systemd says to a service that it watches (sd_watchdog_enabled(3)). A pid beside it says whom it means: one that
/// is not ours came from a process before us.
fn watchdog_period(environment: &Environment, own_pid: u32) -> Option<Duration> {
    let is_for_us = environment.text("WATCHDOG_PID").is_none_or(|pid| pid.parse() == Ok(own_pid));
    let period = environment.text("WATCHDOG_USEC").filter(|_| is_for_us)?.parse().ok()?;
    Some(Duration::from_micros(period)).filter(|period| !period.is_zero())
}

/// In the order in which they count.
fn proxy_variable(environment: &Environment, url: &Url) -> Option<&'static str> {
    let own = match url.scheme() {
        "https" => ["HTTPS_PROXY", "https_proxy"],
        _ => ["HTTP_PROXY", "http_proxy"],
    };
    let variables = own.into_iter().chain(["ALL_PROXY", "all_proxy"]);
    variables.into_iter().find(|variable| environment.text(variable).is_some())
}

fn names_repo(merged: &Merged) -> bool {
    merged.repo_dir.as_ref().is_some_and(|set| set.source != Source::Default)
}

fn field<T>(
    key: &'static str,
    set: &Sourced<String>,
    make: impl FnOnce(&str) -> Result<T, FieldError>,
) -> Checked<T> {
    make(&set.value).map_err(|source| {
        let (value, origin) = (set.value.clone(), set.source.clone());
        Box::new(SettingsError::Field { key, value, origin, advice: String::new(), source })
    })
}

fn optional<T>(
    key: &'static str,
    set: Option<&Sourced<String>>,
    make: impl FnOnce(&str) -> Result<T, FieldError>,
) -> Checked<Option<T>> {
    set.map(|set| field(key, set, make)).transpose()
}

fn parsed<T: FromStr<Err = FieldError>>(text: &str) -> Result<T, FieldError> {
    T::from_str(text)
}

fn wrong<T>(key: &'static str, set: &Sourced<String>, expected: &'static str) -> Checked<T> {
    let (value, origin) = (set.value.clone(), set.source.clone());
    Err(Box::new(SettingsError::Value { key, value, origin, expected }))
}

fn truth(key: &'static str, set: &Sourced<String>) -> Checked<bool> {
    match set.value.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" => Ok(true),
        "false" | "0" | "no" => Ok(false),
        _ => wrong(key, set, "`true`, `1`, `yes`, `false`, `0` or `no`"),
    }
}

fn url(set: Option<&Sourced<String>>, allow_plain: bool) -> Checked<Url> {
    const EXPECTED: &str = "a dashboard's address such as `https://fleet.example.org`";
    const WITHOUT_PASSWORD: &str =
        "an address without user name and password: the token is what identifies the host";
    let set = set.ok_or(SettingsError::Missing {
        key: "url",
        remedy: "give the dashboard's address with --url, NIXFLEET_URL or `url` in the config file",
    })?;
    let Ok(mut url) = Url::parse(&set.value) else { return wrong("url", set, EXPECTED) };
    if !url.username().is_empty() || url.password().is_some() {
        // The value may hold a password, so it is not repeated.
        let hidden = Sourced { value: "(not shown)".to_owned(), source: set.source.clone() };
        return wrong("url", &hidden, WITHOUT_PASSWORD);
    }
    let is_whole = url.has_host() && url.query().is_none() && url.fragment().is_none();
    match (url.scheme(), is_whole) {
        ("https", true) => {}
        ("http", true) if allow_plain => {}
        ("http", true) => {
            let (url, origin) = (set.value.clone(), set.source.clone());
            return Err(Box::new(SettingsError::PlainHttp { url, origin }));
        }
        _ => return wrong("url", set, EXPECTED),
    }
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Ok(url)
}

fn token(set: Option<&Sourced<TokenSetting>>) -> Checked<TokenSource> {
    let set = set.ok_or(SettingsError::Missing {
        key: "token_file",
        remedy: "name the file that holds the dashboard's token with --token-file, NIXFLEET_TOKEN_FILE or `token_file` in the config file, name a command that prints it with NIXFLEET_TOKEN_COMMAND or `token_command`, or put the token into NIXFLEET_TOKEN",
    })?;
    let origin = set.source.clone();
    match &set.value {
        TokenSetting::Text(text) => Token::new(text.trim())
            .map(TokenSource::Given)
            .map_err(|source| SettingsError::Token { origin, source }.into()),
        TokenSetting::File(path) => token_file::read(path)
            .map(|(token, version)| TokenSource::File { path: path.clone(), token, version })
            .map_err(|source| SettingsError::TokenFile { origin, source }.into()),
        TokenSetting::Command(words) if names_program(words) => {
            Ok(TokenSource::Command(words.clone()))
        }
        TokenSetting::Command(_) => Err(SettingsError::TokenCommand { origin }.into()),
        TokenSetting::Both => Err(SettingsError::TwoTokens { origin }.into()),
    }
}

/// Whether the first word is an absolute path, or a name to be found by `PATH`. Anything else depends on where the agent runs.
fn names_program(words: &[String]) -> bool {
    words
        .first()
        .is_some_and(|word| !word.is_empty() && (word.starts_with('/') || !word.contains('/')))
}

fn pins(set: Option<&Sourced<String>>, url: Option<&Url>) -> Checked<Vec<PublicKeyPin>> {
    const EXPECTED: &str = "a public key as curl's --pinnedpubkey takes it, `sha256//` and 44 characters of Base64, or several with `;` between them";
    const NO_KEY: &str =
        "of any use: over plain http nobody shows a key; use https:// or remove it";
    let Some(set) = set else { return Ok(Vec::new()) };
    if url.is_some_and(|url| url.scheme() == "http") {
        return wrong("pinned_public_key", set, NO_KEY);
    }
    PublicKeyPin::list(&set.value).map_or_else(|| wrong("pinned_public_key", set, EXPECTED), Ok)
}

fn hostname(set: &Sourced<String>) -> Checked<HostId> {
    set.value.parse().map_err(|source| {
        let advice = suggestion(&set.value).map(|name| {
            format!(
                "; set --hostname, NIXFLEET_HOSTNAME or `hostname` in the config file, for example to {:?}",
                name.as_str()
            )
        });
        Box::new(SettingsError::Field {
            key: "hostname",
            value: set.value.clone(),
            origin: set.source.clone(),
            advice: advice.unwrap_or_default(),
            source,
        })
    })
}

/// A name like this one that every dashboard takes.
fn suggestion(name: &str) -> Option<HostId> {
    let slug: String = name
        .split('.')
        .next()
        .unwrap_or_default()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
        .collect();
    let slug = slug.trim_matches('-');
    let starts_well = slug.starts_with(|c: char| c.is_ascii_alphabetic());
    let whole = if starts_well { slug.to_owned() } else { format!("host-{slug}") };
    let short: String = whole.chars().take(63).collect();
    short.trim_end_matches('-').parse().ok()
}

fn interval(set: &Sourced<String>) -> Checked<PollInterval> {
    const EXPECTED: &str = "a number of seconds from 1 to 3600";
    let seconds = set.value.parse().ok();
    let interval = seconds.and_then(|seconds| PollInterval::from_seconds(seconds).ok());
    interval.map_or_else(|| wrong("interval", set, EXPECTED), Ok)
}

fn log_level(set: &Sourced<String>) -> Checked<Level> {
    match set.value.to_ascii_lowercase().as_str() {
        "error" => Ok(Level::ERROR),
        "warn" => Ok(Level::WARN),
        "info" => Ok(Level::INFO),
        "debug" => Ok(Level::DEBUG),
        "trace" => Ok(Level::TRACE),
        _ => wrong("log_level", set, "`error`, `warn`, `info`, `debug` or `trace`"),
    }
}

fn log_format(set: &Sourced<String>) -> Checked<LogFormat> {
    match set.value.to_ascii_lowercase().as_str() {
        "auto" => Ok(LogFormat::Auto),
        "plain" => Ok(LogFormat::Plain),
        "json" => Ok(LogFormat::Json),
        _ => wrong("log_format", set, "`auto`, `plain` or `json`"),
    }
}

fn log(level: Level, format: LogFormat, environment: &Environment) -> LogSettings {
    let is_dumb = environment.text("TERM").is_some_and(|terminal| terminal == "dumb");
    LogSettings {
        level,
        format,
        may_colour: environment.text("NO_COLOR").is_none() && !is_dumb,
        journal_stream: environment.text("JOURNAL_STREAM"),
    }
}

fn absolute(key: &'static str, set: Option<&Sourced<PathBuf>>) -> Checked<Option<PathBuf>> {
    match set {
        Some(set) if set.value.is_absolute() => Ok(Some(set.value.clone())),
        Some(set) => {
            let shown =
                Sourced { value: set.value.display().to_string(), source: set.source.clone() };
            wrong(key, &shown, "an absolute path; give one that begins with `/`")
        }
        None => Ok(None),
    }
}

fn repo_dir(set: Option<&Sourced<PathBuf>>) -> Checked<PathBuf> {
    let missing = SettingsError::Missing {
        key: "repo_dir",
        remedy: "HOME is not set either; give one of the two",
    };
    Ok(absolute("repo_dir", set)?.ok_or(missing)?)
}

fn state_dir(set: Option<&Sourced<PathBuf>>) -> Checked<PathBuf> {
    let missing = SettingsError::Missing {
        key: "state_dir",
        remedy: "neither XDG_STATE_HOME nor HOME is set; give one of the three",
    };
    Ok(absolute("state_dir", set)?.ok_or(missing)?)
}

fn certificates(set: Option<&Sourced<PathBuf>>) -> Checked<Vec<CertificateDer<'static>>> {
    let Some(set) = set else { return Ok(Vec::new()) };
    let failed = |source| {
        let (path, origin) = (set.value.clone(), set.source.clone());
        Box::new(SettingsError::Certificates { path, origin, source })
    };
    let pem = fs::read(&set.value).map_err(|error| failed(error.into()))?;
    let found = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| failed(error.into()))?;
    for certificate in &found {
        webpki::anchor_from_trusted_cert(certificate).map_err(|error| failed(error.into()))?;
    }
    if found.is_empty() {
        return Err(failed("there is no certificate in it".into()));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(value: &str) -> Sourced<String> {
        Sourced { value: value.to_owned(), source: Source::Default }
    }

    #[test]
    fn systemd_s_watchdog_counts_if_it_means_this_process() {
        for (variables, expected) in [
            (&[("WATCHDOG_USEC", "10000000")][..], Some(10)),
            (&[("WATCHDOG_USEC", "10000000"), ("WATCHDOG_PID", "7")], Some(10)),
            (&[("WATCHDOG_USEC", "10000000"), ("WATCHDOG_PID", "8")], None),
            (&[("WATCHDOG_USEC", "10000000"), ("WATCHDOG_PID", "x")], None),
            (&[("WATCHDOG_PID", "7")], None),
            (&[("WATCHDOG_USEC", "0")], None),
            (&[("WATCHDOG_USEC", "-1")], None),
            (&[], None),
        ] {
            let period = watchdog_period(&Environment::of(variables), 7);
            assert_eq!(period, expected.map(Duration::from_secs), "{variables:?}");
        }
    }

    #[test]
    fn addresses_are_checked() {
        for (text, plain, expected) in [
            ("https://fleet.example.org", false, Ok("https://fleet.example.org/")),
            ("https://fleet.example.org/base/", false, Ok("https://fleet.example.org/base/")),
            ("https://fleet.example.org/base", false, Ok("https://fleet.example.org/base/")),
            ("http://localhost:8000", true, Ok("http://localhost:8000/")),
            ("http://localhost:8000", false, Err("unencrypted")),
            ("fleet.example.org", false, Err("https://")),
            ("ftp://fleet.example.org", true, Err("https://")),
            ("https://fleet.example.org/?a=b", false, Err("https://")),
            ("https://me:secret@fleet.example.org", false, Err("user name")),
        ] {
            let checked = url(Some(&set(text)), plain);
            match expected {
                Ok(whole) => assert_eq!(checked.unwrap().as_str(), whole),
                Err(part) => {
                    let refusal = checked.unwrap_err().to_string();
                    assert!(refusal.contains(part) && !refusal.contains("secret"), "{refusal}");
                }
            }
        }
    }

    #[test]
    fn a_name_that_no_dashboard_takes_gets_a_suggestion() {
        for (name, expected) in [
            ("mac.local", "mac"),
            ("Anna's MacBook", "anna-s-macbook"),
            ("2nd_mac", "host-2nd-mac"),
            ("mäc", "m-c"),
            ("...", "host"),
            (&"x".repeat(80), &"x".repeat(63)),
        ] {
            assert_eq!(suggestion(name).unwrap().as_str(), expected, "{name:?}");
            let refusal = hostname(&set(name)).unwrap_err().to_string();
            assert!(refusal.contains(expected), "{refusal}");
        }
    }

    #[test]
    fn truths_and_intervals_have_their_spellings() {
        for (text, expected) in [("true", Some(true)), ("YES", Some(true)), ("1", Some(true))] {
            assert_eq!(truth("key", &set(text)).ok(), expected, "{text}");
        }
        for (text, expected) in [("no", Some(false)), ("0", Some(false)), ("maybe", None)] {
            assert_eq!(truth("key", &set(text)).ok(), expected, "{text}");
        }
        for (text, taken) in [("30", true), ("0", false), ("3601", false), ("30s", false)] {
            assert_eq!(interval(&set(text)).is_ok(), taken, "{text}");
        }
    }
}
