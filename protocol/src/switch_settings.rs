//! What a switch is on this host, from environment and config file: merged, then checked. Agent and wrapper both read it
//! here, so they cannot come to different ends. Pure.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use crate::{
    config_file::LoadedConfig,
    generations::GenerationLinks,
    operation::Operation,
    state_dir,
    switch_kind::{SwitchCommand, SwitchKind},
};

/// The branch, where nothing says otherwise.
const DEFAULT_BRANCH: &str = "main";

/// All variables that are read here. Whoever hands some of them on hands on all: they are checked together.
pub const VARIABLES: [&str; 9] = [
    "NIXFLEET_SWITCH_KIND",
    "NIXFLEET_SWITCH_COMMAND",
    "NIXFLEET_FLAKE",
    "NIXFLEET_FLAKE_ATTRIBUTE",
    "NIXFLEET_REPO_URL",
    "NIXFLEET_BRANCH",
    "NIXFLEET_SSH_KEY",
    "NIXFLEET_PROFILE",
    "NIXFLEET_CURRENT_GENERATION",
];

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// An environment variable.
    Variable(&'static str),
    /// The config file.
    File(PathBuf),
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name) => write!(formatter, "environment variable {name}"),
            Self::File(path) => write!(formatter, "config file {}", path.display()),
        }
    }
}

/// A value that somebody has set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said<T> {
    /// The value.
    pub value: T,
    /// Who says so.
    pub origin: Origin,
}

/// What is set, nothing checked yet. `None` where nobody said anything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MergedSwitch {
    /// `switch_kind`.
    pub kind: Option<Said<String>>,
    /// `switch_command`.
    pub command: Option<Said<Vec<String>>>,
    /// `switch_arguments`.
    pub arguments: Option<Said<Vec<String>>>,
    /// `flake`.
    pub flake: Option<Said<String>>,
    /// `flake_attribute`.
    pub flake_attribute: Option<Said<String>>,
    /// `repo_url`.
    pub repo_url: Option<Said<String>>,
    /// `branch`.
    pub branch: Option<Said<String>>,
    /// `ssh_key_file`.
    pub ssh_key_file: Option<Said<String>>,
    /// `profile`.
    pub profile: Option<Said<String>>,
    /// `current_generation`.
    pub current_generation: Option<Said<String>>,
}

/// The repository of which there is a checkout in the state directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repository {
    /// Where it is cloned from: nothing secret is in it.
    pub url: String,
    /// The branch.
    pub branch: String,
    /// The private key for it, where one was named.
    pub ssh_key_file: Option<PathBuf>,
}

/// What a switch is on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwitchSettings {
    /// The command.
    pub command: SwitchCommand,
    /// The repository of which there is a checkout in the state directory, where there is one.
    pub repository: Option<Repository>,
    /// That checkout is the flake.
    pub is_from_checkout: bool,
    /// Where it is seen which generation is set, and which is activated.
    pub links: GenerationLinks,
}

/// Why the settings of the switch make no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SwitchMistake {
    /// A value is not what it should be.
    #[error("{key} = {value:?} ({origin}) is not {expected}")]
    Value {
        /// The key.
        key: &'static str,
        /// The value.
        value: String,
        /// Who says so.
        origin: Origin,
        /// What would be right.
        expected: &'static str,
    },
    /// A value that means nothing beside another one, or without it.
    #[error("{key} ({origin}) makes no sense {why}; {remedy}")]
    Combination {
        /// The key.
        key: &'static str,
        /// Who says so.
        origin: Origin,
        /// Beside or without what.
        why: String,
        /// What to do.
        remedy: &'static str,
    },
    /// Something that the kind cannot do without.
    #[error(
        "switch_kind = \"command\" ({origin}) needs switch_command: give the whole command as a list of words, as in switch_command = [\"/usr/local/bin/deploy\", \"--now\"]"
    )]
    NoCommand {
        /// Who chose the kind.
        origin: Origin,
    },
}

/// What the checked settings depend on beside what is set.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'a> {
    /// The state directory.
    pub state_dir: &'a Path,
    /// `XDG_STATE_HOME`, where it is set.
    pub xdg_state_home: Option<&'a Path>,
    /// The home directory.
    pub home: &'a Path,
    /// The user's name, where the environment has it.
    pub user: Option<&'a str>,
}

