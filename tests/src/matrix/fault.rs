//! What a fault is, as data: what is special about the machine, what is done to it and when, and what must come of it.

use std::time::Duration;

use nixfleet_protocol::crash_point::CrashPoint;
use serde::Serialize;

use super::axes::Initiator;
use crate::launchd::{Control, Fault as CallFault};

/// How long a cell goes on looking after everything is as it should be.
const LOOK_ON: Duration = Duration::from_secs(3);

/// A fault, with all its variants.
#[derive(Debug, Clone)]
pub struct Fault {
    /// Its name in the collected facts, chapter 8; `baseline` for none at all.
    pub id: &'static str,
    /// What it is.
    pub what: &'static str,
    /// Who met it.
    pub source: &'static str,
    /// The forms it takes.
    pub variants: Vec<Variant>,
}

/// One form of a fault.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Variant {
    /// Its name, which with the fault's and the axes' names the cell.
    pub name: &'static str,
    /// Whose switches can meet it.
    pub initiators: &'static [Initiator],
    /// What is special about the agent's job.
    pub job: Job,
    /// Whether the state directory has a small disk of its own.
    pub small_disk: bool,
    /// What home-manager is to do.
    pub switch: Switch,
    /// What is done before the switch is asked for, in this order.
    pub before: Vec<Act>,
    /// What is done during the switch and after it, in this order.
    pub during: Vec<Trigger>,
    /// What must come of it.
    pub expected: Expected,
    /// Whether the old agent may go on, since the new one cannot run.
    pub old_may_stay: bool,
    /// Whether its cells take long, so that they are best begun first.
    pub is_slow: bool,
    /// How long all must stay as it should be.
    pub look_on: Duration,
    /// Whether only root can do this to a machine.
    pub needs_root: bool,
}

/// What is special about the agent's job.
#[derive(Debug, Clone, Default)]
pub struct Job {
    /// The arguments of the program that starts the agent in its place; empty if launchd starts the agent itself.
    pub launcher: Vec<String>,
    /// Further keys of the plist.
    pub keys: String,
}

/// What home-manager is to do.
#[derive(Debug, Clone)]
pub struct Switch {
    /// The agent's plist in the new generation.
    pub plist: NewPlist,
    /// Further lines of the scenario.
    pub lines: Vec<String>,
}

/// The agent's plist in the new generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewPlist {
    /// It differs.
    Changed,
    /// It is the same.
    Same,
    /// It names a program that is not there.
    WithoutProgram,
    /// It names a log file that cannot be opened.
    WithoutLog,
    /// It names a program that ends at once.
    WithCrashingProgram,
}

/// Something that is done at a moment.
#[derive(Debug, Clone)]
pub struct Trigger {
    /// When.
    pub when: When,
    /// How long after that.
    pub delay: Duration,
    /// What.
    pub act: Act,
}

/// A moment. Each is looked for after the one before has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// home-manager has come to this step.
    Step(&'static str),
    /// home-manager has told launchd to take the agent out, and the agent's process is gone or had its time.
    BootedOut,
    /// home-manager is over.
    SwitchEnded,
}

/// Something that is done.
#[derive(Debug, Clone)]
pub enum Act {
    /// Calls of launchctl go wrong from now on.
    Calls(Vec<CallFault>),
    /// Something happens in launchd's world.
    Happens(Control),
    /// These are killed.
    Kill(Vec<Victim>),
    /// These are stopped, and do nothing until they are thawed.
    Freeze(Vec<Victim>),
    /// These go on.
    Thaw(Vec<Victim>),
    /// Somebody else acts too.
    Start(Actor),
    /// Something is done to the plist on disk.
    Plist(PlistAct),
    /// The agent's stable path leads to this from now on.
    Agent(AgentProgram),
    /// The agent's config says something else, with the same meaning.
    ChangeConfig,
    /// The small disk is filled.
    FillDisk,
    /// There is room on it again.
    FreeDisk,
    /// The whole machine sleeps.
    Sleep(Duration),
    /// Every process ends; then the machine is on again and the user logs in.
    Reboot,
    /// The process that next comes by this point dies.
    Arm(CrashPoint),
    /// Whoever reads what the user's switch prints goes away.
    CloseOutput,
    /// The agent's job is taken out of the screen session and loaded into the user's other domain.
    MoveToUserDomain,
    /// The definition on disk is loaded.
    Reload,
    /// home-manager switches to a definition with which no agent comes up, and what worked takes its place.
    GoBack,
}

/// Who is hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Victim {
    /// The wrapper.
    Wrapper,
    /// home-manager, with its children.
    HomeManager,
    /// The agent's process.
    Agent,
    /// The whole process group of the agent's job.
    AgentGroup,
    /// The watchdog.
    Watchdog,
}

/// Who else acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor {
    /// `nixfleet-switch ensure-agent`.
    EnsureAgent,
    /// Plain `home-manager switch`.
    HomeManager,
    /// `nixfleet-switch`.
    Switch,
    /// `nixfleet-agent run`, by hand.
    Agent,
    /// `launchctl kickstart -k` on the agent's job.
    Kickstart,
    /// `launchctl bootout` of the agent's job.
    Bootout,
    /// `launchctl unload -w` and `load -w` of the agent's plist.
    LoadAgain,
}

