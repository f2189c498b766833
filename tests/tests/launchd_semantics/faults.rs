//! S14: the call log, and the faults (chapter 8).

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use nixfleet_tests::launchd::{
    Control, Disguise, Fault, JobEvent, Record,
    command::VerbName,
    fault::{Hang, Work},
    process_end::ProcessEnd,
};

use crate::common::{
    Bed, FOREVER, LABEL, RUN_AT_LOAD, Said, bootstrap_failed_5, events, refused, running, said,
    silent, start,
};

/// F2 [hermes#95758, headroom#1289].
#[test]
fn a_fault_meets_as_many_calls_as_it_says() {
    let bed = Bed::new();
    let plist = bed.agent(LABEL, FOREVER, RUN_AT_LOAD);
    bed.simulation.set_faults(&[Fault::on(VerbName::Bootstrap).times(2).code(5)]).unwrap();
    assert_eq!(bed.bootstrap(&plist), bootstrap_failed_5());
    assert_eq!(bed.print(LABEL).code, Some(113));
    assert_eq!(bed.bootstrap(&plist), bootstrap_failed_5());
    assert_eq!(bed.bootstrap(&plist), silent(0));
}

/// F3, F9 [HM#9585, osquery#5698].
#[test]
fn a_fault_can_lie_about_work_that_was_done_or_not() {
    let bed = Bed::new();
    start(&bed, FOREVER, RUN_AT_LOAD);
    let no_op = Fault::on(VerbName::Bootout).code(0).times(1);
    let lying = Fault { work: Some(Work::Done), ..Fault::on(VerbName::Bootout).code(36) };
    bed.simulation.set_faults(&[no_op, lying]).unwrap();
    assert_eq!(bed.launchctl(&["bootout", &bed.target(LABEL)]), silent(0));
    running(&bed);
    assert_eq!(bed.launchctl(&["bootout", &bed.target(LABEL)]).code, Some(36));
    bed.wait_until_gone(LABEL);
}

/// F11, F20 [local-operator D-01].
#[test]
fn a_fault_can_hang_a_call_and_change_its_output() {
    let bed = Bed::new();
    let hang = Fault { hang_seconds: 0.4, hang: Hang::After, ..Fault::on(VerbName::Version) };
    let garbled = Fault {
        output: Some("garbled\n".to_owned()),
        label: Some(LABEL.to_owned()),
        ..Fault::on(VerbName::Print)
    };
    bed.simulation.set_faults(&[hang, garbled]).unwrap();
    let called = Instant::now();
    assert_eq!(bed.launchctl(&["version"]).code, Some(0));
    assert!(called.elapsed() >= Duration::from_millis(400));
    assert_eq!(bed.print(LABEL), Said { stdout: "garbled\n".to_owned(), ..silent(0) });
    assert_eq!(bed.print("other").code, Some(113));
}

/// F7, F8 [openclaw#849, HM#9628].
#[test]
fn a_fault_can_make_things_happen_around_a_call() {
    let bed = Bed::new();
    let plist = bed.agent(LABEL, FOREVER, RUN_AT_LOAD);
    let disabling =
        Fault { after: vec![Control::Disable(LABEL.to_owned())], ..Fault::on(VerbName::Enable) };
    let leaving = Fault { before: vec![Control::Logout], ..Fault::on(VerbName::Kickstart) };
    bed.simulation.set_faults(&[disabling, leaving]).unwrap();
    assert_eq!(bed.launchctl(&["enable", &bed.target(LABEL)]), silent(0));
    assert_eq!(bed.bootstrap(&plist).code, Some(5));
    assert_eq!(bed.launchctl(&["kickstart", &bed.target(LABEL)]).code, Some(112));
}

#[test]
fn faults_that_cannot_be_read_are_loud() {
    let bed = Bed::new();
    fs::write(bed.path("launchd/faults.json"), "[{\"verb\":\"print\",\"cod\":5}]").unwrap();
    let said = bed.print(LABEL);
    assert_eq!(said.code, Some(70));
    assert!(said.stderr.contains("faults.json"), "{said:?}");
}

/// S14.
#[test]
fn every_call_and_every_happening_is_in_the_log() {
    let bed = Bed::new();
    let pid = start(&bed, FOREVER, RUN_AT_LOAD).as_raw_nonzero().get();
    bed.launchctl(&["bootout", &bed.target(LABEL)]);
    bed.wait_until_gone(LABEL);
    let end = ProcessEnd::Signalled(15);
    assert_eq!(
        events(&bed),
        [
            JobEvent::Registered,
            JobEvent::Spawned { pid },
            JobEvent::Signalled { pid, signal: 15 },
            JobEvent::Exited { pid, end },
            JobEvent::GroupSignalled { group: pid },
            JobEvent::Removed,
        ]
    );
    let calls = bed.simulation.calls().unwrap();
    let (first, last) = (calls.first().unwrap(), calls.last().unwrap());
    assert_eq!((first.verb(), first.code), ("bootstrap", 0));
    assert_eq!((last.verb(), last.code), ("print", 113));
    let records = bed.simulation.records().unwrap();
    assert!(records.iter().all(|record| match record {
        Record::Call(call) => call.unix_ms > 0 && call.pid > 0 && call.duration_ms < 5000,
        Record::Job(record) => record.unix_ms > 0,
        Record::Happening(_) => false,
    }));
}

