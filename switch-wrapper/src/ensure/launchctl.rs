//! launchctl's command lines, and what is read from its answers.
//!
//! Exit codes first. Of the text of `print`, which is no interface (launchctl(1) says so), only lines at exactly one
//! tab are read: nested blocks repeat the same keys, and a job's own environment may hold look-alikes.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use nixfleet_protocol::external::{Ended, ExternalError};

use crate::messages::with_causes;

/// The label is not registered.
const NOT_LOADED: i32 = 113;

/// Answers that mean that the domain is not there.
pub(super) const NO_DOMAIN: [i32; 2] = [112, 125];

/// What `print` shows as the last exit code of a job whose program or output file cannot be opened.
const EX_CONFIG: &str = "78";

/// launchd's own default, where `print` does not tell.
const DEFAULT_EXIT_TIMEOUT: Duration = Duration::from_secs(5);

/// The job in one domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum JobView {
    /// The domain is not there.
    NoDomain,
    /// The label is not registered in it.
    NotLoaded,
    /// It is.
    Loaded(Job),
    /// launchctl did not answer in a way that can be understood.
    Unclear(String),
}

/// A registered job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Job {
    /// Its main process, if it has one.
    pub(super) pid: Option<u32>,
    /// It was told to end and is about to be removed.
    pub(super) is_leaving: bool,
    /// launchd could not run it at all: its last exit code is EX_CONFIG.
    pub(super) cannot_run: bool,
    /// The arguments it was loaded with, a line each as `print` shows them; `None` if they are not shown.
    pub(super) arguments: Option<String>,
    /// How long launchd waits before it kills the job.
    pub(super) exit_timeout: Duration,
}

impl Job {
    /// Whether it was loaded with these arguments, as far as can be seen.
    pub(super) fn has_arguments(&self, wanted: &[String]) -> bool {
        let lines =
            |text: &str| text.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>();
        self.arguments.as_ref().is_none_or(|loaded| lines(loaded) == lines(&wanted.join("\n")))
    }
}

/// Makes a command line of launchctl.
pub(super) fn command(launchctl: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(launchctl);
    command.args(words).stdin(Stdio::null()).env("LC_ALL", "C");
    command
}

/// Reads the answer to `print <domain>/<label>`.
pub(super) fn read_print(answer: &Result<Ended, ExternalError>) -> JobView {
    match answer {
        Err(error) => JobView::Unclear(with_causes(error)),
        Ok(ended) => match ended.exit_code {
            Some(0) => JobView::Loaded(read_job(&ended.stdout)),
            Some(NOT_LOADED) => JobView::NotLoaded,
            Some(code) if NO_DOMAIN.contains(&code) => JobView::NoDomain,
            Some(code) => JobView::Unclear(format!("print exited {code}: {}", ended.stderr.trim())),
            None => JobView::Unclear("print was killed".to_owned()),
        },
    }
}

fn read_job(text: &str) -> Job {
    let state = value_of(text, "state").unwrap_or_default();
    let exit_timeout = value_of(text, "exit timeout").and_then(|seconds| seconds.parse().ok());
    Job {
        pid: value_of(text, "pid").and_then(|pid| pid.parse().ok()),
        is_leaving: matches!(state, "SIGTERMed" | "SIGKILLed" | "languishing"),
        cannot_run: value_of(text, "last exit code")
            .is_some_and(|code| code.starts_with(EX_CONFIG)),
        arguments: block_of(text, "arguments"),
        exit_timeout: exit_timeout.map_or(DEFAULT_EXIT_TIMEOUT, Duration::from_secs),
    }
}

/// The value of `key = value` at one tab.
fn value_of<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let line = line.strip_prefix('\t').filter(|line| !line.starts_with('\t'))?;
        line.strip_prefix(key)?.strip_prefix(" = ")
    })
}

/// What stands between `key = {` and `}`, both at one tab.
fn block_of(text: &str, key: &str) -> Option<String> {
    let opening = format!("\t{key} = {{");
    let mut lines = text.lines().skip_while(|line| *line != opening);
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
        assert!(!job.is_leaving);
        assert_eq!(job.exit_timeout, Duration::from_secs(7));
        let wanted =
            |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert!(job.has_arguments(&wanted(&["/bin/sh", "-c", "exec /a \"b\" c"])));
        assert!(!job.has_arguments(&wanted(&["/bin/sh", "-c", "exec /other"])));
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
    }

    #[test]
    fn a_text_that_says_nothing_is_still_a_loaded_job() {
        let JobView::Loaded(job) = print_answers(0, "") else { panic!() };
        assert_eq!((job.pid, job.arguments.as_deref()), (None, None));
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
    }
}
