//! What launchctl answers: F2, F3, F9, F10, F11, F17, F20.

use super::{done_but, fault, hanging, hanging_after, on};
use crate::{
    launchd::{Control, Fault as CallFault, command::VerbName, fault::Disguise},
    matrix::fault::{Act, Actor, Fault, Variant, When},
};

/// kill(1).
const SIGKILL: i32 = 9;

/// `bootstrap` fails although nothing stands in its way.
pub(super) fn f2() -> Fault {
    let fails =
        |name, times| Variant::new(name).calls([on(VerbName::Bootstrap).code(5).times(times)]);
    fault(
        "F2",
        "bootstrap fails with 5 a number of times, with the label absent",
        "hermes#95758, headroom#1289",
        vec![
            fails("once", 1),
            fails("3-times", 3),
            fails("8-times", 8),
            fails("12-times", 12).slow(),
        ],
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
        Variant::new(name)
            .first_happens(Control::OnDemandCount(1))
            .calls([on(VerbName::Kickstart).code(code).times(3)])
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
            Variant::new("bootout-never-returns").slow().calls([hanging_after(
                VerbName::Bootout,
                90.0,
            )
            .times(1)]),
            Variant::new("killed-before-booting-out").calls([CallFault {
                kill_self: Some(SIGKILL),
                ..on(VerbName::Bootout).code(0).times(1)
            }]),
            Variant::new("killed-after-booting-out")
                .calls([CallFault { kill_self: Some(SIGKILL), ..on(VerbName::Bootout).times(1) }]),
        ],
    )
}

/// The old verbs fail and say 0.
pub(super) fn f17() -> Fault {
    let says = "Load failed: 5: Input/output error\n\
                Try running `launchctl bootstrap` as root for richer errors.\n";
    let fails = CallFault { stderr: Some(says.to_owned()), ..on(VerbName::Load).code(0).times(1) };
    let again = |name| Variant::new(name).at(When::SwitchEnded, Act::Start(Actor::LoadAgain));
    fault(
        "F17",
        "`load -w` prints an error and exits with 0",
        "LifeOS#2068",
        vec![again("unload-and-load-afterwards"), again("load-fails-and-says-0").calls([fails])],
    )
}

/// `print` prints something else.
pub(super) fn f20() -> Fault {
    let prints = |name, disguise| {
        let odd = CallFault { disguise: Some(disguise), ..on(VerbName::Print) };
        // So that the agent has to be brought back by somebody who reads this.
        Variant::new(name).slow().calls([odd, on(VerbName::Bootstrap).code(5).times(2)])
    };
    fault(
        "F20",
        "print prints other fields, another language, or decoys",
        "idx 68429353453",
        vec![
            prints("renamed-fields", Disguise::Renamed),
            prints("another-language", Disguise::Localized),
            prints("decoys", Disguise::Decoys),
            prints("truncated", Disguise::Truncated),
            prints("garbled", Disguise::Garbled),
            prints("nothing", Disguise::Empty),
            prints("a-megabyte", Disguise::Flood(1024 * 1024)),
        ],
    )
}
