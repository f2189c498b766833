//! What happens to a Mac without any `launchctl` call of ours: logins, logouts, reboots, sleep,
//! launchd's own moods, what the user does in System Settings, what somebody else does.
//!
//! Tests send these over the socket, and a fault can bind one to the moment of a call.

use serde::{Deserialize, Serialize};

use super::{domain::ServiceTarget, handle::Session};

/// A happening in launchd's world.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Control {
    /// The user logs in at the screen: `gui/UID` appears and `~/Library/LaunchAgents` is loaded.
    Login,
    /// The user logs in over ssh: `user/UID` appears, and nothing is loaded.
    SshLogin,
    /// The user logs out: every job of `gui/UID` is stopped, then the domain is gone.
    Logout,
    /// The machine starts anew, with this session: all jobs and domains end, and with them every
    /// process of the jobs; what is on disk stays. Answered when it is up again.
    Reboot(Session),
    /// The machine sleeps until [`Control::Wake`]: its processes stand still, no timer runs, no
    /// call is answered. Whatever comes meanwhile, but a `Wake` or a `CalendarDue`, waits.
    Sleep,
    /// The same, for so many milliseconds of real time.
    SleepFor(u64),
    /// The machine wakes up.
    Wake,
    /// Sets the on-demand count of the screen session. Above 0, only a demand starts a job there;
    /// what launchd itself wants to start is pended until the count is 0 again.
    OnDemandCount(u32),
    /// Low Power Mode, or a loaded machine: pends like an on-demand count, without showing one.
    LowPower(bool),
    /// Whether what was pended stays so when its cause is over.
    PendedStay(bool),
    /// The time of a job's `StartCalendarInterval` has come. While asleep: fires once, on waking.
    CalendarDue(ServiceTarget),
    /// Someone flips the override database, for instance in Login Items.
    Disable(String),
    /// Someone flips it back.
    Enable(String),
    /// What Background Items and code signing make of a label from now on.
    Policy {
        /// Which label.
        label: String,
        /// What becomes of it.
        verdict: Verdict,
    },
    /// The switch in Login Items: off disables the label in the override database and has its
    /// spawns refused.
    LoginItem {
        /// Which label.
        label: String,
        /// Whether it may run in the background.
        on: bool,
    },
    /// What launchd waits for after a missing executable: it tries once more.
    SetupEvent(ServiceTarget),
    /// launchd throws a job out by itself: killed and forgotten.
    Remove(ServiceTarget),
    /// Somebody else calls `launchctl` with these words at this very moment, as the user.
    Launchctl(Vec<String>),
}

/// What becomes of a label's processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// They run.
    #[default]
    Allowed,
    /// The plist is passed over at login; a bootstrap by hand works until then.
    NotAtLogin,
    /// Passed over at login, and a spawn is refused (161).
    SpawnRefused,
    /// Accepted and spawned, then killed and the label forgotten.
    KilledAfterSpawn,
}
