//! What a step of the schedule says. Data, and how it reads.

use std::fmt;

use nixfleet_protocol::crash_point::CrashPoint;
use serde::Serialize;

/// One step: a deed, and what happens around it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Step {
    /// Which one, from 1 on.
    pub number: u32,
    /// Faults of launchd that are in force from the beginning.
    pub faults: Vec<LaunchdFault>,
    /// Points at which somebody dies.
    #[serde(serialize_with = "names")]
    pub armed: Vec<CrashPoint>,
    /// What somebody wants.
    pub deed: Deed,
    /// What home-manager will do.
    pub home_manager: HomeManager,
    /// What happens meanwhile, by its time.
    pub acts: Vec<Timed>,
}

/// What somebody wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Deed {
    /// Nothing.
    Nothing,
    /// The dashboard asks for a switch.
    Dashboard,
    /// The dashboard asks for two.
    DashboardTwice,
    /// A user types `nixfleet-switch`.
    User,
    /// A user types `nixfleet-switch` while the dashboard asks for one too.
    UserAndDashboard,
    /// A user types `home-manager switch`.
    Plain,
    /// The dashboard asks for a restart of the agent.
    Restart,
}

/// What home-manager will do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HomeManager {
    /// Whose habits it has.
    pub release: &'static str,
    /// What its generation has for the agent.
    pub agent: NextAgent,
    /// How long it builds, in tenths of a second.
    pub build_tenths: u32,
    /// Where it fails, if it does.
    pub fails_at: Option<&'static str>,
}

/// What a generation has for the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NextAgent {
    /// The plist of the generation before.
    Unchanged,
    /// Another plist.
    Changed,
    /// A plist that names a program which is not there.
    CannotRun,
}

/// A fault of launchd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LaunchdFault {
    /// So many calls of `bootstrap` fail with 5.
    BootstrapFails(u32),
    /// `bootout` says that it has, and has not.
    BootoutLies,
    /// `bootout` says 36, and has.
    BootoutSays36,
    /// `bootout` takes so many tenths of a second.
    BootoutHangs(u32),
    /// So many calls of `print` give nothing.
    PrintIsMute(u32),
    /// `print` answers in other words.
    PrintIsGarbled(u32),
    /// `kickstart` fails without a word.
    KickstartFails(u32),
    /// Somebody forbids the label right after a `bootout`.
    DisabledAfterBootout,
    /// `launchctl bootstrap` is killed when it is done.
    BootstrapIsKilled,
    /// A call of `print` takes so many tenths of a second.
    PrintHangs(u32),
}

/// Something that happens at a time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Timed {
    /// Milliseconds since the step began.
    pub at_ms: u64,
    /// What.
    pub act: Act,
}

/// Who can be hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Who {
    /// The agent.
    Agent,
    /// A wrapper that is at work.
    Wrapper,
    /// The watchdog.
    Watchdog,
    /// home-manager's driver.
    HomeManager,
}

/// A record that is written anew now and then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// The agent's own.
    Agent,
    /// The watchdog's own.
    Watchdog,
    /// The copy of the last definition that worked.
    LastGood,
    /// Where the last agent that worked is.
    LastGoodAgent,
    /// What going back to it has put on disk.
    Restored,
}

