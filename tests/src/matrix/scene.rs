//! The machine of one cell: a Mac with the agent at work, NixFleet installed, and home-manager's first generation.

use std::{
    fs::{self, File},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use jiff::{SignedDuration, Timestamp};
use nixfleet_protocol::{
    crash_point,
    journal::{read, records::RunningProgram},
    process::ProcessIdentity,
};

use super::{
    axes::Initiator,
    cells::Cell,
    fault::{Act, Actor, NewPlist},
};
use crate::stage::{
    Trouble,
    mac::{JobOptions, Mac, MacOptions},
    operator::Operator,
    programs::Programs,
    wait,
};

/// How long an agent must have been up so that launchd starts the next one at once: `DEFAULT_THROTTLE` and a little.
const SETTLED: SignedDuration = SignedDuration::from_millis(10_200);

/// What all cells of a run share.
#[derive(Debug)]
pub struct Shared {
    /// Where the dashboard is.
    pub url: String,
    /// The same agent as the installed one, as another file.
    pub other_agent: PathBuf,
    /// Where what is known of a cell that is not good is kept.
    pub evidence: Option<PathBuf>,
    /// Somebody has asked for an early end: cells are ended, and no other is begun.
    pub stopping: Arc<AtomicBool>,
}

impl Shared {
    /// Whether somebody has asked for an early end.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }
}

/// The machine of one cell.
#[derive(Debug)]
pub struct Scene {
    // Dropped in this order: what was mounted goes before the folder does.
    pub(super) mounts: Mounts,
    pub(super) mac: Mac,
    pub(super) operator: Operator,
    pub(super) cell: Cell,
    pub(super) other_agent: PathBuf,
    /// The user's own switch.
    pub(super) user: Option<Child>,
    /// Who reads what it prints.
    pub(super) reader: Option<ChildStdout>,
    /// The dashboard's command.
    pub(super) command: Option<String>,
    /// Who else was made to act.
    pub(super) helpers: Vec<(Actor, Child)>,
    /// Who stands still.
    pub(super) frozen: Vec<ProcessIdentity>,
    /// Times that do not count.
    pub(super) excused: Vec<(i64, i64)>,
}

impl Scene {
    /// The machine, ready for the switch.
    pub fn prepare(cell: &Cell, number: usize, shared: &Shared) -> Result<Self, Trouble> {
        let options = MacOptions {
            macos: cell.axes.macos.major(),
            host: format!("cell-{number}"),
            job: job_options(cell)?,
            ..MacOptions::default()
        };
        let mac = Mac::without_agent(&shared.url, options)?;
        let mut scene = Self {
            mounts: Mounts::default(),
            mac,
            operator: Operator::new(&shared.url)?,
            cell: cell.clone(),
            other_agent: shared.other_agent.clone(),
            user: None,
            reader: None,
            command: None,
            helpers: Vec::new(),
            frozen: Vec::new(),
            excused: Vec::new(),
        };
        scene.make_folder("crash-points")?;
        if cell.variant.small_disk {
            scene.mounts.small_disk(&scene.mac.folder.state_dir())?;
        }
        scene.mac.load_agent()?;
        scene.wait_for_agent()?;
        scene.install()?;
        scene.mac.first_generation()?;
        scene.next_generation()?;
        scene.wait_until_agent_is_settled()?;
        Ok(scene)
    }

    /// What a user does once: the wrapper at its stable path, the watchdog.
    ///
    /// The one place where NixFleet is installed.
    fn install(&self) -> Result<(), Trouble> {
        let mut command = self.user_command("nixfleet-switch");
        run(command.arg("install"), "nixfleet-switch install")?;
        let record = self.mac.folder.journal()?.directory().watchdog_record();
        wait::until_true("the watchdog is up", wait::PATIENCE, || {
            let watchdog = read::read::<RunningProgram>(&record).present();
            Ok(watchdog.is_some_and(|watchdog| watchdog.process.is_alive().unwrap_or(false)))
        })
    }

    fn next_generation(&self) -> Result<(), Trouble> {
        let plist = match self.cell.variant.switch.plist {
            NewPlist::Same => self.mac.new_plist(1)?,
            NewPlist::Changed => self.mac.new_plist(2)?,
            NewPlist::WithoutProgram => self.edited_plist("bin/nixfleet-agent", "bin/not-there")?,
            NewPlist::WithoutLog => self.edited_plist("agent.log", "no-such-file/agent.log")?,
            NewPlist::WithCrashingProgram => {
                self.write_script("bin/crashing-agent", "exit 3")?;
                self.edited_plist("bin/nixfleet-agent", "bin/crashing-agent")?
            }
        };
        // A log in a file's place cannot be opened, whoever tries.
        self.mac.folder.write("no-such-file", "")?;
        self.scenario(&plist, &self.cell.variant.switch.lines)
    }

    /// home-manager switches to a definition whose program is not there, without a wrapper, and the look-after puts what
    /// worked in its place. The switch that the cell is about comes next.
    pub(super) fn go_back(&self) -> Result<(), Trouble> {
        let broken = self.edited_plist("bin/nixfleet-agent", "bin/not-there")?;
        self.scenario(&broken, &["GENERATION=broken".to_owned()])?;
        run(&mut self.user_command("home-manager"), "home-manager switch")?;
        let mut ensure = self.user_command("nixfleet-switch");
        run(ensure.arg("ensure-agent"), "nixfleet-switch ensure-agent")?;
        let trace = self.mac.folder.path("home-manager/trace.log");
        fs::remove_file(&trace).map_err(Trouble::file("remove", &trace))?;
        self.next_generation()?;
        self.wait_until_agent_is_settled()
    }

    fn edited_plist(&self, from: &str, to: &str) -> Result<PathBuf, Trouble> {
        let path = self.mac.new_plist(2)?;
        let text = self.mac.plist_text(2).replace(from, to);
        fs::write(&path, text).map_err(Trouble::file("write", &path))?;
        Ok(path)
    }

    fn scenario(&self, plist: &Path, lines: &[String]) -> Result<(), Trouble> {
        let (release, macos) = (self.cell.axes.release.as_str(), self.cell.axes.macos.major());
        let plist = plist.display();
        let lines = lines.join("\n");
        self.mac.folder.scenario(&format!(
            "RELEASE={release}\nMACOS_MAJOR={macos}\nNEW_PLIST={plist}\n{lines}\n"
        ))
    }

    /// Asks for the switch.
    pub fn ask(&mut self) -> Result<(), Trouble> {
        match self.cell.axes.initiator {
            Initiator::Agent => {
                self.command = Some(self.operator.command(self.host(), "switch")?);
            }
            Initiator::User => self.start_user(&["--flake", "."], "nixfleet-switch")?,
            Initiator::Plain => self.start_user(&["switch", "--flake", "."], "home-manager")?,
        }
        Ok(())
    }

    fn start_user(&mut self, arguments: &[&str], program: &str) -> Result<(), Trouble> {
        let log = self.mac.folder.path("user.log");
        let errors = File::create(&log).map_err(Trouble::file("create", &log))?;
        let mut child = self
            .user_command(program)
            .args(arguments)
            // Like a shell's job: it can be killed with all that it starts.
            .process_group(0)
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()
            .map_err(Trouble::run(program))?;
        self.reader = child.stdout.take();
        self.user = Some(child);
        Ok(())
    }

    /// A program as the user starts it.
    pub(super) fn user_command(&self, program: &str) -> Command {
        let mut command = self.mac.folder.user_command(program);
        command.env(crash_point::FOLDER_VARIABLE, self.mac.folder.path("crash-points"));
        command
    }

    /// The machine's name in the dashboard.
    pub(super) fn host(&self) -> &str {
        self.mac.folder.host()
    }

    /// The agent that lives.
    pub(super) fn agent(&self) -> Result<Option<RunningProgram>, Trouble> {
        let record = self.mac.folder.agent_record()?;
        // Where the system does not tell, it is not known to live.
        Ok(record.filter(|record| record.process.is_alive().unwrap_or(false)))
    }

    /// Waits until an agent lives and has reached the dashboard.
    pub(super) fn wait_for_agent(&self) -> Result<RunningProgram, Trouble> {
        wait::until("the agent is up and has reached the dashboard", wait::PATIENCE, || {
            Ok(self.agent()?.filter(|agent| agent.last_heartbeat_at.is_some()))
        })
    }

    /// launchd holds a job back that was started only just now; an agent on a Mac has mostly been up for longer.
    fn wait_until_agent_is_settled(&self) -> Result<(), Trouble> {
        wait::until_true("the agent has been up for a while", wait::PATIENCE, || {
            let age = self.agent()?.map(|agent| Timestamp::now().duration_since(agent.started_at));
            Ok(age.is_some_and(|age| age >= SETTLED))
        })
    }

    pub(super) fn make_folder(&self, name: &str) -> Result<PathBuf, Trouble> {
        let path = self.mac.folder.path(name);
        fs::create_dir_all(&path).map_err(Trouble::file("create", &path))?;
        Ok(path)
    }

    pub(super) fn write_script(&self, name: &str, text: &str) -> Result<PathBuf, Trouble> {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.mac.folder.write(name, &format!("#!/bin/sh\n{text}\n"))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
            .map_err(Trouble::file("open", &path))?;
        Ok(path)
    }

    /// Crash points that are armed and that nobody came by.
    pub(super) fn points_not_reached(&self) -> Vec<String> {
        let before = self.cell.variant.before.iter();
        let armed = before
            .filter_map(|act| if let Act::Arm(point) = act { Some(point.as_str()) } else { None });
        let folder = self.mac.folder.path("crash-points");
        armed.filter(|name| folder.join(name).exists()).map(str::to_owned).collect()
    }
}

fn job_options(cell: &Cell) -> Result<JobOptions, Trouble> {
    let job = &cell.variant.job;
    let mut launcher = Vec::new();
    if !job.launcher.is_empty() {
        launcher.push(Programs::get()?.agent_launcher().display().to_string());
        launcher.extend(job.launcher.iter().cloned());
        let lock = "{folder}/home/.local/state/nixfleet/agent.lock";
        launcher.extend(["--lock".to_owned(), lock.to_owned(), "--".to_owned()]);
    }
    let crash_points =
        (crash_point::FOLDER_VARIABLE.to_owned(), "{folder}/crash-points".to_owned());
    Ok(JobOptions { launcher, keys: job.keys.clone(), environment: vec![crash_points] })
}

/// Runs a program to its end; its failure is ours.
pub(super) fn run(command: &mut Command, name: &str) -> Result<(), Trouble> {
    let output = command.output().map_err(Trouble::run(name))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Trouble::Said(format!("`{name}` ended with {}: {said}", output.status)))
}

