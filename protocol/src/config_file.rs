//! The TOML file that agent and `nixfleet-switch` share, as it stands on disk.
//!
//! Every key may be absent. Each program merges what concerns it with the environment and its flags, and checks the
//! outcome; nothing is checked here beyond the types. A key that nobody knows is an error: it is a spelling mistake.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::digest;

/// A file that is larger is not ours.
const MAX_CONFIG_BYTES: u64 = 1024 * 1024;

/// Everything the file may say.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConfigFile {
    /// `NIXFLEET_STATE_DIR`.
    pub state_dir: Option<PathBuf>,
    /// `NIXFLEET_SERVICE_MANAGER`: `launchd`, `systemd` (the user's own manager), `systemd-system` (the agent is a unit of the
    /// whole system) or `none`.
    pub service_manager: Option<String>,
    /// `NIXFLEET_AGENT_LABEL`: the launchd label or the systemd unit.
    pub agent_label: Option<String>,
    /// `NIXFLEET_WATCHDOG_LABEL`: the launchd label or the systemd unit of the watchdog.
    pub watchdog_label: Option<String>,
    /// `NIXFLEET_AGENT_PLIST`.
    pub agent_plist: Option<PathBuf>,
    /// `NIXFLEET_SWITCH`: the wrapper's path.
    pub switch: Option<PathBuf>,
    /// `NIXFLEET_URL`.
    pub url: Option<String>,
    /// `NIXFLEET_TOKEN_FILE`: the file with the token that the operator gave, for its owner alone (mode 0600). It is read
    /// again when it changes.
    pub token_file: Option<PathBuf>,
    /// `NIXFLEET_TOKEN_COMMAND` (there, words are what is between spaces): in the place of `token_file`, a command, by its
    /// absolute path or found by `PATH`, that prints the token within 30 s. No shell runs it. It is run when the token is first
    /// needed, and again when the dashboard does not take it, at most once a minute.
    pub token_command: Option<Vec<String>>,
    /// `NIXFLEET_HOSTNAME`.
    pub hostname: Option<String>,
    /// `NIXFLEET_INTERVAL`, in seconds.
    pub interval: Option<u32>,
    /// `NIXFLEET_REPO_DIR`: the folder in which a switch runs that the dashboard asks for.
    pub repo_dir: Option<PathBuf>,
    /// `NIXFLEET_ALLOW_INSECURE_HTTP`.
    pub allow_insecure_http: Option<bool>,
    /// `NIXFLEET_CA_FILE`: certificates (PEM) of authorities to trust beside Mozilla's, which are built in.
    pub ca_file: Option<PathBuf>,
    /// `NIXFLEET_PINNED_PUBKEY`: the dashboard's public key, `sha256//` and the SHA-256 of its SubjectPublicKeyInfo in Base64, as
    /// curl's `--pinnedpubkey` takes it; several, of which any one will do, as a list or parted by `;`. Name and certificate
    /// are verified all the same.
    pub pinned_public_key: Option<OneOrMore>,
    /// `NIXFLEET_LOG_LEVEL`.
    pub log_level: Option<String>,
    /// `NIXFLEET_LOG_FORMAT`: `auto` (the default: coloured in a terminal, without times in systemd's journal, plain elsewhere),
    /// `plain`, or `json` with an object on each line.
    pub log_format: Option<String>,
    /// `NIXFLEET_METRICS`: whether the dashboard is told how busy the host is; it is, if nothing is said.
    pub metrics: Option<bool>,
    /// What the dashboard shows of the host.
    pub location: Option<String>,
    /// The kind of device.
    pub device_type: Option<String>,
    /// The host's colour.
    pub theme_color: Option<String>,
    /// How much it matters when the host is down.
    pub criticality: Option<String>,
    /// `NIXFLEET_SWITCH_KIND`: what a switch runs, `home-manager` (the default), `nixos-rebuild`, `darwin-rebuild` or `command`.
    /// The middle two need root and are run by sudo where this is not root.
    pub switch_kind: Option<String>,
    /// `NIXFLEET_SWITCH_COMMAND` (there, words are what is between spaces): the whole command of kind `command`, which has no
    /// other and adds nothing to it but what a user types. It brings its own sudo.
    pub switch_command: Option<Vec<String>>,
    /// What follows `switch`, and the flake, when the dashboard asks for one or a user types nothing.
    pub switch_arguments: Option<Vec<String>>,
    /// `NIXFLEET_FLAKE`: an absolute path or a flake reference, for `--flake`. If it is not set and `repo_url` is, the
    /// checkout in the state directory.
    pub flake: Option<String>,
    /// `NIXFLEET_FLAKE_ATTRIBUTE`: what follows `#` in it, `user@host` for home-manager and the host's name for the others.
    pub flake_attribute: Option<String>,
    /// `NIXFLEET_REPO_URL`: the repository of which `repo` in the state directory is a clone; the first switch makes it, `pull`
    /// brings it up to date. No password is in it.
    pub repo_url: Option<String>,
    /// `NIXFLEET_BRANCH`: its branch, `main` if nothing is said.
    pub branch: Option<String>,
    /// `NIXFLEET_SSH_KEY`: the private key for it, an absolute path.
    pub ssh_key_file: Option<PathBuf>,
    /// `NIXFLEET_PROFILE`: the link to the generation that is set. The kind knows where; kind `command` knows of none.
    pub profile: Option<PathBuf>,
    /// `NIXFLEET_CURRENT_GENERATION`: the link to the generation that is activated, as above.
    pub current_generation: Option<PathBuf>,
    /// `NIXFLEET_SWITCH_TIMEOUT`, such as `60min`.
    pub switch_timeout: Option<String>,
    /// `NIXFLEET_HOME_MANAGER`.
    pub home_manager: Option<PathBuf>,
    /// `NIXFLEET_NIXOS_REBUILD`; found by `PATH` if nothing is said, as home-manager is.
    pub nixos_rebuild: Option<PathBuf>,
    /// `NIXFLEET_DARWIN_REBUILD`, likewise.
    pub darwin_rebuild: Option<PathBuf>,
    /// `NIXFLEET_SUDO`, likewise.
    pub sudo: Option<PathBuf>,
    /// `NIXFLEET_LAUNCHCTL`.
    pub launchctl: Option<PathBuf>,
    /// `NIXFLEET_SYSTEMCTL`.
    pub systemctl: Option<PathBuf>,
    /// `NIXFLEET_SYSTEMD_RUN`.
    pub systemd_run: Option<PathBuf>,
    /// `NIXFLEET_CAFFEINATE`.
    pub caffeinate: Option<PathBuf>,
    /// Variables for a switch beside those that are found out. sudo passes on only what it is told to.
    pub environment: Option<BTreeMap<String, String>>,
}

