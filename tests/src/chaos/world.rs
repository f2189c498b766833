//! The host of a run, and doing to it what a step says.

mod faults;
mod files;

use std::{collections::HashSet, fs, os::unix::fs::PermissionsExt as _, process::Child};

use rustix::process::Signal;

use super::step::{Act, Deed, HomeManager, LaunchdFault, NextAgent, Record, Step, Who};
use crate::{
    crash::{home_manager, host::Host, teardown, watch::Watch},
    launchd::{
        Control, Fault, Session,
        domain::{Domain, ServiceTarget},
    },
    stage::{Trouble, folder::HOST, mac::LABEL, processes},
};

/// The host, and what was done to it.
#[derive(Debug)]
pub struct World {
    /// The host.
    pub host: Host,
    /// Looks at the agent all the while.
    pub watch: Watch,
    /// What the user has started and has not ended.
    pub own: Vec<Child>,
    /// The dashboard's commands that asked for a switch.
    pub commands: Vec<String>,
    /// Those that a user started without a wrapper.
    pub plain_runs: Vec<u32>,
    /// Files were broken on purpose.
    pub files_were_broken: bool,
    stopped: Vec<u32>,
    good_config: String,
    away: HashSet<Away>,
}

/// What is not as it should be until somebody takes it back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Away {
    Config,
    Agent,
    Dashboard,
    Session,
}

impl World {
    /// A host that has switched once: home-manager has a generation with the agent, and the wrapper a copy of the last
    /// definition that worked.
    pub fn new() -> Result<Self, Trouble> {
        let host = Host::new()?;
        let watch = Watch::begin(&host)?;
        let config = host.mac.folder.path("config.toml");
        let good_config = fs::read_to_string(&config).map_err(Trouble::file("read", &config))?;
        let world = Self {
            host,
            watch,
            own: Vec::new(),
            commands: Vec::new(),
            plain_runs: Vec::new(),
            files_were_broken: false,
            stopped: Vec::new(),
            good_config,
            away: HashSet::new(),
        };
        world.set_home_manager(&HomeManager {
            release: "25.11",
            agent: NextAgent::Changed,
            build_tenths: 0,
            fails_at: None,
        })?;
        let mut first = world.host.user("nixfleet-switch");
        let first = first.output().map_err(Trouble::run("nixfleet-switch"))?;
        if first.status.success() {
            Ok(world)
        } else {
            let said = String::from_utf8_lossy(&first.stderr);
            Err(Trouble::Said(format!("the first switch failed: {said}")))
        }
    }

    /// Sets a step up and does its deed.
    pub fn begin(&mut self, step: &Step) -> Result<(), Trouble> {
        self.set_home_manager(&step.home_manager)?;
        let faults: Vec<Fault> = step.faults.iter().map(|fault| faults::as_fault(*fault)).collect();
        self.host.mac.launchd.set_faults(&faults)?;
        for point in &step.armed {
            self.host.arm(*point)?;
        }
        match step.deed {
            Deed::Nothing => Ok(()),
            Deed::Dashboard => self.ask_dashboard(),
            Deed::DashboardTwice => {
                self.ask_dashboard()?;
                self.ask_dashboard()
            }
            Deed::User => self.type_switch(),
            Deed::UserAndDashboard => {
                self.ask_dashboard()?;
                self.type_switch()
            }
            Deed::Plain => {
                let child = self.host.spawn_as_user("home-manager", &["switch"])?;
                self.plain_runs.push(child.id());
                self.own.push(child);
                Ok(())
            }
            Deed::Restart => self.host.dashboard.command(HOST, "restart").map(drop),
        }
    }

    fn ask_dashboard(&mut self) -> Result<(), Trouble> {
        let command = self.host.dashboard.command(HOST, "switch")?;
        self.commands.push(command);
        Ok(())
    }

    fn type_switch(&mut self) -> Result<(), Trouble> {
        let child = self.host.spawn_as_user("nixfleet-switch", &["--flake", "."])?;
        self.own.push(child);
        Ok(())
    }

