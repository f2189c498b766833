//! What may lie in a state directory. Pure, but for the reading of the names.

use std::{fs, io, path::Path};

use nixfleet_protocol::installed::{WATCHDOG, WRAPPER};

/// What the root holds.
const ROOT: [&str; 21] = [
    "agent.json",
    "agent.lock",
    "agent.reserve",
    "bin",
    "commands",
    "ensure.lock",
    "healings",
    "installation.json",
    "last-good-agent",
    "last-good.json",
    "last-good.plist",
    "repo",
    "repo.new",
    "repo.old",
    "repo.changing",
    "restored.json",
    "switch.lock",
    "switches",
    "token",
    "watchdog.json",
    "watchdog.lock",
];

/// What the root may hold beside that.
const ROOT_LOGS: [&str; 1] = ["wrapper.log"];

const SWITCH: [&str; 11] = [
    "build",
    "output.log",
    "progress.json",
    "refused.json",
    "reload.json",
    "reported.json",
    "request.json",
    "reserve",
    "result.json",
    "started.json",
    "wrapper.log",
];

const HEALING: [&str; 3] = ["healing.json", "refused.json", "reported.json"];

const COMMAND: [&str; 4] = ["accepted.json", "answered.json", "refused.json", "reported.json"];

/// The mark of a temporary file: no reader looks at such a name, and the next prune sweeps it away.
const TEMPORARY: (&str, &str) = (".", ".tmp");

/// What a name in the state directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name {
    /// One of those that the programs use.
    Known,
    /// What a writer that was killed has left where no reader looks.
    Temporary,
    /// A broken file that was set aside.
    SetAside,
    /// Nobody knows it.
    Strange,
}

/// What this path, relative to the state directory, is.
pub fn judge(path: &str) -> Name {
    let parts: Vec<&str> = path.split('/').collect();
    let Some((name, folders)) = parts.split_last() else { return Name::Strange };
    let is_known = match folders {
        [] => ROOT.contains(name) || ROOT_LOGS.contains(name),
        ["bin"] => *name == WRAPPER || is_copy(name),
        ["bin", copy] => is_copy(copy) && [WRAPPER, WATCHDOG].contains(name),
        ["switches" | "healings" | "commands"] => !name.contains('.'),
        ["switches", _id] => SWITCH.contains(name),
        ["healings", _id] => HEALING.contains(name),
        ["commands", _id] => COMMAND.contains(name),
        ["repo" | "repo.new" | "repo.old", ..] => true,
        _deeper => false,
    };
    if is_known {
        Name::Known
    } else if name.starts_with(TEMPORARY.0) && name.ends_with(TEMPORARY.1) {
        Name::Temporary
    } else if name.ends_with(".unreadable") {
        Name::SetAside
    } else {
        Name::Strange
    }
}

/// A folder with the programs that the wrapper's stable path leads to.
fn is_copy(name: &str) -> bool {
    name.strip_prefix(WRAPPER).is_some_and(|rest| rest.starts_with('-'))
}

/// All that is in a state directory, as paths relative to it.
pub fn names_in(root: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    collect(root, "", &mut names)?;
    names.sort_unstable();
    Ok(names)
}

fn collect(folder: &Path, prefix: &str, names: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        // A folder that a prune has just removed is no trouble.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) && entry.path().exists() {
            collect(&entry.path(), &format!("{name}/"), names)?;
        }
        names.push(name);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_programs_own_names_are_known() {
        let id = "0190a0a0-0000-7000-8000-000000000000";
        for (path, expected) in [
            ("agent.json".to_owned(), Name::Known),
            ("switches".to_owned(), Name::Known),
            (format!("switches/{id}"), Name::Known),
            (format!("switches/{id}/result.json"), Name::Known),
            (format!("switches/{id}/healing.json"), Name::Strange),
            (format!("healings/{id}/healing.json"), Name::Known),
            (format!("commands/{id}/answered.json"), Name::Known),
            ("bin/nixfleet-switch".to_owned(), Name::Known),
            ("bin/nixfleet-switch-0123/nixfleet-switch".to_owned(), Name::Known),
            ("bin/nixfleet-switch-0123/nixfleet-watchdog".to_owned(), Name::Known),
            ("bin/nixfleet-switch-0123/other".to_owned(), Name::Strange),
            (".agent.json.0123.tmp".to_owned(), Name::Temporary),
            (format!("switches/{id}/.result.json.0123.tmp"), Name::Temporary),
            (format!("switches/{id}/result.json.unreadable"), Name::SetAside),
            ("agent.json.next".to_owned(), Name::Strange),
            (format!("switches/{id}/deep/result.json"), Name::Strange),
            ("core".to_owned(), Name::Strange),
        ] {
            assert_eq!(judge(&path), expected, "{path}");
        }
    }
}