/// A text, or a list of them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "a string or a list of strings")]
pub enum OneOrMore {
    /// One.
    One(String),
    /// Any number.
    More(Vec<String>),
}

/// A config file, read.
#[derive(Debug, Clone, PartialEq)]
pub struct LoadedConfig {
    /// Where it stands; `None` if there is none at the default place.
    pub path: Option<PathBuf>,
    /// The SHA-256 of its bytes, in hexadecimal.
    pub digest: Option<String>,
    /// What it says.
    pub file: ConfigFile,
}

/// Why the config file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigFileError {
    /// It cannot be read.
    #[error("cannot read config file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the file system said.
        #[source]
        source: io::Error,
    },
    /// It is not what it should be.
    #[error("config file {} does not make sense", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why, with the line.
        #[source]
        source: Box<toml::de::Error>,
    },
}

/// The config of the whole system, where its administrator has written one: so that a user of the system's agent who types
/// `nixfleet-switch` takes the same lock and journal as the agent.
const SYSTEM_PATH: &str = "/etc/nixfleet/config.toml";

/// Where the config file may be when nothing says otherwise, the place to look at first in front:
/// `$XDG_CONFIG_HOME/nixfleet/config.toml`, else `~/.config/nixfleet/config.toml`; then `/etc/nixfleet/config.toml`.
pub fn default_places(xdg_config_home: Option<&Path>, home: Option<&Path>) -> Vec<PathBuf> {
    let xdg = xdg_config_home.filter(|path| path.is_absolute()).map(Path::to_owned);
    let in_home = home.filter(|path| path.is_absolute()).map(|home| home.join(".config"));
    let own = xdg.or(in_home).map(|base| base.join("nixfleet/config.toml"));
    own.into_iter().chain([PathBuf::from(SYSTEM_PATH)]).collect()
}

