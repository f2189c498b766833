//! What a switch would change: the generation is built, nothing is set or activated, and the two are compared.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use nixfleet_protocol::{journal::records::Request, operation::Step, state_dir::StateDir};

use super::{
    PerformError, checkout,
    steps::{self, Performance},
};
use crate::{messages::say, settings::Settings};

/// How long the comparison may take.
const COMPARE_LIMIT: Duration = Duration::from_mins(5);

/// The link that a build leaves where it runs.
const LINK: &str = "result";

/// Builds and compares. `build` is the command of the build.
pub(super) fn run(
    settings: &Settings,
    directory: &StateDir,
    request: &Request,
    build: &[OsString],
    performance: &mut Performance,
) -> Result<u8, PerformError> {
    if settings.switching.is_from_checkout && !directory.has_whole_checkout() {
        checkout::pull(settings, directory, request, performance)?;
    }
    performance.begin(Step::Build)?;
    let folder = directory.switch(request.id).build();
    let new_generation = build_in(&folder, build, settings.timeout);
    let outcome = new_generation.and_then(|new| {
        performance.begin(Step::Compare)?;
        compare(settings.switching.links.read().profile.as_deref(), &new)
    });
    // The link in it keeps what was built from being collected as garbage.
    let _ = fs::remove_dir_all(&folder);
    outcome.map(|()| 0)
}

fn build_in(folder: &Path, build: &[OsString], limit: Duration) -> Result<PathBuf, PerformError> {
    let failed =
        |action| move |source| PerformError::Files { action, path: folder.to_owned(), source };
    fs::create_dir_all(folder).map_err(failed("create"))?;
    let Some((program, arguments)) = build.split_first() else {
        return Err(PerformError::Impossible("there is no program to build with".to_owned()));
    };
    steps::run("the build", Command::new(program).args(arguments).current_dir(folder), limit)?;
    folder.join(LINK).canonicalize().map_err(failed("find what was built in"))
}

fn compare(current: Option<&str>, new: &Path) -> Result<(), PerformError> {
    let Some(current) = current else {
        say("there is no generation yet to compare with: everything would be new");
        return Ok(());
    };
    if Path::new(current) == new {
        say("nothing would change");
        return Ok(());
    }
    say(&format!("{current} would become {}", new.display()));
    let mut command = Command::new("nix");
    command
        .args(["--extra-experimental-features", "nix-command", "store", "diff-closures"])
        .args([Path::new(current), new]);
    Ok(steps::run("nix store diff-closures", &mut command, COMPARE_LIMIT)?)
}
