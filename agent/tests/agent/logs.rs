//! The log: how it looks where it goes to, and that it does not grow for ever.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    process::Stdio,
};

use crate::support::{agent::Home, eventually, wrapper::SUCCEEDS};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::Value;

/// More than a log may have.
const TOO_MUCH: u64 = 9 * 1024 * 1024;

fn home() -> Home {
    Home::new("http://127.0.0.1:1", SUCCEEDS)
}

#[test]
fn a_file_gets_plain_lines_or_json() {
    let home = home();
    let agent = home.start();
    agent.wait_until_logged("agent is up");
    let text = agent.log();
    assert!(text.starts_with("20") && !text.contains('\x1b'), "{text}");
    drop(agent);

    fs::remove_file(home.folder.path().join("agent.log")).unwrap();
    let home = home.with("NIXFLEET_LOG_FORMAT", "json");
    let agent = home.start();
    agent.wait_until_logged("fails");
    for line in agent.log().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        for key in ["timestamp", "level", "message"] {
            assert!(line[key].is_string(), "{line}");
        }
    }
}

#[test]
fn the_journal_has_times_of_its_own() {
    let home = home();
    let log = File::create(home.folder.path().join("agent.log")).unwrap().metadata().unwrap();
    let stream = format!("{}:{}", log.dev(), log.ino());
    let home = home.with("JOURNAL_STREAM", &stream);
    let agent = home.start();
    agent.wait_until_logged("agent is up");
    assert!(agent.log().trim_start().starts_with("INFO"), "{}", agent.log());
    drop(agent);
    // That of whoever started the agent is another.
    let home = home.with("JOURNAL_STREAM", &format!("{}:{}", log.dev(), log.ino() + 1));
    fs::write(home.folder.path().join("agent.log"), "").unwrap();
    let agent = home.start();
    agent.wait_until_logged("agent is up");
    assert!(agent.log().starts_with("20"), "{}", agent.log());
}

#[test]
fn a_terminal_gets_colours_unless_they_are_not_wanted() {
    for (variable, is_coloured) in [("SOME", true), ("NO_COLOR", false)] {
        let home = home().with(variable, "1").with("TERM", "xterm");
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let name = ptsname(&terminal, Vec::new()).unwrap();
        let other_end = File::options().read(true).write(true).open(name.to_str().unwrap());
        let agent = home.start_with(Stdio::from(other_end.unwrap()));
        let mut terminal = File::from(terminal);
        let mut text = Vec::new();
        eventually("the agent is up", || {
            let mut piece = [0; 1024];
            let length = terminal.read(&mut piece).unwrap();
            text.extend_from_slice(&piece[..length]);
            String::from_utf8_lossy(&text).contains("agent is up").then_some(())
        });
        assert_eq!(text.contains(&0x1b), is_coloured, "{}", String::from_utf8_lossy(&text));
        drop(agent);
    }
}

#[test]
fn a_log_that_has_become_large_is_begun_anew() {
    let home = home();
    let (log, earlier) =
        (home.folder.path().join("agent.log"), home.folder.path().join("agent.log.1"));
    File::create(&log).unwrap().set_len(TOO_MUCH).unwrap();
    fs::set_permissions(&log, fs::Permissions::from_mode(0o640)).unwrap();
    let agent = home.start();
    // What was there when the agent came up.
    agent.wait_until_logged("this is a new one");
    assert!(fs::metadata(&earlier).unwrap().len() >= TOO_MUCH);
    let metadata = fs::metadata(&log).unwrap();
    assert!(metadata.len() < 64 * 1024);
    assert_eq!(metadata.mode() & 0o777, 0o640);

    // What has come since, where nothing can be moved.
    fs::remove_file(&earlier).unwrap();
    fs::create_dir_all(earlier.join("in the way")).unwrap();
    let mut file = File::options().append(true).open(&log).unwrap();
    file.write_all(&vec![b'x'; usize::try_from(TOO_MUCH).unwrap()]).unwrap();
    agent.wait_until_logged("it was emptied");
    assert!(fs::metadata(&log).unwrap().len() < 64 * 1024);
    // The file is the same, and what is logged is in it.
    assert!(agent.log().contains("emptied"));
}

#[test]
fn an_agent_that_cannot_start_does_not_fill_the_disk_either() {
    let home = home().with("NIXFLEET_INTERVAL", "never");
    let log = home.folder.path().join("agent.log");
    File::create(&log).unwrap().set_len(TOO_MUCH).unwrap();
    assert_eq!(home.start().wait().code(), Some(78));
    assert!(fs::metadata(&log).unwrap().len() < 64 * 1024);
    assert!(fs::read_to_string(&log).unwrap().contains("interval"));
}
