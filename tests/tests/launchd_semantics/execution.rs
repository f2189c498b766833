//! S10: programs that cannot be executed, or may not be (chapters 4, 5, 7).

use std::os::unix::fs::symlink;

use nixfleet_tests::launchd::{Control, JobEvent, Session, Verdict, domain::ServiceTarget};

use crate::common::{
    Bed, FOREVER, KEEP_ALIVE, LABEL, RUN_AT_LOAD, bootstrap_failed_5, events, running, silent,
    spawned, wait_until,
};

/// Chapter 4: bootstrap gives 0, then 78; bootout and bootstrap clear it [C LifeOS#2069,
/// nix-darwin#1709]; F12.
#[test]
fn a_missing_program_loads_and_then_stays_down_with_78() {
    let bed = Bed::new();
    let missing =
        format!("{KEEP_ALIVE}<key>Program</key><string>{}</string>", bed.path("missing").display());
    let plist = bed.agent(LABEL, FOREVER, &missing);
    assert_eq!(bed.bootstrap(&plist), silent(0));
    bed.wait_for_field(LABEL, "last exit code", "78: EX_CONFIG");
    symlink("/bin/bash", bed.path("missing")).unwrap();
    assert_eq!(bed.launchctl(&["kickstart", &bed.target(LABEL)]), silent(0));
    assert_eq!(bed.field(LABEL, "state").unwrap(), "not running");
    bed.launchctl(&["bootout", &bed.target(LABEL)]);
    assert_eq!(bed.bootstrap(&plist), silent(0));
    running(&bed);
}

/// Chapter 4: "StdoutPath unopenable gives EX_CONFIG 78" [C]; F12.
#[test]
fn an_output_file_that_cannot_be_opened_gives_78_too() {
    let bed = Bed::new();
    let keys = format!(
        "{RUN_AT_LOAD}<key>StandardOutPath</key><string>{}</string>",
        bed.path("").display()
    );
    assert_eq!(bed.bootstrap(&bed.agent(LABEL, FOREVER, &keys)), silent(0));
    bed.wait_for_field(LABEL, "last exit code", "78: EX_CONFIG");
}

/// Chapter 4: "cannot spawn: service is in penalty box"; F12: the program appears later and nothing
/// happens, unless launchd's setup event comes [C nix-darwin#1709, HM#7198].
#[test]
fn a_program_that_appears_later_helps_only_with_the_setup_event() {
    let bed = Bed::new();
    let program = bed.path("missing");
    let keys = format!("{KEEP_ALIVE}<key>Program</key><string>{}</string>", program.display());
    assert_eq!(bed.bootstrap(&bed.agent(LABEL, FOREVER, &keys)), silent(0));
    bed.wait_for_field(LABEL, "last exit code", "78: EX_CONFIG");
    symlink("/bin/bash", &program).unwrap();
    assert_eq!(bed.launchctl(&["kickstart", &bed.target(LABEL)]), silent(0));
    let in_the_box = "cannot spawn: service is in penalty box".to_owned();
    assert!(events(&bed).contains(&JobEvent::SpawnFailed { reason: in_the_box }));
    let target = ServiceTarget::parse(&bed.target(LABEL)).unwrap();
    bed.simulation.control(Control::SetupEvent(target)).unwrap();
    running(&bed);
}

/// F13: "job accepted, spawned, then removed" [L agent-portal#1589].
#[test]
fn a_job_is_accepted_and_spawned_and_then_it_is_gone() {
    let bed = Bed::new();
    let verdict = Verdict::KilledAfterSpawn;
    bed.simulation.control(Control::Policy { label: LABEL.to_owned(), verdict }).unwrap();
    assert_eq!(bed.bootstrap(&bed.agent(LABEL, FOREVER, KEEP_ALIVE)), silent(0));
    wait_until("it was removed", || events(&bed).contains(&JobEvent::Removed));
    assert_eq!(spawned(&bed).len(), 1);
    assert_eq!(bed.print(LABEL).code, Some(113));
}

/// Chapter 7: the switch in Login Items writes the override database (smd), and a spawn is refused
/// with 161 [L idx 60670016421].
#[test]
fn login_items_off_disables_the_label_and_refuses_its_spawns() {
    let bed = Bed::new();
    let plist = bed.agent(LABEL, FOREVER, KEEP_ALIVE);
    let item = |on: bool| Control::LoginItem { label: LABEL.to_owned(), on };
    bed.simulation.control(item(false)).unwrap();
    assert!(bed.launchctl(&["print-disabled", &bed.gui()]).stdout.contains("=> disabled"));
    assert_eq!(bed.bootstrap(&plist), bootstrap_failed_5());
    assert_eq!(bed.launchctl(&["enable", &bed.target(LABEL)]), silent(0));
    assert_eq!(bed.bootstrap(&plist), silent(0), "loads, and is not allowed to run");
    bed.wait_for_field(LABEL, "last exit code", "78: EX_CONFIG");
    assert!(spawned(&bed).is_empty());
    bed.simulation.control(Control::Reboot(Session::GuiLogin)).unwrap();
    assert_eq!(bed.print(LABEL).code, Some(113), "silently absent after login");
    bed.simulation.control(item(true)).unwrap();
    assert_eq!(bed.bootstrap(&plist), silent(0));
    running(&bed);
}