    fn set_home_manager(&self, says: &HomeManager) -> Result<(), Trouble> {
        let HomeManager { release, agent, build_tenths, fails_at } = says;
        let plist = match agent {
            NextAgent::Unchanged => String::new(),
            NextAgent::Changed => self.host.next_plist()?.display().to_string(),
            NextAgent::CannotRun => {
                let plist = self.host.next_plist()?;
                let text = fs::read_to_string(&plist).map_err(Trouble::file("read", &plist))?;
                fs::write(&plist, text.replace("bin/nixfleet-agent", "bin/not-there"))
                    .map_err(Trouble::file("write", &plist))?;
                plist.display().to_string()
            }
        };
        let (seconds, tenths) = (build_tenths / 10, build_tenths % 10);
        let fails_at = fails_at.unwrap_or_default();
        self.host.mac.folder.scenario(&format!(
            "RELEASE={release}\nNEW_PLIST={plist}\nBUILD_SECONDS={seconds}.{tenths}\n\
             FAIL_AT={fails_at}\n"
        ))
    }

    /// Does it; says what there is to say of it.
    pub fn act(&mut self, act: Act) -> Result<String, Trouble> {
        let launchd = &self.host.mac.launchd;
        match act {
            Act::Kill(who) => return Ok(self.signal(who, Signal::KILL)),
            Act::Stop(who) => return Ok(self.signal(who, Signal::STOP)),
            Act::Continue => self.continue_all(),
            Act::DashboardDown => {
                self.host.dashboard.kill();
                self.away.insert(Away::Dashboard);
            }
            Act::DashboardUp => self.dashboard_up()?,
            Act::BootOutAgent => return Ok(self.by_hand("bootout", &self.host.agent_target())),
            Act::BootOutWatchdog => {
                return Ok(self.by_hand("bootout", &self.host.watchdog_target()));
            }
            Act::DisableAgent => launchd.control(Control::Disable(LABEL.to_owned()))?,
            Act::HoldBack(on) => launchd.control(Control::OnDemandCount(u32::from(on)))?,
            Act::LowPower(on) => launchd.control(Control::LowPower(on))?,
            Act::LoginItem(on) => {
                launchd.control(Control::LoginItem { label: LABEL.to_owned(), on })?;
            }
            Act::ThrowOutAgent => {
                let label = LABEL.to_owned();
                let domain = Domain::Gui(rustix::process::getuid().as_raw());
                let done = launchd.control(Control::Remove(ServiceTarget { domain, label }));
                // One that is not loaded cannot be thrown out.
                return Ok(done.err().map(|error| error.to_string()).unwrap_or_default());
            }
            Act::KickstartByHand => {
                let target = self.host.agent_target();
                let done = self.host.mac.launchctl(&["kickstart", "-k", &target]);
                return Ok(done.err().map(|error| error.to_string()).unwrap_or_default());
            }
            Act::UpgradeWrapper => self.upgrade_wrapper()?,
            Act::BreakRecord(record) => return self.break_record(record),
            Act::LogOut => {
                self.away.insert(Away::Session);
                launchd.control(Control::Logout)?;
            }
            Act::LogIn => self.log_in()?,
            Act::Reboot => {
                self.stopped.clear();
                self.away.remove(&Away::Session);
                launchd.control(Control::Reboot(Session::GuiLogin))?;
            }
            Act::Sleep(milliseconds) => launchd.control(Control::SleepFor(milliseconds))?,
            Act::ReplaceAgent => self.replace_agent()?,
            Act::BreakAgent => self.break_agent()?,
            Act::ChangeConfig => {
                let number = self.host.next_number();
                self.good_config = format!("{}# change {number}\n", self.good_config);
                self.repair_config()?;
            }
            Act::BreakConfig => {
                self.away.insert(Away::Config);
                self.host.mac.folder.write("config.toml", "url = [\n")?;
            }
            Act::RepairConfig => self.repair_config()?,
            Act::TouchPlist => return Ok(self.on_plist(|path| files::rewrite(path, |text| text))),
            Act::TearPlist => {
                let half = |mut text: Vec<u8>| {
                    text.truncate(text.len() / 2);
                    text
                };
                return Ok(self.on_plist(|path| files::rewrite(path, half)));
            }
            Act::OpenPlist => {
                let open = fs::Permissions::from_mode(0o666);
                return Ok(self.on_plist(|path| fs::set_permissions(path, open)));
            }
            Act::RemovePlist => return Ok(self.on_plist(|path| fs::remove_file(path))),
        }
        Ok(String::new())
    }

