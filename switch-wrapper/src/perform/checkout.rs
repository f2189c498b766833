//! Bringing the checkout up to date: our own clone of `repo_url`, or one that was given.
//!
//! Our own is nobody else's: it is set to what the branch is at the remote, whatever stood there. Where that cannot be done,
//! since it is another repository's, or broken, a new one is made beside it and takes its place in one step; so there is
//! a whole checkout at every moment but the first. A given one is a person's, and is only ever brought forward.

use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use nixfleet_protocol::{
    journal::records::Request,
    operation::{Pulled, Step, short},
    state_dir::StateDir,
    switch_settings::Repository,
};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::{
    PerformError,
    git::{CLONE_LIMIT, Git, LOCAL_LIMIT, REMOTE_LIMIT},
    steps::{self, Performance, StepError},
};
use crate::{
    messages::{say, warn, with_causes},
    settings::Settings,
};

/// So many of the commits that a pull has brought are shown.
const SHOWN_COMMITS: &str = "20";

/// Removes what is not the repository's.
const CLEAN: [&str; 3] = ["clean", "--quiet", "-ffdx"];

/// Where the checkout is that an operation of this request is about.
pub(super) fn place(settings: &Settings, directory: &StateDir, request: &Request) -> PathBuf {
    if settings.switching.repository.is_some() {
        return directory.checkout();
    }
    // What is switched to is what is to be pulled and tested.
    let flake = settings.switching.command.flake.as_ref().map(PathBuf::from);
    let is_folder = |flake: &PathBuf| flake.is_absolute() && flake.is_dir();
    flake.filter(is_folder).unwrap_or_else(|| request.cwd.clone())
}

/// Brings it up to date.
pub(super) fn pull(
    settings: &Settings,
    directory: &StateDir,
    request: &Request,
    performance: &mut Performance,
) -> Result<(), PerformError> {
    performance.begin(Step::Pull)?;
    let repository = settings.switching.repository.as_ref();
    let checkout = place(settings, directory, request);
    let git = Git::find(repository, &checkout)?;
    let pulled = match repository {
        Some(repository) => Own { git: &git, directory, repository }.pull()?,
        None => pull_given(&git, &checkout)?,
    };
    show(&git, &checkout, &pulled);
    performance.change(Step::Pull, |steps| steps.pulled = Some(pulled))?;
    Ok(())
}

/// Says what has come.
fn show(git: &Git, checkout: &Path, pulled: &Pulled) {
    let after = short(&pulled.after);
    match &pulled.before {
        Some(before) if *before == pulled.after => say(&format!("already up to date at {after}")),
        Some(before) => {
            say(&format!("{}..{after}", short(before)));
            let range = format!("{before}..{}", pulled.after);
            let words = ["log", "--oneline", "--no-decorate", "--max-count", SHOWN_COMMITS, &range];
            // Only for people; where the history was rewritten there may be none.
            let _ = git.run(checkout, words, LOCAL_LIMIT);
        }
        None => say(&format!("at {after}")),
    }
}

/// A checkout that somebody else looks after, too.
fn pull_given(git: &Git, checkout: &Path) -> Result<Pulled, PerformError> {
    if let Some(why) = git.why_no_checkout(checkout)? {
        return Err(PerformError::Impossible(format!(
            "there is nothing to pull: repo_url is not set, and {} is not a checkout of a git repository ({why}); set repo_url, or flake to a checkout",
            checkout.display()
        )));
    }
    let before = git.revision(checkout, "HEAD")?;
    // An earlier git would still rebase, where a person has set `pull.rebase`.
    git.run(checkout, ["pull", "--no-rebase", "--ff-only"], REMOTE_LIMIT)?;
    Ok(Pulled { before, after: head(git, checkout)?, is_fresh: false })
}

fn head(git: &Git, checkout: &Path) -> Result<String, PerformError> {
    git.revision(checkout, "HEAD")?.ok_or_else(|| {
        let place = checkout.display();
        PerformError::Impossible(format!("git does not say at which revision {place} is"))
    })
}

/// What stands where our own clone is to be.
#[derive(Debug, PartialEq, Eq)]
enum Standing {
    Nothing,
    /// No git repository, or none of its own.
    Other,
    /// A clone of another repository.
    Elsewhere,
    Ours,
}

/// Our own clone.
struct Own<'a> {
    git: &'a Git,
    directory: &'a StateDir,
    repository: &'a Repository,
}

