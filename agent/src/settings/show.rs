//! Saying what is set and by what, or what is wrong with it. Tokens are never shown.

use std::io::{self, Write as _};

use nixfleet_protocol::switch_settings::{MergedSwitch, Said};
use serde_json::{Value, json};

use super::{
    SettingsError,
    merged::{Merged, Source, Sourced, TokenSetting},
};
use crate::messages;

/// One setting as it is shown.
struct Line {
    key: &'static str,
    value: Value,
    source: Source,
}

/// Prints every setting with its source.
pub(crate) fn print(merged: &Merged, as_json: bool) -> io::Result<()> {
    let lines = lines(merged);
    let mut out = io::stdout().lock();
    if as_json {
        let settings: serde_json::Map<String, Value> = lines
            .into_iter()
            .map(|line| {
                let shown = json!({"value": line.value, "source": line.source.to_string()});
                (line.key.to_owned(), shown)
            })
            .collect();
        return writeln!(out, "{}", json!({"ok": true, "settings": settings}));
    }
    for line in lines {
        writeln!(out, "{} = {}  ({})", line.key, line.value, line.source)?;
    }
    writeln!(out, "The configuration is good.")
}

/// Prints every mistake: as JSON on standard output, else on standard error.
pub(crate) fn print_errors(errors: &[SettingsError], as_json: bool) -> io::Result<()> {
    if as_json {
        let errors = json!({"ok": false, "errors": said(errors)});
        return writeln!(io::stdout().lock(), "{errors}");
    }
    for error in errors {
        messages::fail(&format!("configuration: {}", messages::with_causes(error)));
    }
    Ok(())
}

/// Every mistake in words.
pub(crate) fn said(errors: &[SettingsError]) -> Vec<String> {
    errors.iter().map(|error| messages::with_causes(error)).collect()
}

/// Where the token comes from, and who says so, where one is set.
pub(crate) fn token_place(merged: &Merged) -> Option<(String, String)> {
    let line = lines(merged).into_iter().find(|line| line.key == "token")?;
    let place = line.value.as_str()?.trim_start_matches('(').trim_end_matches(", not shown)");
    Some((place.to_owned(), line.source.to_string()))
}

fn lines(merged: &Merged) -> Vec<Line> {
    let token = merged.token.as_ref().map(|set| Sourced {
        value: match &set.value {
            TokenSetting::Text(_) => "(set, not shown)".to_owned(),
            TokenSetting::File(path) => format!("(in {}, not shown)", path.display()),
            // Arguments may say where a secret is, and somebody's may be one.
            TokenSetting::Command(words) => {
                format!("(by {}, not shown)", words.first().map_or("", String::as_str))
            }
            TokenSetting::Both => "(named twice, not shown)".to_owned(),
        },
        source: set.source.clone(),
    });
    let path = |set: &Sourced<std::path::PathBuf>| Sourced {
        value: set.value.display().to_string(),
        source: set.source.clone(),
    };
    vec![
        optional("url", merged.url.as_ref()),
        optional("token", token.as_ref()),
        text("hostname", &merged.hostname),
        text("interval", &merged.interval),
        optional("repo_dir", merged.repo_dir.as_ref().map(path).as_ref()),
        optional("switch", merged.switch.as_ref().map(path).as_ref()),
        optional("state_dir", merged.state_dir.as_ref().map(path).as_ref()),
        text("allow_insecure_http", &merged.allow_insecure_http),
        optional("ca_file", merged.ca_file.as_ref().map(path).as_ref()),
        optional("pinned_public_key", merged.pinned_public_key.as_ref()),
        text("log_level", &merged.log_level),
        text("log_format", &merged.log_format),
        text("metrics", &merged.metrics),
        optional("location", merged.location.as_ref()),
        text("device_type", &merged.device_type),
        optional("theme_color", merged.theme_color.as_ref()),
        optional("criticality", merged.criticality.as_ref()),
    ]
    .into_iter()
    .chain(switching(&merged.switching))
    .collect()
}

/// The defaults of these depend on each other; where nothing is set, nothing is shown.
fn switching(merged: &MergedSwitch) -> Vec<Line> {
    let text =
        |key, said: &Option<Said<String>>| optional(key, said.as_ref().map(Sourced::from).as_ref());
    let words = |key, said: &Option<Said<Vec<String>>>| match said.as_ref().map(Sourced::from) {
        Some(set) => Line { key, value: json!(set.value), source: set.source },
        None => Line { key, value: Value::Null, source: Source::Default },
    };
    vec![
        text("switch_kind", &merged.kind),
        words("switch_command", &merged.command),
        words("switch_arguments", &merged.arguments),
        text("flake", &merged.flake),
        text("flake_attribute", &merged.flake_attribute),
        text("repo_url", &merged.repo_url),
        text("branch", &merged.branch),
        text("ssh_key_file", &merged.ssh_key_file),
        text("profile", &merged.profile),
        text("current_generation", &merged.current_generation),
    ]
}

fn text(key: &'static str, set: &Sourced<String>) -> Line {
    Line { key, value: json!(set.value), source: set.source.clone() }
}

fn optional(key: &'static str, set: Option<&Sourced<String>>) -> Line {
    set.map_or(Line { key, value: Value::Null, source: Source::Default }, |set| text(key, set))
}
