//! home-manager's own definition of the agent, on disk again while home-manager switches.
//!
//! Going back to what worked puts another file in its place. home-manager 22.05 to 24.11 refuses every switch then: before
//! it writes anything, and in a dry run too, a file in the place of an agent has to be that of the generation in the
//! profile, byte for byte (`checkLaunchAgents` in its modules/launchd/default.nix; gone since 2025-03-18, before 25.05). And
//! every release lets a file that differs lie where an agent is to be taken away, so that it would come back.
//!
//! So going back writes down the digest of what it puts there (`restored.json`; this crate is its only writer). Where the
//! file still is that one when a switch begins, the definition of the generation in the profile takes its place: the file
//! alone, for what is loaded goes on as it is. A file that is not ours by that digest is never touched. Then:
//!
//! - home-manager has put another file there, or none: that one counts, and the record goes.
//! - It has come to its end and left the file as it is: it wants that definition. The record goes, and the agent is loaded
//!   with it anew, as after a switch that has written the file. If it still cannot run, what worked goes back once more.
//! - It has failed, has only shown what it would do, or nobody knows how it ended: the file is known not to work.
//!   Whoever looks after the agent next puts what worked back before anything else, and so finds loaded what is on disk.
//!
//! **What if we die.** The record is written before the file, at each step, and a record whose digests fit no file means
//! nothing. A wrapper that dies while home-manager's own file is there leaves the agent at work under what worked; the next
//! look-after, which whoever closes the switch asks for, puts that back. A reboot or a login in between loads the file that
//! does not work: no agent comes up, the watchdog misses it, and its look-after begins the same way, within the minute.
//! That is why the file is there for home-manager's run alone. When in it the file is looked at, nobody outside can tell.
//!
//! Where nothing can be written, on a full disk, home-manager's file stays, and an agent that is at work goes on with what
//! launchd has loaded; it sees that this is not what is on disk, and asks again.
//!
//! A look-after beside a switch that runs leaves all as it is while the agent is at work: the watchdog may ask for one just
//! to have kept what works. An agent that is missing comes first: then home-manager's file has to go, that switch may
//! fail, and the next one does not.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use nixfleet_protocol::{
    crash_point::{self, CrashPoint},
    digest,
    generations::GenerationLinks,
    journal::{
        atomic,
        lock::{self, Lock, LockState},
        read,
        records::RestoredDefinition,
    },
    state_dir::StateDir,
    switch_kind::SwitchKind,
};

use super::{
    LOCK_LIMIT, definition,
    last_good::{LastGood, put_in_place},
    steps::Steps,
};
use crate::{
    messages::{warn, with_causes},
    settings::{ServiceManager, Settings},
};

/// Whose the file on disk is, by the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    /// What going back has put there.
    Ours,
    /// home-manager's own, which was put there for a switch.
    Originals,
    /// Somebody else's, or there is none: the record is of the past.
    Others,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    Nothing,
    /// The record says nothing any more.
    Forget,
    /// home-manager's own file, in the place of ours.
    PutOriginal,
    /// What worked, in the place of home-manager's own.
    PutWhatWorked,
    /// Nothing at all, and nothing to the agent's job either.
    LeaveAlone,
}

/// What a look-after finds on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// The file that counts.
    WhatCounts,
    /// home-manager's own, which a switch that runs may need.
    LentToASwitch,
    /// home-manager's own, and nothing can be put in its place.
    Stuck,
}

fn whose(record: &RestoredDefinition, place: &Path, on_disk: Option<&str>) -> Whose {
    match on_disk {
        _ if record.path != place => Whose::Others,
        Some(digest) if digest == record.digest => Whose::Ours,
        Some(digest) if record.original_digest.as_deref() == Some(digest) => Whose::Originals,
        Some(_) | None => Whose::Others,
    }
}

/// Before home-manager runs, given the digest of what its generation has.
fn before(whose: Whose, on_disk: Option<&str>, original: Option<&str>) -> Deed {
    match (whose, original) {
        (Whose::Others, _) => Deed::Forget,
        // It is home-manager's own by now.
        (Whose::Ours, Some(original)) if on_disk == Some(original) => Deed::Forget,
        (Whose::Originals, Some(original)) if on_disk == Some(original) => Deed::Nothing,
        // The profile may lead to another generation since the wrapper of an earlier switch was killed.
        (Whose::Ours | Whose::Originals, Some(_)) => Deed::PutOriginal,
        (Whose::Ours | Whose::Originals, None) => Deed::Nothing,
    }
}

