//! The command line: own verbs first, everything else is home-manager's.

use std::{
    ffi::{OsStr, OsString},
    time::Duration,
};

use clap::{Args, Command, CommandFactory as _, Parser, Subcommand};
use nixfleet_protocol::{
    journal::records::{HealingCause, SwitchId},
    operation::Operation,
};

use crate::{
    ensure::JobKind,
    manual::MANUAL,
    perform,
    report::Reason,
    selftest,
    settings::parse_duration,
    switch::{Options, Patience, child},
};

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Task {
    /// A switch that somebody typed.
    Switch { arguments: Vec<OsString>, options: Options },
    /// One of our own verbs.
    Own(Verb),
    /// The child at the gate.
    Gate(Vec<OsString>),
    /// The child that takes the steps of an operation, and what it is to become.
    Perform { id: SwitchId, last: Vec<OsString> },
}

/// Runs `home-manager switch`, keeps its true result, and brings the NixFleet agent back.
#[derive(Debug, Parser)]
#[command(
    name = "nixfleet-switch",
    version,
    override_usage = "nixfleet-switch [--wait[=DURATION]] [--timeout=DURATION] [HOME-MANAGER-ARGUMENTS]...\n       nixfleet-switch <COMMAND>",
    disable_help_subcommand = true
)]
struct CommandLine {
    /// Wait for a switch that is running instead of giving up with exit code 75
    #[arg(long, num_args = 0..=1, require_equals = true, value_name = "DURATION", value_parser = duration, default_missing_value = "")]
    wait: Option<Wait>,

    /// End home-manager after this time [default: 60min]
    #[arg(long, require_equals = true, value_name = "DURATION", value_parser = limit)]
    timeout: Option<Duration>,

    #[command(subcommand)]
    verb: Option<Verb>,
}

/// The parsed `--wait`.
#[derive(Debug, Clone, Copy)]
struct Wait(Patience);

/// Our own verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    #[command(flatten)]
    Operate(OperateVerb),
    /// Say whether a switch is running, how the last one ended, and how the agent is
    Status(Output),
    /// List past switches, newest first
    History(History),
    /// Print the output of a switch: the last one, or the one with this id
    Logs(Logs),
    /// Bring the agent's job to where it should be
    EnsureAgent(Ensure),
    /// Bring the watchdog's job to where it should be
    EnsureWatchdog(Ensure),
    /// Put this program at its stable path, and a watchdog beside the agent; again: bring both up to date
    Install(Install),
    /// Take watchdog and wrapper away; the journal stays
    Uninstall(Uninstall),
    /// Watch over the agent until ended; `install` makes a job of this
    Watchdog,
    /// Find what keeps this host from being well, and say what mends it
    Doctor(Output),
    /// Prove against this Mac's launchd what NixFleet relies on, with throw-away jobs; takes a minute or two
    Selftest(Selftest),
    #[command(flatten)]
    Manual(nixfleet_manual::Verb),
    /// Run a switch that the agent has accepted
    #[command(hide = true)]
    Run(Run),
    /// Be the agent of a selftest
    #[command(name = SELFTEST_AGENT, hide = true)]
    SelftestAgent(selftest::AgentArguments),
    /// Be a child of that agent
    #[command(name = SELFTEST_CHILD, hide = true)]
    SelftestChild(selftest::ChildArguments),
    /// Be the home-manager of a selftest
    #[command(name = SELFTEST_HOME_MANAGER, hide = true)]
    SelftestHomeManager {
        /// What the wrapper has passed on
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

/// The operations beside a switch.
#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum OperateVerb {
    /// Bring the checkout of `repo_url` up to date, or the one that we are in
    Pull(Operate),
    /// Pull, then switch to that
    PullSwitch(Operate),
    /// Run the host's tests: hosts/HOST/tests/T*.sh of the checkout
    Test(Operate),
    /// Update the flake's inputs in the checkout, commit that, and push it where possible
    Update(Operate),
    /// Go back to the generation before this one
    Rollback(Operate),
    /// Build, and say what a switch would change
    DryRun(Operate),
}

