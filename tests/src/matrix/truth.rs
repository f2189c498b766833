//! What home-manager really did, by its own trace, and whether what the dashboard has is that. Pure.

use nixfleet_protocol::journal::records::{Activation, Outcome, SwitchResult};

use super::observation::{Command, Observation, Request, Told};

/// One run of home-manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The driver's process.
    pub pid: u32,
    /// The exit code, if it came to its end.
    pub exit_code: Option<i32>,
    /// The profile leads to a new generation since.
    pub set_profile: bool,
    /// The activation came to its end.
    pub completed: bool,
}

impl Run {
    /// A run that has only begun.
    pub const fn begun(pid: u32) -> Self {
        Self { pid, exit_code: None, set_profile: false, completed: false }
    }

    fn comes_to(&mut self, step: &str, detail: Option<&str>) {
        match step {
            "profile" => self.set_profile = detail != Some("unchanged"),
            "current-home" => self.completed = true,
            "end" => self.exit_code = detail.and_then(|code| code.parse().ok()),
            _ => {}
        }
    }
}

/// Words of the dashboard for a command that is not over, or of which it does not know.
const NOT_OVER: [&str; 4] = ["queued", "acknowledged", "running", "lost"];

/// The runs in a trace: process and step, in order.
pub fn runs(trace: &[(u32, String)]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    // The activation is a process of its own. It belongs to the driver that was last about to start one.
    let mut activations: Vec<(u32, usize)> = Vec::new();
    for (pid, step) in trace {
        let driver = runs.iter().rposition(|run| run.pid == *pid);
        let activation = activations.iter().rfind(|(activation, _)| activation == pid);
        let own = driver.or(activation.map(|(_, at)| *at));
        let mut words = step.split(' ');
        match (words.next().unwrap_or_default(), own) {
            ("start", _) => runs.push(Run::begun(*pid)),
            ("activate", None) => {
                let at = about_to_activate(&runs, &activations);
                activations.extend(at.map(|at| (*pid, at)));
            }
            (step, Some(at)) => {
                if let Some(run) = runs.get_mut(at) {
                    run.comes_to(step, words.next());
                }
            }
            (_other, None) => {}
        }
    }
    runs
}

/// The newest run that is not over and has no activation yet; one that has set the profile is next.
fn about_to_activate(runs: &[Run], activations: &[(u32, usize)]) -> Option<usize> {
    let is_taken = |at: usize| activations.iter().any(|(_, taken)| *taken == at);
    let waiting: Vec<(usize, &Run)> = runs
        .iter()
        .enumerate()
        .filter(|(at, run)| run.exit_code.is_none() && !is_taken(*at))
        .collect();
    let next = waiting.iter().rfind(|(_, run)| run.set_profile).or(waiting.last());
    next.map(|(at, _)| *at)
}

/// Every way in which the dashboard does not have exactly the truth.
pub fn untruths(seen: &Observation) -> Vec<String> {
    let mut untruths = Vec::new();
    for request in &seen.requests {
        untruths.extend(untruth_of(request, seen));
    }
    for told in &seen.told {
        if !seen.requests.iter().any(|request| request.id == told.id) {
            untruths.push(format!("the dashboard has switch {} that nobody asked for", told.id));
        }
    }
    if let Some(command) = &seen.command {
        untruths.extend(untruth_of_command(command, seen));
    }
    let started = seen.requests.iter().filter(|request| request.child.is_some()).count();
    let wrapped = seen.runs.len().saturating_sub(seen.plain_runs);
    if wrapped > started {
        untruths.push(format!("home-manager ran {wrapped} times for {started} started switches"));
    }
    untruths
}

