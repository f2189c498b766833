//! The plan as a table: what is seen and what was done on the left, the step on the right.

use std::{collections::BTreeMap, path::PathBuf};

use jiff::Timestamp;
use nixfleet_protocol::{
    journal::records::{FORMAT, RunningProgram},
    process::ProcessIdentity,
};

use super::{unseen::UNCLEAR_PATIENCE, *};
use crate::ensure::LOOK_AGAIN_LATER;

const ZERO: Duration = Duration::ZERO;

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn definition(domains: Domains) -> Definition {
    Definition { arguments: vec!["/bin/agent".to_owned()], domains, ..Definition::default() }
}

fn on_disk(domains: Domains) -> OnDisk {
    OnDisk::Good(definition(domains))
}

fn agent(pid: u32) -> ProgramView {
    ProgramView {
        record: RunningProgram {
            format: FORMAT,
            process: ProcessIdentity { pid, start: "1".to_owned() },
            started_at: Timestamp::from_second(200).unwrap(),
            version: "1".to_owned(),
            exe: PathBuf::from("/bin/agent"),
            invoked_as: None,
            config_path: None,
            config_digest: None,
            definition_path: None,
            definition_digest: None,
            last_heartbeat_at: None,
            dashboard: None,
        },
        difference: None,
        was_started_as_job: true,
        group: Some(pid),
        age: SETTLED_AFTER,
        is_new: false,
    }
}

fn job(pid: Option<u32>) -> Job {
    Job {
        pid,
        is_leaving: false,
        cannot_run: false,
        is_readable: true,
        last_end: None,
        runs: Some(1),
        pended: None,
        arguments: Some("\t\t/bin/agent".to_owned()),
        environment: None,
        values: BTreeMap::new(),
        exit_timeout: Duration::from_secs(5),
    }
}

fn loaded(pid: Option<u32>) -> JobView {
    JobView::Loaded(job(pid))
}

fn leaving(pid: u32) -> JobView {
    JobView::Loaded(Job { is_leaving: true, ..job(Some(pid)) })
}

fn seen(gui: JobView, program: Option<ProgramView>) -> Observation {
    Observation {
        kind: JobKind::Agent,
        gui,
        user: JobView::NotLoaded,
        on_disk: on_disk(Domains::Gui),
        is_in_generation: false,
        has_other_that_worked: false,
        copy: None,
        program,
        trace: Trace::None,
    }
}

/// A look, and what the plan makes of it.
fn step(observation: &Observation, memory: &mut Memory, now: Duration) -> Decision {
    memory.saw(observation, now);
    next(observation, memory, Limits::default(), now)
}

fn first_step(observation: &Observation) -> Decision {
    step(observation, &mut Memory::default(), ZERO)
}

#[track_caller]
fn assert_end(decision: &Decision, verdict: AgentVerdict) {
    let Decision::End(conclusion) = decision else { panic!("{decision:?}") };
    assert_eq!(conclusion.verdict, verdict, "{}", conclusion.explanation);
}

#[test]
fn a_healthy_agent_is_left_alone() {
    assert_end(&first_step(&seen(loaded(Some(7)), Some(agent(7)))), AgentVerdict::Healthy);
    let new = ProgramView { is_new: true, ..agent(7) };
    assert_end(&first_step(&seen(loaded(Some(7)), Some(new.clone()))), AgentVerdict::Back);
    // One that has just come up may be about to crash.
    let fresh = ProgramView { age: ZERO, ..new };
    assert_eq!(first_step(&seen(loaded(Some(7)), Some(fresh))), Decision::Wait(LOOK_AGAIN));
    // What is fine is fine at the end of the time too.
    let healthy = seen(loaded(Some(7)), Some(agent(7)));
    assert_end(
        &step(&healthy, &mut Memory::default(), Limits::default().total),
        AgentVerdict::Healthy,
    );
}

