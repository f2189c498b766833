//! Newer inputs for the flake: `nix flake update`, a commit of `flake.lock` alone, and a push where the remote takes it.

use std::{path::Path, process::Command, time::Duration};

use nixfleet_protocol::{
    journal::records::Request,
    operation::{Step, Updated},
    state_dir::StateDir,
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
    let mut command = Command::new("nix");
    command
        .args(["--extra-experimental-features", "nix-command flakes", "flake", "update"])
        .current_dir(&checkout);
    steps::run("nix flake update", &mut command, UPDATE_LIMIT)?;
    performance.begin(Step::Publish)?;
    let updated = publish(&git, &checkout, &request.host)?;
    performance.change(Step::Publish, |steps| steps.updated = Some(updated))?;
    Ok(0)
}

fn is_changed(git: &Git, checkout: &Path) -> Result<bool, StepError> {
    Ok(git.ask(checkout, ["status", "--porcelain", "--", LOCK_FILE])?.is_some())
}

/// Commits what has changed, and pushes it. A push that does not work leaves the commit where it is.
fn publish(git: &Git, checkout: &Path, host: &str) -> Result<Updated, PerformError> {
    if !is_changed(git, checkout)? {
        say("no input has anything new");
        return Ok(Updated { commit: None, not_pushed: None });
    }
    git.run(checkout, ["add", "--", LOCK_FILE], LOCAL_LIMIT)?;
    let (name, mail) =
        (format!("user.name=NixFleet on {host}"), format!("user.email=nixfleet@{host}"));
    let words = ["-c", &name, "-c", &mail, "commit", "--quiet", "-m", MESSAGE, "--", LOCK_FILE];
    git.run(checkout, words, LOCAL_LIMIT)?;
    let commit = git.revision(checkout, "HEAD")?;
    let not_pushed = match git.run(checkout, ["push", "--quiet"], REMOTE_LIMIT) {
        Ok(()) => None,
        Err(error) => {
            let why = with_causes(&error);
            warn(&format!("the update is not pushed: {why}"));
            Some(why)
        }
    };
    Ok(Updated { commit, not_pushed })
}