/// The hidden verb of the selftest's agent.
pub(crate) const SELFTEST_AGENT: &str = "selftest-agent";

/// The hidden verb of that agent's child.
pub(crate) const SELFTEST_CHILD: &str = "selftest-child";

/// The hidden verb of the selftest's home-manager.
pub(crate) const SELFTEST_HOME_MANAGER: &str = "selftest-home-manager";

/// `selftest`.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Selftest {
    /// Keep the folder, to look into
    #[arg(long)]
    pub(crate) keep: bool,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// How to print.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Output {
    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// `install`.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Install {
    /// This program alone; a watchdog that is there goes away
    #[arg(long)]
    pub(crate) no_watchdog: bool,
    /// As a step of home-manager's activation: leave the agent's job to it, and what is installed already as it is
    #[arg(long)]
    pub(crate) in_activation: bool,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// `uninstall`.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Uninstall {
    /// As a step of home-manager's activation: the switch that runs is the one that asks
    #[arg(long)]
    pub(crate) in_activation: bool,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// `history`.
#[derive(Debug, Args)]
pub(crate) struct History {
    /// How many switches at most
    #[arg(long, short = 'n', default_value_t = 20, value_name = "NUMBER")]
    pub(crate) limit: usize,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// `logs`.
#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// The switch, as `history` names it; the beginning of the id is enough
    pub(crate) id: Option<String>,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// `ensure-agent` and `ensure-watchdog`.
#[derive(Debug, Args)]
pub(crate) struct Ensure {
    /// The switch that is the reason, so that it is written down with it
    #[arg(long, hide = true, value_name = "ID", conflicts_with_all = ["cause", "missed_for_ms"])]
    pub(crate) switch: Option<SwitchId>,
    /// Why, where no switch is the reason
    #[arg(long, hide = true, value_name = "CAUSE", default_value = HealingCause::Asked.as_str())]
    pub(crate) cause: HealingCause,
    /// How long the job's process was missed, in milliseconds
    #[arg(long, hide = true, value_name = "MILLISECONDS")]
    pub(crate) missed_for_ms: Option<u64>,
    /// This process has a systemd scope of its own already
    #[arg(long = "in-own-scope", hide = true)]
    pub(crate) in_own_scope: bool,
    #[command(flatten)]
    pub(crate) output: Output,
}

impl Ensure {
    /// Why.
    pub(crate) fn reason(&self) -> Reason {
        match self.switch {
            Some(id) => Reason::Switch(id),
            None => Reason::Healing {
                cause: self.cause,
                missed_for: self.missed_for_ms.map(Duration::from_millis),
            },
        }
    }

    /// The same wish as a command line.
    pub(crate) fn as_arguments(&self, kind: JobKind) -> Vec<String> {
        let mut words = vec![kind.verb().to_owned()];
        match self.switch {
            Some(id) => words.extend(["--switch".to_owned(), id.to_string()]),
            None => words.extend(["--cause".to_owned(), self.cause.as_str().to_owned()]),
        }
        let missed_for = self.missed_for_ms.map(|time| time.to_string());
        words.extend(missed_for.into_iter().flat_map(|time| ["--missed-for-ms".to_owned(), time]));
        words.extend(self.output.json.then(|| "--json".to_owned()));
        words
    }
}

/// What all operations take beside a switch.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Operate {
    /// Wait for a switch that is running instead of giving up with exit code 75
    #[arg(long, num_args = 0..=1, require_equals = true, value_name = "DURATION", value_parser = duration, default_missing_value = "")]
    wait: Option<Wait>,

    /// End it after this time [default: 60min]
    #[arg(long, require_equals = true, value_name = "DURATION", value_parser = limit)]
    timeout: Option<Duration>,
}

impl Operate {
    fn options(self) -> Options {
        let patience = self.wait.map_or(Patience::None, |Wait(patience)| patience);
        Options { patience, timeout: self.timeout }
    }
}