#[test]
fn a_label_that_is_gone_is_enabled_loaded_and_started() {
    let gone = seen(JobView::NotLoaded, None);
    let mut memory = Memory::default();
    assert_eq!(step(&gone, &mut memory, ZERO), Decision::Do(Step::Enable(Domain::Gui)));
    memory.did(Step::Enable(Domain::Gui), Some(0), "", ms(5));
    assert_eq!(step(&gone, &mut memory, ms(5)), Decision::Do(Step::Bootstrap(Domain::Gui)));
    memory.did(Step::Bootstrap(Domain::Gui), Some(0), "", ms(10));
    // RunAtLoad may be held back for ever; a demand start is not.
    let pended = seen(loaded(None), None);
    assert_eq!(step(&pended, &mut memory, ms(15)), Decision::Do(Step::Kickstart(Domain::Gui)));
    memory.did(Step::Kickstart(Domain::Gui), Some(0), "", ms(20));
    assert_eq!(step(&pended, &mut memory, ms(25)), Decision::Wait(LOOK_AGAIN));
    let up = seen(loaded(Some(8)), None);
    assert_eq!(step(&up, &mut memory, ms(50)), Decision::Wait(LOOK_AGAIN));
    assert_end(
        &step(&seen(loaded(Some(8)), Some(agent(8))), &mut memory, ms(90)),
        AgentVerdict::Back,
    );
}

#[test]
fn bootstrap_is_tried_again_with_growing_waits() {
    let gone = seen(JobView::NotLoaded, None);
    let mut memory = Memory::default();
    memory.enabled = true;
    let mut now = ZERO;
    let mut tries = Vec::new();
    while now < Limits::default().total {
        match step(&gone, &mut memory, now) {
            Decision::Do(Step::Bootstrap(Domain::Gui)) => {
                memory.did(Step::Bootstrap(Domain::Gui), Some(5), "Input/output error", now);
                tries.push(now);
            }
            Decision::Do(Step::Enable(Domain::Gui)) => {
                memory.did(Step::Enable(Domain::Gui), Some(0), "", now);
            }
            Decision::Wait(wait) => now += wait.max(ms(1)),
            other @ (Decision::Do(_) | Decision::End(_)) => panic!("{other:?}"),
        }
    }
    let waits: Vec<u128> = tries
        .windows(2)
        .take(6)
        .map(|pair| pair[1].checked_sub(pair[0]).unwrap().as_millis())
        .collect();
    assert_eq!(waits, [250, 500, 1000, 2000, 4000, 4000]);
    assert!(*tries.last().unwrap() > Duration::from_secs(45));
    let Decision::End(conclusion) = step(&gone, &mut memory, Limits::default().total) else {
        panic!()
    };
    assert_eq!(conclusion.verdict, AgentVerdict::NotBack);
    assert!(conclusion.explanation.contains("exit code 5: Input/output error"));
}

#[test]
fn a_draining_job_is_waited_for_and_killed_only_when_overdue() {
    let draining = seen(leaving(7), Some(agent(7)));
    let mut memory = Memory::default();
    assert_eq!(step(&draining, &mut memory, ZERO), Decision::Wait(LOOK_AGAIN));
    assert_eq!(step(&draining, &mut memory, ms(14_900)), Decision::Wait(LOOK_AGAIN));
    assert_eq!(step(&draining, &mut memory, ms(15_000)), Decision::Do(Step::Kill(7)));
    memory.did(Step::Kill(7), None, "", ms(15_000));
    assert_eq!(step(&draining, &mut memory, ms(15_100)), Decision::Wait(LOOK_AGAIN));
}

#[test]
fn a_process_that_outlives_its_label_is_waited_for() {
    let mut memory = Memory::default();
    step(&seen(leaving(7), Some(agent(7))), &mut memory, ZERO);
    let label_gone = seen(JobView::NotLoaded, Some(agent(7)));
    assert_eq!(step(&label_gone, &mut memory, ms(100)), Decision::Wait(LOOK_AGAIN));
    assert_eq!(step(&label_gone, &mut memory, ms(15_000)), Decision::Do(Step::Kill(7)));
    memory.did(Step::Kill(7), None, "", ms(15_000));
    let all_gone = seen(JobView::NotLoaded, None);
    assert_eq!(step(&all_gone, &mut memory, ms(15_100)), Decision::Do(Step::Enable(Domain::Gui)));
}

#[test]
fn an_agent_that_was_never_the_job_s_is_not_killed() {
    let by_hand = seen(JobView::NotLoaded, Some(agent(99)));
    assert_eq!(first_step(&by_hand), Decision::Do(Step::Enable(Domain::Gui)));
}