/// Reads a file that somebody named: it must be there.
pub fn load(path: &Path) -> Result<LoadedConfig, ConfigFileError> {
    let failed = |source| ConfigFileError::Read { path: path.to_owned(), source };
    let size = fs::metadata(path).map_err(failed)?.len();
    if size > MAX_CONFIG_BYTES {
        return Err(failed(io::Error::other(format!(
            "it has {size} bytes, too many for a config"
        ))));
    }
    let text = fs::read_to_string(path).map_err(failed)?;
    let file = toml::from_str(&text).map_err(|source| ConfigFileError::Parse {
        path: path.to_owned(),
        source: Box::new(source),
    })?;
    Ok(LoadedConfig {
        path: Some(path.to_owned()),
        digest: Some(digest::of(text.as_bytes())),
        file,
    })
}

/// Reads the first of these files that is there, or none. One that is there and makes no sense is an error: the next would be
/// about something else.
pub fn load_default(places: &[PathBuf]) -> Result<LoadedConfig, ConfigFileError> {
    match places.iter().find(|path| path.exists()) {
        Some(path) => load(path),
        None => Ok(LoadedConfig { path: None, digest: None, file: ConfigFile::default() }),
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn the_default_places_follow_the_environment() {
        for (xdg, home, expected) in [
            (Some("/x"), Some("/h"), Some("/x/nixfleet/config.toml")),
            (Some("x"), Some("/h"), Some("/h/.config/nixfleet/config.toml")),
            (None, None, None),
        ] {
            let places = default_places(xdg.map(Path::new), home.map(Path::new));
            let expected = expected.into_iter().chain([SYSTEM_PATH]).map(PathBuf::from);
            assert_eq!(places, expected.collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_mistake_is_named_with_its_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.toml");
        for (text, expected) in [
            ("url = \"https://x\"\nintervall = 30\n", "intervall"),
            ("url = 5\n", "url"),
            ("url = ", "line 1"),
        ] {
            fs::write(&path, text).unwrap();
            let error = load(&path).unwrap_err();
            assert!(error.to_string().contains("config.toml"), "{error}");
            let source = error.source().unwrap().to_string();
            assert!(source.contains(expected) && source.contains("line"), "{source}");
        }
    }

    #[test]
    fn absent_is_fine_only_at_the_default_place() {
        let path = Path::new("/nonexistent/config.toml");
        assert!(load(path).is_err());
        assert_eq!(load_default(&[path.to_owned()]).unwrap().file, ConfigFile::default());
        assert_eq!(load_default(&[]).unwrap().digest, None);
    }

    #[test]
    fn the_first_file_that_is_there_counts_even_if_it_makes_no_sense() {
        let directory = tempfile::tempdir().unwrap();
        let places = ["own", "system"].map(|name| directory.path().join(name));
        fs::write(&places[1], "hostname = \"system\"").unwrap();
        assert_eq!(load_default(&places).unwrap().path.as_ref(), Some(&places[1]));
        fs::write(&places[0], "hostname = \"own\"").unwrap();
        assert_eq!(load_default(&places).unwrap().file.hostname.as_deref(), Some("own"));
        fs::write(&places[0], "?").unwrap();
        assert!(load_default(&places).is_err());
    }

    #[test]
    fn the_digest_is_the_file_s() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.toml");
        fs::write(&path, "interval = 30\n").unwrap();
        let loaded = load(&path).unwrap();
        assert_eq!(loaded.file.interval, Some(30));
        assert_eq!(loaded.digest, digest::of_file(&path));
        fs::write(&path, "interval = 31\n").unwrap();
        assert_ne!(loaded.digest, digest::of_file(&path));
    }
}
