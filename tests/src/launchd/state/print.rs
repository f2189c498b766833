//! The texts of `print`, `print-disabled`, `list` and `version`.
//!
//! Indentation is part of what is simulated: readers tell a job's own `state =` and `pid =` from
//! those of nested blocks by the number of tabs, so the nested blocks carry such lines too.

use super::{
    Override, Overrides, Settings,
    drain::DrainStage,
    job::{Job, JobState, LastEnd, SpawnReason},
};
use crate::launchd::{
    definition::{DEFAULT_PATH, DEFAULT_THROTTLE, Definition},
    domain::Domain,
    keep_alive::KeepAlive,
    process_end::ProcessEnd,
};

/// The audit session that a domain is printed with.
const ASID: u32 = 100_022;
/// A process id that belongs to no job, for the nested blocks.
const DECOY_PID: u32 = 4_194_301;
/// From this macOS on the override database is printed in words.
const FIRST_MACOS_WITH_WORDS: u32 = 13;

/// `print DOMAIN/LABEL`.
pub(super) fn service(job: &Job) -> String {
    let definition = &*job.definition;
    let mut text = Text::default();
    text.line(0, &format!("{} = {{", job.target));
    text.line(1, &format!("active count = {}", u8::from(job.pid().is_some())));
    text.line(1, &format!("path = {}", job.path.display()));
    let kind = if job.path.is_absolute() { "LaunchAgent" } else { "Submitted" };
    text.line(1, &format!("type = {kind}"));
    text.line(1, &format!("state = {}", state_word(job)));
    text.blank();
    program(&mut text, definition);
    environment(&mut text, job);
    text.line(1, &format!("domain = {} [{ASID}]", job.target.domain));
    text.line(1, &format!("asid = {ASID}"));
    timing(&mut text, job);
    history(&mut text, job);
    coalitions(&mut text, job);
    text.line(1, "spawn type = daemon (3)");
    text.line(1, "jetsam priority = 40");
    text.line(1, "jetsam memory limit (active) = (unlimited)");
    text.line(1, "jetsam memory limit (inactive) = (unlimited)");
    text.line(1, "jetsamproperties category = daemon");
    text.line(1, "jetsam thread limit = 32");
    text.line(1, "cpumon = default");
    // Ends like the job's own state, and says something else while the job drains.
    let job_state = if job.pid().is_some() { "running" } else { "exited" };
    text.line(1, &format!("job state = {job_state}"));
    text.blank();
    text.line(1, &format!("properties = {}", properties(definition)));
    text.line(0, "}");
    text.0
}

/// `print DOMAIN`.
pub(super) fn domain<'a>(
    domain: Domain,
    on_demand_count: u32,
    jobs: impl Iterator<Item = &'a Job>,
) -> String {
    let jobs: Vec<_> = jobs.collect();
    let active = jobs.iter().filter(|job| job.pid().is_some()).count();
    let (kind, session) = match domain {
        Domain::System => ("system", "System"),
        Domain::User(_) => ("user", "Background"),
        Domain::Gui(_) => ("login", "Aqua"),
    };
    let mut text = Text::default();
    text.line(0, &format!("{domain} = {{"));
    text.line(1, &format!("type = {kind}"));
    text.line(1, &format!("handle = {ASID}"));
    text.line(1, &format!("active count = {}", jobs.len()));
    if on_demand_count > 0 {
        text.line(1, &format!("on-demand count = {on_demand_count}"));
    }
    text.line(1, &format!("service count = {}", jobs.len()));
    text.line(1, &format!("active service count = {active}"));
    text.line(1, &format!("session = {session}"));
    text.blank();
    text.line(1, "services = {");
    for job in &jobs {
        let pid = job.pid().map_or(0, |pid| pid.as_raw_nonzero().get());
        text.line(2, &format!("{pid:>8} {:>6} \t{}", status_column(job), job.target.label));
    }
    text.line(1, "}");
    text.line(0, "}");
    text.0
}

/// `print-disabled DOMAIN`.
pub(super) fn disabled(overrides: &Overrides, macos: u32) -> String {
    let mut text = Text::default();
    text.line(1, "disabled services = {");
    for (label, state) in overrides {
        let word = match (state, macos >= FIRST_MACOS_WITH_WORDS) {
            (Override::Disabled, true) => "disabled",
            (Override::Enabled, true) => "enabled",
            (Override::Disabled, false) => "true",
            (Override::Enabled, false) => "false",
        };
        text.line(2, &format!("\"{label}\" => {word}"));
    }
    text.line(1, "}");
    text.0
}