#[test]
fn an_old_definition_is_taken_out_once() {
    let other = Job { arguments: Some("\t\t/old/agent".to_owned()), ..job(Some(7)) };
    let stale = seen(JobView::Loaded(other), Some(agent(7)));
    let mut memory = Memory::default();
    assert_eq!(step(&stale, &mut memory, ZERO), Decision::Do(Step::Bootout(Domain::Gui)));
    memory.did(Step::Bootout(Domain::Gui), Some(0), "", ms(30));
    // bootout answers before the job is gone: no second one on top.
    assert_eq!(step(&stale, &mut memory, ms(60)), Decision::Wait(LOOK_AGAIN));
    // One that was silently ignored is repeated.
    assert_eq!(step(&stale, &mut memory, ms(4030)), Decision::Do(Step::Bootout(Domain::Gui)));
}

#[test]
fn another_file_than_at_the_start_means_one_reload() {
    let mut old = ProgramView { difference: Some(Difference::Definition), ..agent(7) };
    let before_the_file = seen(loaded(Some(7)), Some(old.clone()));
    let mut memory = Memory::default();
    assert_eq!(step(&before_the_file, &mut memory, ZERO), Decision::Do(Step::Bootout(Domain::Gui)));
    memory.did(Step::Bootout(Domain::Gui), Some(0), "", ZERO);
    old.record.process.pid = 8;
    let still_before = seen(loaded(Some(8)), Some(old));
    assert_end(&step(&still_before, &mut memory, ms(500)), AgentVerdict::Back);
}

#[test]
fn a_bootout_without_effect_is_repeated_and_in_the_end_said() {
    let old = ProgramView { difference: Some(Difference::Definition), ..agent(7) };
    let stays = seen(loaded(Some(7)), Some(old));
    let mut memory = Memory::default();
    let out = Step::Bootout(Domain::Gui);
    let mut now = ZERO;
    for _ in 0..MAX_BOOTOUTS {
        assert_eq!(step(&stays, &mut memory, now), Decision::Do(out));
        memory.did(out, Some(0), "", now);
        assert_eq!(step(&stays, &mut memory, now + ms(100)), Decision::Wait(LOOK_AGAIN));
        now += BACKOFF.1;
    }
    let decision = step(&stays, &mut memory, now);
    assert_end(&decision, AgentVerdict::NotBack);
    let Decision::End(conclusion) = decision else { panic!() };
    assert!(conclusion.explanation.contains("runs (pid 7)"), "{}", conclusion.explanation);

    // One that has left after all is loaded again, and what it looks like then is what counts.
    assert_eq!(
        step(&seen(JobView::NotLoaded, None), &mut memory, now),
        Decision::Do(Step::Enable(Domain::Gui))
    );
    let looks_other = Job { environment: Some(String::new()), ..job(Some(8)) };
    let up = seen(JobView::Loaded(looks_other), Some(agent(8)));
    assert_end(&step(&up, &mut memory, now + ms(500)), AgentVerdict::Back);
}

#[test]
fn an_outdated_agent_is_ended_once_and_started() {
    let outdated = ProgramView { difference: Some(Difference::Executable), ..agent(7) };
    let mut memory = Memory::default();
    let now = seen(loaded(Some(7)), Some(outdated.clone()));
    let ask = Step::Terminate(Domain::Gui, 7);
    assert_eq!(step(&now, &mut memory, ZERO), Decision::Do(ask));
    memory.did(ask, Some(0), "", ZERO);
    assert_eq!(step(&now, &mut memory, ms(50)), Decision::Wait(LOOK_AGAIN));
    assert_eq!(
        step(&seen(loaded(None), None), &mut memory, ms(90)),
        Decision::Do(Step::Kickstart(Domain::Gui))
    );
    // Still not what is installed: it was just started, so that is as new as it gets.
    let again = ProgramView { record: agent(8).record, ..outdated };
    assert_end(
        &step(&seen(loaded(Some(8)), Some(again)), &mut memory, ms(200)),
        AgentVerdict::Back,
    );
}

