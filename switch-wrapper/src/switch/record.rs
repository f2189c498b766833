//! The result: what came of home-manager.

use jiff::Timestamp;
use nixfleet_protocol::{
    journal::{
        records::{FORMAT, Outcome, Request, Started, SwitchResult},
        recovery::Closer,
    },
    lifecycle::{self, Ending},
    output_tail,
    state_dir::SwitchDir,
};

use super::supervise::Watched;

/// The result of a home-manager that ran.
pub(super) fn result(
    request: &Request,
    closer: &Closer,
    directory: &SwitchDir,
    watched: &Watched,
    started: &Started,
) -> SwitchResult {
    let generations = closer.links.read();
    let (exit_code, signal) = match watched.ending {
        Ending::Exited(code) => (Some(code), None),
        Ending::Signalled(signal) => (None, Some(signal)),
    };
    let mut result = SwitchResult {
        outcome: lifecycle::outcome(watched.ending, watched.stopped),
        exit_code,
        signal,
        started_at: started.started_at,
        duration_ms: u64::try_from(watched.duration.as_millis()).unwrap_or(u64::MAX),
        generation_before: started.generation_before.clone(),
        generation_after: generations.profile.clone(),
        activation: generations.activation(),
        ..not_started(request, closer, String::new())
    };
    result.note = None;
    match output_tail::of_file(&directory.output_log(), &closer.redactor) {
        Ok((tail, bytes)) => {
            result.output_tail = tail;
            result.output_bytes = bytes;
        }
        Err(error) => result.note = Some(format!("the output cannot be read: {error}")),
    }
    result
}

/// The result of a home-manager that never ran.
pub(super) fn not_started(request: &Request, closer: &Closer, why: String) -> SwitchResult {
    let generations = closer.links.read();
    SwitchResult {
        format: FORMAT,
        id: request.id,
        outcome: Outcome::NotStarted,
        exit_code: None,
        signal: None,
        started_at: request.requested_at,
        finished_at: Timestamp::now(),
        duration_ms: 0,
        argv: request.argv.clone(),
        initiator: request.initiator,
        generation_before: generations.profile.clone(),
        generation_after: generations.profile.clone(),
        activation: generations.activation(),
        output_bytes: 0,
        output_tail: String::new(),
        wrapper_version: closer.version.clone(),
        host: closer.host.clone(),
        note: Some(why),
    }
}
