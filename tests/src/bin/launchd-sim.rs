//! `launchd-sim`: launchd for one user, as a process of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    nixfleet_tests::launchd::server::main()
}
