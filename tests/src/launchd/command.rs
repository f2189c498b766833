//! Reads the arguments of a `launchctl` call. Nothing is looked up here.

use std::path::PathBuf;

use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use super::{
    answer::{Answer, USAGE},
    domain::{Domain, ServiceTarget},
};

/// `bootout --wait` exists from this macOS on.
const FIRST_MACOS_WITH_WAIT: u32 = 26;

const USAGE_TEXT: &str = "Usage: launchctl <subcommand> ... | help [subcommand]\n";
const BOOTOUT_USAGE: &str = "Unrecognized target specifier.\n\
     Usage: launchctl bootout <domain-target> [service-path1, service-path2, ...] | \
     <service-target>\n";

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
    /// Names the session.
    Managername,
    /// Shows whose session it is.
    Manageruid,
    /// Names launchd's version.
    Version,
}

impl VerbName {
    /// The verb as typed.
    pub fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "bootstrap" => Self::Bootstrap,
            "bootout" => Self::Bootout,
            "kickstart" => Self::Kickstart,
            "kill" => Self::Kill,
            "print" => Self::Print,
            "print-disabled" => Self::PrintDisabled,
            "enable" => Self::Enable,
            "disable" => Self::Disable,
            "list" => Self::List,
            "managername" => Self::Managername,
            "manageruid" => Self::Manageruid,
            "version" => Self::Version,
            _ => return None,
        })
    }

    /// How the verb is named in "... failed: 5: Input/output error".
    pub const fn in_failures(self) -> &'static str {
        match self {
            Self::Bootstrap => "Bootstrap",
            Self::Bootout => "Boot-out",
            Self::Kickstart => "Kickstart",
            Self::Kill => "Kill",
            Self::Print => "Print",
            Self::PrintDisabled => "Print-disabled",
            Self::Enable => "Enable",
            Self::Disable => "Disable",
            Self::List => "List",
            Self::Managername => "Managername",
            Self::Manageruid => "Manageruid",
            Self::Version => "Version",
        }
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
    /// `kickstart [-k] [-p] DOMAIN/LABEL`
    Kickstart {
        /// What to start.
        target: ServiceTarget,
        /// What to do when it runs.
        running: WhenRunning,
        /// What to print.
        report: Report,
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

impl Command {
    /// Reads the arguments after the program's name; the error is the answer to give.
    pub fn parse(argv: &[String], macos: u32) -> Result<Self, Answer> {
        let words: Vec<&str> = argv.iter().map(String::as_str).collect();
        let Some((word, rest)) = words.split_first() else {
            return Err(usage(USAGE_TEXT));
        };
        let Some(verb) = VerbName::parse(word) else {
            return Err(usage(&format!("Unrecognized subcommand: {word}\n{USAGE_TEXT}")));
        };
        match verb {
            VerbName::Bootstrap => bootstrap(rest),
            VerbName::Bootout => bootout(rest, macos),
            VerbName::Kickstart => kickstart(rest),
            VerbName::Kill => kill(rest),
            VerbName::Print => print(rest),
            VerbName::PrintDisabled => Ok(Self::PrintDisabled(domain(only(rest)?)?)),
            VerbName::Enable => Ok(Self::Enable(service(only(rest)?)?)),
            VerbName::Disable => Ok(Self::Disable(service(only(rest)?)?)),
            VerbName::List => list(rest),
            VerbName::Managername => alone(rest, Self::Managername),
            VerbName::Manageruid => alone(rest, Self::Manageruid),
            VerbName::Version => alone(rest, Self::Version),
        }
    }

    /// The plists that the call names.
    pub fn plists(&self) -> &[PathBuf] {
        match self {
            Self::Bootstrap { paths, .. } => paths,
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
            Self::ListLabel(label) => Some(label),
            Self::Bootstrap { .. }
            | Self::BootoutPlist { .. }
            | Self::BootoutDomain(_)
            | Self::PrintDomain(_)
            | Self::PrintDisabled(_)
            | Self::List
            | Self::Managername
            | Self::Manageruid
            | Self::Version => None,
        }
    }
}

fn bootstrap(words: &[&str]) -> Result<Command, Answer> {
    let Some((target, paths)) = words.split_first() else {
        return Err(usage(USAGE_TEXT));
    };
    if paths.is_empty() {
        return Err(usage(USAGE_TEXT));
    }
    Ok(Command::Bootstrap {
        domain: domain(target)?,
        paths: paths.iter().map(PathBuf::from).collect(),
    })
}

fn bootout(words: &[&str], macos: u32) -> Result<Command, Answer> {
    match words {
        ["--wait", target] if macos >= FIRST_MACOS_WITH_WAIT => {
            let target = ServiceTarget::parse(target).ok_or_else(|| usage(BOOTOUT_USAGE))?;
            Ok(Command::Bootout { target, patience: Patience::UntilGone })
        }
        [target] => match (ServiceTarget::parse(target), Domain::parse(target)) {
            (Some(target), _) => Ok(Command::Bootout { target, patience: Patience::AtOnce }),
            (None, Some(domain)) => Ok(Command::BootoutDomain(domain)),
            (None, None) => Err(usage(BOOTOUT_USAGE)),
        },
        [target, path] => Ok(Command::BootoutPlist {
            domain: Domain::parse(target).ok_or_else(|| usage(BOOTOUT_USAGE))?,
            path: PathBuf::from(path),
        }),
        _ => Err(usage(BOOTOUT_USAGE)),
    }
}

fn kickstart(words: &[&str]) -> Result<Command, Answer> {
    let (mut running, mut report) = (WhenRunning::Keep, Report::Nothing);
    let mut rest = words;
    while let [flag, after @ ..] = rest {
        match *flag {
            "-k" => running = WhenRunning::Restart,
            "-p" => report = Report::Pid,
            "-kp" | "-pk" => (running, report) = (WhenRunning::Restart, Report::Pid),
            _ => break,
        }
        rest = after;
    }
    Ok(Command::Kickstart { target: service(only(rest)?)?, running, report })
}

fn kill(words: &[&str]) -> Result<Command, Answer> {
    let [signal_word, target] = words else {
        return Err(usage(USAGE_TEXT));
    };
    let signal = signal(signal_word)
        .ok_or_else(|| usage(&format!("Unrecognized signal: {signal_word}\n{USAGE_TEXT}")))?;
    Ok(Command::Kill { signal, target: service(target)? })
}

/// `15`, `TERM` or `SIGTERM`.
fn signal(word: &str) -> Option<Signal> {
    if let Ok(number) = word.parse() {
        return Signal::from_named_raw(number);
    }
    Some(match word.strip_prefix("SIG").unwrap_or(word) {
        "HUP" => Signal::HUP,
        "INT" => Signal::INT,
        "QUIT" => Signal::QUIT,
        "ABRT" => Signal::ABORT,
        "KILL" => Signal::KILL,
        "USR1" => Signal::USR1,
        "SEGV" => Signal::SEGV,
        "USR2" => Signal::USR2,
        "TERM" => Signal::TERM,
        "STOP" => Signal::STOP,
        "CONT" => Signal::CONT,
        _ => return None,
    })
}

fn print(words: &[&str]) -> Result<Command, Answer> {
    let word = only(words)?;
    ServiceTarget::parse(word)
        .map(Command::PrintService)
        .or_else(|| Domain::parse(word).map(Command::PrintDomain))
        .ok_or_else(unrecognized_target)
}

fn list(words: &[&str]) -> Result<Command, Answer> {
    match words {
        [] => Ok(Command::List),
        [label] => Ok(Command::ListLabel((*label).to_owned())),
        _ => Err(usage(USAGE_TEXT)),
    }
}

fn alone(words: &[&str], command: Command) -> Result<Command, Answer> {
    if words.is_empty() { Ok(command) } else { Err(usage(USAGE_TEXT)) }
}

fn only<'a>(words: &[&'a str]) -> Result<&'a str, Answer> {
    match words {
        [word] => Ok(word),
        _ => Err(usage(USAGE_TEXT)),
    }
}

