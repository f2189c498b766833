//! The host's tests: the scripts `hosts/HOST/tests/T*.sh` of the checkout, one after the other, each with a time limit.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use nixfleet_protocol::{
    journal::records::Request,
    operation::{MAX_NAMED_TESTS, Step, Tests},
    state_dir::StateDir,
};
use rustix::io::Errno;

use super::{
    PerformError, checkout,
    steps::{self, Performance, StepError},
};
use crate::{
    exit,
    messages::{fail, say},
    settings::Settings,
};

/// How long a test may take.
const TEST_LIMIT: Duration = Duration::from_mins(10);

/// Runs them. That one fails is no reason not to run the others.
pub(super) fn run(
    settings: &Settings,
    directory: &StateDir,
    request: &Request,
    performance: &mut Performance,
) -> Result<u8, PerformError> {
    let checkout = checkout::place(settings, directory, request);
    if settings.switching.repository.is_some() && !directory.has_whole_checkout() {
        // Without it there would be no tests, and that would be called well.
        checkout::pull(settings, directory, request, performance)?;
    }
    performance.begin(Step::Test)?;
    let folder = host_folder(&checkout.join("hosts"), &request.host).join("tests");
    let scripts = scripts(&folder).map_err(|source| PerformError::Files {
        action: "read",
        path: folder.clone(),
        source,
    })?;
    let mut tests =
        Tests { total: u32::try_from(scripts.len()).unwrap_or(u32::MAX), ..Tests::default() };
    if scripts.is_empty() {
        say(&format!("there are no tests: no T*.sh in {}", folder.display()));
    }
    for script in &scripts {
        tests.current += 1;
        note(performance, &tests)?;
        let name = script.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        say(&format!("test {} of {}: {name}", tests.current, tests.total));
        let began = Instant::now();
        match run_one(&name, script, &checkout) {
            Ok(()) => {
                tests.passed += 1;
                say(&format!("{name}: passed in {:.1} s", began.elapsed().as_secs_f64()));
            }
            Err(error) => {
                fail(&crate::messages::with_causes(&error));
                if tests.failed.len() < MAX_NAMED_TESTS {
                    tests.failed.push(name);
                }
            }
        }
    }
    tests.is_over = true;
    note(performance, &tests)?;
    say(&tests.verdict());
    Ok(if tests.passed == tests.total { 0 } else { exit::FAILURE })
}

fn note(performance: &mut Performance, tests: &Tests) -> Result<(), StepError> {
    performance.change(Step::Test, |steps| steps.tests = Some(tests.clone()))
}

/// The host's folder. Its name on the wire is in lower case, which the folder's need not be.
fn host_folder(hosts: &Path, host: &str) -> PathBuf {
    let exact = hosts.join(host);
    let entries = fs::read_dir(hosts).into_iter().flatten().flatten();
    let is_it = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().eq_ignore_ascii_case(host))
    };
    let other = || entries.map(|entry| entry.path()).find(is_it);
    if exact.is_dir() { exact } else { other().unwrap_or(exact) }
}

/// In the order of their names; none where there is no such folder.
fn scripts(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let is_test = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.starts_with('T') && path.extension().is_some_and(|kind| kind == "sh") && path.is_file()
    };
    let paths: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    let mut scripts: Vec<PathBuf> = paths.into_iter().filter(is_test).collect();
    scripts.sort();
    Ok(scripts)
}

fn run_one(name: &str, script: &Path, checkout: &Path) -> Result<(), StepError> {
    let by_bash = || {
        let mut bash = Command::new("bash");
        steps::run(name, bash.arg(script).current_dir(checkout), TEST_LIMIT)
    };
    let can_run = script.metadata().is_ok_and(|found| found.permissions().mode() & 0o111 != 0);
    if !can_run {
        return by_bash();
    }
    match steps::run(name, Command::new(script).current_dir(checkout), TEST_LIMIT) {
        // It does not say what runs it; a shell would take it for a script of its own.
        Err(StepError::Spawn { source, .. })
            if source.raw_os_error() == Some(Errno::NOEXEC.raw_os_error()) =>
        {
            by_bash()
        }
        Err(StepError::Spawn { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            let program = format!("what the first line of {} names", script.display());
            Err(StepError::Spawn { program, source })
        }
        ended => ended,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_found_by_name_and_run_in_order() {
        let temporary = tempfile::tempdir().unwrap();
        for name in ["T02-b.sh", "T01-a.sh", "t03.sh", "T04.txt", "notes.md"] {
            fs::write(temporary.path().join(name), "").unwrap();
        }
        fs::create_dir(temporary.path().join("T05.sh")).unwrap();
        let names: Vec<String> = scripts(temporary.path())
            .unwrap()
            .iter()
            .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
            .collect();
        assert_eq!(names, ["T01-a.sh", "T02-b.sh"]);
        assert!(scripts(&temporary.path().join("absent")).unwrap().is_empty());
        assert!(scripts(&temporary.path().join("notes.md")).is_err());
    }

    #[test]
    fn the_host_s_folder_may_have_capitals() {
        let temporary = tempfile::tempdir().unwrap();
        fs::create_dir(temporary.path().join("MacBook")).unwrap();
        assert!(host_folder(temporary.path(), "macbook").ends_with("MacBook"));
        fs::create_dir(temporary.path().join("macbook")).unwrap();
        assert!(host_folder(temporary.path(), "macbook").ends_with("macbook"));
        assert!(host_folder(&temporary.path().join("absent"), "x").ends_with("absent/x"));
    }
}
