//! No fault at all: what every other cell is to be compared with.

use super::fault;
use crate::matrix::fault::{Act, AgentProgram, Fault, NewPlist, Variant, When};

/// The name of the variant in which the plist changes.
pub(in crate::matrix) const PLIST_CHANGED: &str = "plist-changed";

/// The names of the variants in which the plist is the same and the agent is another.
pub(in crate::matrix) const AGENT_CHANGED: [&str; 2] = ["executable-changed", "config-changed"];

pub(super) fn none() -> Fault {
    let same = |name| Variant::new(name).plist(NewPlist::Same);
    let [executable, config] = AGENT_CHANGED;
    fault(
        "baseline",
        "no fault",
        "design",
        vec![
            Variant::new(PLIST_CHANGED),
            same("nothing-changed"),
            same(executable).at(When::Step("profile"), Act::Agent(AgentProgram::Copy)),
            same(config).at(When::Step("profile"), Act::ChangeConfig),
        ],
    )
}
