//! The dashboard's public key, pinned: `sha256//` and the SHA-256 of its SubjectPublicKeyInfo in Base64, as curl's
//! `--pinnedpubkey` takes it. Of several, parted by `;`, any one will do.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest as _, Sha256};

const PREFIX: &str = "sha256//";

/// One pinned key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct PublicKeyPin([u8; 32]);

impl PublicKeyPin {
    /// The pin of a key, given its SubjectPublicKeyInfo in DER (RFC 5280, section 4.1.2.7).
    pub(crate) fn of(subject_public_key_info: &[u8]) -> Self {
        Self(Sha256::digest(subject_public_key_info).into())
    }

    /// All pins of a list; `None` if a part of it is none.
    pub(crate) fn list(text: &str) -> Option<Vec<Self>> {
        text.split(';').map(|part| Self::parse(part.trim())).collect()
    }

    fn parse(text: &str) -> Option<Self> {
        let digest = STANDARD.decode(text.strip_prefix(PREFIX)?).ok()?;
        Some(Self(digest.try_into().ok()?))
    }
}

impl fmt::Display for PublicKeyPin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{PREFIX}{}", STANDARD.encode(self.0))
    }
}

impl fmt::Debug for PublicKeyPin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of no bytes at all.
    const EMPTY: &str = "sha256//47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";

    #[test]
    fn pins_are_read_as_curl_reads_them() {
        let two = format!("{EMPTY};{EMPTY}");
        let spaced = format!("{EMPTY} ; {EMPTY}");
        for (text, expected) in [
            (EMPTY, Some(1)),
            (&two, Some(2)),
            (&spaced, Some(2)),
            ("", None),
            ("47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=", None),
            ("sha256//", None),
            ("sha256//47DEQpj8HBSa", None),
            ("sha256//47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU", None),
            ("sha1//47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=", None),
            ("/etc/key.pem", None),
            (&format!("{EMPTY};"), None),
        ] {
            assert_eq!(PublicKeyPin::list(text).map(|pins| pins.len()), expected, "{text:?}");
        }
        assert_eq!(PublicKeyPin::list(EMPTY).unwrap()[0], PublicKeyPin::of(b""));
        assert_eq!(PublicKeyPin::of(b"").to_string(), EMPTY);
    }
}