impl SwitchSettings {
    /// What the program of this operation gets when nobody has typed anything.
    pub fn arguments(&self, operation: Operation) -> Vec<String> {
        match operation {
            Operation::Switch | Operation::PullSwitch | Operation::DryRun => {
                self.command.arguments(&[])
            }
            Operation::Pull | Operation::Test | Operation::Update | Operation::Rollback => {
                Vec::new()
            }
        }
    }
}

impl MergedSwitch {
    /// Environment over config file. `variable` gives a variable that is set to something.
    pub fn of(loaded: &LoadedConfig, variable: impl Fn(&'static str) -> Option<String>) -> Self {
        let file = &loaded.file;
        let in_file = || Origin::File(loaded.path.clone().unwrap_or_default());
        let text = |name: &'static str, value: Option<String>| {
            let by_variable =
                variable(name).map(|value| Said { value, origin: Origin::Variable(name) });
            by_variable.or_else(|| value.map(|value| Said { value, origin: in_file() }))
        };
        let path = |name: &'static str, value: Option<&PathBuf>| {
            text(name, value.map(|path| path.to_string_lossy().into_owned()))
        };
        let words = |value: Option<&Vec<String>>| {
            value.map(|value| Said { value: value.clone(), origin: in_file() })
        };
        let command = variable("NIXFLEET_SWITCH_COMMAND").map(|text| Said {
            value: text.split_whitespace().map(str::to_owned).collect(),
            origin: Origin::Variable("NIXFLEET_SWITCH_COMMAND"),
        });
        Self {
            kind: text("NIXFLEET_SWITCH_KIND", file.switch_kind.clone()),
            command: command.or_else(|| words(file.switch_command.as_ref())),
            arguments: words(file.switch_arguments.as_ref()),
            flake: text("NIXFLEET_FLAKE", file.flake.clone()),
            flake_attribute: text("NIXFLEET_FLAKE_ATTRIBUTE", file.flake_attribute.clone()),
            repo_url: text("NIXFLEET_REPO_URL", file.repo_url.clone()),
            branch: text("NIXFLEET_BRANCH", file.branch.clone()),
            ssh_key_file: path("NIXFLEET_SSH_KEY", file.ssh_key_file.as_ref()),
            profile: path("NIXFLEET_PROFILE", file.profile.as_ref()),
            current_generation: path(
                "NIXFLEET_CURRENT_GENERATION",
                file.current_generation.as_ref(),
            ),
        }
    }

    /// Either all is good, or every mistake is named.
    pub fn check(&self, around: Surroundings<'_>) -> Result<SwitchSettings, Vec<SwitchMistake>> {
        let mut mistakes = Mistakes(Vec::new());
        let kind = self.check_kind(&mut mistakes);
        let words = self.check_words(kind, &mut mistakes);
        self.check_combinations(kind, &mut mistakes);
        let flake = mistakes.text("flake", self.flake.as_ref(), is_flake, FLAKE);
        let attribute =
            mistakes.text("flake_attribute", self.flake_attribute.as_ref(), is_word, ATTRIBUTE);
        let repository = self.check_repository(&mut mistakes);
        let profile = mistakes.absolute("profile", self.profile.as_ref());
        let current = mistakes.absolute("current_generation", self.current_generation.as_ref());
        if !mistakes.0.is_empty() {
            return Err(mistakes.0);
        }
        let is_from_checkout =
            flake.is_none() && repository.is_some() && kind != SwitchKind::Command;
        let checkout = || {
            let checkout = state_dir::checkout(around.state_dir);
            is_from_checkout.then(|| checkout.to_string_lossy().into_owned())
        };
        Ok(SwitchSettings {
            command: SwitchCommand {
                kind,
                words,
                flake: flake.or_else(checkout),
                attribute,
                arguments: self.arguments.as_ref().map_or_else(Vec::new, |said| said.value.clone()),
            },
            repository,
            is_from_checkout,
            links: links(kind, around).at(profile, current),
        })
    }

    fn check_kind(&self, mistakes: &mut Mistakes) -> SwitchKind {
        const EXPECTED: &str =
            "one of `home-manager`, `nixos-rebuild`, `darwin-rebuild`, `command`";
        let Some(said) = &self.kind else { return SwitchKind::default() };
        said.value.parse().unwrap_or_else(|_none| {
            mistakes.value("switch_kind", said, EXPECTED);
            SwitchKind::default()
        })
    }

    fn check_words(&self, kind: SwitchKind, mistakes: &mut Mistakes) -> Vec<String> {
        const EXPECTED: &str = "a command: its first word is a program's name or its absolute path";
        match (kind, &self.kind, &self.command) {
            (SwitchKind::Command, _, Some(said)) => {
                // Where a relative path leads depends on the folder.
                let is_program = |word: &String| {
                    !word.is_empty() && (word.starts_with('/') || !word.contains('/'))
                };
                if !said.value.first().is_some_and(is_program) {
                    let shown = Said { value: said.value.join(" "), origin: said.origin.clone() };
                    mistakes.value("switch_command", &shown, EXPECTED);
                }
                said.value.clone()
            }
            (SwitchKind::Command, Some(said), None) => {
                mistakes.0.push(SwitchMistake::NoCommand { origin: said.origin.clone() });
                Vec::new()
            }
            (_, _, Some(said)) => {
                let remedy = "set switch_kind = \"command\", or take switch_command out";
                mistakes.combination("switch_command", said, format!("with kind {kind}"), remedy);
                Vec::new()
            }
            (_, _, None) => Vec::new(),
        }
    }

    fn check_combinations(&self, kind: SwitchKind, mistakes: &mut Mistakes) {
        if kind == SwitchKind::Command {
            let remedy = "nothing is added to switch_command, so put it there";
            let with = || format!("with kind {kind}");
            if let Some(said) = &self.flake {
                mistakes.combination("flake", said, with(), remedy);
            }
            if let Some(said) = &self.flake_attribute {
                mistakes.combination("flake_attribute", said, with(), remedy);
            }
            if let Some(said) = self.arguments.as_ref().filter(|said| !said.value.is_empty()) {
                mistakes.combination("switch_arguments", said, with(), remedy);
            }
        } else if let Some(said) = &self.flake_attribute
            && self.flake.is_none()
            && self.repo_url.is_none()
        {
            let remedy = "set flake, or repo_url";
            mistakes.combination("flake_attribute", said, "without a flake".to_owned(), remedy);
        }
        if self.repo_url.is_none() {
            let remedy = "set repo_url, or take it out";
            let without = || "without repo_url".to_owned();
            if let Some(said) = &self.branch {
                mistakes.combination("branch", said, without(), remedy);
            }
            if let Some(said) = &self.ssh_key_file {
                mistakes.combination("ssh_key_file", said, without(), remedy);
            }
        }
    }

    fn check_repository(&self, mistakes: &mut Mistakes) -> Option<Repository> {
        const BRANCH: &str = "the name of a branch";
        let branch = mistakes.text("branch", self.branch.as_ref(), is_branch, BRANCH);
        let ssh_key_file = mistakes.absolute("ssh_key_file", self.ssh_key_file.as_ref());
        let said = self.repo_url.as_ref()?;
        let url = match look_at_url(&said.value) {
            Url::Good => said.value.clone(),
            Url::Wrong => {
                mistakes.value("repo_url", said, REPOSITORY);
                return None;
            }
            Url::HoldsSecret => {
                // What is in it may be a password, so it is not repeated.
                let hidden = Said { value: "(not shown)".to_owned(), origin: said.origin.clone() };
                mistakes.value("repo_url", &hidden, WITHOUT_SECRET);
                return None;
            }
        };
        let branch = branch.unwrap_or_else(|| DEFAULT_BRANCH.to_owned());
        Some(Repository { url, branch, ssh_key_file })
    }
}

