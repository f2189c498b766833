//! Newer inputs for the flake: `nix flake update`, a commit of `flake.lock` alone, and a push where the remote takes it.

use std::{fs, path::Path, process::Command, time::Duration};

use nixfleet_protocol::{
    journal::records::Request,
    operation::{Step, Updated},
    state_dir::StateDir,
    switch_settings::Repository,
};

use super::{
    PerformError, checkout,
    git::{Git, LOCAL_LIMIT, REMOTE_LIMIT},
    steps::{self, Performance, StepError},
};
use crate::{
    messages::{say, warn, with_causes},
    settings::Settings,
};

/// How long the inputs may take.
const UPDATE_LIMIT: Duration = Duration::from_mins(10);

/// What is updated.
const LOCK_FILE: &str = "flake.lock";

/// The commit's message.
const MESSAGE: &str = "flake.lock: update inputs";

/// Updates. Our own clone is brought up to date before, so that what is pushed follows what is there.
pub(super) fn run(
    settings: &Settings,
    directory: &StateDir,
    request: &Request,
    performance: &mut Performance,
) -> Result<u8, PerformError> {
    let repository = settings.switching.repository.as_ref();
    checkout::pull(settings, directory, request, performance)?;
    performance.begin(Step::Update)?;
    let checkout = checkout::place(settings, directory, request);
    let git = Git::find(repository, &checkout)?;
    if !checkout.join("flake.nix").is_file() {
        let place = checkout.display();
        return Err(PerformError::Impossible(format!("there is no flake.nix in {place}")));
    }
    if is_changed(&git, &checkout)? {
        return Err(PerformError::Impossible(format!(
            "{LOCK_FILE} in {} has changes that nobody has committed; commit or drop them",
            checkout.display()
        )));
    }
    let before = fs::read(checkout.join(LOCK_FILE)).ok();
    let commit = renew(&git, &checkout, &request.host, performance).inspect_err(|_failed| {
        // Else the next update would find changes that nobody has committed.
        restore(&git, &checkout, before.as_deref());
    })?;
    let not_pushed = match &commit {
        Some(_) => push(&git, &checkout, repository),
        None => None,
    };
    if not_pushed.is_some() && repository.is_none() && has_diverged(&git, &checkout) {
        git.run(&checkout, ["reset", "--quiet", "--soft", "HEAD~1"], LOCAL_LIMIT)?;
        restore(&git, &checkout, before.as_deref());
        return Err(PerformError::Impossible(
            "the remote has moved while the inputs were updated, so the update was taken back; ask for it again"
                .to_owned(),
        ));
    }
    performance.change(Step::Publish, |steps| {
        steps.updated = Some(Updated { commit, not_pushed });
    })?;
    Ok(0)
}

fn is_changed(git: &Git, checkout: &Path) -> Result<bool, StepError> {
    Ok(git.ask(checkout, ["status", "--porcelain", "--", LOCK_FILE])?.is_some())
}

/// Updates and commits what has changed, that file alone. Nothing where there is nothing new.
fn renew(
    git: &Git,
    checkout: &Path,
    host: &str,
    performance: &mut Performance,
) -> Result<Option<String>, PerformError> {
    let mut command = Command::new("nix");
    command
        .args(["--extra-experimental-features", "nix-command flakes", "flake", "update"])
        .current_dir(checkout);
    steps::run("nix flake update", &mut command, UPDATE_LIMIT)?;
    performance.begin(Step::Publish)?;
    if !is_changed(git, checkout)? {
        say("no input has anything new");
        return Ok(None);
    }
    git.run(checkout, ["add", "--", LOCK_FILE], LOCAL_LIMIT)?;
    let (name, mail) =
        (format!("user.name=NixFleet on {host}"), format!("user.email=nixfleet@{host}"));
    let words = ["-c", &name, "-c", &mail, "commit", "--quiet", "-m", MESSAGE, "--", LOCK_FILE];
    git.run(checkout, words, LOCAL_LIMIT)?;
    Ok(git.revision(checkout, "HEAD")?)
}

/// Puts the file back as it was.
fn restore(git: &Git, checkout: &Path, before: Option<&[u8]>) {
    let path = checkout.join(LOCK_FILE);
    let written = match before {
        Some(before) => fs::write(&path, before),
        None if path.exists() => fs::remove_file(&path),
        None => Ok(()),
    };
    if let Err(error) = written {
        warn(&format!("cannot put {} back as it was: {error}", path.display()));
    }
    // Where it was not added yet there is nothing to take back.
    let _ = git.run(checkout, ["reset", "--quiet", "--", LOCK_FILE], LOCAL_LIMIT);
}

/// Pushes the commit; why not, if not. Then it stays where it is.
fn push(git: &Git, checkout: &Path, repository: Option<&Repository>) -> Option<String> {
    let pushed = match repository {
        // Named, for our clone may follow a branch that git has no upstream for.
        Some(repository) => {
            let what = format!("HEAD:refs/heads/{}", repository.branch);
            git.run(
                checkout,
                ["push", "--quiet", "--no-follow-tags", "origin", &what],
                REMOTE_LIMIT,
            )
        }
        None => match own_commits(git, checkout) {
            Ok(false) => git.run(checkout, ["push", "--quiet"], REMOTE_LIMIT),
            Ok(true) => {
                let why = "there are commits in the checkout that were never pushed, and that is for whoever made them to do";
                warn(&format!("the update is not pushed: {why}"));
                return Some(why.to_owned());
            }
            Err(error) => Err(error),
        },
    };
    let why = with_causes(&pushed.err()?);
    warn(&format!("the update is not pushed: {why}"));
    Some(why)
}

/// Whether the remote has what a given checkout has not: with our commit in it, nothing would bring it forward any more.
fn has_diverged(git: &Git, checkout: &Path) -> bool {
    let what_is_new = ["rev-list", "--count", "HEAD..@{upstream}"];
    git.run(checkout, ["fetch", "--quiet"], REMOTE_LIMIT).is_ok()
        && git.ask(checkout, what_is_new).is_ok_and(|count| count.is_some_and(|count| count != "0"))
}

/// Whether a given checkout has commits of its person's that are not at the remote: pushing ours would publish them too.
fn own_commits(git: &Git, checkout: &Path) -> Result<bool, StepError> {
    let ours = format!("--grep=^{MESSAGE}$");
    let words = ["rev-list", "--count", "--invert-grep", &ours, "@{upstream}..HEAD"];
    Ok(git.ask(checkout, words)?.is_some_and(|count| count != "0"))
}
