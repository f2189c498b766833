//! What the wrapper itself says to people, on standard error: short, without a colour where nobody sees it.

use std::{
    error::Error,
    io::{self, IsTerminal as _, Write as _},
};

use anstyle::{AnsiColor, Style};

/// Something worth knowing.
pub(crate) fn say(text: &str) {
    line(Style::new().bold(), "nixfleet-switch:", text);
}

/// Something that somebody should look at.
pub(crate) fn warn(text: &str) {
    line(AnsiColor::Yellow.on_default().bold(), "nixfleet-switch: warning:", text);
}

/// Something that did not work.
pub(crate) fn fail(text: &str) {
    line(AnsiColor::Red.on_default().bold(), "nixfleet-switch: error:", text);
}

/// What to do next.
pub(crate) fn hint(text: &str) {
    line(AnsiColor::Cyan.on_default(), "hint:", text);
}

/// An error with all that lies behind it, in one line.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text = format!("{text}: {source}");
        cause = source.source();
    }
    text
}

fn line(style: Style, label: &str, text: &str) {
    let mut stderr = io::stderr().lock();
    // A standard error that is closed is nobody's to read; the journal has what counts.
    let _ = if wants_colour() {
        writeln!(stderr, "{style}{label}{style:#} {text}")
    } else {
        writeln!(stderr, "{label} {text}")
    };
}

fn wants_colour() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
