//! The generation before this one: which it is, and how it is activated.
//!
//! It is the one that the journal has recorded, by its path in the store, and never what a profile happens to have one
//! number lower: that may be one that was never activated, or one that somebody else has set.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use nixfleet_protocol::{
    journal::{
        records::{Request, SwitchResult},
        store::Journal,
    },
    operation::{Operation, Step},
    switch_kind::SwitchKind,
};

use super::{
    PerformError,
    steps::{self, Performance},
};
use crate::{messages::say, settings::Settings};

/// How long it may take to set the profile.
const SET_LIMIT: Duration = Duration::from_mins(1);

/// The profile of a whole system.
const SYSTEM_PROFILE: &str = "/nix/var/nix/profiles/system";

/// What a rollback runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Commands {
    /// Sets the profile, where activating does not do that itself.
    pub(crate) set: Option<Vec<OsString>>,
    /// Activates.
    pub(crate) activate: Vec<OsString>,
}

/// The generation to go back to, from the results of this host, newest first. Pure.
///
/// It is what was there before the switch that has made `current`. Rollbacks themselves are passed over: a second one goes
/// further back and not forward again.
pub(crate) fn target(results: &[SwitchResult], current: &str) -> Option<String> {
    results
        .iter()
        .filter(|result| result.operation.activates() && result.operation != Operation::Rollback)
        .filter(|result| result.generation_after.as_deref() == Some(current))
        .filter_map(|result| result.generation_before.clone())
        .find(|before| before != current)
}

/// What activates a generation. Pure.
pub(crate) fn commands(kind: SwitchKind, generation: &Path, nix_env: &Path) -> Option<Commands> {
    let set = || {
        let words = ["-p", SYSTEM_PROFILE, "--set"].map(OsString::from);
        [OsString::from(nix_env)].into_iter().chain(words).chain([generation.into()]).collect()
    };
    match kind {
        // Called without a driver's version it sets the profile itself, in every release.
        SwitchKind::HomeManager => {
            Some(Commands { set: None, activate: vec![generation.join("activate").into()] })
        }
        SwitchKind::NixosRebuild => Some(Commands {
            set: Some(set()),
            activate: vec![generation.join("bin/switch-to-configuration").into(), "switch".into()],
        }),
        SwitchKind::DarwinRebuild => {
            Some(Commands { set: Some(set()), activate: vec![generation.join("activate").into()] })
        }
        SwitchKind::Command => None,
    }
}

/// Where to go back to, and that it can be gone to; else why not.
pub(crate) fn find(settings: &Settings, journal: &Journal) -> Result<PathBuf, String> {
    let Some(current) = settings.switching.links.read().profile else {
        return Err(
            "nothing is known of the generation that is set, so there is none before it".to_owned()
        );
    };
    let ids = journal.switch_ids().map_err(|error| crate::messages::with_causes(&error))?;
    let results: Vec<SwitchResult> =
        ids.into_iter().rev().filter_map(|id| journal.entry(id).result.present()).collect();
    let Some(before) = target(&results, &current) else {
        return Err(format!(
            "no switch is recorded that has made {current} of another generation; set one by hand"
        ));
    };
    let generation = PathBuf::from(before);
    if generation.is_dir() {
        Ok(generation)
    } else {
        Err(format!(
            "{} is not in the store any more; it was collected as garbage",
            generation.display()
        ))
    }
}

/// Sets the profile where that is a step of its own, then becomes what activates. `last` is both, parted by `--then`.
pub(super) fn run(
    settings: &Settings,
    request: &Request,
    last: &[OsString],
    performance: &mut Performance,
) -> Result<u8, PerformError> {
    performance.begin(Step::Activate)?;
    let (set, activate) = part(last);
    if let Some(before) = settings.switching.links.read().profile {
        say(&format!("going back from {before}"));
    }
    if let Some((program, arguments)) = set.split_first() {
        steps::run("setting the profile", Command::new(program).args(arguments), SET_LIMIT)?;
    }
    super::become_last(request, activate)
}

/// What parts the two commands.
pub(crate) const THEN: &str = "--then";

fn part(words: &[OsString]) -> (&[OsString], &[OsString]) {
    match words.iter().position(|word| word == THEN) {
        Some(place) => (&words[..place], words.get(place + 1..).unwrap_or_default()),
        None => (&[], words),
    }
}
