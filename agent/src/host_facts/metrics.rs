//! How busy the host is: by StaSysMo's files where StaSysMo runs, as agents of the first generation have it, else by the
//! system's own numbers. Percentages, of all CPUs together, of memory, of swap.

use std::{
    fmt,
    io::{self, Read as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use nixfleet_protocol::wire::{fields::Text, v1::Metrics};
use systemstat::{CPULoad, DelayedMeasurement, Platform as _, System, data::ByteSize};

use super::remembered::open_file;

/// Where StaSysMo writes, on macOS and elsewhere.
const STASYSMO: [&str; 2] = ["/tmp/stasysmo", "/dev/shm/stasysmo"];

/// Older than that, StaSysMo has ended.
const FRESH_FOR: Duration = Duration::from_secs(30);

/// None of its files is longer.
const MAX_FILE_BYTES: u64 = 64;

/// Over less time the system's ticks say nothing about the CPUs.
const SHORTEST_SAMPLE: Duration = Duration::from_millis(500);

/// What measures.
pub(super) struct Meter {
    stasysmo: PathBuf,
    system: System,
    /// Since when the CPUs are watched.
    sample: Option<(Instant, DelayedMeasurement<Vec<CPULoad>>)>,
}

impl fmt::Debug for Meter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Meter").field("stasysmo", &self.stasysmo).finish_non_exhaustive()
    }
}

impl Meter {
    pub(super) fn new(is_mac: bool) -> Self {
        let [of_mac, of_others] = STASYSMO;
        let stasysmo = PathBuf::from(if is_mac { of_mac } else { of_others });
        let mut meter = Self { stasysmo, system: System::new(), sample: None };
        meter.sample = meter.begin();
        meter
    }

    /// How busy the host has been since the last time. Nothing where CPU or memory are not known, which v1 dashboards
    /// cannot do without.
    pub(super) fn read(&mut self) -> Option<Metrics> {
        if let Some(metrics) = of_stasysmo(&self.stasysmo, Timestamp::now()) {
            return Some(metrics);
        }
        let cpu = self.cpu()?;
        let (memory, swap) = self.system.memory_and_swap().ok()?;
        Some(Metrics {
            cpu,
            ram: used(memory.free, memory.total)?,
            swap: used(swap.free, swap.total),
            load: self
                .system
                .load_average()
                .ok()
                .map(|load| Text::head(&format!("{:.2}", load.one))),
        })
    }

    fn begin(&self) -> Option<(Instant, DelayedMeasurement<Vec<CPULoad>>)> {
        Some((Instant::now(), self.system.cpu_load().ok()?))
    }

    fn cpu(&mut self) -> Option<f64> {
        let too_short = |(since, _): &(Instant, _)| since.elapsed() < SHORTEST_SAMPLE;
        if self.sample.as_ref().is_some_and(too_short) {
            return None;
        }
        let next = self.begin();
        let ended: io::Result<_> = std::mem::replace(&mut self.sample, next)?.1.done();
        busy(&ended.ok()?.iter().map(|cpu| cpu.idle).collect::<Vec<_>>())
    }
}

/// How busy CPUs are that were idle for these shares of the time.
fn busy(idle: &[f32]) -> Option<f64> {
    // One that is switched off has no time.
    let counted: Vec<f64> =
        idle.iter().copied().filter(|idle| idle.is_finite()).map(f64::from).collect();
    let count = u32::try_from(counted.len()).ok().filter(|count| *count > 0)?;
    percent(100.0 * (1.0 - counted.iter().sum::<f64>() / f64::from(count)))
}

#[expect(clippy::cast_precision_loss, reason = "a percentage needs three digits")]
fn used(free: ByteSize, total: ByteSize) -> Option<f64> {
    let share = free.as_u64() as f64 / total.as_u64() as f64;
    percent(100.0 * (1.0 - share))
}

/// A percentage with one decimal, if it is one.
fn percent(value: f64) -> Option<f64> {
    // Clocks and counters are not read at the very same moment.
    (-1.0..=101.0).contains(&value).then(|| (value.clamp(0.0, 100.0) * 10.0).round() / 10.0)
}

