//! The log: on standard error, coloured in a terminal, without times where journald takes it and has its own, as JSON where
//! that is wanted. Only what this project says; the HTTP library's own words could hold headers. What the dashboard has said is
//! in it, so tokens are taken out of every line.

use std::{
    io::{self, IsTerminal as _, Write},
    os::unix::fs::MetadataExt as _,
};

use tracing_subscriber::{
    Layer as _, filter::Targets, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

use crate::{
    known_tokens::KnownTokens,
    log_file,
    settings::{LogFormat, LogSettings},
};

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    /// For a program. It has its time, whoever else notes one.
    Json,
    /// For people, with the time.
    Plain,
    /// The same, in colours.
    Coloured,
    /// For people whose journal notes the time.
    Timeless,
}

/// What standard error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Terminal,
    Journal,
    /// A file, a pipe, or nothing at all.
    Other,
}

/// Sets the log up. A second call changes nothing.
pub(crate) fn begin(settings: &LogSettings, known_tokens: KnownTokens) {
    let level = settings.level;
    let ours =
        Targets::new().with_target("nixfleet_agent", level).with_target("nixfleet_protocol", level);
    let without_tokens =
        move || WithoutTokens { out: io::stderr(), known_tokens: known_tokens.clone() };
    let lines = fmt::layer().with_writer(without_tokens).with_ansi(false).with_target(false);
    let lines = match style(settings.format, settings.may_colour, target(settings)) {
        Style::Json => lines.json().flatten_event(true).boxed(),
        Style::Plain => lines.boxed(),
        Style::Coloured => lines.with_ansi(true).boxed(),
        Style::Timeless => lines.without_time().boxed(),
    };
    // It fails only if there is a log already, and then that one is used.
    let _ = tracing_subscriber::registry().with(lines).with(ours).try_init();
}

fn style(format: LogFormat, may_colour: bool, target: Target) -> Style {
    match (format, target) {
        (LogFormat::Json, _) => Style::Json,
        (LogFormat::Auto, Target::Terminal) if may_colour => Style::Coloured,
        (LogFormat::Auto, Target::Journal) => Style::Timeless,
        (LogFormat::Auto, Target::Terminal | Target::Other) | (LogFormat::Plain, _) => Style::Plain,
    }
}

fn target(settings: &LogSettings) -> Target {
    if io::stderr().is_terminal() {
        return Target::Terminal;
    }
    let ours = log_file::of_standard_error().map(|log| (log.dev(), log.ino()));
    let journal = settings.journal_stream.as_deref().and_then(journal_stream);
    if journal.is_some() && journal == ours { Target::Journal } else { Target::Other }
}

/// `JOURNAL_STREAM` of systemd.exec(5): device and inode of the stream that leads to the journal. Whoever starts an agent by
/// hand may have another's in the environment, so it counts only if it is what we write to.
fn journal_stream(text: &str) -> Option<(u64, u64)> {
    let (device, inode) = text.split_once(':')?;
    Some((device.parse().ok()?, inode.parse().ok()?))
}

/// Takes tokens out of what is written to it. A line comes in one piece.
struct WithoutTokens<W> {
    out: W,
    known_tokens: KnownTokens,
}

impl<W: Write> Write for WithoutTokens<W> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(line);
        self.out.write_all(self.known_tokens.redact(&text).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use nixfleet_protocol::wire::fields::Token;

    use super::*;

    #[test]
    fn a_line_loses_its_tokens() {
        let known_tokens = KnownTokens::default();
        known_tokens.learn(&Token::new("s3cret-value").unwrap());
        let mut writer = WithoutTokens { out: Vec::new(), known_tokens };
        writeln!(writer, "it says s3cret-value").unwrap();
        assert_eq!(writer.out, b"it says [secret removed]\n");
    }

    #[test]
    fn colours_are_for_terminals_and_times_for_who_has_none() {
        for (format, may_colour, target, expected) in [
            (LogFormat::Auto, true, Target::Terminal, Style::Coloured),
            (LogFormat::Auto, false, Target::Terminal, Style::Plain),
            (LogFormat::Auto, true, Target::Journal, Style::Timeless),
            (LogFormat::Auto, true, Target::Other, Style::Plain),
            (LogFormat::Plain, true, Target::Terminal, Style::Plain),
            (LogFormat::Plain, true, Target::Journal, Style::Plain),
            (LogFormat::Json, true, Target::Terminal, Style::Json),
            (LogFormat::Json, true, Target::Journal, Style::Json),
        ] {
            assert_eq!(style(format, may_colour, target), expected, "{format:?} {target:?}");
        }
    }

    #[test]
    fn the_journal_s_stream_is_device_and_inode() {
        for (text, expected) in
            [("8:123", Some((8, 123))), ("8", None), ("", None), (":", None), ("8:x", None)]
        {
            assert_eq!(journal_stream(text), expected, "{text:?}");
        }
    }
}
