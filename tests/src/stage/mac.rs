//! A Mac: a simulated launchd with the agent as its job, home-manager, and a user at the terminal.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, time::Duration};

use nixfleet_protocol::journal::records::RunningProgram;

use super::{
    Trouble,
    folder::{Config, Folder, HOST},
    programs::Programs,
    wait,
};
use crate::launchd::{JobEvent, JobRecord, LaunchdSim, Options};

/// The agent's label.
pub const LABEL: &str = "com.nixfleet.agent";

/// What a Mac is like.
#[derive(Debug, Clone)]
pub struct MacOptions {
    /// The release of macOS.
    pub macos: u32,
    /// Seconds between two heartbeats.
    pub interval: u32,
    /// Whether the agent is the old way's, which runs home-manager as its child.
    pub old_way: bool,
    /// Its name in the dashboard.
    pub host: String,
    /// What is special about the agent's job.
    pub job: JobOptions,
}

/// What the agent's plist says beside the usual. `{folder}` in it stands for the Mac's folder.
#[derive(Debug, Clone, Default)]
pub struct JobOptions {
    /// Words before the agent's own path: a program that starts it, and that program's arguments.
    pub launcher: Vec<String>,
    /// Further keys, as they stand in the plist.
    pub keys: String,
    /// Further variables.
    pub environment: Vec<(String, String)>,
}

impl Default for MacOptions {
    fn default() -> Self {
        Self {
            macos: 15,
            interval: 1,
            old_way: false,
            host: HOST.to_owned(),
            job: JobOptions::default(),
        }
    }
}

/// A Mac. Everything on it ends when this is dropped.
#[derive(Debug)]
pub struct Mac {
    // Dropped in this order: first launchd with its jobs, then what is left, then the folder.
    /// Its launchd.
    pub launchd: LaunchdSim,
    /// Its folder.
    pub folder: Folder,
    options: MacOptions,
}

impl Mac {
    /// A Mac whose agent speaks to the dashboard at `url`. The agent is loaded and starts.
    pub fn new(url: &str, options: MacOptions) -> Result<Self, Trouble> {
        let mac = Self::without_agent(url, options)?;
        mac.load_agent()?;
        Ok(mac)
    }

    /// Loads the agent's job, whose plist is installed.
    pub fn load_agent(&self) -> Result<(), Trouble> {
        let plist = self.installed_plist();
        self.launchctl(&["bootstrap", &self.domain(), &plist.to_string_lossy()]).map(drop)
    }

    /// The same with the agent installed and not loaded.
    pub fn without_agent(url: &str, options: MacOptions) -> Result<Self, Trouble> {
        let folder = Folder::of_host(&options.host)?;
        let programs = Programs::get()?;
        let mut launchd_options = Options::new(programs.launchd(), folder.home());
        launchd_options.macos = options.macos;
        launchd_options.user = Some("tester".to_owned());
        write_caffeinate(&folder)?;
        if options.old_way {
            folder.link("bin/nixfleet-agent", &programs.old_way_agent())?;
        }
        folder.write_config(&Config {
            url: url.to_owned(),
            service_manager: "launchd",
            label: LABEL.to_owned(),
            interval: options.interval,
        })?;
        let launchd = LaunchdSim::start(folder.root(), &launchd_options)?;
        let mac = Self { launchd, folder, options };
        fs::write(mac.installed_plist(), mac.plist_text(1))
            .map_err(Trouble::file("write", &mac.installed_plist()))?;
        Ok(mac)
    }

    /// `gui/UID`.
    pub fn domain(&self) -> String {
        format!("gui/{}", rustix::process::getuid().as_raw())
    }

    /// Where the agent's plist is installed.
    pub fn installed_plist(&self) -> PathBuf {
        self.folder.path(&format!("home/Library/LaunchAgents/{LABEL}.plist"))
    }

