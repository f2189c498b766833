//! What launchctl answers: F2, F3, F9, F10, F11, F17, F20.

use serde_json::json;

use super::{A_MOMENT, HELD_SECONDS, done_but, fault, hanging, hanging_after, on};
use crate::{
    launchd::{Fault as CallFault, command::VerbName},
    matrix::fault::{Act, Actor, Fault, Variant, Victim, When},
};

/// `bootstrap` fails although nothing stands in its way.
pub(super) fn f2() -> Fault {
    let fails =
        |name, times| Variant::new(name).calls([on(VerbName::Bootstrap).code(5).times(times)]);
    fault(
        "F2",
        "bootstrap fails with 5 a number of times, with the label absent",
        "hermes#95758, headroom#1289",
        vec![fails("once", 1), fails("3-times", 3), fails("8-times", 8), fails("12-times", 12)],
    )
}

/// `bootout` does nothing, and so `bootstrap` fails.
pub(super) fn f3() -> Fault {
    let does_nothing = |times| on(VerbName::Bootout).code(0).times(times);
    let usage = CallFault {
        stderr: Some("Unrecognized target specifier.\n".to_owned()),
        ..on(VerbName::Bootout).code(64)
    };
    fault(
        "F3",
        "bootstrap fails with 5 because bootout has done nothing",
        "HM#9585, t3code#11995",
        vec![
            Variant::new("bootout-does-nothing-once").calls([does_nothing(1)]),
            Variant::new("bootout-does-nothing-3-times").calls([does_nothing(3)]),
            Variant::new("bootout-is-a-usage-error").calls([usage.times(1)]),
        ],
    )
}

/// `bootout` says the wrong thing.
pub(super) fn f9() -> Fault {
    let says = |code| done_but(on(VerbName::Bootout).code(code));
    fault(
        "F9",
        "bootout fails although the job is stopped, or while it drains",
        "osquery#5698, local-operator M-03",
        vec![
            Variant::new("36-and-stopped").calls([says(36).times(2)]),
            Variant::new("5-and-draining").launched(&["--linger", "4"]).calls([says(5).times(1)]),
        ],
    )
}

/// `kickstart` fails, and says nothing.
pub(super) fn f10() -> Fault {
    // Only a demand starts the job, and the demand fails.
    let fails = |name, code| {
        Variant::new(name).first_happens(json!({"on_demand_count": 1})).calls([on(
            VerbName::Kickstart,
        )
        .code(code)
        .times(3)])
    };
    fault(
        "F10",
        "kickstart fails without a word",
        "openclaw#71413, headroom#1289",
        vec![fails("37", 37), fails("113", 113)],
    )
}

/// launchctl hangs.
pub(super) fn f11() -> Fault {
    let hangs = |name, verb| Variant::new(name).calls([hanging(verb, 15.0).times(1)]);
    let failing = on(VerbName::Bootstrap).code(5).times(2);
    fault(
        "F11",
        "launchctl hangs or is killed",
        "local-operator D-01 to D-04",
        vec![
            hangs("bootout-15s", VerbName::Bootout),
            hangs("bootstrap-15s", VerbName::Bootstrap),
            Variant::new("print-15s-three-times").calls([hanging(VerbName::Print, 15.0).times(3)]),
            Variant::new("enable-for-ever")
                .calls([failing, hanging(VerbName::Enable, 300.0).times(1)]),
            Variant::new("bootout-never-returns")
                .calls([hanging_after(VerbName::Bootout, 90.0).times(1)]),
            Variant::new("killed-while-booting-out")
                .calls([hanging(VerbName::Bootout, HELD_SECONDS).times(1)])
                .later(When::Step("bootout"), A_MOMENT, Act::Kill(vec![Victim::Launchctl])),
        ],
    )
}

/// The old verbs fail and say 0.
pub(super) fn f17() -> Fault {
    let failing = |stderr: &str| {
        VerbName::parse("load")
            .map(|load| CallFault { stderr: Some(stderr.to_owned()), ..on(load).code(0) })
    };
    let says = "Load failed: 5: Input/output error\n\
                Try running `launchctl bootstrap` as root for richer errors.\n";
    let again = Variant::new("unload-and-load-afterwards")
        .at(When::SwitchEnded, Act::Start(Actor::LoadAgain))
        .needs_verbs(&["load", "unload"]);
    let fails = Variant::new("load-fails-and-says-0").calls(failing(says));
    fault(
        "F17",
        "`load -w` prints an error and exits with 0",
        "LifeOS#2068",
        vec![Variant { before: fails.before, name: fails.name, ..again.clone() }, again],
    )
}

/// `print` prints something else.
pub(super) fn f20() -> Fault {
    let prints = |name, output: String| {
        let odd = CallFault { output: Some(output), ..on(VerbName::Print) };
        // So that the agent has to be brought back by somebody who reads this.
        Variant::new(name).calls([done_but(odd), on(VerbName::Bootstrap).code(5).times(2)])
    };
    let decoys = "com.nixfleet.agent = {\n\tenvironment = {\n\t\tpid = 1\n\t\tstate = running\n\t}\n\
                  \tresource coalition = {\n\t\tstate = active\n\t}\n\tpid of last run = 1\n}\n";
    let renamed =
        "com.nixfleet.agent = {\n\tstatus = running\n\tprocess identifier = 4711\n\tnew = 1\n}\n";
    let foreign = "com.nixfleet.agent = {\n\tZustand = l\u{e4}uft\n\tProzess = 4711\n}\n";
    fault(
        "F20",
        "print prints other fields, another language, or decoys",
        "idx 68429353453",
        vec![
            prints("renamed-fields", renamed.to_owned()),
            prints("another-language", foreign.to_owned()),
            prints("decoys", decoys.to_owned()),
            prints("nothing", String::new()),
            prints("a-megabyte", "\tx = 1\n".repeat(150_000)),
        ],
    )
}
