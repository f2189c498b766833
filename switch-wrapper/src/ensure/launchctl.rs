//! launchctl's command lines, and what is read from its answers.
//!
//! Exit codes first. Of the text of `print`, which is no interface (launchctl(1) says so), only lines at exactly one
//! tab are read: nested blocks repeat the same keys, and a job's own environment may hold look-alikes.

use std::{
    collections::BTreeMap,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use nixfleet_protocol::external::{Ended, ExternalError};

use super::definition::Definition;
use crate::messages::with_causes;

/// The label is not registered.
pub(crate) const NOT_LOADED: i32 = 113;

/// Answers that mean that the domain is not there.
pub(crate) const NO_DOMAIN: [i32; 2] = [112, 125];

/// What `print` shows as the last exit code of a job whose program or output file cannot be opened.
const EX_CONFIG: &str = "78";

/// launchd's own default, where `print` does not tell.
const DEFAULT_EXIT_TIMEOUT: Duration = Duration::from_secs(5);

/// The single values that a definition may set and `print` shows.
const VALUES: [&str; 5] =
    ["stdout path", "stderr path", "working directory", "exit timeout", "minimum runtime"];

/// The job in one domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum JobView {
    /// The domain is not there.
    NoDomain,
    /// The label is not registered in it.
    NotLoaded,
    /// It is.
    Loaded(Job),
    /// launchctl did not answer in a way that can be understood.
    Unclear(String),
    /// There is no launchctl to be asked.
    NoTool(String),
}

impl JobView {
    /// Whether nothing is known of the job.
    pub(crate) const fn is_unanswered(&self) -> bool {
        matches!(self, Self::Unclear(_) | Self::NoTool(_))
    }
}

/// A registered job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Job {
    /// Its main process, if it has one.
    pub(crate) pid: Option<u32>,
    /// It was told to end and is about to be removed.
    pub(crate) is_leaving: bool,
    /// `print` showed it in a way that can be read. Of one where it did not, only that it is registered is known.
    pub(crate) is_readable: bool,
    /// launchd could not run it at all: its last exit code is EX_CONFIG.
    pub(crate) cannot_run: bool,
    /// How its last process ended, unless that was well: the exit code or the signal, in launchd's words.
    pub(crate) last_end: Option<String>,
    /// How often it was started since it was loaded, where `print` tells.
    pub(crate) runs: Option<u64>,
    /// launchd holds its start back, and why.
    pub(crate) pended: Option<String>,
    /// The arguments it was loaded with, a line each as `print` shows them; `None` if they are not shown.
    pub(crate) arguments: Option<String>,
    /// The environment it was loaded with, likewise.
    pub(crate) environment: Option<String>,
    /// The single values that a definition may set, by their names in `print`.
    pub(crate) values: BTreeMap<&'static str, String>,
    /// How long launchd waits before it kills the job.
    pub(crate) exit_timeout: Duration,
}

impl Job {
    /// Whether it was loaded with these arguments, as far as can be seen.
    pub(crate) fn has_arguments(&self, wanted: &[String]) -> bool {
        let lines =
            |text: &str| text.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>();
        self.arguments.as_ref().is_none_or(|loaded| lines(loaded) == lines(&wanted.join("\n")))
    }

    /// What else it was loaded with that the definition does not say so, by its name in `print`. What `print` does not
    /// show is no difference.
    pub(crate) fn differs_in(&self, wanted: &Definition) -> Option<String> {
        let value = |name: &&'static str| {
            let loaded = self.values.get(*name)?;
            wanted.values.get(*name).filter(|wanted| *wanted != loaded)
        };
        if let Some(name) = VALUES.iter().find(|name| value(name).is_some()) {
            return Some((*name).to_owned());
        }
        let environment = self.environment.as_ref()?;
        let is_there = |line: &str| environment.lines().any(|loaded| loaded.trim() == line);
        wanted
            .environment
            .iter()
            .filter(|(_, value)| !value.contains('\n') && value.trim() == value.as_str())
            .find(|(name, value)| !is_there(&format!("{name} => {value}")))
            .map(|(name, _)| format!("environment variable {name}"))
    }
}

/// Makes a command line of launchctl.
pub(crate) fn command(launchctl: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(launchctl);
    command.args(words).stdin(Stdio::null()).env("LC_ALL", "C");
    command
}

