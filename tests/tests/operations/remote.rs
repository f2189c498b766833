//! A remote repository in a folder, and its author, with a real git.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use nixfleet_tests::stage::{folder::HOST, not_run};

/// `remote` and `author`, the author's clone of it, in one folder.
pub(crate) struct Remote {
    folder: PathBuf,
    git: PathBuf,
}

impl Remote {
    /// One with a file `number`. `None`, and said, where there is no git.
    pub(crate) fn new(folder: &Path) -> Option<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let git = std::env::split_paths(&path)
            .map(|folder| folder.join("git"))
            .find(|program| Command::new(program).arg("--version").output().is_ok());
        let Some(git) = git else {
            not_run("no git");
            return None;
        };
        let remote = Self { folder: folder.to_owned(), git };
        remote.run(folder, &["init", "--quiet", "--bare", "--initial-branch=main", "remote"]);
        remote.run(folder, &["clone", "--quiet", "remote", "author"]);
        remote.run(&remote.author(), &["checkout", "--quiet", "-B", "main"]);
        remote.publish("number", "1");
        Some(remote)
    }

    /// The real git.
    pub(crate) fn git(&self) -> &Path {
        &self.git
    }

    /// Runs the real git as the author of the repository.
    pub(crate) fn run(&self, folder: &Path, words: &[&str]) -> String {
        let output = Command::new(&self.git)
            .args(["-c", "user.name=author", "-c", "user.email=author@example.org"])
            .args(words)
            .current_dir(folder)
            .env("HOME", &self.folder)
            .output()
            .unwrap();
        assert!(output.status.success(), "git {words:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// The author's clone.
    pub(crate) fn author(&self) -> PathBuf {
        self.folder.join("author")
    }

    /// The author publishes a file with this text; the revision.
    pub(crate) fn publish(&self, file: &str, text: &str) -> String {
        let path = self.author().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        self.run(&self.author(), &["add", "--all"]);
        self.run(&self.author(), &["commit", "--quiet", "-m", &format!("{file} is {text:.20}")]);
        self.run(&self.author(), &["push", "--quiet", "--force", "origin", "main"]);
        self.run(&self.author(), &["rev-parse", "HEAD"])
    }

    /// The author publishes one of the host's tests.
    pub(crate) fn publish_test(&self, name: &str, script: &str) {
        let file = format!("hosts/{HOST}/tests/{name}");
        let path = self.author().join(&file);
        self.publish(&file, &format!("#!/bin/bash\n{script}\n"));
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        self.publish(&file, &format!("#!/bin/bash\n# {name}\n{script}\n"));
    }
}
