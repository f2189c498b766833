//! The state directory, and the only place that knows the names in it.
//!
//! `$NIXFLEET_STATE_DIR`, else `$XDG_STATE_HOME/nixfleet`, else `~/.local/state/nixfleet`; mode 0700, files 0600.

use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use crate::{
    journal::records::{HealingId, SwitchId},
    wire::fields::CommandId,
};

/// Why there is no state directory to work with.
#[derive(Debug, thiserror::Error)]
pub enum StateDirError {
    /// Neither the setting nor a home directory says where it is.
    #[error(
        "there is no place for the state directory: none of NIXFLEET_STATE_DIR, XDG_STATE_HOME and HOME is set; set one"
    )]
    NoPlace,
    /// The setting is not an absolute path.
    #[error("state directory {} is not an absolute path; give one that begins with `/`", path.display())]
    Relative {
        /// As it was given.
        path: PathBuf,
    },
    /// The file system refused.
    #[error("cannot {action} state directory {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which directory.
        path: PathBuf,
        /// What the file system said.
        #[source]
        source: io::Error,
    },
    /// It belongs to someone else.
    #[error(
        "state directory {} belongs to user {owner}, this program runs as user {me}; run it as that user or set NIXFLEET_STATE_DIR",
        path.display()
    )]
    WrongOwner {
        /// The directory.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Our user.
        me: u32,
    },
}

/// The state directory: it exists, is ours and closed to others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateDir {
    root: PathBuf,
}

impl StateDir {
    /// Where the directory is by default, from what the environment says.
    pub fn default_path(
        xdg_state_home: Option<&Path>,
        home: Option<&Path>,
    ) -> Result<PathBuf, StateDirError> {
        let xdg =
            xdg_state_home.filter(|path| path.is_absolute()).map(|path| path.join("nixfleet"));
        let in_home =
            home.filter(|path| path.is_absolute()).map(|path| path.join(".local/state/nixfleet"));
        xdg.or(in_home).ok_or(StateDirError::NoPlace)
    }

    /// Makes the directory ready for writing: creates what is missing, checks the owner, closes it to others.
    pub fn prepare(root: &Path) -> Result<Self, StateDirError> {
        let directory = Self::check_place(root)?;
        for path in directory.folders() {
            prepare_one(&path)?;
        }
        Ok(directory)
    }

    /// The directory for looking only: nothing is created, and it need not be there.
    pub fn look(root: &Path) -> Result<Self, StateDirError> {
        Self::check_place(root)
    }

    fn folders(&self) -> [PathBuf; 4] {
        [self.root.clone(), self.switches(), self.commands(), self.healings()]
    }

