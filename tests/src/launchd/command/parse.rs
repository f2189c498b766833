//! Reads the arguments of a call; the old verbs are in [`super::legacy`].

use std::path::PathBuf;

use rustix::process::Signal;

use super::{Command, Launch, Patience, Report, VerbName, WhenRunning, legacy};
use crate::launchd::{
    answer::{Answer, USAGE},
    domain::{Domain, ServiceTarget},
};

/// `bootout --wait` exists from this macOS on.
const FIRST_MACOS_WITH_WAIT: u32 = 26;

pub(super) const USAGE_TEXT: &str = "Usage: launchctl <subcommand> ... | help [subcommand]\n";
const BOOTOUT_USAGE: &str = "Unrecognized target specifier.\n\
     Usage: launchctl bootout <domain-target> [service-path1, service-path2, ...] | \
     <service-target>\n";

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
            VerbName::Load => legacy::load(rest),
            VerbName::Unload => legacy::unload(rest),
            VerbName::Remove => legacy::label(rest).map(Self::Remove),
            VerbName::Start => legacy::label(rest).map(Self::Start),
            VerbName::Stop => legacy::label(rest).map(Self::Stop),
            VerbName::Submit => legacy::submit(rest),
            VerbName::Asuser => legacy::asuser(rest),
            VerbName::Managername => alone(rest, Self::Managername),
            VerbName::Manageruid => alone(rest, Self::Manageruid),
            VerbName::Version => alone(rest, Self::Version),
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
    let (mut running, mut report, mut launch) =
        (WhenRunning::Keep, Report::Nothing, Launch::Running);
    let mut rest = words;
    while let [flag, after @ ..] = rest {
        let Some(letters) = flag.strip_prefix('-') else { break };
        for letter in letters.chars() {
            match letter {
                'k' => running = WhenRunning::Restart,
                'p' => report = Report::Pid,
                's' => launch = Launch::Suspended,
                _ => return Err(usage(USAGE_TEXT)),
            }
        }
        rest = after;
    }
    Ok(Command::Kickstart { target: service(only(rest)?)?, running, report, launch })
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

pub(super) fn only<'a>(words: &[&'a str]) -> Result<&'a str, Answer> {
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

pub(super) fn usage(text: &str) -> Answer {
    Answer::refused(USAGE, text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launchd::{command::LegacyOptions, keep_alive::KeepAlive};

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

    /// Chapter 2: the old verbs name no domain, and `submit` infers KeepAlive [C A842].
    #[test]
    fn the_old_verbs() {
        let loaded = parse("load -w -F /a.plist /b.plist", 15).unwrap();
        assert_eq!(loaded.plists().len(), 2);
        assert!(matches!(
            loaded,
            Command::Load { options: LegacyOptions { write: true, force: true }, .. }
        ));
        assert!(matches!(
            parse("unload -S Aqua /a.plist", 15),
            Ok(Command::Unload { options: LegacyOptions { write: false, force: false }, .. })
        ));
        let submitted = parse("submit -l a -o /out -- /bin/echo -n", 15).unwrap();
        let Command::Submit(definition) = submitted else { panic!("not a submit") };
        assert_eq!(definition.arguments, ["/bin/echo", "-n"]);
        assert_eq!(definition.keep_alive, KeepAlive::Always);
        for line in ["load", "load -w", "load -q /a", "unload", "remove", "start", "stop a b"] {
            refused(line);
        }
        for line in ["submit -l a", "submit -- /bin/echo", "asuser 501", "asuser x id"] {
            refused(line);
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