#[test]
fn an_agent_that_hangs_before_it_is_ready_is_ended() {
    let hanging = seen(loaded(Some(7)), None);
    let mut memory = Memory::default();
    memory.did(Step::Kickstart(Domain::Gui), Some(0), "", ZERO);
    assert_eq!(step(&hanging, &mut memory, ZERO), Decision::Wait(LOOK_AGAIN));
    let ask = Step::Terminate(Domain::Gui, 7);
    assert_eq!(step(&hanging, &mut memory, READY_LIMIT), Decision::Do(ask));
    memory.did(ask, Some(0), "", READY_LIMIT);
    assert_eq!(step(&hanging, &mut memory, READY_LIMIT + ms(100)), Decision::Wait(LOOK_AGAIN));
    let overdue = READY_LIMIT + ms(15_000);
    assert_eq!(step(&hanging, &mut memory, overdue), Decision::Do(Step::Kill(7)));
}

#[test]
fn a_job_in_the_wrong_domain_is_taken_out_of_it() {
    let observation = Observation {
        gui: JobView::NotLoaded,
        user: loaded(Some(7)),
        on_disk: on_disk(Domains::Gui),
        ..seen(JobView::NotLoaded, Some(agent(7)))
    };
    assert_eq!(first_step(&observation), Decision::Do(Step::Bootout(Domain::User)));
    let wants_user = Observation { on_disk: on_disk(Domains::User), ..observation };
    assert_end(&first_step(&wants_user), AgentVerdict::Healthy);
}

#[test]
fn a_shell_around_the_agent_is_the_job_too() {
    let wrapped = ProgramView { group: Some(7), ..agent(9) };
    assert_end(&first_step(&seen(loaded(Some(7)), Some(wrapped))), AgentVerdict::Healthy);
    let stranger = ProgramView { was_started_as_job: false, ..agent(9) };
    let stranger = seen(loaded(Some(7)), Some(stranger));
    assert_eq!(first_step(&stranger), Decision::Wait(LOOK_AGAIN));
}

#[test]
fn a_job_that_has_nowhere_else_to_go_stays_where_it_is() {
    let headless = Observation {
        gui: JobView::NoDomain,
        user: loaded(Some(7)),
        on_disk: on_disk(Domains::Both),
        ..seen(JobView::NotLoaded, Some(agent(7)))
    };
    assert_end(&first_step(&headless), AgentVerdict::Healthy);
    let only_gui = Observation { on_disk: on_disk(Domains::Gui), ..headless.clone() };
    assert_end(&first_step(&only_gui), AgentVerdict::Healthy);
    let unclear = Observation { gui: JobView::Unclear("?".to_owned()), ..only_gui };
    assert_eq!(first_step(&unclear), Decision::Wait(LOOK_AGAIN_LATER));
    // Nobody is at the screen, and the definition allows the other domain.
    let gone = Observation { user: JobView::NotLoaded, program: None, ..headless };
    assert_eq!(first_step(&gone), Decision::Do(Step::Enable(Domain::User)));
}

#[test]
fn without_a_gui_session_it_is_at_the_next_login() {
    let nobody = seen(JobView::NoDomain, None);
    assert_end(&first_step(&nobody), AgentVerdict::AtNextLogin);
    // `print` sees the domain, `bootstrap` does not.
    let gone = seen(JobView::NotLoaded, None);
    let mut memory = Memory::default();
    memory.enabled = true;
    for _ in 0..MAX_NO_DOMAIN {
        memory.did(Step::Bootstrap(Domain::Gui), Some(125), "", ZERO);
    }
    assert_end(&step(&gone, &mut memory, ZERO), AgentVerdict::AtNextLogin);
}

#[test]
fn what_is_not_on_disk_is_not_loaded() {
    let with = |gui: JobView, on_disk: OnDisk, agent: Option<ProgramView>| {
        first_step(&Observation {
            gui,
            user: JobView::NotLoaded,
            on_disk,
            ..seen(JobView::NotLoaded, agent)
        })
    };
    let bad = || OnDisk::Bad("it is no plist".to_owned());
    assert_end(&with(JobView::NotLoaded, OnDisk::Absent, None), AgentVerdict::NotInstalled);
    assert_end(&with(JobView::NoDomain, OnDisk::Absent, None), AgentVerdict::NotInstalled);
    assert_end(&with(JobView::NotLoaded, bad(), None), AgentVerdict::NotBack);
    assert_end(&with(loaded(Some(7)), bad(), Some(agent(7))), AgentVerdict::Healthy);
    assert_eq!(
        with(JobView::Unclear(String::new()), OnDisk::Absent, None),
        Decision::Wait(LOOK_AGAIN_LATER)
    );
}

