//! The job's definition on disk: the plist that launchd reads at the next bootstrap, and only then.

use std::{collections::BTreeMap, fs, io, os::unix::fs::MetadataExt as _, path::Path};

use rustix::fs::{Access, access};
use serde::Deserialize;

/// A plist that is larger is not a job's.
pub(super) const MAX_PLIST_BYTES: u64 = 1024 * 1024;

/// The definition on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OnDisk {
    /// There is none: the agent is not installed.
    Absent,
    /// It cannot be used.
    Bad(String),
    /// It is another job's.
    SomebodyElses(String),
    /// It is there.
    Good(Definition),
}

/// What of it counts here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Definition {
    /// The program and its arguments.
    pub(crate) arguments: Vec<String>,
    /// The program is there and can be run.
    pub(crate) has_program: bool,
    /// Where it may be loaded.
    pub(crate) domains: Domains,
    /// `EnvironmentVariables`.
    pub(crate) environment: BTreeMap<String, String>,
    /// Single values, by the name under which `print` shows them.
    pub(crate) values: BTreeMap<&'static str, String>,
}

/// One of the two domains that a user's job can be in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Domain {
    /// `gui/UID`: there while the user is logged in at the screen.
    Gui,
    /// `user/UID`.
    User,
}

/// The domains that a definition allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Domains {
    /// `gui/UID` alone.
    #[default]
    Gui,
    /// `user/UID` alone.
    User,
    /// Either; where somebody is logged in at the screen, `gui/UID`.
    Both,
}

impl Domain {
    /// Its target, as launchctl takes it.
    pub(crate) fn target(self, uid: u32) -> String {
        match self {
            Self::Gui => format!("gui/{uid}"),
            Self::User => format!("user/{uid}"),
        }
    }

    /// The other one.
    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Gui => Self::User,
            Self::User => Self::Gui,
        }
    }
}

#[derive(Debug, Deserialize)]
struct Plist {
    #[serde(rename = "Label")]
    label: String,
    #[serde(rename = "Program")]
    program: Option<String>,
    #[serde(rename = "ProgramArguments", default)]
    arguments: Vec<String>,
    #[serde(rename = "LimitLoadToSessionType")]
    sessions: Option<Sessions>,
    #[serde(rename = "EnvironmentVariables", default)]
    environment: BTreeMap<String, String>,
    #[serde(rename = "StandardOutPath")]
    stdout: Option<String>,
    #[serde(rename = "StandardErrorPath")]
    stderr: Option<String>,
    #[serde(rename = "WorkingDirectory")]
    working_directory: Option<String>,
    #[serde(rename = "ExitTimeOut")]
    exit_timeout: Option<u64>,
    #[serde(rename = "ThrottleInterval")]
    throttle_interval: Option<u64>,
}

/// `LimitLoadToSessionType`: one or several. Absent means Aqua (launchd.plist(5)).
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Sessions {
    One(String),
    Several(Vec<String>),
}

/// Reads the definition of `label` at `path`.
pub(crate) fn read(path: &Path, label: &str) -> OnDisk {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return OnDisk::Absent,
        Err(error) => return bad(path, &error.to_string()),
    };
    if let Some(why) = not_taken(&metadata) {
        return bad(path, &why);
    }
    let plist: Plist = match plist::from_file(path) {
        Ok(plist) => plist,
        Err(error) => return bad(path, &error.to_string()),
    };
    if plist.label != label {
        let why = format!("its label is {:?}, not {label:?}", plist.label);
        return OnDisk::SomebodyElses(unusable(path, &why));
    }
    let values = shown(plist.values());
    let arguments = if plist.arguments.is_empty() {
        plist.program.into_iter().collect()
    } else {
        plist.arguments
    };
    if arguments.is_empty() {
        return bad(path, "it has neither Program nor ProgramArguments");
    }
    OnDisk::Good(Definition {
        domains: domains(plist.sessions.as_ref()),
        values,
        environment: plist.environment,
        has_program: arguments.first().is_some_and(|program| can_be_run(Path::new(program))),
        arguments,
    })
}

fn can_be_run(program: &Path) -> bool {
    program.is_file() && access(program, Access::EXEC_OK).is_ok()
}

/// Why launchd would not take the file, whatever is in it: not a regular file, not the user's or root's, writable by
/// others (launchd.plist(5); bootstrap answers 122, to all but root 5).
fn not_taken(metadata: &fs::Metadata) -> Option<String> {
    let me = rustix::process::geteuid().as_raw();
    let (owner, mode) = (metadata.uid(), metadata.mode() & 0o7777);
    if !metadata.is_file() || metadata.len() > MAX_PLIST_BYTES {
        Some("it is not a file of a plist's size".to_owned())
    } else if owner != me && owner != 0 {
        Some(format!("it belongs to user {owner}, launchd takes it only from user {me} or root"))
    } else if mode & 0o022 != 0 {
        Some(format!("others may write to it (mode {mode:o}), so launchd does not take it"))
    } else {
        None
    }
}

