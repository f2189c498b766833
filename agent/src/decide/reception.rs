//! How a dashboard has taken what it was told about one thing, a switch or a healing: what it does not know, and what it
//! chokes on.

use crate::dashboard_client::Failure;

/// So often a report is sent again although the dashboard does not know the host.
const MAX_MISSES: u8 = 3;

/// After so many errors of the dashboard's own a report lets the others pass.
const SETBACKS_TO_STEP_BACK: u32 = 5;

/// What was answered so far.
#[derive(Debug, Default)]
pub(super) struct Reception {
    /// How often the dashboard did not know what it was about.
    misses: u8,
    /// How often the dashboard answered with an error of its own.
    setbacks: u32,
}

impl Reception {
    /// Takes in a failure. A dashboard that does not know the host even after it has registered again will never take the
    /// report: then that is a refusal.
    pub(super) fn fails(&mut self, failure: Failure) -> Failure {
        match failure {
            Failure::Missing { said } => {
                self.misses += 1;
                if self.misses > MAX_MISSES {
                    Failure::Refused { status: 404, said }
                } else {
                    Failure::Missing { said }
                }
            }
            Failure::Retry { status: Some(_), .. } => {
                self.setbacks += 1;
                failure
            }
            Failure::Retry { status: None, .. }
            | Failure::Refused { .. }
            | Failure::Unauthorized { .. } => failure,
        }
    }

    /// How far it stands back behind the others.
    pub(super) const fn rank(&self) -> u32 {
        self.setbacks / SETBACKS_TO_STEP_BACK
    }
}
