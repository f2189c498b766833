//! A job's definition, as launchd keeps it in memory from the moment of `bootstrap`.
//!
//! Keys that would change a job's behaviour and are not modelled make the definition invalid
//! rather than being ignored, so that no test can rest on a job that does something else.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use plist::{Dictionary, Value};
use serde::Deserialize;

use super::{
    answer::Failure,
    keep_alive::{Conditions, KeepAlive},
};

/// Between two starts of one job at least this long passes, unless the plist says otherwise.
pub const DEFAULT_THROTTLE: Duration = Duration::from_secs(10);
/// After SIGTERM a job has this long, unless the plist says otherwise.
pub const DEFAULT_EXIT_TIMEOUT: Duration = Duration::from_secs(5);

/// The search path of a job that sets none.
pub const DEFAULT_PATH: &str = "/usr/bin:/bin:/usr/sbin:/sbin";

/// The session type of a plist that names none.
const DEFAULT_SESSION: &str = "Aqua";

/// Keys that may stand in a plist and change nothing that the simulation shows.
///
/// `StartCalendarInterval` is among them: a test says itself when that time has come.
const KEYS_WITHOUT_EFFECT: [&str; 9] = [
    "AssociatedBundleIdentifiers",
    "LegacyTimers",
    "LowPriorityBackgroundIO",
    "LowPriorityIO",
    "Nice",
    "ProcessType",
    "StartCalendarInterval",
    "SoftResourceLimits",
    "HardResourceLimits",
];

/// What a job is and how launchd treats it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// The name it is registered under.
    pub label: String,
    /// `Program`, where it differs from the first argument.
    pub program: Option<String>,
    /// The argument vector; never empty.
    pub arguments: Vec<String>,
    /// Start once per bootstrap.
    pub run_at_load: bool,
    /// Start again after an end.
    pub keep_alive: KeepAlive,
    /// Between two starts.
    pub throttle: Duration,
    /// Between SIGTERM and SIGKILL; `None` waits for ever.
    pub exit_timeout: Option<Duration>,
    /// Leave the process group alone when the main process has ended.
    pub abandon_process_group: bool,
    /// Added to launchd's own environment.
    pub environment: BTreeMap<String, String>,
    /// Where standard output goes.
    pub stdout_path: Option<PathBuf>,
    /// Where standard error goes.
    pub stderr_path: Option<PathBuf>,
    /// The directory to start in.
    pub working_directory: Option<PathBuf>,
    /// `LimitLoadToSessionType`, as written.
    pub session_types: Option<Vec<String>>,
    /// `Disabled`: counts only while the override database says nothing.
    pub disabled: bool,
    /// `StartInterval`.
    pub start_interval: Option<Duration>,
}

impl Definition {
    /// Reads a property list, XML or binary.
    pub fn parse(bytes: &[u8]) -> Result<Self, DefinitionError> {
        let mut keys: Dictionary =
            plist::from_bytes(bytes).map_err(|error| not_a_property_list(&error))?;
        for key in KEYS_WITHOUT_EFFECT {
            keys.remove(key);
        }
        let raw: RawDefinition = plist::from_value(&Value::Dictionary(keys))
            .map_err(|error| not_a_property_list(&error))?;
        raw.checked()
    }

    /// The file that is executed.
    pub fn executable(&self) -> &str {
        match (&self.program, self.arguments.first()) {
            (Some(program), _) => program,
            (None, Some(first)) => first,
            (None, None) => "",
        }
    }

    /// A job may be loaded into the screen session unless it limits itself to others.
    pub fn allows_gui(&self) -> bool {
        self.session_types
            .as_ref()
            .is_none_or(|types| types.iter().any(|name| name == DEFAULT_SESSION))
    }

    /// A job must say `Background` to be loaded into the user's domain.
    pub fn allows_background(&self) -> bool {
        self.session_types
            .as_ref()
            .is_some_and(|types| types.iter().any(|name| name == "Background"))
    }
}

