//! The calls of `launchctl`. Nothing is looked up here; [`Command::parse`] reads the arguments.

mod legacy;
mod parse;

use std::path::PathBuf;

use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use super::{
    definition::Definition,
    domain::{Domain, ServiceTarget},
};

/// The verbs that the simulation knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VerbName {
    /// Registers jobs.
    Bootstrap,
    /// Stops and forgets a job.
    Bootout,
    /// Starts a job.
    Kickstart,
    /// Signals a job.
    Kill,
    /// Shows a domain or a job.
    Print,
    /// Shows the override database.
    PrintDisabled,
    /// Clears an override.
    Enable,
    /// Sets an override.
    Disable,
    /// The old listing.
    List,
    /// The old `bootstrap`.
    Load,
    /// The old `bootout`, by plist.
    Unload,
    /// The old `bootout`, by label.
    Remove,
    /// The old `kickstart`.
    Start,
    /// The old `kill`.
    Stop,
    /// Registers a job without a plist.
    Submit,
    /// Runs a program in a user's context.
    Asuser,
    /// Names the session.
    Managername,
    /// Shows whose session it is.
    Manageruid,
    /// Names launchd's version.
    Version,
}

impl VerbName {
    const ALL: [(Self, &'static str, &'static str); 19] = [
        (Self::Bootstrap, "bootstrap", "Bootstrap"),
        (Self::Bootout, "bootout", "Boot-out"),
        (Self::Kickstart, "kickstart", "Kickstart"),
        (Self::Kill, "kill", "Kill"),
        (Self::Print, "print", "Print"),
        (Self::PrintDisabled, "print-disabled", "Print-disabled"),
        (Self::Enable, "enable", "Enable"),
        (Self::Disable, "disable", "Disable"),
        (Self::List, "list", "List"),
        (Self::Load, "load", "Load"),
        (Self::Unload, "unload", "Unload"),
        (Self::Remove, "remove", "Remove"),
        (Self::Start, "start", "Start"),
        (Self::Stop, "stop", "Stop"),
        (Self::Submit, "submit", "Submit"),
        (Self::Asuser, "asuser", "Asuser"),
        (Self::Managername, "managername", "Managername"),
        (Self::Manageruid, "manageruid", "Manageruid"),
        (Self::Version, "version", "Version"),
    ];

    /// The verb as typed.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(_, typed, _)| *typed == word).map(|(verb, _, _)| verb)
    }

    /// How the verb is named in "... failed: 5: Input/output error".
    pub fn in_failures(self) -> &'static str {
        Self::ALL.into_iter().find(|(verb, _, _)| *verb == self).map_or("", |(_, _, name)| name)
    }
}

