//! A host that can be made to die anywhere: a Mac with agent and watchdog, and the dashboard that it reports to.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use nixfleet_protocol::{
    crash_point::{CrashPoint, FOLDER_VARIABLE},
    journal::{read, records::RunningProgram},
};
use tempfile::TempDir;

use crate::stage::{
    Trouble,
    dashboard::Dashboard,
    mac::{LABEL, Mac, MacOptions},
    wait,
};

/// The watchdog's label.
pub const WATCHDOG: &str = "com.nixfleet.watchdog";

/// Where points are armed, in the Mac's folder.
const CRASH_POINTS: &str = "crash-points";

/// The version of the plist that is installed at first.
const FIRST_VERSION: u32 = 1;

/// The host. Everything on it ends when this is dropped.
#[derive(Debug)]
pub struct Host {
    /// The Mac.
    pub mac: Mac,
    /// The dashboard.
    pub dashboard: Dashboard,
    newest_version: AtomicU32,
    place: TempDir,
}

impl Host {
    /// A host with agent and watchdog at work, which the dashboard has heard. No point is armed.
    pub fn new() -> Result<Self, Trouble> {
        let folder = std::env::temp_dir();
        let place = tempfile::Builder::new().prefix("nixfleet-dashboard-").tempdir();
        let place = place.map_err(Trouble::file("create a folder in", &folder))?;
        let dashboard = Dashboard::start(place.path())?;
        let mut options = MacOptions::default();
        let points = format!("{{folder}}/{CRASH_POINTS}");
        options.job.environment.push((FOLDER_VARIABLE.to_owned(), points));
        let mac = Mac::new(dashboard.url(), options)?;
        let newest_version = AtomicU32::new(FIRST_VERSION);
        let host = Self { mac, dashboard, newest_version, place };
        let points = host.crash_points();
        fs::create_dir_all(&points).map_err(Trouble::file("create", &points))?;
        host.mac.wait_for_agent()?;
        host.install_watchdog()?;
        Ok(host)
    }

    fn install_watchdog(&self) -> Result<(), Trouble> {
        let output = self
            .user("nixfleet-switch")
            .arg("install")
            .output()
            .map_err(Trouble::run("nixfleet-switch"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(Trouble::Said(format!("the watchdog cannot be installed: {said}")));
        }
        wait::until_true("the watchdog is up", wait::PATIENCE, || Ok(self.watchdog()?.is_some()))
    }

    /// Where points are armed.
    pub fn crash_points(&self) -> PathBuf {
        self.mac.folder.path(CRASH_POINTS)
    }

    /// Whoever passes this point next dies there.
    pub fn arm(&self, point: CrashPoint) -> Result<(), Trouble> {
        let path = self.crash_points().join(point.as_str());
        fs::write(&path, "").map_err(Trouble::file("arm", &path))
    }

    /// Nobody dies there any more.
    pub fn disarm(&self, point: CrashPoint) {
        // One that somebody has just passed is gone.
        let _ = fs::remove_file(self.crash_points().join(point.as_str()));
    }

    /// The points that nobody has passed yet.
    pub fn armed(&self) -> Vec<CrashPoint> {
        let folder = self.crash_points();
        let is_there = |point: &CrashPoint| folder.join(point.as_str()).exists();
        CrashPoint::ALL.iter().copied().filter(is_there).collect()
    }

    /// A program as the user starts it; it dies at armed points too.
    pub fn user(&self, program: &str) -> Command {
        let mut command = self.mac.folder.user_command(program);
        command.env(FOLDER_VARIABLE, self.crash_points());
        command
    }

    /// Starts a program as the user does, with its output in a file.
    pub fn spawn_as_user(&self, program: &str, arguments: &[&str]) -> Result<Child, Trouble> {
        let path = self.mac.folder.path("terminal.log");
        let opened = fs::OpenOptions::new().create(true).append(true).open(&path);
        let log = opened.map_err(Trouble::file("open", &path))?;
        let errors = log.try_clone().map_err(Trouble::file("open", &path))?;
        self.user(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .map_err(Trouble::run(program))
    }

    /// The agent's job.
    pub fn agent_target(&self) -> String {
        format!("{}/{LABEL}", self.mac.domain())
    }

    /// The watchdog's job.
    pub fn watchdog_target(&self) -> String {
        format!("{}/{WATCHDOG}", self.mac.domain())
    }

    /// The watchdog that is up.
    pub fn watchdog(&self) -> Result<Option<RunningProgram>, Trouble> {
        let path = self.mac.folder.journal()?.directory().watchdog_record();
        let Some(record) = read::read::<RunningProgram>(&path).present() else { return Ok(None) };
        let is_alive = record.process.is_alive();
        Ok(is_alive.map_err(|error| Trouble::Said(error.to_string()))?.then_some(record))
    }

    /// A plist that differs from all before it.
    pub fn next_plist(&self) -> Result<PathBuf, Trouble> {
        self.mac.new_plist(self.next_number())
    }

    /// A number that no plist and no executable has had yet.
    pub fn next_number(&self) -> u32 {
        self.newest_version.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The dashboard's folder.
    pub fn dashboard_folder(&self) -> &std::path::Path {
        self.place.path()
    }
}
