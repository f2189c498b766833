//! What is as expected, and what is not.

use super::*;

fn answered(code: i32) -> Answer {
    Answer { code: Some(code), took: Duration::from_millis(30), ..Answer::default() }
}

#[track_caller]
fn check(seen: Seen, ok: bool, part: &str) {
    let judgement = judge(Ok(seen));
    assert_eq!(judgement.ok, ok, "{}", judgement.said);
    assert!(judgement.said.contains(part), "{}", judgement.said);
}

fn drain(bootout: i32, lives: bool, bootstrap: i32, print_after: i32) -> Seen {
    Seen::Drain {
        bootout: answered(bootout),
        process_lives: lives,
        state: Some("SIGTERMed".to_owned()),
        bootstrap: answered(bootstrap),
        gone_after: Duration::from_secs(2),
        print_after: Some(print_after),
    }
}

#[test]
fn a_bootout_that_waits_or_a_bootstrap_that_is_taken_is_news() {
    check(drain(0, true, 5, 113), true, "SIGTERMed");
    check(drain(36, true, 37, 113), true, "answered 36");
    check(drain(0, false, 5, 113), false, "the process gone");
    check(drain(0, true, 0, 113), false, "bootstrap answered 0");
    check(drain(0, true, 5, 0), false, "then print 0");
    check(drain(5, true, 5, 113), false, "bootout answered 5");
}

#[test]
fn a_system_needs_a_domain() {
    let system = |manager: i32, gui: i32, user: i32| Seen::System {
        release: "macOS 15.5".to_owned(),
        architecture: "arm64".to_owned(),
        manager: Answer { stdout: "Aqua\n".to_owned(), ..answered(manager) },
        gui: answered(gui),
        user: answered(user),
    };
    check(system(0, 0, 0), true, "managername Aqua, gui there");
    check(system(0, 112, 0), true, "gui not there (112)");
    check(system(0, 112, 112), false, "user not there (112)");
    check(system(1, 0, 0), false, "macOS 15.5");
}

#[test]
fn the_small_ones() {
    let short = Duration::from_millis(500);
    let kicked =
        |idle, code| Seen::Kickstarted { idle, kickstart: answered(code), up_after: short };
    check(kicked(Some(true), 0), true, "not running");
    check(kicked(Some(false), 0), false, "running after");
    check(kicked(None, 0), false, "not loaded");
    check(kicked(Some(true), 37), false, "answered 37");
    check(Seen::Restarted { killed: 1, next: 2, after: short }, true, "0.50 s after pid 1");
    check(Seen::Restarted { killed: 1, next: 1, after: short }, false, "pid 1");
    let enabled = |disabled, loaded, enabled| Seen::Enabled {
        disabled: answered(disabled),
        loaded,
        enabled: answered(enabled),
        up_after: short,
    };
    check(enabled(119, false, 0), true, "answered 119");
    check(enabled(5, false, 0), true, "answered 5");
    check(enabled(0, true, 0), false, "and loaded it");
    check(enabled(5, false, 5), false, "enabled: 5");
    check(Seen::Child { print_after: Some(113), child_lives: true }, true, "lives");
    check(Seen::Child { print_after: Some(113), child_lives: false }, false, "is gone");
    check(Seen::Child { print_after: Some(0), child_lives: true }, false, "print of the job 0");
    let installed = |exit, loaded, program, wanted| Seen::Installation {
        exit: Some(exit),
        loaded,
        program,
        wanted,
    };
    check(installed(0, true, true, true), true, "exit 0");
    check(installed(69, true, true, true), false, "exit 69");
    check(installed(0, false, false, false), true, "not loaded");
    check(installed(0, true, false, false), false, "watchdog loaded");
    let left = |removed: &[&str], left: &[&str]| Seen::Leftovers {
        removed: removed.iter().map(|&word| word.to_owned()).collect(),
        left: left.iter().map(|&word| word.to_owned()).collect(),
    };
    check(left(&[], &[]), true, "none");
    check(left(&["a"], &[]), true, "removed a");
    check(left(&["a"], &["b"]), false, "still there: b");
}

fn switch() -> SwitchSeen {
    SwitchSeen {
        wanted: Wanted {
            outcome: Outcome::Succeeded,
            initiator: Initiator::User,
            restarts: Restarts::Once,
            definition: Which::New,
            healer: Healer::Wrapper,
        },
        outcome: Some(Outcome::Succeeded),
        initiator: Some(Initiator::User),
        verdict: Some(AgentVerdict::Back),
        steps: vec!["bootstrap".to_owned()],
        agents: 1,
        dark: Some(Duration::from_secs(3)),
        as_installed: true,
        is_new: true,
    }
}

#[test]
fn a_switch_is_fine_only_if_all_of_it_is() {
    let check = |change: fn(&mut SwitchSeen), ok: bool| {
        let mut seen = switch();
        change(&mut seen);
        check(Seen::Switch(seen), ok, "result");
    };
    check(|_| {}, true);
    check(|seen| seen.verdict = Some(AgentVerdict::Healthy), true);
    check(|seen| seen.outcome = None, false);
    check(|seen| seen.outcome = Some(Outcome::Failed), false);
    check(|seen| seen.initiator = Some(Initiator::Agent), false);
    check(|seen| seen.verdict = Some(AgentVerdict::NotBack), false);
    check(|seen| seen.verdict = None, false);
    check(|seen| seen.agents = 2, false);
    check(|seen| (seen.agents, seen.wanted.restarts) = (2, Restarts::Some), true);
    check(|seen| seen.agents = 0, false);
    check(|seen| seen.dark = None, false);
    check(|seen| seen.dark = Some(Duration::from_mins(1)), false);
    check(|seen| seen.as_installed = false, false);
    check(|seen| seen.is_new = false, false);
    check(|seen| (seen.is_new, seen.wanted.definition) = (false, Which::LastGood), true);
    check(|seen| seen.wanted.definition = Which::LastGood, false);
    check(|seen| (seen.is_new, seen.wanted.definition) = (false, Which::Any), true);
    check(|seen| seen.wanted.healer = Healer::Watchdog, true);
    check(
        |seen| {
            (seen.verdict, seen.wanted.healer) = (Some(AgentVerdict::Healthy), Healer::Watchdog);
        },
        false,
    );
}

#[test]
fn a_step_without_an_end_is_not_ok() {
    let judgement = judge(Err(Trouble::Launchctl {
        verb: "bootstrap",
        code: Some(5),
        said: "Bootstrap failed: 5: Input/output error".to_owned(),
    }));
    assert!(!judgement.ok);
    assert_eq!(
        judgement.said,
        "launchctl bootstrap answered 5 (Bootstrap failed: 5: Input/output error)"
    );
}