/// What is done to the plist on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlistAct {
    /// Everybody may write to it.
    OpenToAll,
    /// It belongs to somebody else.
    Foreign,
    /// It becomes a link to a file elsewhere.
    Link,
    /// Its second half is lost.
    Tear,
    /// It is removed.
    Remove,
    /// It becomes that of this generation.
    Write(u32),
    /// Nobody can write to its folder.
    CloseFolder,
}

/// What the agent's stable path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgentProgram {
    /// The agent.
    Real,
    /// The same agent, as another file.
    Copy,
    /// Nothing.
    Missing,
    /// A program that ends at once.
    EndsAtOnce,
    /// A program that runs and never says that it is up.
    NeverUp,
    /// The agent, which dies after two seconds.
    DiesSoon,
}

/// What must come of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// The agent is back, by nobody's hand.
    Back,
    /// No program can help; that must be said. After `rescue` the agent must be back.
    Named {
        /// Why nobody can.
        why: Unhelpable,
        /// What the user does in the end.
        rescue: Control,
    },
}

/// Why no program can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unhelpable {
    /// Nobody is logged in at the screen.
    NoScreenSession,
    /// The user or macOS does not let the job run in the background.
    Blocked,
}

impl Variant {
    /// A variant in which nothing goes wrong yet.
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            initiators: &Initiator::ALL,
            job: Job::default(),
            small_disk: false,
            switch: Switch { plist: NewPlist::Changed, lines: Vec::new() },
            before: Vec::new(),
            during: Vec::new(),
            expected: Expected::Back,
            old_may_stay: false,
            is_slow: false,
            look_on: LOOK_ON,
            needs_root: false,
        }
    }

    /// Only for these switches.
    #[must_use]
    pub fn only(self, initiators: &'static [Initiator]) -> Self {
        Self { initiators, ..self }
    }

    /// The agent is started by the launcher with these arguments.
    #[must_use]
    pub fn launched(mut self, arguments: &[&str]) -> Self {
        self.job.launcher = arguments.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// The plist has these keys too.
    #[must_use]
    pub fn keys(mut self, keys: &str) -> Self {
        keys.clone_into(&mut self.job.keys);
        self
    }

    /// The state directory has a small disk of its own.
    #[must_use]
    pub fn small_disk(self) -> Self {
        Self { small_disk: true, ..self.needs_root() }
    }

    /// The new generation has this plist.
    #[must_use]
    pub fn plist(mut self, plist: NewPlist) -> Self {
        self.switch.plist = plist;
        self
    }

    /// A line of the scenario.
    #[must_use]
    pub fn line(mut self, line: &str) -> Self {
        self.switch.lines.push(line.to_owned());
        self
    }

    /// Done before the switch.
    #[must_use]
    pub fn first(mut self, act: Act) -> Self {
        self.before.push(act);
        self
    }

    /// Calls that go wrong from before the switch on.
    #[must_use]
    pub fn calls(self, faults: impl IntoIterator<Item = CallFault>) -> Self {
        self.first(Act::Calls(faults.into_iter().collect()))
    }

    /// Done at a moment.
    #[must_use]
    pub fn at(self, when: When, act: Act) -> Self {
        self.later(when, Duration::ZERO, act)
    }

    /// Done so long after a moment.
    #[must_use]
    pub fn later(mut self, when: When, delay: Duration, act: Act) -> Self {
        self.during.push(Trigger { when, delay, act });
        self
    }

    /// Something in launchd's world, before the switch.
    #[must_use]
    pub fn first_happens(self, control: Control) -> Self {
        self.first(Act::Happens(control))
    }

    /// Something in launchd's world, at a moment.
    #[must_use]
    pub fn happens(self, when: When, control: Control) -> Self {
        self.at(when, Act::Happens(control))
    }

    /// Something in launchd's world, so long after a moment.
    #[must_use]
    pub fn happens_later(self, when: When, delay: Duration, control: Control) -> Self {
        self.later(when, delay, Act::Happens(control))
    }

    /// No program can help until the user does this.
    #[must_use]
    pub fn unhelpable(self, why: Unhelpable, rescue: Control) -> Self {
        Self { expected: Expected::Named { why, rescue }, ..self }
    }

    /// The new agent cannot run, so the old one may go on.
    #[must_use]
    pub fn old_may_stay(self) -> Self {
        Self { old_may_stay: true, ..self }
    }

    /// Its cells take a minute and more even if all goes well.
    #[must_use]
    pub fn slow(self) -> Self {
        Self { is_slow: true, ..self }
    }

    /// Looked at for longer.
    #[must_use]
    pub fn look_on(self, look_on: Duration) -> Self {
        Self { look_on, ..self }
    }

    /// Only root can do this to a machine.
    #[must_use]
    pub fn needs_root(self) -> Self {
        Self { needs_root: true, ..self }
    }
}