/// `list`.
pub(super) fn list<'a>(jobs: impl Iterator<Item = &'a Job>) -> String {
    let mut text = Text::default();
    text.line(0, "PID\tStatus\tLabel");
    for job in jobs {
        let pid = job.pid().map_or_else(|| "-".to_owned(), |pid| pid.as_raw_nonzero().to_string());
        let status = match job.last_end {
            LastEnd::NeverExited => 0,
            LastEnd::Ended(end) => end.list_status(),
            LastEnd::NotExecuted => EX_CONFIG,
        };
        text.line(0, &format!("{pid}\t{status}\t{}", job.target.label));
    }
    text.0
}

/// `list LABEL`.
pub(super) fn list_job(job: &Job) -> String {
    let status = match job.last_end {
        LastEnd::NeverExited => 0,
        LastEnd::Ended(end) => end.wait_status(),
        LastEnd::NotExecuted => EX_CONFIG << 8,
    };
    let on_demand = job.definition.keep_alive == KeepAlive::Never;
    let mut text = Text::default();
    text.line(0, "{");
    text.line(1, "\"LimitLoadToSessionType\" = \"Aqua\";");
    text.line(1, &format!("\"Label\" = \"{}\";", job.target.label));
    text.line(1, &format!("\"OnDemand\" = {on_demand};"));
    text.line(1, &format!("\"LastExitStatus\" = {status};"));
    if let Some(pid) = job.pid() {
        text.line(1, &format!("\"PID\" = {};", pid.as_raw_nonzero()));
    }
    text.line(1, &format!("\"Program\" = \"{}\";", job.definition.executable()));
    text.line(1, "\"ProgramArguments\" = (");
    for argument in &job.definition.arguments {
        text.line(2, &format!("\"{argument}\";"));
    }
    text.line(1, ");");
    text.line(0, "};");
    text.0
}

/// `version`.
pub(super) fn version(settings: &Settings) -> String {
    format!("Darwin Bootstrapper Version 7.0.0: simulated, macOS {}\n", settings.macos)
}

/// What `last exit code` and `list` show for a program that could not be executed.
const EX_CONFIG: i32 = 78;

#[derive(Debug, Default)]
struct Text(String);

impl Text {
    fn line(&mut self, depth: usize, words: &str) {
        self.0.extend(std::iter::repeat_n('\t', depth));
        self.0.push_str(words);
        self.blank();
    }

    fn blank(&mut self) {
        self.0.push('\n');
    }

    fn block<K: AsRef<str>, V: AsRef<str>>(
        &mut self,
        name: &str,
        pairs: impl IntoIterator<Item = (K, V)>,
    ) {
        self.line(1, &format!("{name} = {{"));
        for (key, value) in pairs {
            self.line(2, &format!("{} => {}", key.as_ref(), value.as_ref()));
        }
        self.line(1, "}");
    }
}

fn program(text: &mut Text, definition: &Definition) {
    text.line(1, &format!("program = {}", definition.executable()));
    text.line(1, "arguments = {");
    for argument in &definition.arguments {
        text.line(2, argument);
    }
    text.line(1, "}");
    text.blank();
    let paths = [
        ("working directory", &definition.working_directory),
        ("stdout path", &definition.stdout_path),
        ("stderr path", &definition.stderr_path),
    ];
    for (name, path) in paths {
        if let Some(path) = path {
            text.line(1, &format!("{name} = {}", path.display()));
        }
    }
}

fn environment(text: &mut Text, job: &Job) {
    text.block::<&str, &str>("inherited environment", []);
    text.blank();
    text.block("default environment", [("PATH", DEFAULT_PATH)]);
    text.blank();
    let own = [("XPC_SERVICE_NAME", job.target.label.as_str())];
    let added =
        job.definition.environment.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    text.block("environment", added.chain(own));
    text.blank();
}