#[test]
fn a_launchctl_that_does_not_answer_is_waited_for_to_the_end() {
    let unclear = seen(JobView::Unclear("it hangs".to_owned()), None);
    let mut memory = Memory::default();
    assert_eq!(step(&unclear, &mut memory, ZERO), Decision::Wait(LOOK_AGAIN_LATER));
    let Decision::End(conclusion) = step(&unclear, &mut memory, Limits::default().total) else {
        panic!()
    };
    assert_eq!(conclusion.verdict, AgentVerdict::NotBack);
    assert!(conclusion.explanation.contains("it hangs"));
}

#[test]
fn a_definition_that_was_disabled_in_between_is_enabled_again() {
    let gone = seen(JobView::NotLoaded, None);
    let mut memory = Memory::default();
    memory.enabled = true;
    // To anybody but root launchd says 5 instead of 119.
    for code in [119, 5] {
        memory.enabled = true;
        memory.did(Step::Bootstrap(Domain::Gui), Some(code), "", ZERO);
        assert_eq!(step(&gone, &mut memory, ms(10)), Decision::Do(Step::Enable(Domain::Gui)));
    }
}

/// A loaded job without an agent, with another definition that worked.
fn failing(job: Job) -> Observation {
    let has_other_that_worked = true;
    Observation { has_other_that_worked, ..seen(JobView::Loaded(job), None) }
}

#[test]
fn a_definition_that_cannot_run_gives_way_to_the_last_that_worked() {
    let broken = failing(Job { cannot_run: true, ..job(None) });
    let mut memory = Memory::default();
    assert_eq!(step(&broken, &mut memory, ZERO), Decision::Do(Step::Kickstart(Domain::Gui)));
    memory.did(Step::Kickstart(Domain::Gui), Some(0), "", ZERO);
    assert_eq!(step(&broken, &mut memory, ms(100)), Decision::Wait(LOOK_AGAIN));
    assert_eq!(step(&broken, &mut memory, KICK_EVERY), Decision::Do(Step::Restore));
    memory.did(Step::Restore, Some(0), "", KICK_EVERY);
    // What is loaded is still the other one, whatever `print` shows of it.
    assert_eq!(step(&broken, &mut memory, KICK_EVERY), Decision::Do(Step::Bootout(Domain::Gui)));
    memory.did(Step::Bootout(Domain::Gui), Some(0), "", KICK_EVERY);
    let up = seen(loaded(Some(8)), Some(agent(8)));
    let Decision::End(conclusion) = step(&up, &mut memory, ms(4000)) else { panic!() };
    assert_eq!(conclusion.verdict, AgentVerdict::Back);
    assert!(conclusion.explanation.contains("last definition that worked"));
}

#[test]
fn an_agent_that_crashes_again_and_again_gets_its_old_definition_once() {
    let crashing = failing(job(Some(7)));
    let mut memory = Memory::default();
    assert_eq!(step(&crashing, &mut memory, ZERO), Decision::Wait(LOOK_AGAIN));
    assert_eq!(
        step(&crashing, &mut memory, Limits::default().restore_after),
        Decision::Do(Step::Restore)
    );
    memory.did(Step::Restore, Some(0), "", Limits::default().restore_after);
    memory.did(Step::Bootout(Domain::Gui), Some(0), "", Limits::default().restore_after);
    let still = failing(job(Some(9)));
    assert_eq!(
        step(&still, &mut memory, Limits::default().restore_after + ms(50)),
        Decision::Wait(LOOK_AGAIN)
    );
    // Without another one, or with an agent that is up, nothing is put back.
    let alone = seen(loaded(Some(7)), None);
    assert_ne!(
        step(&alone, &mut Memory::default(), Limits::default().restore_after),
        Decision::Do(Step::Restore)
    );
    let up = Observation { program: Some(agent(7)), ..failing(job(Some(7))) };
    assert_end(
        &step(&up, &mut Memory::default(), Limits::default().restore_after),
        AgentVerdict::Healthy,
    );
}