/// File systems of the cell's own; unmounted when dropped.
#[derive(Debug, Default)]
pub(super) struct Mounts(Vec<PathBuf>);

impl Mounts {
    /// A disk that is small, at this place.
    pub(super) fn small_disk(&mut self, place: &Path) -> Result<(), Trouble> {
        fs::create_dir_all(place).map_err(Trouble::file("create", place))?;
        // Wrapper and watchdog have to find room, and without optimisation they have 34 MB.
        let options = ["-t", "tmpfs", "-o", "size=64m,mode=700", "none"];
        run(Command::new("mount").args(options).arg(place), "mount")?;
        self.0.push(place.to_owned());
        Ok(())
    }

    /// A folder that nobody can write to, not even root.
    pub(super) fn close(&mut self, place: &Path) -> Result<(), Trouble> {
        run(Command::new("mount").arg("--bind").arg(place).arg(place), "mount --bind")?;
        self.0.push(place.to_owned());
        run(Command::new("mount").args(["-o", "remount,ro,bind"]).arg(place), "mount -o ro")
    }
}

impl Drop for Mounts {
    fn drop(&mut self) {
        for place in self.0.iter().rev() {
            // Lazily: what still has a file open there is ended with the folder.
            let _ = Command::new("umount").arg("-l").arg(place).status();
        }
    }
}