impl Plist {
    fn values(&self) -> [(&'static str, Option<String>); 5] {
        // launchd does not take a 0 as it stands.
        let seconds = |set: Option<u64>| set.filter(|set| *set > 0).map(|set| set.to_string());
        [
            ("stdout path", self.stdout.clone()),
            ("stderr path", self.stderr.clone()),
            ("working directory", self.working_directory.clone()),
            ("exit timeout", seconds(self.exit_timeout)),
            ("minimum runtime", seconds(self.throttle_interval)),
        ]
    }
}

fn shown(values: [(&'static str, Option<String>); 5]) -> BTreeMap<&'static str, String> {
    values.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

fn bad(path: &Path, why: &str) -> OnDisk {
    OnDisk::Bad(unusable(path, why))
}

fn unusable(path: &Path, why: &str) -> String {
    format!("{} cannot be used: {why}", path.display())
}

fn domains(sessions: Option<&Sessions>) -> Domains {
    let has = |wanted: &str| match sessions {
        None => wanted == "Aqua",
        Some(Sessions::One(session)) => session == wanted,
        Some(Sessions::Several(sessions)) => sessions.iter().any(|session| session == wanted),
    };
    match (has("Aqua"), has("Background")) {
        (true, true) => Domains::Both,
        (false, true) => Domains::User,
        (true | false, false) => Domains::Gui,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str) -> OnDisk {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.plist");
        let text = format!(
            r#"<?xml version="1.0" encoding="UTF-8"?><plist version="1.0"><dict>{body}</dict></plist>"#
        );
        fs::write(&path, text).unwrap();
        read(&path, "com.example.agent")
    }

    const LABEL: &str = "<key>Label</key><string>com.example.agent</string>";
    const ARGUMENTS: &str =
        "<key>ProgramArguments</key><array><string>/bin/a</string><string>run</string></array>";

    #[test]
    fn arguments_and_domain_are_read() {
        for (session, expected) in [
            ("", Domains::Gui),
            ("<key>LimitLoadToSessionType</key><string>Aqua</string>", Domains::Gui),
            ("<key>LimitLoadToSessionType</key><string>Background</string>", Domains::User),
            (
                "<key>LimitLoadToSessionType</key><array><string>Background</string><string>Aqua</string></array>",
                Domains::Both,
            ),
        ] {
            let OnDisk::Good(definition) = check(&format!("{LABEL}{ARGUMENTS}{session}")) else {
                panic!("{session}")
            };
            assert_eq!(definition.arguments, ["/bin/a", "run"]);
            assert_eq!(definition.domains, expected, "{session}");
        }
    }

    #[test]
    fn what_print_shows_too_is_kept() {
        let more = "<key>EnvironmentVariables</key><dict><key>A</key><string>b</string></dict>\
                    <key>StandardErrorPath</key><string>/log</string>\
                    <key>ThrottleInterval</key><integer>0</integer>\
                    <key>ExitTimeOut</key><integer>3</integer>";
        let OnDisk::Good(definition) = check(&format!("{LABEL}{ARGUMENTS}{more}")) else {
            panic!()
        };
        assert_eq!(definition.environment["A"], "b");
        assert_eq!(definition.values["stderr path"], "/log");
        assert_eq!(definition.values["exit timeout"], "3");
        assert_eq!(definition.values.len(), 2);
    }

    #[test]
    fn a_file_that_others_may_write_to_is_none() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.plist");
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o664)).unwrap();
        let OnDisk::Bad(why) = read(&path, "x") else { panic!() };
        assert!(why.contains("664"), "{why}");
    }

    #[test]
    fn what_is_no_job_of_ours_is_said() {
        for (body, expected) in [
            (ARGUMENTS.to_owned(), "Label"),
            (LABEL.to_owned(), "neither Program"),
            ("<key>".to_owned(), "cannot be used"),
        ] {
            let OnDisk::Bad(why) = check(&body) else { panic!("{body}") };
            assert!(why.contains(expected), "{why}");
        }
        let other = format!("<key>Label</key><string>com.other</string>{ARGUMENTS}");
        let OnDisk::SomebodyElses(why) = check(&other) else { panic!() };
        assert!(why.contains("com.other"), "{why}");
        assert_eq!(read(Path::new("/nonexistent/x.plist"), "x"), OnDisk::Absent);
        assert!(matches!(read(Path::new("/tmp"), "x"), OnDisk::Bad(_)));
    }
}
