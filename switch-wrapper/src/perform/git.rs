//! The user's git: without prompts, with a time limit for every call, and with nothing secret in words or variables.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use nixfleet_protocol::switch_settings::Repository;

use super::{
    PerformError,
    steps::{self, StepError},
};

/// How long something may take that talks to another machine.
pub(super) const REMOTE_LIMIT: Duration = Duration::from_mins(5);

/// How long it may take to get a whole repository.
pub(super) const CLONE_LIMIT: Duration = Duration::from_mins(15);

/// How long something may take that does not leave this machine.
pub(super) const LOCAL_LIMIT: Duration = Duration::from_mins(2);

/// How long a question may take that git answers from a file.
const ASK_LIMIT: Duration = Duration::from_secs(20);

/// The ssh that git runs. git has a shell read this; nothing from outside is in it, the key's path is in a variable. It
/// never asks: a host that is not known yet is remembered, one whose key has changed is refused.
const SSH: &str = "exec ssh -o BatchMode=yes -o StrictHostKeyChecking=accept-new -o ConnectTimeout=15 \
                   -o ServerAliveInterval=15 -o ServerAliveCountMax=4";

/// What follows where a key was named.
const WITH_KEY: &str = r#" -o IdentitiesOnly=yes -i "$NIXFLEET_SSH_KEY""#;

/// What git would leave at work in the background.
const IN_THE_FOREGROUND: [&str; 6] = [
    "-c",
    "gc.autoDetach=false",
    "-c",
    "maintenance.autoDetach=false",
    "-c",
    "advice.detachedHead=false",
];

/// What is committed here is not a person's, so it has no person's signature; and a key may have a passphrase to ask for.
const WITHOUT_SIGNATURE: [&str; 4] = ["-c", "commit.gpgSign=false", "-c", "push.gpgSign=false"];

/// A person's changes stay where they are. What would put them aside for a pull and back may leave marks of a conflict, and
/// calls that done.
const WITHOUT_STASH: [&str; 4] = ["-c", "merge.autoStash=false", "-c", "rebase.autoStash=false"];

/// Hooks are a person's business, in a person's checkout; our own clone has none. Nor has it what git would leave at work
/// to watch its files.
const OWN_CLONE: [&str; 4] = ["-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false"];

/// What another git has set around us is about another repository. (`git rev-parse --local-env-vars` has more, which only
/// say how to read one.)
const OF_ANOTHER_REPOSITORY: [&str; 10] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_COMMON_DIR",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_SHALLOW_FILE",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
    "GIT_CONFIG",
];

/// git, for one repository.
#[derive(Debug)]
pub(super) struct Git {
    program: PathBuf,
    ssh_key_file: Option<PathBuf>,
    /// Where our own clone is, if it is about that.
    own_clone: Option<PathBuf>,
    /// A person has said how git runs ssh, with which key for one; that is how it is to be done.
    has_ssh_of_its_own: bool,
}