const FLAKE: &str = "an absolute path or a flake reference such as `github:me/nixcfg`, without `#`: what follows that is flake_attribute";
const ATTRIBUTE: &str = "what follows `#` in a flake reference, such as `me@laptop`";
const REPOSITORY: &str = "the address of a git repository: `https://...`, `ssh://...`, `git@host:path`, `file:///...` or an absolute path";
const WITHOUT_SECRET: &str = "an address without a password or token in it; use an address for ssh and ssh_key_file, or git's own credential helper";

fn links(kind: SwitchKind, around: Surroundings<'_>) -> GenerationLinks {
    let Surroundings { xdg_state_home, home, user, .. } = around;
    let links = match kind {
        SwitchKind::HomeManager => {
            return GenerationLinks::of_home_manager(xdg_state_home, home, user);
        }
        SwitchKind::NixosRebuild | SwitchKind::DarwinRebuild => GenerationLinks::of_system(),
        SwitchKind::Command => GenerationLinks::none(),
    };
    links.with_home_manager(xdg_state_home, home, user)
}

/// Collects what is wrong.
struct Mistakes(Vec<SwitchMistake>);

impl Mistakes {
    fn value(&mut self, key: &'static str, said: &Said<String>, expected: &'static str) {
        let (value, origin) = (said.value.clone(), said.origin.clone());
        self.0.push(SwitchMistake::Value { key, value, origin, expected });
    }