#[test]
fn a_file_that_is_no_definition_gives_way_at_once() {
    let torn = Observation {
        gui: JobView::NotLoaded,
        on_disk: OnDisk::Bad("it is no plist".to_owned()),
        ..failing(job(None))
    };
    let torn = Observation { copy: Some(definition(Domains::Gui)), ..torn };
    assert_eq!(first_step(&torn), Decision::Do(Step::Install));
    // What is somebody else's is not touched.
    let other = Observation { on_disk: OnDisk::SomebodyElses("it".to_owned()), ..torn.clone() };
    assert_eq!(first_step(&other), Decision::Do(Step::Enable(Domain::Gui)));
    // Under a job that is loaded too, and then it is judged as any other.
    let loaded_torn = Observation { gui: loaded(Some(7)), program: Some(agent(7)), ..torn.clone() };
    assert_eq!(first_step(&loaded_torn), Decision::Do(Step::Install));
    // One that was taken away was meant to go.
    let uninstalled = Observation { on_disk: OnDisk::Absent, ..torn };
    assert_end(&first_step(&uninstalled), AgentVerdict::NotInstalled);
}

#[test]
fn a_run_that_ends_by_itself_before_our_eyes_is_enough() {
    let ended =
        |runs| Job { runs: Some(runs), last_end: Some("exit code 1".to_owned()), ..job(None) };
    let mut memory = Memory::default();
    // The first run may have met a store that was not there yet.
    assert_eq!(
        step(&failing(ended(1)), &mut memory, ZERO),
        Decision::Do(Step::Kickstart(Domain::Gui))
    );
    memory.did(Step::Kickstart(Domain::Gui), Some(0), "", ZERO);
    assert_eq!(step(&failing(ended(1)), &mut memory, ms(500)), Decision::Wait(LOOK_AGAIN));
    assert_eq!(step(&failing(ended(2)), &mut memory, ms(900)), Decision::Do(Step::Restore));
    // One that we have ended ourselves has not crashed.
    let mut memory = Memory::default();
    memory.saw(&failing(ended(1)), ZERO);
    memory.did(Step::Terminate(Domain::Gui, 7), Some(0), "", ZERO);
    assert_ne!(step(&failing(ended(2)), &mut memory, ms(900)), Decision::Do(Step::Restore));
}

#[test]
fn a_process_that_reacts_to_nothing_is_ended_and_then_killed() {
    let looks_fine = seen(loaded(Some(7)), Some(agent(7)));
    let mut memory = Memory::of_stuck(Some(7));
    let ask = Step::Terminate(Domain::Gui, 7);
    assert_eq!(step(&looks_fine, &mut memory, ZERO), Decision::Do(ask));
    memory.did(ask, Some(0), "", ZERO);
    assert_eq!(step(&looks_fine, &mut memory, ms(100)), Decision::Wait(LOOK_AGAIN));
    assert_eq!(step(&looks_fine, &mut memory, STUCK_PATIENCE), Decision::Do(Step::Kill(7)));
    memory.did(Step::Kill(7), None, "", STUCK_PATIENCE);
    assert_eq!(step(&looks_fine, &mut memory, STUCK_PATIENCE), Decision::Wait(LOOK_AGAIN));
    let next = seen(loaded(Some(8)), Some(agent(8)));
    assert_end(&step(&next, &mut memory, ms(4000)), AgentVerdict::Back);
}

#[test]
fn a_definition_that_home_manager_has_lost_on_the_way_is_put_in_place() {
    let lost = Observation {
        on_disk: OnDisk::Absent,
        is_in_generation: true,
        ..seen(JobView::NotLoaded, None)
    };
    let mut memory = Memory::default();
    assert_eq!(step(&lost, &mut memory, ZERO), Decision::Do(Step::Install));
    memory.did(Step::Install, None, "", ZERO);
    // The folder cannot be written to, and nothing has ever worked.
    assert_end(&step(&lost, &mut memory, ms(10)), AgentVerdict::NotBack);
    // launchd takes a file from anywhere.
    let with_copy = Observation { copy: Some(definition(Domains::Gui)), ..lost };
    assert_eq!(step(&with_copy, &mut memory, ms(10)), Decision::Do(Step::Enable(Domain::Gui)));
    memory.did(Step::Enable(Domain::Gui), Some(0), "", ms(10));
    assert_eq!(
        step(&with_copy, &mut memory, ms(20)),
        Decision::Do(Step::BootstrapCopy(Domain::Gui))
    );
}

