//! What the agent's job does, and what others do to it: F1, F4, F5, F16, F18.

use std::time::Duration;

use super::{BUILDING, Place, at_place, fault};
use crate::{
    launchd::Control,
    matrix::fault::{Act, Actor, Fault, NewPlist, Variant, Victim, When},
};

/// launchd leaves the rest of the job's process group alone when the main process has ended (launchd.plist(5)).
const ABANDON: &str = "<key>AbandonProcessGroup</key><true/>";

/// A job that takes its time to end, or does not.
pub(super) fn f1() -> Fault {
    let lingers = |name, seconds| Variant::new(name).launched(&["--linger", seconds]);
    let allowed = |seconds| format!("<key>ExitTimeOut</key><integer>{seconds}</integer>");
    fault(
        "F1",
        "the job takes its time to end, or ignores SIGTERM",
        "openclaw#112731, #110137",
        vec![
            lingers("ends-after-0.1s", "0.1"),
            lingers("ends-after-1.5s", "1.5"),
            lingers("ends-after-5s", "5"),
            lingers("ends-after-20s", "20"),
            lingers("ends-after-300s", "300"),
            lingers("ends-after-20s-and-may", "20").keys(&allowed(30)),
            lingers("ends-after-300s-and-may", "300").slow().keys(&allowed(600)),
            Variant::new("ignores-term").launched(&["--deaf"]),
            at_place("stopped", Place::Build, Act::Freeze(vec![Victim::Agent])),
        ],
    )
}

/// A job that is loaded and never started.
pub(super) fn f4() -> Fault {
    fault(
        "F4",
        "bootstrap says 0, and the job is never started",
        "openbase#15, hyp#1036",
        vec![
            Variant::new("speculative").first_happens(Control::OnDemandCount(1)),
            Variant::new("speculative-for-ever")
                .first_happens(Control::PendedStay(true))
                .first_happens(Control::OnDemandCount(1))
                .happens(When::SwitchEnded, Control::OnDemandCount(0)),
        ],
    )
}

/// A job that ends and is not started again.
pub(super) fn f5() -> Fault {
    let dies = |name| at_place(name, Place::Build, Act::Kill(vec![Victim::Agent]));
    let no_demand = Control::OnDemandCount(1);
    fault(
        "F5",
        "the job ends, and its next start is pended",
        "idx 65721559124, 70133682377, hermes#53861",
        vec![
            dies("killed-then-pended").first_happens(no_demand.clone()),
            dies("killed-then-pended-and-nothing-changed")
                .plist(NewPlist::Same)
                .first_happens(no_demand.clone()),
            dies("low-power-mode").first_happens(Control::LowPower(true)),
            Variant::new("on-demand-only-for-a-while")
                .happens(When::BootedOut, no_demand)
                .happens_later(
                    When::SwitchEnded,
                    Duration::from_secs(8),
                    Control::OnDemandCount(0),
                ),
        ],
    )
}

/// Somebody else who acts on the job.
pub(super) fn f16() -> Fault {
    let after_bootout = |name, actor| at_place(name, Place::AfterBootout, Act::Start(actor));
    let after_all = |name, actor| Variant::new(name).at(When::SwitchEnded, Act::Start(actor));
    fault(
        "F16",
        "somebody else acts on the job at the same time",
        "hermes#42446, #21549",
        vec![
            after_bootout("ensure-agent-between", Actor::EnsureAgent),
            after_bootout("home-manager-between", Actor::HomeManager),
            after_bootout("switch-between", Actor::Switch),
            after_bootout("kickstart-k-between", Actor::Kickstart),
            after_all("kickstart-k-afterwards", Actor::Kickstart),
            after_all("bootout-afterwards", Actor::Bootout),
            at_place("second-agent-by-hand", Place::Build, Act::Start(Actor::Agent)).slow(),
        ],
    )
}

/// What the old agent leaves behind holds what the new one needs.
pub(super) fn f18() -> Fault {
    let launched = |name, arguments| Variant::new(name).launched(arguments).line(BUILDING);
    fault(
        "F18",
        "something of the old agent lives on and holds its lock",
        "idx 57817695081",
        vec![
            launched("agent-outlives-its-launcher", &["--abandon"]).keys(ABANDON),
            launched("child-holds-the-lock-20s", &["--leave-lock", "20"]),
            launched("child-holds-the-lock", &["--leave-lock", "3600"]).slow(),
            launched("child-ignores-term", &["--stubborn-child", "3600"]),
        ],
    )
}