/// The minimum runtime is the pause that is in force, the base what the plist wants.
fn timing(text: &mut Text, job: &Job) {
    let definition = &job.definition;
    text.line(1, &format!("minimum runtime = {}", job.pause().as_secs()));
    if definition.throttle != DEFAULT_THROTTLE || job.pause() != definition.throttle {
        text.line(1, &format!("base minimum runtime = {}", definition.throttle.as_secs()));
    }
    let exit_timeout = definition.exit_timeout.map_or(0, |timeout| timeout.as_secs());
    text.line(1, &format!("exit timeout = {exit_timeout}"));
}

fn history(text: &mut Text, job: &Job) {
    text.line(1, &format!("runs = {}", job.runs));
    if let Some(pid) = job.pid() {
        text.line(1, &format!("pid = {}", pid.as_raw_nonzero()));
    }
    if let Some(reason) = job.last_reason {
        text.line(1, &format!("immediate reason = {}", reason.word()));
    }
    text.line(1, "forks = 0");
    text.line(1, &format!("execs = {}", u8::from(job.pid().is_some())));
    text.line(1, &last_end(job.last_end));
    if let Some(reason) = pended(job) {
        text.line(1, &format!("pended nondemand spawn = {}", reason.word()));
    }
    text.blank();
    text.line(1, "event triggers = {");
    text.line(1, "}");
    text.blank();
}

fn last_end(end: LastEnd) -> String {
    match end {
        LastEnd::NeverExited => "last exit code = (never exited)".to_owned(),
        LastEnd::NotExecuted => format!("last exit code = {EX_CONFIG}: EX_CONFIG"),
        LastEnd::Ended(ProcessEnd::Exited(EX_CONFIG)) => {
            format!("last exit code = {EX_CONFIG}: EX_CONFIG")
        }
        LastEnd::Ended(ProcessEnd::Exited(code)) => format!("last exit code = {code}"),
        LastEnd::Ended(ProcessEnd::Signalled(number)) => {
            format!("last terminating signal = {}: {number}", signal_words(number))
        }
    }
}

fn signal_words(number: i32) -> &'static str {
    match number {
        1 => "Hangup",
        2 => "Interrupt",
        6 => "Abort trap",
        9 => "Killed",
        11 => "Segmentation fault",
        13 => "Broken pipe",
        15 => "Terminated",
        _ => "Signal",
    }
}

fn coalitions(text: &mut Text, job: &Job) {
    for (number, kind) in ["resource", "jetsam"].into_iter().enumerate() {
        text.line(1, &format!("{kind} coalition = {{"));
        text.line(2, &format!("ID = {}", 1000 + number));
        text.line(2, &format!("type = {kind}"));
        text.line(2, "state = active");
        text.line(2, &format!("pid = {DECOY_PID}"));
        text.line(2, "active count = 1");
        text.line(2, &format!("name = {}", job.target.label));
        text.line(1, "}");
        text.blank();
    }
}

fn state_word(job: &Job) -> &'static str {
    match &job.state {
        JobState::NotRunning | JobState::Pended(_) | JobState::PenaltyBox => "not running",
        JobState::SpawnScheduled { .. } => "spawn scheduled",
        JobState::Spawning { .. } => "spawning",
        JobState::Running { .. } => "running",
        JobState::Draining(drain) => match drain.stage {
            DrainStage::Terminated => "SIGTERMed",
            DrainStage::Killed => "SIGKILLed",
        },
    }
}

fn pended(job: &Job) -> Option<SpawnReason> {
    match job.state {
        JobState::Pended(reason) => Some(reason),
        JobState::NotRunning
        | JobState::PenaltyBox
        | JobState::SpawnScheduled { .. }
        | JobState::Spawning { .. }
        | JobState::Running { .. }
        | JobState::Draining(_) => None,
    }
}

fn status_column(job: &Job) -> String {
    match job.last_end {
        LastEnd::NeverExited => "-".to_owned(),
        LastEnd::Ended(end) => end.list_status().to_string(),
        LastEnd::NotExecuted => EX_CONFIG.to_string(),
    }
}

fn properties(definition: &Definition) -> String {
    let mut words = Vec::new();
    if definition.keep_alive != KeepAlive::Never {
        words.push("keepalive");
    }
    if definition.run_at_load {
        words.push("runatload");
    }
    if definition.program.is_none() {
        words.push("inferred program");
    }
    words.join(" | ")
}
