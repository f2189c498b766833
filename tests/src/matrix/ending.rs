//! The end of a cell: everything that was made for it is ended, and what is left is counted.

use std::{
    fs, io,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use super::scene::Scene;
use crate::stage::{Trouble, mac::Mac, processes};

/// How long what ends by itself may take: a look-after that has lost its launchd gives up within its minute.
const LOOK_AFTER_ENDS_WITHIN: Duration = Duration::from_secs(75);

/// How long everything else may take.
const ENDS_WITHIN: Duration = Duration::from_secs(10);

/// Time between two looks at all processes of the system.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The most that is kept of one file.
const MAX_KEPT: u64 = 8 * 1024 * 1024;

/// Ends the machine; says what is left of it.
pub(super) fn end(mut scene: Scene) -> Vec<String> {
    scene.thaw();
    scene.reader = None;
    let has_launcher = !scene.cell.variant.job.launcher.is_empty();
    for (_actor, child) in &mut scene.helpers {
        // What was started here is ended here; one that has ended is collected.
        let _ = child.kill();
        let _ = child.wait();
    }
    if let Some(child) = &mut scene.user {
        let _ = child.try_wait();
    }
    let Scene { mac, mounts, .. } = scene;
    let Mac { launchd, folder, .. } = mac;
    wait_for_wrappers(folder.root());
    launchd.stop();
    if has_launcher {
        end_what_the_launcher_left(folder.root());
    }
    let left = left_after(folder.root(), ENDS_WITHIN);
    for found in &left {
        processes::signal(found.pid, Signal::KILL);
    }
    drop(mounts);
    left.into_iter().map(|found| found.command).collect()
}

fn is_at_work(found: &processes::Found) -> bool {
    let is_wrapper = found.command.contains("nixfleet-switch");
    is_wrapper && !found.command.contains("nixfleet-switch watchdog")
}

fn wait_for_wrappers(root: &Path) {
    let deadline = Instant::now() + LOOK_AFTER_ENDS_WITHIN;
    while Instant::now() < deadline && processes::of(root).iter().any(is_at_work) {
        thread::sleep(LOOK_EVERY);
    }
}

/// The launcher is the tests' own, and so is what it leaves behind on purpose.
fn end_what_the_launcher_left(root: &Path) {
    for found in processes::of(root) {
        if found.command.contains("agent-launcher") || found.command.contains("nixfleet-agent") {
            processes::signal(found.pid, Signal::KILL);
        }
    }
}

fn left_after(root: &Path, limit: Duration) -> Vec<processes::Found> {
    let deadline = Instant::now() + limit;
    loop {
        let left = processes::of(root);
        if left.is_empty() || Instant::now() >= deadline {
            return left;
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// Copies what tells the cell's story.
pub(super) fn keep_evidence(scene: &Scene, place: &Path) -> Result<(), Trouble> {
    let to = place.join(scene.cell.name().replace('/', "_"));
    let root = scene.mac.folder.root();
    for name in ["launchd", "home-manager", "home", "crash-points"] {
        copy(&root.join(name), &to.join(name)).map_err(Trouble::file("copy", &to))?;
    }
    for entry in fs::read_dir(root).map_err(Trouble::file("read", root))?.flatten() {
        if entry.path().is_file() {
            copy(&entry.path(), &to.join(entry.file_name())).map_err(Trouble::file("copy", &to))?;
        }
    }
    Ok(())
}

/// Regular files that are not large; links and the rest are passed over.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let metadata = fs::symlink_metadata(from)?;
    if metadata.is_dir() {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)?.flatten() {
            // One that has just vanished was a temporary file.
            let _ = copy(&entry.path(), &to.join(entry.file_name()));
        }
    } else if metadata.is_file() && metadata.len() <= MAX_KEPT {
        fs::copy(from, to)?;
    }
    Ok(())
}
