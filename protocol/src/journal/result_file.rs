//! Writing a result, so that even a full disk yields one.

use std::{fs, io};

use super::{
    atomic::{self, WriteError},
    records::SwitchResult,
};
use crate::state_dir::SwitchDir;

/// Writes the result and gives the reserved space back. On a full disk the space is given back first, and if even that is
/// not enough the output's tail stays out. An error says that the result is not there, or that another was first.
pub fn write(directory: &SwitchDir, result: &SwitchResult) -> Result<(), WriteError> {
    let first_try = atomic::create_once(&directory.result(), result);
    give_back_reserve(directory);
    let second_try = match first_try {
        Err(error) if error.is_out_of_space() => atomic::create_once(&directory.result(), result),
        done_or_failed => done_or_failed,
    };
    match second_try {
        Err(error) if error.is_out_of_space() => {
            let minimal = SwitchResult {
                output_tail: String::new(),
                argv: Vec::new(),
                note: Some("the disk was full: the output's tail is left out".to_owned()),
                ..result.clone()
            };
            atomic::create_once(&directory.result(), &minimal)
        }
        done_or_failed => done_or_failed,
    }
}

fn give_back_reserve(directory: &SwitchDir) {
    match fs::remove_file(directory.reserve()) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        // It goes with the switch's folder; the result is what counts now.
        Err(_still_there) => {}
    }
}
