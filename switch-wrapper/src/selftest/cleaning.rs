//! Away with it all: the jobs, the processes, the folder; also of selftests that were killed.
//!
//! What is whose is written in the folder; a job whose folder is gone says by its label which selftest it was. A process
//! is ended only if it is the very one that was written down.

use std::{
    collections::BTreeSet,
    env, fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use nixfleet_protocol::{
    journal::{
        lock::Lock,
        read,
        records::{RunningProgram, Started},
        store::Journal,
    },
    process::ProcessIdentity,
};
use rustix::process::Signal;

use super::{
    Trouble,
    judge::Judgement,
    report::Step,
    scene::{FOLDER_PREFIX, LABEL_PREFIX, Scene, labels, pid_of_label, read_identity},
    stage::{GONE_LIMIT, LOOK_EVERY, Stage, ask},
    steps::StepDefinition,
    switches,
};
use crate::{ensure::launchctl, messages::with_causes};

/// The last step's name.
pub(super) const NAME: &str = "cleaning up";

/// How long a look-after of the agent's job that is still under way is waited for.
const ENSURE_LIMIT: Duration = Duration::from_secs(10);

/// How long processes that were killed may take to be gone.
const KILLED_LIMIT: Duration = Duration::from_secs(5);

/// How long removing the folder may take, while somebody is still writing into it.
const REMOVAL_LIMIT: Duration = Duration::from_secs(3);

/// Cleans up after this selftest. Whatever came before, this is done to its end.
pub(super) fn step(stage: &mut Stage, keep: bool) -> Step {
    let definition = StepDefinition {
        name: NAME,
        fact: "2 bootout",
        expectation: "no job, no process and no file is left",
        act: |_stage| Err(Trouble::Said("cleaning up is not one of the others".to_owned())),
    };
    let began = Instant::now();
    let children = switches::end_children(stage).err().map(|trouble| with_causes(&trouble));
    let left: Vec<String> = children.into_iter().chain(clean(&stage.scene, keep)).collect();
    let said = if left.is_empty() {
        let folder = if keep { "folder kept" } else { "folder removed" };
        format!("jobs and processes gone, {folder}")
    } else {
        format!("left: {}", left.join(", "))
    };
    Step::new(&definition, Judgement { ok: left.is_empty(), said }, began.elapsed())
}

/// Takes everything of a scene away. What could not be is in the answer.
fn clean(scene: &Scene, keep: bool) -> Vec<String> {
    let mut left = Vec::new();
    // The watchdog first: it would bring the agent back. Then whoever is at a switch, for the same reason.
    left.extend(boot_out(scene, &scene.watchdog_target()));
    end(&scene.wrappers());
    let ensure = scene.state_dir().ok().map(|directory| directory.ensure_lock());
    // Without the lock somebody is at the job for longer than that takes; then it is taken out all the same.
    let lock = ensure
        .filter(|path| path.parent().is_some_and(Path::exists))
        .and_then(|path| Lock::take_within(&path, ENSURE_LIMIT).ok());
    for path in [scene.agent_plist(), scene.watchdog_plist(), scene.profile()] {
        // Whoever gets the lock after us finds that no agent is installed. What is not there need not be removed.
        if !keep {
            let _ = fs::remove_file(path);
        }
    }
    left.extend(boot_out(scene, &scene.agent_target()));
    drop(lock);
    left.extend(
        end(&scene.stand_ins()).into_iter().map(|process| format!("process {}", process.pid)),
    );
    if !keep {
        left.extend(remove_folder(&scene.folder));
    }
    left
}

/// Takes a job out and waits until it is gone. The answer is what is left of it.
fn boot_out(scene: &Scene, target: &str) -> Option<String> {
    let deadline = Instant::now() + GONE_LIMIT;
    let mut is_told = false;
    loop {
        let print = ask(&scene.launchctl, &["print", target]);
        let is_gone = print.code == Some(launchctl::NOT_LOADED)
            || print.code.is_some_and(|code| launchctl::NO_DOMAIN.contains(&code));
        if is_gone {
            return None;
        }
        if Instant::now() >= deadline {
            return Some(format!("job {target}"));
        }
        if !is_told {
            // What came of it is seen at the next look.
            is_told = ask(&scene.launchctl, &["bootout", target]).code == Some(0);
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// Kills those of the processes that are still there, and waits. The answer is who is left.
fn end(processes: &[ProcessIdentity]) -> Vec<ProcessIdentity> {
    let deadline = Instant::now() + KILLED_LIMIT;
    loop {
        // One that cannot be asked about may be another by now.
        let alive: Vec<ProcessIdentity> = processes
            .iter()
            .filter(|process| process.is_alive().unwrap_or(false))
            .cloned()
            .collect();
        if alive.is_empty() || Instant::now() >= deadline {
            return alive;
        }
        for process in &alive {
            // One that has ended meanwhile is what was wanted.
            let _ = process.signal(Signal::KILL);
        }
        thread::sleep(LOOK_EVERY);
    }
}

fn remove_folder(folder: &Path) -> Option<String> {
    let deadline = Instant::now() + REMOVAL_LIMIT;
    loop {
        match fs::remove_dir_all(folder) {
            Ok(()) => return None,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) if Instant::now() >= deadline => {
                return Some(format!("folder {} ({error})", folder.display()));
            }
            Err(_busy) => thread::sleep(LOOK_EVERY),
        }
    }
}

impl Scene {
    /// Those who have written themselves down.
    fn stand_ins(&self) -> Vec<ProcessIdentity> {
        let entries = fs::read_dir(self.processes()).into_iter().flatten().flatten();
        entries.filter_map(|entry| read_identity(&entry.path())).collect()
    }

    /// Those who run a switch, by the journal, and the watchdog.
    fn wrappers(&self) -> Vec<ProcessIdentity> {
        let Ok(directory) = self.state_dir() else { return Vec::new() };
        let watchdog = read::read::<RunningProgram>(&directory.watchdog_record()).present();
        let switches = Journal::new(directory.clone()).switch_ids().unwrap_or_default();
        let started = switches
            .into_iter()
            .filter_map(|id| read::read::<Started>(&directory.switch(id).started()).present());
        started
            .flat_map(|started| [started.wrapper, started.child])
            .chain(watchdog.map(|record| record.process))
            .collect()
    }
}

/// Takes away what selftests that are dead have left: what was removed, and what could not be.
pub(super) fn leftovers(stage: &Stage) -> Result<(Vec<String>, Vec<String>), Trouble> {
    let (mut removed, mut left) = (Vec::new(), Vec::new());
    for folder in folders(&stage.scene)? {
        let Ok(scene) = Scene::read(&folder) else {
            // Its selftest was killed before it had written a word, or is about to write it.
            if is_of_the_dead(pid_of_folder(&folder)) {
                removed.push(folder.display().to_string());
                left.extend(remove_folder(&folder));
            }
            continue;
        };
        if !scene.process.is_alive()? {
            stage.go_on()?;
            removed.push(format!("what selftest {} had left", scene.process.pid));
            left.extend(clean(&scene, false));
        }
    }
    for (domain, label) in orphans(&stage.scene) {
        stage.go_on()?;
        let target = format!("{domain}/{label}");
        left.extend(boot_out(&stage.scene, &target));
        removed.push(format!("job {target}"));
    }
    Ok((removed, left))
}

/// The folders of selftests, this one's own excepted.
fn folders(own: &Scene) -> Result<Vec<PathBuf>, Trouble> {
    let place = own.folder.parent().map_or_else(env::temp_dir, Path::to_owned);
    let me = rustix::process::geteuid().as_raw();
    let entries = fs::read_dir(&place).map_err(Trouble::file("read", &place))?;
    let is_ours = |path: &PathBuf| {
        *path != own.folder
            && pid_of_folder(path).is_some()
            // A link, or somebody else's folder, is not one of ours.
            && fs::symlink_metadata(path)
                .is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == me)
    };
    Ok(entries.flatten().map(|entry| entry.path()).filter(is_ours).collect())
}

fn pid_of_folder(folder: &Path) -> Option<u32> {
    folder.file_name()?.to_str()?.strip_prefix(FOLDER_PREFIX)?.parse().ok()
}

/// Jobs of dead selftests that no folder speaks of: it lay in another temporary folder, or somebody has removed it.
fn orphans(own: &Scene) -> Vec<(String, String)> {
    let uid = rustix::process::geteuid().as_raw();
    let mut found = Vec::new();
    for domain in [format!("gui/{uid}"), format!("user/{uid}")] {
        let print = ask(&own.launchctl, &["print", &domain]).stdout;
        let (agent, watchdog) = labels(own.process.pid);
        let dead = labels_in(&print)
            .into_iter()
            .filter(|label| *label != agent && *label != watchdog)
            .filter(|label| is_of_the_dead(pid_of_label(label)));
        found.extend(dead.map(|label| (domain.clone(), label)));
    }
    found
}

/// Our labels in the text of `print DOMAIN`, wherever they stand.
fn labels_in(text: &str) -> BTreeSet<String> {
    text.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '.'))
        .filter(|word| word.starts_with(LABEL_PREFIX) && pid_of_label(word).is_some())
        .map(str::to_owned)
        .collect()
}

