//! The end of an output, made fit for a result: no control characters, no secrets, bounded.
//!
//! The log keeps everything as it came, while it is written; the tail travels to the dashboard and is read by people. When
//! the switch is over, secrets in the log are masked as well: people show it to others.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Seek as _, SeekFrom},
    os::unix::fs::FileExt as _,
    path::Path,
};

use crate::redactor::Redactor;

/// The most that a result keeps of the output, in bytes.
pub const MAX_TAIL_BYTES: usize = 8 * 1024;

/// What is read of the log's end: control sequences take room that the tail does not need.
const READ_BYTES: u64 = 64 * 1024;

/// How much of a log is masked at once, in bytes.
const MASKED_AT_ONCE: usize = 1024 * 1024;

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

/// Masks the secrets in a log, in place: every byte stays at its offset, for whoever is still reading it.
pub fn mask_secrets(path: &Path, redactor: &Redactor) -> io::Result<()> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let reach = redactor.reach();
    let mut piece = vec![0; MASKED_AT_ONCE + reach];
    let mut offset = 0;
    loop {
        let length = read_at(&file, &mut piece, offset)?;
        let read = piece.get(..length).unwrap_or_default();
        let mut masked = read.to_vec();
        redactor.mask(&mut masked);
        if masked != read {
            file.write_all_at(&masked, offset)?;
        }
        if length < piece.len() {
            return Ok(());
        }
        // What may have begun at the end of this piece is looked at again, as a whole.
        offset += MASKED_AT_ONCE as u64;
    }
}

/// Reads until the piece is full or the file at its end.
fn read_at(file: &File, piece: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut length = 0;
    while let Some(rest) = piece.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + length as u64) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
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
    use crate::wire::fields::Token;

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
    fn a_log_s_end_and_size_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("output.log");
        assert_eq!(of_file(&path, &Redactor::default()).unwrap(), (String::new(), 0));
        std::fs::write(&path, format!("{}\nend\n", "y".repeat(200_000))).unwrap();
        let (tail, size) = of_file(&path, &Redactor::default()).unwrap();
        assert!(tail.ends_with("\nend"));
        assert_eq!(size, 200_005);
    }

    #[test]
    fn secrets_in_a_log_are_masked_wherever_they_stand() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("output.log");
        let secret = "per-host-token-1";
        let redactor = Redactor::new([Token::new(secret).unwrap()]);
        for at in [0, 100, MASKED_AT_ONCE - 5, MASKED_AT_ONCE + redactor.reach() - 5, 3_000_000] {
            let mut log = vec![b'y'; 3_000_000 + secret.len()];
            log[at..at + secret.len()].copy_from_slice(secret.as_bytes());
            std::fs::write(&path, &log).unwrap();
            mask_secrets(&path, &redactor).unwrap();
            log[at..at + secret.len()].fill(b'*');
            assert!(std::fs::read(&path).unwrap() == log, "{at}");
        }
        assert!(mask_secrets(&directory.path().join("none"), &redactor).is_err());
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
    }
}
