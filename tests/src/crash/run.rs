//! Plays one cell on a host of its own, and says what came of it.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Child,
    time::{Duration, Instant},
};

use nixfleet_protocol::crash_point::CrashPoint;

use super::{
    cell::{Cell, Scene, Starter},
    facts::Facts,
    host::Host,
    invariants::{self, Violation},
    report, rest, teardown,
    watch::Watch,
};
use crate::{
    launchd::{Control, Fault, command::VerbName},
    stage::{Trouble, folder::HOST, mac::LABEL, programs::Programs},
};

/// How long a host may take to come to rest after a switch: a request that nobody starts is given up after a minute, a
/// command that nobody has acknowledged is leased anew after half a minute, and the agent may be away for a minute.
const REST_LIMIT: Duration = Duration::from_secs(170);

/// What came of a cell.
#[derive(Debug)]
pub struct Outcome {
    /// Its points that nobody passed: the scene is not what it should be.
    pub not_passed: Vec<CrashPoint>,
    /// What must not be and is.
    pub violations: Vec<Violation>,
    /// The longest time from the end of an agent to the next heartbeat.
    pub dark: Duration,
    /// How many switches it took until all points were passed.
    pub switches: usize,
    /// How long all of it took.
    pub took: Duration,
    /// Where its story was kept, if it went wrong.
    pub kept: Option<String>,
}

impl Outcome {
    /// Everything is as it should be.
    pub fn is_good(&self) -> bool {
        self.not_passed.is_empty() && self.violations.is_empty()
    }
}

/// Plays it. An error is one of the stage and not of the programs.
pub fn run(cell: &Cell) -> Result<Outcome, Trouble> {
    let began = Instant::now();
    let host = Host::new()?;
    let watch = Watch::begin(&host)?;
    let mut play = Play { cell, host: &host, commands: Vec::new(), plain_runs: Vec::new() };
    let (switches, restless) = match play.until_all_are_passed() {
        Ok(ended) => ended,
        Err(trouble) => {
            let kept = teardown::keep(&host, &cell.to_string())?;
            return Err(kept_with(&trouble, &kept));
        }
    };
    let Play { commands, plain_runs, .. } = play;
    let not_passed: Vec<CrashPoint> = host.armed();
    let mut facts = Facts::gather(&host, &watch, &commands)?;
    facts.plain_runs = plain_runs;
    let a_wrapper_died = cell.points.iter().any(|point| is_a_wrappers(*point));
    for accepted in &mut facts.accepted {
        accepted.wrapper_may_have_died = a_wrapper_died;
    }
    facts.restless = restless;
    drop(watch);
    let is_suspect = !not_passed.is_empty() || !invariants::violations(&facts).is_empty();
    let kept = if is_suspect { Some(teardown::keep(&host, &cell.to_string())?) } else { None };
    facts.left = teardown::end(host);
    Ok(Outcome {
        not_passed,
        violations: invariants::violations(&facts),
        dark: Duration::from_millis(u64::try_from(invariants::darkest(&facts)).unwrap_or(0)),
        switches,
        took: began.elapsed(),
        kept: kept.map(|place| place.display().to_string()),
    })
}

/// The same trouble, and where what is known of it is kept.
pub fn kept_with(trouble: &Trouble, kept: &Path) -> Trouble {
    Trouble::Said(format!("{}; kept in {}", report::said(trouble), kept.display()))
}

/// Whether the death at this point may be that of the process that waits for home-manager.
fn is_a_wrappers(point: CrashPoint) -> bool {
    let name = point.as_str();
    name.starts_with("wrapper-") || name.starts_with("ensure-")
}

struct Play<'a> {
    cell: &'a Cell,
    host: &'a Host,
    commands: Vec<String>,
    plain_runs: Vec<u32>,
}

