//! Taking secrets out of what is written or sent: tokens that are known, passwords in URLs, and tokens of known form.
//!
//! A known token is also found in the guises that programs like to print it in: in Base64, alone or in the middle of
//! something longer, and with percent signs.

use std::{fmt::Write as _, ops::Range};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use memchr::memmem;

use crate::wire::fields::Token;

/// What stands where a secret was.
const REDACTED: &str = "[secret removed]";

/// What stands for each byte of a secret where lengths must stay.
const MASK: u8 = b'*';

/// A shorter token, in characters, would blacken half the text and protects nothing.
const MIN_LENGTH: usize = 6;

/// So many characters at the end of a piece of output may be the beginning of a token; fewer are any word's.
const MIN_BEGINNING: usize = 4;

/// So many guises of secrets are kept. Tokens are replaced now and then, and the oldest are of no use any more.
const MAX_KNOWN: usize = 256;

/// What is no known token is looked for so far around a piece of output, in bytes: addresses with passwords.
const REACH_OF_OTHERS: usize = 256;

/// Beginnings of tokens of code hosts, which Nix and git like to print in errors.
const TOKEN_PREFIXES: [&str; 8] =
    ["ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "xoxb-"];

/// What follows such a beginning at least, in characters.
const MIN_TOKEN_BODY: usize = 8;

/// Removes secrets.
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
        let mut redactor = Self::default();
        for token in tokens {
            redactor.learn(&token);
        }
        redactor
    }

    /// From now on it knows this token too.
    pub fn learn(&mut self, token: &Token) {
        let text = token.reveal();
        if text.len() < MIN_LENGTH {
            return;
        }
        let guises = guises(text);
        // One that is known already becomes the newest.
        self.known.retain(|known| !guises.contains(known));
        self.known.extend(guises);
        let surplus = self.known.len().saturating_sub(MAX_KNOWN);
        self.known.drain(..surplus);
    }

    /// The text without secrets.
    pub fn redact(&self, text: &str) -> String {
        let mut kept = String::with_capacity(text.len());
        let mut from = 0;
        for secret in self.secrets_in(text.as_bytes()) {
            // A secret begins and ends beside ASCII, so these are whole characters.
            kept.push_str(text.get(from..secret.start).unwrap_or_default());
            kept.push_str(REDACTED);
            from = secret.end;
        }
        kept.push_str(text.get(from..).unwrap_or_default());
        kept
    }

    /// Makes secrets unreadable in place, so that everything stays at its offset.
    pub fn mask(&self, output: &mut [u8]) {
        for secret in self.secrets_in(output) {
            if let Some(secret) = output.get_mut(secret) {
                secret.fill(MASK);
            }
        }
    }

    /// The same with output that may go on: also what may be the beginning of a known token at the very end.
    pub fn mask_growing(&self, output: &mut [u8]) {
        let begins_at = output.len() - self.beginning_at_end(output);
        self.mask(output);
        if let Some(beginning) = output.get_mut(begins_at..) {
            beginning.fill(MASK);
        }
    }

    /// So many bytes around a piece of output decide what is a secret in it.
    pub fn reach(&self) -> usize {
        self.known.iter().map(String::len).max().unwrap_or(0).max(REACH_OF_OTHERS)
    }

    /// How much of the end may be the beginning of a known token.
    fn beginning_at_end(&self, output: &[u8]) -> usize {
        let beginning = |known: &String| {
            let longest = known.len().saturating_sub(1).min(output.len());
            (MIN_BEGINNING..=longest).rev().find(|length| {
                known.as_bytes().get(..*length).is_some_and(|begin| output.ends_with(begin))
            })
        };
        self.known.iter().filter_map(beginning).max().unwrap_or(0)
    }

    /// Where the secrets are, in order, none beside or in another.
    fn secrets_in(&self, text: &[u8]) -> Vec<Range<usize>> {
        let mut found: Vec<Range<usize>> = self
            .known
            .iter()
            .flat_map(|known| {
                memmem::find_iter(text, known.as_bytes()).map(|begin| begin..begin + known.len())
            })
            .chain(url_passwords(text))
            .chain(tokens(text))
            .collect();
        found.sort_by_key(|secret| secret.start);
        let mut merged: Vec<Range<usize>> = Vec::new();
        for secret in found {
            match merged.last_mut() {
                Some(last) if secret.start <= last.end => last.end = last.end.max(secret.end),
                Some(_) | None => merged.push(secret),
            }
        }
        merged
    }
}

/// A secret as programs print it.
fn guises(secret: &str) -> Vec<String> {
    let mut guises = vec![secret.to_owned()];
    for before in 0..3 {
        let text = [&b"\0\0"[..before], secret.as_bytes()].concat();
        // Four characters stand for three bytes: those that also stand for a part of a neighbour are not the secret's.
        let (begin, end) = ((before * 8).div_ceil(6), text.len() * 8 / 6);
        for encoded in [STANDARD_NO_PAD.encode(&text), URL_SAFE_NO_PAD.encode(&text)] {
            guises.extend(encoded.get(begin..end).map(str::to_owned));
        }
    }
    let in_percent = percent_encoded(secret);
    guises.extend([in_percent.to_ascii_lowercase(), in_percent]);
    guises.sort();
    guises.dedup();
    guises.retain(|guise| guise.len() >= MIN_LENGTH);
    guises
}

