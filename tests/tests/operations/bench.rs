//! A machine with the wrapper, home-manager and git, and a remote repository.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{Command, Output},
};

use jiff::Timestamp;
use nixfleet_protocol::{
    journal::{
        records::{FORMAT, Initiator, Request, SwitchId, SwitchResult},
        store::Journal,
    },
    operation::Operation,
    state_dir::StateDir,
    switch_kind::SwitchKind,
};
use nixfleet_tests::stage::folder::{Config, Folder, HOST};

use crate::remote::Remote;

/// Does as git does, but first what the file `git-does` says, with the words of the call. What was called is written down.
const GIT: &str = r#"#!/bin/bash
echo "$*" >> FOLDER/git-calls
[ -e FOLDER/git-does ] && . FOLDER/git-does
exec REAL "$@"
"#;

pub(crate) struct Bench {
    pub(crate) folder: Folder,
    pub(crate) remote: Remote,
}

impl Bench {
    /// With these lines in its config; `FOLDER` is its folder. `None`, and said, where there is no git.
    pub(crate) fn new(config: &str) -> Option<Self> {
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
        let remote = Remote::new(folder.root())?;
        let git = remote.git().to_string_lossy().into_owned();
        let bench = Self { folder, remote };
        bench.program("git", &GIT.replace("FOLDER", &root).replace("REAL", &git));
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

    /// Accepts this as the agent does.
    pub(crate) fn accept(&self, operation: Operation) -> SwitchId {
        let request = Request {
            format: FORMAT,
            id: SwitchId::generate(),
            initiator: Initiator::Agent,
            command_id: None,
            operation,
            kind: SwitchKind::HomeManager,
            argv: vec!["--flake".to_owned(), self.checkout().display().to_string()],
            cwd: self.folder.home(),
            requested_at: Timestamp::now(),
            host: HOST.to_owned(),
        };
        let directory = StateDir::prepare(&self.folder.state_dir()).unwrap();
        Journal::new(directory).accept(&request).unwrap();
        request.id
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
        ["repo.new", "repo.old", "repo.changing"].into_iter().filter(is_there).collect()
    }
}
