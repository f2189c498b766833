//! What every request handler works with.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

use crate::{
    auth::Tokens, liveness::Liveness, rate_limit::RateLimiter, settings::Settings, store::Store,
    wake::Wakes,
};

/// The dashboard's parts, shared by all requests.
#[derive(Debug)]
pub(crate) struct Dashboard {
    pub(crate) store: Store,
    pub(crate) liveness: Liveness,
    pub(crate) wakes: Wakes,
    pub(crate) rate_limiter: RateLimiter,
    pub(crate) tokens: Tokens,
    /// How long a command stays with an agent that does not acknowledge it.
    pub(crate) lease: Duration,
    /// Turns true when the dashboard is to stop; polls then answer at once.
    pub(crate) stopping: watch::Receiver<bool>,
}

/// How handlers get it.
pub(crate) type Shared = Arc<Dashboard>;

impl Dashboard {
    /// Puts the parts together.
    pub(crate) fn new(
        settings: &Settings,
        store: Store,
        liveness: Liveness,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        Self {
            store,
            liveness,
            wakes: Wakes::default(),
            rate_limiter: RateLimiter::new(settings.rate_limits),
            tokens: settings.tokens.clone(),
            lease: settings.lease,
            stopping,
        }
    }
}
