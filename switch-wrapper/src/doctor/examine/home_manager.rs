//! home-manager's release.

use super::INSTALL;
use crate::doctor::{
    finding::{Finding, Id},
    observations::{HomeManager, Host, Service},
};

/// The last release that logs a failed `bootstrap` and goes on, and then compares files only.
const LAST_WITH_BUG: (u32, u32) = (26, 5);

/// The release that calls `bootout --wait` whatever the system.
const ALWAYS_WAITS: (u32, u32) = (26, 5);

/// The first macOS whose `bootout` knows `--wait`.
const FIRST_THAT_WAITS: u32 = 26;

/// Everything about home-manager.
pub(super) fn examine(host: &Host) -> Finding {
    match &host.home_manager {
        HomeManager::NotUsed(kind, Ok(path)) => {
            let summary = format!("this host switches by {}, of kind {kind}", path.display());
            Finding::ok(Id::SwitchProgram, summary)
        }
        HomeManager::NotUsed(_, Err(why)) => {
            Finding::error(Id::SwitchProgramMissing, why).because("No switch can run.")
        }
        HomeManager::Missing(why) => Finding::error(Id::HomeManagerMissing, why)
            .because(
                "No switch can run. Installed another way than into a profile, it has to be \
                named: NIXFLEET_HOME_MANAGER, or `home_manager` in the config file.",
            )
            .mended_by(["nix profile install nixpkgs#home-manager".to_owned()]),
        HomeManager::Silent(why) => {
            Finding::warning(Id::HomeManagerSilent, why).because("A switch may fare no better.")
        }
        HomeManager::Unnamed(why) => Finding::unknown(Id::HomeManagerSilent, why),
        HomeManager::Release { release, .. } => of_release(host, *release),
    }
}

fn of_release(host: &Host, release: (u32, u32)) -> Finding {
    let name = format!("{}.{:02}", release.0, release.1);
    let fine = Finding::ok(Id::HomeManagerRelease, format!("home-manager {name}"));
    let Service::Launchd(launchd) = &host.service else { return fine };
    if release > LAST_WITH_BUG {
        return fine;
    }
    let is_watched = host.watchdog.is_running == Some(true);
    let is_refused =
        release == ALWAYS_WAITS && launchd.macos.is_some_and(|macos| macos < FIRST_THAT_WAITS);
    if is_refused {
        let finding = Finding::warning(
            Id::HomeManagerKnownBug,
            format!("home-manager {name} cannot replace a job on this macOS"),
        )
        .because(
            "It calls `launchctl bootout --wait`, which macOS up to 15 does not know: the \
            old job goes on under the old definition, and later switches call it up-to-date. \
            nixfleet-switch mends the agent's job after each switch; other jobs it leaves alone. \
            A later release is the cure.",
        );
        return if is_watched { finding } else { finding.mended_by([INSTALL.to_owned()]) };
    }
    let summary =
        format!("home-manager {name} can leave an agent booted out and call it up-to-date");
    let explained = "Up to 26.05 a job that cannot be loaded again is only logged, and later \
        switches compare files and find no difference. nixfleet-switch mends the agent's job \
        after each switch; after a plain `home-manager switch` only the watchdog does.";
    if is_watched || !host.has_agent() {
        Finding::info(Id::HomeManagerKnownBug, summary).because(explained)
    } else {
        Finding::warning(Id::HomeManagerKnownBug, summary)
            .because(explained)
            .mended_by([INSTALL.to_owned()])
    }
}