/// RFC 3986, section 2.1.
fn percent_encoded(secret: &str) -> String {
    secret.bytes().fold(String::new(), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            // Writing to a `String` cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
        text
    })
}

/// In `scheme://user:password@host`, what stands between `//` and `@`.
fn url_passwords(text: &[u8]) -> Vec<Range<usize>> {
    let ends_authority = |byte: &u8| byte.is_ascii_whitespace() || b"/?#'\"".contains(byte);
    memmem::find_iter(text, b"://")
        .filter_map(|found| {
            let begin = found + 3;
            let after = text.get(begin..)?;
            let authority = after.split(ends_authority).next()?;
            let end = authority.iter().rposition(|byte| *byte == b'@')?;
            authority.get(..end)?.contains(&b':').then_some(begin..begin + end)
        })
        .collect()
}

fn tokens(text: &[u8]) -> Vec<Range<usize>> {
    let is_body = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-".contains(byte);
    let of_kind = |prefix: &&'static str| {
        memmem::find_iter(text, prefix.as_bytes())
            .filter_map(|begin| {
                let body = text.get(begin + prefix.len()..)?;
                let length = body.iter().take_while(|byte| is_body(byte)).count();
                (length >= MIN_TOKEN_BODY).then_some(begin..begin + prefix.len() + length)
            })
            .collect::<Vec<_>>()
    };
    TOKEN_PREFIXES.iter().flat_map(of_kind).collect()
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    use super::*;

    const SECRET: &str = "per-host/token+1";

    fn redactor() -> Redactor {
        Redactor::new([Token::new(SECRET).unwrap()])
    }

    #[test]
    fn secrets_are_removed() {
        for (text, expected) in [
            ("token per-host/token+1.", "token [secret removed]."),
            ("ä per-host/token+1 ö", "ä [secret removed] ö"),
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
            ("%2E per-host%2Ftoken%2B1", "%2E [secret removed]"),
            ("per-host%2ftoken%2b1", "[secret removed]"),
        ] {
            assert_eq!(redactor().redact(text), expected);
        }
        assert!(!format!("{:?}", redactor()).contains("per-host"));
        let short = Redactor::new([Token::new("short").unwrap()]);
        assert_eq!(short.redact("a short word"), "a short word");
    }

    #[test]
    fn a_secret_in_base64_is_found_wherever_it_stands() {
        for before in 0..7 {
            for after in 0..7 {
                let text = format!("{}{SECRET}{}", &"abcdefg"[..before], &"hijklmn"[..after]);
                let encoded = STANDARD.encode(&text);
                let redacted = redactor().redact(&encoded);
                assert!(redacted.contains(REDACTED), "{before} {after}: {redacted}");
                // What is left stands for the neighbours and at most one character of the secret at either end.
                let left = redacted.replace(REDACTED, "").trim_end_matches('=').len();
                assert!(left <= (before + after + 2) * 4 / 3 + 2, "{before} {after}: {redacted}");
            }
        }
    }

    #[test]
    fn a_mask_leaves_everything_at_its_place() {
        for (text, expected) in [
            ("a per-host/token+1 b", "a **************** b"),
            ("https://me:pw@git/x", "https://*****@git/x"),
            ("nothing per se", "nothing per se"),
            ("nothing per-host/to", "nothing per-host/to"),
            ("", ""),
        ] {
            let mut masked = text.as_bytes().to_vec();
            redactor().mask(&mut masked);
            assert_eq!(String::from_utf8(masked).unwrap(), expected);
        }
        for (text, expected) in [
            ("a per-host/token+1 b", "a **************** b"),
            // The rest may not be written yet.
            ("nothing per-host/to", "nothing ***********"),
            ("per", "per"),
            ("", ""),
        ] {
            let mut masked = text.as_bytes().to_vec();
            redactor().mask_growing(&mut masked);
            assert_eq!(String::from_utf8(masked).unwrap(), expected);
        }
        let long = Token::new(&"x".repeat(4096)).unwrap();
        assert!(Redactor::new([long]).reach() > 4096);
        assert_eq!(Redactor::default().reach(), REACH_OF_OTHERS);
    }

    #[test]
    fn of_many_tokens_those_that_were_learned_last_are_known() {
        let token = |number: usize| Token::new(&format!("token-{number:05}")).unwrap();
        let mut redactor = Redactor::default();
        for number in 0..1000 {
            redactor.learn(&token(number));
            redactor.learn(&token(0));
        }
        assert!(redactor.known.len() <= MAX_KNOWN);
        for number in [0, 990, 999] {
            assert_eq!(redactor.redact(token(number).reveal()), REDACTED);
        }
    }

    proptest! {
        #[test]
        fn any_text_loses_its_secrets_and_nothing_else(
            before in "\\PC{0,80}", after in "\\PC{0,80}",
        ) {
            let redacted = redactor().redact(&format!("{before}\n{SECRET}\n{after}"));
            prop_assert!(!redacted.contains(SECRET));
            prop_assert!(redacted.contains(REDACTED));
            let mut masked = format!("{before}{after}").into_bytes();
            let length = masked.len();
            redactor().mask_growing(&mut masked);
            prop_assert_eq!(masked.len(), length);
        }
    }
}
