//! The file behind standard error, kept within its size. launchd appends a job's standard error to a file that nobody
//! rotates; so the agent does, and whoever redirects it to a file has the same from it. systemd's journal has limits of its
//! own.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Read as _},
    os::{
        fd::AsFd as _,
        unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
};

use crate::plist_text;

/// The largest log. With the one before it, `FILE.1`, there is at most twice as much, and what is logged between two looks.
const MAX_LOG_BYTES: u64 = 8 * 1024 * 1024;

/// No definition of a job is larger.
const MAX_DEFINITION_BYTES: u64 = 64 * 1024;

/// The log has become too large, and stays so.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogFileError {
    #[error("the log {} has {size} bytes and cannot be begun anew; make its folder writable for the agent's user, or remove it", path.display())]
    Known {
        path: PathBuf,
        size: u64,
        #[source]
        source: io::Error,
    },
    #[error("the log has {size} bytes and cannot be begun anew; remove it")]
    Unknown {
        size: u64,
        #[source]
        source: io::Error,
    },
}

/// What standard error leads to.
pub(crate) fn of_standard_error() -> Option<Metadata> {
    let copy = io::stderr().as_fd().try_clone_to_owned().ok()?;
    File::from(copy).metadata().ok()
}

/// Begins the log anew if it has become too large. `definition` is that of the job, which names the file. Where the file is
/// may not be known, and nothing may be moved there; then what was logged before is gone.
pub(crate) fn keep_within_limit(definition: Option<&Path>) -> Result<(), LogFileError> {
    let Some(log) = of_standard_error() else { return Ok(()) };
    if !log.is_file() || log.len() <= MAX_LOG_BYTES {
        return Ok(());
    }
    let (size, path) = (log.len(), path_of(&log, definition));
    if let Some(Ok(earlier)) = path.as_deref().map(|path| move_away(path, &log)) {
        tracing::info!(earlier = %earlier.display(), "the log has become large; this is a new one");
        return Ok(());
    }
    empty().map_err(|source| match path {
        Some(path) => LogFileError::Known { path, size, source },
        None => LogFileError::Unknown { size, source },
    })?;
    tracing::warn!("the log has become large; it was emptied");
    Ok(())
}

/// Where it is: as the system says, which a Mac does not, or as the definition of the job says. Whoever says it, it has to
/// be the very same file.
fn path_of(log: &Metadata, definition: Option<&Path>) -> Option<PathBuf> {
    let by_system = fs::read_link("/proc/self/fd/2").ok();
    let by_definition = || definition.and_then(named_by);
    let is_it = |path: &PathBuf| {
        fs::metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == (log.dev(), log.ino()))
    };
    by_system.filter(is_it).or_else(|| by_definition().filter(is_it))
}

fn named_by(definition: &Path) -> Option<PathBuf> {
    let mut text = String::new();
    File::open(definition).ok()?.take(MAX_DEFINITION_BYTES).read_to_string(&mut text).ok()?;
    plist_text::string(&text, "StandardErrorPath").map(PathBuf::from)
}

/// Moves the log to `FILE.1` and goes on in a new one at its place. What is logged meanwhile is in the one or the other.
fn move_away(path: &Path, log: &Metadata) -> io::Result<PathBuf> {
    let mut earlier = path.as_os_str().to_owned();
    earlier.push(".1");
    let earlier = PathBuf::from(earlier);
    fs::rename(path, &earlier)?;
    let next = OpenOptions::new().append(true).create_new(true).mode(log.mode() & 0o777).open(path);
    match next.and_then(|next| Ok(rustix::stdio::dup2_stderr(next)?)) {
        Ok(()) => Ok(earlier),
        Err(error) => {
            // Nobody has written to a new one; the old one is where the service manager looks for it.
            fs::rename(&earlier, path)?;
            Err(error)
        }
    }
}

/// Whoever appends goes on at the beginning then; whoever does not, is told to.
fn empty() -> io::Result<()> {
    let log = File::from(io::stderr().as_fd().try_clone_to_owned()?);
    log.set_len(0)?;
    rustix::fs::seek(&log, rustix::fs::SeekFrom::Start(0))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_of_the_job_names_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let definition = folder.path().join("agent.plist");
        for (text, expected) in [
            ("<dict><key>StandardErrorPath</key>\n<string>/log</string></dict>", Some("/log")),
            ("<dict><key>Label</key><string>/log</string></dict>", None),
            ("bplist00", None),
        ] {
            fs::write(&definition, text).unwrap();
            assert_eq!(named_by(&definition), expected.map(PathBuf::from), "{text}");
        }
        assert_eq!(named_by(&folder.path().join("none")), None);
    }

    #[test]
    fn only_the_very_same_file_is_it() {
        let folder = tempfile::tempdir().unwrap();
        let (log, other) = (folder.path().join("log"), folder.path().join("other"));
        let definition = folder.path().join("agent.plist");
        for path in [&log, &other] {
            fs::write(path, "").unwrap();
        }
        let metadata = fs::metadata(&log).unwrap();
        for (named, expected) in [(&log, Some(&log)), (&other, None)] {
            let text =
                format!("<key>StandardErrorPath</key><string>{}</string>", named.to_str().unwrap());
            fs::write(&definition, text).unwrap();
            assert_eq!(path_of(&metadata, Some(&definition)).as_ref(), expected);
        }
    }
}
