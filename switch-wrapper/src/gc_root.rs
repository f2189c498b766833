//! Keeping what lies in the Nix store from being collected as garbage.

use std::{
    path::{Component, Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use nixfleet_protocol::external::{self, ExternalError};

/// The store.
const STORE: &str = "/nix/store";

/// `nix-store` of the multi-user installation; a job's own PATH does not lead to it.
const NIX_STORE: &str = "/nix/var/nix/profiles/default/bin/nix-store";

/// Why there is no root.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RootError {
    /// `nix-store` did not answer.
    #[error(transparent)]
    NixStore(#[from] ExternalError),
    /// It refused.
    #[error("nix-store does not make {} a root: {said}", root.display())]
    Refused { root: PathBuf, said: String },
}

/// The store path that a file belongs to; nothing for a file outside the store.
pub(crate) fn store_path(file: &Path) -> Option<PathBuf> {
    let inside = file.strip_prefix(STORE).ok()?;
    match inside.components().next()? {
        Component::Normal(name) => Some(Path::new(STORE).join(name)),
        Component::Prefix(_) | Component::RootDir | Component::CurDir | Component::ParentDir => {
            None
        }
    }
}

/// Makes `root` a link to what `file` belongs to, and the garbage collector know of it. Outside the store there is
/// nothing to do.
pub(crate) fn keep(root: &Path, file: &Path, limit: Duration) -> Result<(), RootError> {
    let Some(store_path) = store_path(file) else { return Ok(()) };
    if root.read_link().ok().as_deref() == Some(&store_path) {
        return Ok(());
    }
    let program = if Path::new(NIX_STORE).exists() { NIX_STORE } else { "nix-store" };
    let mut command = Command::new(program);
    command.arg("--realise").arg(&store_path).arg("--add-root").arg(root).stdin(Stdio::null());
    let ended = external::run(&mut command, limit)?;
    if ended.exit_code == Some(0) {
        return Ok(());
    }
    let said = ended.stderr.trim().chars().take(300).collect();
    Err(RootError::Refused { root: root.to_owned(), said })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_in_the_store_has_a_store_path() {
        for (file, expected) in [
            ("/nix/store/0-x/bin/agent", Some("/nix/store/0-x")),
            ("/nix/store/0-x", Some("/nix/store/0-x")),
            ("/nix/store", None),
            ("/usr/bin/agent", None),
            ("/nix/store/../x", None),
        ] {
            assert_eq!(store_path(Path::new(file)), expected.map(PathBuf::from), "{file}");
        }
        let folder = tempfile::tempdir().unwrap();
        keep(&folder.path().join("root"), Path::new("/usr/bin/agent"), Duration::from_secs(1))
            .unwrap();
        assert!(!folder.path().join("root").exists());
    }
}
