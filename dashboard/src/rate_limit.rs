//! How often one address may call one path.
//!
//! Fixed windows of a minute, as on v1 dashboards, each beginning with its first call; the key is the client's address
//! with the concrete path, so each host has a window of its own. One deviation: a v1 dashboard fails with status 500
//! when the limit is reached, which is a bug there; here it is 429 with `Retry-After`.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The length of a window.
const WINDOW: Duration = Duration::from_mins(1);

/// The most windows that are remembered.
const MAX_WINDOWS: usize = 100_000;

/// How many calls a minute a path takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PerMinute(pub(crate) u32);

/// Counts calls.
#[derive(Debug)]
pub(crate) struct RateLimiter {
    enabled: bool,
    hasher: RandomState,
    windows: Mutex<HashMap<u64, Window>>,
}

#[derive(Debug, Clone, Copy)]
struct Window {
    began: Instant,
    calls: u32,
}

impl RateLimiter {
    /// A limiter; one that is not enabled lets everything pass.
    pub(crate) fn new(enabled: bool) -> Self {
        Self { enabled, hasher: RandomState::new(), windows: Mutex::default() }
    }

    /// Counts a call; the error is how long to wait before the next one.
    pub(crate) fn count(
        &self,
        address: IpAddr,
        path: &str,
        limit: PerMinute,
        now: Instant,
    ) -> Result<(), Duration> {
        if !self.enabled {
            return Ok(());
        }
        // A hash with a random key: the size of an entry does not depend on what a client sends.
        let key = self.hasher.hash_one((address, path));
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        if windows.len() >= MAX_WINDOWS && !windows.contains_key(&key) {
            make_room(&mut windows, now);
        }
        let window = windows.entry(key).or_insert(Window { began: now, calls: 0 });
        if is_over(window, now) {
            *window = Window { began: now, calls: 0 };
        }
        window.calls = window.calls.saturating_add(1);
        if window.calls > limit.0 { Err(window.began + WINDOW - now) } else { Ok(()) }
    }
}

fn is_over(window: &Window, now: Instant) -> bool {
    now.saturating_duration_since(window.began) >= WINDOW
}

/// Forgets windows that are over. If that is not enough, all begin anew: better than refusing honest hosts because
/// somebody calls a hundred thousand paths a minute.
fn make_room(windows: &mut HashMap<u64, Window>, now: Instant) {
    windows.retain(|_, window| !is_over(window, now));
    if windows.len() >= MAX_WINDOWS {
        windows.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[test]
    fn the_call_after_the_last_waits_for_the_window_to_end() {
        let limiter = RateLimiter::new(true);
        let began = Instant::now();
        let later = began + Duration::from_secs(20);
        for _ in 0..3 {
            assert_eq!(limiter.count(HERE, "/a", PerMinute(3), began), Ok(()));
        }
        assert_eq!(limiter.count(HERE, "/a", PerMinute(3), later), Err(Duration::from_secs(40)));
        assert_eq!(limiter.count(HERE, "/b", PerMinute(3), later), Ok(()));
        assert_eq!(limiter.count(HERE, "/a", PerMinute(3), began + WINDOW), Ok(()));
    }

    #[test]
    fn a_disabled_limiter_lets_everything_pass() {
        let limiter = RateLimiter::new(false);
        for _ in 0..10 {
            assert_eq!(limiter.count(HERE, "/a", PerMinute(1), Instant::now()), Ok(()));
        }
    }

    #[test]
    fn the_number_of_windows_is_bounded() {
        let now = Instant::now();
        let mut windows: HashMap<u64, Window> =
            (0..MAX_WINDOWS as u64).map(|key| (key, Window { began: now, calls: 1 })).collect();
        make_room(&mut windows, now);
        assert!(windows.is_empty());
    }
}