/// Nothing has this pid. Where the system does not tell, somebody may.
fn is_of_the_dead(pid: Option<u32>) -> bool {
    pid.is_some_and(|pid| matches!(ProcessIdentity::of(pid), Ok(None)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_found_wherever_they_stand() {
        let text = "gui/501 = {\n\tservices = {\n\t\t   42      -  \tcom.nixfleet.selftest.7.agent\n\
                    \t\t    0     -15 \tcom.nixfleet.selftest.7.watchdog\n\t\t 1 - com.apple.x\n\
                    \t\"com.nixfleet.selftest.8.agent\" => enabled\n\
                    com.nixfleet.selftest.x.agent com.nixfleet.agent\n}";
        let found: Vec<String> = labels_in(text).into_iter().collect();
        assert_eq!(
            found,
            [
                "com.nixfleet.selftest.7.agent",
                "com.nixfleet.selftest.7.watchdog",
                "com.nixfleet.selftest.8.agent"
            ]
        );
    }

    #[test]
    fn a_folder_s_name_says_whose_it_is() {
        for (name, pid) in [
            ("/tmp/nixfleet-selftest-42", Some(42)),
            ("/tmp/nixfleet-selftest-", None),
            ("/tmp/nixfleet-selftest-x", None),
            ("/tmp/other", None),
        ] {
            assert_eq!(pid_of_folder(Path::new(name)), pid, "{name}");
        }
        assert!(!is_of_the_dead(Some(std::process::id())));
        assert!(!is_of_the_dead(None));
    }
}
