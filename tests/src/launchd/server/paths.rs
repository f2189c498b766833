//! Looks at the paths that a `KeepAlive` goes by.
//!
//! launchd is told of a change by the kernel, or looks every 3 seconds where the file system tells it
//! nothing (launchd-392 `semaphoreitem_watch`). The simulation looks everywhere, and oftener: the same
//! on every system, and no test has to wait.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

/// Between two looks, while a registered job goes by paths and nothing else happens.
pub(super) const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// Those that exist. What cannot be reached, and a link to nothing, does not: launchd goes by the
/// success of `stat` (launchd-392 `job_keepalive`), and its working directory is the root.
pub(super) fn existing(paths: BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
    paths.into_iter().filter(|path| Path::new("/").join(path).exists()).collect()
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    /// `stat(path) == 0` [C launchd-392 job_keepalive].
    #[test]
    fn a_path_exists_if_stat_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("file"), "").unwrap();
        symlink(at("file"), at("link")).unwrap();
        symlink(at("nothing"), at("dangling")).unwrap();
        let names = ["", "file", "link", "dangling", "nothing", "file/below", "nothing/below"];
        let expected = ["", "file", "link"].map(at).into();
        assert_eq!(existing(names.map(at).into()), expected);
        assert_eq!(existing(["tmp".into()].into()), ["tmp".into()].into());
    }
}
