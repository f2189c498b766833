//! The wrapper at its stable path, outside home-manager's profile: a link to what does not go away.
//!
//! From the Nix store it is a link to the store, with a root for the garbage collector. From anywhere else it is a copy
//! in a folder of its own, with a link to it. Either way the watchdog's program lies beside it, an upgrade replaces a link
//! in one step, and what runs from the one before keeps its file.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    time::Duration,
};

use nixfleet_protocol::{
    digest,
    installed::{self, WATCHDOG, WRAPPER},
    journal::atomic,
    state_dir::StateDirError,
};

use crate::gc_root::{self, RootError};

/// How long making the garbage collector's root may take.
const ROOT_LIMIT: Duration = Duration::from_mins(1);

/// Begins the names of the copies' folders, and of roots.
const COPY_PREFIX: &str = "nixfleet-switch-";

/// Why the wrapper is not at its stable path.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProgramError {
    /// The folder.
    #[error(transparent)]
    Folder(#[from] StateDirError),
    /// The file system refused.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the file system said.
        #[source]
        source: io::Error,
    },
    /// The garbage collector would remove it.
    #[error("the wrapper cannot be kept from the garbage collector")]
    Root(#[from] RootError),
}

/// Puts the program `exe` at its stable path. Says what that leads to now, and whether it did before.
pub(super) fn put_in_place(home: &Path, exe: &Path) -> Result<(PathBuf, bool), ProgramError> {
    let (folder, link) = (installed::stable_folder(home), installed::stable_wrapper(home));
    if link.canonicalize().is_ok_and(|target| target == exe) {
        return Ok((exe.to_owned(), false));
    }
    let failed = |action, path: &Path| {
        let path = path.to_owned();
        move |source| ProgramError::File { action, path, source }
    };
    fs::DirBuilder::new().recursive(true).create(&folder).map_err(failed("create", &folder))?;
    let target = match root(&folder, exe) {
        Some(root) => {
            gc_root::keep(&root, exe, ROOT_LIMIT)?;
            exe.to_owned()
        }
        None => copy(&folder, exe)?,
    };
    if link.canonicalize().is_ok_and(|present| present == target) {
        return Ok((target, false));
    }
    let before = link.canonicalize().ok();
    replace_link(&link, &target).map_err(failed("replace", &link))?;
    // What is left too much takes space and harms nothing; the next installation tries again.
    let in_use = [Some(target.clone()), before].into_iter().flatten();
    let kept: Vec<PathBuf> = in_use
        .filter_map(|exe| root(&folder, &exe).or_else(|| exe.parent().map(Path::to_owned)))
        .collect();
    let _ = remove_copies(&folder, &kept);
    Ok((target, true))
}

/// The root of a program in the store: one for each, so that the one that the stable path still leads to keeps its own
/// until the path leads elsewhere.
fn root(folder: &Path, exe: &Path) -> Option<PathBuf> {
    let store_path = gc_root::store_path(exe)?;
    let name = store_path.file_name()?.to_string_lossy();
    Some(folder.join(format!("{COPY_PREFIX}{name}.root")))
}

/// Takes everything away from the stable path.
pub(super) fn remove(home: &Path) -> Result<bool, ProgramError> {
    let (folder, link) = (installed::stable_folder(home), installed::stable_wrapper(home));
    let failed = |action, path: &Path| {
        let path = path.to_owned();
        move |source| ProgramError::File { action, path, source }
    };
    let was_there = match fs::remove_file(&link) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(failed("remove", &link)(error)),
    };
    remove_copies(&folder, &[]).map_err(failed("clear", &folder))?;
    Ok(was_there)
}

/// A copy of the wrapper, and of the watchdog's program where it lies beside it, in a folder whose name says what is in
/// it.
fn copy(folder: &Path, exe: &Path) -> Result<PathBuf, ProgramError> {
    let failed = |action, path: &Path| {
        let path = path.to_owned();
        move |source| ProgramError::File { action, path, source }
    };
    let wrapper = fs::read(exe).map_err(failed("read", exe))?;
    let beside = exe.with_file_name(WATCHDOG);
    let watchdog = match fs::read(&beside) {
        Ok(content) => Some(content),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(failed("read", &beside)(error)),
    };
    let digests = [Some(&wrapper), watchdog.as_ref()].into_iter().flatten();
    let digest =
        digest::of(digests.map(|content| digest::of(content)).collect::<String>().as_bytes());
    let folder = folder.join(format!("{COPY_PREFIX}{}", &digest[..16.min(digest.len())]));
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)
        .map_err(failed("create", &folder))?;
    // The watchdog first: who finds the wrapper finds both.
    if let Some(content) = watchdog {
        copy_one(&folder.join(WATCHDOG), &content)?;
    }
    let path = folder.join(WRAPPER);
    copy_one(&path, &wrapper)?;
    Ok(path)
}

