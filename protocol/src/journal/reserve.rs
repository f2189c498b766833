//! Disk space kept back, so that a full disk still yields a result.
//!
//! The space is taken before home-manager runs and given back when the result is written. A disk that home-manager
//! has filled to the last byte thus still has room for what has to be said about it.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

/// Room for a result with its output tail, a reload record and the directory entries, in bytes.
const RESERVED_BYTES: usize = 64 * 1024;

/// Space that is kept back until this is given back.
#[derive(Debug)]
pub struct Reserve {
    path: PathBuf,
}

impl Reserve {
    /// Takes the space, really written to disk: a hole would promise nothing.
    pub fn take(path: &Path) -> io::Result<Self> {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        // Not zeros: a file system that compresses would keep nothing back for them.
        let filler: Vec<u8> = (0..RESERVED_BYTES).map(scrambled_byte).collect();
        file.write_all(&filler)?;
        file.sync_all()?;
        Ok(Self { path: path.to_owned() })
    }

    /// Gives the space back.
    pub fn give_back(self) {
        // If it cannot be removed, writing the result tells what matters.
        let _ = fs::remove_file(&self.path);
    }
}

fn scrambled_byte(index: usize) -> u8 {
    let mixed = (index as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed.rotate_left(29).to_le_bytes()[0] ^ mixed.to_le_bytes()[7]
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn the_space_is_really_taken_and_given_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("reserve");
        let reserve = Reserve::take(&path).unwrap();
        assert!(fs::metadata(&path).unwrap().blocks() * 512 >= RESERVED_BYTES as u64);
        reserve.give_back();
        assert!(!path.exists());
    }
}
