//! What `launchctl` answers: the exit codes, their texts, and who gets to see the real code.

use super::{
    command::VerbName,
    domain::{Domain, ServiceTarget},
};

/// The exit code of a call that cannot be understood.
pub const USAGE: u8 = 64;
/// The exit code for "no such domain".
pub const NO_SUCH_DOMAIN: u8 = 112;
/// The exit code for "label not registered".
pub const NO_SUCH_SERVICE: u8 = 113;

/// Added below a masked error.
const RICHER_ERRORS: &str = "Try re-running the command as root for richer errors.";

/// Codes that no rule of the simulation gives by itself, for faults.
const OTHER_WORDS: [(u8, &str); 13] = [
    (17, "File exists"),
    (22, "Invalid argument"),
    (107, "Malformed bundle"),
    (108, "Invalid path"),
    (112, "Could not find specified domain"),
    (113, "Could not find specified service"),
    (126, "Request type is no longer supported"),
    (130, "The system encountered a condition where behavior was undefined"),
    (139, "Service cannot presently execute"),
    (144, "Requestor lacks required entitlement"),
    (146, "Domain is in on-demand-only mode"),
    (150, "Operation not permitted while System Integrity Protection is engaged"),
    (155, "Refusing to execute/trust quarantined program/file"),
];

/// launchd's words for an exit code, as far as they are known.
pub fn words(code: u8) -> &'static str {
    let other = || OTHER_WORDS.iter().find(|(known, _)| *known == code).map(|(_, text)| *text);
    Failure::from_code(code).map(Failure::text).or_else(other).unwrap_or("Unknown error")
}

/// The answer to one call.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// The exit code.
    pub code: u8,
    /// What goes to standard output.
    pub stdout: String,
    /// What goes to standard error.
    pub stderr: String,
    /// What `asuser` becomes; nothing else runs a program.
    pub run: Vec<String>,
}

impl Answer {
    /// Exit code 0 and not a word.
    pub fn silent() -> Self {
        Self::default()
    }

    /// Exit code 0 with something to read.
    pub fn printed(stdout: String) -> Self {
        Self { stdout, ..Self::default() }
    }

    /// A failure without a word, as `kickstart` gives.
    pub fn mute(code: u8) -> Self {
        Self { code, ..Self::default() }
    }

    /// A failure with its own text.
    pub fn refused(code: u8, stderr: String) -> Self {
        Self { code, stderr, ..Self::default() }
    }

    /// "Bootstrap failed: 5: Input/output error", with the real code hidden where it would be.
    pub fn failed(what: &str, failure: Failure, caller: Privilege) -> Self {
        let seen = failure.seen_by(caller);
        let mut stderr = format!("{what} failed: {}: {}\n", seen.code(), seen.text());
        if seen != failure || (failure == Failure::InputOutput && caller != Privilege::Root) {
            stderr.push_str(RICHER_ERRORS);
            stderr.push('\n');
        }
        Self::refused(seen.code(), stderr)
    }

    /// `kickstart` says nothing when the job is busy, and names the service otherwise.
    pub fn kickstart_failed(code: u8, service: &str) -> Self {
        if code == Failure::AlreadyInProgress.code() {
            return Self::mute(code);
        }
        let text = words(code);
        Self::refused(code, format!("Could not kickstart service \"{service}\": {code}: {text}\n"))
    }

    /// The old verbs print an error and exit with 0 all the same.
    pub fn legacy(verb: LegacyVerb, failure: Failure, caller: Privilege) -> Self {
        // The path is looked at before launchd is asked, so everybody hears that it is not there.
        let seen = if failure == Failure::NoSuchFile { failure } else { failure.seen_by(caller) };
        let (what, instead) = verb.in_failures();
        let mut stderr = format!("{what} failed: {}: {}\n", seen.code(), seen.text());
        if seen == Failure::InputOutput && caller != Privilege::Root {
            let hint = format!("Try running `launchctl {instead}` as root for richer errors.\n");
            stderr.push_str(&hint);
        }
        Self { code: 0, stderr, ..Self::default() }
    }

    /// The domain does not exist.
    pub fn no_such_domain(domain: Domain) -> Self {
        Self::refused(
            NO_SUCH_DOMAIN,
            format!("Bad request.\nCould not find domain for {}\n", domain.description()),
        )
    }

    /// The label is not registered in the domain.
    pub fn no_such_service(target: &ServiceTarget) -> Self {
        Self::refused(
            NO_SUCH_SERVICE,
            format!(
                "Bad request.\nCould not find service \"{}\" in domain for {}\n",
                target.label,
                target.domain.description()
            ),
        )
    }
}

/// The old verbs that hide their exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LegacyVerb {
    /// `load`.
    Load,
    /// `unload`.
    Unload,
}

impl LegacyVerb {
    /// The old verb, if it is one that hides its exit code.
    pub fn of(verb: VerbName) -> Option<Self> {
        [(VerbName::Load, Self::Load), (VerbName::Unload, Self::Unload)]
            .into_iter()
            .find(|(name, _)| *name == verb)
            .map(|(_, old)| old)
    }

    /// The name in "... failed", and the verb that is recommended instead.
    const fn in_failures(self) -> (&'static str, &'static str) {
        match self {
            Self::Load => ("Load", "bootstrap"),
            Self::Unload => ("Unload", "bootout"),
        }
    }
}

/// Who calls, as far as launchd cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privilege {
    /// Sees real codes and may act everywhere.
    Root,
    /// The user whose launchd this is.
    Owner,
    /// Any other user.
    Stranger,
}

