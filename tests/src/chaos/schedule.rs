//! What happens in a run: a pure function of its seed. Nothing that comes of a step changes the next one.

use fastrand::Rng;
use nixfleet_protocol::crash_point::CrashPoint;

use super::step::{Act, Deed, HomeManager, LaunchdFault, NextAgent, Record, Step, Timed, Who};

/// Within this time everything in a step begins, in milliseconds: a switch takes about as long.
const BEGINS_WITHIN_MS: u64 = 3_500;

/// How long what has an end lasts, in milliseconds.
const LASTS_MS: (u64, u64) = (200, 6_000);

/// Steps, one after the other, without end.
#[derive(Debug)]
pub struct Schedule {
    rng: Rng,
    number: u32,
}

impl Schedule {
    /// The schedule of this seed.
    pub fn new(seed: u64) -> Self {
        Self { rng: Rng::with_seed(seed), number: 0 }
    }
}

impl Iterator for Schedule {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        self.number += 1;
        let rng = &mut self.rng;
        let deed = deed(rng);
        let mut step = Step {
            number: self.number,
            faults: faults(rng),
            armed: armed(rng),
            deed,
            home_manager: home_manager(rng),
            acts: acts(rng),
        };
        if leaves_the_agent_to_the_watchdog(&step) {
            step.acts.retain(|timed| timed.act != Act::BootOutWatchdog);
        }
        Some(step)
    }
}

/// Only the watchdog may be left to bring the agent back. If somebody takes that out by hand too, nobody is left before
/// the next login.
fn leaves_the_agent_to_the_watchdog(step: &Step) -> bool {
    let takes_agent_out =
        |timed: &Timed| matches!(timed.act, Act::BootOutAgent | Act::ThrowOutAgent);
    step.deed == Deed::Plain || step.may_kill_a_wrapper() || step.acts.iter().any(takes_agent_out)
}

/// One of these, each as likely as its weight.
fn pick<T: Copy>(rng: &mut Rng, weighted: &[(u32, T)], otherwise: T) -> T {
    let total: u32 = weighted.iter().map(|(weight, _)| weight).sum();
    let mut ticket = rng.u32(..total.max(1));
    for (weight, what) in weighted {
        match ticket.checked_sub(*weight) {
            None => return *what,
            Some(left) => ticket = left,
        }
    }
    otherwise
}

fn deed(rng: &mut Rng) -> Deed {
    let weighted = [
        (6, Deed::Dashboard),
        (1, Deed::DashboardTwice),
        (4, Deed::User),
        (2, Deed::UserAndDashboard),
        (4, Deed::Plain),
        (1, Deed::Restart),
        (2, Deed::Nothing),
    ];
    pick(rng, &weighted, Deed::Nothing)
}

fn home_manager(rng: &mut Rng) -> HomeManager {
    let releases = [(1, "24.11"), (2, "25.05"), (3, "25.11"), (2, "26.05"), (2, "master")];
    let agents = [(2, NextAgent::Unchanged), (6, NextAgent::Changed), (1, NextAgent::CannotRun)];
    let failures = [
        (12, None),
        (1, Some("build")),
        (1, Some("before-bootout")),
        (1, Some("after-bootout")),
        (1, Some("after-bootstrap")),
    ];
    HomeManager {
        release: pick(rng, &releases, "25.11"),
        agent: pick(rng, &agents, NextAgent::Changed),
        build_tenths: rng.u32(..20),
        fails_at: pick(rng, &failures, None),
    }
}

fn faults(rng: &mut Rng) -> Vec<LaunchdFault> {
    let times = rng.u32(1..4);
    let fault = pick(
        rng,
        &[
            (10, None),
            (3, Some(LaunchdFault::BootstrapFails(times))),
            (2, Some(LaunchdFault::BootoutLies)),
            (1, Some(LaunchdFault::BootoutSays36)),
            (1, Some(LaunchdFault::BootoutHangs(times * 10))),
            (1, Some(LaunchdFault::PrintIsMute(times))),
            (1, Some(LaunchdFault::PrintIsGarbled(times))),
            (1, Some(LaunchdFault::KickstartFails(times))),
            (1, Some(LaunchdFault::DisabledAfterBootout)),
            (1, Some(LaunchdFault::BootstrapIsKilled)),
            (1, Some(LaunchdFault::PrintHangs(times * 40))),
        ],
        None,
    );
    fault.into_iter().collect()
}

fn armed(rng: &mut Rng) -> Vec<CrashPoint> {
    let how_many = pick(rng, &[(8, 0), (8, 1), (3, 2)], 0);
    (0..how_many)
        .filter_map(|_| CrashPoint::ALL.get(rng.usize(..CrashPoint::ALL.len())).copied())
        .collect()
}

fn acts(rng: &mut Rng) -> Vec<Timed> {
    let how_many = pick(rng, &[(4, 0), (8, 1), (5, 2), (2, 3)], 0);
    let mut acts: Vec<Timed> = (0..how_many).flat_map(|_| happening(rng)).collect();
    acts.sort_by_key(|timed| timed.at_ms);
    acts
}