    /// Writes the plist of a new generation, which differs from all with another version, and says where it is.
    pub fn new_plist(&self, version: u32) -> Result<PathBuf, Trouble> {
        let folder = self.folder.path(&format!("generation-{version}"));
        fs::create_dir_all(&folder).map_err(Trouble::file("create", &folder))?;
        let path = folder.join(format!("{LABEL}.plist"));
        fs::write(&path, self.plist_text(version)).map_err(Trouble::file("write", &path))?;
        Ok(path)
    }

    /// home-manager takes the agent as it is into its first generation. 24.11 would not: a plist that it has not put there
    /// itself is in its way.
    pub fn first_generation(&self) -> Result<(), Trouble> {
        let plist = self.new_plist(1)?;
        let scenario = format!("RELEASE=25.11\nGENERATION=first\nNEW_PLIST={}\n", plist.display());
        self.folder.scenario(&scenario)?;
        let mut command = self.folder.user_command("home-manager");
        let output = command.output().map_err(Trouble::run("home-manager"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stdout);
            let status = output.status;
            return Err(Trouble::Said(format!("`home-manager` ended with {status}: {said}")));
        }
        // From here on the trace is that of the scene.
        let trace = self.folder.path("home-manager/trace.log");
        fs::remove_file(&trace).map_err(Trouble::file("remove", &trace))
    }

    /// The next switch installs a plist that differs: home-manager boots the agent out. More lines may follow.
    pub fn next_switch_replaces_the_agent(&self, version: u32, more: &str) -> Result<(), Trouble> {
        let plist = self.new_plist(version)?;
        let (release, macos) = ("25.11", self.options.macos);
        self.folder.scenario(&format!(
            "RELEASE={release}\nMACOS_MAJOR={macos}\nNEW_PLIST={}\n{more}\n",
            plist.display()
        ))
    }

    /// The plist of the agent's job as the generation of this version has it.
    pub fn plist_text(&self, version: u32) -> String {
        let agent = self.folder.path("bin/nixfleet-agent").display().to_string();
        let config = self.folder.path("config.toml").display().to_string();
        let log = self.folder.path("agent.log");
        let own_words = [agent, "run".to_owned(), "--config".to_owned(), config];
        let words = strings(self.options.job.launcher.iter().chain(&own_words));
        let job = &self.options.job;
        let environment = job.environment.iter();
        let environment: Vec<String> = environment
            .map(|(name, value)| format!("<key>{name}</key><string>{value}</string>"))
            .collect();
        let environment = environment.concat();
        let text = format!(
            r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0"><dict>
<key>Label</key><string>{LABEL}</string>
<key>ProgramArguments</key><array>
{words}
</array>
<key>EnvironmentVariables</key><dict>
<key>GENERATION_OF_THE_PLIST</key><string>{version}</string>{environment}
</dict>
<key>RunAtLoad</key><true/>
<key>KeepAlive</key><true/>
<key>ProcessType</key><string>Background</string>
<key>StandardErrorPath</key><string>{log}</string>
{keys}
</dict></plist>
"#,
            log = log.display(),
            keys = job.keys,
        );
        text.replace("{folder}", &self.folder.root().to_string_lossy())
    }

