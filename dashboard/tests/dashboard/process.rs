//! The program as its starter sees it: files, locks, exit codes, help.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    process::{Output, Stdio},
};

use rustix::process::Signal;

use crate::stage::{Dashboard, program, wait_for_end};

fn mode(path: &std::path::Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn refused(dashboard: &Dashboard) -> Output {
    let mut command = dashboard.command();
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_for_end(&mut child);
    child.wait_with_output().unwrap()
}

#[test]
fn the_database_is_private_even_if_it_was_not() {
    let mut dashboard = Dashboard::start();
    dashboard.register_v1("a");
    let database = dashboard.database();
    for suffix in ["", "-wal", "-shm", ".lock"] {
        let file = database.with_file_name(format!("fleet.sqlite{suffix}"));
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
    dashboard.end(Signal::TERM);
    fs::set_permissions(&database, fs::Permissions::from_mode(0o644)).unwrap();
    dashboard.go_up();
    assert_eq!(mode(&database), 0o600);
}

#[test]
fn a_second_dashboard_on_the_same_database_is_refused() {
    let dashboard = Dashboard::start();
    let second = refused(&dashboard);
    assert_eq!(second.status.code(), Some(75));
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(said.contains("another dashboard uses"), "{said}");
    assert_eq!(dashboard.register_v1("a").status, 200, "the first one goes on");
}

#[test]
fn a_database_that_is_none_or_too_new_is_refused() {
    let mut dashboard = Dashboard::start();
    dashboard.end(Signal::INT);
    let whole = fs::read(dashboard.database()).unwrap();
    fs::write(dashboard.database(), "this is no database, ".repeat(500)).unwrap();
    let said = refused(&dashboard);
    assert_eq!(said.status.code(), Some(74), "{said:?}");
    fs::write(dashboard.database(), whole).unwrap();
    dashboard.go_up();
    dashboard.kill();
    fs::remove_file(dashboard.database()).unwrap();
    fs::create_dir(dashboard.database()).unwrap();
    let said = refused(&dashboard);
    assert_eq!(said.status.code(), Some(74), "{said:?}");
    assert!(String::from_utf8(said.stderr).unwrap().contains("fleet.sqlite"));
}

#[test]
fn a_port_that_is_taken_is_an_error_that_names_it() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut dashboard = Dashboard::start();
    dashboard.kill();
    let arguments = dashboard.command();
    let arguments = arguments
        .get_args()
        .map(|argument| if argument == "127.0.0.1:0" { address.as_ref() } else { argument });
    let mut last = program();
    last.args(arguments);
    let mut child = last.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    assert_eq!(wait_for_end(&mut child).code(), Some(71));
    let said = String::from_utf8(child.wait_with_output().unwrap().stderr).unwrap();
    assert!(said.contains(&address), "{said}");
}

#[test]
fn usage_is_explained() {
    for (arguments, code) in [
        (&["--help"][..], 0),
        (&["serve", "--help"], 0),
        (&["--version"], 0),
        (&[], 64),
        (&["serve"], 64),
        (&["serve", "--database", "x", "--listen", "nowhere"], 64),
        (&["serve", "--database", "x", "--agent-token", "secret"], 64),
    ] {
        let output = program().args(arguments).stderr(Stdio::piped()).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        let said = [output.stdout, output.stderr].concat();
        assert!(!said.is_empty(), "{arguments:?}");
    }
}
