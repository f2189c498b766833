//! When each host was last heard of, and the metrics it sent along.
//!
//! Every heartbeat changes both, thousands of times a minute in a large fleet, and nobody misses the last five seconds
//! of them after a power cut. So they live in memory and are written to the database in one statement every few seconds,
//! while everything that is acknowledged to somebody is on disk first. Only this module writes these two columns.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use nixfleet_protocol::wire::fields::HostId;
use serde::Serialize;
use tokio::{sync::watch, time};
use tracing::warn;

use crate::{
    clock::Millis,
    context::Dashboard,
    limits::{LIVENESS_WRITE_INTERVAL, MAX_METRICS_BYTES},
    store::{Store, StoreError},
    with_sources,
};

/// A host is online if it was heard of within two and a half of its intervals and this much more: one lost heartbeat
/// and a slow network do not make it offline.
const GRACE: Duration = Duration::from_secs(10);

/// However short its interval, a host gets this long: it may just be switching.
const SHORTEST_LIMIT: Duration = Duration::from_mins(1);

/// The interval of a host that never said one.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(30);

/// Whether a host that was heard of then is online now.
pub(crate) fn is_online(last_seen: Option<Millis>, interval: Option<i64>, now: Millis) -> bool {
    let interval = interval
        .and_then(|seconds| u64::try_from(seconds).ok())
        .map_or(DEFAULT_INTERVAL, Duration::from_secs);
    let limit = (interval * 5 / 2 + GRACE).max(SHORTEST_LIMIT);
    last_seen.is_some_and(|seen| now <= seen.after(limit))
}

/// What was heard of the hosts since the start.
#[derive(Debug, Default)]
pub(crate) struct Liveness {
    hosts: Mutex<HashMap<HostId, Heard>>,
}

/// What was heard of one host.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Heard {
    /// When.
    pub(crate) at: Millis,
    /// The newest metrics, as JSON.
    pub(crate) metrics: Option<String>,
    #[serde(skip)]
    is_saved: bool,
}

/// One host's entry as it goes into the database.
#[derive(Debug, Serialize)]
pub(crate) struct Sighting {
    id: HostId,
    seen: i64,
    metrics: Option<String>,
}

impl Liveness {
    /// Notes that the host was heard of now. Metrics that it did not send, or sent too large, leave the old ones.
    pub(crate) fn heard_of(&self, host: &HostId, metrics: Option<String>, now: Millis) {
        let metrics = metrics.filter(|metrics| metrics.len() <= MAX_METRICS_BYTES);
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        match hosts.get_mut(host) {
            Some(heard) => {
                heard.at = now;
                heard.metrics = metrics.or(heard.metrics.take());
                heard.is_saved = false;
            }
            None => {
                hosts.insert(host.clone(), Heard { at: now, metrics, is_saved: false });
            }
        }
    }

    /// What was heard of a host since the start.
    pub(crate) fn of(&self, host: &str) -> Option<Heard> {
        let host: HostId = host.parse().ok()?;
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner).get(&host).cloned()
    }

    /// Writes what is not yet in the database.
    pub(crate) async fn save(&self, store: &Store) -> Result<(), StoreError> {
        let sightings = self.take_unsaved();
        if sightings.is_empty() {
            return Ok(());
        }
        let saved = store.record_sightings(&sightings).await;
        if saved.is_err() {
            self.put_back(&sightings);
        }
        saved
    }

    fn take_unsaved(&self) -> Vec<Sighting> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let unsaved = hosts.iter_mut().filter(|(_, heard)| !heard.is_saved);
        unsaved
            .map(|(id, heard)| {
                heard.is_saved = true;
                Sighting { id: id.clone(), seen: heard.at.0, metrics: heard.metrics.clone() }
            })
            .collect()
    }

    fn put_back(&self, sightings: &[Sighting]) {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        for sighting in sightings {
            if let Some(heard) = hosts.get_mut(&sighting.id) {
                heard.is_saved = false;
            }
        }
    }
}

/// Saves every few seconds, and once more at the end.
pub(crate) async fn keep_saving(dashboard: &Dashboard, mut stopping: watch::Receiver<bool>) {
    loop {
        let stopped =
            time::timeout(LIVENESS_WRITE_INTERVAL, stopping.wait_for(|stopping| *stopping)).await;
        if let Err(error) = dashboard.liveness.save(&dashboard.store).await {
            warn!(error = with_sources(&error), "the last-seen times stay in memory for now");
        }
        if stopped.is_ok() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn online_is_two_and_a_half_intervals_and_a_grace() {
        let now = Millis(1_000_000_000);
        let ago = |seconds: i64| Some(Millis(now.0 - seconds * 1000));
        for (last_seen, interval, online) in [
            (None, Some(30), false),
            (ago(0), None, true),
            (ago(85), None, true),
            (ago(86), None, false),
            (ago(60), Some(1), true),
            (ago(61), Some(1), false),
            (ago(9010), Some(3600), true),
            (ago(9011), Some(3600), false),
            (ago(-5), Some(30), true),
            (ago(85), Some(-1), true),
        ] {
            assert_eq!(is_online(last_seen, interval, now), online, "{last_seen:?} {interval:?}");
        }
    }

    #[test]
    fn only_what_is_new_is_taken_and_what_failed_comes_again() {
        let liveness = Liveness::default();
        let host: HostId = "mac".parse().unwrap();
        liveness.heard_of(&host, Some("{}".to_owned()), Millis(1));
        liveness.heard_of(&host, None, Millis(2));
        let taken = liveness.take_unsaved();
        assert_eq!((taken.len(), taken[0].seen, taken[0].metrics.as_deref()), (1, 2, Some("{}")));
        assert!(liveness.take_unsaved().is_empty());
        liveness.put_back(&taken);
        assert_eq!(liveness.take_unsaved().len(), 1);
    }

    #[test]
    fn metrics_out_of_proportion_are_dropped() {
        let liveness = Liveness::default();
        let host: HostId = "mac".parse().unwrap();
        liveness.heard_of(&host, Some("x".repeat(MAX_METRICS_BYTES + 1)), Millis(1));
        assert_eq!(liveness.of("mac").unwrap().metrics, None);
    }
}