/// After home-manager has run.
const fn after(whose: Whose, has_switched: bool) -> Deed {
    match whose {
        Whose::Originals if has_switched => Deed::Forget,
        Whose::Originals | Whose::Ours => Deed::Nothing,
        Whose::Others => Deed::Forget,
    }
}

/// Before the agent is looked after, whatever the reason; `may_wait` if a switch runs and the agent is at work.
const fn at_look_after(whose: Whose, may_wait: bool) -> Deed {
    match whose {
        Whose::Originals if may_wait => Deed::LeaveAlone,
        Whose::Originals => Deed::PutWhatWorked,
        Whose::Ours => Deed::Nothing,
        Whose::Others => Deed::Forget,
    }
}

/// Puts home-manager's own definition where ours is. Nothing hangs on it but the switch: what goes wrong is a warning.
pub(crate) fn before_switch(settings: &Settings) {
    with_record(settings, |directory, record, on_disk| {
        let original = original(settings);
        let own_digest = original.as_deref().map(digest::of);
        let whose = whose(record, &settings.agent_plist, on_disk);
        match (before(whose, on_disk, own_digest.as_deref()), original) {
            (Deed::PutOriginal, Some(content)) => {
                let next = RestoredDefinition {
                    original_digest: own_digest,
                    written_at: Timestamp::now(),
                    ..record.clone()
                };
                write(directory, &next)?;
                put_in_place(&settings.agent_plist, &content).map_err(|error| {
                    let plist = settings.agent_plist.display();
                    format!("cannot put home-manager's own definition at {plist}: {error}")
                })?;
                crash_point::reached(CrashPoint::WrapperOriginalBack);
                Ok(())
            }
            (Deed::Forget, _) => forget(directory),
            (Deed::Nothing | Deed::PutOriginal | Deed::PutWhatWorked | Deed::LeaveAlone, _) => {
                Ok(())
            }
        }
    });
}

/// Takes note of what home-manager has made of it; the look-after that follows acts on that.
///
/// `has_switched`: home-manager came to its end, and was to do something. It is asked only where that matters.
pub(crate) fn after_switch(settings: &Settings, has_switched: impl FnOnce() -> bool) {
    with_record(settings, |directory, record, on_disk| {
        match after(whose(record, &settings.agent_plist, on_disk), has_switched()) {
            Deed::Forget => forget(directory),
            Deed::Nothing | Deed::PutOriginal | Deed::PutWhatWorked | Deed::LeaveAlone => Ok(()),
        }
    });
}

/// Puts what worked back where home-manager's own was left for a switch. Under `ensure.lock`.
pub(super) fn before_look_after(
    settings: &Settings,
    directory: &StateDir,
    last_good: &LastGood,
    is_at_work: impl FnOnce() -> bool,
    steps: &mut Steps,
) -> Found {
    let Some(record) = recorded(directory) else { return Found::WhatCounts };
    let plist = &settings.agent_plist;
    let on_disk = match look(plist) {
        Ok(on_disk) => on_disk,
        Err(why) => {
            steps.note("restore", why);
            return Found::WhatCounts;
        }
    };
    let whose = whose(&record, plist, on_disk.as_deref());
    let may_wait = whose == Whose::Originals && is_beside_a_switch(directory) && is_at_work();
    match at_look_after(whose, may_wait) {
        Deed::LeaveAlone => Found::LentToASwitch,
        Deed::PutWhatWorked => match put_what_worked(plist, last_good, on_disk, steps) {
            Ok(()) => Found::WhatCounts,
            Err(error) => {
                let plist = plist.display();
                steps.note("restore", format!("no definition can be put at {plist}: {error}"));
                Found::Stuck
            }
        },
        Deed::Forget => {
            if let Err(why) = forget(directory) {
                steps.note("forget-restored", why);
            }
            Found::WhatCounts
        }
        Deed::Nothing | Deed::PutOriginal => Found::WhatCounts,
    }
}

