//! The open connections, and making them anew: after the machine has slept, the other end of those that are open may be
//! gone, and nobody says so.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use reqwest::{Client, redirect};
use rustls::ClientConfig;
use tokio::sync::watch;

use super::CALL_LIMIT;

/// How long to wait for a connection, with TLS and by way of a proxy.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// An unused connection is kept so long: a little more than the usual heartbeat interval.
const KEEP_IDLE: Duration = Duration::from_secs(75);

/// How long the other end of an HTTP/2 connection may be silent while something is wanted of it, before it is asked whether
/// it is there; and how long it then has to answer. Without, a connection that is dead stays the one that is used.
const PING_AFTER: Duration = Duration::from_secs(10);
const PING_LIMIT: Duration = Duration::from_secs(5);

/// The wall clock has to go ahead of the other one by so much at once before that counts as sleep. Clocks that are being
/// put right go slower.
const SLEPT_AT_LEAST: Duration = Duration::from_secs(10);

/// The HTTP client, with its pool of connections.
#[derive(Debug)]
pub(super) struct Connections {
    tls: ClientConfig,
    client: Mutex<Client>,
    /// Counts how often they were made anew.
    renewals: watch::Sender<u64>,
}

impl Connections {
    pub(super) fn new(tls: ClientConfig) -> reqwest::Result<Self> {
        let client = Mutex::new(client(&tls)?);
        Ok(Self { tls, client, renewals: watch::Sender::new(0) })
    }

    /// For the next call.
    pub(super) fn client(&self) -> Client {
        self.client.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Drops all connections. Calls that are under way are given up.
    pub(super) fn renew(&self) {
        self.forget_idle();
        self.renewals.send_modify(|number| *number += 1);
    }

    /// Drops the connections that nobody uses at the moment: where one is dead, so are the others, and each would cost a call
    /// its whole time.
    pub(super) fn forget_idle(&self) {
        match client(&self.tls) {
            Ok(client) => *self.client.lock().unwrap_or_else(PoisonError::into_inner) = client,
            // The same has worked before. The old connections end by their time limits.
            Err(error) => tracing::warn!(%error, "cannot set up the HTTP client anew"),
        }
    }

    /// Waits until they are made anew after now.
    pub(super) async fn renewed(&self) {
        // It fails when the sender is gone, and that is `self`.
        let _ = self.renewals.subscribe().changed().await;
    }
}

/// Compression is off, so what is read is never more than what has come. The proxy is the environment's.
fn client(tls: &ClientConfig) -> reqwest::Result<Client> {
    Client::builder()
        .user_agent(concat!("nixfleet-agent/", env!("CARGO_PKG_VERSION")))
        .use_preconfigured_tls(tls.clone())
        .redirect(redirect::Policy::none())
        .referer(false)
        .connect_timeout(CONNECT_LIMIT)
        .timeout(CALL_LIMIT)
        .pool_idle_timeout(KEEP_IDLE)
        .http2_keep_alive_interval(PING_AFTER)
        .http2_keep_alive_timeout(PING_LIMIT)
        .build()
}

/// Sees that the machine has slept: the wall clock goes on meanwhile, the other one does not.
#[derive(Debug)]
pub(crate) struct SleepWatch {
    seen: (Timestamp, Instant),
}

impl SleepWatch {
    pub(crate) const fn new(wall: Timestamp, monotonic: Instant) -> Self {
        Self { seen: (wall, monotonic) }
    }

    /// How long it has slept since it was last asked, if it has. A wall clock that was set far ahead looks the same.
    pub(crate) fn slept(&mut self, wall: Timestamp, monotonic: Instant) -> Option<Duration> {
        let (wall_before, monotonic_before) = std::mem::replace(&mut self.seen, (wall, monotonic));
        let by_wall = Duration::try_from(wall.duration_since(wall_before)).ok()?;
        let awake = monotonic.saturating_duration_since(monotonic_before);
        by_wall.checked_sub(awake).filter(|asleep| *asleep >= SLEPT_AT_LEAST)
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn sleep_is_what_the_wall_clock_is_ahead() {
        for (wall, monotonic, expected) in [
            (1, 1, None),
            (3600, 1, Some(3599)),
            (11, 1, Some(10)),
            (10, 1, None),
            // One that was busy or stopped, and not asleep.
            (3600, 3600, None),
            // A wall clock that was set back.
            (-3600, 1, None),
        ] {
            let (began, start) = (Timestamp::UNIX_EPOCH, Instant::now());
            let mut watch = SleepWatch::new(began, start);
            let wall = began + SignedDuration::from_secs(wall);
            let monotonic = start + Duration::from_secs(monotonic);
            let slept = watch.slept(wall, monotonic);
            assert_eq!(slept, expected.map(Duration::from_secs));
            let second = (SignedDuration::from_secs(1), Duration::from_secs(1));
            assert_eq!(watch.slept(wall + second.0, monotonic + second.1), None, "said once");
        }
    }

    #[tokio::test]
    async fn who_waits_for_new_connections_is_told() {
        let tls = super::super::tls::config(&[], &[]).unwrap();
        let connections = Connections::new(tls).unwrap();
        // What was before does not count.
        connections.renew();
        tokio::select! {
            biased;
            () = connections.renewed() => panic!("nothing was made anew"),
            () = std::future::ready(()) => {}
        }
        tokio::join!(connections.renewed(), async { connections.renew() });
    }
}
