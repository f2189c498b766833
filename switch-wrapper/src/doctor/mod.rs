//! `doctor`: finds what keeps the host from being well, explains it, and names the command that mends it.
//!
//! Everything is looked at once into [`observations`], judged by pure functions, and printed. Nothing is changed on disk
//! and no job is acted on.
//!
//! - [`observe`]: looks. [`examine`]: judges.
//! - [`finding`]: what is said; its [`finding::Id`] names each finding.
//! - [`text`]: the same for people.

mod examine;
mod finding;
mod observations;
mod observe;
mod text;

use std::io::{self, IsTerminal as _, Write as _};

use jiff::Timestamp;
use serde::Serialize;

use crate::{Failure, exit, settings::UnitManager};
use finding::Finding;
use observations::{Observations, Service};
use text::Look;

/// The document that `--json` prints.
#[derive(Debug, Serialize)]
struct Report<'a> {
    format: u32,
    healthy: bool,
    looked_at: Timestamp,
    host: Option<&'a str>,
    service_manager: Option<&'static str>,
    version: &'static str,
    findings: &'a [Finding],
}

/// The format of that document.
const FORMAT: u32 = 1;

/// Looks, judges, prints. The exit code says whether somebody has to do something.
pub(crate) fn run(json: bool) -> Result<u8, Failure> {
    let seen = observe::observe();
    let findings = examine::examine(&seen);
    let needs_attention = findings.iter().any(|finding| finding.severity.needs_attention());
    let text = if json {
        as_json(&seen, &findings, !needs_attention)?
    } else {
        text::findings(&findings, look())
    };
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(Failure::Output)?;
    Ok(if needs_attention { exit::NEEDS_ATTENTION } else { 0 })
}

fn as_json(seen: &Observations, findings: &[Finding], healthy: bool) -> Result<String, Failure> {
    let report = Report {
        format: FORMAT,
        healthy,
        looked_at: seen.now,
        host: seen.host.as_ref().map(|host| host.names.host.as_str()),
        service_manager: seen.host.as_ref().map(|host| match &host.service {
            Service::Launchd(_) => "launchd",
            Service::Systemd(systemd) => match systemd.manager {
                UnitManager::User => "systemd",
                UnitManager::System => "systemd-system",
            },
            Service::None => "none",
        }),
        version: env!("CARGO_PKG_VERSION"),
        findings,
    };
    let text = serde_json::to_string_pretty(&report);
    Ok(format!("{}\n", text.map_err(|error| Failure::Output(error.into()))?))
}

fn look() -> Look {
    let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if io::stdout().is_terminal() && !no_colour { Look::Coloured } else { Look::Plain }
}
