//! Kills: F6.

use nixfleet_protocol::crash_point::CrashPoint;

use super::{BUILDING, Place, at_place, fault, on};
use crate::{
    launchd::{Control, command::VerbName},
    matrix::{
        axes::Initiator,
        fault::{Act, Actor, AgentProgram, Fault, NewPlist, PlistAct, Variant, Victim, When},
    },
};

/// Whoever is at work is killed, at every step.
pub(super) fn f6() -> Fault {
    let mut variants = Vec::new();
    variants.extend(killed_at(
        [
            "home-manager-at-build",
            "home-manager-after-bootout",
            "home-manager-before-bootstrap",
            "home-manager-after-bootstrap",
        ],
        &[Victim::HomeManager],
        &Initiator::ALL,
    ));
    variants.extend(killed_at(
        [
            "wrapper-at-build",
            "wrapper-after-bootout",
            "wrapper-before-bootstrap",
            "wrapper-after-bootstrap",
        ],
        &[Victim::Wrapper],
        &Initiator::WRAPPED,
    ));
    variants.extend(killed_at(
        ["all-at-build", "all-after-bootout", "all-before-bootstrap", "all-after-bootstrap"],
        &[Victim::Wrapper, Victim::HomeManager, Victim::AgentGroup, Victim::Watchdog],
        &Initiator::ALL,
    ));
    variants.extend([
        at_place("agent-s-group-at-build", Place::Build, Act::Kill(vec![Victim::AgentGroup])),
        at_place("watchdog-at-build", Place::Build, Act::Kill(vec![Victim::Watchdog])),
        at_place("output-closed", Place::Build, Act::CloseOutput)
            .only(&Initiator::AT_THE_MACHINE)
            .line("PRINT_AFTER_BOOTOUT='stopping the agent'"),
    ]);
    variants.extend(CrashPoint::ALL.iter().map(|point| at_crash_point(*point)));
    fault(
        "F6",
        "kill -9 at every step; the reader of the output goes away",
        "hermes#43842, H3, H6",
        variants,
    )
}

fn killed_at(
    names: [&'static str; 4],
    victims: &[Victim],
    initiators: &'static [Initiator],
) -> Vec<Variant> {
    let places = names.into_iter().zip(Place::ALL);
    places
        .map(|(name, place)| at_place(name, place, Act::Kill(victims.to_vec())).only(initiators))
        .collect()
}

/// The process that comes by this point dies, in a switch that is made to come by it.
fn at_crash_point(point: CrashPoint) -> Variant {
    let plain = Variant::new(point.as_str());
    // home-manager cannot load the agent, so somebody else has to.
    let not_loaded =
        || Variant::new(point.as_str()).calls([on(VerbName::Bootstrap).code(5).times(2)]);
    let variant = match point {
        CrashPoint::WrapperLocked
        | CrashPoint::WrapperChildSpawned
        | CrashPoint::WrapperStarted
        | CrashPoint::WrapperGateOpened
        | CrashPoint::WrapperChildEnded
        | CrashPoint::WrapperResultWritten
        | CrashPoint::WrapperEnsured
        | CrashPoint::WrapperReloadWritten
        | CrashPoint::EnsureLocked
        | CrashPoint::AgentReported
        | CrashPoint::AgentReportMarked => plain.only(&Initiator::WRAPPED),
        CrashPoint::WrapperRequested => plain.slow().only(&[Initiator::User]),
        CrashPoint::WrapperUp
        | CrashPoint::AgentCommandCame
        | CrashPoint::AgentCommandTaken
        | CrashPoint::AgentAcknowledged
        | CrashPoint::AgentWrapperStarted => plain.only(&[Initiator::Agent]).line(BUILDING),
        CrashPoint::AgentLocked | CrashPoint::AgentUp => plain,
        CrashPoint::EnsureEnabled | CrashPoint::EnsureBootstrapped => not_loaded(),
        // home-manager finds the file as it wants it and touches nothing; what is loaded is another.
        CrashPoint::EnsureBootedOut => plain.first(Act::Plist(PlistAct::Write(2))),
        CrashPoint::EnsureKickstarted => plain.first_happens(Control::OnDemandCount(1)),
        CrashPoint::EnsureTerminated => plain
            .only(&Initiator::WRAPPED)
            .plist(NewPlist::Same)
            .at(When::Step("profile"), Act::Agent(AgentProgram::Copy)),
        CrashPoint::EnsureRestored => plain.slow().old_may_stay().plist(NewPlist::WithoutProgram),
        CrashPoint::WrapperOriginalBack => {
            plain.slow().only(&Initiator::WRAPPED).first(Act::GoBack)
        }
        // A switch that has done nothing leaves home-manager's own file, with which no agent comes up.
        CrashPoint::EnsureOriginalGone => plain
            .slow()
            .old_may_stay()
            .only(&Initiator::WRAPPED)
            .first(Act::GoBack)
            .line("FAIL_AT=build"),
        CrashPoint::WatchdogFirstLook | CrashPoint::WatchdogActing | CrashPoint::WatchdogActed => {
            // Somebody takes the agent out, and nobody but the watchdog is there to see it.
            plain.only(&[Initiator::Plain]).at(When::SwitchEnded, Act::Start(Actor::Bootout))
        }
    };
    variant.first(Act::Arm(point))
}
