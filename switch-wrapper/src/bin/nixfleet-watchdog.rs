//! `nixfleet-watchdog`: what `nixfleet-switch watchdog` becomes. It stays in memory for as long as the machine is up, and
//! so has nothing else in it. Nobody else is to start it: it takes the name that it is called by for the wrapper's.

use std::process::ExitCode;

fn main() -> ExitCode {
    nixfleet_switch::watchdog()
}
