//! Does what a variant says, to the machine of one cell.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::{PermissionsExt as _, chown, symlink},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use jiff::Timestamp;
use nixfleet_protocol::{
    journal::{read, records::RunningProgram},
    process::ProcessIdentity,
};
use rustix::process::{Pid, Signal, getpgid, kill_process_group};

use super::{
    fault::{Act, Actor, AgentProgram, PlistAct, Victim},
    scene::Scene,
    truth,
};
use crate::{
    launchd::{Control, Session},
    stage::{Trouble, mac::LABEL, processes, programs::Programs, wait},
};

/// A user who is nobody on this machine.
const SOMEBODY_ELSE: u32 = 12_345;

/// The size of one write while a disk is filled.
const PIECE: usize = 64 * 1024;

impl Scene {
    /// Does it.
    pub(super) fn perform(&mut self, act: &Act) -> Result<(), Trouble> {
        match act {
            Act::Calls(faults) => Ok(self.mac.launchd.set_faults(faults)?),
            Act::Happens(control) => Ok(self.mac.launchd.control(control.clone())?),
            Act::Kill(victims) => victims.iter().try_for_each(|victim| self.kill(*victim)),
            Act::Freeze(victims) => victims.iter().try_for_each(|victim| self.freeze(*victim)),
            Act::Thaw(_victims) => {
                self.thaw();
                Ok(())
            }
            Act::Start(actor) => self.start(*actor),
            Act::Plist(act) => self.change_plist(*act),
            Act::Agent(program) => self.change_agent(*program),
            Act::ChangeConfig => self.change_config(),
            Act::FillDisk => self.fill_disk(),
            Act::FreeDisk => {
                let path = self.mac.folder.state_dir().join("filler");
                fs::remove_file(&path).map_err(Trouble::file("remove", &path))
            }
            Act::Sleep(time) => self.sleep(*time),
            Act::Reboot => Ok(self.mac.launchd.control(Control::Reboot(Session::GuiLogin))?),
            Act::Arm(point) => {
                self.mac.folder.write(&format!("crash-points/{}", point.as_str()), "").map(drop)
            }
            Act::CloseOutput => {
                self.reader = None;
                Ok(())
            }
            Act::MoveToUserDomain => self.move_to_user_domain(),
            Act::Reload => self.reload(&self.mac.domain()),
            Act::GoBack => self.go_back(),
        }
    }

    fn kill(&mut self, victim: Victim) -> Result<(), Trouble> {
        match victim {
            // With all that is in the group.
            Victim::HomeManager | Victim::AgentGroup => {
                self.processes_of(victim)?.into_iter().for_each(kill_group);
            }
            Victim::Wrapper | Victim::Agent | Victim::Watchdog => {
                for pid in self.processes_of(victim)? {
                    processes::signal(pid, Signal::KILL);
                }
            }
        }
        Ok(())
    }

    fn freeze(&mut self, victim: Victim) -> Result<(), Trouble> {
        let root = self.mac.folder.root();
        let mut pids = self.processes_of(victim)?;
        if victim == Victim::HomeManager {
            let groups: Vec<Option<u32>> = pids.iter().copied().map(group_of).collect();
            let members = processes::of(root).into_iter().map(|found| found.pid);
            pids.extend(members.filter(|pid| groups.contains(&group_of(*pid))));
        }
        self.freeze_all(&pids);
        Ok(())
    }

    fn freeze_all(&mut self, pids: &[u32]) {
        for pid in pids {
            processes::signal(*pid, Signal::STOP);
            // One that has just ended need not be thawed.
            self.frozen.extend(ProcessIdentity::of(*pid).ok().flatten());
        }
    }

    /// Lets everything go on that stands still.
    pub(super) fn thaw(&mut self) {
        for process in self.frozen.drain(..) {
            // Gone meanwhile: then there is nothing to thaw.
            let _ = process.signal(Signal::CONT);
        }
    }

