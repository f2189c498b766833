//! Wakes the polls that wait for a host's commands, and lets only the newest of them take one.
//!
//! A host has one agent, so a second poll means that the first has lost its agent: a connection that broke without
//! a word. The older poll is sent home empty-handed, so that it cannot lease a command that nobody would receive.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use nixfleet_protocol::wire::fields::HostId;
use tokio::sync::{Notify, futures::Notified};

/// One bell for each host that ever polled.
#[derive(Debug, Default)]
pub(crate) struct Wakes {
    bells: Mutex<HashMap<HostId, Arc<Bell>>>,
}

#[derive(Debug, Default)]
struct Bell {
    rung: Notify,
    newest_turn: AtomicU64,
}

/// The right of one poll to take the host's commands, until a newer poll comes.
#[derive(Debug)]
pub(crate) struct Turn {
    bell: Arc<Bell>,
    number: u64,
}

impl Wakes {
    /// Wakes whoever waits for this host.
    pub(crate) fn ring(&self, host: &HostId) {
        let bells = self.bells.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bell) = bells.get(host) {
            bell.rung.notify_waiters();
        }
    }

    /// Makes the caller the host's newest poll and wakes the older ones.
    pub(crate) fn take_turn(&self, host: &HostId) -> Turn {
        let mut bells = self.bells.lock().unwrap_or_else(PoisonError::into_inner);
        let bell = Arc::clone(bells.entry(host.clone()).or_default());
        let number = bell.newest_turn.fetch_add(1, Ordering::SeqCst) + 1;
        bell.rung.notify_waiters();
        Turn { bell, number }
    }
}

impl Turn {
    /// A future that ends at the next ring. Enable it before looking for work, or a ring in between is missed.
    pub(crate) fn next_ring(&self) -> Notified<'_> {
        self.bell.rung.notified()
    }

    /// Whether no newer poll has come.
    pub(crate) fn is_newest(&self) -> bool {
        self.bell.newest_turn.load(Ordering::SeqCst) == self.number
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    fn host(name: &str) -> HostId {
        name.parse().unwrap()
    }

    #[tokio::test]
    async fn a_ring_reaches_its_host_alone() {
        let wakes = Wakes::default();
        let (mine, other) = (wakes.take_turn(&host("mine")), wakes.take_turn(&host("other")));
        let mut my_ring = pin!(mine.next_ring());
        let mut other_ring = pin!(other.next_ring());
        assert!(!my_ring.as_mut().enable());
        assert!(!other_ring.as_mut().enable());
        wakes.ring(&host("mine"));
        my_ring.await;
        assert!(!other_ring.as_mut().enable());
    }

    #[tokio::test]
    async fn a_newer_poll_ends_the_older_ones_turn() {
        let wakes = Wakes::default();
        let older = wakes.take_turn(&host("mine"));
        let mut ring = pin!(older.next_ring());
        ring.as_mut().enable();
        assert!(older.is_newest());
        let newer = wakes.take_turn(&host("mine"));
        ring.await;
        assert!(!older.is_newest());
        assert!(newer.is_newest());
    }
}
