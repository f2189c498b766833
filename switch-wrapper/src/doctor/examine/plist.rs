//! The agent's definition on disk, as launchd will take it at the next login.

use super::{ENSURE, switch_again};
use crate::{
    doctor::{
        finding::{Finding, Id, quoted},
        observations::{Entry, Host, Plist, shown},
    },
    ensure::definition::OnDisk,
};

/// The permission bits with which launchd does not take a plist.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Everything about the file.
pub(super) fn examine(host: &Host, plist: &Plist) -> Vec<Finding> {
    let content = match &plist.on_disk {
        OnDisk::Absent => return vec![absent(host)],
        OnDisk::Bad(why) | OnDisk::SomebodyElses(why) => Some(unusable(host, why)),
        OnDisk::Good(_) => None,
    };
    let file = plist.file.as_ref();
    let owner = file.and_then(|file| owner(host, file));
    let mode = file.and_then(|file| mode(host, file));
    // A file that launchd would not take for its owner or mode is not usable for that, and has its own remedy.
    let content = content.filter(|_| owner.is_none() && mode.is_none());
    let findings: Vec<Finding> = [
        content,
        owner,
        mode,
        file.and_then(|file| link(host, file)),
        plist.folder.as_ref().and_then(|folder| folder_owner(host, folder)),
        program(host, plist),
    ]
    .into_iter()
    .flatten()
    .collect();
    if findings.is_empty() {
        let summary = format!("{} is a definition that launchd takes", host.names.plist_text());
        return vec![Finding::ok(Id::AgentDefinition, summary)];
    }
    findings
}

fn absent(host: &Host) -> Finding {
    let summary = format!("no agent is installed: {} is not there", host.names.plist_text());
    if host.has_agent() {
        Finding::error(Id::AgentNotInstalled, summary)
            .because(
                "An agent has run on this host. Without a definition launchd does not start \
                it again.",
            )
            .mended_by([switch_again(host)])
    } else {
        Finding::info(Id::AgentNotInstalled, summary)
    }
}

fn unusable(host: &Host, why: &str) -> Finding {
    Finding::error(Id::AgentPlistUnusable, why)
        .because(
            "launchd does not load it, so the agent does not come back once it is gone. If \
            it is not yours, name another with NIXFLEET_AGENT_LABEL or NIXFLEET_AGENT_PLIST; a \
            switch that differs from it writes it anew.",
        )
        .mended_by([switch_again(host)])
}

fn owner(host: &Host, file: &Entry) -> Option<Finding> {
    let (owner, uid) = (file.owner, host.names.uid);
    (!file.is_link && owner != uid && owner != 0).then(|| {
        Finding::error(
            Id::AgentPlistWrongOwner,
            format!("{} belongs to user {owner}", host.names.plist_text()),
        )
        .because("launchd takes only what belongs to the user or to root.")
        .mended_by([format!("sudo chown {uid} {}", path(host)), ENSURE.to_owned()])
    })
}

fn mode(host: &Host, file: &Entry) -> Option<Finding> {
    (!file.is_link && file.mode & WRITABLE_BY_OTHERS != 0).then(|| {
        Finding::error(
            Id::AgentPlistWrongMode,
            format!("others may write {} (mode {:04o})", host.names.plist_text(), file.mode),
        )
        .because(
            "launchd does not take a definition that others may write: the agent does not \
            come back at the next login.",
        )
        .mended_by([format!("chmod 644 {}", path(host)), ENSURE.to_owned()])
    })
}

fn link(host: &Host, file: &Entry) -> Option<Finding> {
    let next = quoted(&format!("{}.next", host.names.plist_text()));
    file.is_link.then(|| {
        Finding::warning(
            Id::AgentPlistIsLink,
            format!("{} is a symbolic link", host.names.plist_text()),
        )
        .because(
            "A link into a store that is not mounted yet is not loaded at login, and newer \
            releases of macOS are reported to pass over links there. It should be a copy.",
        )
        .mended_by([format!("cp -L {} {next} && mv {next} {}", path(host), path(host))])
    })
}

fn folder_owner(host: &Host, folder: &Entry) -> Option<Finding> {
    let shown = shown(host.names.plist.parent().unwrap_or(&host.names.plist));
    let is_ours = folder.owner == host.names.uid && folder.is_writable;
    (!is_ours).then(|| {
        Finding::warning(Id::AgentPlistFolderNotOurs, format!("this user cannot write in {shown}"))
            .because(
                "home-manager takes the agent out before it writes the new definition \
                there, and then cannot.",
            )
            .mended_by([
                format!("sudo chown {} {}", host.names.uid, quoted(&shown)),
                format!("chmod u+rwx {}", quoted(&shown)),
            ])
    })
}

fn program(host: &Host, plist: &Plist) -> Option<Finding> {
    let missing: Vec<String> = plist.missing.iter().map(|path| shown(path)).collect();
    (!missing.is_empty()).then(|| {
        Finding::error(
            Id::AgentProgramMissing,
            format!("the agent's definition runs what is not there: {}", missing.join(", ")),
        )
        .because(
            "It was collected as garbage, or its volume is not mounted. launchd cannot \
            start the agent; one that runs goes on until it ends. A switch builds it again.",
        )
        .mended_by([switch_again(host), ENSURE.to_owned()])
    })
}

fn path(host: &Host) -> String {
    quoted(&host.names.plist_text())
}