impl Own<'_> {
    fn pull(&self) -> Result<Pulled, PerformError> {
        self.clear_up()?;
        let checkout = self.directory.checkout();
        let why = match self.standing()? {
            Standing::Nothing => return self.clone(None),
            Standing::Other => "is no git repository",
            Standing::Elsewhere => "is a clone of another repository",
            Standing::Ours => {
                let before = self.git.revision(&checkout, "HEAD").ok().flatten();
                match self.follow(&checkout) {
                    Ok(()) => {
                        return Ok(Pulled {
                            before,
                            after: head(self.git, &checkout)?,
                            is_fresh: false,
                        });
                    }
                    Err(error) if !is_too_long(&error) && self.is_reachable() => {
                        warn(&with_causes(&error));
                        "cannot be brought up to date"
                    }
                    Err(error) => {
                        self.go_back(&checkout);
                        return Err(error);
                    }
                }
            }
        };
        say(&format!("{} {why}; making a new one", checkout.display()));
        let before = self.git.revision(&checkout, "HEAD").ok().flatten();
        self.clone(before).inspect_err(|_failed| self.go_back(&checkout))
    }

    /// What an earlier pull has left that was killed.
    fn clear_up(&self) -> Result<(), PerformError> {
        let (checkout, old) = (self.directory.checkout(), self.directory.old_checkout());
        if !is_there(&checkout) && is_there(&old) {
            fs::rename(&old, &checkout).map_err(|source| files("put back", &checkout, source))?;
        }
        remove(&old)?;
        remove(&self.directory.new_checkout())
    }

    fn standing(&self) -> Result<Standing, PerformError> {
        let checkout = self.directory.checkout();
        if !is_there(&checkout) {
            return Ok(Standing::Nothing);
        }
        // A link or a folder inside of another repository is not ours to reset.
        let is_folder = |path: &Path| fs::symlink_metadata(path).is_ok_and(|found| found.is_dir());
        if !is_folder(&checkout) || !is_folder(&checkout.join(".git")) {
            return Ok(Standing::Other);
        }
        let words = ["config", "--local", "--get", "remote.origin.url"];
        let remote = self.git.ask(&checkout, words)?;
        Ok(match remote {
            Some(remote) if remote == self.repository.url => Standing::Ours,
            Some(_) => Standing::Elsewhere,
            None => Standing::Other,
        })
    }

    /// Fetches the branch and sets the checkout to it.
    fn follow(&self, checkout: &Path) -> Result<(), PerformError> {
        let branch = &self.repository.branch;
        let remote = format!("refs/remotes/origin/{branch}");
        let fetched = format!("+refs/heads/{branch}:{remote}");
        self.git.run(checkout, ["fetch", "--prune", "origin", &fetched], REMOTE_LIMIT)?;
        self.begin_change()?;
        // `checkout` makes the branch that is followed now, `reset` throws away what stands on it.
        let words = ["checkout", "--quiet", "--force", "-B", branch, &remote];
        self.git.run(checkout, words, LOCAL_LIMIT)?;
        self.git.run(checkout, ["reset", "--quiet", "--hard", &remote], LOCAL_LIMIT)?;
        // What nobody has committed would be a part of the checkout all the same: a test, for one.
        self.git.run(checkout, CLEAN, LOCAL_LIMIT)?;
        self.end_change()
    }

    /// From here on the files are of two revisions, until [`Self::end_change`]. Whoever wants to switch to them in between
    /// pulls first.
    fn begin_change(&self) -> Result<(), PerformError> {
        let path = self.directory.checkout_in_change();
        fs::write(&path, "").map_err(|source| files("create", &path, source))
    }

    fn end_change(&self) -> Result<(), PerformError> {
        remove(&self.directory.checkout_in_change())
    }

    /// After a change that was not to be, now or in a pull that was killed, and no new clone either: the files of the
    /// revision that was there.
    fn go_back(&self, checkout: &Path) {
        if self.directory.checkout_in_change().exists() {
            // Of a git that was killed: under the switch lock no other is at work here.
            let _ = fs::remove_file(checkout.join(".git/index.lock"));
            // First what is new: it may be what the disk is full of.
            let cleaned = self.git.run(checkout, CLEAN, LOCAL_LIMIT);
            let words = ["reset", "--quiet", "--hard"];
            let reset = cleaned.and_then(|()| self.git.run(checkout, words, LOCAL_LIMIT));
            // Else the next switch pulls first.
            if reset.is_ok() {
                let _ = self.end_change();
            }
        }
    }

    /// Whether the remote has the branch, as far as can be seen without the clone: then the clone is at fault.
    fn is_reachable(&self) -> bool {
        let branch = format!("refs/heads/{}", self.repository.branch);
        let words = ["ls-remote", "--exit-code", "--quiet", &self.repository.url, &branch];
        self.git.run(self.directory.root(), words, REMOTE_LIMIT).is_ok()
    }

    /// Makes a new clone beside, and puts it in place.
    fn clone(&self, before: Option<String>) -> Result<Pulled, PerformError> {
        let new = self.directory.new_checkout();
        let words = [
            "clone",
            "--template=",
            "--origin=origin",
            "--single-branch",
            "--branch",
            &self.repository.branch,
            "--",
            &self.repository.url,
        ];
        say(&format!("cloning {} ({})", self.repository.url, self.repository.branch));
        let mut command = self.git.call(self.directory.root());
        command.args(words).arg(&new);
        if let Err(error) = steps::run("git clone", &mut command, CLONE_LIMIT) {
            // A disk that is full should be so no longer than necessary.
            let _ = remove(&new);
            return Err(error.into());
        }
        put_in_place(&new, &self.directory.checkout(), &self.directory.old_checkout())
            .map_err(|source| files("put in place", &self.directory.checkout(), source))?;
        self.end_change()?;
        self.clear_up()?;
        let after = head(self.git, &self.directory.checkout())?;
        Ok(Pulled { before, after, is_fresh: true })
    }
}