    fn processes_of(&self, victim: Victim) -> Result<Vec<u32>, Trouble> {
        Ok(match victim {
            Victim::HomeManager => {
                let runs = truth::runs(&self.mac.folder.home_manager_trace());
                runs.last().map(|run| run.pid).into_iter().collect()
            }
            Victim::Wrapper => self.wrapper(),
            Victim::Agent => self.agent()?.map(|agent| agent.process.pid).into_iter().collect(),
            Victim::AgentGroup => {
                let leader = self.mac.job_pid()?;
                let agent = self.agent()?.and_then(|agent| group_of(agent.process.pid));
                leader.or(agent).into_iter().collect()
            }
            Victim::Watchdog => {
                let record = self.mac.folder.journal()?.directory().watchdog_record();
                let watchdog = read::read::<RunningProgram>(&record).present();
                watchdog.map(|watchdog| watchdog.process.pid).into_iter().collect()
            }
        })
    }

    fn wrapper(&self) -> Vec<u32> {
        match &self.user {
            Some(child) => vec![child.id()],
            None => self.pids_with("nixfleet-switch run"),
        }
    }

    fn pids_with(&self, words: &str) -> Vec<u32> {
        let found = processes::of(self.mac.folder.root());
        found.into_iter().filter(|found| found.command.contains(words)).map(|f| f.pid).collect()
    }

    fn start(&mut self, actor: Actor) -> Result<(), Trouble> {
        let job = format!("{}/{LABEL}", self.mac.domain());
        let plist = self.mac.installed_plist().display().to_string();
        let calls: Vec<Vec<&str>> = match actor {
            Actor::EnsureAgent => {
                return self.start_helper(actor, "nixfleet-switch", &["ensure-agent"]);
            }
            Actor::HomeManager => return self.start_helper(actor, "home-manager", &["switch"]),
            Actor::Switch => return self.start_helper(actor, "nixfleet-switch", &[]),
            Actor::Agent => {
                let config = self.mac.folder.path("config.toml").display().to_string();
                let arguments = ["run", "--config", &config];
                return self.start_helper(actor, "nixfleet-agent", &arguments);
            }
            Actor::Kickstart => vec![vec!["kickstart", "-k", &job]],
            Actor::Bootout => vec![vec!["bootout", &job]],
            Actor::LoadAgain => vec![vec!["unload", "-w", &plist], vec!["load", "-w", &plist]],
        };
        for words in calls {
            let mut launchctl = Command::new(self.mac.launchd.launchctl());
            // Whatever it answers is the fault's business.
            let ended = launchctl.args(words).stderr(Stdio::null()).stdout(Stdio::null()).status();
            ended.map_err(Trouble::run("launchctl"))?;
        }
        Ok(())
    }

    fn start_helper(&mut self, actor: Actor, name: &str, words: &[&str]) -> Result<(), Trouble> {
        let log = self.mac.folder.path(&format!("helper-{}.log", self.helpers.len()));
        let output = File::create(&log).map_err(Trouble::file("create", &log))?;
        let errors = output.try_clone().map_err(Trouble::file("open twice", &log))?;
        let child = self
            .user_command(name)
            .args(words)
            .stdout(output)
            .stderr(errors)
            .spawn()
            .map_err(Trouble::run(name))?;
        self.helpers.push((actor, child));
        Ok(())
    }

    fn change_plist(&mut self, act: PlistAct) -> Result<(), Trouble> {
        let plist = self.mac.installed_plist();
        let changed = match act {
            PlistAct::OpenToAll => fs::set_permissions(&plist, fs::Permissions::from_mode(0o666)),
            PlistAct::Foreign => chown(&plist, Some(SOMEBODY_ELSE), None),
            PlistAct::Link => make_a_link(&plist, &self.mac.folder.path("elsewhere.plist")),
            PlistAct::Tear => tear(&plist),
            PlistAct::Remove => fs::remove_file(&plist),
            PlistAct::Write(version) => replace(&plist, &self.mac.plist_text(version)),
            PlistAct::CloseFolder => {
                let folder = plist.parent().unwrap_or(Path::new("/"));
                return self.mounts.close(folder);
            }
        };
        changed.map_err(Trouble::file("change", &plist))
    }

