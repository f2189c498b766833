//! launchd: its domains, the label in both of them, the overrides, and the definition on disk.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use nixfleet_protocol::external::{self, Ended};

use super::entry;
use crate::{
    doctor::observations::{Domain, JobLook, Launchd, Plist},
    ensure::{
        definition::{self, OnDisk},
        launchctl::{self, JobView, NO_DOMAIN},
    },
    messages::with_causes,
    settings::Settings,
};

/// How long one call may take. After one that did not answer nothing more is asked.
const CALL_LIMIT: Duration = Duration::from_secs(8);

/// Where the store is.
const STORE: &str = "/nix/store/";

/// Looks at launchd.
pub(super) fn observe(settings: &Settings) -> Launchd {
    let uid = rustix::process::geteuid().as_raw();
    let mut asking = Asking { launchctl: &settings.programs.launchctl, silent: None };
    let (gui_domain, user_domain) = (format!("gui/{uid}"), format!("user/{uid}"));
    let gui = asking.domain(&gui_domain);
    let in_gui = asking.job(&format!("{gui_domain}/{}", settings.agent_label));
    let in_user = asking.job(&format!("{user_domain}/{}", settings.agent_label));
    // The overrides are kept for the user and shown in both domains.
    let disabled = asking.disabled(if gui == Domain::Absent { &user_domain } else { &gui_domain });
    Launchd {
        silent: asking.silent,
        gui,
        in_gui,
        in_user,
        disabled,
        plist: plist(&settings.agent_plist, &settings.agent_label),
        macos: macos(),
    }
}

/// Asks launchctl as long as it answers.
struct Asking<'a> {
    launchctl: &'a Path,
    silent: Option<String>,
}

impl Asking<'_> {
    fn ask(&mut self, words: &[&str]) -> Result<Ended, String> {
        if let Some(why) = &self.silent {
            return Err(why.clone());
        }
        external::run(&mut launchctl::command(self.launchctl, words), CALL_LIMIT).map_err(|error| {
            let why = with_causes(&error);
            self.silent = Some(why.clone());
            why
        })
    }

    fn domain(&mut self, domain: &str) -> Domain {
        let ended = match self.ask(&["print", domain]) {
            Ok(ended) => ended,
            Err(why) => return Domain::Unclear(why),
        };
        match ended.exit_code {
            Some(0) => {
                let count = launchctl::value_of(&ended.stdout, "on-demand count");
                let count = count.and_then(|count| count.parse().ok()).unwrap_or(0);
                Domain::There { on_demand_count: count }
            }
            Some(code) if NO_DOMAIN.contains(&code) => Domain::Absent,
            Some(_) | None => Domain::Unclear(unclear("print", &ended)),
        }
    }

    fn job(&mut self, target: &str) -> JobLook {
        let ended = match self.ask(&["print", target]) {
            Ok(ended) => ended,
            Err(why) => return JobLook::unclear(&why),
        };
        let of = |key| launchctl::value_of(&ended.stdout, key).map(str::to_owned);
        let state = of("state");
        let (runs, pended) = (of("runs"), of("pended nondemand spawn"));
        let view = launchctl::read_print(&Ok(ended));
        let runs = runs.and_then(|runs| runs.parse().ok());
        JobLook { view, runs, state, pended }.checked()
    }

    fn disabled(&mut self, domain: &str) -> Result<BTreeSet<String>, String> {
        let ended = self.ask(&["print-disabled", domain])?;
        match ended.exit_code {
            // What shows no list is no answer, not an empty one.
            Some(0) if ended.stdout.contains('{') => Ok(read_disabled(&ended.stdout)),
            // Without a session there is nobody to ask; launchd keeps the list all the same.
            Some(code) if NO_DOMAIN.contains(&code) => Ok(BTreeSet::new()),
            Some(_) | None => Err(unclear("print-disabled", &ended)),
        }
    }
}

impl JobLook {
    /// A job that is said to be there without a state is not an answer that can be relied on.
    fn checked(self) -> Self {
        match &self.view {
            JobView::Loaded(_) if self.state.is_none() => {
                Self::unclear("print says that the job is there, and shows no state of it")
            }
            JobView::Loaded(_)
            | JobView::NotLoaded
            | JobView::NoDomain
            | JobView::Unclear(_)
            | JobView::NoTool(_) => self,
        }
    }
}