    fn check_place(root: &Path) -> Result<Self, StateDirError> {
        if root.is_absolute() {
            Ok(Self { root: root.to_owned() })
        } else {
            Err(StateDirError::Relative { path: root.to_owned() })
        }
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Held for the whole of a switch. Its content says who holds it.
    pub fn switch_lock(&self) -> PathBuf {
        self.root.join("switch.lock")
    }

    /// Held while acting on the agent's job.
    pub fn ensure_lock(&self) -> PathBuf {
        self.root.join("ensure.lock")
    }

    /// Held by the one agent.
    pub fn agent_lock(&self) -> PathBuf {
        self.root.join("agent.lock")
    }

    /// The agent that runs.
    pub fn agent_record(&self) -> PathBuf {
        self.root.join("agent.json")
    }

    /// Disk space kept back for the agent's record.
    pub fn agent_reserve(&self) -> PathBuf {
        self.root.join("agent.reserve")
    }

    /// The token that the dashboard gave this host.
    pub fn host_token(&self) -> PathBuf {
        self.root.join("token")
    }

    /// A copy of the last definition of the agent's job that worked.
    pub fn last_good_definition(&self) -> PathBuf {
        self.root.join("last-good.plist")
    }

    /// The last agent that worked: its executable and the digest of its definition.
    pub fn last_good_agent(&self) -> PathBuf {
        self.root.join("last-good.json")
    }

    /// Keeps the last agent that worked from being collected as garbage.
    pub fn last_good_root(&self) -> PathBuf {
        self.root.join("last-good-agent")
    }

    /// What going back to the last agent that worked has put in the place of home-manager's own definition.
    pub fn restored_definition(&self) -> PathBuf {
        self.root.join("restored.json")
    }

    /// Held by the one watchdog.
    pub fn watchdog_lock(&self) -> PathBuf {
        self.root.join("watchdog.lock")
    }

    /// The watchdog that runs.
    pub fn watchdog_record(&self) -> PathBuf {
        self.root.join("watchdog.json")
    }

    /// What `nixfleet-switch install` has installed.
    pub fn installation(&self) -> PathBuf {
        self.root.join("installation.json")
    }

    /// What `nixfleet-switch` itself had to say when the agent called it without a switch.
    pub fn wrapper_log(&self) -> PathBuf {
        self.root.join("wrapper.log")
    }

    /// The checkout of the repository that the host is switched from.
    pub fn checkout(&self) -> PathBuf {
        checkout(&self.root)
    }

    /// Where a new checkout is made, before it takes the place of the one that is there.
    pub fn new_checkout(&self) -> PathBuf {
        self.root.join("repo.new")
    }

    /// Where the one before goes, to be removed.
    pub fn old_checkout(&self) -> PathBuf {
        self.root.join("repo.old")
    }

    /// Is there while the files of the checkout are being changed, and after a change that was cut short.
    pub fn checkout_in_change(&self) -> PathBuf {
        self.root.join("repo.changing")
    }

    /// Whether there is a checkout that can be switched to: one that is all of one revision.
    pub fn has_whole_checkout(&self) -> bool {
        self.checkout().exists() && !self.checkout_in_change().exists()
    }

    /// All look-afters of a job that no switch was the reason for.
    pub fn healings(&self) -> PathBuf {
        self.root.join("healings")
    }

    /// One of them.
    pub fn healing(&self, id: HealingId) -> HealingDir {
        HealingDir { root: self.healings().join(id.to_string()) }
    }

    /// All switches.
    pub fn switches(&self) -> PathBuf {
        self.root.join("switches")
    }

    /// One switch.
    pub fn switch(&self, id: SwitchId) -> SwitchDir {
        SwitchDir { root: self.switches().join(id.to_string()) }
    }

    /// All commands other than switches.
    pub fn commands(&self) -> PathBuf {
        self.root.join("commands")
    }

    /// One command other than a switch.
    pub fn command(&self, id: &CommandId) -> CommandDir {
        CommandDir { root: self.commands().join(id.as_str()) }
    }
}

/// That checkout, given the state directory: settings name it before there is one.
pub fn checkout(root: &Path) -> PathBuf {
    root.join("repo")
}

fn prepare_one(path: &Path) -> Result<(), StateDirError> {
    let failed = |action| move |source| StateDirError::Io { action, path: path.to_owned(), source };
    let me = rustix::process::geteuid().as_raw();
    if let Some(owner) = nearest_owner(path).filter(|owner| is_intruder(me, *owner)) {
        return Err(StateDirError::WrongOwner { path: path.to_owned(), owner, me });
    }
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed("create"))?;
    let metadata = fs::metadata(path).map_err(failed("look at"))?;
    if metadata.uid() != me {
        let owner = metadata.uid();
        return Err(StateDirError::WrongOwner { path: path.to_owned(), owner, me });
    }
    if metadata.mode() & 0o777 != 0o700 {
        let closed = fs::Permissions::from_mode(0o700);
        fs::set_permissions(path, closed).map_err(failed("close to others"))?;
    }
    Ok(())
}

/// Who owns the place, or the nearest folder above it that is there.
fn nearest_owner(path: &Path) -> Option<u32> {
    path.ancestors().find_map(|place| fs::metadata(place).ok()).map(|metadata| metadata.uid())
}

/// `sudo` may leave HOME as it was. Root can make a directory anywhere, but what it makes in a user's home keeps that user's
/// own agent out.
const fn is_intruder(me: u32, owner: u32) -> bool {
    me == 0 && owner != 0
}

/// The directory of one switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwitchDir {
    root: PathBuf,
}

impl SwitchDir {
    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The intent.
    pub fn request(&self) -> PathBuf {
        self.root.join("request.json")
    }

    /// home-manager's process.
    pub fn started(&self) -> PathBuf {
        self.root.join("started.json")
    }

