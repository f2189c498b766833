//! A step's faults, as launchd takes them.

use super::LaunchdFault;
use crate::{
    launchd::{Control, Disguise, Fault, command::VerbName, fault::Work},
    stage::mac::LABEL,
};

/// SIGKILL, for `launchctl`.
const KILL: i32 = 9;

/// What launchd is told.
pub(super) fn as_fault(fault: LaunchdFault) -> Fault {
    match fault {
        LaunchdFault::BootstrapFails(times) => Fault::on(VerbName::Bootstrap).times(times).code(5),
        LaunchdFault::BootoutLies => Fault::on(VerbName::Bootout).times(1).code(0),
        LaunchdFault::BootoutSays36 => {
            Fault { work: Some(Work::Done), ..Fault::on(VerbName::Bootout).times(1).code(36) }
        }
        LaunchdFault::BootoutHangs(tenths) => Fault {
            hang_seconds: f64::from(tenths) / 10.0,
            ..Fault::on(VerbName::Bootout).times(1)
        },
        LaunchdFault::PrintIsMute(times) => {
            Fault::on(VerbName::Print).times(times).disguise(Disguise::Empty)
        }
        LaunchdFault::PrintIsGarbled(times) => {
            Fault::on(VerbName::Print).times(times).disguise(Disguise::Garbled)
        }
        LaunchdFault::KickstartFails(times) => Fault::on(VerbName::Kickstart).times(times).code(37),
        LaunchdFault::DisabledAfterBootout => Fault {
            after: vec![Control::Disable(LABEL.to_owned())],
            ..Fault::on(VerbName::Bootout).times(1)
        },
        LaunchdFault::PrintHangs(tenths) => {
            Fault { hang_seconds: f64::from(tenths) / 10.0, ..Fault::on(VerbName::Print).times(1) }
        }
        LaunchdFault::BootstrapIsKilled => {
            Fault { kill_self: Some(KILL), ..Fault::on(VerbName::Bootstrap).times(1) }
        }
    }
}
