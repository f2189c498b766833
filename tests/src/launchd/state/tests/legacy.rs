//! S9: the old verbs (chapter 2).

use super::*;
use crate::launchd::message::CallerSession;

fn say(world: &mut World, session: Option<CallerSession>, line: &str, keys: &str) -> Answer {
    let argv: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    let command = Command::parse(&argv, 15).unwrap();
    let caller = Who { privilege: Privilege::Owner, session };
    let plists = if command.plists().is_empty() { Vec::new() } else { vec![plist(keys)] };
    let event = Event::Called { call: CallId(0), caller, command, plists };
    let effects = world.launchd.handle(event, Moment::at(world.now));
    let mut answers = Vec::new();
    for effect in effects {
        match effect {
            Effect::Reply { answer, .. } => answers.push(answer),
            Effect::Spawn { target, .. } => {
                let pid = Pid::from_raw(world.next_pid).unwrap();
                world.next_pid += 1;
                world.event(Event::Spawned { target, pid });
            }
            Effect::Signal { .. }
            | Effect::Reap { .. }
            | Effect::Record { .. }
            | Effect::KeepOverrides(_)
            | Effect::Booted
            | Effect::End => {}
        }
    }
    assert_eq!(answers.len(), 1, "{line}");
    answers.remove(0)
}

fn at_the_screen(world: &mut World, line: &str, keys: &str) -> Answer {
    say(world, None, line, keys)
}

/// "exit 0 even when it printed an error" [C LifeOS#2068]; F17.
#[test]
fn load_and_unload_exit_with_zero_whatever_they_print() {
    let mut world = World::new(15);
    assert_eq!(at_the_screen(&mut world, "load /job.plist", RUN_AT_LOAD), Answer::silent());
    assert_eq!(world.state(), "running");
    let again = at_the_screen(&mut world, "load -w /job.plist", RUN_AT_LOAD);
    assert_eq!(again.code, 0);
    assert!(again.stderr.starts_with("Load failed: 5: Input/output error\nTry running"));
    assert_eq!(at_the_screen(&mut world, "unload /job.plist", RUN_AT_LOAD), Answer::silent());
    assert_eq!(world.state(), "SIGTERMed", "unload does not wait");
    world.exit(100, 0);
    let absent = at_the_screen(&mut world, "unload /job.plist", RUN_AT_LOAD);
    assert!(absent.code == 0 && absent.stderr.starts_with("Unload failed: 5: "), "{absent:?}");
}

/// "`-w` also flips override DB" [C].
#[test]
fn w_flips_the_override_database() {
    let mut world = World::new(15);
    at_the_screen(&mut world, "unload -w /job.plist", RUN_AT_LOAD);
    assert_eq!(world.launchd.overrides.get(LABEL), Some(&Override::Disabled));
    let disabled = at_the_screen(&mut world, "load /job.plist", RUN_AT_LOAD);
    assert!(disabled.code == 0 && disabled.stderr.starts_with("Load failed: 5: "), "{disabled:?}");
    assert_eq!(at_the_screen(&mut world, "load -w /job.plist", RUN_AT_LOAD), Answer::silent());
    assert_eq!(world.launchd.overrides.get(LABEL), Some(&Override::Enabled));
}

/// "domain = caller's session (gui on console, user over ssh)" [C collie#235].
#[test]
fn the_old_verbs_act_on_the_callers_own_session() {
    let mut world = World::new(15);
    let both = "<key>LimitLoadToSessionType</key>\
                <array><string>Aqua</string><string>Background</string></array>";
    let over_ssh = Some(CallerSession::Background);
    assert_eq!(say(&mut world, over_ssh, "load /job.plist", both), Answer::silent());
    world.log.clear();
    world.call(PRINT).gives(&["reply 113"]);
    world.call("print user/501/com.example.job").gives(&["reply 0"]);
    assert_eq!(say(&mut world, over_ssh, "managername", "").stdout, "Background\n");
    assert_eq!(say(&mut world, None, "managername", "").stdout, "Aqua\n");
    assert_eq!(say(&mut world, None, "list com.example.job", "").code, 113);
    assert_eq!(say(&mut world, over_ssh, "list com.example.job", "").code, 0);
}

/// An agent without a session type is for Aqua: over ssh it does not load [L idx 68439692847].
#[test]
fn an_agent_of_the_screen_does_not_load_over_ssh() {
    let mut world = World::new(15);
    let over_ssh = Some(CallerSession::Background);
    let refused = say(&mut world, over_ssh, "load /job.plist", RUN_AT_LOAD);
    assert!(refused.code == 0 && refused.stderr.starts_with("Load failed: 5: "), "{refused:?}");
}

/// `submit`: "job inferred KeepAlive, reruns forever" [C A842 sets OnDemand=false].
#[test]
fn a_submitted_job_runs_for_ever() {
    let mut world = World::new(15);
    let line = format!("submit -l {LABEL} -- /bin/echo done");
    assert_eq!(at_the_screen(&mut world, &line, ""), Answer::silent());
    world.event(Event::Tick);
    assert_eq!(world.field("properties").unwrap(), "keepalive | inferred program");
    world.at(20.0).exit(100, 0).log.clear();
    assert_eq!(world.state(), "running");
}

/// `stop` "on KeepAlive job just restarts it"; `remove` exits with 0 if absent [L PRC].
#[test]
fn start_stop_and_remove() {
    let mut world = World::new(15);
    world.bootstrap("").log.clear();
    assert_eq!(at_the_screen(&mut world, &format!("start {LABEL}"), ""), Answer::silent());
    assert_eq!(world.state(), "running");
    world.at(30.0);
    assert_eq!(at_the_screen(&mut world, &format!("stop {LABEL}"), ""), Answer::silent());
    assert_eq!(world.state(), "SIGTERMed");
    world.exit(100, 0);
    assert_eq!(world.state(), "not running", "the label stays");
    assert_eq!(at_the_screen(&mut world, &format!("remove {LABEL}"), ""), Answer::silent());
    assert_eq!(at_the_screen(&mut world, &format!("remove {LABEL}"), ""), Answer::silent());
    assert_eq!(at_the_screen(&mut world, &format!("stop {LABEL}"), ""), Answer::mute(3));

    world.bootstrap(KEEP_ALIVE).log.clear();
    at_the_screen(&mut world, &format!("stop {LABEL}"), "");
    world.at(60.0).exit(101, 0);
    assert_eq!(world.state(), "running", "KeepAlive starts it again");
}

/// `asuser` "keeps caller uid; needs root" [C].
#[test]
fn asuser_is_for_root() {
    let mut world = World::new(15);
    let refused = at_the_screen(&mut world, "asuser 501 /bin/echo", "");
    assert_eq!((refused.code, refused.run.len()), (1, 0));
    let command = Command::Asuser { uid: UID, words: vec!["/bin/echo".to_owned()] };
    let caller = Who { privilege: Privilege::Root, session: None };
    let event = Event::Called { call: CallId(0), caller, command, plists: Vec::new() };
    let effects = world.launchd.handle(event, Moment::at(world.now));
    let Some(Effect::Reply { answer, .. }) = effects.first() else { panic!("{effects:?}") };
    assert_eq!(answer.run, ["/bin/echo"]);
}