/// A call that makes sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// `bootstrap DOMAIN PLIST...`
    Bootstrap {
        /// Where to register.
        domain: Domain,
        /// What to register.
        paths: Vec<PathBuf>,
    },
    /// `bootout [--wait] DOMAIN/LABEL`
    Bootout {
        /// What to stop.
        target: ServiceTarget,
        /// When to answer.
        patience: Patience,
    },
    /// `bootout DOMAIN PLIST`
    BootoutPlist {
        /// Where it is registered.
        domain: Domain,
        /// The file that names the label.
        path: PathBuf,
    },
    /// `bootout DOMAIN`
    BootoutDomain(Domain),
    /// `kickstart [-k] [-p] [-s] DOMAIN/LABEL`
    Kickstart {
        /// What to start.
        target: ServiceTarget,
        /// What to do when it runs.
        running: WhenRunning,
        /// What to print.
        report: Report,
        /// How it starts.
        launch: Launch,
    },
    /// `kill SIGNAL DOMAIN/LABEL`
    Kill {
        /// What to send.
        signal: Signal,
        /// To whom.
        target: ServiceTarget,
    },
    /// `print DOMAIN`
    PrintDomain(Domain),
    /// `print DOMAIN/LABEL`
    PrintService(ServiceTarget),
    /// `print-disabled DOMAIN`
    PrintDisabled(Domain),
    /// `enable DOMAIN/LABEL`
    Enable(ServiceTarget),
    /// `disable DOMAIN/LABEL`
    Disable(ServiceTarget),
    /// `list`
    List,
    /// `list LABEL`
    ListLabel(String),
    /// `load [-wF] PATH...`
    Load {
        /// Plists, or folders of plists.
        paths: Vec<PathBuf>,
        /// The flags.
        options: LegacyOptions,
    },
    /// `unload [-w] PATH...`
    Unload {
        /// Plists, or folders of plists.
        paths: Vec<PathBuf>,
        /// The flags.
        options: LegacyOptions,
    },
    /// `remove LABEL`
    Remove(String),
    /// `start LABEL`
    Start(String),
    /// `stop LABEL`
    Stop(String),
    /// `submit -l LABEL [-p PROGRAM] [-o FILE] [-e FILE] -- ARGUMENT...`
    Submit(Box<Definition>),
    /// `asuser UID PROGRAM ARGUMENT...`
    Asuser {
        /// Whose context.
        uid: u32,
        /// What to run.
        words: Vec<String>,
    },
    /// `managername`
    Managername,
    /// `manageruid`
    Manageruid,
    /// `version`
    Version,
}

/// When `bootout` answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// As soon as SIGTERM is sent.
    AtOnce,
    /// When the label is gone.
    UntilGone,
}

/// What `kickstart` does with a running job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenRunning {
    /// Leaves it.
    Keep,
    /// `-k`: ends it first.
    Restart,
}

/// What `kickstart` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// Nothing.
    Nothing,
    /// `-p`: the process.
    Pid,
}

/// How a process starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Launch {
    /// It runs.
    Running,
    /// `kickstart -s`: it is stopped before its first instruction.
    Suspended,
}

/// The flags of `load` and `unload`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LegacyOptions {
    /// `-w`: flips the override database too.
    pub write: bool,
    /// `-F`: loads a disabled job all the same.
    pub force: bool,
}

impl Command {
    /// The plists that the call names.
    pub fn plists(&self) -> &[PathBuf] {
        match self {
            Self::Bootstrap { paths, .. }
            | Self::Load { paths, .. }
            | Self::Unload { paths, .. } => paths,
            Self::BootoutPlist { path, .. } => std::slice::from_ref(path),
            Self::Bootout { .. }
            | Self::BootoutDomain(_)
            | Self::Kickstart { .. }
            | Self::Kill { .. }
            | Self::PrintDomain(_)
            | Self::PrintService(_)
            | Self::PrintDisabled(_)
            | Self::Enable(_)
            | Self::Disable(_)
            | Self::List
            | Self::ListLabel(_)
            | Self::Remove(_)
            | Self::Start(_)
            | Self::Stop(_)
            | Self::Submit(_)
            | Self::Asuser { .. }
            | Self::Managername
            | Self::Manageruid
            | Self::Version => &[],
        }
    }

    /// The label that the call names, where the arguments alone tell.
    pub fn label(&self) -> Option<&str> {
        match self {
            Self::Bootout { target, .. }
            | Self::Kickstart { target, .. }
            | Self::Kill { target, .. }
            | Self::PrintService(target)
            | Self::Enable(target)
            | Self::Disable(target) => Some(&target.label),
            Self::ListLabel(label)
            | Self::Remove(label)
            | Self::Start(label)
            | Self::Stop(label) => Some(label),
            Self::Submit(definition) => Some(&definition.label),
            Self::Bootstrap { .. }
            | Self::BootoutPlist { .. }
            | Self::BootoutDomain(_)
            | Self::PrintDomain(_)
            | Self::PrintDisabled(_)
            | Self::List
            | Self::Load { .. }
            | Self::Unload { .. }
            | Self::Asuser { .. }
            | Self::Managername
            | Self::Manageruid
            | Self::Version => None,
        }
    }
}
