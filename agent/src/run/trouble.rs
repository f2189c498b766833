//! Trouble with the journal is tried again every few seconds, but said only now and then: a full disk is not made better
//! by a log that grows.

use std::{
    collections::HashMap,
    error::Error,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::messages;

/// The same trouble is said again after this time.
const AGAIN_AFTER: Duration = Duration::from_hours(1);

/// So many different troubles are told apart; with more of them the memory begins anew.
const MAX_REMEMBERED: usize = 64;

/// What was said, and when.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    said: Mutex<HashMap<String, Instant>>,
}

impl Trouble {
    /// Logs an error, unless the same was logged a short while ago.
    pub(super) fn say(&self, error: &dyn Error) {
        let text = messages::with_causes(error);
        if self.is_news(&text, Instant::now()) {
            tracing::error!("{text}");
        }
    }

    fn is_news(&self, text: &str, now: Instant) -> bool {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.get(text).is_some_and(|at| now.saturating_duration_since(*at) < AGAIN_AFTER) {
            return false;
        }
        if said.len() >= MAX_REMEMBERED {
            said.clear();
        }
        said.insert(text.to_owned(), now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_said_once_an_hour() {
        let trouble = Trouble::default();
        let now = Instant::now();
        assert!(trouble.is_news("disk full", now));
        assert!(!trouble.is_news("disk full", now + Duration::from_mins(59)));
        assert!(trouble.is_news("no such file", now));
        assert!(trouble.is_news("disk full", now + AGAIN_AFTER));
    }
}
