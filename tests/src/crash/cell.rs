//! The cells: who asks for a switch, what it meets, and at which points somebody dies. Data, and nothing but.

use std::fmt;

use nixfleet_protocol::crash_point::CrashPoint::{
    self, AgentAcknowledged, AgentCommandCame, AgentCommandTaken, AgentLocked, AgentReportMarked,
    AgentReported, AgentUp, AgentWrapperStarted, EnsureBootedOut, EnsureBootstrapped,
    EnsureEnabled, EnsureKickstarted, EnsureLocked, EnsureOriginalGone, EnsureRestored,
    EnsureTerminated, WatchdogActed, WatchdogActing, WatchdogFirstLook, WrapperChildEnded,
    WrapperChildSpawned, WrapperEnsured, WrapperGateOpened, WrapperLocked, WrapperOriginalBack,
    WrapperReloadWritten, WrapperRequested, WrapperResultWritten, WrapperStarted, WrapperUp,
};

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Starter {
    /// The dashboard, through the agent.
    Dashboard,
    /// Somebody types `nixfleet-switch`.
    User,
    /// Somebody types `home-manager switch`.
    Plain,
    /// Nobody switches; somebody takes the agent's job out by hand.
    Hand,
}

/// What the switch meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scene {
    /// home-manager takes the agent's job out and loads it again.
    Replaced,
    /// It cannot load it again.
    NotLoaded,
    /// launchd says that it has taken the job out and has not: a new definition on disk, the old one loaded.
    StillLoaded,
    /// Somebody forbids the label while the job is out.
    Disabled,
    /// launchd holds back what is not asked for, and goes on so.
    HeldBack,
    /// The new definition names a program that is not there.
    CannotRun,
    /// The definition stays, the program behind it is another one.
    Outdated,
    /// There is nothing but the bootout by hand.
    BootedOut,
    /// home-manager's own definition did not work, what worked is back, and the next generation cannot be built.
    WentBack,
}

/// One run of the programs, with deaths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    /// Who asks.
    pub starter: Starter,
    /// What it meets.
    pub scene: Scene,
    /// Where somebody dies. Each point is passed once; in as many switches as there are points.
    pub points: Vec<CrashPoint>,
}

impl Starter {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Dashboard, Self::User, Self::Plain, Self::Hand];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dashboard => "dashboard",
            Self::User => "user",
            Self::Plain => "plain",
            Self::Hand => "hand",
        }
    }
}

impl Scene {
    /// All of them; where a point is passed in several, the first is the simplest.
    pub const ALL: [Self; 9] = [
        Self::Replaced,
        Self::NotLoaded,
        Self::StillLoaded,
        Self::Disabled,
        Self::HeldBack,
        Self::CannotRun,
        Self::Outdated,
        Self::BootedOut,
        Self::WentBack,
    ];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Replaced => "replaced",
            Self::NotLoaded => "not-loaded",
            Self::StillLoaded => "still-loaded",
            Self::Disabled => "disabled",
            Self::HeldBack => "held-back",
            Self::CannotRun => "cannot-run",
            Self::Outdated => "outdated",
            Self::BootedOut => "booted-out",
            Self::WentBack => "went-back",
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let points: Vec<&str> = self.points.iter().map(|point| point.as_str()).collect();
        let (starter, scene) = (self.starter.as_str(), self.scene.as_str());
        write!(formatter, "{starter}/{scene}/{}", points.join("+"))
    }
}

/// The wrapper's own points, in the order in which a switch passes them; before them each kind of switch has one more.
const WRAPPER: [CrashPoint; 8] = [
    WrapperLocked,
    WrapperChildSpawned,
    WrapperStarted,
    WrapperGateOpened,
    WrapperChildEnded,
    WrapperResultWritten,
    WrapperEnsured,
    WrapperReloadWritten,
];

/// What the agent passes when the dashboard asks for a switch.
const COMMAND: [CrashPoint; 4] =
    [AgentCommandCame, AgentCommandTaken, AgentAcknowledged, AgentWrapperStarted];

/// What the agent passes when there is a result.
const REPORT: [CrashPoint; 2] = [AgentReported, AgentReportMarked];

/// What the next agent passes.
const NEXT_AGENT: [CrashPoint; 2] = [AgentLocked, AgentUp];

const WATCHDOG: [CrashPoint; 3] = [WatchdogFirstLook, WatchdogActing, WatchdogActed];

