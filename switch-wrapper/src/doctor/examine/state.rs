//! The state directory: whether it can be used, is this user's and this host's, and can be read.

use super::{ENSURE, counted};
use crate::doctor::{
    finding::{Finding, Id, quoted},
    observations::{BrokenFile, Host, Names, NewestSwitch, Service, State, shown},
};

/// The permission bits that only the owner may have.
const OPEN_TO_OTHERS: u32 = 0o077;

/// With less room than this an output log may fill the disk.
const LITTLE_ROOM_BYTES: u64 = 256 * 1024 * 1024;

/// How many broken files are named.
const MAX_NAMED: usize = 5;

/// Everything about the state directory.
pub(super) fn examine(host: &Host) -> Vec<Finding> {
    let mut findings: Vec<Finding> = match &host.state {
        State::Unusable(why) => {
            let aside = format!("mv {} {}.unusable", path(host), path(host));
            return vec![if host.names.state.is_absolute() {
                unusable(why).mended_by([aside])
            } else {
                unusable(why)
            }];
        }
        State::Missing => return vec![missing(host)],
        State::There { entry, free_bytes } => {
            let owner = (entry.owner != host.names.uid).then(|| wrong_owner(host, entry.owner));
            let mode = (owner.is_none() && entry.mode & OPEN_TO_OTHERS != 0)
                .then(|| open_to_others(host, entry.mode));
            let write = (owner.is_none() && !entry.is_writable).then(|| {
                unusable(&format!("this user cannot write in it (mode {:04o})", entry.mode))
                    .mended_by([format!("chmod 700 {}", path(host))])
            });
            let room = free_bytes.filter(|free| *free < LITTLE_ROOM_BYTES);
            [owner, mode, write, room.map(|free| nearly_full(host, free))]
                .into_iter()
                .flatten()
                .collect()
        }
    };
    if let Some(journal) = &host.journal {
        let trouble = journal.trouble.as_ref().filter(|_| findings.is_empty());
        findings.extend(
            trouble.map(|why| unusable(why).mended_by([format!("chmod -R u+rwX {}", path(host))])),
        );
        findings.extend(unreadable(&journal.broken));
        findings.extend(journal.newest.as_ref().and_then(|newest| foreign(host, newest)));
    }
    if findings.is_empty() {
        let summary = format!("{} can be used", shown(&host.names.state));
        findings.push(Finding::ok(Id::StateDirectory, summary));
    }
    findings
}

fn path(host: &Host) -> String {
    quoted(&shown(&host.names.state))
}

fn unusable(why: &str) -> Finding {
    Finding::error(Id::StateDirectoryUnusable, format!("the state directory cannot be used: {why}"))
        .because(
            "Without it no switch runs and the agent does not start. NIXFLEET_STATE_DIR, or \
            `state_dir` in the config file, names another.",
        )
}

fn missing(host: &Host) -> Finding {
    let summary = format!("there is no state directory yet at {}", shown(&host.names.state));
    Finding::info(Id::StateDirectoryMissing, summary).because(
        "Neither the agent nor nixfleet-switch has run here. Whichever does first makes it.",
    )
}

fn wrong_owner(host: &Host, owner: u32) -> Finding {
    let summary = format!(
        "{} belongs to user {owner}, this is user {}",
        shown(&host.names.state),
        host.names.uid
    );
    Finding::error(Id::StateDirectoryWrongOwner, summary)
        .because(
            "No switch runs and the agent does not start with it. A switch under sudo \
            leaves that behind.",
        )
        .mended_by([format!("sudo chown -R {} {}", host.names.uid, path(host))])
}

fn open_to_others(host: &Host, mode: u32) -> Finding {
    let summary = format!("others may look into {} (mode {mode:04o})", shown(&host.names.state));
    Finding::warning(Id::StateDirectoryOpen, summary)
        .because(
            "The host's token and the output of switches are in it. The next switch closes \
            it as well.",
        )
        .mended_by([format!("chmod 700 {}", path(host))])
}

fn nearly_full(host: &Host, free: u64) -> Finding {
    let room = free / (1024 * 1024);
    Finding::warning(
        Id::DiskNearlyFull,
        format!("only {room} MiB are left on the disk of {}", shown(&host.names.state)),
    )
    .because(
        "Space for a result is kept back while home-manager runs, but a build needs more \
        than that.",
    )
    .mended_by(["nix-collect-garbage --delete-older-than 30d".to_owned()])
}

/// A file that is not what it should be is set aside by the name that the programs themselves use for it.
fn unreadable(broken: &[BrokenFile]) -> Vec<Finding> {
    let (too_new, garbage): (Vec<&BrokenFile>, Vec<&BrokenFile>) =
        broken.iter().partition(|file| file.is_too_new);
    let of = |files: &[&BrokenFile], what: &str| {
        let first = files.first()?;
        let summary = format!(
            "{} {what}, such as {}: {}",
            counted(files.len(), "file of the journal", "files of the journal"),
            shown(&first.path),
            first.why
        );
        Some(Finding::warning(Id::JournalUnreadable, summary))
    };
    let aside = |file: &&BrokenFile| {
        let path = shown(&file.path);
        format!("mv {} {}", quoted(&path), quoted(&format!("{path}.unreadable")))
    };
    let garbage_found = of(&garbage, "cannot be read").map(|finding| {
        finding
            .because(
                "What it said is lost to the programs; they never take it for a file that \
                is not there. Set aside, it is out of the way.",
            )
            .mended_by(garbage.iter().take(MAX_NAMED).map(aside))
    });
    let too_new_found = of(&too_new, "by a later version").map(|finding| {
        finding.because(
            "A later version of NixFleet has run here. Nothing is wrong with the \
            file: use that version, or a later one.",
        )
    });
    [garbage_found, too_new_found].into_iter().flatten().collect()
}

/// A host's name changes with the network, so only its first part counts, and another boot alone means nothing.
fn foreign(host: &Host, newest: &NewestSwitch) -> Option<Finding> {
    let is_other_host = first_part(&newest.host) != first_part(&host.names.host);
    if !is_other_host || newest.is_of_this_boot == Some(true) {
        return None;
    }
    Some(
        Finding::warning(
            Id::StateDirectoryForeign,
            format!(
                "{} comes from another host: its last switch was on {:?}, this is {:?}",
                shown(&host.names.state),
                newest.host,
                host.names.host
            ),
        )
        .because(
            "Two hosts with one state directory have one token, and each would tell the \
            other's results. If this host was only renamed, the next switch settles it; if it \
            was set up from a copy, put the copy aside.",
        )
        .mended_by(put_aside(host)),
    )
}

/// An agent that runs meanwhile would keep its lock in the folder that was moved, and write into the new one.
fn put_aside(host: &Host) -> Vec<String> {
    let stop = match &host.service {
        Service::Launchd(_) => {
            let Names { uid, label, .. } = &host.names;
            Some(format!("launchctl bootout {}", quoted(&format!("gui/{uid}/{label}"))))
        }
        Service::Systemd(systemd) => Some(format!(
            "{}systemctl{} stop {}",
            systemd.manager.rights(),
            systemd.manager.flag(),
            quoted(&host.names.label)
        )),
        Service::None => None,
    };
    let aside = format!("mv {} {}.copied", path(host), path(host));
    stop.into_iter().chain([aside, ENSURE.to_owned()]).collect()
}

fn first_part(host: &str) -> String {
    host.split('.').next().unwrap_or_default().to_lowercase()
}