/// Reads the answer to `print <domain>/<label>`.
pub(crate) fn read_print(answer: &Result<Ended, ExternalError>) -> JobView {
    match answer {
        Err(error @ ExternalError::Spawn { .. }) => JobView::NoTool(with_causes(error)),
        Err(error @ ExternalError::TimedOut { .. }) => JobView::Unclear(with_causes(error)),
        Ok(ended) => match ended.exit_code {
            Some(0) => JobView::Loaded(read_job(&ended.stdout)),
            Some(NOT_LOADED) => JobView::NotLoaded,
            Some(code) if NO_DOMAIN.contains(&code) => JobView::NoDomain,
            Some(code) => JobView::Unclear(format!("print exited {code}: {}", ended.stderr.trim())),
            None => JobView::Unclear("print was killed".to_owned()),
        },
    }
}

pub(crate) fn read_job(text: &str) -> Job {
    let state = value_of(text, "state").unwrap_or_default();
    // Every release shows at least these of every job; an answer that was cut may lack the rest.
    let is_complete = state != "running" || value_of(text, "pid").is_some();
    let is_readable = value_of(text, "path").is_some() && !state.is_empty() && is_complete;
    let exit_timeout = value_of(text, "exit timeout").and_then(|seconds| seconds.parse().ok());
    let last_end = value_of(text, "last exit code")
        .filter(|code| *code != "0" && *code != "(never exited)")
        .map(|code| format!("exit code {code}"));
    let last_signal =
        || value_of(text, "last terminating signal").map(|signal| format!("signal {signal}"));
    // After crashes the minimum runtime is longer than the definition says; what it says is the base then.
    let value = |name| value_of(text, &format!("base {name}")).or_else(|| value_of(text, name));
    let values = VALUES.iter().filter_map(|name| Some((*name, value(name)?.to_owned())));
    Job {
        is_readable,
        last_end: last_end.or_else(last_signal),
        runs: value_of(text, "runs").and_then(|runs| runs.parse().ok()),
        pended: value_of(text, "pended nondemand spawn").map(str::to_owned),
        environment: block_of(text, "environment"),
        values: values.collect(),
        pid: value_of(text, "pid").and_then(|pid| pid.parse().ok()),
        is_leaving: matches!(state, "SIGTERMed" | "SIGKILLed" | "languishing"),
        cannot_run: value_of(text, "last exit code")
            .is_some_and(|code| code.starts_with(EX_CONFIG)),
        arguments: block_of(text, "arguments"),
        exit_timeout: exit_timeout.map_or(DEFAULT_EXIT_TIMEOUT, Duration::from_secs),
    }
}

/// The value of `key = value` at one tab.
pub(crate) fn value_of<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let line = line.strip_prefix('\t').filter(|line| !line.starts_with('\t'))?;
        line.strip_prefix(key)?.strip_prefix(" = ")
    })
}