/// What whoever looks after the agent's job passes in this scene.
const fn look_after(scene: Scene) -> &'static [CrashPoint] {
    match scene {
        Scene::Replaced => &[EnsureLocked],
        Scene::NotLoaded | Scene::Disabled | Scene::BootedOut => {
            &[EnsureLocked, EnsureEnabled, EnsureBootstrapped]
        }
        Scene::StillLoaded => &[EnsureLocked, EnsureBootedOut, EnsureEnabled, EnsureBootstrapped],
        Scene::HeldBack => &[EnsureLocked, EnsureKickstarted],
        Scene::CannotRun => &[
            EnsureLocked,
            EnsureKickstarted,
            EnsureRestored,
            EnsureBootedOut,
            EnsureEnabled,
            EnsureBootstrapped,
        ],
        Scene::Outdated => &[EnsureLocked, EnsureTerminated],
        Scene::WentBack => &[EnsureLocked, EnsureOriginalGone],
    }
}

/// Who looks after the agent's job when no wrapper does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Carer {
    Watchdog,
    Agent,
    Nobody,
}

const fn carer_without_wrapper(scene: Scene) -> Carer {
    match scene {
        // Where nothing is built, nothing is done to the agent.
        Scene::Replaced | Scene::WentBack => Carer::Nobody,
        Scene::NotLoaded
        | Scene::Disabled
        | Scene::HeldBack
        | Scene::CannotRun
        | Scene::BootedOut => Carer::Watchdog,
        // The agent runs and is not what is installed.
        Scene::StillLoaded | Scene::Outdated => Carer::Agent,
    }
}

/// All points that somebody passes, whoever it is.
pub fn passed(starter: Starter, scene: Scene) -> Vec<CrashPoint> {
    let mut points = Vec::new();
    match (starter, scene) {
        (Starter::Hand, Scene::BootedOut) => {}
        (Starter::Hand, _) | (_, Scene::BootedOut) | (Starter::Plain, Scene::WentBack) => {
            return points;
        }
        (Starter::Dashboard, _) => {
            points.extend(COMMAND);
            points.push(WrapperUp);
            points.extend(WRAPPER);
            points.extend(REPORT);
        }
        (Starter::User, _) => {
            points.push(WrapperRequested);
            points.extend(WRAPPER);
            points.extend(REPORT);
        }
        (Starter::Plain, _) => {}
    }
    let has_wrapper = matches!(starter, Starter::Dashboard | Starter::User);
    match scene {
        Scene::WentBack => points.push(WrapperOriginalBack),
        Scene::Replaced
        | Scene::NotLoaded
        | Scene::StillLoaded
        | Scene::Disabled
        | Scene::HeldBack
        | Scene::CannotRun
        | Scene::Outdated
        | Scene::BootedOut => points.extend(NEXT_AGENT),
    }
    match (has_wrapper, carer_without_wrapper(scene)) {
        (true, _) | (false, Carer::Agent) => points.extend(look_after(scene)),
        (false, Carer::Watchdog) => {
            points.extend(look_after(scene));
            points.extend(WATCHDOG);
        }
        (false, Carer::Nobody) => {}
    }
    points
}

/// The points at which a wrapper's death leaves the job to the watchdog, in a scene in which the job is out by then. A
/// user's home-manager does not outlive its wrapper for long: it writes to it, and that is at an end.
const fn is_left_to_the_watchdog(starter: Starter, point: CrashPoint) -> bool {
    matches!(point, WrapperChildEnded | WrapperResultWritten | EnsureLocked)
        || matches!((starter, point), (Starter::Dashboard, WrapperGateOpened))
}

/// Whether both points are passed, if only because of the deaths.
pub fn both_passed(starter: Starter, scene: Scene, one: CrashPoint, other: CrashPoint) -> bool {
    let passed = passed(starter, scene);
    let is_because_of = |left: CrashPoint, watchdogs: CrashPoint| {
        is_left_to_the_watchdog(starter, left)
            && WATCHDOG.contains(&watchdogs)
            && has_to_be_missed(starter, scene)
    };
    match (passed.contains(&one), passed.contains(&other)) {
        (true, true) => one != other && !nobody_left(scene, one, other),
        (true, false) => is_because_of(one, other),
        (false, true) => is_because_of(other, one),
        (false, false) => false,
    }
}

/// A wrapper that dies leaves a job that only the watchdog brings back.
fn has_to_be_missed(starter: Starter, scene: Scene) -> bool {
    matches!(starter, Starter::Dashboard | Starter::User)
        && carer_without_wrapper(scene) == Carer::Watchdog
}

/// Where launchd starts nothing by itself, the death of both that look after each other cannot be healed.
fn nobody_left(scene: Scene, one: CrashPoint, other: CrashPoint) -> bool {
    scene == Scene::HeldBack && (WATCHDOG.contains(&one) || WATCHDOG.contains(&other))
}

/// Every point alone, for each starter that passes it, in the first scene in which it is passed.
pub fn singles() -> Vec<Cell> {
    let mut cells = Vec::new();
    for starter in Starter::ALL {
        for point in CrashPoint::ALL {
            let scene =
                Scene::ALL.into_iter().find(|scene| passed(starter, *scene).contains(point));
            cells.extend(scene.map(|scene| Cell { starter, scene, points: vec![*point] }));
        }
    }
    cells
}

