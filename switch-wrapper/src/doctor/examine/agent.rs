//! The agent itself: whether it is up, is what is installed, and reacts.

use std::time::Duration;

use nixfleet_protocol::installed::Difference;

use super::ENSURE;
use crate::doctor::{
    finding::{Finding, Id},
    observations::{Host, Life, Service},
};

/// The agent of a job that has this process. `is_loaded_as_on_disk`: nothing is to be said of its definition.
pub(super) fn of_job(host: &Host, job: u32, is_loaded_as_on_disk: bool) -> Option<Finding> {
    match host.agent.alive() {
        Some(_) if host.agent.belongs_to(job) => running(host, is_loaded_as_on_disk),
        Some(agent) => Some(
            Finding::error(
                Id::AgentOutsideJob,
                format!(
                    "an agent runs outside its job (pid {}; the job has pid {job})",
                    agent.process.pid
                ),
            )
            .because(
                "There is one agent to a state directory: as long as this one has the lock, \
                the job's cannot do its work. If it was started by hand, end it.",
            )
            .mended_by([format!("kill {}", agent.process.pid), ENSURE.to_owned()]),
        ),
        None => Some(unrecorded(host, job)),
    }
}

fn unrecorded(host: &Host, job: u32) -> Finding {
    let summary =
        format!("the agent's job has a process (pid {job}), and no agent says that it is up");
    match &host.agent.life {
        Life::Unclear(why) => Finding::unknown(Id::AgentUnrecorded, format!("{summary}: {why}")),
        Life::Alive | Life::Gone => Finding::error(Id::AgentUnrecorded, summary)
            .because(
                "It has just been started, or it hangs before it can begin. Its log says \
                why; `nixfleet-agent check-config` says whether its configuration makes sense.",
            )
            .mended_by([ENSURE.to_owned()]),
    }
}

/// The agent where nothing is known of its job.
pub(super) fn by_its_record(host: &Host) -> Option<Finding> {
    if let Some(trouble) = host.agent.record.trouble() {
        return Some(Finding::unknown(
            Id::AgentNotRunning,
            format!("cannot tell whether the agent runs: its record cannot be read ({trouble})"),
        ));
    }
    let Some(agent) = host.agent.record.as_present() else {
        // With a service manager, its definition says whether there should be one.
        let is_all_there_is = matches!(host.service, Service::None);
        return is_all_there_is
            .then(|| Finding::info(Id::AgentNotInstalled, "no agent has run here"));
    };
    let pid = agent.process.pid;
    match &host.agent.life {
        Life::Alive => running(host, true),
        Life::Gone => {
            let gone = Finding::error(
                Id::AgentNotRunning,
                format!("the agent does not run (it was pid {pid})"),
            )
            .because("Nobody asks the dashboard, and nobody tells it anything.");
            Some(if matches!(host.service, Service::None) {
                gone
            } else {
                gone.mended_by([ENSURE.to_owned()])
            })
        }
        Life::Unclear(why) => Some(Finding::unknown(
            Id::AgentNotRunning,
            format!("cannot tell whether the agent runs (pid {pid}): {why}"),
        )),
    }
}

/// The agent is up. Nothing is said if its definition is the only thing that is wrong with it.
fn running(host: &Host, is_loaded_as_on_disk: bool) -> Option<Finding> {
    let agent = host.agent.alive()?;
    let pid = agent.process.pid;
    if let Some(time) = host.agent.stuck_for {
        return Some(stuck(pid, time));
    }
    let changed = match host.agent.difference {
        Some(Difference::Executable) => Some("another executable is installed by now"),
        Some(Difference::Config) => Some("its config file says something else by now"),
        Some(Difference::Definition) | None => None,
    };
    if let Some(changed) = changed {
        return Some(
            Finding::warning(
                Id::AgentOutdated,
                format!("the agent (pid {pid}) is outdated: {changed}"),
            )
            .because(
                "It hands over by itself while no switch runs. One that does not goes \
                    on as it was.",
            )
            .mended_by([ENSURE.to_owned()]),
        );
    }
    is_loaded_as_on_disk.then(|| {
        let summary = format!("the agent runs (pid {pid}, version {})", agent.version);
        Finding::ok(Id::AgentRunning, summary)
    })
}

fn stuck(pid: u32, time: Duration) -> Finding {
    let time = humantime::format_duration(Duration::from_secs(time.as_secs()));
    Finding::error(Id::AgentStuck, format!("the agent (pid {pid}) has not reacted for {time}"))
        .because("Its process lives and does nothing. It may be killed at any moment, and is then started anew.")
        .mended_by([format!("kill -KILL {pid}"), ENSURE.to_owned()])
}

/// Whether the agent came up beside another definition than the one on disk.
pub(super) fn has_other_definition(host: &Host) -> bool {
    host.agent.difference == Some(Difference::Definition)
}
