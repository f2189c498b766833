//! The stand-in for home-manager: it builds nothing, and treats the agent's job as the chosen release does.
//!
//! The order is the real one's: profile, activation (bootout, wait, install a copy, bootstrap), `current-home`.

use std::{
    fmt,
    fs::{self, DirBuilder, Permissions},
    io::{self, Write as _},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use nixfleet_protocol::{external, process::ProcessIdentity};
use serde::{Deserialize, Serialize};

use super::super::{
    Trouble,
    scene::{self, Scene},
};
use crate::{ensure::launchctl, messages::with_causes};

/// How long one call of launchctl may take. home-manager itself has no limit.
const CALL_LIMIT: Duration = Duration::from_secs(30);

/// The pause after a `bootout` that does not wait.
const PAUSE: Duration = Duration::from_secs(1);

/// How long one that waits to be killed waits.
const HELD_LIMIT: Duration = Duration::from_mins(1);

/// The mode of what it installs.
const INSTALLED_MODE: u32 = 0o444;

/// Where the plan stands on the command line.
pub(crate) const PLAN_FLAG: &str = "--selftest-plan=";

/// What it is to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// The selftest's folder.
    pub(crate) folder: PathBuf,
    /// The generation to activate.
    pub(crate) generation: PathBuf,
    /// Whose habits.
    pub(crate) release: Release,
    /// Whether it gets past the bootout.
    pub(crate) after_bootout: AfterBootout,
}

/// A release of home-manager, by how it replaces an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Release {
    /// `bootout`, one second, `bootstrap` once; a failure is only said. 25.05 does the same.
    #[serde(rename = "25.11")]
    R25_11,
    /// `bootout --wait` on every macOS, `bootstrap` once; a failure is only said.
    #[serde(rename = "26.05")]
    R26_05,
    /// As 26.05 where there is `--wait`, as 25.11 elsewhere; a failure puts the old definition back and fails.
    #[serde(rename = "master")]
    Master { has_wait: bool },
}

/// What happens after the bootout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AfterBootout {
    /// It goes on.
    GoOn,
    /// It waits to be killed.
    Hold,
}

impl fmt::Display for Release {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::R25_11 => "25.11",
            Self::R26_05 => "26.05",
            Self::Master { .. } => "master",
        })
    }
}

/// How a release replaces an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Way {
    stop: Stop,
    on_failure: OnFailure,
    skip: Skip,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    ThenPause,
    Waiting,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OnFailure {
    SayOnly,
    RestoreAndFail,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Skip {
    IfSame,
    IfSameAndLoaded,
}

impl Release {
    const fn way(self) -> Way {
        let (say_only, skip) = (OnFailure::SayOnly, Skip::IfSame);
        match self {
            Self::R25_11 => Way { stop: Stop::ThenPause, on_failure: say_only, skip },
            Self::R26_05 => Way { stop: Stop::Waiting, on_failure: say_only, skip },
            Self::Master { has_wait } => Way {
                stop: if has_wait { Stop::Waiting } else { Stop::ThenPause },
                on_failure: OnFailure::RestoreAndFail,
                skip: Skip::IfSameAndLoaded,
            },
        }
    }
}

/// Is home-manager, with the arguments that the wrapper has passed on.
pub(crate) fn run(arguments: &[String]) -> Result<(), Trouble> {
    let path = arguments.iter().find_map(|argument| argument.strip_prefix(PLAN_FLAG));
    let path = Path::new(path.ok_or_else(|| Trouble::Said("there is no plan".to_owned()))?);
    let text = fs::read(path).map_err(Trouble::file("read", path))?;
    let plan: Plan = serde_json::from_slice(&text)
        .map_err(|error| Trouble::file("understand", path)(error.into()))?;
    let scene = Scene::read(&plan.folder)?;
    let process = ProcessIdentity::current()?;
    scene.register(&process)?;
    Activation { scene: &scene, plan: &plan, process }.run()
}

struct Activation<'a> {
    scene: &'a Scene,
    plan: &'a Plan,
    process: ProcessIdentity,
}