    /// Calls launchctl as the user would; its failure is ours.
    pub fn launchctl(&self, words: &[&str]) -> Result<String, Trouble> {
        let output = std::process::Command::new(self.launchd.launchctl())
            .args(words)
            .output()
            .map_err(Trouble::run("launchctl"))?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(Trouble::Said(format!("launchctl {words:?} ended with {}: {said}", output.status)))
        }
    }

    /// The agent that is up: its record names a process that launchd has as the job's.
    pub fn agent(&self) -> Result<Option<RunningProgram>, Trouble> {
        let Some(record) = self.folder.agent_record()? else { return Ok(None) };
        let is_alive =
            record.process.is_alive().map_err(|error| Trouble::Said(error.to_string()))?;
        let is_the_job = self.job_pid()? == Some(record.process.pid);
        Ok((is_alive && is_the_job).then_some(record))
    }

    /// Waits until an agent is up and the dashboard has heard from it.
    pub fn wait_for_agent(&self) -> Result<RunningProgram, Trouble> {
        wait::until("the agent is up and has reached the dashboard", wait::PATIENCE, || {
            Ok(self.agent()?.filter(|agent| agent.last_heartbeat_at.is_some()))
        })
    }

    /// Waits until an agent other than this one is up and the dashboard has heard from it.
    pub fn wait_for_next_agent(&self, old: &RunningProgram) -> Result<RunningProgram, Trouble> {
        wait::until("another agent is up and has reached the dashboard", wait::PATIENCE, || {
            let agent = self.agent()?;
            Ok(agent
                .filter(|agent| agent.process != old.process && agent.last_heartbeat_at.is_some()))
        })
    }

    /// The pid that launchd has for the job, without asking launchd.
    pub fn job_pid(&self) -> Result<Option<u32>, Trouble> {
        let last =
            self.launchd.job_records(LABEL)?.into_iter().rev().find_map(|record| {
                match record.event {
                    JobEvent::Spawned { pid } => Some(u32::try_from(pid).ok()),
                    JobEvent::Exited { .. } | JobEvent::Removed => Some(None),
                    JobEvent::Registered
                    | JobEvent::Refused { .. }
                    | JobEvent::Pended { .. }
                    | JobEvent::SpawnFailed { .. }
                    | JobEvent::Signalled { .. }
                    | JobEvent::GroupSignalled { .. } => None,
                }
            });
        Ok(last.flatten())
    }

    /// When this process of the job ended, in milliseconds since 1970.
    pub fn ended_at(&self, agent: u32) -> Result<Option<i64>, Trouble> {
        let records: Vec<JobRecord> = self.launchd.job_records(LABEL)?;
        Ok(records.into_iter().find_map(|record| match record.event {
            JobEvent::Exited { pid, .. } if u32::try_from(pid) == Ok(agent) => Some(record.unix_ms),
            JobEvent::Exited { .. }
            | JobEvent::Spawned { .. }
            | JobEvent::Removed
            | JobEvent::Registered
            | JobEvent::Refused { .. }
            | JobEvent::Pended { .. }
            | JobEvent::SpawnFailed { .. }
            | JobEvent::Signalled { .. }
            | JobEvent::GroupSignalled { .. } => None,
        }))
    }

    /// How long the host was dark: from the end of the old agent's process to the new one's first heartbeat that the
    /// dashboard took.
    pub fn dark_time(
        &self,
        old: &RunningProgram,
        new: &RunningProgram,
    ) -> Result<Duration, Trouble> {
        let ended = self.ended_at(old.process.pid)?;
        let back = new.last_heartbeat_at.map(jiff::Timestamp::as_millisecond);
        let (Some(ended), Some(back)) = (ended, back) else {
            return Err(Trouble::Said(
                "the old agent has not ended, or the new one is not heard".to_owned(),
            ));
        };
        Ok(Duration::from_millis(u64::try_from(back - ended).unwrap_or(0)))
    }
}

fn strings<'a>(words: impl Iterator<Item = &'a String>) -> String {
    let words: Vec<String> = words.map(|word| format!("<string>{word}</string>")).collect();
    words.concat()
}

/// A stand-in for caffeinate that stays, as the real one does, until the process after `-w` ends.
fn write_caffeinate(folder: &Folder) -> Result<(), Trouble> {
    let script = "#!/bin/sh\necho \"$@\" >> \"$(dirname \"$0\")/../caffeinate.log\"\n\
                  while kill -0 \"$3\" 2>/dev/null; do sleep 0.1; done\n";
    let path = folder.write("bin/caffeinate", script)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
        .map_err(Trouble::file("open", &path))
}
