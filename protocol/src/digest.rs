//! SHA-256 in hexadecimal: whether a file is still what it was.

use std::{fmt::Write as _, fs, path::Path};

use sha2::{Digest as _, Sha256};

/// The digest of these bytes.
pub fn of(content: &[u8]) -> String {
    Sha256::digest(content).iter().fold(String::new(), |mut text, byte| {
        // Writing to a `String` cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The digest of a file as it is on disk now; `None` if it cannot be read.
pub fn of_file(path: &Path) -> Option<String> {
    fs::read(path).ok().map(|content| of(&content))
}