    /// Takes back what a step may have left, so that the next one begins anew.
    pub fn clear_up(&mut self) -> Result<(), Trouble> {
        self.continue_all();
        let launchd = &self.host.mac.launchd;
        launchd.set_faults(&[])?;
        launchd.control(Control::OnDemandCount(0))?;
        launchd.control(Control::LowPower(false))?;
        for point in self.host.armed() {
            self.host.disarm(point);
        }
        self.log_in()?;
        self.dashboard_up()?;
        if self.away.contains(&Away::Config) {
            self.repair_config()?;
        }
        if self.away.contains(&Away::Agent) {
            self.replace_agent()?;
        }
        self.own.clear();
        Ok(())
    }

    fn log_in(&mut self) -> Result<(), Trouble> {
        if self.away.contains(&Away::Session) {
            self.away.remove(&Away::Session);
            self.host.mac.launchd.control(Control::Login)?;
        }
        Ok(())
    }

    fn dashboard_up(&mut self) -> Result<(), Trouble> {
        if self.away.contains(&Away::Dashboard) {
            self.host.dashboard.go_up()?;
            self.away.remove(&Away::Dashboard);
        }
        Ok(())
    }

    fn repair_config(&mut self) -> Result<(), Trouble> {
        self.away.remove(&Away::Config);
        self.host.mac.folder.write("config.toml", &self.good_config).map(drop)
    }

    /// Signals somebody of this host, if there is such a one.
    fn signal(&mut self, who: Who, signal: Signal) -> String {
        let Some(pid) = self.pid_of(who) else { return "there is none".to_owned() };
        if signal == Signal::STOP {
            self.stopped.push(pid);
        }
        processes::signal(pid, signal);
        format!("pid {pid}")
    }

    fn pid_of(&self, who: Who) -> Option<u32> {
        let root = self.host.mac.folder.root();
        match who {
            Who::Agent => self.host.mac.job_pid().ok().flatten(),
            Who::Watchdog => {
                let watchdog = self.host.watchdog().ok().flatten();
                watchdog.map(|watchdog| watchdog.process.pid)
            }
            Who::Wrapper => {
                let found = processes::of(root).into_iter();
                let mut wrappers = found.filter(|found| teardown::is_wrapper(&found.command));
                wrappers.next().map(|found| found.pid)
            }
            Who::HomeManager => {
                let trace = self.host.mac.folder.path("home-manager/trace.log");
                let runs = home_manager::runs(&fs::read_to_string(trace).unwrap_or_default());
                let last = runs.last().filter(|run| run.exit_code.is_none())?;
                let mut found = processes::of(root).into_iter();
                found.find(|found| found.pid == last.pid).map(|found| found.pid)
            }
        }
    }

    fn continue_all(&mut self) {
        for pid in std::mem::take(&mut self.stopped) {
            // Only what is still of this host: a pid may be another's by now.
            if processes::of(self.host.mac.folder.root()).iter().any(|found| found.pid == pid) {
                processes::signal(pid, Signal::CONT);
            }
        }
    }

    /// Somebody calls launchctl; whether it works is no matter of ours.
    fn by_hand(&self, verb: &str, target: &str) -> String {
        match self.host.mac.launchctl(&[verb, target]) {
            Ok(_said) => String::new(),
            Err(error) => error.to_string(),
        }
    }
}