/// Why launchd refused. The number is the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Failure {
    /// Another user's domain, or the system's.
    NotPermitted = 1,
    /// The plist is not there.
    NoSuchFile = 2,
    /// The label is not registered.
    NoSuchProcess = 3,
    /// Any cause that an ordinary user is not told.
    InputOutput = 5,
    /// macOS 11 and older: the job takes long to stop.
    InProgress = 36,
    /// The label is registered, perhaps still draining.
    AlreadyInProgress = 37,
    /// The file is no property list.
    InvalidPropertyList = 109,
    /// The property list names no label.
    MissingLabel = 110,
    /// The property list names no program.
    MissingProgram = 111,
    /// The override database says no.
    Disabled = 119,
    /// The plist's owner or mode is wrong.
    BadOwnership = 122,
    /// The user is logging out.
    TearingDown = 124,
    /// There is no such session.
    UnsupportedAction = 125,
    /// Several plists failed.
    Multiple = 133,
    /// The job does not want this kind of session.
    WrongSession = 134,
}

impl Failure {
    const ALL: [Self; 15] = [
        Self::NotPermitted,
        Self::NoSuchFile,
        Self::NoSuchProcess,
        Self::InputOutput,
        Self::InProgress,
        Self::AlreadyInProgress,
        Self::InvalidPropertyList,
        Self::MissingLabel,
        Self::MissingProgram,
        Self::Disabled,
        Self::BadOwnership,
        Self::TearingDown,
        Self::UnsupportedAction,
        Self::Multiple,
        Self::WrongSession,
    ];

    /// The failure with this exit code, if launchd has one.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|failure| failure.code() == code)
    }

    /// The exit code of `launchctl`.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// launchd's words for it.
    pub const fn text(self) -> &'static str {
        match self {
            Self::NotPermitted => "Operation not permitted",
            Self::NoSuchFile => "No such file or directory",
            Self::NoSuchProcess => "No such process",
            Self::InputOutput => "Input/output error",
            Self::InProgress => "Operation now in progress",
            Self::AlreadyInProgress => "Operation already in progress",
            Self::InvalidPropertyList => "Invalid property list",
            Self::MissingLabel => "Invalid or missing service identifier",
            Self::MissingProgram => "Invalid or missing Program/ProgramArguments",
            Self::Disabled => "Service is disabled",
            Self::BadOwnership => "Path had bad ownership/permissions",
            Self::TearingDown => "Domain is tearing down",
            Self::UnsupportedAction => "Domain does not support specified action",
            Self::Multiple => "Multiple errors were returned; see stderr",
            Self::WrongSession => "Service cannot load in requested session",
        }
    }

    /// What this caller is told: most causes become code 5 for anyone but root.
    #[must_use]
    pub const fn seen_by(self, caller: Privilege) -> Self {
        match caller {
            Privilege::Root => self,
            Privilege::Owner | Privilege::Stranger => self.masked(),
        }
    }

    const fn masked(self) -> Self {
        match self {
            Self::NotPermitted
            | Self::NoSuchProcess
            | Self::InputOutput
            | Self::InProgress
            | Self::TearingDown
            | Self::UnsupportedAction
            | Self::Multiple => self,
            Self::NoSuchFile
            | Self::AlreadyInProgress
            | Self::InvalidPropertyList
            | Self::MissingLabel
            | Self::MissingProgram
            | Self::Disabled
            | Self::BadOwnership
            | Self::WrongSession => Self::InputOutput,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_user_is_told_five_and_root_the_cause() {
        let user = Answer::failed("Bootstrap", Failure::Disabled, Privilege::Owner);
        assert_eq!(user.code, 5);
        assert_eq!(
            user.stderr,
            "Bootstrap failed: 5: Input/output error\n\
             Try re-running the command as root for richer errors.\n"
        );
        let root = Answer::failed("Bootstrap", Failure::Disabled, Privilege::Root);
        assert_eq!(root.code, 119);
        assert_eq!(root.stderr, "Bootstrap failed: 119: Service is disabled\n");
    }

    #[test]
    fn codes_that_everybody_sees() {
        for failure in [Failure::NoSuchProcess, Failure::UnsupportedAction, Failure::TearingDown] {
            let answer = Answer::failed("Boot-out", failure, Privilege::Owner);
            assert_eq!(answer.code, failure.code());
            assert!(!answer.stderr.contains("richer"), "{}", answer.stderr);
        }
    }

    #[test]
    fn every_code_leads_back_to_its_failure() {
        for failure in Failure::ALL {
            assert_eq!(Failure::from_code(failure.code()), Some(failure));
        }
        assert_eq!(Failure::from_code(200), None);
        assert_eq!(words(5), "Input/output error");
        assert_eq!(words(146), "Domain is in on-demand-only mode");
        assert_eq!(words(200), "Unknown error");
    }

    /// Chapter 2, "Legacy second lines"; exit 0 [C LifeOS#2068].
    #[test]
    fn the_old_verbs_exit_with_zero_whatever_they_say() {
        let masked = Answer::legacy(LegacyVerb::Unload, Failure::WrongSession, Privilege::Owner);
        assert_eq!(masked.code, 0);
        assert_eq!(
            masked.stderr,
            "Unload failed: 5: Input/output error\n\
             Try running `launchctl bootout` as root for richer errors.\n"
        );
        let missing = Answer::legacy(LegacyVerb::Load, Failure::NoSuchFile, Privilege::Owner);
        assert_eq!(missing.stderr, "Load failed: 2: No such file or directory\n");
        let root = Answer::legacy(LegacyVerb::Load, Failure::Disabled, Privilege::Root);
        assert_eq!(root.stderr, "Load failed: 119: Service is disabled\n");
    }
}
