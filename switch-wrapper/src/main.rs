//! `nixfleet-switch`: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    nixfleet_switch::main()
}
