//! The tokens that this agent has had, for whatever it writes or sends: one list that all its parts share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nixfleet_protocol::{redactor::Redactor, wire::fields::Token};

/// The tokens.
#[derive(Debug, Clone, Default)]
pub(crate) struct KnownTokens(Arc<Mutex<Redactor>>);

impl KnownTokens {
    /// From now on this token is kept out of everything.
    pub(crate) fn learn(&self, token: &Token) {
        self.lock().learn(token);
    }

    /// What takes them out, as known by now.
    pub(crate) fn redactor(&self) -> Redactor {
        self.lock().clone()
    }

    /// The text without them.
    pub(crate) fn redact(&self, text: &str) -> String {
        self.lock().redact(text)
    }

    fn lock(&self) -> MutexGuard<'_, Redactor> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
