//! What home-manager really did, by the trace that its stand-in keeps. Pure.

use std::collections::HashMap;

/// One run: a driver, and the activation that it started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// The driver's process.
    pub pid: u32,
    /// Its first line, in milliseconds since 1970.
    pub began: i64,
    /// The last line of the driver or of its activation.
    pub last: i64,
    /// The driver's exit code, if it came to its end.
    pub exit_code: Option<i32>,
}

/// The runs in a trace, oldest first. A line is `SECONDS.FRACTION PID STEP`; the last one may be half a line.
pub fn runs(trace: &str) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    // Whose line it is: the newest run of that driver, or the run that was last when the activation began.
    let mut owners: HashMap<u32, usize> = HashMap::new();
    for (at, pid, step) in trace.lines().filter_map(line) {
        let mut words = step.split(' ');
        match words.next() {
            Some("start") => {
                owners.insert(pid, runs.len());
                runs.push(Run { pid, began: at, last: at, exit_code: None });
            }
            Some("activate") => {
                owners.insert(pid, runs.len().saturating_sub(1));
            }
            Some(_) | None => {}
        }
        let Some(run) = owners.get(&pid).and_then(|index| runs.get_mut(*index)) else { continue };
        run.last = run.last.max(at);
        if run.pid == pid && step.starts_with("end ") {
            run.exit_code = words.next().and_then(|code| code.parse().ok());
        }
    }
    runs
}

fn line(line: &str) -> Option<(i64, u32, &str)> {
    let mut words = line.splitn(3, ' ');
    let (time, pid, step) = (words.next()?, words.next()?, words.next()?);
    let (seconds, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let thousandths: String = fraction.chars().chain("000".chars()).take(3).collect();
    let at = seconds.parse::<i64>().ok()? * 1000 + thousandths.parse::<i64>().ok()?;
    Some((at, pid.parse().ok()?, step))
}

/// The pairs of runs that were at work at the same time.
pub fn overlaps(runs: &[Run]) -> Vec<(u32, u32)> {
    let mut overlaps = Vec::new();
    for (index, run) in runs.iter().enumerate() {
        let later = runs.iter().skip(index + 1);
        overlaps.extend(later.filter(|next| next.began < run.last).map(|next| (run.pid, next.pid)));
    }
    overlaps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_its_driver_and_its_activation() {
        let trace = "10.5 7 start\n11 7 build\n11.25 8 activate\n12 8 bootout x\n13 8 activation ended\n\
                     13.1 7 end 0\n14 9 start\n15 9 fails build\n15.000001 9 end 3\n16 10 st";
        assert_eq!(
            runs(trace),
            [
                Run { pid: 7, began: 10_500, last: 13_100, exit_code: Some(0) },
                Run { pid: 9, began: 14_000, last: 15_000, exit_code: Some(3) },
            ]
        );
        assert_eq!(overlaps(&runs(trace)), []);
    }

    #[test]
    fn an_activation_that_goes_on_beside_the_next_run_is_seen() {
        // The first driver was killed; its activation was not.
        let trace = "1 7 start\n2 8 activate\n3 9 start\n4 8 activation ended\n5 9 end 0\n";
        assert_eq!(overlaps(&runs(trace)), [(7, 9)]);
        // A pid that comes again is another run.
        let trace = "1 7 start\n2 7 end 0\n3 7 start\n4 7 end 1\n";
        let codes: Vec<_> = runs(trace).iter().map(|run| run.exit_code).collect();
        assert_eq!(codes, [Some(0), Some(1)]);
        assert_eq!(overlaps(&runs(trace)), []);
    }
}