    fn change_agent(&self, program: AgentProgram) -> Result<(), Trouble> {
        let real = Programs::get()?.agent();
        let target = match program {
            AgentProgram::Real => real,
            AgentProgram::Copy => self.other_agent.clone(),
            AgentProgram::Missing => self.mac.folder.path("not-mounted/nixfleet-agent"),
            AgentProgram::EndsAtOnce => self.write_script("broken-agent", "exit 3")?,
            // The variable leads from this process to the folder, as everything of a scene does.
            AgentProgram::NeverUp => self.write_script("broken-agent", "exec sleep 3600")?,
            AgentProgram::DiesSoon => {
                let text = format!("{:?} \"$@\" &\nsleep 2\nkill -9 $!\nexit 3", real.display());
                self.write_script("broken-agent", &text)?
            }
        };
        self.mac.folder.link("bin/nixfleet-agent", &target)
    }

    fn change_config(&self) -> Result<(), Trouble> {
        let path = self.mac.folder.path("config.toml");
        let text = fs::read_to_string(&path).map_err(Trouble::file("read", &path))?;
        self.mac.folder.write("config.toml", &format!("{text}location = \"here\"\n")).map(drop)
    }

    fn fill_disk(&self) -> Result<(), Trouble> {
        let path = self.mac.folder.state_dir().join("filler");
        let mut file = File::create(&path).map_err(Trouble::file("create", &path))?;
        let mut piece = vec![0; PIECE];
        loop {
            match file.write_all(&piece) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::StorageFull && piece.len() > 1 => {
                    piece.truncate(piece.len() / 2);
                }
                Err(error) if error.kind() == io::ErrorKind::StorageFull => return Ok(()),
                Err(error) => return Err(Trouble::file("fill", &path)(error)),
            }
        }
    }

    /// launchd sees to it that everything on the machine stands still.
    fn sleep(&mut self, time: Duration) -> Result<(), Trouble> {
        let began = Timestamp::now().as_millisecond();
        let milliseconds = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.mac.launchd.control(Control::SleepFor(milliseconds))?;
        let slept = Timestamp::now().as_millisecond() - began;
        let rest = time.saturating_sub(Duration::from_millis(u64::try_from(slept).unwrap_or(0)));
        thread::sleep(rest);
        self.excused.push((began, Timestamp::now().as_millisecond()));
        Ok(())
    }

    fn move_to_user_domain(&mut self) -> Result<(), Trouble> {
        self.reload(&format!("user/{}", rustix::process::getuid().as_raw()))
    }

    /// Takes the job out of the screen session and loads what is on disk into this domain.
    fn reload(&self, domain: &str) -> Result<(), Trouble> {
        let old = self.agent()?;
        let job = format!("{}/{LABEL}", self.mac.domain());
        self.mac.launchctl(&["bootout", &job])?;
        wait::until_true("launchd has forgotten the job", wait::PATIENCE, || {
            Ok(self.mac.launchctl(&["print", &job]).is_err())
        })?;
        let plist = self.mac.installed_plist().display().to_string();
        self.mac.launchctl(&["bootstrap", domain, &plist])?;
        let old = old.map(|agent| agent.process);
        wait::until_true("the reloaded agent is up", wait::PATIENCE, || {
            let agent = self.wait_for_agent()?;
            Ok(Some(agent.process) != old)
        })
    }
}

/// A group whose leader may be gone already.
fn kill_group(leader: u32) {
    if let Some(group) = i32::try_from(leader).ok().and_then(Pid::from_raw) {
        // Gone meanwhile: nothing is left to kill.
        let _ = kill_process_group(group, Signal::KILL);
    }
}

/// The process group of a process that lives.
pub(super) fn group_of(pid: u32) -> Option<u32> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    u32::try_from(getpgid(pid).ok()?.as_raw_nonzero().get()).ok()
}

fn make_a_link(plist: &Path, target: &Path) -> io::Result<()> {
    fs::copy(plist, target)?;
    fs::remove_file(plist)?;
    symlink(target, plist)
}

fn tear(plist: &Path) -> io::Result<()> {
    let text = fs::read_to_string(plist)?;
    replace(plist, text.get(..text.len() / 2).unwrap_or_default())
}

/// In the place of a file that may be write-protected.
fn replace(plist: &Path, text: &str) -> io::Result<()> {
    let next = plist.with_extension("next");
    fs::write(&next, text)?;
    fs::rename(&next, plist)
}