const fn is_too_long(error: &PerformError) -> bool {
    matches!(error, PerformError::Step(StepError::TooLong { .. }))
}

/// Puts the new one where the other is, in one step where the file system can.
fn put_in_place(new: &Path, place: &Path, old: &Path) -> io::Result<()> {
    if !is_there(place) {
        return fs::rename(new, place);
    }
    match renameat_with(CWD, new, CWD, place, RenameFlags::EXCHANGE) {
        // What was there is at `new` now.
        Ok(()) => Ok(()),
        // A pull that is killed between these two finds the old one again.
        Err(_cannot_exchange) => {
            fs::rename(place, old)?;
            fs::rename(new, place)
        }
    }
}

fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

fn remove(path: &Path) -> Result<(), PerformError> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path).or_else(|_denied| {
            // A folder that its owner may not write, as some programs leave them, keeps what is in it.
            make_writable(path);
            fs::remove_dir_all(path)
        }),
        Ok(_) => fs::remove_file(path),
        Err(_gone) => return Ok(()),
    };
    removed.map_err(|source| files("remove", path, source))
}

/// Every folder, as far as it is ours. What could not be changed shows when it is removed.
fn make_writable(folder: &Path) {
    let _ = fs::set_permissions(folder, Permissions::from_mode(0o700));
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        // Of the entry itself: a link is not followed.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            make_writable(&entry.path());
        }
    }
}

fn files(action: &'static str, path: &Path, source: io::Error) -> PerformError {
    PerformError::Files { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_checkout_takes_the_place_of_the_old_one() {
        let temporary = tempfile::tempdir().unwrap();
        let path = |name: &str| temporary.path().join(name);
        let made = |name: &str| {
            fs::create_dir(path(name)).unwrap();
            fs::write(path(name).join("which"), name).unwrap();
        };
        let which = || fs::read_to_string(path("place/which")).unwrap();
        made("first");
        put_in_place(&path("first"), &path("place"), &path("old")).unwrap();
        assert_eq!(which(), "first");
        made("second");
        put_in_place(&path("second"), &path("place"), &path("old")).unwrap();
        assert_eq!(which(), "second");
    }

    #[test]
    fn folders_that_may_not_be_written_are_removed_too() {
        let temporary = tempfile::tempdir().unwrap();
        let (folder, elsewhere) = (temporary.path().join("folder"), temporary.path().join("else"));
        let inner = folder.join("a/b");
        fs::create_dir_all(&inner).unwrap();
        fs::create_dir(&elsewhere).unwrap();
        fs::write(inner.join("file"), "").unwrap();
        std::os::unix::fs::symlink(&elsewhere, inner.join("link")).unwrap();
        let set = |path: &Path, mode| {
            fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        };
        set(&elsewhere, 0o500);
        set(&inner, 0o500);
        set(&folder.join("a"), 0);
        remove(&folder).unwrap();
        assert!(!is_there(&folder));
        assert_eq!(elsewhere.metadata().unwrap().permissions().mode() & 0o777, 0o500);
    }
}
