//! Telling systemd how a service is: one datagram to the socket that it names (sd_notify(3)).
//!
//! The only place that is compiled differently from system to system: abstract addresses, which systemd may use, exist
//! on Linux alone, and so do the functions for them.

use std::{
    io,
    os::unix::net::{SocketAddr, UnixDatagram},
    path::Path,
};

/// The variable that names the socket.
pub const SOCKET_VARIABLE: &str = "NOTIFY_SOCKET";

/// The service is up.
pub const READY: &str = "READY=1";

/// It still reacts (sd_watchdog_enabled(3)).
pub const WATCHDOG: &str = "WATCHDOG=1";

/// Sends a message. Does not wait for anybody to read it.
pub fn send(socket: &Path, message: &str) -> io::Result<()> {
    let sender = UnixDatagram::unbound()?;
    // A socket that nobody reads must not hold the service up.
    sender.set_nonblocking(true)?;
    sender.send_to_addr(message.as_bytes(), &address(socket)?).map(drop)
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
        send(Path::new(name), READY).unwrap();
        let mut message = [0; 64];
        let length = receiver.recv(&mut message).unwrap();
        assert_eq!(&message[..length], b"READY=1");
    }

    #[test]
    fn paths_and_abstract_names_are_reached() {
        let directory = tempfile::tempdir().unwrap();
        check(directory.path().join("notify").to_str().unwrap());
        if std::fs::exists("/proc/self/stat").unwrap() {
            check(&format!("@nixfleet-notify-test-{}", std::process::id()));
        }
    }
}
