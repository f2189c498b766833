//! The result: what came of home-manager.

use jiff::Timestamp;
use nixfleet_protocol::{
    generations::Generations,
    journal::{
        read::{self, Found},
        records::{Activation, FORMAT, Outcome, Progress, Request, Started, SwitchResult},
        recovery::{self, Closer},
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
        activation: activation(watched.ending, &generations),
        ..not_started(request, closer, String::new())
    };
    result.note = match result.outcome {
        Outcome::Cancelled | Outcome::TimedOut => {
            recovery::doing_at_the_end(&directory.output_log())
        }
        Outcome::Succeeded | Outcome::Failed | Outcome::Interrupted | Outcome::NotStarted => None,
    };
    let progress: Found<Progress> = read::read(&directory.progress());
    result.steps = progress.present().map(|progress| progress.steps.ended());
    match output_tail::of_file(&directory.output_log(), &closer.redactor) {
        Ok((tail, bytes)) => {
            result.output_tail = tail;
            result.output_bytes = bytes;
        }
        Err(error) => result.note = Some(format!("the output cannot be read: {error}")),
    }
    result
}

/// home-manager ends with 0 only when its activation has come to its end. Links that differ all the same are the doing of
/// another one, which is in the midst of its own.
fn activation(ending: Ending, generations: &Generations) -> Activation {
    match (ending, generations.activation()) {
        (Ending::Exited(0), Activation::Incomplete) => Activation::Unknown,
        (Ending::Exited(_) | Ending::Signalled(_), seen) => seen,
    }
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
        operation: request.operation,
        kind: request.kind,
        argv: request.argv.clone(),
        initiator: request.initiator,
        generation_before: generations.profile.clone(),
        generation_after: generations.profile.clone(),
        activation: generations.activation(),
        output_bytes: 0,
        output_tail: String::new(),
        wrapper_version: closer.version.clone(),
        host: closer.host.clone(),
        steps: None,
        note: Some(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_activation_that_ended_well_is_not_called_cut() {
        let of = |profile: &str, current: &str| Generations {
            profile: Some(profile.to_owned()),
            current: Some(current.to_owned()),
        };
        for (ending, generations, expected) in [
            (Ending::Exited(0), of("2", "2"), Activation::Complete),
            (Ending::Exited(0), of("3", "2"), Activation::Unknown),
            (Ending::Exited(1), of("2", "1"), Activation::Incomplete),
            (Ending::Exited(1), of("1", "1"), Activation::Complete),
            (Ending::Signalled(9), of("2", "1"), Activation::Incomplete),
            (Ending::Signalled(9), Generations::default(), Activation::Unknown),
        ] {
            assert_eq!(activation(ending, &generations), expected, "{ending:?} {generations:?}");
        }
    }
}
