//! How long a host was dark. Pure; all moments are milliseconds since 1970.
//!
//! Dark is from the end of an agent's process to the first heartbeat of the next one that the dashboard took. A heartbeat
//! that was under way when the old agent ended is not the next one's, so only those count that come after the next agent
//! has come up. Silent is from one heartbeat to the next, whoever sent them: it is longer by up to an interval, and
//! catches an agent that lives and says nothing.

use super::observation::{AgentLife, Observation};

/// The longest time in the dark; 0 if no agent ended.
pub fn darkest(seen: &Observation) -> i64 {
    let ended = seen.agents.iter().filter_map(|agent| Some((agent, agent.gone?)));
    ended.map(|(agent, gone)| dark_after(agent, gone, seen)).max().unwrap_or(0)
}

fn dark_after(agent: &AgentLife, gone: i64, seen: &Observation) -> i64 {
    // Where the next one is up before this one is gone, the host is not dark at all.
    let is_next = |other: &&AgentLife| other.pid != agent.pid && other.up >= agent.up;
    let others = seen.agents.iter().filter(is_next);
    let lives_on = |other: &AgentLife| other.gone.is_none_or(|other_gone| other_gone > gone);
    let up = others.filter(|other| lives_on(other)).map(|other| other.up).min();
    let heard = up.and_then(|up| seen.heartbeats.iter().copied().filter(|at| *at >= up).min());
    counted(gone, heard.unwrap_or(seen.until), &seen.excused)
}

/// The longest time without a heartbeat since the switch was asked for.
pub fn longest_silence(seen: &Observation) -> i64 {
    let mut heard = seen.heartbeats.clone();
    heard.push(seen.until);
    heard.sort_unstable();
    heard
        .windows(2)
        .filter_map(|pair| match pair {
            [from, to] if *to > seen.began => Some(counted(*from, *to, &seen.excused)),
            _ => None,
        })
        .max()
        .unwrap_or(0)
}

/// The time from one moment to another without what is excused.
fn counted(from: i64, to: i64, excused: &[(i64, i64)]) -> i64 {
    let overlap = |(begin, end): &(i64, i64)| (to.min(*end) - from.max(*begin)).max(0);
    ((to - from) - excused.iter().map(overlap).sum::<i64>()).max(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(agents: &[(i64, Option<i64>)], heartbeats: &[i64]) -> Observation {
        let lives = agents.iter().enumerate().map(|(number, (up, gone))| AgentLife {
            pid: u32::try_from(number).unwrap(),
            up: *up,
            gone: *gone,
        });
        Observation {
            began: 0,
            until: 100,
            agents: lives.collect(),
            heartbeats: heartbeats.to_vec(),
            ..Observation::default()
        }
    }

    #[test]
    fn dark_is_from_an_end_to_the_next_agent_s_first_heartbeat() {
        for (agents, heartbeats, expected) in [
            (vec![(0, None)], vec![1, 2], 0),
            (vec![(0, Some(10)), (12, None)], vec![9, 15], 5),
            // A heartbeat of the old one that arrives late.
            (vec![(0, Some(10)), (12, None)], vec![9, 11, 15], 5),
            // The next one dies unheard.
            (vec![(0, Some(10)), (12, Some(14)), (20, None)], vec![9, 23], 13),
            // Twice; the longer one counts.
            (vec![(0, Some(10)), (12, Some(30)), (50, None)], vec![9, 13, 55], 25),
            // Never again.
            (vec![(0, Some(10))], vec![9], 90),
            (vec![(0, Some(10)), (12, None)], vec![9], 90),
            // The next one is up before.
            (vec![(0, Some(10)), (5, None)], vec![6, 12], 0),
        ] {
            assert_eq!(darkest(&seen(&agents, &heartbeats)), expected, "{agents:?} {heartbeats:?}");
        }
    }

    #[test]
    fn what_is_excused_does_not_count() {
        let mut seen = seen(&[(0, Some(10)), (40, None)], &[9, 45, 99]);
        seen.excused = vec![(15, 35)];
        assert_eq!(darkest(&seen), 15);
        assert_eq!(longest_silence(&seen), 54);
        seen.excused.push((45, 200));
        assert_eq!(longest_silence(&seen), 16);
    }

    #[test]
    fn silence_is_from_heartbeat_to_heartbeat() {
        for (heartbeats, expected) in [
            (vec![-50, -1, 9, 19, 60, 99], 41),
            (vec![-30, 40, 99], 70),
            (vec![-30], 130),
            (vec![], 0),
        ] {
            assert_eq!(longest_silence(&seen(&[], &heartbeats)), expected, "{heartbeats:?}");
        }
    }
}