fn domain(word: &str) -> Result<Domain, Answer> {
    Domain::parse(word).ok_or_else(unrecognized_target)
}

fn service(word: &str) -> Result<ServiceTarget, Answer> {
    ServiceTarget::parse(word).ok_or_else(unrecognized_target)
}

fn unrecognized_target() -> Answer {
    usage(&format!("Unrecognized target specifier.\n{USAGE_TEXT}"))
}

fn usage(text: &str) -> Answer {
    Answer::refused(USAGE, text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str, macos: u32) -> Result<Command, Answer> {
        let argv: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Command::parse(&argv, macos)
    }

    fn refused(line: &str) -> String {
        let answer = parse(line, 15).unwrap_err();
        assert_eq!(answer.code, USAGE, "{line}");
        answer.stderr
    }

    #[test]
    fn wait_is_known_from_macos_26_on_only() {
        let Command::Bootout { patience, .. } = parse("bootout --wait gui/501/a", 26).unwrap()
        else {
            panic!("not a bootout");
        };
        assert_eq!(patience, Patience::UntilGone);
        assert!(refused("bootout --wait gui/501/a").starts_with("Unrecognized target specifier."));
    }

    #[test]
    fn the_forms_of_bootout() {
        assert!(matches!(parse("bootout gui/501/a", 15), Ok(Command::Bootout { .. })));
        assert!(matches!(parse("bootout gui/501", 15), Ok(Command::BootoutDomain(_))));
        assert!(matches!(parse("bootout gui/501 /a.plist", 15), Ok(Command::BootoutPlist { .. })));
        assert!(parse("bootout --wait gui/501", 26).is_err());
    }

    #[test]
    fn usage_errors() {
        assert!(refused("print com.example").starts_with("Unrecognized target specifier."));
        assert!(refused("frobnicate").starts_with("Unrecognized subcommand: frobnicate"));
        for line in ["", "print", "bootstrap gui/501", "kickstart", "kickstart -z gui/1/a", "kill"]
        {
            refused(line);
        }
    }

    #[test]
    fn kickstart_flags_in_any_order() {
        for line in ["kickstart -k -p gui/1/a", "kickstart -p -k gui/1/a", "kickstart -kp gui/1/a"]
        {
            assert!(matches!(
                parse(line, 15),
                Ok(Command::Kickstart { running: WhenRunning::Restart, report: Report::Pid, .. })
            ));
        }
    }

    #[test]
    fn signals_by_name_and_number() {
        for word in ["15", "TERM", "SIGTERM"] {
            assert_eq!(signal(word), Some(Signal::TERM), "{word}");
        }
        assert_eq!(signal("SIGNONSENSE"), None);
    }
}
