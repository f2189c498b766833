//! A machine with nothing but the wrapper, the agent and what switches, run by somebody who is not root.

use std::{
    fs,
    os::unix::{
        fs::{PermissionsExt as _, lchown},
        process::CommandExt as _,
    },
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use nixfleet_protocol::journal::records::SwitchResult;
use nixfleet_tests::stage::{
    folder::{Config, Folder},
    not_run, processes, wait,
};

/// `nobody`, as almost everywhere. It needs no entry in the user database.
const SOMEBODY: u32 = 65534;

/// Does as sudo(8) does, but for the change of the user: that is a variable. `asks` is there: it wants a password.
const SUDO: &str = r#"#!/bin/sh
echo "sudo $*" >> FOLDER/calls
never= list=
[ "$1" = -n ] && { never=1; shift; }
[ "$1" = -l ] && { list=1; shift; }
[ "$1" = -- ] && shift
if [ -e FOLDER/asks ]; then
    [ -n "$never" ] && { echo "sudo: ein Passwort ist notwendig" >&2; exit 1; }
    printf 'password: ' > /dev/tty
    read -r _ < /dev/tty
fi
[ -n "$list" ] && exit 0
ROOT=1 exec "$@"
"#;

/// Sets a generation, runs the scenario, and activates the generation, as NixOS does.
const REBUILD: &str = r#"#!/bin/bash
echo "$*" >> FOLDER/calls
generation=FOLDER/store/$$-system
mkdir -p "$generation"
ln -sfn "$generation" FOLDER/system
. FOLDER/scenario.sh
ln -sfn "$generation" FOLDER/current
echo "activated $*"
"#;

/// A machine with nothing but the wrapper and what switches.
pub(crate) struct Bench {
    pub(crate) folder: Folder,
    pub(crate) user: Option<u32>,
}

impl Bench {
    /// With these lines in its config. `None`, and said, where there is nobody to run it.
    pub(crate) fn new(config: &str) -> Option<Self> {
        Self::at("http://127.0.0.1:9", config)
    }

    pub(crate) fn at(url: &str, config: &str) -> Option<Self> {
        let folder = Folder::new().unwrap();
        let user = rustix::process::geteuid().is_root().then_some(SOMEBODY);
        let bench = Self { folder, user };
        for name in ["nixfleet-switch", "nixfleet-agent"] {
            bench.own_copy(&bench.folder.path("bin").join(name));
        }
        let root = bench.folder.root().display().to_string();
        for (name, text) in
            [("sudo", SUDO), ("nixos-rebuild", REBUILD), ("darwin-rebuild", REBUILD)]
        {
            bench.program(name, &text.replace("FOLDER", &root));
        }
        bench.folder.write("scenario.sh", "").unwrap();
        let path = bench.folder.write_config(&Config {
            url: url.to_owned(),
            service_manager: "none",
            label: "com.example.none".to_owned(),
            interval: 1,
        });
        let links = "profile = \"FOLDER/system\"\ncurrent_generation = \"FOLDER/current\"\n";
        let sudo = "sudo = \"FOLDER/bin/sudo\"\n";
        let base = fs::read_to_string(path.unwrap()).unwrap();
        let base = if config.contains("service_manager") {
            base.replace("service_manager = \"none\"\nagent_label = \"com.example.none\"\n", "")
        } else {
            base
        };
        let text = base + sudo + links + config;
        bench.folder.write("config.toml", &text.replace("FOLDER", &root)).unwrap();
        bench.give_away();
        let version = bench.command("nixfleet-switch").arg("--version").output();
        if !version.is_ok_and(|output| output.status.success()) {
            not_run("root cannot give the folder for temporary files to another user here");
            return None;
        }
        Some(bench)
    }

    /// The other user may not be able to read the folder in which it was built.
    fn own_copy(&self, link: &Path) {
        if self.user.is_some() {
            let program = link.canonicalize().unwrap();
            fs::remove_file(link).unwrap();
            fs::copy(program, link).unwrap();
        }
    }

    pub(crate) fn program(&self, name: &str, text: &str) {
        let path = self.folder.write(&format!("bin/{name}"), text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    pub(crate) fn give_away(&self) {
        fn give(path: &Path, user: u32) {
            lchown(path, Some(user), Some(user)).unwrap();
            if fs::symlink_metadata(path).unwrap().is_dir() {
                for entry in fs::read_dir(path).unwrap() {
                    give(&entry.unwrap().path(), user);
                }
            }
        }
        if let Some(user) = self.user {
            give(self.folder.root(), user);
        }
    }

    pub(crate) fn command(&self, name: &str) -> Command {
        let mut command = self.folder.user_command(name);
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command
    }

    pub(crate) fn switch(&self, arguments: &[&str]) -> Output {
        self.command("nixfleet-switch").args(arguments).output().unwrap()
    }

    pub(crate) fn scenario(&self, text: &str) {
        self.folder.write("scenario.sh", text).unwrap();
        self.give_away();
    }

    /// What was called, without the folder's name, and the list wiped.
    pub(crate) fn calls(&self) -> Vec<String> {
        let path = self.folder.path("calls");
        let text = fs::read_to_string(&path).unwrap_or_default();
        let _ = fs::remove_file(path);
        let root = self.folder.root().display().to_string();
        text.lines().map(|line| line.replace(&root, "FOLDER")).collect()
    }

    pub(crate) fn result(&self) -> SwitchResult {
        let id = self.folder.newest_switch().unwrap().unwrap();
        self.folder.journal().unwrap().entry(id).result.present().unwrap()
    }

    pub(crate) fn wait_for_call(&self, call: &str) {
        wait::until_true(&format!("{call} is called"), wait::PATIENCE, || {
            let text = fs::read_to_string(self.folder.path("calls")).unwrap_or_default();
            Ok(text.lines().any(|line| line.starts_with(call)))
        })
        .unwrap();
    }

    pub(crate) fn store_path(&self, link: &str) -> Option<String> {
        let target = self.folder.path(link).canonicalize().ok()?;
        Some(target.to_string_lossy().into_owned())
    }

    pub(crate) fn end(self) {
        processes::none_left(self.folder.root(), Duration::from_secs(15)).unwrap();
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