/// S14: what a test or a fault made happen is in the log, between the calls.
#[test]
fn what_was_made_to_happen_is_in_the_log_too() {
    let bed = Bed::new();
    let fault = Fault { before: vec![Control::Logout], ..Fault::on(VerbName::Version) };
    bed.simulation.set_faults(&[fault]).unwrap();
    bed.simulation.control(Control::LowPower(true)).unwrap();
    bed.launchctl(&["version"]);
    let records = bed.simulation.records().unwrap();
    let kinds: Vec<_> = records
        .into_iter()
        .map(|record| match record {
            Record::Happening(happening) => format!("{:?}", happening.control),
            Record::Call(call) => call.verb().to_owned(),
            Record::Job(record) => record.label,
        })
        .collect();
    assert_eq!(kinds, ["LowPower(true)", "Logout", "version"]);
}

/// F20: "print output is NOT API in any sense" (man).
#[test]
fn a_fault_can_disguise_what_is_printed() {
    let bed = Bed::new();
    start(&bed, FOREVER, RUN_AT_LOAD);
    let through = |disguise: Disguise| {
        bed.simulation.set_faults(&[Fault::on(VerbName::Print).disguise(disguise)]).unwrap();
        bed.print(LABEL)
    };
    assert_eq!(through(Disguise::Empty), silent(0));
    assert!(through(Disguise::Localized).stdout.contains("\tZustand = läuft\n"));
    assert!(through(Disguise::Renamed).stdout.contains("\tservice state = running\n"));
    let decoys = through(Disguise::Decoys).stdout;
    assert!(decoys.contains("\n\t\tpid = 4194302\n") && decoys.contains("\n\tstate = running\n"));
    let flood = through(Disguise::Flood(5_000_000)).stdout;
    assert!(flood.len() > 5_000_000 && flood.contains("\n\tstate = running\n"));
    bed.simulation.set_faults(&[Fault::on(VerbName::Print).disguise(Disguise::Localized)]).unwrap();
    let absent = bed.print("absent");
    assert_eq!(absent.code, Some(113));
    assert!(!absent.stderr.contains("Could not find"), "{absent:?}");
}

/// F11: launchctl is killed; F6: whoever called it is killed, at this very step.
#[test]
fn a_fault_can_kill_launchctl_or_its_caller() {
    let bed = Bed::new();
    start(&bed, FOREVER, RUN_AT_LOAD);
    let killed = Fault { kill_self: Some(9), ..Fault::on(VerbName::Print).times(1) };
    let orphaned = Fault { kill_caller: Some(9), ..Fault::on(VerbName::Bootout) };
    bed.simulation.set_faults(&[killed, orphaned]).unwrap();
    assert_eq!(bed.print(LABEL).code, None, "a signal, and no exit code");
    let mut caller = Command::new("/bin/bash");
    let line = format!("bin/launchctl bootout {}; touch survived; true", bed.target(LABEL));
    caller.args(["-c", &line]).current_dir(bed.path(""));
    caller.env("NIXFLEET_SIM_CALLER_UID", bed.uid().to_string());
    assert_eq!(said(&mut caller).code, None);
    assert!(!bed.path("survived").exists());
    bed.wait_until_gone(LABEL);
}

/// F16: somebody else acts at this very moment.
#[test]
fn a_fault_can_have_somebody_else_call_launchctl() {
    let bed = Bed::new();
    let plist = bed.agent(LABEL, FOREVER, RUN_AT_LOAD);
    let words = ["bootstrap", &bed.gui(), plist.to_str().unwrap()].map(str::to_owned);
    let rival = Fault {
        before: vec![Control::Launchctl(words.into())],
        ..Fault::on(VerbName::Bootstrap).times(1)
    };
    bed.simulation.set_faults(&[rival]).unwrap();
    assert_eq!(bed.bootstrap(&plist), bootstrap_failed_5(), "the other one was first");
    running(&bed);
    let calls = bed.simulation.calls().unwrap();
    let good = calls.iter().filter(|call| (call.verb(), call.code) == ("bootstrap", 0));
    assert_eq!(good.count(), 1, "{calls:?}");
}

/// Chapter 2, exit codes: those that no rule gives by itself can be given by a fault, in launchd's
/// words.
#[test]
fn a_fault_can_give_any_code_with_its_words() {
    let bed = Bed::new();
    let plist = bed.agent(LABEL, FOREVER, RUN_AT_LOAD);
    for (verb, code, stderr) in [
        (VerbName::Bootstrap, 17, format!("{}: service already bootstrapped\n", plist.display())),
        (VerbName::Bootstrap, 107, "Bootstrap failed: 107: Malformed bundle\n".to_owned()),
        (
            VerbName::Bootstrap,
            146,
            "Bootstrap failed: 146: Domain is in on-demand-only mode\n".to_owned(),
        ),
        (VerbName::Bootstrap, 124, "Bootstrap failed: 124: Domain is tearing down\n".to_owned()),
    ] {
        bed.simulation.set_faults(&[Fault::on(verb).code(code)]).unwrap();
        assert_eq!(bed.bootstrap(&plist), refused(code.into(), &stderr));
    }
    for code in [36, 5] {
        bed.simulation.set_faults(&[Fault::on(VerbName::Bootout).code(code)]).unwrap();
        let said = bed.launchctl(&["bootout", &bed.target(LABEL)]);
        assert_eq!(said.code, Some(code.into()));
        assert!(said.stderr.starts_with(&format!("Boot-out failed: {code}: ")), "{said:?}");
    }
    let uid = bed.uid();
    let absent = format!("Could not find service \"{LABEL}\" in domain for user gui: {uid}\n");
    for (code, stderr) in [(37, String::new()), (113, format!("Bad request.\n{absent}"))] {
        bed.simulation.set_faults(&[Fault::on(VerbName::Kickstart).code(code)]).unwrap();
        let said = bed.launchctl(&["kickstart", &bed.target(LABEL)]);
        assert_eq!(said, refused(code.into(), &stderr));
    }
}
