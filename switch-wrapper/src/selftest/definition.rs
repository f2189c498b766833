//! The definitions of the throw-away agent's job.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde::Serialize;

use super::{Trouble, scene::Scene, stand_in::agent::OnTerm};
use crate::cli::SELFTEST_AGENT;

/// What a definition says beside what all of them say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AgentJob {
    /// How the agent ends when it is told to.
    pub(super) on_term: OnTerm,
    /// Who starts it.
    pub(super) start: Start,
    /// Whether it starts a child with a session of its own.
    pub(super) child: Child,
    /// Tells one definition from the next.
    pub(super) version: u32,
}

/// Who starts the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// launchd, at once and whenever it ends: `RunAtLoad` and `KeepAlive`.
    ByItself,
    /// Nobody but `kickstart`.
    OnDemand,
    /// launchd would, if the program were there.
    MissingProgram,
}

/// What the agent has beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Child {
    /// Nothing.
    None,
    /// A child with a session of its own.
    OwnSession,
}

/// launchd.plist(5). No log files: one that cannot be opened keeps launchd from starting the job (78).
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Plist {
    label: String,
    program_arguments: Vec<String>,
    environment_variables: BTreeMap<&'static str, String>,
    run_at_load: bool,
    keep_alive: bool,
    /// In either domain: where nobody is logged in at the screen, there is `user/UID`.
    limit_load_to_session_type: [&'static str; 2],
}

impl AgentJob {
    /// One that launchd keeps up and that takes its time to end.
    pub(super) const fn slow(version: u32) -> Self {
        Self { on_term: OnTerm::Slow, start: Start::ByItself, child: Child::None, version }
    }

    /// One that launchd keeps up and that ends at once.
    pub(super) const fn prompt(version: u32) -> Self {
        Self { on_term: OnTerm::AtOnce, ..Self::slow(version) }
    }

    /// The definition as a plist.
    pub(super) fn plist(&self, scene: &Scene) -> Result<Vec<u8>, Trouble> {
        let plist = Plist {
            label: scene.agent_label.clone(),
            program_arguments: self.arguments(scene),
            environment_variables: BTreeMap::from([(
                "NIXFLEET_SELFTEST_VERSION",
                self.version.to_string(),
            )]),
            run_at_load: self.start != Start::OnDemand,
            keep_alive: self.start != Start::OnDemand,
            limit_load_to_session_type: ["Aqua", "Background"],
        };
        let mut text = Vec::new();
        plist::to_writer_xml(&mut text, &plist).map_err(Trouble::Plist)?;
        text.push(b'\n');
        Ok(text)
    }

    fn arguments(&self, scene: &Scene) -> Vec<String> {
        let program = match self.start {
            Start::ByItself | Start::OnDemand => scene.agent(),
            Start::MissingProgram => missing_program(&scene.folder),
        };
        let mut words: Vec<String> = vec![
            program.to_string_lossy().into_owned(),
            SELFTEST_AGENT.to_owned(),
            "--folder".to_owned(),
            scene.folder.to_string_lossy().into_owned(),
            "--on-term".to_owned(),
            self.on_term.as_str().to_owned(),
        ];
        if self.child == Child::OwnSession {
            words.push("--with-child".to_owned());
        }
        words
    }
}

/// A program that is not there.
fn missing_program(folder: &Path) -> PathBuf {
    folder.join("bin/no-such-agent")
}

#[cfg(test)]
mod tests {
    use nixfleet_protocol::process::ProcessIdentity;

    use super::*;

    fn scene() -> Scene {
        Scene {
            folder: "/tmp/a&b".into(),
            process: ProcessIdentity { pid: 1, start: String::new() },
            domain: "gui/501".to_owned(),
            agent_label: "com.nixfleet.selftest.1.agent".to_owned(),
            watchdog_label: "com.nixfleet.selftest.1.watchdog".to_owned(),
            launchctl: "/bin/launchctl".into(),
            caffeinate: "/usr/bin/caffeinate".into(),
        }
    }

    #[test]
    fn definitions_differ_in_what_they_are_for() {
        let read = |job: &AgentJob| -> plist::Dictionary {
            plist::from_bytes(&job.plist(&scene()).unwrap()).unwrap()
        };
        let slow = read(&AgentJob::slow(1));
        assert_eq!(slow["KeepAlive"].as_boolean(), Some(true));
        assert_eq!(slow["Label"].as_string(), Some("com.nixfleet.selftest.1.agent"));
        let arguments = slow["ProgramArguments"].as_array().unwrap();
        assert_eq!(arguments[0].as_string(), Some("/tmp/a&b/bin/agent"));
        assert_eq!(arguments[5].as_string(), Some("slow"));
        let on_demand = read(&AgentJob { start: Start::OnDemand, ..AgentJob::slow(1) });
        assert_eq!(on_demand["RunAtLoad"].as_boolean(), Some(false));
        assert_ne!(
            AgentJob::slow(1).plist(&scene()).unwrap(),
            AgentJob::slow(2).plist(&scene()).unwrap()
        );
    }
}
