//! The binaries that users run, built with the profile of whoever asks, once a process.
//!
//! Cargo gives a test the paths of its own package's binaries only, and does not build those of others for it. So
//! this asks cargo, which answers at once when they are fresh: a test never runs a stale program.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use super::Trouble;
use crate::launchd;

/// Where the programs are.
#[derive(Debug, Clone)]
pub struct Programs {
    folder: PathBuf,
}

impl Programs {
    /// Builds what is not fresh, and says where everything is.
    pub fn get() -> Result<&'static Self, Trouble> {
        static PROGRAMS: OnceLock<Result<Programs, String>> = OnceLock::new();
        PROGRAMS
            .get_or_init(|| build().map_err(|error| error.to_string()))
            .as_ref()
            .map_err(|why| Trouble::Said(why.clone()))
    }

    /// The agent.
    pub fn agent(&self) -> PathBuf {
        self.folder.join("nixfleet-agent")
    }

    /// The wrapper.
    pub fn switch(&self) -> PathBuf {
        self.folder.join("nixfleet-switch")
    }

    /// The dashboard.
    pub fn dashboard(&self) -> PathBuf {
        self.folder.join("nixfleet-dashboard")
    }

    /// The agent of the old way, which runs home-manager as its child.
    pub fn old_way_agent(&self) -> PathBuf {
        self.folder.join("old-way-agent")
    }

    /// What starts the agent and is slow, deaf or untidy at its end.
    pub fn agent_launcher(&self) -> PathBuf {
        self.folder.join("agent-launcher")
    }

    /// The simulated launchd.
    pub fn launchd(&self) -> launchd::Programs {
        launchd::Programs {
            launchd: self.folder.join("launchd-sim"),
            launchctl: self.folder.join("launchctl-sim"),
        }
    }

    /// The stand-in for home-manager.
    pub fn home_manager() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("programs/home-manager")
    }
}

/// Where our own executable lies: `target/PROFILE`, or `target/PROFILE/deps` for a test.
fn target_folder() -> Result<PathBuf, Trouble> {
    let own = env::current_exe().map_err(Trouble::run("ourselves"))?;
    let folder = own.parent().unwrap_or(Path::new("/"));
    let folder = if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder };
    Ok(folder.to_owned())
}

fn build() -> Result<Programs, Trouble> {
    let folder = target_folder()?;
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--workspace", "--bins"]);
    if folder.ends_with("release") {
        cargo.arg("--release");
    }
    if let Some(target) = folder.parent() {
        cargo.arg("--target-dir").arg(target);
    }
    if let Some(workspace) = Path::new(env!("CARGO_MANIFEST_DIR")).parent() {
        cargo.current_dir(workspace);
    }
    // Cargo tells a test about the package it belongs to; build scripts would take that for a change.
    for (name, _value) in env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(name.as_ref());
        }
    }
    let status = cargo.status().map_err(Trouble::run("cargo"))?;
    if status.success() {
        Ok(Programs { folder })
    } else {
        Err(Trouble::Said(format!("the programs cannot be built: cargo ended with {status}")))
    }
}