impl OperateVerb {
    /// What is to be done.
    pub(crate) const fn operation(&self) -> Operation {
        match self {
            Self::Pull(_) => Operation::Pull,
            Self::PullSwitch(_) => Operation::PullSwitch,
            Self::Test(_) => Operation::Test,
            Self::Update(_) => Operation::Update,
            Self::Rollback(_) => Operation::Rollback,
            Self::DryRun(_) => Operation::DryRun,
        }
    }

    /// And how.
    pub(crate) fn options(&self) -> Options {
        match self {
            Self::Pull(operate)
            | Self::PullSwitch(operate)
            | Self::Test(operate)
            | Self::Update(operate)
            | Self::Rollback(operate)
            | Self::DryRun(operate) => operate.options(),
        }
    }
}

/// `run`.
#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The switch
    pub(crate) id: SwitchId,
    /// This process has a systemd scope of its own already
    #[arg(long = "in-own-scope", hide = true)]
    pub(crate) in_own_scope: bool,
}

/// Reads the command line. `Err` is clap's own answer: an error, or the text of `--help`.
pub(crate) fn parse(arguments: Vec<OsString>) -> Result<Task, clap::Error> {
    if child::is_child(&arguments) {
        return Ok(Task::Gate(arguments.into_iter().skip(1).collect()));
    }
    if let Some((id, last)) = perform::arguments(&arguments) {
        return Ok(Task::Perform { id, last });
    }
    let arguments = verb_first(arguments);
    if arguments.first().is_some_and(|first| is_own_verb(first)) {
        let line = MANUAL.parse::<CommandLine>(with_name(arguments))?;
        return match line.verb {
            Some(verb) => Ok(Task::Own(verb)),
            None => Ok(switch(&line, Vec::new())),
        };
    }
    let (own, home_manager) = split(arguments);
    let line = MANUAL.parse::<CommandLine>(with_name(own))?;
    Ok(switch(&line, home_manager))
}

fn switch(line: &CommandLine, arguments: Vec<OsString>) -> Task {
    let patience = line.wait.map_or(Patience::None, |Wait(patience)| patience);
    Task::Switch { arguments, options: Options { patience, timeout: line.timeout } }
}

/// The command line's description.
pub(crate) fn command() -> Command {
    CommandLine::command()
}

fn with_name(arguments: Vec<OsString>) -> impl Iterator<Item = OsString> {
    [OsString::from("nixfleet-switch")].into_iter().chain(arguments)
}

fn is_own_verb(word: &OsStr) -> bool {
    // Describing all verbs takes longer than anything else here, and flags are what most switches begin with.
    !word.as_encoded_bytes().starts_with(b"-")
        && command().get_subcommands().any(|verb| word == OsStr::new(verb.get_name()))
}

/// A verb that only our own flags stand before is a verb all the same: `--wait test` is no switch with the argument `test`.
fn verb_first(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let flags = arguments.iter().take_while(|argument| is_own_flag(argument)).count();
    if arguments.get(flags).is_some_and(|word| is_own_verb(word)) {
        arguments[..=flags].rotate_right(1);
    }
    arguments
}

/// Takes our own flags out of home-manager's arguments. Each is one word, so none can be the value of another.
fn split(arguments: Vec<OsString>) -> (Vec<OsString>, Vec<OsString>) {
    let mut own = Vec::new();
    let mut home_manager = Vec::new();
    let mut rest = arguments.into_iter();
    for argument in rest.by_ref() {
        if argument == OsStr::new("--") {
            break;
        }
        if is_own_flag(&argument) { own.push(argument) } else { home_manager.push(argument) }
    }
    home_manager.extend(rest);
    (own, home_manager)
}

fn is_own_flag(argument: &OsStr) -> bool {
    let Some(text) = argument.to_str() else { return false };
    let name = text.split('=').next().unwrap_or_default();
    matches!(name, "--wait" | "--timeout") || matches!(text, "--help" | "-h" | "--version")
}

fn duration(text: &str) -> Result<Wait, String> {
    if text.is_empty() {
        return Ok(Wait(Patience::Endless));
    }
    limit(text).map(|limit| Wait(Patience::For(limit)))
}