/// Something that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// `kill -9`.
    Kill(Who),
    /// `kill -STOP`.
    Stop(Who),
    /// `kill -CONT` for all that were stopped.
    Continue,
    /// The dashboard is killed.
    DashboardDown,
    /// The dashboard is there again.
    DashboardUp,
    /// Somebody takes the agent's job out by hand.
    BootOutAgent,
    /// Somebody takes the watchdog's job out by hand.
    BootOutWatchdog,
    /// Somebody forbids the agent's label.
    DisableAgent,
    /// launchd holds back what is not asked for, or does no more.
    HoldBack(bool),
    /// Low Power Mode.
    LowPower(bool),
    /// The switch of the agent in Login Items.
    LoginItem(bool),
    /// launchd throws the agent's job out by itself.
    ThrowOutAgent,
    /// Somebody else has the agent killed and started anew.
    KickstartByHand,
    /// The user logs out at the screen.
    LogOut,
    /// The user logs in at the screen.
    LogIn,
    /// The machine starts anew and the user logs in.
    Reboot,
    /// The machine sleeps for so many milliseconds.
    Sleep(u64),
    /// The agent's executable is another one, which works.
    ReplaceAgent,
    /// The agent's executable is one that ends at once.
    BreakAgent,
    /// Somebody installs another wrapper, and with it another watchdog.
    UpgradeWrapper,
    /// A record in the state directory is nonsense from now on.
    BreakRecord(Record),
    /// The config says something else that makes sense.
    ChangeConfig,
    /// The config makes no sense.
    BreakConfig,
    /// The config makes sense again.
    RepairConfig,
    /// The agent's plist is written again as it is.
    TouchPlist,
    /// The agent's plist is cut off in the middle.
    TearPlist,
    /// The agent's plist may be written by everybody.
    OpenPlist,
    /// The agent's plist is gone.
    RemovePlist,
}

impl Act {
    /// While this is so, no program can keep the agent up and heard; it is lifted at the end of the step.
    pub const fn is_beyond_help(self) -> bool {
        match self {
            Self::Stop(_)
            | Self::Continue
            | Self::DashboardDown
            | Self::DashboardUp
            | Self::HoldBack(_)
            | Self::LowPower(_)
            | Self::LoginItem(_)
            | Self::LogOut
            | Self::LogIn
            | Self::Reboot
            | Self::Sleep(_)
            | Self::BreakConfig
            | Self::RepairConfig => true,
            Self::Kill(_)
            | Self::BootOutAgent
            | Self::BootOutWatchdog
            | Self::DisableAgent
            | Self::ThrowOutAgent
            | Self::KickstartByHand
            | Self::ReplaceAgent
            | Self::BreakAgent
            | Self::UpgradeWrapper
            | Self::BreakRecord(_)
            | Self::ChangeConfig
            | Self::TouchPlist
            | Self::TearPlist
            | Self::OpenPlist
            | Self::RemovePlist => false,
        }
    }

    /// A wrapper may die of it, so that nobody sees how its home-manager ends.
    pub const fn may_kill_a_wrapper(self) -> bool {
        matches!(self, Self::Kill(Who::Wrapper) | Self::Reboot)
    }
}

impl Step {
    /// Something in it keeps every program from bringing the agent back before it is lifted.
    pub fn is_beyond_help(&self) -> bool {
        self.acts.iter().any(|timed| timed.act.is_beyond_help())
    }

    /// A wrapper may die in it.
    pub fn may_kill_a_wrapper(&self) -> bool {
        let is_a_wrappers = |point: &CrashPoint| {
            point.as_str().starts_with("wrapper-") || point.as_str().starts_with("ensure-")
        };
        self.acts.iter().any(|timed| timed.act.may_kill_a_wrapper())
            || self.armed.iter().any(is_a_wrappers)
    }
}

fn names<S: serde::Serializer>(points: &[CrashPoint], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(points.iter().map(|point| point.as_str()))
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let HomeManager { release, agent, build_tenths, fails_at } = &self.home_manager;
        write!(formatter, "{:3}. {:?}", self.number, self.deed)?;
        let switches = !matches!(self.deed, Deed::Nothing | Deed::Restart);
        if switches {
            write!(
                formatter,
                " ({release}, {agent:?}, {}.{} s",
                build_tenths / 10,
                build_tenths % 10
            )?;
            if let Some(fails_at) = fails_at {
                write!(formatter, ", fails at {fails_at}")?;
            }
            write!(formatter, ")")?;
        }
        for fault in &self.faults {
            write!(formatter, "; {fault:?}")?;
        }
        for point in &self.armed {
            write!(formatter, "; dies at {}", point.as_str())?;
        }
        for Timed { at_ms, act } in &self.acts {
            write!(formatter, "; {at_ms} ms {act:?}")?;
        }
        Ok(())
    }
}
