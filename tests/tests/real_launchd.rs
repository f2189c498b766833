//! The self test under the real launchd: it leaves every step well behind it, and nothing else.
//!
//! Runs on a Mac only, and only when asked to, because it loads a job under a throw-away label into the caller's own
//! launchd: `cargo test -p nixfleet-tests --test real_launchd -- --ignored`.

#![expect(clippy::unwrap_used, reason = "in a test, a panic is a failure with its place")]

mod selftest_report;

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Write as _},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use nixfleet_protocol::external::{self, Ended};
use nixfleet_tests::stage::{not_run, processes, programs::Programs, wait};
use selftest_report::{Report, Step};

/// How long the self test may take. It says itself that it takes a minute and a half, and never more than three.
const LIMIT: Duration = Duration::from_mins(5);

/// How long `launchctl` and short questions to our own programs may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// How long what the self test has ended may take to be gone: above launchd's own exit timeout of 5 s.
const GONE_LIMIT: Duration = Duration::from_secs(20);

/// What all our labels have in them.
const OURS: &str = "nixfleet";

#[test]
#[ignore = "needs a Mac: loads a job under a throw-away label into the real launchd"]
fn the_self_test_passes_and_leaves_nothing() {
    let system = rustix::system::uname();
    if system.sysname().to_bytes() != b"Darwin" {
        not_run(&format!("the real launchd is on macOS, and this is {:?}", system.sysname()));
        return;
    }
    let switch = Programs::get().unwrap().switch();
    // A program that does not know the verb would pass it to home-manager.
    let help = ask(Command::new(&switch).arg("--help"), ANSWER_LIMIT);
    assert!(help.stdout.contains("selftest"), "{} has no selftest: {help:?}", switch.display());

    let temporary = tempfile::tempdir().unwrap();
    let (labels, agents) = (loaded_labels("/bin/launchctl"), installed_agents());
    let mut selftest = Command::new(&switch);
    selftest.args(["selftest", "--json"]).env("TMPDIR", temporary.path());
    let ended = ask(&mut selftest, LIMIT);

    let report: Report =
        serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{error}: {ended:?}"));
    print(&report).unwrap();
    assert_eq!(complaints(&report), Vec::<String>::new(), "{ended:?}");
    assert_eq!(ended.exit_code, Some(0), "{ended:?}");

    processes::none_left(temporary.path(), GONE_LIMIT).unwrap();
    wait::until_true("launchd has the labels that it had before", GONE_LIMIT, || {
        Ok(loaded_labels("/bin/launchctl") == labels)
    })
    .unwrap();
    assert_eq!(installed_agents(), agents);
    let left: Vec<_> = fs::read_dir(temporary.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

/// What is wrong with a report; nothing if every step was as expected.
fn complaints(report: &Report) -> Vec<String> {
    let failed: Vec<&Step> = report.steps.iter().filter(|step| !step.ok).collect();
    let mut wrong: Vec<String> = failed
        .iter()
        .map(|step| {
            format!(
                "{} ({}): expected {}, and {}",
                step.name, step.fact, step.expectation, step.said
            )
        })
        .collect();
    if report.steps.is_empty() {
        wrong.push("there was no step".to_owned());
    }
    let counted = (report.steps.len() - failed.len(), failed.len());
    if counted != (report.passed, report.failed) {
        wrong.push(format!(
            "it counts {} passed and {} failed, and the steps say {counted:?}",
            report.passed, report.failed
        ));
    }
    wrong
}

/// For whoever reads the log: the seconds, and the answers to the questions that only a Mac can answer.
fn print(report: &Report) -> io::Result<()> {
    let mut out = io::stderr().lock();
    for step in &report.steps {
        let word = if step.ok { "ok" } else { "FAILED" };
        writeln!(out, "{word:>6} {:6.1} s  {}: {}", step.seconds, step.name, step.said)?;
    }
    for question in &report.questions {
        writeln!(out, "{}\n    {}", question.question, question.answer)?;
    }
    Ok(())
}

/// The labels of ours that are loaded in either of the user's domains.
fn loaded_labels(launchctl: impl AsRef<Path>) -> BTreeSet<String> {
    let uid = rustix::process::getuid().as_raw();
    let mut domains = 0;
    let mut labels = BTreeSet::new();
    for domain in [format!("gui/{uid}"), format!("user/{uid}")] {
        let said = ask(Command::new(launchctl.as_ref()).args(["print", &domain]), ANSWER_LIMIT);
        if said.exit_code == Some(0) {
            domains += 1;
            labels.extend(services(&said.stdout).map(|label| format!("{domain}/{label}")));
        }
    }
    assert!(domains > 0, "launchd shows neither of the domains of user {uid}");
    labels
}

/// The labels of ours in the block `services` of what `launchctl print DOMAIN` shows: the last word of each line.
fn services(domain: &str) -> impl Iterator<Item = &str> {
    domain
        .lines()
        .skip_while(|line| *line != "\tservices = {")
        .take_while(|line| *line != "\t}")
        .filter_map(|line| line.split_whitespace().last())
        .filter(|label| label.contains(OURS))
}

/// The files of ours in the user's LaunchAgents.
fn installed_agents() -> BTreeSet<String> {
    let home = std::env::var("HOME").unwrap();
    let folder = Path::new(&home).join("Library/LaunchAgents");
    // Without the folder there is no file in it.
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.contains(OURS)).collect()
}

fn ask(command: &mut Command, limit: Duration) -> Ended {
    external::run(command.stdin(Stdio::null()), limit).unwrap()
}

/// What the test above rests on, which needs no Mac.
mod on_any_machine {
    use nixfleet_tests::stage::{
        dashboard::Dashboard,
        mac::{LABEL, Mac, MacOptions},
    };

    use super::*;

    fn report(steps: &[bool], passed: usize, failed: usize) -> Report {
        let step = |ok: &bool| Step {
            name: "bootout".to_owned(),
            fact: "S4".to_owned(),
            expectation: "gone after 5 s".to_owned(),
            ok: *ok,
            seconds: 5.2,
            said: "gone after 5.2 s".to_owned(),
        };
        Report { steps: steps.iter().map(step).collect(), passed, failed, questions: Vec::new() }
    }

    #[test]
    fn only_a_report_of_steps_that_all_passed_is_good() {
        let count = |report| complaints(&report).len();
        assert_eq!(count(report(&[true, true], 2, 0)), 0);
        assert_eq!(count(report(&[true, false], 1, 1)), 1);
        assert_eq!(count(report(&[true, false], 2, 0)), 2);
        assert_eq!(count(report(&[true], 2, 0)), 1);
        assert_eq!(count(report(&[], 0, 0)), 1);
    }

    #[test]
    fn a_label_is_seen_while_it_is_loaded() {
        let place = tempfile::tempdir().unwrap();
        let dashboard = Dashboard::start(&place.path().join("dashboard")).unwrap();
        let mac = Mac::new(dashboard.url(), MacOptions::default()).unwrap();
        let label = format!("{}/{LABEL}", mac.domain());
        assert_eq!(loaded_labels(mac.launchd.launchctl()), BTreeSet::from([label.clone()]));
        mac.launchctl(&["bootout", &label]).unwrap();
        wait::until_true("the label is gone", GONE_LIMIT, || {
            Ok(loaded_labels(mac.launchd.launchctl()).is_empty())
        })
        .unwrap();
    }
}
