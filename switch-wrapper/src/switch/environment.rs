//! The environment that a switch gets, and where its programs are.
//!
//! Under launchd a job has `PATH=/usr/bin:/bin:/usr/sbin:/sbin`, perhaps no `USER`, and nothing of Nix's; home-manager
//! needs `USER`, and finds nix, git and ssh by `PATH` only. What the environment already says is kept.

use std::{
    collections::BTreeMap,
    env,
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use nixfleet_protocol::external;
use rustix::fs::{Access, access};

use crate::settings::Settings;

/// What a bare environment still searches.
const SYSTEM_PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin";

/// Certificates, in the order in which Nix's own profile script tries them, then macOS's own.
const CERTIFICATE_FILES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/certs/ca-bundle.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/nix/var/nix/profiles/default/etc/ssl/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// Variables of our own, or of the job that started us, that mean nothing or the wrong thing to home-manager.
const NOT_FOR_HOME_MANAGER: [&str; 4] =
    ["NIXFLEET_TOKEN", "NOTIFY_SOCKET", "WATCHDOG_USEC", "XPC_SERVICE_NAME"];

/// How long `id` may take.
const ID_LIMIT: Duration = Duration::from_secs(5);

/// A program that is to be run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    /// Its name.
    pub(crate) name: &'a str,
    /// The variable that names another one.
    pub(crate) variable: &'static str,
    /// Which one was named.
    pub(crate) set: Option<&'a PathBuf>,
}

/// Why there is no program to run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProgramError {
    /// It is in none of the folders.
    #[error(
        "cannot find `{name}`; looked in {looked_in}. Install it, or set {variable} to its path"
    )]
    NotFound {
        /// The program.
        name: String,
        /// What names it.
        variable: &'static str,
        /// The folders.
        looked_in: String,
    },
    /// It was named, and is not there.
    #[error("{name} is set to {}, which is not a program that can be run; correct {variable} or the config file", path.display())]
    NotAProgram {
        /// The program.
        name: String,
        /// What names it.
        variable: &'static str,
        /// The path.
        path: PathBuf,
    },
}

/// The whole environment of a switch.
pub(crate) fn build(settings: &Settings) -> BTreeMap<OsString, OsString> {
    let mut variables: BTreeMap<OsString, OsString> = env::vars_os().collect();
    for name in NOT_FOR_HOME_MANAGER {
        variables.remove(OsStr::new(name));
    }
    set_if_absent(&mut variables, "HOME", || Some(settings.home.clone().into()));
    set_if_absent(&mut variables, "USER", || user_name(settings));
    let user = variables.get(OsStr::new("USER")).and_then(|user| user.to_str()).map(str::to_owned);
    let folders = profile_folders(&settings.home, user.as_deref());
    let inherited = variables.get(OsStr::new("PATH")).map(OsString::as_os_str);
    variables.insert("PATH".into(), search_path(inherited, &folders));
    set_if_absent(&mut variables, "NIX_SSL_CERT_FILE", || certificate_file(&settings.home));
    for (name, value) in &settings.environment {
        variables.insert(name.into(), value.into());
    }
    variables
}

fn set_if_absent(
    variables: &mut BTreeMap<OsString, OsString>,
    name: &str,
    value: impl FnOnce() -> Option<OsString>,
) {
    let is_set = variables.get(OsStr::new(name)).is_some_and(|value| !value.is_empty());
    if !is_set && let Some(value) = value() {
        variables.insert(name.into(), value);
    }
}

fn user_name(settings: &Settings) -> Option<OsString> {
    let known = settings.user.clone();
    let asked = || {
        let mut command = Command::new("id");
        command.arg("-un").env("PATH", SYSTEM_PATH);
        external::run(&mut command, ID_LIMIT).ok().map(|ended| ended.stdout.trim().to_owned())
    };
    known.or_else(asked).filter(|name| !name.is_empty()).map(OsString::from)
}

fn certificate_file(home: &Path) -> Option<OsString> {
    let in_profile = home.join(".nix-profile/etc/ssl/certs/ca-bundle.crt");
    let in_system = CERTIFICATE_FILES.iter().map(PathBuf::from);
    in_system.chain([in_profile]).find(|path| path.is_file()).map(OsString::from)
}

