//! `launchctl-sim`: the front of the simulated launchd, to be called through a link `launchctl`.

use std::process::ExitCode;

fn main() -> ExitCode {
    nixfleet_tests::launchd::client::main()
}
