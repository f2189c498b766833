//! Whether what no program can help was said.

use std::{
    io::Read as _,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use nixfleet_protocol::journal::{
    records::{AgentVerdict, Reload},
    store::Journal,
};

use super::{fault::Unhelpable, observation::Naming, scene::Scene};
use crate::{launchd::Control, stage::Trouble};

/// When it is given up that it will be said.
const PATIENCE: Duration = Duration::from_secs(75);

/// Looks whether it is said: in the journal, and if it is not there, by `nixfleet-switch ensure-agent --json`.
#[derive(Debug)]
pub(super) struct NamingWatch {
    why: Unhelpable,
    rescue: Control,
    since: Option<Instant>,
    asked: Option<Child>,
    after_ms: Option<i64>,
    is_over: bool,
}

impl NamingWatch {
    pub(super) fn new(why: Unhelpable, rescue: Control) -> Self {
        Self { why, rescue, since: None, asked: None, after_ms: None, is_over: false }
    }

    /// What the user does in the end.
    pub(super) fn rescue(&self) -> Control {
        self.rescue.clone()
    }

    /// It was said, or will not be.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    pub(super) fn naming(&self) -> Naming {
        Naming { why: self.why, after_ms: self.after_ms }
    }

    /// Looks; whether it is over with this look. It counts from `began`.
    pub(super) fn look(&mut self, scene: &Scene, began: i64) -> Result<bool, Trouble> {
        let since = *self.since.get_or_insert_with(Instant::now);
        let is_said = self.is_in_journal(scene, began)? || self.is_answered(scene)?;
        if is_said {
            self.after_ms = Some(Timestamp::now().as_millisecond() - began);
        }
        self.is_over = is_said || since.elapsed() >= PATIENCE;
        Ok(self.is_over)
    }

    fn is_in_journal(&self, scene: &Scene, began: i64) -> Result<bool, Trouble> {
        let journal = scene.mac.folder.journal()?;
        let since = |reload: &Reload| reload.began_at.as_millisecond() >= began;
        let reloads = reloads(&journal).map_err(|error| Trouble::Said(error.to_string()))?;
        Ok(reloads.iter().any(|reload| since(reload) && names(self.why, reload)))
    }

    /// Asks as a user would, once.
    fn is_answered(&mut self, scene: &Scene) -> Result<bool, Trouble> {
        let Some(asked) = &mut self.asked else {
            let mut command = scene.user_command("nixfleet-switch");
            command.args(["ensure-agent", "--json"]).stdout(Stdio::piped()).stderr(Stdio::null());
            self.asked = Some(command.spawn().map_err(Trouble::run("nixfleet-switch"))?);
            return Ok(false);
        };
        if asked.try_wait().map_err(Trouble::run("nixfleet-switch"))?.is_none() {
            return Ok(false);
        }
        let mut said = String::new();
        if let Some(mut stdout) = asked.stdout.take() {
            stdout.read_to_string(&mut said).map_err(Trouble::run("nixfleet-switch"))?;
        }
        // What is no JSON names nothing.
        Ok(serde_json::from_str(&said).is_ok_and(|reload| names(self.why, &reload)))
    }
}

fn reloads(
    journal: &Journal,
) -> Result<Vec<Reload>, nixfleet_protocol::journal::store::JournalError> {
    let switches = journal.switch_ids()?.into_iter();
    let of_switches = switches.filter_map(|id| journal.entry(id).reload.present());
    let healings = journal.healing_ids()?.into_iter();
    let of_healings = healings.filter_map(|id| journal.healing(id).healing.present());
    Ok(of_switches.chain(of_healings.map(|healing| healing.reload)).collect())
}

/// Whether it is said there.
fn names(why: Unhelpable, reload: &Reload) -> bool {
    match why {
        Unhelpable::NoScreenSession => reload.verdict == AgentVerdict::AtNextLogin,
        Unhelpable::Blocked => {
            reload.verdict == AgentVerdict::NotBack && reload.explanation.contains("Login Items")
        }
    }
}

#[cfg(test)]
mod tests {
    use nixfleet_protocol::journal::records::FORMAT;

    use super::*;

    #[test]
    fn a_cause_is_named_by_its_own_words_only() {
        let reload = |verdict, explanation: &str| Reload {
            format: FORMAT,
            switch: None,
            verdict,
            explanation: explanation.to_owned(),
            began_at: Timestamp::UNIX_EPOCH,
            duration_ms: 0,
            agent_pid: None,
            steps: Vec::new(),
        };
        let login = reload(AgentVerdict::AtNextLogin, "it starts at the next login");
        let blocked = reload(AgentVerdict::NotBack, "look at Login Items in System Settings");
        let lost = reload(AgentVerdict::NotBack, "its job is loaded but does not come up");
        for (why, reload, expected) in [
            (Unhelpable::NoScreenSession, &login, true),
            (Unhelpable::NoScreenSession, &lost, false),
            (Unhelpable::Blocked, &blocked, true),
            (Unhelpable::Blocked, &lost, false),
            (Unhelpable::Blocked, &login, false),
        ] {
            assert_eq!(names(why, reload), expected, "{why:?} {reload:?}");
        }
    }
}
