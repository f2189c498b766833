//! What somebody at the machine asks, from the configuration to the exit code.

use std::{
    error::Error,
    io::{self, Write as _},
};

use nixfleet_protocol::state_dir::StateDir;

use crate::{
    exit::Exit,
    messages,
    report_now::{self, ReportError},
    settings::{self, Merged, Outcome},
    status,
};

/// `status`.
pub(crate) fn status(outcome: &Outcome, as_json: bool) -> Exit {
    let (merged, directory) = match files(outcome) {
        Ok(found) => found,
        Err(exit) => return exit,
    };
    let status = match status::look(outcome, merged, &directory) {
        Ok(status) => status,
        Err(error) => return failed(&error),
    };
    let exit = if status.needs_attention() { Exit::Attention } else { Exit::Done };
    let mut out = io::stdout().lock();
    let printed = if as_json {
        serde_json::to_writer_pretty(&mut out, &status)
            .map_err(io::Error::from)
            .and_then(|()| writeln!(out))
    } else {
        out.write_all(status.to_text().as_bytes())
    };
    messages::printed(printed, exit)
}

/// `report-now`.
pub(crate) fn report_now(outcome: &Outcome) -> Exit {
    let directory = match files(outcome) {
        Ok((_, directory)) => directory,
        Err(exit) => return exit,
    };
    match report_now::report_now(&directory) {
        Ok(waiting) => {
            let said = match waiting {
                0 => "the dashboard has a heartbeat, and no result waits".to_owned(),
                number => {
                    format!("the dashboard has a heartbeat; results that still wait: {number}")
                }
            };
            messages::printed(writeln!(io::stdout().lock(), "{said}"), Exit::Done)
        }
        Err(ReportError::Status(error)) => failed(&error),
        Err(
            error @ (ReportError::NoAgent | ReportError::Refused { .. } | ReportError::TooLong),
        ) => {
            messages::fail(&messages::with_causes(&error));
            Exit::Attention
        }
    }
}

/// Where the agent keeps its files. That much has to be known of a configuration; the rest may make no sense.
fn files(outcome: &Outcome) -> Result<(&Merged, StateDir), Exit> {
    let root =
        outcome.merged.as_ref().and_then(|merged| Some((merged, merged.state_dir.as_ref()?)));
    let Some((merged, root)) = root else {
        // Without a standard error there is nobody to tell; the exit code says it too.
        let _ = settings::print_errors(
            outcome.checked.as_ref().err().map_or(&[], |errors| errors),
            false,
        );
        return Err(Exit::Configuration);
    };
    match StateDir::look(&root.value) {
        Ok(directory) => Ok((merged, directory)),
        Err(error) => Err(failed(&error)),
    }
}

fn failed(error: &dyn Error) -> Exit {
    messages::fail(&messages::with_causes(error));
    Exit::StateDir
}
