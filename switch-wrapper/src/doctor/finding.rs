//! What the doctor says: one finding for each thing that was looked at.

use serde::{Serialize, Serializer};

/// What is kept of a text that another program has a part in, in characters.
const MAX_TEXT: usize = 600;

/// How urgent a finding is, the least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Severity {
    /// It is as it should be.
    Ok,
    /// Worth knowing, and nothing to be done.
    Info,
    /// It cannot be told from here.
    Unknown,
    /// It works for now, or heals by itself; somebody should look at it.
    Warning,
    /// The host is dark, or will be.
    Error,
}

impl Severity {
    /// Whether somebody has to do something.
    pub(crate) const fn needs_attention(self) -> bool {
        match self {
            Self::Ok | Self::Info | Self::Unknown => false,
            Self::Warning | Self::Error => true,
        }
    }
}

/// What a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Area {
    /// The config file and the environment.
    Configuration,
    /// launchd or systemd.
    ServiceManager,
    /// The agent and its job.
    Agent,
    /// The watchdog and the wrapper's stable path.
    Watchdog,
    /// The agent's dashboard.
    Dashboard,
    /// What was switched.
    Switches,
    /// home-manager itself.
    HomeManager,
    /// The state directory.
    StateDirectory,
}

impl Area {
    /// Its heading.
    pub(crate) const fn heading(self) -> &'static str {
        match self {
            Self::Configuration => "Configuration",
            Self::ServiceManager => "Service manager",
            Self::Agent => "Agent",
            Self::Watchdog => "Watchdog and wrapper",
            Self::Dashboard => "Dashboard",
            Self::Switches => "Switches",
            Self::HomeManager => "home-manager",
            Self::StateDirectory => "State directory",
        }
    }
}

