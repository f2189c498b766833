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

/// What activates a generation of this profile; nothing where that is not known. Pure.
pub(crate) fn commands(
    kind: SwitchKind,
    generation: &Path,
    profile: Option<&Path>,
    nix_env: &Path,
) -> Option<Commands> {
    let profile = profile?;
    let set = || {
        let words = [nix_env, Path::new("-p"), profile, Path::new("--set"), generation];
        words.map(OsString::from).to_vec()
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

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use nixfleet_protocol::journal::records::{Activation, FORMAT, Initiator, Outcome, SwitchId};

    use super::*;

    fn result(operation: Operation, before: Option<&str>, after: Option<&str>) -> SwitchResult {
        SwitchResult {
            format: FORMAT,
            id: SwitchId::generate(),
            outcome: Outcome::Succeeded,
            exit_code: Some(0),
            signal: None,
            started_at: Timestamp::UNIX_EPOCH,
            finished_at: Timestamp::UNIX_EPOCH,
            duration_ms: 0,
            operation,
            kind: SwitchKind::default(),
            argv: Vec::new(),
            initiator: Initiator::User,
            generation_before: before.map(str::to_owned),
            generation_after: after.map(str::to_owned),
            activation: Activation::Complete,
            output_bytes: 0,
            output_tail: String::new(),
            wrapper_version: "1".to_owned(),
            host: "h".to_owned(),
            steps: None,
            note: None,
        }
    }

    #[test]
    fn the_generation_before_is_that_of_the_switch_that_has_made_this_one() {
        use Operation::{Pull, PullSwitch, Rollback, Switch};
        let of = |operation, before, after| result(operation, Some(before), Some(after));
        for (newest_first, current, expected) in [
            (vec![], "2", None),
            (vec![of(Switch, "1", "2")], "2", Some("1")),
            (vec![of(PullSwitch, "1", "2")], "2", Some("1")),
            // One that has changed nothing says nothing.
            (vec![of(Switch, "2", "2"), of(Switch, "1", "2")], "2", Some("1")),
            // A second rollback goes further back.
            (
                vec![of(Rollback, "3", "2"), of(Switch, "2", "3"), of(Switch, "1", "2")],
                "2",
                Some("1"),
            ),
            (vec![of(Rollback, "2", "1"), of(Switch, "1", "2")], "1", None),
            // The newest way to it counts.
            (vec![of(Switch, "5", "2"), of(Switch, "1", "2")], "2", Some("5")),
            (vec![of(Pull, "1", "2")], "2", None),
            (vec![result(Switch, None, Some("2"))], "2", None),
            (vec![result(Switch, Some("1"), None)], "2", None),
        ] {
            let found = target(&newest_first, current);
            assert_eq!(found.as_deref(), expected, "{newest_first:?} {current}");
        }
    }

    #[test]
    fn each_kind_is_activated_in_its_way() {
        let of = |kind, profile: Option<&str>| {
            let profile = profile.map(Path::new);
            let commands =
                commands(kind, Path::new("/store/g"), profile, Path::new("/bin/nix-env"))?;
            let line = |words: &[OsString]| words.join(" ".as_ref()).into_string().unwrap();
            Some((commands.set.as_deref().map(line), line(&commands.activate)))
        };
        let set = Some("/bin/nix-env -p /profile --set /store/g".to_owned());
        for (kind, expected) in [
            (SwitchKind::HomeManager, Some((None, "/store/g/activate".to_owned()))),
            (
                SwitchKind::NixosRebuild,
                Some((set.clone(), "/store/g/bin/switch-to-configuration switch".to_owned())),
            ),
            (SwitchKind::DarwinRebuild, Some((set, "/store/g/activate".to_owned()))),
            (SwitchKind::Command, None),
        ] {
            assert_eq!(of(kind, Some("/profile")), expected, "{kind}");
            assert_eq!(of(kind, None), None, "{kind}");
        }
    }

    #[test]
    fn two_commands_are_parted() {
        let words = |line: &str| line.split(' ').map(OsString::from).collect::<Vec<_>>();
        let both = words("a b --then c d");
        assert_eq!(part(&both), (&both[..2], &both[3..]));
        let one = words("c d");
        assert_eq!(part(&one), (&[][..], &one[..]));
    }
}
