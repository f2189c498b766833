//! What a fault meets: who asked for the switch, which home-manager, which macOS.

use std::fmt;

use serde::Serialize;

/// Who starts the switch, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Initiator {
    /// The dashboard, through the agent.
    Agent,
    /// A user who types `nixfleet-switch`.
    User,
    /// A user who types plain `home-manager switch`.
    Plain,
}

impl Initiator {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Agent, Self::User, Self::Plain];

    /// Those whose switch has a wrapper.
    pub const WRAPPED: [Self; 2] = [Self::Agent, Self::User];

    /// Those at the machine.
    pub const AT_THE_MACHINE: [Self; 2] = [Self::User, Self::Plain];

    /// The word in names and tables.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::User => "user",
            Self::Plain => "plain",
        }
    }
}

/// A release of home-manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Release {
    /// 24.11, which handles agents as all releases since 22.05 do.
    #[serde(rename = "24.11")]
    R24_11,
    /// 25.11, which handles agents as 25.05 does.
    #[serde(rename = "25.11")]
    R25_11,
    /// 26.05.
    #[serde(rename = "26.05")]
    R26_05,
    /// What comes after 26.05.
    #[serde(rename = "master")]
    Master,
}

impl Release {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::R24_11, Self::R25_11, Self::R26_05, Self::Master];

    /// The word in names and tables, and in a scenario.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::R24_11 => "24.11",
            Self::R25_11 => "25.11",
            Self::R26_05 => "26.05",
            Self::Master => "master",
        }
    }
}

/// A release of macOS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Macos {
    /// 15: the last in which `bootout --wait` is a usage error.
    #[serde(rename = "15")]
    Fifteen,
    /// 26.
    #[serde(rename = "26")]
    TwentySix,
}

impl Macos {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Fifteen, Self::TwentySix];

    /// The major version.
    pub const fn major(self) -> u32 {
        match self {
            Self::Fifteen => 15,
            Self::TwentySix => 26,
        }
    }
}

/// One combination.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Axes {
    /// Who starts the switch.
    pub initiator: Initiator,
    /// Which home-manager.
    pub release: Release,
    /// Which macOS.
    pub macos: Macos,
}

impl Axes {
    /// All combinations, in a fixed order.
    pub fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for initiator in Initiator::ALL {
            for release in Release::ALL {
                all.extend(Macos::ALL.map(|macos| Self { initiator, release, macos }));
            }
        }
        all
    }
}

impl fmt::Display for Axes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (initiator, release) = (self.initiator.as_str(), self.release.as_str());
        write!(formatter, "{initiator}/{release}/macos{}", self.macos.major())
    }
}
