//! A machine with the wrapper, home-manager and git, and a remote repository.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use nixfleet_protocol::journal::records::SwitchResult;
use nixfleet_tests::stage::{
    folder::{Config, Folder, HOST},
    not_run,
};

/// Does as git does, but first what the file `git-does` says, with the words of the call. What was called is written down.
const GIT: &str = r#"#!/bin/bash
echo "$*" >> FOLDER/git-calls
[ -e FOLDER/git-does ] && . FOLDER/git-does
exec REAL "$@"
"#;

pub(crate) struct Bench {
    pub(crate) folder: Folder,
}

impl Bench {
    /// With these lines in its config; `FOLDER` is its folder. `None`, and said, where there is no git.
    pub(crate) fn new(config: &str) -> Option<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let real = std::env::split_paths(&path)
            .map(|folder| folder.join("git"))
            .find(|program| Command::new(program).arg("--version").output().is_ok());
        let Some(real) = real else {
            not_run("no git");
            return None;
        };
        let folder = Folder::new().unwrap();
        let root = folder.root().display().to_string();
        let path = folder
            .write_config(&Config {
                url: "http://127.0.0.1:9".to_owned(),
                service_manager: "none",
                label: "com.example.none".to_owned(),
                interval: 30,
            })
            .unwrap();
        let base = fs::read_to_string(path).unwrap();
        folder.write("config.toml", &(base + &config.replace("FOLDER", &root))).unwrap();
        folder.scenario("PLATFORM=linux\n").unwrap();
        let bench = Self { folder };
        bench
            .program("git", &GIT.replace("FOLDER", &root).replace("REAL", &real.to_string_lossy()));
        bench.git(
            &bench.folder.path(""),
            &["init", "--quiet", "--bare", "--initial-branch=main", "remote"],
        );
        bench.git(&bench.folder.path(""), &["clone", "--quiet", "remote", "author"]);
        bench.git(&bench.author(), &["checkout", "--quiet", "-B", "main"]);
        bench.publish("number", "1");
        Some(bench)
    }

    /// One that has a clone of its own.
    pub(crate) fn with_own_clone() -> Option<Self> {
        Self::new("repo_url = \"FOLDER/remote\"\n")
    }

    pub(crate) fn program(&self, name: &str, text: &str) {
        let path = self.folder.write(&format!("bin/{name}"), text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// The next calls of git by the wrapper do this first.
    pub(crate) fn git_does(&self, script: &str) {
        let root = self.folder.root().display().to_string();
        self.folder.write("git-does", &script.replace("FOLDER", &root)).unwrap();
    }

    /// What the wrapper has called git with.
    pub(crate) fn git_calls(&self) -> String {
        fs::read_to_string(self.folder.path("git-calls")).unwrap_or_default()
    }

    /// Runs the real git as the author of the repository.
    pub(crate) fn git(&self, folder: &Path, words: &[&str]) -> String {
        let own = self.folder.path("bin/git");
        let real = fs::read_to_string(own).unwrap();
        let real = real.lines().last().unwrap().split(' ').nth(1).unwrap().to_owned();
        let output = Command::new(real)
            .args(["-c", "user.name=author", "-c", "user.email=author@example.org"])
            .args(words)
            .current_dir(folder)
            .env("HOME", self.folder.home())
            .output()
            .unwrap();
        assert!(output.status.success(), "git {words:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// The author's clone.
    pub(crate) fn author(&self) -> PathBuf {
        self.folder.path("author")
    }

    /// The author publishes a file with this text; the revision.
    pub(crate) fn publish(&self, file: &str, text: &str) -> String {
        let path = self.author().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        self.git(&self.author(), &["add", "--all"]);
        self.git(&self.author(), &["commit", "--quiet", "-m", &format!("{file} is {text:.20}")]);
        self.git(&self.author(), &["push", "--quiet", "--force", "origin", "main"]);
        self.git(&self.author(), &["rev-parse", "HEAD"])
    }

    /// The author publishes one of the host's tests.
    pub(crate) fn publish_test(&self, name: &str, script: &str) {
        let file = format!("hosts/{HOST}/tests/{name}");
        let path = self.author().join(&file);
        self.publish(&file, &format!("#!/bin/bash\n{script}\n"));
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        self.publish(&file, &format!("#!/bin/bash\n# {name}\n{script}\n"));
    }

    /// The wrapper's own clone.
    pub(crate) fn checkout(&self) -> PathBuf {
        self.folder.state_dir().join("repo")
    }

    /// A file of that clone.
    pub(crate) fn checked_out(&self, file: &str) -> Option<String> {
        fs::read_to_string(self.checkout().join(file)).ok()
    }

    pub(crate) fn command(&self) -> Command {
        self.folder.user_command("nixfleet-switch")
    }

    /// Runs the wrapper; its exit code, and the result.
    pub(crate) fn run(&self, words: &[&str]) -> (Option<i32>, SwitchResult) {
        let output = self.command().args(words).output().unwrap();
        (output.status.code(), self.newest_result(&output))
    }

    fn newest_result(&self, output: &Output) -> SwitchResult {
        let id = self.folder.newest_switch().unwrap();
        let journal = self.folder.journal().unwrap();
        let result = id.and_then(|id| journal.entry(id).result.present());
        result.ok_or(output).unwrap()
    }

    /// The output of the newest one.
    pub(crate) fn log(&self) -> String {
        let id = self.folder.newest_switch().unwrap().unwrap();
        let journal = self.folder.journal().unwrap();
        let path = journal.directory().switch(id).output_log();
        String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned()
    }

    /// What is left beside the clone.
    pub(crate) fn leftovers(&self) -> Vec<&'static str> {
        let is_there = |name: &&str| self.folder.state_dir().join(name).exists();
        ["repo.new", "repo.old"].into_iter().filter(is_there).collect()
    }
}
