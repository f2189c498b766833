//! The log: on standard error, plain unless that is a terminal. Only what this project says; the HTTP library's own
//! words could hold headers. What the dashboard has said is in it, so tokens are taken out of every line.

use std::io::{self, IsTerminal as _, Write};

use tracing::Level;
use tracing_subscriber::{
    filter::Targets, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

use crate::known_tokens::KnownTokens;

/// Sets the log up. A second call changes nothing.
pub(crate) fn begin(level: Level, known_tokens: KnownTokens) {
    let ours =
        Targets::new().with_target("nixfleet_agent", level).with_target("nixfleet_protocol", level);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(move || WithoutTokens {
            out: io::stderr(),
            known_tokens: known_tokens.clone(),
        })
        .with_ansi(io::stderr().is_terminal())
        .with_target(false);
    // It fails only if there is a log already, and then that one is used.
    let _ = tracing_subscriber::registry().with(lines).with(ours).try_init();
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
}
