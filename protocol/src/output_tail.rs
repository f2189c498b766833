//! The end of an output, made fit for a result: no control characters, no secrets, bounded.
//!
//! The log keeps everything as it came; the tail travels to the dashboard and is read by people.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    path::Path,
};

use crate::wire::fields::Token;

/// The most that a result keeps of the output, in bytes.
pub const MAX_TAIL_BYTES: usize = 8 * 1024;

/// What is read of the log's end: control sequences take room that the tail does not need.
const READ_BYTES: u64 = 64 * 1024;

/// What stands where a secret was.
const REDACTED: &str = "[secret removed]";

/// Beginnings of tokens of code hosts, which Nix and git like to print in errors.
const TOKEN_PREFIXES: [&str; 8] =
    ["ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "xoxb-"];

/// Removes secrets: those it is told, passwords in URLs, and tokens of known form.
#[derive(Clone, Default)]
pub struct Redactor {
    known: Vec<String>,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Redactor({} secrets)", self.known.len())
    }
}

impl Redactor {
    /// A redactor that knows these tokens by their text.
    pub fn new(tokens: impl IntoIterator<Item = Token>) -> Self {
        // One of a few characters would blacken half the text and protects nothing.
        let long_enough = |token: &Token| token.reveal().len() >= 6;
        let known = tokens.into_iter().filter(long_enough).map(String::from).collect();
        Self { known }
    }

    /// The text without secrets.
    pub fn redact(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.known {
            text = text.replace(secret.as_str(), REDACTED);
        }
        without_tokens(&without_url_passwords(&text))
    }
}

/// `scheme://user:password@host` loses what stands between `//` and `@`.
fn without_url_passwords(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(found) = rest.find("://") {
        let (before, after) = rest.split_at(found + 3);
        kept.push_str(before);
        let authority_ends = after
            .find(|c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#' | '\'' | '"'))
            .unwrap_or(after.len());
        let authority = &after[..authority_ends];
        let host_begins = authority.rfind('@').map_or(0, |at| at + 1);
        if authority[..host_begins].contains(':') {
            kept.push_str(REDACTED);
            kept.push('@');
            rest = &after[host_begins..];
        } else {
            rest = after;
        }
    }
    kept.push_str(rest);
    kept
}

fn without_tokens(text: &str) -> String {
    let mut kept = text.to_owned();
    for prefix in TOKEN_PREFIXES {
        let mut from = 0;
        while let Some(found) = kept[from..].find(prefix) {
            let begin = from + found;
            let body = &kept[begin + prefix.len()..];
            let length = body
                .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-')))
                .unwrap_or(body.len());
            let end = begin + prefix.len() + length;
            if length >= 8 {
                kept.replace_range(begin..end, REDACTED);
                from = begin + REDACTED.len();
            } else {
                from = end;
            }
        }
    }
    kept
}

/// The end of a log and its size in bytes; empty if there is no log.
pub fn of_file(path: &Path, redactor: &Redactor) -> io::Result<(String, u64)> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((String::new(), 0)),
        Err(error) => return Err(error),
    };
    let size = file.metadata()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(READ_BYTES)))?;
    let mut end = Vec::new();
    file.take(READ_BYTES).read_to_end(&mut end)?;
    Ok((of_bytes(&end, redactor), size))
}

/// The tail of some output.
pub fn of_bytes(output: &[u8], redactor: &Redactor) -> String {
    let lines: Vec<Vec<u8>> = output.split(|byte| *byte == b'\n').map(as_left_on_screen).collect();
    let plain = strip_ansi_escapes::strip(lines.join(&b'\n'));
    let text: String =
        String::from_utf8_lossy(&plain).chars().filter(|c| *c == '\n' || !c.is_control()).collect();
    last_bytes(redactor.redact(&text).trim_end(), MAX_TAIL_BYTES).to_owned()
}

/// A line as a terminal would leave it: what a carriage return went back over is gone, tabs are spaces.
fn as_left_on_screen(line: &[u8]) -> Vec<u8> {
    let end = line.iter().rposition(|byte| *byte != b'\r').map_or(0, |last| last + 1);
    let begin = line[..end].iter().rposition(|byte| *byte == b'\r').map_or(0, |last| last + 1);
    line[begin..end].iter().map(|byte| if *byte == b'\t' { b' ' } else { *byte }).collect()
}

fn last_bytes(text: &str, limit: usize) -> &str {
    let mut begin = text.len().saturating_sub(limit);
    while !text.is_char_boundary(begin) {
        begin += 1;
    }
    &text[begin..]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(output: &[u8], expected: &str) {
        assert_eq!(of_bytes(output, &Redactor::default()), expected);
    }

    #[test]
    fn a_terminal_s_output_becomes_plain_lines() {
        check(b"", "");
        check(b"one\ntwo\n", "one\ntwo");
        check(b"one\r\ntwo\r\n", "one\ntwo");
        check(b"\x1b[31mred\x1b[0m \x1b]0;title\x07text", "red text");
        check(b"10%\r50%\r100%\ndone", "100%\ndone");
        check(b"a\tb\x00\x08c", "a bc");
        check("grün ✅".as_bytes(), "grün ✅");
        check(b"\xff\xfe", "\u{fffd}\u{fffd}");
    }

    #[test]
    fn the_end_is_kept() {
        let long = format!("{}the error", "x".repeat(3 * MAX_TAIL_BYTES));
        let tail = of_bytes(long.as_bytes(), &Redactor::default());
        assert_eq!(tail.len(), MAX_TAIL_BYTES);
        assert!(tail.ends_with("the error"));
    }

    #[test]
    fn secrets_are_removed() {
        let redactor = Redactor::new([Token::new("per-host-token-1").unwrap()]);
        for (text, expected) in [
            ("token per-host-token-1.", "token [secret removed]."),
            (
                "fetching https://me:pw@git.example/x",
                "fetching https://[secret removed]@git.example/x",
            ),
            ("ssh://git@host/x and https://host/a@b:c", "ssh://git@host/x and https://host/a@b:c"),
            (
                "access-tokens = github.com=ghp_0123456789abcdef",
                "access-tokens = github.com=[secret removed]",
            ),
            ("the prefix ghp_ alone", "the prefix ghp_ alone"),
        ] {
            assert_eq!(redactor.redact(text), expected);
        }
        assert!(!format!("{redactor:?}").contains("per-host"));
    }

    #[test]
    fn a_log_s_end_and_size_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("output.log");
        assert_eq!(of_file(&path, &Redactor::default()).unwrap(), (String::new(), 0));
        std::fs::write(&path, format!("{}\nend\n", "y".repeat(200_000))).unwrap();
        let (tail, size) = of_file(&path, &Redactor::default()).unwrap();
        assert!(tail.ends_with("\nend"));
        assert_eq!(size, 200_005);
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_bounded_text_without_control_characters(
            output in proptest::collection::vec(any::<u8>(), 0..20_000),
        ) {
            let tail = of_bytes(&output, &Redactor::default());
            prop_assert!(tail.len() <= MAX_TAIL_BYTES);
            prop_assert!(tail.chars().all(|c| c == '\n' || !c.is_control()));
        }

        #[test]
        fn redacting_never_panics(text in "\\PC{0,200}") {
            Redactor::default().redact(&text);
        }
    }
}