    /// How far an operation of several steps is.
    pub fn progress(&self) -> PathBuf {
        self.root.join("progress.json")
    }

    /// Where something is built only to be looked at.
    pub fn build(&self) -> PathBuf {
        self.root.join("build")
    }

    /// All output, as it comes.
    pub fn output_log(&self) -> PathBuf {
        self.root.join("output.log")
    }

    /// What the wrapper itself has to say when the agent started it and there is no terminal.
    pub fn wrapper_log(&self) -> PathBuf {
        self.root.join("wrapper.log")
    }

    /// Disk space kept back for the result.
    pub fn reserve(&self) -> PathBuf {
        self.root.join("reserve")
    }

    /// The completion marker.
    pub fn result(&self) -> PathBuf {
        self.root.join("result.json")
    }

    /// What was done to the agent's job.
    pub fn reload(&self) -> PathBuf {
        self.root.join("reload.json")
    }

    /// The dashboard took it.
    pub fn reported(&self) -> PathBuf {
        self.root.join("reported.json")
    }

    /// The dashboard will never take it.
    pub fn refused(&self) -> PathBuf {
        self.root.join("refused.json")
    }
}

/// The directory of one look-after that no switch was the reason for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealingDir {
    root: PathBuf,
}

impl HealingDir {
    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What was done, and why.
    pub fn healing(&self) -> PathBuf {
        self.root.join("healing.json")
    }

    /// The dashboard took it.
    pub fn reported(&self) -> PathBuf {
        self.root.join("reported.json")
    }

    /// The dashboard will never take it.
    pub fn refused(&self) -> PathBuf {
        self.root.join("refused.json")
    }
}

/// The directory of one command other than a switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandDir {
    root: PathBuf,
}

impl CommandDir {
    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// It was taken.
    pub fn accepted(&self) -> PathBuf {
        self.root.join("accepted.json")
    }

    /// What the dashboard is to be told.
    pub fn answered(&self) -> PathBuf {
        self.root.join("answered.json")
    }

    /// The dashboard took the answer.
    pub fn reported(&self) -> PathBuf {
        self.root.join("reported.json")
    }

    /// The dashboard will never take the answer.
    pub fn refused(&self) -> PathBuf {
        self.root.join("refused.json")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_place_follows_the_environment() {
        for (xdg, home, expected) in [
            (Some("/x"), Some("/h"), Some("/x/nixfleet")),
            (None, Some("/h"), Some("/h/.local/state/nixfleet")),
            (Some("relative"), Some("/h"), Some("/h/.local/state/nixfleet")),
            (None, Some("relative"), None),
            (None, None, None),
        ] {
            let place = StateDir::default_path(xdg.map(Path::new), home.map(Path::new));
            assert_eq!(place.ok(), expected.map(PathBuf::from), "{xdg:?} {home:?}");
        }
    }

    #[test]
    fn preparing_creates_and_closes() {
        let temporary = tempfile::tempdir().unwrap();
        let root = temporary.path().join("a/b");
        StateDir::prepare(&root).unwrap();
        fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).unwrap();
        let directory = StateDir::prepare(&root).unwrap();
        for path in directory.folders() {
            assert_eq!(fs::metadata(path).unwrap().mode() & 0o777, 0o700);
        }
    }

    #[test]
    fn root_makes_nothing_in_a_user_s_home() {
        for (me, owner, expected) in
            [(0, 501, true), (0, 0, false), (501, 501, false), (501, 0, false)]
        {
            assert_eq!(is_intruder(me, owner), expected, "{me} {owner}");
        }
        let temporary = tempfile::tempdir().unwrap();
        let owner = fs::metadata(temporary.path()).unwrap().uid();
        assert_eq!(nearest_owner(&temporary.path().join("not/there")), Some(owner));
    }

    #[test]
    fn a_place_that_will_not_do_is_said() {
        assert!(matches!(
            StateDir::prepare(Path::new("relative")),
            Err(StateDirError::Relative { .. })
        ));
        let temporary = tempfile::tempdir().unwrap();
        let file = temporary.path().join("file");
        fs::write(&file, "").unwrap();
        let error = StateDir::prepare(&file).unwrap_err();
        assert!(error.to_string().starts_with("cannot create state directory"), "{error}");
    }
}