impl Play<'_> {
    /// Switches until all points are passed, at most once for each. Says how often, and what did not come to rest.
    fn until_all_are_passed(&mut self) -> Result<(usize, Option<String>), Trouble> {
        let at_rest = rest::wait_for(self.host, &mut [], REST_LIMIT)?;
        if let Some(why) = at_rest {
            return Err(Trouble::Said(format!("the scene cannot begin: {why}")));
        }
        self.before_all()?;
        for point in &self.cell.points {
            self.host.arm(*point)?;
        }
        let mut switches = 0;
        loop {
            self.prepare()?;
            let mut own = self.begin()?;
            switches += 1;
            let restless = rest::wait_for(self.host, &mut own, REST_LIMIT)?;
            end_of(own);
            let is_over = self.host.armed().is_empty() || switches >= self.cell.points.len();
            if is_over || restless.is_some() {
                return Ok((switches, restless));
            }
        }
    }

    /// What the scene needs once.
    fn before_all(&self) -> Result<(), Trouble> {
        match self.cell.scene {
            // From it the wrapper has its copy of the last definition that worked.
            Scene::CannotRun => self.look_after_the_agent(),
            Scene::WentBack => self.go_back(),
            Scene::HeldBack => Ok(self.host.mac.launchd.control(Control::OnDemandCount(1))?),
            Scene::Replaced
            | Scene::NotLoaded
            | Scene::StillLoaded
            | Scene::Disabled
            | Scene::Outdated
            | Scene::BootedOut => Ok(()),
        }
    }

    fn look_after_the_agent(&self) -> Result<(), Trouble> {
        let mut ensure = self.host.user("nixfleet-switch");
        let ensured = ensure.arg("ensure-agent").output();
        let ensured = ensured.map_err(Trouble::run("nixfleet-switch"))?;
        let said = String::from_utf8_lossy(&ensured.stderr);
        if ensured.status.success() {
            Ok(())
        } else {
            Err(Trouble::Said(format!("the agent cannot be looked after: {said}")))
        }
    }

    /// home-manager switches to a definition that cannot run, and what worked takes its place. None of it is in the journal
    /// or in the trace, which are those of the switches that follow.
    fn go_back(&self) -> Result<(), Trouble> {
        self.host.mac.first_generation()?;
        self.look_after_the_agent()?;
        self.next_plist("not-there")?;
        let mut broken = self.host.user("home-manager");
        broken.output().map_err(Trouble::run("home-manager"))?;
        self.look_after_the_agent()?;
        let trace = self.host.mac.folder.path("home-manager/trace.log");
        fs::remove_file(&trace).map_err(Trouble::file("remove", &trace))
    }

    /// What the scene needs before each switch.
    fn prepare(&self) -> Result<(), Trouble> {
        let launchd = &self.host.mac.launchd;
        match self.cell.scene {
            Scene::Replaced | Scene::HeldBack => self.next_plist(""),
            Scene::NotLoaded => {
                launchd.set_faults(&[Fault::on(VerbName::Bootstrap).times(1).code(5)])?;
                self.next_plist("")
            }
            Scene::StillLoaded => {
                launchd.set_faults(&[Fault::on(VerbName::Bootout).times(1).code(0)])?;
                self.next_plist("")
            }
            Scene::Disabled => {
                let disabled = Fault {
                    after: vec![Control::Disable(LABEL.to_owned())],
                    ..Fault::on(VerbName::Bootout).times(1)
                };
                launchd.set_faults(&[disabled])?;
                self.next_plist("")
            }
            Scene::CannotRun => self.next_plist("not-there"),
            Scene::Outdated => self.replace_agent(),
            Scene::BootedOut => Ok(()),
            Scene::WentBack => {
                let plist = self.host.next_plist()?;
                let plist = plist.display();
                let text = format!("RELEASE=24.11\nNEW_PLIST={plist}\nFAIL_AT=build\n");
                self.host.mac.folder.scenario(&text)
            }
        }
    }

    /// The next generation has another plist; with a name, one whose program is of that name.
    fn next_plist(&self, program: &str) -> Result<(), Trouble> {
        let plist = self.host.next_plist()?;
        if !program.is_empty() {
            let text = fs::read_to_string(&plist).map_err(Trouble::file("read", &plist))?;
            let text = text.replace("bin/nixfleet-agent", &format!("bin/{program}"));
            fs::write(&plist, text).map_err(Trouble::file("write", &plist))?;
        }
        let plist = plist.display();
        self.host.mac.folder.scenario(&format!("RELEASE=25.11\nNEW_PLIST={plist}\n"))
    }

    /// The next generation has the plist that is installed. The program behind it becomes another while it is built.
    fn replace_agent(&self) -> Result<(), Trouble> {
        let folder = &self.host.mac.folder;
        let number = self.host.next_number();
        let copy = folder.path(&format!("agent-{number}"));
        fs::copy(Programs::get()?.agent(), &copy).map_err(Trouble::file("write", &copy))?;
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o755))
            .map_err(Trouble::file("open", &copy))?;
        let (copy, next) = (copy.display(), folder.path(&format!("agent-{number}.link")));
        folder.scenario(&format!(
            "RELEASE=25.11\nNEW_PLIST={}\nif [ \"${{1:-}}\" != --activate ]; then\n  \
             ln -s {copy} {next} && mv -f {next} {}\nfi\n",
            self.host.mac.installed_plist().display(),
            folder.path("bin/nixfleet-agent").display(),
            next = next.display(),
        ))
    }

    /// Asks for the switch; gives the processes that the user has started.
    fn begin(&mut self) -> Result<Vec<Child>, Trouble> {
        match self.cell.starter {
            Starter::Dashboard => {
                self.commands.push(self.host.dashboard.command(HOST, "switch")?);
                Ok(Vec::new())
            }
            Starter::User => {
                let child = self.host.spawn_as_user("nixfleet-switch", &["--flake", "."])?;
                Ok(vec![child])
            }
            Starter::Plain => {
                let child = self.host.spawn_as_user("home-manager", &["switch"])?;
                self.plain_runs.push(child.id());
                Ok(vec![child])
            }
            Starter::Hand => {
                self.host.mac.launchctl(&["bootout", &self.host.agent_target()])?;
                Ok(Vec::new())
            }
        }
    }
}

/// A child that has ended is collected; one that has not is ended.
fn end_of(own: Vec<Child>) {
    for mut child in own {
        let _ = child.kill();
        let _ = child.wait();
    }
}