    fn combination<T>(
        &mut self,
        key: &'static str,
        said: &Said<T>,
        why: String,
        remedy: &'static str,
    ) {
        let origin = said.origin.clone();
        self.0.push(SwitchMistake::Combination { key, origin, why, remedy });
    }

    fn text(
        &mut self,
        key: &'static str,
        said: Option<&Said<String>>,
        is_good: impl Fn(&str) -> bool,
        expected: &'static str,
    ) -> Option<String> {
        let said = said?;
        if !is_good(&said.value) {
            self.value(key, said, expected);
        }
        Some(said.value.clone())
    }

    fn absolute(&mut self, key: &'static str, said: Option<&Said<String>>) -> Option<PathBuf> {
        const EXPECTED: &str = "an absolute path; give one that begins with `/`";
        self.text(key, said, |path| path.starts_with('/'), EXPECTED).map(PathBuf::from)
    }
}

/// Something that no program takes for a flag, or for the end of a word.
fn is_word(text: &str) -> bool {
    let is_plain = |c: char| !c.is_whitespace() && !c.is_control();
    !text.is_empty() && !text.starts_with('-') && !text.contains('#') && text.chars().all(is_plain)
}

/// A relative path would be another flake in each folder, and `~` is a shell's.
fn is_flake(text: &str) -> bool {
    let is_path = text.starts_with('/');
    let is_relative = text.starts_with(['.', '~']);
    !is_relative && !text.contains(['#', '\0']) && (is_path || is_word(text))
}