fn put_what_worked(
    plist: &Path,
    last_good: &LastGood,
    on_disk: Option<String>,
    steps: &mut Steps,
) -> io::Result<()> {
    // On disk is what counts. Where it cannot be written down, the record has the digests of the last time.
    let note = |original, steps: &mut Steps| {
        if let Err(error) = last_good.note_restoring(plist, original) {
            steps.note("note-restored", with_causes(&error));
        }
    };
    note(on_disk, steps);
    last_good.restore_to(plist)?;
    crash_point::reached(CrashPoint::EnsureOriginalGone);
    // From now on a file like home-manager's own is one that home-manager has put there.
    note(None, steps);
    let said = format!("the last definition that worked is back at {}", plist.display());
    steps.note("restore", said);
    Ok(())
}

/// Whether another process has a switch at work. After its own, the wrapper itself still holds the lock.
fn is_beside_a_switch(directory: &StateDir) -> bool {
    match lock::look(&directory.switch_lock()) {
        Ok(LockState::Held(Some(holder))) => holder.process.pid != std::process::id(),
        Ok(LockState::Held(None) | LockState::Free) | Err(_) => false,
    }
}

/// Does it under `ensure.lock`, where there is a record at all.
fn with_record(
    settings: &Settings,
    deed: impl FnOnce(&StateDir, &RestoredDefinition, Option<&str>) -> Result<(), String>,
) {
    if settings.service_manager != ServiceManager::Launchd {
        return;
    }
    let done = StateDir::look(&settings.state_dir).map_err(|error| with_causes(&error)).and_then(
        |directory| {
            if recorded(&directory).is_none() {
                return Ok(());
            }
            let lock = Lock::take_within(&directory.ensure_lock(), LOCK_LIMIT);
            let _lock = lock.map_err(|error| with_causes(&error))?;
            // Whoever had the lock may have changed it.
            let Some(record) = recorded(&directory) else { return Ok(()) };
            let on_disk = look(&settings.agent_plist)?;
            deed(&directory, &record, on_disk.as_deref())
        },
    );
    if let Err(why) = done {
        warn(&format!(
            "the agent's definition on disk is an earlier one, and cannot be changed for home-manager's own; home-manager 24.11 refuses to switch then: {why}"
        ));
    }
}

/// One that cannot be read says nothing: the next going back writes it anew, and `doctor` names it until then.
fn recorded(directory: &StateDir) -> Option<RestoredDefinition> {
    read::read(&directory.restored_definition()).present()
}

fn write(directory: &StateDir, record: &RestoredDefinition) -> Result<(), String> {
    let written = atomic::replace(&directory.restored_definition(), record);
    written.map_err(|error| with_causes(&error))
}

