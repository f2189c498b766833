//! The end of a cell: everything that was made for it is ended, and what is left is counted.

use std::{fs, path::Path};

use rustix::process::Signal;

use super::scene::Scene;
use crate::stage::{
    Trouble,
    ending::{copy, left_after, wait_for_wrappers},
    mac::Mac,
    processes,
};

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
    let left = left_after(folder.root());
    for found in &left {
        processes::signal(found.pid, Signal::KILL);
    }
    drop(mounts);
    left.into_iter().map(|found| found.command).collect()
}

/// The launcher is the tests' own, and so is what it leaves behind on purpose.
fn end_what_the_launcher_left(root: &Path) {
    for found in processes::of(root) {
        if found.command.contains("agent-launcher") || found.command.contains("nixfleet-agent") {
            processes::signal(found.pid, Signal::KILL);
        }
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
