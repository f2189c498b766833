//! The definition of the watchdog's job: the same from one version to the next, since it names a stable path only.

use std::{
    collections::BTreeMap,
    env,
    path::{Path, PathBuf},
};

use nixfleet_protocol::{crash_point, switch_settings};
use serde::Serialize;

use crate::settings::{ServiceManager, Settings, UnitManager};

/// What of the installer's environment the watchdog needs too, where it is set: without it, it would look elsewhere.
const PASSED_ON: [&str; 11] = [
    "NIXFLEET_CONFIG",
    "NIXFLEET_STATE_DIR",
    "NIXFLEET_SERVICE_MANAGER",
    "NIXFLEET_AGENT_LABEL",
    "NIXFLEET_AGENT_PLIST",
    "NIXFLEET_WATCHDOG_LABEL",
    "NIXFLEET_LAUNCHCTL",
    "NIXFLEET_SYSTEMCTL",
    "NIXFLEET_SYSTEMD_RUN",
    "XDG_STATE_HOME",
    "XDG_CONFIG_HOME",
];

/// Why there is no definition.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DefinitionError {
    /// The plist cannot be written as text.
    #[error("cannot write the watchdog's definition as a plist")]
    Plist(#[source] plist::Error),
    /// A path or value that a unit file cannot hold.
    #[error("{value:?} cannot stand in a systemd unit; use another path")]
    Unit { value: String },
    /// systemd itself does its work.
    #[error(
        "the agent is a unit of the whole system (service_manager = systemd-system): systemd itself brings it back, so there is no watchdog to install; see to it that the unit has Restart=always and WatchdogSec=60"
    )]
    SystemUnit,
    /// Nobody could run it.
    #[error(
        "no service manager is in use (service_manager = none), so nothing can run the watchdog"
    )]
    NoServiceManager,
}

/// Where the definition belongs.
pub(super) fn place(settings: &Settings) -> Result<PathBuf, DefinitionError> {
    match settings.service_manager {
        ServiceManager::Launchd => Ok(settings.watchdog_plist.clone()),
        ServiceManager::Systemd(UnitManager::User) => {
            Ok(settings.units.join(&settings.watchdog_label))
        }
        ServiceManager::Systemd(UnitManager::System) => Err(DefinitionError::SystemUnit),
        ServiceManager::None => Err(DefinitionError::NoServiceManager),
    }
}

/// What the definition says.
pub(super) fn text(settings: &Settings, wrapper: &Path) -> Result<Vec<u8>, DefinitionError> {
    let environment = environment();
    match settings.service_manager {
        ServiceManager::Launchd => plist_text(&settings.watchdog_label, wrapper, environment),
        ServiceManager::Systemd(_) => unit_text(wrapper, &environment),
        ServiceManager::None => Err(DefinitionError::NoServiceManager),
    }
}

fn environment() -> BTreeMap<String, String> {
    let of_tests = cfg!(debug_assertions).then_some(crash_point::FOLDER_VARIABLE);
    PASSED_ON
        .into_iter()
        .chain(switch_settings::VARIABLES)
        .chain(of_tests)
        .filter_map(|name| Some((name.to_owned(), env::var(name).ok()?)))
        .filter(|(_, value)| !value.is_empty())
        .collect()
}

/// launchd.plist(5). No log files: one that cannot be opened keeps launchd from starting the job (78), and what the
/// watchdog has done is in the journal.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Job<'a> {
    label: &'a str,
    program_arguments: [String; 2],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    environment_variables: BTreeMap<String, String>,
    run_at_load: bool,
    keep_alive: bool,
    /// In either domain: where nobody is logged in at the screen, there is `user/UID`.
    limit_load_to_session_type: [&'static str; 2],
}

fn plist_text(
    label: &str,
    wrapper: &Path,
    environment_variables: BTreeMap<String, String>,
) -> Result<Vec<u8>, DefinitionError> {
    let job = Job {
        label,
        program_arguments: [wrapper.to_string_lossy().into_owned(), "watchdog".to_owned()],
        environment_variables,
        run_at_load: true,
        keep_alive: true,
        limit_load_to_session_type: ["Aqua", "Background"],
    };
    let mut text = Vec::new();
    plist::to_writer_xml(&mut text, &job).map_err(DefinitionError::Plist)?;
    text.push(b'\n');
    Ok(text)
}

/// systemd.service(5). The time without a sign of life is longer than having the agent looked after takes.
fn unit_text(
    wrapper: &Path,
    environment: &BTreeMap<String, String>,
) -> Result<Vec<u8>, DefinitionError> {
    let mut variables = String::new();
    for (name, value) in environment {
        variables = format!("{variables}Environment={}\n", quoted(&format!("{name}={value}"))?);
    }
    let wrapper = quoted(&wrapper.to_string_lossy())?;
    let text = format!(
        "[Unit]\n\
         Description=NixFleet watchdog: brings the agent back\n\
         \n\
         [Service]\n\
         Type=notify\n\
         ExecStart={wrapper} watchdog\n\
         {variables}\
         Restart=always\n\
         RestartSec=2\n\
         WatchdogSec=180\n\
         \n\
         [Install]\n\
         WantedBy=default.target\n"
    );
    Ok(text.into_bytes())
}

/// A word as systemd.syntax(7) takes it. `%` begins a specifier, `$` a variable.
fn quoted(word: &str) -> Result<String, DefinitionError> {
    if word.chars().any(char::is_control) {
        return Err(DefinitionError::Unit { value: word.to_owned() });
    }
    let mut quoted = String::from("\"");
    for character in word.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '%' | '$' => quoted.extend([character, character]),
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    Ok(quoted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plist_names_the_stable_path_and_nothing_that_changes() {
        let wrapper = Path::new("/Users/a&b/.local/state/nixfleet/bin/nixfleet-switch");
        let text = plist_text("com.nixfleet.watchdog", wrapper, BTreeMap::new()).unwrap();
        let plist: plist::Dictionary = plist::from_bytes(&text).unwrap();
        assert_eq!(plist["Label"].as_string(), Some("com.nixfleet.watchdog"));
        let arguments = plist["ProgramArguments"].as_array().unwrap();
        assert_eq!(arguments[0].as_string(), wrapper.to_str());
        assert_eq!(plist["KeepAlive"].as_boolean(), Some(true));
        assert!(!plist.contains_key("EnvironmentVariables"));
        assert!(!String::from_utf8(text).unwrap().contains(env!("CARGO_PKG_VERSION")));
    }

    #[test]
    fn words_of_a_unit_are_quoted() {
        for (word, expected) in [
            ("/a/b", "\"/a/b\""),
            ("/a b", "\"/a b\""),
            ("50%", "\"50%%\""),
            ("a\"b\\$c", "\"a\\\"b\\\\$$c\""),
        ] {
            assert_eq!(quoted(word).unwrap(), expected);
        }
        assert!(quoted("a\nExecStart=/bin/evil").is_err());
    }
}