impl Activation<'_> {
    fn run(&self) -> Result<(), Trouble> {
        let old_generation = self.scene.profile().canonicalize().ok();
        say(&format!("home-manager {}, as the selftest plays it", self.plan.release));
        self.link(&self.scene.profile())?;
        let current = self.scene.current_home();
        let new = current.with_file_name("new-home");
        self.link(&new)?;
        self.replace_agent(old_generation.as_deref())?;
        self.link(&current)?;
        fs::remove_file(&new).map_err(Trouble::file("remove", &new))
    }

    fn replace_agent(&self, old_generation: Option<&Path>) -> Result<(), Trouble> {
        let (source, installed) =
            (self.definition_in(&self.plan.generation), self.scene.agent_plist());
        let way = self.plan.release.way();
        let is_same = fs::read(&source).ok() == fs::read(&installed).ok();
        let is_up_to_date = match way.skip {
            Skip::IfSame => is_same,
            Skip::IfSameAndLoaded => is_same && self.is_loaded(),
        };
        if is_up_to_date {
            say("the agent is already up-to-date");
            return Ok(());
        }
        let was_booted_out = installed.exists() && self.boot_out(way.stop);
        if self.plan.after_bootout == AfterBootout::Hold {
            self.wait_to_be_killed()?;
        }
        install(&source, &installed)?;
        if self.bootstrap(&installed) {
            return Ok(());
        }
        match (way.on_failure, old_generation) {
            (OnFailure::SayOnly, _) => Ok(()),
            (OnFailure::RestoreAndFail, Some(old)) if was_booted_out => {
                install(&self.definition_in(old), &installed)?;
                self.bootstrap(&installed);
                Err(Trouble::Said("the agent was not activated; the old one was put back".into()))
            }
            (OnFailure::RestoreAndFail, _) => {
                Err(Trouble::Said("the agent was not activated".to_owned()))
            }
        }
    }

    fn definition_in(&self, generation: &Path) -> PathBuf {
        generation.join(format!("LaunchAgents/{}.plist", self.scene.agent_label))
    }

    fn is_loaded(&self) -> bool {
        self.launchctl(&["print", &self.scene.agent_target()])
    }

    fn boot_out(&self, stop: Stop) -> bool {
        let target = self.scene.agent_target();
        match stop {
            Stop::ThenPause => {
                let is_out = self.launchctl(&["bootout", &target]);
                // Its habit: a second, whatever bootout has said and however long the job takes.
                thread::sleep(PAUSE);
                is_out
            }
            Stop::Waiting => self.launchctl(&["bootout", "--wait", &target]),
        }
    }

    fn bootstrap(&self, installed: &Path) -> bool {
        self.launchctl(&["bootstrap", &self.scene.domain, &installed.to_string_lossy()])
    }

    /// Whether it exited 0. What it said otherwise is printed, and that is all.
    fn launchctl(&self, words: &[&str]) -> bool {
        let mut command: Command = launchctl::command(&self.scene.launchctl, words);
        match external::run(&mut command, CALL_LIMIT) {
            Ok(ended) if ended.exit_code == Some(0) => true,
            Ok(ended) => {
                say(&format!("launchctl {}: {}", words.join(" "), ended.stderr.trim()));
                false
            }
            Err(error) => {
                say(&with_causes(&error));
                false
            }
        }
    }

    fn wait_to_be_killed(&self) -> Result<(), Trouble> {
        scene::write_identity(&self.scene.held(), &self.process)?;
        thread::sleep(HELD_LIMIT);
        Err(Trouble::Said("nobody has killed this process".to_owned()))
    }

    /// Makes or replaces a link to the generation.
    fn link(&self, link: &Path) -> Result<(), Trouble> {
        relink(link, &self.plan.generation)
    }
}

/// Makes or replaces a link in one step.
pub(crate) fn relink(link: &Path, target: &Path) -> Result<(), Trouble> {
    if let Some(folder) = link.parent() {
        DirBuilder::new()
            .recursive(true)
            .create(folder)
            .map_err(Trouble::file("create", folder))?;
    }
    let next = link.with_extension("next");
    symlink(target, &next).map_err(Trouble::file("create", &next))?;
    fs::rename(&next, link).map_err(Trouble::file("replace", link))
}

/// A copy, as install(1) makes it: what is there is removed first.
fn install(source: &Path, installed: &Path) -> Result<(), Trouble> {
    match fs::remove_file(installed) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(Trouble::file("remove", installed)(error));
        }
        Ok(()) | Err(_) => {}
    }
    fs::copy(source, installed).map_err(Trouble::file("write", installed))?;
    fs::set_permissions(installed, Permissions::from_mode(INSTALLED_MODE))
        .map_err(Trouble::file("close", installed))
}

/// What the user would read.
fn say(text: &str) {
    // Whoever does not read it has the log.
    let _ = writeln!(io::stdout(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_release_has_its_habits() {
        let (pause, wait) = (Stop::ThenPause, Stop::Waiting);
        let (only, fail) = (OnFailure::SayOnly, OnFailure::RestoreAndFail);
        for (release, stop, on_failure, skip) in [
            (Release::R25_11, pause, only, Skip::IfSame),
            (Release::R26_05, wait, only, Skip::IfSame),
            (Release::Master { has_wait: false }, pause, fail, Skip::IfSameAndLoaded),
            (Release::Master { has_wait: true }, wait, fail, Skip::IfSameAndLoaded),
        ] {
            assert_eq!(release.way(), Way { stop, on_failure, skip }, "{release}");
        }
    }

    #[test]
    fn a_plan_says_the_same_after_the_way_through_a_file() {
        for release in [Release::R25_11, Release::R26_05, Release::Master { has_wait: true }] {
            let plan = Plan {
                folder: "/f".into(),
                generation: "/g".into(),
                release,
                after_bootout: AfterBootout::Hold,
            };
            let text = serde_json::to_vec(&plan).unwrap();
            assert_eq!(serde_json::from_slice::<Plan>(&text).unwrap(), plan);
        }
    }
}