/// One act, with its end where it has one.
fn happening(rng: &mut Rng) -> Vec<Timed> {
    let who = pick(
        rng,
        &[(3, Who::Agent), (3, Who::Wrapper), (3, Who::Watchdog), (2, Who::HomeManager)],
        Who::Agent,
    );
    let records = [
        Record::Agent,
        Record::Watchdog,
        Record::LastGood,
        Record::LastGoodAgent,
        Record::Restored,
    ];
    let record = pick(rng, &records.map(|record| (1, record)), Record::Agent);
    let lasts = rng.u64(LASTS_MS.0..LASTS_MS.1);
    let act = pick(
        rng,
        &[
            (10, Act::Kill(who)),
            (4, Act::Stop(who)),
            (3, Act::DashboardDown),
            (2, Act::BootOutAgent),
            (1, Act::BootOutWatchdog),
            (1, Act::DisableAgent),
            (2, Act::HoldBack(true)),
            (1, Act::LowPower(true)),
            (1, Act::LoginItem(false)),
            (1, Act::ThrowOutAgent),
            (1, Act::KickstartByHand),
            (1, Act::UpgradeWrapper),
            (2, Act::BreakRecord(record)),
            (1, Act::LogOut),
            (1, Act::Reboot),
            (1, Act::Sleep(lasts)),
            (2, Act::ReplaceAgent),
            (1, Act::BreakAgent),
            (1, Act::ChangeConfig),
            (1, Act::BreakConfig),
            (1, Act::TouchPlist),
            (1, Act::TearPlist),
            (1, Act::OpenPlist),
            (1, Act::RemovePlist),
        ],
        Act::Kill(who),
    );
    let at_ms = rng.u64(..BEGINS_WITHIN_MS);
    let begins = Timed { at_ms, act };
    let ends = end_of(act).map(|act| Timed { at_ms: at_ms + lasts, act });
    [Some(begins), ends].into_iter().flatten().collect()
}

/// How this ends, where it has to.
const fn end_of(act: Act) -> Option<Act> {
    match act {
        Act::Stop(_) => Some(Act::Continue),
        Act::DashboardDown => Some(Act::DashboardUp),
        Act::HoldBack(true) => Some(Act::HoldBack(false)),
        Act::LowPower(true) => Some(Act::LowPower(false)),
        Act::LogOut => Some(Act::LogIn),
        Act::LoginItem(false) => Some(Act::LoginItem(true)),
        Act::BreakConfig => Some(Act::RepairConfig),
        Act::Kill(_)
        | Act::Continue
        | Act::DashboardUp
        | Act::BootOutAgent
        | Act::BootOutWatchdog
        | Act::DisableAgent
        | Act::HoldBack(false)
        | Act::LowPower(false)
        | Act::LoginItem(true)
        | Act::ThrowOutAgent
        | Act::KickstartByHand
        | Act::UpgradeWrapper
        | Act::BreakRecord(_)
        | Act::LogIn
        | Act::Reboot
        | Act::Sleep(_)
        | Act::ReplaceAgent
        | Act::BreakAgent
        | Act::ChangeConfig
        | Act::RepairConfig
        | Act::TouchPlist
        | Act::TearPlist
        | Act::OpenPlist
        | Act::RemovePlist => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn first(seed: u64, steps: usize) -> Vec<Step> {
        Schedule::new(seed).take(steps).collect()
    }

    #[test]
    fn a_seed_gives_the_same_steps_and_another_gives_others() {
        assert_eq!(first(7, 300), first(7, 300));
        assert_ne!(first(7, 20), first(8, 20));
        // A longer run begins as the shorter one.
        assert_eq!(first(7, 300).get(..20), first(7, 20).get(..20));
    }

    #[test]
    fn everything_happens_sooner_or_later() {
        let steps = first(1, 3_000);
        let kind = |text: String| text.split(['(', ' ']).next().unwrap().to_owned();
        let acts: HashSet<String> = steps
            .iter()
            .flat_map(|step| &step.acts)
            .map(|timed| kind(format!("{:?}", timed.act)))
            .collect();
        assert_eq!(acts.len(), 28, "{acts:?}");
        let faults: HashSet<String> = steps
            .iter()
            .flat_map(|step| &step.faults)
            .map(|fault| kind(format!("{fault:?}")))
            .collect();
        assert_eq!(faults.len(), 10, "{faults:?}");
        let deeds: HashSet<String> = steps.iter().map(|step| format!("{:?}", step.deed)).collect();
        assert_eq!(deeds.len(), 7, "{deeds:?}");
        let armed: HashSet<CrashPoint> =
            steps.iter().flat_map(|step| step.armed.iter().copied()).collect();
        assert_eq!(armed.len(), CrashPoint::ALL.len());
    }

    #[test]
    fn somebody_is_left_who_can_bring_the_agent_back() {
        let steps = first(5, 3_000);
        let is_taken_out =
            |step: &&Step| step.acts.iter().any(|timed| timed.act == Act::BootOutWatchdog);
        let without_watchdog: Vec<&Step> = steps.iter().filter(is_taken_out).collect();
        assert!(!without_watchdog.is_empty());
        for step in without_watchdog {
            assert!(!leaves_the_agent_to_the_watchdog(step), "{step}");
        }
    }

    #[test]
    fn what_has_an_end_ends_and_everything_is_in_order() {
        for step in first(3, 1_000) {
            let times: Vec<u64> = step.acts.iter().map(|timed| timed.at_ms).collect();
            assert!(times.is_sorted(), "{step}");
            for timed in &step.acts {
                assert!(timed.at_ms < BEGINS_WITHIN_MS + LASTS_MS.1, "{step}");
                let has_end = end_of(timed.act).is_none_or(|end| {
                    step.acts.iter().any(|other| other.act == end && other.at_ms > timed.at_ms)
                });
                assert!(has_end, "{step}");
            }
        }
    }
}
