//! What is said to people outside the log: before there is one, and instead of it when the agent cannot start.

use std::{
    error::Error,
    io::{self, Write as _},
};

use crate::exit::Exit;

/// An error with all its causes on one line.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Says why the agent does not start.
pub(crate) fn fail(message: &str) {
    // Without a standard error there is nobody to tell; the exit code says it too.
    let _ = writeln!(io::stderr().lock(), "nixfleet-agent: {message}");
}

/// The exit code after something was printed. Whoever closed the stream does not want to read it.
pub(crate) fn printed(printed: io::Result<()>, exit: Exit) -> Exit {
    match printed {
        Ok(()) => exit,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => exit,
        Err(error) => {
            fail(&format!("cannot write to the standard output: {error}"));
            Exit::StateDir
        }
    }
}