/// Where nix and home-manager may be: single-user and multi-user installs, per-user profiles of NixOS and nix-darwin.
fn profile_folders(home: &Path, user: Option<&str>) -> Vec<PathBuf> {
    let mut folders =
        vec![home.join(".nix-profile/bin"), home.join(".local/state/nix/profile/bin")];
    if let Some(user) = user {
        folders.push(Path::new("/etc/profiles/per-user").join(user).join("bin"));
    }
    folders.extend(
        ["/run/wrappers/bin", "/nix/var/nix/profiles/default/bin", "/run/current-system/sw/bin"]
            .map(PathBuf::from),
    );
    folders
}

/// The search path with the folders that are missing from it. Where nix can be found already, they come last and so
/// change nothing; in a bare environment they come first, as Nix's own profile script has it.
fn search_path(inherited: Option<&OsStr>, folders: &[PathBuf]) -> OsString {
    let inherited = inherited.filter(|path| !path.is_empty()).unwrap_or(OsStr::new(SYSTEM_PATH));
    let own: Vec<PathBuf> = env::split_paths(inherited).collect();
    let missing = folders.iter().filter(|folder| !own.contains(folder) && folder.is_dir()).cloned();
    let joined = if find_program("nix", &own).is_some() {
        env::join_paths(own.iter().cloned().chain(missing))
    } else {
        env::join_paths(missing.chain(own.iter().cloned()))
    };
    // A folder with a colon in its name cannot be in a search path; then what was inherited has to do.
    joined.unwrap_or_else(|_colon| inherited.to_owned())
}

/// The program, as an absolute path: the one that was named, else the first on the search path.
pub(crate) fn find(
    wanted: &Wanted<'_>,
    variables: &BTreeMap<OsString, OsString>,
) -> Result<PathBuf, ProgramError> {
    let path = variables.get(OsStr::new("PATH")).map(OsString::as_os_str).unwrap_or_default();
    let folders: Vec<PathBuf> = env::split_paths(path).collect();
    let Wanted { name, variable, set } = *wanted;
    let not_found = |name: &Path| ProgramError::NotFound {
        name: name.display().to_string(),
        variable,
        looked_in: folders
            .iter()
            .map(|folder| folder.display().to_string())
            .collect::<Vec<_>>()
            .join(", "),
    };
    match set {
        None => find_program(name, &folders).ok_or_else(|| not_found(Path::new(name))),
        Some(path) if path.components().count() == 1 => {
            find_program(path, &folders).ok_or_else(|| not_found(path))
        }
        Some(path) if is_program(path) => Ok(path.clone()),
        Some(path) => {
            Err(ProgramError::NotAProgram { name: name.to_owned(), variable, path: path.clone() })
        }
    }
}

fn find_program(name: impl AsRef<Path>, folders: &[PathBuf]) -> Option<PathBuf> {
    folders.iter().map(|folder| folder.join(&name)).find(|path| is_program(path))
}

pub(crate) fn is_program(path: &Path) -> bool {
    path.is_file() && access(path, Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    fn program(folder: &Path, name: &str) {
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join(name), "#!/bin/sh\n").unwrap();
        fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn a_bare_path_gets_the_profiles_first_and_a_full_one_last() {
        let temporary = tempfile::tempdir().unwrap();
        let profile = temporary.path().join("profile/bin");
        let system = temporary.path().join("usr/bin");
        let absent = temporary.path().join("absent/bin");
        program(&profile, "nix");
        fs::create_dir_all(&system).unwrap();
        let folders = [profile.clone(), absent];
        let joined = |paths: &[&PathBuf]| env::join_paths(paths).unwrap();

        let bare = search_path(Some(system.as_os_str()), &folders);
        assert_eq!(bare, joined(&[&profile, &system]));
        let already = joined(&[&system, &profile]);
        assert_eq!(search_path(Some(&already), &folders), already);
        program(&system, "nix");
        assert_eq!(search_path(Some(system.as_os_str()), &folders), joined(&[&system, &profile]));
        assert!(search_path(None, &[]).to_string_lossy().contains("/usr/bin"));
    }

    #[test]
    fn only_what_can_be_run_is_a_program() {
        let temporary = tempfile::tempdir().unwrap();
        program(temporary.path(), "home-manager");
        let folders = [temporary.path().to_owned()];
        assert!(find_program("home-manager", &folders).is_some());
        fs::write(temporary.path().join("text"), "").unwrap();
        assert_eq!(find_program("text", &folders), None);
        fs::create_dir(temporary.path().join("folder")).unwrap();
        assert_eq!(find_program("folder", &folders), None);
    }
}
