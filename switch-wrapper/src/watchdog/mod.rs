//! The watchdog: a job of its own that misses the agent when nobody else does.
//!
//! It catches what the wrapper cannot see: a plain `home-manager switch`, a wrapper that was killed, a crash, a power cut.
//! A long-lived process and not a timer of launchd's: those are held back together with the job that they are to heal
//! (launchd pends whatever it would start by itself). It wakes up once a tick, looks ([`eyes`]), decides ([`decide`]),
//! and has `ensure-agent` do the work in a process of its own, which goes on if the watchdog is ended.
//!
//! What is long-lived is small: it runs as `nixfleet-watchdog`, a program without the rest of the wrapper.
//!
//! It writes `watchdog.json`, holds `watchdog.lock`, by which the agent sees that it is there, and stamps it once a tick,
//! by which the agent sees that it reacts.

mod decide;
mod eyes;

use std::{
    env, io,
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use nixfleet_protocol::{
    crash_point::{self, CrashPoint},
    digest, external,
    installed::{self, Difference, Invocation},
    journal::{
        atomic,
        lock::{Lock, LockError},
        read,
        records::{AgentVerdict, FORMAT, HealingCause, LastGoodAgent, Reload, RunningProgram},
    },
    process::ProcessIdentity,
    state_dir::StateDir,
    systemd_notify,
};

use crate::{
    Failure,
    ensure::JobKind,
    messages::{say, warn, with_causes},
    settings::{ServiceManager, Settings},
};
use decide::{Action, Healed, State};

/// Time between two looks.
const TICK: Duration = Duration::from_secs(10);

/// How long somebody who only looks may have the lock.
const PASSING_LIMIT: Duration = Duration::from_millis(500);

/// How long having the agent looked after may take: longer than that takes with all its own limits.
const HEALING_LIMIT: Duration = Duration::from_secs(130);

/// Goes on as the program that has only the watchdog in it, under the same pid and the wrapper's name; the whole wrapper
/// would take twice the memory. A wrapper that was put somewhere without that program watches as it is.
pub(crate) fn become_small() -> Result<u8, Failure> {
    let system = |source| Failure::System { action: "find out which program this is", source };
    let Invocation { exe, invoked_as } = installed::invocation().map_err(system)?;
    let small = exe.with_file_name(installed::WATCHDOG);
    let error =
        Command::new(&small).arg0(invoked_as.unwrap_or(exe)).args(env::args_os().skip(1)).exec();
    if error.kind() != io::ErrorKind::NotFound {
        warn(&format!("cannot become {}, watching as I am: {error}", small.display()));
    }
    run()
}

/// Watches until it is ended.
pub(crate) fn run() -> Result<u8, Failure> {
    let mut settings = settings_once_they_make_sense();
    let directory = StateDir::prepare(&settings.state_dir)?;
    let lock = wait_for_lock(&directory)?;
    let mut record = record(&settings)?;
    tell_systemd(systemd_notify::READY);
    let began = Instant::now();
    let mut state = State::default();
    loop {
        match installed::difference(&record) {
            Some(Difference::Executable) => become_the_installed(&record),
            Some(Difference::Config) => {
                // One that does not make sense is no reason to stop watching.
                if let Ok(changed) = Settings::load() {
                    settings = changed;
                    record.config_digest = digest_of_config(&settings);
                }
            }
            // The watchdog's own definition is the same from one version to the next.
            Some(Difference::Definition) | None => {}
        }
        write_down(&directory, &record);
        show_life(&lock);
        let seen = eyes::look(&settings, &directory);
        match state.handle(&seen, began.elapsed()) {
            Action::Rest => {}
            Action::LookAgain => crash_point::reached(CrashPoint::WatchdogFirstLook),
            Action::Keep => keep(&settings, &directory),
            Action::Heal { cause, missed_for } => {
                let healed = heal(cause, missed_for);
                state.healed(healed, began.elapsed());
            }
        }
        tell_systemd(systemd_notify::WATCHDOG);
        thread::sleep(TICK);
    }
}

/// A config that makes no sense is mended one day. Ending meanwhile would only have launchd start the watchdog ever more
/// seldom.
fn settings_once_they_make_sense() -> Settings {
    let mut is_said = false;
    loop {
        match Settings::load() {
            Ok(settings) => return settings,
            Err(error) if is_said => drop(error),
            Err(error) => {
                is_said = true;
                warn(&format!("waiting for settings that make sense: {}", with_causes(&error)));
            }
        }
        thread::sleep(TICK);
    }
}

/// Waits until no other watchdog runs. The same job may be loaded in two domains; the second one is a spare.
fn wait_for_lock(directory: &StateDir) -> Result<Lock, Failure> {
    loop {
        match Lock::take_within(&directory.watchdog_lock(), PASSING_LIMIT) {
            Ok(lock) => return Ok(lock),
            Err(LockError::Held { .. }) => thread::sleep(TICK),
            Err(error @ LockError::Io { .. }) => return Err(error.into()),
        }
    }
}

fn record(settings: &Settings) -> Result<RunningProgram, Failure> {
    let system = |source| Failure::System { action: "find out which program this is", source };
    let Invocation { exe, invoked_as } = installed::invocation().map_err(system)?;
    let definition = settings.watchdog_plist.clone();
    Ok(RunningProgram {
        format: FORMAT,
        process: ProcessIdentity::current()?,
        started_at: Timestamp::now(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        exe,
        invoked_as,
        config_digest: digest_of_config(settings),
        config_path: settings.config_path.clone(),
        definition_digest: digest::of_file(&definition),
        definition_path: Some(definition),
        last_heartbeat_at: None,
        dashboard: None,
    })
}

/// Sees to it that the record on disk is this watchdog's. Without it others do not find it, and it watches all the same.
fn write_down(directory: &StateDir, record: &RunningProgram) {
    let path = directory.watchdog_record();
    if read::read(&path).as_present() == Some(record) {
        return;
    }
    if let Err(error) = atomic::replace(&path, record) {
        warn(&with_causes(&error));
    }
}

/// The agent sees by it that the watchdog still reacts. A stamp that cannot be set is said, and the watching goes on.
fn show_life(lock: &Lock) {
    if let Err(error) = lock.stamp() {
        warn(&with_causes(&error));
    }
}

fn digest_of_config(settings: &Settings) -> Option<String> {
    settings.config_path.as_deref().and_then(digest::of_file)
}

/// Goes on as the program that is installed by now, under the same pid: launchd has no part in it. If that fails, this
/// one goes on.
fn become_the_installed(record: &RunningProgram) {
    let Some(installed) = &record.invoked_as else { return };
    let error = Command::new(installed).args(env::args_os().skip(1)).exec();
    warn(&format!("cannot become {}: {error}", installed.display()));
}

/// Has an agent that stays up kept as one that works, unless it is so kept already.
fn keep(settings: &Settings, directory: &StateDir) {
    let kept = read::read::<LastGoodAgent>(&directory.last_good_agent()).present();
    let agent = JobKind::Agent.record(settings);
    let is_kept = kept.zip(agent).is_some_and(|(kept, agent)| {
        kept.exe == agent.exe && kept.definition_digest == agent.definition_digest
    });
    // systemd's units are home-manager's alone: nothing is put back there.
    if !is_kept && settings.service_manager == ServiceManager::Launchd {
        // A look-after that finds everything in order keeps it; one that does not is said by the next look.
        if let Err(why) = ensure_agent(HealingCause::Asked, Duration::ZERO) {
            warn(&why);
        }
    }
}

/// Has the agent looked after.
fn heal(cause: HealingCause, missed_for: Duration) -> Healed {
    crash_point::reached(CrashPoint::WatchdogActing);
    say(&format!("{} for {} s", cause.as_str().replace('_', " "), missed_for.as_secs()));
    let healed = match ensure_agent(cause, missed_for) {
        Ok(verdict) => match verdict {
            AgentVerdict::Healthy | AgentVerdict::Back => Healed::Back,
            AgentVerdict::NotInstalled | AgentVerdict::Unmanaged => Healed::NoJob,
            AgentVerdict::NotBack | AgentVerdict::AtNextLogin => Healed::NotBack,
        },
        Err(why) => {
            warn(&why);
            Healed::NotBack
        }
    };
    crash_point::reached(CrashPoint::WatchdogActed);
    healed
}

fn ensure_agent(cause: HealingCause, missed_for: Duration) -> Result<AgentVerdict, String> {
    let Invocation { exe, invoked_as } =
        installed::invocation().map_err(|error| error.to_string())?;
    let program = invoked_as.unwrap_or(exe);
    let mut command = Command::new(program);
    command
        .args([JobKind::Agent.verb(), "--json", "--cause", cause.as_str(), "--missed-for-ms"])
        .arg(missed_for.as_millis().to_string())
        .env_remove(systemd_notify::SOCKET_VARIABLE)
        .stdin(Stdio::null());
    let ended = external::run(&mut command, HEALING_LIMIT).map_err(|error| with_causes(&error))?;
    let reload: Reload = serde_json::from_str(&ended.stdout)
        .map_err(|_no_reload| format!("looking after the agent failed: {}", ended.stderr.trim()))?;
    Ok(reload.verdict)
}

/// Where systemd runs the watchdog, it hears that it is up and that it lives.
fn tell_systemd(message: &str) {
    if let Some(socket) = env::var_os(systemd_notify::SOCKET_VARIABLE)
        && let Err(error) = systemd_notify::send(&PathBuf::from(socket), message)
    {
        warn(&format!("cannot tell systemd {message}: {error}"));
    }
}