impl Git {
    /// The git that PATH has, for this checkout. `repository` names the key for its remote, where the clone is our own.
    pub(super) fn find(
        repository: Option<&Repository>,
        checkout: &Path,
    ) -> Result<Self, PerformError> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&path)
            .map(|folder| folder.join("git"))
            .find(|place| crate::switch::environment::is_program(place));
        let program = found.ok_or_else(|| {
            let looked_in = path.to_string_lossy();
            PerformError::Impossible(format!(
                "cannot find `git`; looked in {looked_in}; install it"
            ))
        })?;
        let ssh_key_file = repository.and_then(|repository| repository.ssh_key_file.clone());
        if let Some(key) = ssh_key_file.as_ref().filter(|key| !key.is_file()) {
            let why = format!("ssh_key_file {} is not there; put the key there", key.display());
            return Err(PerformError::Impossible(why));
        }
        let own_clone = repository.map(|_| checkout.to_owned());
        let mut git = Self { program, ssh_key_file, own_clone, has_ssh_of_its_own: false };
        git.has_ssh_of_its_own = git.ssh_key_file.is_none() && git.says_how_ssh_is_run(checkout)?;
        Ok(git)
    }

    fn says_how_ssh_is_run(&self, checkout: &Path) -> Result<bool, StepError> {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        if is_set("GIT_SSH_COMMAND") || is_set("GIT_SSH") {
            return Ok(true);
        }
        // In our own clone nobody has set anything, and it may be broken: what counts is set for all repositories.
        let is_given = self.own_clone.is_none() && checkout.is_dir();
        let folder = if is_given { checkout } else { Path::new("/") };
        Ok(self.ask(folder, ["config", "--get", "core.sshCommand"])?.is_some())
    }

    /// A call of git, in this folder.
    pub(super) fn call(&self, folder: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(IN_THE_FOREGROUND)
            .args(WITHOUT_SIGNATURE)
            .args(WITHOUT_STASH)
            .current_dir(folder)
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_PAGER", "cat")
            // What asks by a window asks nobody here.
            .env("GIT_ASKPASS", "false")
            .env("SSH_ASKPASS", "false")
            .env("SSH_ASKPASS_REQUIRE", "never")
            .env("GCM_INTERACTIVE", "never")
            .env("LC_ALL", "C");
        if let Some(key) = &self.ssh_key_file {
            command.env("NIXFLEET_SSH_KEY", key);
        }
        if !self.has_ssh_of_its_own {
            let with_key = self.ssh_key_file.as_ref().map_or("", |_key| WITH_KEY);
            command.env("GIT_SSH_COMMAND", format!("{SSH}{with_key}"));
            command.env("GIT_SSH_VARIANT", "ssh");
        }
        for variable in OF_ANOTHER_REPOSITORY {
            command.env_remove(variable);
        }
        if let Some(clone) = &self.own_clone {
            command.args(OWN_CLONE);
            if folder == clone {
                // A broken one must not be taken for a part of a repository around it, such as a home that is one: what
                // is done to ours would be done to that.
                command.env("GIT_DIR", clone.join(".git")).env("GIT_WORK_TREE", clone);
            }
        }
        command
    }

    /// Runs git to its end; what it says is the operation's output.
    pub(super) fn run<Word: AsRef<OsStr>>(
        &self,
        folder: &Path,
        words: impl IntoIterator<Item = Word>,
        limit: Duration,
    ) -> Result<(), StepError> {
        let mut command = self.call(folder);
        let before = command.get_args().count();
        command.args(words);
        let verb = command.get_args().nth(before).map(OsStr::to_string_lossy);
        let what = format!("git {}", verb.as_deref().unwrap_or_default());
        steps::run(&what, &mut command, limit)
    }

    /// What git answers, without white space around it; nothing where it cannot answer.
    pub(super) fn ask<const N: usize>(
        &self,
        folder: &Path,
        words: [&str; N],
    ) -> Result<Option<String>, StepError> {
        let mut command = self.call(folder);
        let ended = steps::ask(command.args(words), ASK_LIMIT)?;
        let said = ended.stdout.trim();
        Ok((ended.exit_code == Some(0) && !said.is_empty()).then(|| said.to_owned()))
    }

    /// Why this folder is no checkout, in git's words: it may be one that git refuses because it is somebody else's.
    pub(super) fn why_no_checkout(&self, folder: &Path) -> Result<Option<String>, StepError> {
        if !folder.is_dir() {
            return Ok(Some("there is no such folder".to_owned()));
        }
        let mut command = self.call(folder);
        let ended = steps::ask(command.args(["rev-parse", "--is-inside-work-tree"]), ASK_LIMIT)?;
        Ok(match (ended.exit_code, ended.stdout.trim()) {
            (Some(0), "true") => None,
            (Some(0), _) => Some("it has no files to work on".to_owned()),
            _failed => Some(ended.stderr.lines().next().unwrap_or_default().to_owned()),
        })
    }

    /// The revision that this name stands for.
    pub(super) fn revision(&self, folder: &Path, name: &str) -> Result<Option<String>, StepError> {
        self.ask(folder, ["rev-parse", "--verify", "--quiet", &format!("{name}^{{commit}}")])
    }
}
