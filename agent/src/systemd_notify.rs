//! Telling systemd that the agent is up, and that it still reacts: a datagram to the socket that it names
//! (sd_notify(3), sd_watchdog_enabled(3)).
//!
//! The only place that is compiled differently from system to system: abstract addresses, which systemd may use, exist
//! on Linux alone, and so do the functions for them.

use std::{
    io,
    os::unix::net::{SocketAddr, UnixDatagram},
    path::Path,
};

/// Says that the agent is up.
pub(crate) fn ready(socket: &Path) -> io::Result<()> {
    send(socket, b"READY=1")
}

/// Says that it still reacts.
pub(crate) fn still_reacts(socket: &Path) -> io::Result<()> {
    send(socket, b"WATCHDOG=1")
}

fn send(socket: &Path, message: &[u8]) -> io::Result<()> {
    let sender = UnixDatagram::unbound()?;
    // A socket that nobody reads must not hold the agent up.
    sender.set_nonblocking(true)?;
    sender.send_to_addr(message, &address(socket)?).map(drop)
}

/// A name that begins with `@` is an abstract one.
#[cfg(target_os = "linux")]
fn address(socket: &Path) -> io::Result<SocketAddr> {
    use std::os::{linux::net::SocketAddrExt as _, unix::ffi::OsStrExt as _};
    match socket.as_os_str().as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(socket),
    }
}

#[cfg(not(target_os = "linux"))]
fn address(socket: &Path) -> io::Result<SocketAddr> {
    SocketAddr::from_pathname(socket)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn check(name: &str) {
        let receiver = UnixDatagram::bind_addr(&address(Path::new(name)).unwrap()).unwrap();
        receiver.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        ready(Path::new(name)).unwrap();
        let mut message = [0; 64];
        let length = receiver.recv(&mut message).unwrap();
        assert_eq!(&message[..length], b"READY=1");
        still_reacts(Path::new(name)).unwrap();
        let length = receiver.recv(&mut message).unwrap();
        assert_eq!(&message[..length], b"WATCHDOG=1");
    }

    #[test]
    fn paths_and_abstract_names_are_reached() {
        let directory = tempfile::tempdir().unwrap();
        check(directory.path().join("notify").to_str().unwrap());
        if std::fs::exists("/proc/self/stat").unwrap() {
            check(&format!("@nixfleet-agent-test-{}", std::process::id()));
        }
    }
}