#[test]
fn a_loaded_job_needs_no_file_to_be_started() {
    let torn = Observation {
        on_disk: OnDisk::Bad("it is no plist".to_owned()),
        ..seen(loaded(None), None)
    };
    assert_eq!(first_step(&torn), Decision::Do(Step::Kickstart(Domain::Gui)));
}

#[test]
fn a_job_that_launchd_takes_and_drops_is_named_as_such() {
    let gone = seen(JobView::NotLoaded, None);
    let mut memory = Memory::default();
    memory.did(Step::Bootstrap(Domain::Gui), Some(0), "", ZERO);
    let Decision::End(end) = step(&gone, &mut memory, Limits::default().total) else { panic!() };
    assert_eq!(end.verdict, AgentVerdict::NotBack);
    assert!(end.explanation.contains("Login Items"), "{}", end.explanation);
}

#[test]
fn what_launchctl_does_not_tell_costs_no_agent_that_runs() {
    let silent = || JobView::Loaded(Job { is_readable: false, ..job(None) });
    assert_end(&first_step(&seen(silent(), Some(agent(7)))), AgentVerdict::Healthy);
    let alone = Observation { has_other_that_worked: true, ..seen(silent(), None) };
    let mut memory = Memory::default();
    assert_eq!(step(&alone, &mut memory, ZERO), Decision::Do(Step::Kickstart(Domain::Gui)));
    memory.did(Step::Kickstart(Domain::Gui), Some(0), "", ZERO);
    // Nothing is taken out or put back on so little.
    let late = Limits::default().restore_after;
    assert_eq!(step(&alone, &mut memory, late), Decision::Do(Step::Kickstart(Domain::Gui)));

    // What the agent's own record says is acted on.
    let other = ProgramView { difference: Some(Difference::Definition), ..agent(7) };
    assert_eq!(first_step(&seen(silent(), Some(other))), Decision::Do(Step::Bootout(Domain::Gui)));
    let outdated = ProgramView { difference: Some(Difference::Config), ..agent(7) };
    assert_eq!(
        first_step(&seen(silent(), Some(outdated))),
        Decision::Do(Step::Terminate(Domain::Gui, 7))
    );

    let unclear = seen(JobView::Unclear("it hangs".to_owned()), Some(agent(7)));
    assert_eq!(first_step(&unclear), Decision::Wait(LOOK_AGAIN_LATER));
    assert_end(&step(&unclear, &mut Memory::default(), UNCLEAR_PATIENCE), AgentVerdict::Healthy);
}

#[test]
fn without_launchctl_nobody_waits() {
    let missing = || JobView::NoTool("cannot run /bin/launchctl".to_owned());
    assert_end(&first_step(&seen(missing(), Some(agent(7)))), AgentVerdict::Healthy);
    let Decision::End(end) = first_step(&seen(missing(), None)) else { panic!() };
    assert_eq!(end.verdict, AgentVerdict::NotBack);
    assert!(end.explanation.contains("/bin/launchctl"), "{}", end.explanation);
    let torn = Observation {
        on_disk: OnDisk::Bad("it is no plist".to_owned()),
        user: missing(),
        ..seen(missing(), None)
    };
    assert_end(&first_step(&torn), AgentVerdict::NotBack);
}

#[test]
fn only_loading_it_again_lets_a_job_out_of_the_penalty_box() {
    let penalised = seen(JobView::Loaded(Job { cannot_run: true, ..job(None) }), None);
    let mut memory = Memory::default();
    assert_eq!(step(&penalised, &mut memory, ZERO), Decision::Do(Step::Kickstart(Domain::Gui)));
    memory.did(Step::Kickstart(Domain::Gui), Some(0), "", ZERO);
    assert_eq!(step(&penalised, &mut memory, ms(100)), Decision::Wait(LOOK_AGAIN));
    assert_eq!(step(&penalised, &mut memory, KICK_EVERY), Decision::Do(Step::Bootout(Domain::Gui)));
    memory.did(Step::Bootout(Domain::Gui), Some(0), "", KICK_EVERY);
    memory.did(Step::Bootstrap(Domain::Gui), Some(0), "", KICK_EVERY);
    memory.did(Step::Kickstart(Domain::Gui), Some(0), "", KICK_EVERY);
    // Not again at once: what it needs may come a little later.
    let soon = KICK_EVERY + KICK_EVERY;
    assert_eq!(step(&penalised, &mut memory, soon), Decision::Do(Step::Kickstart(Domain::Gui)));
    let later = KICK_EVERY + RELOAD_EVERY;
    assert_eq!(step(&penalised, &mut memory, later), Decision::Do(Step::Bootout(Domain::Gui)));
}