/// Why a property list is no job.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DefinitionError {
    /// Not a property list, or a key of the wrong type, or one that is not modelled.
    #[error("not a property list of a job: {reason}")]
    NotAPropertyList {
        /// The parser's words.
        reason: String,
    },
    /// No `Label`.
    #[error("no Label")]
    NoLabel,
    /// Neither `Program` nor `ProgramArguments`.
    #[error("neither Program nor ProgramArguments")]
    NoProgram,
}

impl DefinitionError {
    /// launchd's code for it.
    pub const fn failure(&self) -> Failure {
        match self {
            Self::NotAPropertyList { .. } => Failure::InvalidPropertyList,
            Self::NoLabel => Failure::MissingLabel,
            Self::NoProgram => Failure::MissingProgram,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct RawDefinition {
    label: Option<String>,
    program: Option<String>,
    program_arguments: Option<Vec<String>>,
    #[serde(default)]
    run_at_load: bool,
    keep_alive: Option<RawKeepAlive>,
    throttle_interval: Option<u64>,
    exit_time_out: Option<u64>,
    #[serde(default)]
    abandon_process_group: bool,
    #[serde(default)]
    environment_variables: BTreeMap<String, String>,
    standard_out_path: Option<PathBuf>,
    standard_error_path: Option<PathBuf>,
    working_directory: Option<PathBuf>,
    limit_load_to_session_type: Option<OneOrMany>,
    #[serde(default)]
    disabled: bool,
    start_interval: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum RawKeepAlive {
    Flag(bool),
    When(Conditions),
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

impl RawDefinition {
    fn checked(self) -> Result<Definition, DefinitionError> {
        let label = self.label.filter(|label| !label.is_empty()).ok_or(DefinitionError::NoLabel)?;
        let arguments = match (&self.program, self.program_arguments) {
            (_, Some(arguments)) if !arguments.is_empty() => arguments,
            (Some(program), _) => vec![program.clone()],
            (None, _) => return Err(DefinitionError::NoProgram),
        };
        Ok(Definition {
            label,
            program: self.program,
            arguments,
            run_at_load: self.run_at_load,
            keep_alive: keep_alive(self.keep_alive),
            throttle: throttle(self.throttle_interval),
            exit_timeout: exit_timeout(self.exit_time_out),
            abandon_process_group: self.abandon_process_group,
            environment: self.environment_variables,
            stdout_path: self.standard_out_path,
            stderr_path: self.standard_error_path,
            working_directory: self.working_directory,
            session_types: self.limit_load_to_session_type.map(OneOrMany::into_vec),
            disabled: self.disabled,
            start_interval: self
                .start_interval
                .filter(|seconds| *seconds > 0)
                .map(Duration::from_secs),
        })
    }
}

impl OneOrMany {
    fn into_vec(self) -> Vec<String> {
        match self {
            Self::One(name) => vec![name],
            Self::Many(names) => names,
        }
    }
}

fn not_a_property_list(error: &plist::Error) -> DefinitionError {
    DefinitionError::NotAPropertyList { reason: error.to_string() }
}

fn keep_alive(raw: Option<RawKeepAlive>) -> KeepAlive {
    match raw {
        None | Some(RawKeepAlive::Flag(false)) => KeepAlive::Never,
        Some(RawKeepAlive::Flag(true)) => KeepAlive::Always,
        Some(RawKeepAlive::When(conditions)) => KeepAlive::When(conditions),
    }
}

/// launchd ignores a throttle interval of 0.
fn throttle(seconds: Option<u64>) -> Duration {
    seconds.filter(|seconds| *seconds > 0).map_or(DEFAULT_THROTTLE, Duration::from_secs)
}

fn exit_timeout(seconds: Option<u64>) -> Option<Duration> {
    match seconds {
        None => Some(DEFAULT_EXIT_TIMEOUT),
        Some(0) => None,
        Some(seconds) => Some(Duration::from_secs(seconds)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(keys: &str) -> Result<Definition, DefinitionError> {
        let text = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
             <plist version=\"1.0\"><dict>{keys}</dict></plist>"
        );
        Definition::parse(text.as_bytes())
    }

    const JOB: &str = "<key>Label</key><string>a</string>\
                       <key>ProgramArguments</key><array><string>/bin/a</string></array>";

    fn job(keys: &str) -> Definition {
        parse(&format!("{JOB}{keys}")).unwrap()
    }

    #[test]
    fn the_defaults_are_launchds() {
        let plain = job("");
        assert_eq!(plain.throttle, DEFAULT_THROTTLE);
        assert_eq!(plain.exit_timeout, Some(DEFAULT_EXIT_TIMEOUT));
        assert!(plain.allows_gui() && !plain.allows_background());
        assert_eq!(plain.executable(), "/bin/a");
    }

    #[test]
    fn keys_that_only_tune_are_accepted() {
        job("<key>ProcessType</key><string>Background</string><key>Nice</key><integer>5</integer>");
    }

    #[test]
    fn zero_means_default_for_throttle_and_for_ever_for_exit_timeout() {
        let zero = job("<key>ThrottleInterval</key><integer>0</integer>\
                        <key>ExitTimeOut</key><integer>0</integer>");
        assert_eq!(zero.throttle, DEFAULT_THROTTLE);
        assert_eq!(zero.exit_timeout, None);
    }

    #[test]
    fn keep_alive_as_a_flag_and_as_a_dictionary() {
        let keep = |value: &str| job(&format!("<key>KeepAlive</key>{value}")).keep_alive;
        assert_eq!(keep("<true/>"), KeepAlive::Always);
        assert_eq!(keep("<false/>"), KeepAlive::Never);
        let keys = "<dict><key>SuccessfulExit</key><false/><key>OtherJobEnabled</key>\
                    <dict><key>b</key><true/></dict></dict>";
        let expected = Conditions {
            successful_exit: Some(false),
            other_job_enabled: [("b".to_owned(), true)].into(),
            ..Conditions::default()
        };
        assert_eq!(keep(keys), KeepAlive::When(expected));
    }

    #[test]
    fn session_types() {
        let check = |value: &str, gui: bool, user: bool| {
            let definition = job(&format!("<key>LimitLoadToSessionType</key>{value}"));
            assert_eq!(definition.allows_gui(), gui, "gui {value}");
            assert_eq!(definition.allows_background(), user, "user {value}");
        };
        check("<string>Aqua</string>", true, false);
        check("<string>Background</string>", false, true);
        check("<array><string>Aqua</string><string>Background</string></array>", true, true);
    }

    #[test]
    fn what_is_no_job_says_why() {
        assert_eq!(
            parse("<key>Program</key><string>/bin/a</string>").unwrap_err(),
            DefinitionError::NoLabel
        );
        assert_eq!(
            parse("<key>Label</key><string>a</string>").unwrap_err(),
            DefinitionError::NoProgram
        );
        let error = parse(&format!("{JOB}<key>WatchPaths</key><array/>"));
        assert!(error.unwrap_err().to_string().contains("WatchPaths"));
        let torn = Definition::parse(b"<?xml version=\"1.0\"?><plist><dict>").unwrap_err();
        assert_eq!(torn.failure(), Failure::InvalidPropertyList);
    }

    /// Chapter 4: PathState is a dictionary of booleans; NetworkState is "no longer implemented" [L
    /// man].
    #[test]
    fn path_state_is_a_dictionary_of_booleans_and_network_state_is_refused() {
        let parsed = |keys: &str| parse(&format!("{JOB}<key>KeepAlive</key><dict>{keys}</dict>"));
        let path = "<key>PathState</key><dict><key>/a b</key><true/><key>/c</key><false/></dict>";
        let expected = Conditions {
            path_state: [("/a b".into(), true), ("/c".into(), false)].into(),
            ..Conditions::default()
        };
        assert_eq!(parsed(path).unwrap().keep_alive, KeepAlive::When(expected));
        for keys in [
            "<key>PathState</key><true/>",
            "<key>PathState</key><array><string>/a</string></array>",
            "<key>PathState</key><dict><key>/a</key><string>yes</string></dict>",
            "<key>NetworkState</key><true/>",
        ] {
            let error = parsed(keys).unwrap_err();
            assert_eq!(error.failure(), Failure::InvalidPropertyList, "{keys}");
        }
    }
}