/// Every two points that can both be passed, for each starter, in the first scene in which they are.
pub fn pairs() -> Vec<Cell> {
    let mut cells = Vec::new();
    for starter in Starter::ALL {
        for (index, one) in CrashPoint::ALL.iter().enumerate() {
            for other in CrashPoint::ALL.iter().skip(index + 1) {
                let scene =
                    Scene::ALL.into_iter().find(|scene| both_passed(starter, *scene, *one, *other));
                cells.extend(scene.map(|scene| Cell {
                    starter,
                    scene,
                    points: vec![*one, *other],
                }));
            }
        }
    }
    cells
}

/// Pairs that a fixed sample holds: those in which one death takes away who would mend the other.
const SAMPLE_PAIRS: [(Starter, CrashPoint, CrashPoint); 7] = [
    (Starter::Dashboard, WrapperChildEnded, WatchdogActing),
    (Starter::Dashboard, WrapperStarted, AgentWrapperStarted),
    (Starter::Dashboard, AgentCommandCame, AgentCommandTaken),
    (Starter::User, WrapperChildEnded, WatchdogFirstLook),
    (Starter::User, EnsureEnabled, EnsureBootstrapped),
    (Starter::Plain, WatchdogActing, AgentUp),
    (Starter::Hand, WatchdogActed, EnsureLocked),
];

/// A fixed choice: every point once, its starters in turn, and a handful of pairs.
pub fn sample() -> Vec<Cell> {
    let (singles, pairs) = (singles(), pairs());
    let mut sample = Vec::new();
    for (index, point) in CrashPoint::ALL.iter().enumerate() {
        let of_point: Vec<&Cell> = singles.iter().filter(|cell| cell.points == [*point]).collect();
        let chosen = of_point.get(index % of_point.len().max(1));
        sample.extend(chosen.map(|cell| (*cell).clone()));
    }
    for (starter, one, other) in SAMPLE_PAIRS {
        let is_meant = |cell: &&Cell| {
            cell.starter == starter && cell.points.contains(&one) && cell.points.contains(&other)
        };
        sample.extend(pairs.iter().find(is_meant).cloned());
    }
    sample
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_point_is_in_the_sample_and_no_cell_is_there_twice() {
        let sample = sample();
        for point in CrashPoint::ALL {
            assert!(sample.iter().any(|cell| cell.points == [*point]), "{point:?}");
        }
        let pairs = sample.iter().filter(|cell| cell.points.len() == 2).count();
        assert_eq!(pairs, SAMPLE_PAIRS.len());
        for cells in [sample, singles(), pairs_and_singles()] {
            let names: HashSet<String> = cells.iter().map(ToString::to_string).collect();
            assert_eq!(names.len(), cells.len());
        }
    }

    fn pairs_and_singles() -> Vec<Cell> {
        [singles(), pairs()].concat()
    }

    #[test]
    fn no_list_of_passed_points_names_one_twice() {
        for starter in Starter::ALL {
            for scene in Scene::ALL {
                let points = passed(starter, scene);
                let different: HashSet<CrashPoint> = points.iter().copied().collect();
                assert_eq!(different.len(), points.len(), "{starter:?} {scene:?}");
            }
        }
    }

    #[test]
    fn which_two_can_both_be_passed() {
        use Scene::{BootedOut, CannotRun, HeldBack, NotLoaded, Replaced};
        use Starter::{Dashboard, Hand, Plain, User};
        for (starter, scene, one, other, expected) in [
            (Dashboard, Replaced, WrapperUp, AgentUp, true),
            (Dashboard, Replaced, WrapperUp, WrapperUp, false),
            (Dashboard, Replaced, WrapperGateOpened, WatchdogActing, false),
            (Dashboard, NotLoaded, WrapperGateOpened, WatchdogActing, true),
            (Dashboard, NotLoaded, WatchdogActing, WrapperGateOpened, true),
            (Dashboard, NotLoaded, WrapperLocked, WatchdogActing, false),
            (User, NotLoaded, WrapperGateOpened, WatchdogActing, false),
            (User, NotLoaded, WrapperChildEnded, WatchdogActing, true),
            (User, Replaced, AgentCommandCame, AgentUp, false),
            (User, CannotRun, EnsureLocked, WatchdogActed, true),
            (Plain, NotLoaded, WatchdogActing, AgentUp, true),
            (Plain, HeldBack, WatchdogActing, AgentUp, false),
            (Plain, NotLoaded, WrapperUp, AgentUp, false),
            (Hand, BootedOut, WatchdogFirstLook, WatchdogActed, true),
            (Hand, Replaced, AgentUp, AgentLocked, false),
        ] {
            let found = both_passed(starter, scene, one, other);
            assert_eq!(found, expected, "{starter:?} {scene:?} {one:?} {other:?}");
        }
    }
}