#[test]
fn a_job_that_cannot_run_although_its_program_is_there_is_named_as_forbidden() {
    let penalised = Observation {
        on_disk: OnDisk::Good(Definition { has_program: true, ..definition(Domains::Gui) }),
        ..seen(JobView::Loaded(Job { cannot_run: true, ..job(None) }), None)
    };
    let late = Limits::default().total;
    let Decision::End(end) = step(&penalised, &mut Memory::default(), late) else { panic!() };
    assert!(end.explanation.contains("Login Items"), "{}", end.explanation);
}

#[test]
fn a_program_with_a_record_of_crashes_has_to_stay_up_longer() {
    let bad =
        Job { runs: Some(MANY_RUNS), last_end: Some("exit code 1".to_owned()), ..job(Some(7)) };
    let up_for = |age| {
        let agent = ProgramView { age, ..agent(7) };
        first_step(&seen(JobView::Loaded(bad.clone()), Some(agent)))
    };
    assert_eq!(up_for(SETTLED_AFTER), Decision::Wait(LOOK_AGAIN));
    assert_end(&up_for(SETTLED_AFTER_CRASHES), AgentVerdict::Healthy);
}

#[test]
fn what_has_outlived_its_job_is_ended_and_what_was_started_by_hand_is_not() {
    // The job has another process, or none: the old one holds what the new one needs.
    for pid in [None, Some(8)] {
        let outlived = seen(loaded(pid), Some(agent(7)));
        let mut memory = Memory::default();
        // The job was looked at first: what was started in between is not its process yet.
        assert!(!matches!(
            step(&outlived, &mut memory, ZERO),
            Decision::Do(Step::TerminateStray(_))
        ));
        let sure = OUTSIDE_FOR;
        assert_eq!(step(&outlived, &mut memory, sure), Decision::Do(Step::TerminateStray(7)));
        memory.did(Step::TerminateStray(7), None, "", sure);
        assert_eq!(step(&outlived, &mut memory, sure + ms(100)), Decision::Wait(LOOK_AGAIN));
        let overdue = sure + STUCK_PATIENCE;
        assert_eq!(step(&outlived, &mut memory, overdue), Decision::Do(Step::Kill(7)));
    }
    let by_hand = ProgramView { was_started_as_job: false, ..agent(7) };
    let decision = first_step(&seen(loaded(Some(8)), Some(by_hand)));
    assert_eq!(decision, Decision::Wait(LOOK_AGAIN));
}

#[test]
fn a_long_exit_timeout_is_not_waited_for() {
    let slow = JobView::Loaded(Job {
        is_leaving: true,
        exit_timeout: Duration::from_mins(10),
        ..job(Some(7))
    });
    let mut memory = Memory::default();
    assert_eq!(step(&seen(slow.clone(), None), &mut memory, ZERO), Decision::Wait(LOOK_AGAIN));
    assert_eq!(step(&seen(slow, None), &mut memory, LONGEST_PATIENCE), Decision::Do(Step::Kill(7)));
}

#[test]
fn a_process_that_was_there_before_is_not_ended_for_want_of_a_record() {
    let unknown = seen(loaded(Some(7)), None);
    let mut memory = Memory::default();
    assert_eq!(step(&unknown, &mut memory, ZERO), Decision::Wait(LOOK_AGAIN));
    let Decision::End(end) = step(&unknown, &mut memory, READY_LIMIT) else { panic!() };
    assert_eq!(end.verdict, AgentVerdict::NotBack);
    assert!(end.explanation.contains("NIXFLEET_STATE_DIR"), "{}", end.explanation);
    // The job has been at work here before: this one should have written itself down.
    let known = Observation { trace: Trace::Record, ..unknown.clone() };
    let ask = Decision::Do(Step::Terminate(Domain::Gui, 7));
    assert_eq!(step(&known, &mut memory, READY_LIMIT), ask);
    // It holds its lock here: it is the one, whatever has become of its record.
    let locked = Observation { trace: Trace::Locked, ..unknown };
    assert_end(&step(&locked, &mut memory, READY_LIMIT), AgentVerdict::Healthy);
}
