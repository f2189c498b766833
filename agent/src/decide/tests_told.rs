//! Telling a v1 dashboard how the host's tests get on: it has a call of its own for that, beside the result.

use std::time::Instant;

use nixfleet_protocol::{journal::records::SwitchId, operation::Tests};

use super::{State, action::Action, facts::Protocol, switches::TrackedSwitch};
use crate::dashboard_client::{Failure, Reply};

/// What the dashboard knows of the tests of one operation.
#[derive(Debug, Default)]
pub(super) enum TestsTold {
    /// Nothing yet.
    #[default]
    Nothing,
    /// This much.
    UpTo(Tests),
    /// It does not take it.
    GivenUp,
}

impl TestsTold {
    /// What it is to be told next, if there is anything new.
    fn news<'a>(&self, tests: Option<&'a Tests>) -> Option<&'a Tests> {
        let tests = tests?;
        match self {
            Self::Nothing => Some(tests),
            Self::UpTo(told) => (told != tests).then_some(tests),
            Self::GivenUp => None,
        }
    }
}

impl TrackedSwitch {
    fn news_of_tests(&self) -> Option<&Tests> {
        self.tests.news(self.view.standing.steps.as_ref()?.tests.as_ref())
    }

    /// Whether the dashboard does not know yet how the tests stand.
    pub(super) fn has_news_of_tests(&self) -> bool {
        self.news_of_tests().is_some()
    }
}

impl State {
    /// One call at a time, in the lane that output has on v2. What was passed over meanwhile is not told.
    pub(super) fn plan_tests(&mut self, now: Instant, actions: &mut Vec<Action>) {
        if self.protocol != Some(Protocol::V1) || !self.output.is_free(now) {
            return;
        }
        let news = self.switches.values().find_map(|tracked| {
            let is_closed = tracked.view.is_answered || tracked.told_final().is_some();
            let news = tracked.news_of_tests().filter(|_| !is_closed)?;
            Some((tracked.view.id, news.clone()))
        });
        if let Some((switch, tests)) = news {
            self.output.begin();
            actions.push(Action::ReportTests { switch, tests });
        }
    }

    pub(super) fn tests_reported(
        &mut self,
        id: SwitchId,
        tests: Tests,
        reply: Reply<()>,
        now: Instant,
        actions: &mut Vec<Action>,
    ) {
        let told = match reply {
            Ok(()) => {
                self.dashboard_is_back();
                TestsTold::UpTo(tests)
            }
            Err(Failure::Refused { .. } | Failure::Missing { .. }) => TestsTold::GivenUp,
            Err(failure @ (Failure::Retry { .. } | Failure::Unauthorized { .. })) => {
                self.register_soon(&failure, now);
                actions.extend(self.output.fail(&failure, now).map(Action::Note));
                return;
            }
        };
        actions.extend(self.output.succeed().map(Action::Note));
        if let Some(tracked) = self.switches.get_mut(&id) {
            tracked.tests = told;
        }
    }
}
