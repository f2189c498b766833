//! home-manager: where it is, and its release.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use nixfleet_protocol::{external, switch_kind::SwitchKind};

use crate::{
    doctor::observations::HomeManager,
    messages::with_causes,
    settings::Settings,
    switch::{command, environment},
};

/// How long `home-manager --version` may take.
const VERSION_LIMIT: Duration = Duration::from_secs(10);

/// Asks home-manager for its release, in the environment that a switch would give it. Of other programs it only matters
/// that they are there.
pub(super) fn observe(settings: &Settings) -> HomeManager {
    let variables = environment::build(settings);
    let found = command::program(settings, &variables);
    match settings.switching.command.kind {
        SwitchKind::HomeManager => {}
        kind @ (SwitchKind::NixosRebuild | SwitchKind::DarwinRebuild | SwitchKind::Command) => {
            return HomeManager::NotUsed(kind, found.map_err(|error| with_causes(&error)));
        }
    }
    let path = match found {
        Ok(path) => path,
        Err(error) => return HomeManager::Missing(with_causes(&error)),
    };
    let mut command = Command::new(&path);
    command.arg("--version").env_clear().envs(&variables).stdin(Stdio::null());
    match external::run(&mut command, VERSION_LIMIT) {
        Ok(ended) => match read_release(&ended.stdout) {
            Some(release) => HomeManager::Release { path, release },
            None => HomeManager::Unnamed(format!(
                "`{} --version` does not name a release: {:?}",
                path.display(),
                [ended.stdout.trim(), ended.stderr.trim()].concat()
            )),
        },
        Err(error) => HomeManager::Silent(with_causes(&error)),
    }
}

/// `26.05`, or `26.11-pre` between releases.
fn read_release(text: &str) -> Option<(u32, u32)> {
    let word = text.lines().next()?.split_whitespace().next_back()?;
    let (year, rest) = word.split_once('.')?;
    let month: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some((year.parse().ok()?, month.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read() {
        for (text, expected) in [
            ("26.05\n", Some((26, 5))),
            ("26.11-pre\nmore\n", Some((26, 11))),
            ("home-manager 24.11", Some((24, 11))),
            ("", None),
            ("master", None),
            ("error: x.y", None),
        ] {
            assert_eq!(read_release(text), expected, "{text:?}");
        }
    }
}