fn unclear(verb: &str, ended: &Ended) -> String {
    let said = if ended.stderr.trim().is_empty() { &ended.stdout } else { &ended.stderr };
    let said: String = said.trim().chars().take(200).collect();
    match ended.exit_code {
        Some(code) => format!("{verb} exited {code} and said {said:?}"),
        None => format!("{verb} was killed"),
    }
}

/// Lines `"label" => disabled`; `=> true` up to macOS 12.
fn read_disabled(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter_map(|line| {
            let (label, state) = line.trim().split_once(" => ")?;
            let is_disabled = matches!(state, "disabled" | "true");
            is_disabled.then(|| label.trim_matches('"').to_owned())
        })
        .collect()
}

fn plist(path: &Path, label: &str) -> Plist {
    let on_disk = definition::read(path, label);
    let folder = path.parent().unwrap_or(Path::new("/"));
    Plist {
        missing: match &on_disk {
            OnDisk::Good(definition) => missing(&definition.arguments),
            OnDisk::Absent | OnDisk::Bad(_) | OnDisk::SomebodyElses(_) => Vec::new(),
        },
        file: fs::symlink_metadata(path).ok().map(|metadata| entry(path, &metadata)),
        folder: fs::metadata(folder).ok().map(|metadata| entry(folder, &metadata)),
        on_disk,
    }
}

/// The program, and every store path in the arguments: home-manager wraps the program in a line for a shell.
fn missing(arguments: &[String]) -> Vec<PathBuf> {
    let program = arguments.first().filter(|program| program.starts_with('/')).cloned();
    let in_store = arguments
        .iter()
        .flat_map(|argument| {
            argument.split(|c: char| c.is_whitespace() || "'\"`;&|<>()=".contains(c))
        })
        .filter(|word| word.starts_with(STORE) && word.len() > STORE.len())
        .map(str::to_owned);
    let mut paths: Vec<PathBuf> = program.into_iter().chain(in_store).map(PathBuf::from).collect();
    paths.dedup();
    paths.retain(|path| !path.exists());
    paths
}

/// The release of macOS by its kernel's: Darwin 20 is macOS 11, Darwin 24 is macOS 15, Darwin 25 is macOS 26.
fn macos() -> Option<u32> {
    let system = rustix::system::uname();
    let kernel = system.release().to_str().ok()?.split('.').next()?.parse().ok()?;
    (system.sysname().to_bytes() == b"Darwin").then(|| macos_of(kernel)).flatten()
}

const fn macos_of(darwin: u32) -> Option<u32> {
    match darwin {
        20..=24 => Some(darwin - 9),
        25.. => Some(darwin + 1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overrides_are_read_in_both_spellings() {
        let text = "\tdisabled services = {\n\t\t\"a.b\" => disabled\n\t\t\"c\" => enabled\n\
                    \t\t\"d\" => true\n\t\t\"e\" => false\n\t}\n";
        let expected: BTreeSet<String> = ["a.b", "d"].map(str::to_owned).into();
        assert_eq!(read_disabled(text), expected);
    }

    #[test]
    fn what_a_definition_runs_and_is_gone_is_named() {
        for (arguments, expected) in [
            (&["/bin/sh", "run"][..], &[][..]),
            (&["agent", "run"], &[]),
            (&["/gone/agent", "run"], &["/gone/agent"]),
            (
                &[
                    "/bin/sh",
                    "-c",
                    "/bin/wait4path /nix/store && exec /nix/store/x-agent/bin/a run",
                ],
                &["/nix/store/x-agent/bin/a"],
            ),
        ] {
            let arguments: Vec<String> = arguments.iter().map(|word| (*word).to_owned()).collect();
            let expected: Vec<PathBuf> = expected.iter().map(PathBuf::from).collect();
            assert_eq!(missing(&arguments), expected, "{arguments:?}");
        }
    }

    #[test]
    fn kernels_and_releases() {
        let releases: Vec<_> = [19, 20, 23, 24, 25, 26].map(macos_of).into();
        assert_eq!(releases, [None, Some(11), Some(14), Some(15), Some(26), Some(27)]);
    }
}
