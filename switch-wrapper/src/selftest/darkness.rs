//! How long the host was without an agent: pure. What is seen of the agent goes in, look by look, with the time.

use std::time::Duration;

use nixfleet_protocol::process::ProcessIdentity;

/// What was seen since a switch began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Darkness {
    old: ProcessIdentity,
    last_seen: Duration,
    dark_since: Option<Duration>,
    back_at: Option<Duration>,
    agents: Vec<ProcessIdentity>,
}

impl Darkness {
    /// Nothing but that the old one is up, at time zero.
    pub(super) const fn new(old: ProcessIdentity) -> Self {
        Self { old, last_seen: Duration::ZERO, dark_since: None, back_at: None, agents: Vec::new() }
    }

    /// Takes in a look at the agent that is at work, if one is.
    pub(super) fn note(&mut self, agent: Option<&ProcessIdentity>, now: Duration) {
        match agent {
            None => {
                self.dark_since.get_or_insert(now);
                self.back_at = None;
            }
            Some(agent) if *agent == self.old => self.last_seen = now,
            Some(agent) => {
                // Between two looks: dark for less than the time between them.
                self.dark_since.get_or_insert(self.last_seen);
                self.back_at.get_or_insert(now);
                if self.agents.last() != Some(agent) {
                    self.agents.push(agent.clone());
                }
            }
        }
    }

    /// Another agent is at work.
    pub(super) const fn is_back(&self) -> bool {
        self.back_at.is_some()
    }

    /// From the old one's end to the last one's beginning.
    pub(super) fn dark_for(&self) -> Option<Duration> {
        Some(self.back_at?.saturating_sub(self.dark_since?))
    }

    /// How many agents have come up.
    pub(super) fn agents(&self) -> usize {
        self.agents.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(pid: u32) -> ProcessIdentity {
        ProcessIdentity { pid, start: "1".to_owned() }
    }

    #[track_caller]
    fn check(looks: &[(u64, Option<u32>)], dark_ms: Option<u64>, agents: usize) {
        let mut darkness = Darkness::new(agent(1));
        for (at, pid) in looks {
            darkness.note(pid.map(agent).as_ref(), Duration::from_millis(*at));
        }
        assert_eq!(darkness.dark_for(), dark_ms.map(Duration::from_millis));
        assert_eq!(darkness.is_back(), dark_ms.is_some());
        assert_eq!(darkness.agents(), agents);
    }

    #[test]
    fn it_lasts_from_the_end_of_the_old_to_the_beginning_of_the_last() {
        check(&[(0, Some(1))], None, 0);
        check(&[(0, Some(1)), (50, None)], None, 0);
        check(&[(0, Some(1)), (50, None), (80, None), (200, Some(2))], Some(150), 1);
        // Nobody has seen it dark.
        check(&[(0, Some(1)), (50, Some(1)), (75, Some(2)), (90, Some(2))], Some(25), 1);
        // The first that came up did not stay.
        check(&[(10, None), (20, Some(2)), (30, None), (90, Some(3))], Some(80), 2);
        // One that has gone again is not back.
        check(&[(10, None), (20, Some(2)), (30, None)], None, 1);
        check(&[(10, None), (20, Some(2)), (30, None), (40, Some(2))], Some(30), 1);
    }
}