/// git-check-ref-format(1), as far as a mistake is likely.
fn is_branch(text: &str) -> bool {
    let is_plain = |c: char| !c.is_whitespace() && !c.is_control() && !"~^:?*[\\".contains(c);
    let has_odd_part = ["..", "//", "@{"].iter().any(|part| text.contains(part));
    let begins_oddly = text.starts_with(['-', '/', '.']);
    let ends_oddly = text.ends_with(['/', '.']) || text.strip_suffix(".lock").is_some();
    !text.is_empty() && text.chars().all(is_plain) && !(has_odd_part || begins_oddly || ends_oddly)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Url {
    Good,
    Wrong,
    HoldsSecret,
}

/// Whether git may be given this address. gitremote-helpers(7) has more forms, some of which run programs; those for
/// which everybody on the way can put something else in place are not taken either.
fn look_at_url(text: &str) -> Url {
    let is_plain = text.chars().all(|c| !c.is_whitespace() && !c.is_control());
    if text.starts_with('/') {
        return if text.contains(char::is_control) { Url::Wrong } else { Url::Good };
    }
    if text.starts_with('-') || !is_plain {
        return Url::Wrong;
    }
    match text.split_once("://") {
        Some(("file", path)) if path.starts_with('/') => Url::Good,
        Some((scheme @ ("https" | "ssh"), rest)) => {
            let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
            let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
            // For https even a name alone may be a token.
            if (scheme == "https" && !user.is_empty()) || user.contains(':') {
                Url::HoldsSecret
            } else if host.is_empty() || host.starts_with('-') || path.is_empty() {
                Url::Wrong
            } else {
                Url::Good
            }
        }
        Some(_) => Url::Wrong,
        None => match text.split_once(':') {
            Some((host, path)) => {
                let host = host.rsplit('@').next().unwrap_or_default();
                let is_host = !host.is_empty() && !host.contains('/') && !host.starts_with('-');
                let is_path = !path.is_empty() && !path.starts_with(':');
                if is_host && is_path { Url::Good } else { Url::Wrong }
            }
            None => Url::Wrong,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config_file::ConfigFile;

    fn loaded(text: &str) -> LoadedConfig {
        let file: ConfigFile = toml::from_str(text).unwrap();
        LoadedConfig { path: Some("/etc/n.toml".into()), digest: None, file }
    }

    fn checked(text: &str) -> Result<SwitchSettings, String> {
        let around = Surroundings {
            state_dir: Path::new("/state"),
            xdg_state_home: None,
            home: Path::new("/home/me"),
            user: Some("me"),
        };
        MergedSwitch::of(&loaded(text), |_unset| None).check(around).map_err(|mistakes| {
            mistakes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        })
    }

    #[test]
    fn the_arguments_follow_from_the_config() {
        for (config, expected) in [
            ("", ""),
            ("switch_arguments = [\"-b\", \"bak\"]", "-b bak"),
            ("flake = \"/cfg\"\nflake_attribute = \"me@h\"", "--flake /cfg#me@h"),
            ("repo_url = \"git@h:me/cfg\"", "--flake /state/repo"),
            (
                "repo_url = \"git@h:me/cfg\"\nflake_attribute = \"h\"\nswitch_kind = \"nixos-rebuild\"",
                "--flake /state/repo#h",
            ),
            ("repo_url = \"git@h:me/cfg\"\nflake = \"github:me/cfg\"", "--flake github:me/cfg"),
            ("switch_kind = \"command\"\nswitch_command = [\"a\", \"b c\"]", ""),
            (
                "switch_kind = \"command\"\nswitch_command = [\"a\"]\nrepo_url = \"https://h/cfg\"",
                "",
            ),
        ] {
            let settings = checked(config).unwrap();
            assert_eq!(settings.command.arguments::<String>(&[]).join(" "), expected, "{config}");
        }
    }

    #[test]
    fn the_links_are_the_kind_s_unless_they_are_named() {
        let place = Path::new("/home/me");
        let with_home = |links: GenerationLinks| links.with_home_manager(None, place, Some("me"));
        let system = with_home(GenerationLinks::of_system());
        let none = with_home(GenerationLinks::none());
        let home = GenerationLinks::of_home_manager(None, place, Some("me"));
        let command = "switch_kind = \"command\"\nswitch_command = [\"a\"]\n";
        let named = "profile = \"/p\"\ncurrent_generation = \"/c\"\n";
        let at = |links: GenerationLinks| links.at(Some("/p".into()), Some("/c".into()));
        for (config, expected) in [
            (String::new(), home.clone()),
            ("switch_kind = \"nixos-rebuild\"".to_owned(), system.clone()),
            ("switch_kind = \"darwin-rebuild\"".to_owned(), system.clone()),
            (command.to_owned(), none.clone()),
            (named.to_owned(), at(home)),
            (format!("{command}{named}"), at(none)),
            ("switch_kind = \"nixos-rebuild\"\nprofile = \"/p\"".to_owned(), {
                system.at(Some("/p".into()), None)
            }),
        ] {
            assert_eq!(checked(&config).unwrap().links, expected, "{config}");
        }
    }

    #[test]
    fn a_repository_has_its_branch_and_key() {
        let config = "repo_url = \"ssh://git@h/cfg\"\nssh_key_file = \"/k\"";
        let repository = checked(config).unwrap().repository.unwrap();
        assert_eq!(repository.url, "ssh://git@h/cfg");
        assert_eq!(
            (repository.branch.as_str(), repository.ssh_key_file),
            ("main", Some("/k".into()))
        );
        let other = checked(&format!("{config}\nbranch = \"feature/x\"")).unwrap();
        assert_eq!(other.repository.unwrap().branch, "feature/x");
    }

    #[test]
    fn what_makes_no_sense_is_said_with_the_remedy() {
        let command = "switch_kind = \"command\"\nswitch_command = [\"a\"]\n";
        for (config, parts) in [
            ("switch_kind = \"nixos\"", &["switch_kind", "nixos-rebuild", "/etc/n.toml"][..]),
            ("switch_kind = \"command\"", &["needs switch_command"]),
            ("switch_command = [\"a\"]", &["kind home-manager", "set switch_kind"]),
            ("switch_kind = \"command\"\nswitch_command = []", &["first word"]),
            ("switch_kind = \"command\"\nswitch_command = [\"./x\"]", &["first word"]),
            (&format!("{command}flake = \"/c\""), &["flake", "put it there"]),
            (&format!("{command}switch_arguments = [\"-L\"]"), &["switch_arguments"]),
            ("flake_attribute = \"me\"", &["flake_attribute", "set flake, or repo_url"]),
            ("flake = \".\"", &["absolute path"]),
            ("flake = \"~/cfg\"", &["absolute path"]),
            ("flake = \"/cfg#me\"", &["flake_attribute"]),
            ("flake = \"\"", &["flake"]),
            ("branch = \"main\"", &["branch", "set repo_url"]),
            ("ssh_key_file = \"/k\"", &["ssh_key_file", "set repo_url"]),
            ("repo_url = \"git@h:c\"\nssh_key_file = \"k\"", &["begins with `/`"]),
            ("repo_url = \"git@h:c\"\nbranch = \"a b\"", &["branch"]),
            ("profile = \"p\"", &["profile", "begins with `/`"]),
            ("current_generation = \"c\"", &["current_generation"]),
            ("flake = \".\"\nprofile = \"p\"", &["flake", "profile"]),
        ] {
            let said = checked(config).unwrap_err();
            for part in parts {
                assert!(said.contains(part), "{config}: {said}");
            }
        }
        // An empty list is as good as none.
        assert!(checked(&format!("{command}switch_arguments = []")).is_ok());
    }

    #[test]
    fn addresses_of_repositories_are_checked() {
        for (text, expected) in [
            ("https://github.com/me/nixcfg.git", Url::Good),
            ("https://h:8443/cfg", Url::Good),
            ("ssh://git@h:2222/me/cfg", Url::Good),
            ("git@github.com:me/nixcfg.git", Url::Good),
            ("host:cfg", Url::Good),
            ("file:///srv/cfg.git", Url::Good),
            ("/srv/my cfg", Url::Good),
            ("https://token@github.com/me/cfg", Url::HoldsSecret),
            ("https://me:secret@github.com/me/cfg", Url::HoldsSecret),
            ("ssh://me:secret@h/cfg", Url::HoldsSecret),
            ("http://h/cfg", Url::Wrong),
            ("git://h/cfg", Url::Wrong),
            ("https://h", Url::Wrong),
            ("https:///cfg", Url::Wrong),
            ("ssh://-oProxyCommand=evil/cfg", Url::Wrong),
            ("-oProxyCommand=evil:x", Url::Wrong),
            ("ext::sh -c evil", Url::Wrong),
            ("ext::evil", Url::Wrong),
            ("cfg", Url::Wrong),
            ("./cfg:x", Url::Wrong),
            ("", Url::Wrong),
        ] {
            assert_eq!(look_at_url(text), expected, "{text:?}");
        }
        let said = checked("repo_url = \"https://me:hunter2@h/cfg\"").unwrap_err();
        assert!(!said.contains("hunter2") && said.contains("without a password"), "{said}");
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let config = loaded("switch_kind = \"home-manager\"\nflake = \"/file\"\nprofile = \"/p\"");
        let merged = MergedSwitch::of(&config, |name| match name {
            "NIXFLEET_SWITCH_KIND" => Some("command".to_owned()),
            "NIXFLEET_SWITCH_COMMAND" => Some(" deploy  --now ".to_owned()),
            _ => None,
        });
        assert_eq!(merged.kind.unwrap().origin, Origin::Variable("NIXFLEET_SWITCH_KIND"));
        assert_eq!(merged.command.unwrap().value, ["deploy", "--now"]);
        assert_eq!(merged.flake.unwrap().origin, Origin::File("/etc/n.toml".into()));
        assert_eq!(merged.profile.unwrap().value, "/p");
    }

    #[test]
    fn every_variable_is_listed() {
        let asked = std::cell::RefCell::new(std::collections::BTreeSet::new());
        MergedSwitch::of(&loaded(""), |name| {
            asked.borrow_mut().insert(name);
            None
        });
        assert_eq!(asked.into_inner(), VARIABLES.into_iter().collect());
    }
}
