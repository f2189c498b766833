//! What happens to a Mac without any `launchctl` call: logins, logouts, launchd's own moods.
//! Tests send these over the socket, and a fault can bind one to the moment of a call.

use serde::{Deserialize, Serialize};

use super::domain::ServiceTarget;

/// A happening in launchd's world.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Control {
    /// The user logs in at the screen: `gui/UID` appears and `~/Library/LaunchAgents` is loaded.
    Login,
    /// The user logs out: every job of `gui/UID` is stopped, then the domain is gone.
    Logout,
    /// Sets the on-demand count of every domain. Above 0, only a demand starts a job; what
    /// `RunAtLoad` and `KeepAlive` want is pended until the count is 0 again.
    OnDemandCount(u32),
    /// Someone flips the override database, for instance in Login Items.
    Disable(String),
    /// Someone flips it back.
    Enable(String),
    /// launchd throws a job out by itself: killed and forgotten.
    Remove(ServiceTarget),
}