macro_rules! ids {
    ($($(#[$doc:meta])* $variant:ident = $name:literal in $area:ident,)*) => {
        /// The name of a finding. An interface: a name keeps its meaning, and new ones may come.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(crate) enum Id {
            $($(#[$doc])* $variant,)*
        }

        impl Id {
            /// The name, as it is in JSON.
            pub(crate) const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// What it is about.
            pub(crate) const fn area(self) -> Area {
                match self {
                    $(Self::$variant => Area::$area,)*
                }
            }

            /// All of them.
            #[cfg(test)]
            pub(crate) const ALL: &[Self] = &[$(Self::$variant,)*];
        }
    };
}

ids! {
    /// The configuration can be read.
    Configuration = "configuration" in Configuration,
    /// The config file, or a value in the environment, makes no sense.
    ConfigurationUnusable = "configuration-unusable" in Configuration,
    /// The home directory is somebody else's, as under sudo: nothing else is looked at.
    WrongUser = "wrong-user" in Configuration,

    /// The service manager answers.
    ServiceManager = "service-manager" in ServiceManager,
    /// No service manager is in use: the jobs are not looked at.
    ServiceManagerNone = "service-manager-none" in ServiceManager,
    /// launchctl cannot be run, or does not answer in time.
    LaunchctlSilent = "launchctl-silent" in ServiceManager,
    /// launchctl answers, but not in a way that can be understood.
    LaunchctlNotUnderstood = "launchctl-not-understood" in ServiceManager,
    /// Nobody is logged in at the screen, so launchd has no `gui` domain.
    NoGuiSession = "no-gui-session" in ServiceManager,
    /// launchd starts nothing by itself at the moment.
    DomainOnDemandOnly = "domain-on-demand-only" in ServiceManager,
    /// Whether Login Items forbid the agent.
    LoginItems = "login-items" in ServiceManager,
    /// systemctl cannot be run, does not answer, or not in a way that can be understood.
    SystemctlSilent = "systemctl-silent" in ServiceManager,
    /// The user manager ends when the user logs out.
    LingerOff = "linger-off" in ServiceManager,

    /// The agent runs as its job and is what is installed.
    AgentRunning = "agent-running" in Agent,
    /// The agent's definition is on disk and can be used.
    AgentDefinition = "agent-definition" in Agent,
    /// There is no definition of an agent.
    AgentNotInstalled = "agent-not-installed" in Agent,
    /// The definition is not a plist, is another job's, or says not what to run.
    AgentPlistUnusable = "agent-plist-unusable" in Agent,
    /// launchd does not load a plist of somebody else.
    AgentPlistWrongOwner = "agent-plist-wrong-owner" in Agent,
    /// launchd does not load a plist that others may write.
    AgentPlistWrongMode = "agent-plist-wrong-mode" in Agent,
    /// The plist is a symbolic link.
    AgentPlistIsLink = "agent-plist-is-link" in Agent,
    /// home-manager cannot write in the plist's folder.
    AgentPlistFolderNotOurs = "agent-plist-folder-not-ours" in Agent,
    /// What the definition runs is not there.
    AgentProgramMissing = "agent-program-missing" in Agent,
    /// The definition is on disk and launchd does not know the label.
    AgentLabelMissing = "agent-label-missing" in Agent,
    /// An override forbids the label.
    AgentDisabled = "agent-disabled" in Agent,
    /// The label is loaded in a domain that the definition does not name.
    AgentWrongDomain = "agent-wrong-domain" in Agent,
    /// What is loaded is not what is on disk.
    AgentDefinitionDiffers = "agent-definition-differs" in Agent,
    /// launchd has put off starting the job.
    AgentSpawnPended = "agent-spawn-pended" in Agent,
    /// launchd could not run the job's program at all.
    AgentCannotBeExecuted = "agent-cannot-be-executed" in Agent,
    /// There is no agent, or the job has no process.
    AgentNotRunning = "agent-not-running" in Agent,
    /// The job has a process, and no agent has said that it is up.
    AgentUnrecorded = "agent-unrecorded" in Agent,
    /// An agent runs outside its job.
    AgentOutsideJob = "agent-outside-job" in Agent,
    /// The agent that runs is not what is installed.
    AgentOutdated = "agent-outdated" in Agent,
    /// The agent runs and does not react.
    AgentStuck = "agent-stuck" in Agent,
    /// systemd may not start the unit.
    UnitMasked = "unit-masked" in Agent,
    /// systemd has given up on the unit.
    UnitFailed = "unit-failed" in Agent,
    /// The unit's file has changed since systemd read it.
    UnitNeedsReload = "unit-needs-reload" in Agent,

    /// The watchdog runs.
    WatchdogRunning = "watchdog-running" in Watchdog,
    /// There has been no `nixfleet-switch install`.
    WatchdogNotInstalled = "watchdog-not-installed" in Watchdog,
    /// The definition of the watchdog's job is gone.
    WatchdogDefinitionMissing = "watchdog-definition-missing" in Watchdog,
    /// An override forbids the watchdog's label.
    WatchdogDisabled = "watchdog-disabled" in Watchdog,
    /// It is installed and does not run.
    WatchdogNotRunning = "watchdog-not-running" in Watchdog,
    /// The wrapper is at its stable path.
    WrapperInstalled = "wrapper-installed" in Watchdog,
    /// The wrapper is only in home-manager's profile, which a switch replaces.
    WrapperNotInstalled = "wrapper-not-installed" in Watchdog,
    /// The stable path leads to something that is gone.
    WrapperLinkBroken = "wrapper-link-broken" in Watchdog,

    /// The dashboard answers the agent.
    DashboardReached = "dashboard-reached" in Dashboard,
    /// The agent does not say how it gets on with the dashboard.
    DashboardUnknown = "dashboard-unknown" in Dashboard,
    /// The agent's calls fail.
    DashboardUnreachable = "dashboard-unreachable" in Dashboard,
    /// The dashboard turns the agent's token away.
    DashboardTokenRejected = "dashboard-token-rejected" in Dashboard,
    /// This host's clock is not the dashboard's.
    ClockWrong = "clock-wrong" in Dashboard,

    /// Nothing is left open, and all was told.
    SwitchesSettled = "switches-settled" in Switches,
    /// A switch is running now.
    SwitchRunning = "switch-running" in Switches,
    /// The switch lock names a process that is gone.
    SwitchLockStale = "switch-lock-stale" in Switches,
    /// The switch lock cannot be used, or is held by somebody who does not say who it is.
    SwitchLockUnclear = "switch-lock-unclear" in Switches,
    /// A home-manager runs whose wrapper is gone.
    HomeManagerOrphaned = "home-manager-orphaned" in Switches,
    /// A switch was cut short and nobody has closed it.
    SwitchLeftOpen = "switch-left-open" in Switches,
    /// The dashboard was not told all that has happened.
    ResultsUnsent = "results-unsent" in Switches,
    /// The activation did not run to its end.
    ActivationIncomplete = "activation-incomplete" in Switches,

    /// What switches in home-manager's place is there.
    SwitchProgram = "switch-program" in HomeManager,
    /// What is to switch in home-manager's place is not there.
    SwitchProgramMissing = "switch-program-missing" in HomeManager,
    /// home-manager is there, and its release is known.
    HomeManagerRelease = "home-manager-release" in HomeManager,
    /// There is no home-manager.
    HomeManagerMissing = "home-manager-missing" in HomeManager,
    /// home-manager does not say its release.
    HomeManagerSilent = "home-manager-silent" in HomeManager,
    /// This release can leave an agent booted out and say nothing.
    HomeManagerKnownBug = "home-manager-known-bug" in HomeManager,

    /// The state directory can be used.
    StateDirectory = "state-directory" in StateDirectory,
    /// There is none yet.
    StateDirectoryMissing = "state-directory-missing" in StateDirectory,
    /// It cannot be used.
    StateDirectoryUnusable = "state-directory-unusable" in StateDirectory,
    /// It belongs to somebody else.
    StateDirectoryWrongOwner = "state-directory-wrong-owner" in StateDirectory,
    /// Others may look into it.
    StateDirectoryOpen = "state-directory-open" in StateDirectory,
    /// It comes from another host.
    StateDirectoryForeign = "state-directory-foreign" in StateDirectory,
    /// A file in it cannot be read.
    JournalUnreadable = "journal-unreadable" in StateDirectory,
    /// There is little room left on its disk.
    DiskNearlyFull = "disk-nearly-full" in StateDirectory,
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// Its name.
    pub(crate) id: Id,
    /// What it is about.
    pub(crate) area: Area,
    /// How urgent it is.
    pub(crate) severity: Severity,
    /// What is so, in one line.
    pub(crate) summary: String,
    /// Why it matters; empty where there is nothing to say.
    pub(crate) explanation: String,
    /// The command lines that mend it, in order.
    pub(crate) remedy: Option<Vec<String>>,
}

impl Finding {
    fn new(id: Id, severity: Severity, summary: impl AsRef<str>) -> Self {
        let summary = plain(summary.as_ref());
        let (area, explanation) = (id.area(), String::new());
        Self { id, area, severity, summary, explanation, remedy: None }
    }

    pub(super) fn ok(id: Id, summary: impl AsRef<str>) -> Self {
        Self::new(id, Severity::Ok, summary)
    }

    pub(super) fn info(id: Id, summary: impl AsRef<str>) -> Self {
        Self::new(id, Severity::Info, summary)
    }

    pub(super) fn unknown(id: Id, summary: impl AsRef<str>) -> Self {
        Self::new(id, Severity::Unknown, summary)
    }

    pub(super) fn warning(id: Id, summary: impl AsRef<str>) -> Self {
        Self::new(id, Severity::Warning, summary)
    }

    pub(super) fn error(id: Id, summary: impl AsRef<str>) -> Self {
        Self::new(id, Severity::Error, summary)
    }

    /// Says why it matters.
    pub(super) fn because(self, explanation: impl AsRef<str>) -> Self {
        Self { explanation: plain(explanation.as_ref()), ..self }
    }

    /// Says what mends it, one command line after the other.
    pub(super) fn mended_by(self, commands: impl IntoIterator<Item = String>) -> Self {
        Self { remedy: Some(commands.into_iter().collect()), ..self }
    }
}

/// The beginning of a text, without what a terminal would obey.
fn plain(text: &str) -> String {
    let plain = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.take(MAX_TEXT).collect()
}

/// A word as a shell takes it for one.
pub(super) fn quoted(word: &str) -> String {
    let is_plain =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | '@' | '+' | ':');
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    // A control character would be obeyed by the terminal that shows the command.
    let shown: String = word.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    format!("'{}'", shown.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_different_and_in_one_spelling() {
        let mut names: Vec<&str> = Id::ALL.iter().map(|id| id.as_str()).collect();
        assert!(names.iter().all(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '-')));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Id::ALL.len());
    }

    #[test]
    fn a_word_for_a_shell_is_one_word() {
        for (word, expected) in [
            ("/a/b.plist", "/a/b.plist"),
            (".#me@laptop", "'.#me@laptop'"),
            ("", "''"),
            ("it's", r"'it'\''s'"),
            ("a b;c", "'a b;c'"),
            ("\u{1b}[2J", "'?[2J'"),
        ] {
            assert_eq!(quoted(word), expected);
        }
    }

    #[test]
    fn nothing_in_a_finding_is_obeyed_by_a_terminal() {
        let finding = Finding::ok(Id::ServiceManager, "a\u{1b}[2Jb\nc").because("x".repeat(9999));
        assert_eq!(finding.summary, "a [2Jb c");
        assert_eq!(finding.explanation.len(), MAX_TEXT);
    }
}
