//! A sandbox with a running launchd, for the tests of the simulation itself.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
    thread,
    time::{Duration, Instant},
};

use nixfleet_tests::launchd::{LaunchdSim, Options, Programs};
use tempfile::TempDir;

/// Nothing that these tests wait for takes longer.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(5);

/// A sandbox: `home`, `bin/launchctl`, `launchd`.
pub(crate) struct Bed {
    pub(crate) simulation: LaunchdSim,
    pub(crate) options: Options,
    // Last, so that the jobs are gone before their files are.
    folder: TempDir,
}

/// What a program said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Bed {
    /// macOS 15 with a screen session.
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Options)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("home");
        fs::create_dir_all(home.join("Library/LaunchAgents")).unwrap();
        let programs = Programs {
            launchd: PathBuf::from(env!("CARGO_BIN_EXE_launchd-sim")),
            launchctl: PathBuf::from(env!("CARGO_BIN_EXE_launchctl-sim")),
        };
        let mut options = Options::new(programs, home);
        change(&mut options);
        let simulation = LaunchdSim::start(folder.path(), &options).unwrap();
        Self { simulation, options, folder }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn uid(&self) -> u32 {
        self.options.uid.unwrap_or_else(|| rustix::process::getuid().as_raw())
    }

    pub(crate) fn gui(&self) -> String {
        format!("gui/{}", self.uid())
    }

    pub(crate) fn target(&self, label: &str) -> String {
        format!("{}/{label}", self.gui())
    }

    /// Calls `launchctl` as the simulated user.
    pub(crate) fn launchctl(&self, arguments: &[&str]) -> Said {
        let uid = self.uid().to_string();
        let mut command = Command::new(self.simulation.launchctl());
        said(command.args(arguments).env("NIXFLEET_SIM_CALLER_UID", uid))
    }

    pub(crate) fn print(&self, label: &str) -> Said {
        self.launchctl(&["print", &self.target(label)])
    }

    /// A field of `print`, at exactly one tab.
    pub(crate) fn field(&self, label: &str, name: &str) -> Option<String> {
        let prefix = format!("\t{name} = ");
        let text = self.print(label).stdout;
        text.lines().find_map(|line| line.strip_prefix(&prefix)).map(str::to_owned)
    }

    pub(crate) fn wait_for_field(&self, label: &str, name: &str, value: &str) {
        wait_until(&format!("{label}: {name} = {value}"), || {
            self.field(label, name).as_deref() == Some(value)
        });
    }

    pub(crate) fn wait_until_gone(&self, label: &str) {
        wait_until(&format!("{label} is gone"), || self.print(label).code == Some(113));
    }

    /// Where the plist of a label lies in the user's home.
    pub(crate) fn agent_path(&self, label: &str) -> PathBuf {
        self.options.home.join(format!("Library/LaunchAgents/{label}.plist"))
    }

    /// Writes the plist of a job that runs a shell script in the sandbox.
    pub(crate) fn write_plist(&self, path: &Path, label: &str, script: &str, keys: &str) {
        let text = format!(
            r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0"><dict>
<key>Label</key><string>{label}</string>
<key>ProgramArguments</key><array>
<string>/bin/bash</string><string>-c</string><string>{}</string>
</array>
<key>WorkingDirectory</key><string>{}</string>
{keys}
</dict></plist>
"#,
            script.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;"),
            self.folder.path().display(),
        );
        // Whatever stood there may be read-only, as home-manager leaves it.
        let next = path.with_extension("next");
        fs::write(&next, text).unwrap();
        fs::set_permissions(&next, fs::Permissions::from_mode(0o644)).unwrap();
        fs::rename(&next, path).unwrap();
    }
}

/// Runs a program to its end.
pub(crate) fn said(command: &mut Command) -> Said {
    let Output { status, stdout, stderr } = command.output().unwrap();
    Said {
        code: status.code(),
        stdout: String::from_utf8(stdout).unwrap(),
        stderr: String::from_utf8(stderr).unwrap(),
    }
}

/// Waits for a fact.
pub(crate) fn wait_until(what: &str, mut fact: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !fact() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        thread::sleep(LOOK);
    }
}

/// A script that runs until it is told to end, and then until the file exists.
pub(crate) fn drains_until(file: &str) -> String {
    format!(
        "trap 'until [ -e {file} ]; do sleep 0.02; done; exit 0' TERM; while :; do sleep 0.02; done"
    )
}
