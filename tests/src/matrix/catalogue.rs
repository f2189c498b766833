//! The faults, F1 to F22 of the collected facts about launchd, chapter 8, each in its forms, and none at all.

pub(super) use baseline::{AGENT_CHANGED, PLIST_CHANGED};

mod baseline;
mod calls;
mod files;
mod jobs;
mod kills;
mod sessions;

use std::time::Duration;

use super::fault::{Act, Fault, Variant, When};
use crate::{
    launchd::{
        Fault as CallFault,
        command::VerbName,
        fault::{Hang, Work},
    },
    stage::mac::LABEL,
};

/// How long home-manager builds where something is to happen meanwhile.
const BUILDING: &str = "BUILD_SECONDS=2";

/// How long a call is held so that something can happen at that moment.
const HELD_SECONDS: f64 = 2.0;

/// Long enough for launchd to have done what it was told.
const A_MOMENT: Duration = Duration::from_millis(500);

/// All faults, in the order of their numbers; the baselines come first.
pub fn all() -> Vec<Fault> {
    let mut all = vec![baseline::none()];
    all.extend([jobs::f1(), calls::f2(), calls::f3(), jobs::f4(), jobs::f5(), kills::f6()]);
    all.extend([sessions::f7(), sessions::f8(), calls::f9(), calls::f10(), calls::f11()]);
    all.extend([files::f12(), sessions::f13(), files::f14(), files::f15(), jobs::f16()]);
    all.extend([calls::f17(), jobs::f18(), sessions::f19(), calls::f20(), files::f21()]);
    all.push(sessions::f22());
    all
}

fn fault(
    id: &'static str,
    what: &'static str,
    source: &'static str,
    variants: Vec<Variant>,
) -> Fault {
    Fault { id, what, source, variants }
}

/// Calls of this verb about the agent's job.
fn on(verb: VerbName) -> CallFault {
    CallFault { label: Some(LABEL.to_owned()), ..CallFault::on(verb) }
}

/// The call does what it is for and then answers this.
fn done_but(fault: CallFault) -> CallFault {
    CallFault { work: Some(Work::Done), ..fault }
}

/// The call hangs before it does anything.
fn hanging(verb: VerbName, seconds: f64) -> CallFault {
    CallFault { hang_seconds: seconds, ..on(verb) }
}

/// The call hangs when it has done everything.
fn hanging_after(verb: VerbName, seconds: f64) -> CallFault {
    CallFault { hang: Hang::After, ..hanging(verb, seconds) }
}

/// A place in home-manager's run at which it stands still for a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// While it builds.
    Build,
    /// It has told launchd to take the agent out.
    AfterBootout,
    /// The new plist is installed and not loaded.
    BeforeBootstrap,
    /// The new plist is loaded.
    AfterBootstrap,
}

impl Place {
    const ALL: [Self; 4] =
        [Self::Build, Self::AfterBootout, Self::BeforeBootstrap, Self::AfterBootstrap];
}

/// A variant in which this happens at that place.
fn at_place(name: &'static str, place: Place, act: Act) -> Variant {
    let variant = Variant::new(name).line(BUILDING);
    let once = |fault: CallFault| [fault.times(1)];
    match place {
        Place::Build => variant.at(When::Step("build"), act),
        Place::AfterBootout => variant
            .calls(once(hanging_after(VerbName::Bootout, HELD_SECONDS)))
            .at(When::BootedOut, act),
        Place::BeforeBootstrap => variant
            .calls(once(hanging(VerbName::Bootstrap, HELD_SECONDS)))
            .at(When::Step("bootstrap"), act),
        Place::AfterBootstrap => variant
            .calls(once(hanging_after(VerbName::Bootstrap, HELD_SECONDS)))
            .later(When::Step("bootstrap"), A_MOMENT, act),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_fault_of_the_facts_is_there_once_and_has_variants() {
        let ids: Vec<&str> = all().iter().map(|fault| fault.id).collect();
        let numbered = (1..=22).map(|number| format!("F{number}"));
        let expected: Vec<String> =
            std::iter::once("baseline".to_owned()).chain(numbered).collect();
        assert_eq!(ids, expected);
        assert!(all().iter().all(|fault| !fault.variants.is_empty()));
    }

    #[test]
    fn variants_of_a_fault_have_different_names_and_somebody_who_meets_them() {
        for fault in all() {
            let names: HashSet<&str> = fault.variants.iter().map(|variant| variant.name).collect();
            assert_eq!(names.len(), fault.variants.len(), "{}", fault.id);
            assert!(fault.variants.iter().all(|variant| !variant.initiators.is_empty()));
        }
    }
}
