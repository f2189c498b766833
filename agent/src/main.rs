//! `nixfleet-agent`: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    nixfleet_agent::main()
}
