//! `selftest`: proves on a user's Mac, against its own launchd, what NixFleet relies on.
//!
//! With labels and a folder that are thrown away; `~/Library/LaunchAgents`, the user's own agent and the network are not
//! touched. The program itself plays everybody: the agent, home-manager, the wrapper, the watchdog.
//!
//! - [`scene`]: the folder, and where everything in it is.
//! - [`stage`]: what the steps act with.
//! - [`steps`]: the steps, as a table; [`basics`] and [`switches`] perform them and say what they saw.
//! - [`questions`]: what is not known of launchd and can be seen here.
//! - [`judge`]: whether what was seen is what was expected. Pure.
//! - [`definition`], [`stand_in`]: the jobs, and the programs in them.
//! - [`cleaning`]: away with it all, and with what selftests that were killed have left.
//! - [`report`]: what is printed.

mod basics;
mod cleaning;
mod darkness;
mod definition;
mod judge;
mod questions;
mod report;
mod scene;
mod stage;
mod stand_in;
mod steps;
mod switches;

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nixfleet_protocol::{
    journal::{atomic::WriteError, lock::LockError, store::JournalError},
    process::AskError,
    state_dir::StateDirError,
};

use crate::{
    Failure, exit,
    settings::{ServiceManager, Settings},
};
use report::{Acceptance, Progress, Step};
use stage::{Answer, Stage};
pub(crate) use stand_in::{
    agent::{AgentArguments, ChildArguments},
    home_manager::PLAN_FLAG,
};
use steps::{QUESTIONS_AFTER, STEPS};

/// Why a step did not come to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    #[error("cannot {action} {}", path.display())]
    File {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot catch signals")]
    Signals(#[source] io::Error),
    #[error("cannot find out which program this is")]
    Own(#[source] io::Error),
    #[error("cannot write a definition")]
    Plist(#[source] plist::Error),
    #[error(transparent)]
    StateDir(#[from] StateDirError),
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(transparent)]
    Process(#[from] AskError),
    #[error("launchctl {verb} answered {}{}", code_in_words(*code), in_brackets(said))]
    Launchctl { verb: &'static str, code: Option<i32>, said: String },
    #[error("waited {} s in vain until {what}", limit.as_secs())]
    InVain { what: String, limit: Duration },
    #[error("interrupted")]
    Interrupted,
    #[error("the time for all steps together is up")]
    TimeIsUp,
    #[error("{0}")]
    Said(String),
}

impl Trouble {
    /// For `map_err` after a file operation.
    fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::File { action, path, source }
    }

    fn launchctl(verb: &'static str, answer: &Answer) -> Self {
        Self::Launchctl { verb, code: answer.code, said: answer.said.clone() }
    }

    /// Nothing that follows can go better.
    const fn is_final(&self) -> bool {
        matches!(self, Self::Interrupted | Self::TimeIsUp)
    }
}

/// An exit code in words.
fn code_in_words(code: Option<i32>) -> String {
    code.map_or_else(|| "nothing".to_owned(), |code| code.to_string())
}

fn in_brackets(said: &str) -> String {
    if said.is_empty() { String::new() } else { format!(" ({said})") }
}

/// Runs the selftest and prints what came of it.
pub(crate) fn run(settings: &Settings, keep: bool, json: bool) -> Result<u8, Failure> {
    let manager = match settings.service_manager {
        ServiceManager::Launchd => None,
        ServiceManager::Systemd(_) => Some("systemd"),
        ServiceManager::None => Some("none"),
    };
    if let Some(manager) = manager {
        return Err(Failure::NotForThisServiceManager { verb: "selftest", manager });
    }
    let mut stage = Stage::set(settings)?;
    let mut progress = Progress::new(json);
    let mut acceptance = Acceptance::default();
    perform_all(&mut stage, &mut acceptance, &mut progress);
    progress.begin(cleaning::NAME);
    let cleaned = cleaning::step(&mut stage, keep);
    progress.end(&cleaned);
    acceptance.steps.push(cleaned);
    report::print(&acceptance, keep.then_some(stage.scene.folder.as_path()), json)?;
    Ok(if acceptance.is_all_ok() { 0 } else { exit::FAILURE })
}

/// Performs step after step. Once one was cut short, the rest is written down as not run.
fn perform_all(stage: &mut Stage, acceptance: &mut Acceptance, progress: &mut Progress) {
    let mut cut_short: Option<String> = None;
    for (number, definition) in STEPS.iter().enumerate() {
        progress.begin(definition.name);
        let began = Instant::now();
        let outcome = match &cut_short {
            Some(why) => Err(Trouble::Said(format!("not run: {why}"))),
            None => stage.go_on().and_then(|()| (definition.act)(stage)),
        };
        if let Err(trouble) = &outcome
            && trouble.is_final()
        {
            cut_short = Some(trouble.to_string());
        }
        let step = Step::new(definition, judge::judge(outcome), began.elapsed());
        progress.end(&step);
        acceptance.steps.push(step);
        if number + 1 == QUESTIONS_AFTER {
            acceptance.questions = questions::ask_all(stage, progress);
        }
    }
}

/// The command line as it is meant: called by the link of the stand-in for home-manager, this program is that.
pub(crate) fn as_called(mut arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let name = arguments.next().unwrap_or_default();
    let is_home_manager =
        Path::new(&name).file_name().is_some_and(|name| name == scene::HOME_MANAGER_LINK);
    let verb = is_home_manager.then(|| OsString::from(crate::cli::SELFTEST_HOME_MANAGER));
    verb.into_iter().chain(arguments).collect()
}

/// Is the stand-in agent.
pub(crate) fn be_agent(arguments: &AgentArguments) -> Result<u8, Failure> {
    stand_in::agent::run(arguments)?;
    Ok(0)
}

/// Is the stand-in agent's child.
pub(crate) fn be_child(arguments: &ChildArguments) -> Result<u8, Failure> {
    stand_in::agent::run_child(arguments)?;
    Ok(0)
}

/// Is the stand-in for home-manager. The exit code is home-manager's.
pub(crate) fn be_home_manager(arguments: &[String]) -> u8 {
    match stand_in::home_manager::run(arguments) {
        Ok(()) => 0,
        Err(trouble) => {
            crate::messages::fail(&crate::messages::with_causes(&trouble));
            exit::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_s_name_makes_it_home_manager() {
        let called = |words: &[&str]| as_called(words.iter().map(OsString::from));
        assert_eq!(called(&["/a/nixfleet-switch", "status"]), ["status"]);
        assert_eq!(called(&["/a/home-manager", "switch"]), ["switch"]);
        let link = format!("/a/{}", scene::HOME_MANAGER_LINK);
        assert_eq!(called(&[&link, "switch"]), [crate::cli::SELFTEST_HOME_MANAGER, "switch"]);
        assert!(called(&[]).is_empty());
    }
}