fn untruth_of(request: &Request, seen: &Observation) -> Option<String> {
    let id = &request.id;
    let told: Vec<&Told> = seen.told.iter().filter(|told| told.id == *id).collect();
    let [told] = told.as_slice() else {
        return Some(format!("the dashboard has switch {id} {} times", told.len()));
    };
    let Some(result) = &told.result else {
        return Some(format!("the result of switch {id} is not in the dashboard"));
    };
    if told.command != request.command {
        return Some(format!("switch {id} is there for another command: {:?}", told.command));
    }
    let run = request.child.and_then(|child| seen.runs.iter().find(|run| run.pid == child));
    let has_other = |pid| seen.runs.iter().any(|other| other.pid != pid && other.completed);
    let healed = request.child.is_some_and(has_other);
    disagreement(result, run, healed, seen.wrapper_was_killed)
        .map(|why| format!("the result of switch {id} is not true: {why}"))
}

/// What of a result is not what home-manager did. The links are the host's: the activation of another run that has come to
/// its end heals what this one has left.
fn disagreement(
    result: &SwitchResult,
    run: Option<&Run>,
    is_healed: bool,
    may_be_unknown: bool,
) -> Option<String> {
    let said = (result.outcome, result.exit_code);
    let is_true = match run {
        None => matches!(said, (Outcome::NotStarted | Outcome::Interrupted, None)),
        Some(run) => match (run.exit_code, said) {
            (Some(0), (Outcome::Succeeded, Some(0))) => true,
            (Some(done), (Outcome::Failed, Some(said))) => done == said && done != 0,
            (None, (Outcome::Failed, None)) => result.signal.is_some(),
            (_, (Outcome::Interrupted, None)) => may_be_unknown,
            (_, _) => false,
        },
    };
    if !is_true {
        return Some(format!("it says {said:?}, home-manager did {run:?}"));
    }
    // Without a new generation, the one that is activated is still the newest.
    let was_cut = run.is_some_and(|run| run.set_profile && !run.completed);
    let is_told_right = match result.activation {
        Activation::Complete => !was_cut || is_healed,
        Activation::Incomplete => was_cut,
        Activation::Unknown => true,
    };
    (!is_told_right).then(|| format!("it says {:?}, home-manager did {run:?}", result.activation))
}