fn forget(directory: &StateDir) -> Result<(), String> {
    let path = directory.restored_definition();
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(format!("cannot remove {}: {error}", path.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The digest of the file on disk; nothing where there is none, or something that we never put there.
fn look(plist: &Path) -> Result<Option<String>, String> {
    let is_possible = match fs::symlink_metadata(plist) {
        Ok(metadata) => metadata.is_file() && metadata.len() <= definition::MAX_PLIST_BYTES,
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(format!("cannot look at {}: {error}", plist.display())),
    };
    if !is_possible {
        return Ok(None);
    }
    let content = fs::read(plist);
    content
        .map(|content| Some(digest::of(&content)))
        .map_err(|error| format!("cannot read {}: {error}", plist.display()))
}

/// What home-manager's generation in the profile has for the agent.
fn original(settings: &Settings) -> Option<Vec<u8>> {
    let path = launch_agents(settings)?.join(settings.agent_plist.file_name()?);
    let metadata = fs::metadata(&path).ok()?;
    let is_possible = metadata.is_file() && metadata.len() <= definition::MAX_PLIST_BYTES;
    is_possible.then(|| fs::read(&path).ok()).flatten()
}

/// As a module of nix-darwin, home-manager activates as the user, with the user's own profile and the same check; so may a
/// command of the config's.
fn launch_agents(settings: &Settings) -> Option<PathBuf> {
    let switching = &settings.switching;
    match switching.command.kind {
        SwitchKind::HomeManager => switching.links.launch_agents(),
        SwitchKind::DarwinRebuild | SwitchKind::NixosRebuild | SwitchKind::Command => {
            // Whoever runs home-manager for the user does so with the user's home and nothing else of the environment.
            let user = settings.user.as_deref();
            GenerationLinks::of_home_manager(None, &settings.home, user).launch_agents()
        }
    }
}

#[cfg(test)]
mod tests {
    use nixfleet_protocol::journal::records::FORMAT;

    use super::*;

    const PLACE: &str = "/Users/me/Library/LaunchAgents/com.nixfleet.agent.plist";

    fn record(original: Option<&str>) -> RestoredDefinition {
        RestoredDefinition {
            format: FORMAT,
            path: PLACE.into(),
            digest: "ours".to_owned(),
            original_digest: original.map(str::to_owned),
            written_at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_file_is_ours_by_its_digest_and_place_alone() {
        for (original, place, on_disk, expected) in [
            (None, PLACE, Some("ours"), Whose::Ours),
            (Some("own"), PLACE, Some("ours"), Whose::Ours),
            (Some("own"), PLACE, Some("own"), Whose::Originals),
            (None, PLACE, Some("own"), Whose::Others),
            (Some("own"), PLACE, Some("by hand"), Whose::Others),
            (Some("own"), PLACE, None, Whose::Others),
            (None, PLACE, None, Whose::Others),
            (Some("own"), "/elsewhere", Some("ours"), Whose::Others),
            (Some("own"), "/elsewhere", Some("own"), Whose::Others),
        ] {
            let found = whose(&record(original), Path::new(place), on_disk);
            assert_eq!(found, expected, "{original:?} {place} {on_disk:?}");
        }
    }

    #[test]
    fn before_a_switch_ours_gives_way_and_nothing_else() {
        for (whose, on_disk, original, expected) in [
            (Whose::Ours, Some("ours"), Some("own"), Deed::PutOriginal),
            (Whose::Ours, Some("ours"), Some("ours"), Deed::Forget),
            (Whose::Ours, Some("ours"), None, Deed::Nothing),
            (Whose::Originals, Some("own"), Some("own"), Deed::Nothing),
            (Whose::Originals, Some("own"), Some("newer"), Deed::PutOriginal),
            (Whose::Originals, Some("own"), None, Deed::Nothing),
            (Whose::Others, Some("by hand"), Some("own"), Deed::Forget),
            (Whose::Others, None, Some("own"), Deed::Forget),
        ] {
            let found = before(whose, on_disk, original);
            assert_eq!(found, expected, "{whose:?} {on_disk:?} {original:?}");
        }
    }

    #[test]
    fn afterwards_only_a_switch_that_was_one_has_home_manager_s_definition_tried() {
        for (whose, has_switched, expected) in [
            (Whose::Originals, true, Deed::Forget),
            (Whose::Originals, false, Deed::Nothing),
            (Whose::Ours, true, Deed::Nothing),
            (Whose::Ours, false, Deed::Nothing),
            (Whose::Others, true, Deed::Forget),
            (Whose::Others, false, Deed::Forget),
        ] {
            assert_eq!(after(whose, has_switched), expected, "{whose:?} {has_switched}");
        }
    }

    #[test]
    fn a_look_after_takes_home_manager_s_own_away_unless_it_may_wait() {
        for (whose, may_wait, expected) in [
            (Whose::Originals, false, Deed::PutWhatWorked),
            (Whose::Originals, true, Deed::LeaveAlone),
            (Whose::Ours, false, Deed::Nothing),
            (Whose::Ours, true, Deed::Nothing),
            (Whose::Others, false, Deed::Forget),
            (Whose::Others, true, Deed::Forget),
        ] {
            assert_eq!(at_look_after(whose, may_wait), expected, "{whose:?} {may_wait}");
        }
    }

    #[test]
    fn what_is_no_plain_file_is_nobody_s_of_ours() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("file"), "x").unwrap();
        std::os::unix::fs::symlink(path("file"), path("link")).unwrap();
        assert_eq!(look(&path("file")), Ok(Some(digest::of(b"x"))));
        assert_eq!(look(&path("link")), Ok(None));
        assert_eq!(look(&path("absent")), Ok(None));
        assert_eq!(look(folder.path()), Ok(None));
    }
}