/// What StaSysMo has written, if it still writes. The folder may be anybody's: what is no number is left out.
fn of_stasysmo(folder: &Path, now: Timestamp) -> Option<Metrics> {
    let written: i64 = text(&folder.join("timestamp"))?.parse().ok()?;
    let age = now.as_second().checked_sub(written)?;
    // One from the future is one of a clock that was set back.
    if age.unsigned_abs() > FRESH_FOR.as_secs() {
        return None;
    }
    let number = |name: &str| percent(text(&folder.join(name))?.parse().ok()?);
    Some(Metrics {
        cpu: number("cpu")?,
        ram: number("ram")?,
        swap: number("swap"),
        load: text(&folder.join("load")).filter(|load| is_load(load)).map(|load| Text::head(&load)),
    })
}

/// One load average, or three.
fn is_load(text: &str) -> bool {
    let is_number =
        |word: &str| word.parse().is_ok_and(|load: f64| load.is_finite() && load >= 0.0);
    !text.is_empty() && text.split_ascii_whitespace().all(is_number)
}

fn text(path: &Path) -> Option<String> {
    let mut text = String::new();
    open_file(path)?.take(MAX_FILE_BYTES).read_to_string(&mut text).ok()?;
    Some(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[track_caller]
    fn check(files: &[(&str, &str)], expected: Option<(f64, f64, Option<f64>, Option<&str>)>) {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let now = Timestamp::from_second(1_000_000).unwrap();
        let found = of_stasysmo(folder.path(), now);
        let expected = expected.map(|(cpu, ram, swap, load)| Metrics {
            cpu,
            ram,
            swap,
            load: load.map(Text::head),
        });
        assert_eq!(found, expected, "{files:?}");
    }

    #[test]
    fn stasysmo_counts_while_it_writes_and_makes_sense() {
        let stamp = ("timestamp", "999980\n");
        let (cpu, ram) = (("cpu", "12\n"), ("ram", "45.67\n"));
        let all = [stamp, cpu, ram, ("swap", "0\n"), ("load", "1.25\n")];
        check(&all, Some((12.0, 45.7, Some(0.0), Some("1.25"))));
        check(&[stamp, cpu, ram], Some((12.0, 45.7, None, None)));
        check(
            &[stamp, cpu, ram, ("load", "0.1 0.2 0.3")],
            Some((12.0, 45.7, None, Some("0.1 0.2 0.3"))),
        );
        for nonsense in ["", "a lot", "-3", "NaN", "1e400", "<b>1</b>"] {
            check(
                &[stamp, cpu, ram, ("swap", nonsense), ("load", nonsense)],
                Some((12.0, 45.7, None, None)),
            );
            check(&[stamp, ("cpu", nonsense), ram], None);
        }
        for old in ["999969", "1000031", "soon", "", "9223372036854775807", "-9223372036854775808"]
        {
            check(&[("timestamp", old), cpu, ram], None);
        }
        check(&[stamp, cpu], None);
        check(&[cpu, ram], None);
    }

    #[test]
    fn the_system_says_how_busy_it_is() {
        let mut meter = Meter::new(false);
        meter.stasysmo = PathBuf::from("/nonexistent");
        let Some((began, _)) = &mut meter.sample else { return };
        assert_eq!(Meter::new(false).cpu(), None, "a moment says nothing");
        *began -= SHORTEST_SAMPLE;
        // It has lasted for only a moment all the same, so ticks may be missing.
        let _ = meter.cpu();
        let (memory, swap) = meter.system.memory_and_swap().unwrap();
        assert!(used(memory.free, memory.total).unwrap() > 0.0);
        assert_eq!(used(swap.free, swap.total).is_some(), swap.total.as_u64() > 0);
    }

    #[test]
    fn percentages_are_of_all_that_can_be_counted() {
        for (idle, expected) in [
            (&[0.5, 1.0][..], Some(25.0)),
            (&[0.333, f32::NAN], Some(66.7)),
            (&[1.001], Some(0.0)),
            (&[f32::NAN], None),
            (&[], None),
        ] {
            assert_eq!(busy(idle), expected, "{idle:?}");
        }
    }
}
