//! Sessions, overrides, Background Items, sleep and reboot: F7, F8, F13, F19, F22.

use std::time::Duration;

use super::{BUILDING, HELD_SECONDS, Place, at_place, fault, hanging, hanging_after, on};
use crate::{
    launchd::{
        Control, Fault as CallFault,
        command::VerbName,
        control::Verdict,
        domain::{Domain, ServiceTarget},
    },
    matrix::{
        axes::Initiator,
        fault::{Act, Fault, NewPlist, Unhelpable, Variant, Victim, When},
    },
    stage::mac::LABEL,
};

/// How long something sleeps.
const NAP: Duration = Duration::from_secs(20);

/// The override database forbids the job.
pub(super) fn f7() -> Fault {
    let disables = Control::Disable(LABEL.to_owned());
    let after_enable = CallFault { after: vec![disables.clone()], ..on(VerbName::Enable) };
    fault(
        "F7",
        "the job is disabled in the override database",
        "openclaw#849, nexu#836",
        vec![
            Variant::new("before").first(Act::Happens(disables.clone())),
            at_place("after-bootout", Place::AfterBootout, Act::Happens(disables.clone())),
            Variant::new("between-enable-and-bootstrap")
                .first(Act::Happens(disables))
                .calls([after_enable.times(1)]),
        ],
    )
}

/// There is no screen session, or the job is in the other domain.
pub(super) fn f8() -> Fault {
    let session_types = "<key>LimitLoadToSessionType</key>\
                         <array><string>Aqua</string><string>Background</string></array>";
    let no_screen =
        |variant: Variant| variant.unhelpable(Unhelpable::NoScreenSession, Control::Login);
    let logs_out = |name| {
        Variant::new(name)
            .line(BUILDING)
            .calls([hanging(VerbName::Bootstrap, HELD_SECONDS).times(1)])
            .happens(When::Step("install"), Control::Logout)
    };
    fault(
        "F8",
        "no screen session; a logout in between; the label in the other domain",
        "HM#9628, crc#5374",
        vec![
            no_screen(Variant::new("no-screen-session").first_happens(Control::Logout))
                .only(&Initiator::AT_THE_MACHINE),
            no_screen(logs_out("logout-in-between")),
            logs_out("logout-and-login-in-between").happens_later(
                When::Step("install"),
                Duration::from_secs(5),
                Control::Login,
            ),
            Variant::new("only-in-the-other-domain")
                .keys(session_types)
                .first(Act::MoveToUserDomain),
        ],
    )
}

/// launchd takes the job and then throws it out.
pub(super) fn f13() -> Fault {
    let target = ServiceTarget {
        domain: Domain::Gui(rustix::process::getuid().as_raw()),
        label: LABEL.to_owned(),
    };
    let thrown_out = |times| {
        CallFault { after: vec![Control::Remove(target.clone())], ..on(VerbName::Bootstrap) }
            .times(times)
    };
    let policy = |verdict| Control::Policy { label: LABEL.to_owned(), verdict };
    let login_item = |on| Control::LoginItem { label: LABEL.to_owned(), on };
    let blocked = |name, control, rescue| {
        Variant::new(name).slow().first_happens(control).unhelpable(Unhelpable::Blocked, rescue)
    };
    fault(
        "F13",
        "the job is taken, started, and thrown out; Login Items",
        "agent-portal#1589",
        vec![
            Variant::new("thrown-out-once").calls([thrown_out(1)]),
            Variant::new("thrown-out-3-times").calls([thrown_out(3)]),
            blocked("login-items-off", login_item(false), login_item(true)),
            blocked(
                "killed-after-every-start",
                policy(Verdict::KilledAfterSpawn),
                policy(Verdict::Allowed),
            ),
            blocked("spawn-refused", policy(Verdict::SpawnRefused), policy(Verdict::Allowed)),
        ],
    )
}

/// Something stands still, or all of it.
pub(super) fn f19() -> Fault {
    let frozen = |name, place, victim, initiators| {
        let variant = at_place(name, place, Act::Freeze(vec![victim])).only(initiators);
        let moment = variant.during.last().map(|trigger| trigger.when);
        variant.later(moment.unwrap_or(When::SwitchEnded), NAP, Act::Thaw(vec![victim]))
    };
    fault(
        "F19",
        "the machine sleeps, or a program stands still",
        "launchd.plist(5)",
        vec![
            at_place("sleep-at-build", Place::Build, Act::Sleep(NAP)),
            at_place("sleep-after-bootout", Place::AfterBootout, Act::Sleep(NAP)),
            frozen(
                "wrapper-after-bootout",
                Place::AfterBootout,
                Victim::Wrapper,
                &Initiator::WRAPPED,
            ),
            frozen(
                "home-manager-after-bootout",
                Place::AfterBootout,
                Victim::HomeManager,
                &Initiator::ALL,
            ),
            frozen("agent-at-build", Place::Build, Victim::Agent, &Initiator::ALL),
            at_place("agent-for-good", Place::Build, Act::Freeze(vec![Victim::Agent]))
                .plist(NewPlist::Same),
        ],
    )
}

/// The machine starts anew, or the user logs in anew, between two steps.
pub(super) fn f22() -> Fault {
    let reboot = |name, place| at_place(name, place, Act::Reboot);
    let login_again = |variant: Variant, when| {
        variant.happens(when, Control::Logout).happens_later(
            when,
            Duration::from_secs(3),
            Control::Login,
        )
    };
    fault(
        "F22",
        "a reboot or a login between two steps",
        "HM#9656",
        vec![
            reboot("reboot-at-build", Place::Build),
            reboot("reboot-after-bootout", Place::AfterBootout),
            reboot("reboot-before-bootstrap", Place::BeforeBootstrap),
            reboot("reboot-after-bootstrap", Place::AfterBootstrap),
            Variant::new("reboot-afterwards").at(When::SwitchEnded, Act::Reboot),
            login_again(
                Variant::new("login-at-build").line("BUILD_SECONDS=5"),
                When::Step("build"),
            ),
            login_again(
                Variant::new("login-after-bootout").calls([hanging_after(
                    VerbName::Bootout,
                    HELD_SECONDS,
                )
                .times(1)]),
                When::BootedOut,
            ),
            login_again(Variant::new("login-afterwards"), When::SwitchEnded),
        ],
    )
}