fn limit(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "give a duration such as `90s`, `45min` or `2h`".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Result<Task, clap::Error> {
        parse(arguments.iter().map(OsString::from).collect())
    }

    fn check(arguments: &[&str], home_manager: &[&str], patience: Patience, timeout: Option<u64>) {
        let Ok(Task::Switch { arguments: passed, options }) = parsed(arguments) else {
            panic!("{arguments:?} is no switch")
        };
        assert_eq!(passed, home_manager, "{arguments:?}");
        assert_eq!(options.patience, patience, "{arguments:?}");
        assert_eq!(options.timeout, timeout.map(Duration::from_secs), "{arguments:?}");
    }

    #[test]
    fn what_is_not_ours_is_home_manager_s() {
        check(&[], &[], Patience::None, None);
        check(
            &["--flake", ".#me", "-b", "bak", "-n"],
            &["--flake", ".#me", "-b", "bak", "-n"],
            Patience::None,
            None,
        );
        check(&["--wait", "--flake", "."], &["--flake", "."], Patience::Endless, None);
        check(
            &["--flake", ".", "--wait=90s", "--timeout=2h"],
            &["--flake", "."],
            Patience::For(Duration::from_secs(90)),
            Some(7200),
        );
        check(&["--", "--wait", "status"], &["--wait", "status"], Patience::None, None);
        check(&["--json"], &["--json"], Patience::None, None);
    }

    #[test]
    fn own_verbs_come_first_and_only_first() {
        assert!(matches!(parsed(&["watchdog"]), Ok(Task::Own(Verb::Watchdog))));
        assert!(parsed(&["watchdog", "--nonsense"]).is_err());
        assert!(matches!(
            parsed(&["status", "--json"]),
            Ok(Task::Own(Verb::Status(Output { json: true })))
        ));
        assert!(matches!(
            parsed(&["doctor", "--json"]),
            Ok(Task::Own(Verb::Doctor(Output { json: true })))
        ));
        assert!(matches!(
            parsed(&["install", "--in-activation", "--no-watchdog"]),
            Ok(Task::Own(Verb::Install(Install { in_activation: true, no_watchdog: true, .. })))
        ));
        let Ok(Task::Own(Verb::Operate(verb))) = parsed(&["pull-switch", "--timeout=2h"]) else {
            panic!("pull-switch is no operation")
        };
        assert_eq!(verb.operation(), Operation::PullSwitch);
        assert_eq!(verb.options().timeout, Some(Duration::from_hours(2)));
        let Ok(Task::Own(Verb::Operate(verb))) = parsed(&["--timeout=2h", "--wait", "test"]) else {
            panic!("test is no operation behind flags")
        };
        assert_eq!(verb.operation(), Operation::Test);
        assert_eq!(verb.options().timeout, Some(Duration::from_hours(2)));
        assert!(parsed(&["--wait", "status"]).is_err());
        assert!(parsed(&["rollback", "--flake", "."]).is_err());
        assert!(matches!(parsed(&["logs", "0198"]), Ok(Task::Own(Verb::Logs(_)))));
        check(&["--flake", "status"], &["--flake", "status"], Patience::None, None);
        assert!(matches!(parsed(&["completions", "zsh"]), Ok(Task::Own(Verb::Manual(_)))));
        assert!(parsed(&["completions"]).is_err());
        assert!(matches!(parsed(&["man", "--dir", "man1"]), Ok(Task::Own(Verb::Manual(_)))));
        check(&["--", "man"], &["man"], Patience::None, None);
        assert!(parsed(&["run", "../x"]).is_err());
        assert!(parsed(&["history", "--nonsense"]).is_err());
    }

    #[test]
    fn a_wrong_duration_is_refused() {
        for wrong in ["--timeout=soon", "--timeout=0s", "--wait=x", "--timeout"] {
            assert!(parsed(&[wrong]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_definition_is_sound() {
        command().debug_assert();
    }
}