fn untruth_of_command(command: &Command, seen: &Observation) -> Option<String> {
    let id = Some(&command.id);
    let switches = seen.told.iter().filter(|told| told.command.as_ref() == id).count();
    if NOT_OVER.contains(&command.status.as_str()) {
        Some(format!("the command is still {:?} in the dashboard", command.status))
    } else if switches != 1 {
        Some(format!("the dashboard has {switches} switches for one command"))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::judge::tests::{observed, result};

    fn trace(lines: &[&str]) -> Vec<(u32, String)> {
        let parse = |line: &&str| {
            let (pid, step) = line.split_once(' ').unwrap();
            (pid.parse().unwrap(), step.to_owned())
        };
        lines.iter().map(parse).collect()
    }

    #[test]
    fn runs_are_read_from_a_trace() {
        let run =
            |pid, exit_code, set_profile, completed| Run { pid, exit_code, set_profile, completed };
        for (lines, expected) in [
            (vec![], vec![]),
            (
                vec![
                    "10 start --flake .",
                    "10 build",
                    "10 profile 2",
                    "11 activate",
                    "11 bootout com.nixfleet.agent",
                    "11 current-home",
                    "11 activation ended",
                    "10 end 0",
                ],
                vec![run(10, Some(0), true, true)],
            ),
            (vec!["10 start", "10 fails build", "10 end 7"], vec![run(10, Some(7), false, false)]),
            (vec!["10 start", "10 profile 2", "11 activate"], vec![run(10, None, true, false)]),
            (
                vec![
                    "10 start",
                    "20 start",
                    "10 profile 2",
                    "11 activate",
                    "20 end 1",
                    "11 current-home",
                    "10 end 0",
                ],
                vec![run(10, Some(0), true, true), run(20, Some(1), false, false)],
            ),
            // 24.11 sets the profile in the activation.
            (
                vec!["10 start", "11 activate", "11 profile 2", "11 current-home", "10 end 0"],
                vec![run(10, Some(0), true, true)],
            ),
            // A second one while the first one activates.
            (
                vec![
                    "10 start",
                    "10 profile 2",
                    "11 activate",
                    "20 start",
                    "20 profile 3",
                    "21 activate",
                    "21 current-home",
                    "20 end 0",
                ],
                vec![run(10, None, true, false), run(20, Some(0), true, true)],
            ),
        ] {
            assert_eq!(runs(&trace(&lines)), expected, "{lines:?}");
        }
    }

    #[test]
    fn a_result_is_true_or_not() {
        use Outcome::{Cancelled, Failed, Interrupted, NotStarted, Succeeded};
        let done = |exit_code| {
            Some(Run { pid: 10, exit_code, set_profile: true, completed: exit_code == Some(0) })
        };
        let (known, killed) = (false, true);
        for (outcome, code, signal, run, wrapper, is_true) in [
            (Succeeded, Some(0), None, done(Some(0)), known, true),
            (Succeeded, Some(0), None, done(Some(1)), known, false),
            (Succeeded, Some(0), None, done(None), known, false),
            (Succeeded, Some(0), None, None, known, false),
            (Failed, Some(7), None, done(Some(7)), known, true),
            (Failed, Some(7), None, done(Some(8)), known, false),
            (Failed, Some(7), None, done(Some(0)), known, false),
            (Failed, None, Some(9), done(None), known, true),
            (Failed, None, Some(9), done(Some(0)), known, false),
            (Interrupted, None, None, done(Some(0)), killed, true),
            (Interrupted, None, None, done(None), killed, true),
            (Interrupted, None, None, done(Some(0)), known, false),
            (NotStarted, None, None, None, known, true),
            (NotStarted, None, None, done(Some(0)), known, false),
            (Cancelled, None, Some(15), done(None), known, false),
        ] {
            let activation = if run.is_some_and(|run| !run.completed) {
                Activation::Incomplete
            } else {
                Activation::Complete
            };
            let result = SwitchResult { signal, activation, ..result("a", outcome, code) };
            let found = disagreement(&result, run.as_ref(), false, wrapper);
            assert_eq!(found.is_none(), is_true, "{outcome:?} {code:?} {run:?}: {found:?}");
        }
    }

    #[test]
    fn an_activation_that_was_cut_is_not_complete() {
        let cut = Run { exit_code: Some(1), set_profile: true, ..Run::begun(10) };
        let claims = result("a", Outcome::Failed, Some(1));
        assert!(disagreement(&claims, Some(&cut), false, false).is_some());
        assert_eq!(disagreement(&claims, Some(&cut), true, false), None, "another one healed it");
        let honest = SwitchResult { activation: Activation::Incomplete, ..claims.clone() };
        assert_eq!(disagreement(&honest, Some(&cut), false, false), None);
        // One that did not come so far has left the old generation as it was.
        let early = Run { set_profile: false, ..cut };
        assert_eq!(disagreement(&claims, Some(&early), false, false), None);
        assert!(disagreement(&honest, Some(&early), false, false).is_some());
    }

    #[test]
    fn what_is_lost_invented_or_doubled_is_found() {
        let good = observed();
        assert_eq!(untruths(&good), Vec::<String>::new());
        let with = |change: &dyn Fn(&mut Observation)| {
            let mut seen = good.clone();
            change(&mut seen);
            untruths(&seen).join("; ")
        };
        for (found, expected) in [
            (with(&|seen| seen.told.clear()), "0 times"),
            (with(&|seen| seen.told.extend(seen.told.clone())), "2 times"),
            (with(&|seen| seen.told[0].result = None), "is not in the dashboard"),
            (with(&|seen| seen.requests.clear()), "nobody asked for"),
            (with(&|seen| seen.told[0].command = None), "another command"),
            (with(&|seen| seen.runs.push(Run::begun(9))), "ran 2"),
            (with(&|seen| seen.command.as_mut().unwrap().status = "acknowledged".into()), "still"),
            (
                with(&|seen| {
                    seen.requests.clear();
                    seen.told.clear();
                    seen.runs.clear();
                }),
                "0 switches for one command",
            ),
        ] {
            assert!(found.contains(expected), "{found:?} does not say {expected:?}");
        }
    }
}
