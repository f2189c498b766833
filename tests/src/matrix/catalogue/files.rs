//! Programs and files that are not as they should be: F12, F14, F15, F21.

use std::time::Duration;

use super::{BUILDING, Place, at_place, fault, on};
use crate::{
    launchd::command::VerbName,
    matrix::{
        axes::Initiator,
        fault::{Act, AgentProgram, Fault, NewPlist, PlistAct, Variant, When},
    },
};

/// How long a crash loop is looked at: longer than one round of it, and longer than an agent takes that sees another
/// one installed and hands over to it.
const CRASH_LOOP: Duration = Duration::from_secs(30);

/// The program or its log file is missing.
pub(super) fn f12() -> Fault {
    let becomes = |name, program| {
        Variant::new(name).slow().old_may_stay().at(When::Step("profile"), Act::Agent(program))
    };
    fault(
        "F12",
        "the program is missing, or appears later; the log file cannot be opened",
        "nix-darwin#1709, HM#7198",
        vec![
            Variant::new("definition-without-program")
                .slow()
                .old_may_stay()
                .plist(NewPlist::WithoutProgram),
            Variant::new("log-cannot-be-opened").slow().old_may_stay().plist(NewPlist::WithoutLog),
            becomes("program-missing", AgentProgram::Missing),
            becomes("program-appears-15s-later", AgentProgram::Missing).later(
                When::SwitchEnded,
                Duration::from_secs(15),
                Act::Agent(AgentProgram::Real),
            ),
        ],
    )
}

/// The new program does not run for long.
pub(super) fn f14() -> Fault {
    let becomes = |name, program| {
        Variant::new(name)
            .old_may_stay()
            .slow()
            .at(When::Step("profile"), Act::Agent(program))
            .look_on(CRASH_LOOP)
    };
    fault(
        "F14",
        "the new program crash-loops: the old one must come back",
        "HM restoreAgent, iphone-use#28",
        vec![
            Variant::new("definition-with-crashing-program")
                .slow()
                .old_may_stay()
                .plist(NewPlist::WithCrashingProgram)
                .look_on(CRASH_LOOP),
            becomes("ends-at-once", AgentProgram::EndsAtOnce),
            becomes("never-up", AgentProgram::NeverUp),
            becomes("dies-after-2s", AgentProgram::DiesSoon),
            becomes("ends-at-once-with-the-same-plist", AgentProgram::EndsAtOnce)
                .plist(NewPlist::Same),
            Variant::new("good-again-after-going-back")
                .slow()
                .only(&Initiator::WRAPPED)
                .first(Act::GoBack),
            Variant::new("not-built-after-going-back")
                .slow()
                .old_may_stay()
                .only(&Initiator::WRAPPED)
                .first(Act::GoBack)
                .line(BUILDING)
                .line("FAIL_AT=build"),
        ],
    )
}

/// The plist on disk is not as launchd wants it, or cannot be written.
pub(super) fn f15() -> Fault {
    let damaged =
        |name, damage| at_place(name, Place::BeforeBootstrap, Act::Plist(damage)).old_may_stay();
    fault(
        "F15",
        "the plist has the wrong owner, mode or form; the folder is closed; the disk is full",
        "unified-template#139, EnvPane#16",
        vec![
            damaged("open-to-all", PlistAct::OpenToAll),
            damaged("of-another-owner", PlistAct::Foreign).needs_root(),
            damaged("a-link", PlistAct::Link),
            damaged("torn", PlistAct::Tear),
            Variant::new("folder-closed").first(Act::Plist(PlistAct::CloseFolder)).needs_root(),
            // Afterwards home-manager's own, with which no agent comes up, stays on disk.
            Variant::new("folder-closed-after-going-back")
                .slow()
                .old_may_stay()
                .only(&Initiator::WRAPPED)
                .first(Act::GoBack)
                .line(BUILDING)
                .line("FAIL_AT=build")
                .at(When::Step("build"), Act::Plist(PlistAct::CloseFolder))
                .needs_root(),
            Variant::new("disk-full")
                .slow()
                .small_disk()
                .line(BUILDING)
                .at(When::Step("build"), Act::FillDisk)
                .later(When::SwitchEnded, Duration::from_secs(20), Act::FreeDisk),
            Variant::new("disk-full-and-not-loaded")
                .small_disk()
                .line(BUILDING)
                .calls([on(VerbName::Bootstrap).code(5).times(2)])
                .at(When::Step("build"), Act::FillDisk)
                .later(When::SwitchEnded, Duration::from_secs(20), Act::FreeDisk),
        ],
    )
}

/// What is loaded is not what is on disk.
pub(super) fn f21() -> Fault {
    fault(
        "F21",
        "the file on disk is new and the loaded definition old, or the other way round",
        "H1, H2, repowire#397",
        vec![
            Variant::new("file-new").first(Act::Plist(PlistAct::Write(2))),
            Variant::new("file-old")
                .plist(NewPlist::Same)
                .first(Act::Plist(PlistAct::Write(2)))
                .first(Act::Reload)
                .first(Act::Plist(PlistAct::Write(1))),
            Variant::new("file-gone").first(Act::Plist(PlistAct::Remove)),
        ],
    )
}