fn copy_one(path: &Path, content: &[u8]) -> Result<(), ProgramError> {
    let failed = |action| {
        let path = path.to_owned();
        move |source| ProgramError::File { action, path, source }
    };
    if digest::of_file(path).is_none_or(|present| present != digest::of(content)) {
        atomic::replace_content(path, "copy of the program", content)
            .map_err(|error| failed("write")(io::Error::other(error)))?;
    }
    // Of one that is there already too: the one who made it may not have come so far.
    let executable = fs::Permissions::from_mode(0o700);
    fs::set_permissions(path, executable).map_err(failed("make executable"))
}

/// Removes copies and roots.
fn remove_copies(folder: &Path, but: &[PathBuf]) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        if !entry.file_name().to_string_lossy().starts_with(COPY_PREFIX) || but.contains(&path) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(&path)?;
        } else {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

/// Replaces a link in one step.
fn replace_link(link: &Path, target: &Path) -> io::Result<()> {
    let name = link.file_name().unwrap_or_default().to_string_lossy();
    let next = link.with_file_name(format!(".{name}.{}.next", std::process::id()));
    // What an earlier try of a process with this pid has left is of no use.
    let _ = fs::remove_file(&next);
    symlink(target, &next)?;
    fs::rename(&next, link)?;
    atomic::sync_directory_of(link)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_program_of_the_store_has_a_root_of_its_own() {
        let folder = Path::new("/home/me/bin");
        let of = |exe: &str| root(folder, Path::new(exe));
        let one = of("/nix/store/0-one/bin/nixfleet-switch");
        assert_eq!(one, Some(folder.join("nixfleet-switch-0-one.root")));
        assert_ne!(one, of("/nix/store/1-two/bin/nixfleet-switch"));
        assert_eq!(of("/usr/bin/nixfleet-switch"), None);
    }

    #[test]
    fn a_copy_is_made_once_and_an_older_one_stays_for_who_runs_it() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().canonicalize().unwrap();
        let exe = home.join("build");
        let install = |content: &str| {
            fs::write(&exe, content).unwrap();
            put_in_place(&home, &exe).unwrap()
        };
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let (first, changed) = install("one");
        assert!(changed);
        assert_eq!(fs::read_to_string(installed::stable_wrapper(&home)).unwrap(), "one");
        assert_eq!(mode(&first), 0o700);
        assert_eq!(install("one"), (first.clone(), false));

        // As an installation leaves it that was cut before the copy could be run.
        fs::write(&exe, "two").unwrap();
        let cut = copy(&installed::stable_folder(&home), &exe).unwrap();
        fs::set_permissions(&cut, fs::Permissions::from_mode(0o600)).unwrap();
        let (second, changed) = install("two");
        assert_eq!(mode(&second), 0o700);
        assert!(changed && first.exists());
        assert_eq!(fs::read_to_string(installed::stable_wrapper(&home)).unwrap(), "two");
        let (third, _) = install("three");
        assert!(!first.exists() && second.exists() && third.exists());
        // What is at the stable path already installs itself.
        assert_eq!(put_in_place(&home, &third).unwrap(), (third.clone(), false));

        assert!(remove(&home).unwrap());
        assert_eq!(fs::read_dir(installed::stable_folder(&home)).unwrap().count(), 0);
        assert!(!remove(&home).unwrap());
    }

    #[test]
    fn the_watchdogs_program_is_copied_with_the_wrapper() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().canonicalize().unwrap();
        let (exe, watchdog) = (home.join("build"), home.join(WATCHDOG));
        fs::write(&exe, "wrapper").unwrap();
        fs::write(&watchdog, "one").unwrap();
        let (first, _) = put_in_place(&home, &exe).unwrap();
        let beside = first.with_file_name(WATCHDOG);
        assert_eq!(fs::read_to_string(&beside).unwrap(), "one");
        assert_eq!(fs::metadata(&beside).unwrap().permissions().mode() & 0o777, 0o700);

        // Another watchdog is another copy, though the wrapper is the same.
        fs::write(&watchdog, "two").unwrap();
        let (second, changed) = put_in_place(&home, &exe).unwrap();
        assert!(changed && second != first);
        assert_eq!(fs::read_to_string(second.with_file_name(WATCHDOG)).unwrap(), "two");
        assert_eq!(fs::read_to_string(beside).unwrap(), "one");
        // And so is none.
        fs::remove_file(&watchdog).unwrap();
        let (third, changed) = put_in_place(&home, &exe).unwrap();
        assert!(changed && !third.with_file_name(WATCHDOG).exists());
    }
}
