//! The `nixfleet-dashboard` program; see the library.

fn main() -> std::process::ExitCode {
    nixfleet_dashboard::main()
}