/// What stands between `key = {` or `key {` and `}`, both at one tab.
fn block_of(text: &str, key: &str) -> Option<String> {
    let openings = [format!("\t{key} = {{"), format!("\t{key} {{")];
    let mut lines = text.lines().skip_while(|line| !openings.iter().any(|opening| line == opening));
    lines.next()?;
    let body: Vec<&str> = lines.take_while(|line| *line != "\t}").collect();
    Some(body.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "gui/501/com.nixfleet.agent = {\n\tactive count = 1\n\tpath = /Users/me/Library/LaunchAgents/com.nixfleet.agent.plist\n\ttype = LaunchAgent\n\tstate = running\n\n\tprogram = /bin/sh\n\targuments = {\n\t\t/bin/sh\n\t\t-c\n\t\texec /a \"b\" c\n\t}\n\n\tenvironment {\n\t\tpid = 1\n\t\tXPC_SERVICE_NAME => com.nixfleet.agent\n\t}\n\n\tdomain = gui/501 [100022]\n\tminimum runtime = 10\n\texit timeout = 7\n\truns = 3\n\tpid = 4242\n\tresource coalition = {\n\t\tstate = active\n\t\tpid = 9\n\t}\n}\n";

    fn print_answers(exit_code: i32, stdout: &str) -> JobView {
        let (stdout, stderr) = (stdout.to_owned(), "some text".to_owned());
        read_print(&Ok(Ended { exit_code: Some(exit_code), signal: None, stdout, stderr }))
    }

    #[test]
    fn a_loaded_job_is_read_past_its_decoys() {
        let JobView::Loaded(job) = print_answers(0, PRINTED) else { panic!() };
        assert_eq!(job.pid, Some(4242));
        assert!(!job.is_leaving && job.is_readable);
        assert_eq!(job.exit_timeout, Duration::from_secs(7));
        let wanted =
            |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert!(job.has_arguments(&wanted(&["/bin/sh", "-c", "exec /a \"b\" c"])));
        assert!(!job.has_arguments(&wanted(&["/bin/sh", "-c", "exec /other"])));
        assert_eq!(job.runs, Some(3));
        assert_eq!((job.last_end.as_deref(), job.pended.as_deref()), (None, None));
    }

    #[test]
    fn a_draining_job_is_leaving_and_an_idle_one_has_no_pid() {
        let leaving = PRINTED.replace("state = running", "state = SIGTERMed");
        let JobView::Loaded(job) = print_answers(0, &leaving) else { panic!() };
        assert!(job.is_leaving);
        let idle =
            PRINTED.replace("\tpid = 4242\n", "").replace("state = running", "state = not running");
        let JobView::Loaded(job) = print_answers(0, &idle) else { panic!() };
        assert_eq!((job.pid, job.is_leaving, job.cannot_run), (None, false, false));
        let missing = idle.replace("\truns = 3", "\tlast exit code = 78: EX_CONFIG\n\truns = 3");
        let JobView::Loaded(job) = print_answers(0, &missing) else { panic!() };
        assert!(job.cannot_run);
        assert_eq!(job.last_end.as_deref(), Some("exit code 78: EX_CONFIG"));
        let killed = idle.replace("\truns", "\tlast terminating signal = Killed: 9\n\truns");
        let JobView::Loaded(job) = print_answers(0, &killed) else { panic!() };
        assert_eq!(job.last_end.as_deref(), Some("signal Killed: 9"));
    }

    #[test]
    fn what_is_shown_and_differs_is_named() {
        let JobView::Loaded(job) = print_answers(0, PRINTED) else { panic!() };
        let differs = |environment: &[(&str, &str)], values: &[(&'static str, &str)]| {
            let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
            job.differs_in(&Definition {
                environment: environment.iter().map(owned).collect(),
                values: values.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(),
                ..Definition::default()
            })
        };
        assert_eq!(differs(&[], &[]), None);
        assert_eq!(
            differs(&[("XPC_SERVICE_NAME", "com.nixfleet.agent")], &[("exit timeout", "7")]),
            None
        );
        assert_eq!(differs(&[], &[("exit timeout", "8")]).as_deref(), Some("exit timeout"));
        let after_crashes = PRINTED
            .replace("\tminimum", "\tbase minimum runtime = 10\n\tminimum")
            .replace("\tminimum runtime = 10", "\tminimum runtime = 40");
        let JobView::Loaded(paused) = print_answers(0, &after_crashes) else { panic!() };
        assert_eq!(paused.values["minimum runtime"], "10");
        // Not shown, so not known.
        assert_eq!(differs(&[], &[("stdout path", "/log")]), None);
        assert_eq!(differs(&[("A", "b")], &[]).as_deref(), Some("environment variable A"));
    }

    #[test]
    fn a_text_that_says_nothing_is_still_a_loaded_job() {
        let JobView::Loaded(job) = print_answers(0, "") else { panic!() };
        assert_eq!((job.pid, job.arguments.as_deref()), (None, None));
        assert!(!job.is_readable);
        let cut = PRINTED.replace("\tpid = 4242\n", "");
        let JobView::Loaded(cut) = print_answers(0, &cut) else { panic!() };
        assert!(!cut.is_readable, "it runs, and no process of it is shown");
        assert!(job.has_arguments(&["anything".to_owned()]));
        assert_eq!(job.exit_timeout, DEFAULT_EXIT_TIMEOUT);
    }

    #[test]
    fn exit_codes_come_first() {
        assert_eq!(print_answers(113, PRINTED), JobView::NotLoaded);
        assert_eq!(print_answers(112, ""), JobView::NoDomain);
        assert_eq!(print_answers(125, ""), JobView::NoDomain);
        assert!(matches!(print_answers(64, ""), JobView::Unclear(_)));
        let limit = Duration::from_secs(10);
        let hung = Err(ExternalError::TimedOut { program: "launchctl".to_owned(), limit });
        let JobView::Unclear(why) = read_print(&hung) else { panic!() };
        assert!(why.contains("10 s"), "{why}");
        let source = std::io::Error::from(std::io::ErrorKind::NotFound);
        let missing = Err(ExternalError::Spawn { program: "/bin/launchctl".to_owned(), source });
        let JobView::NoTool(why) = read_print(&missing) else { panic!() };
        assert!(why.contains("/bin/launchctl"), "{why}");
    }
}
