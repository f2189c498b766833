//! The links that say which generation is set, and which was activated to its end.
//!
//! Whoever switches sets the profile first, then activates, and moves the link to what is activated at the end:
//! home-manager's driver script writes `gcroots/current-home` last, NixOS and nix-darwin `/run/current-system`. So when
//! the two differ after a run, the activation was cut. All are links into the store. home-manager's have moved from
//! per-user folders of `/nix/var` to the state home; while it activates there is a third, `gcroots/new-home`, which a
//! home-manager that was killed leaves behind.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::journal::records::Activation;

/// Where the links are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GenerationLinks {
    /// Places of the profile, best first.
    profiles: Vec<PathBuf>,
    /// Places of the link to what is activated, best first.
    currents: Vec<PathBuf>,
    /// They are home-manager's: then there is more to see beside them.
    is_home_manager: bool,
}

/// Which store paths the links lead to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Generations {
    /// What the profile leads to.
    pub profile: Option<String>,
    /// What was last activated to its end.
    pub current: Option<String>,
}

impl GenerationLinks {
    /// home-manager's places for a user, newest first, as the environment says them.
    pub fn of_home_manager(xdg_state_home: Option<&Path>, home: &Path, user: Option<&str>) -> Self {
        let state_home = xdg_state_home
            .filter(|path| path.is_absolute())
            .map_or_else(|| home.join(".local/state"), Path::to_owned);
        let nix = Path::new("/nix/var/nix");
        let mut profiles = vec![state_home.join("nix/profiles/home-manager")];
        let mut currents = vec![state_home.join("home-manager/gcroots/current-home")];
        if let Some(user) = user {
            profiles.push(nix.join("profiles/per-user").join(user).join("home-manager"));
            currents.push(nix.join("gcroots/per-user").join(user).join("current-home"));
        }
        Self { profiles, currents, is_home_manager: true }
    }

    /// The places of a whole system, the same for NixOS and nix-darwin.
    pub fn of_system() -> Self {
        Self {
            profiles: vec![PathBuf::from("/nix/var/nix/profiles/system")],
            currents: vec![PathBuf::from("/run/current-system")],
            is_home_manager: false,
        }
    }

    /// No places at all: nothing is known of generations.
    pub const fn none() -> Self {
        Self { profiles: Vec::new(), currents: Vec::new(), is_home_manager: false }
    }

    /// The same with these places, where they are given.
    #[must_use]
    pub fn at(self, profile: Option<PathBuf>, current: Option<PathBuf>) -> Self {
        Self {
            profiles: profile.map_or(self.profiles, |profile| vec![profile]),
            currents: current.map_or(self.currents, |current| vec![current]),
            is_home_manager: self.is_home_manager,
        }
    }

    /// The launchd definitions of home-manager's generation that the profile leads to.
    pub fn launch_agents(&self) -> Option<PathBuf> {
        if !self.is_home_manager {
            return None;
        }
        let folder = PathBuf::from(self.read().profile?).join("LaunchAgents");
        folder.is_dir().then_some(folder)
    }

    /// Whether home-manager's activation is under way: it has a link to the new generation while it activates, and
    /// removes it at the end. One that is old was left behind by an activation that was killed. Of others nobody knows.
    pub fn is_activating(&self) -> bool {
        const AT_MOST: Duration = Duration::from_mins(30);
        let homes = self.currents.iter().filter(|_| self.is_home_manager);
        homes
            .filter_map(|current| fs::symlink_metadata(current.with_file_name("new-home")).ok())
            .filter_map(|metadata| metadata.modified().ok())
            // One from the future is one of a clock that was set back.
            .any(|since| since.elapsed().is_ok_and(|age| age < AT_MOST))
    }

    /// Follows the links as they are now.
    pub fn read(&self) -> Generations {
        Generations { profile: first(&self.profiles), current: first(&self.currents) }
    }
}

fn first(places: &[PathBuf]) -> Option<String> {
    places
        .iter()
        .find_map(|place| place.canonicalize().ok())
        .map(|target| target.to_string_lossy().into_owned())
}

impl Generations {
    /// Whether what the profile says is also what was activated.
    pub fn activation(&self) -> Activation {
        match (&self.profile, &self.current) {
            (Some(profile), Some(current)) if profile == current => Activation::Complete,
            (Some(_), Some(_)) => Activation::Incomplete,
            (Some(_) | None, None) | (None, Some(_)) => Activation::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn links_are_followed_to_their_end_and_compared() {
        let home = tempfile::tempdir().unwrap();
        let state = home.path().join(".local/state");
        let links =
            GenerationLinks::of_home_manager(None, home.path(), Some("nobody-of-that-name"));
        assert_eq!(links.read(), Generations::default());
        assert_eq!(links.read().activation(), Activation::Unknown);

        let store = home.path().join("store");
        for name in ["one", "two"] {
            fs::create_dir_all(store.join(name)).unwrap();
        }
        fs::create_dir_all(state.join("nix/profiles")).unwrap();
        fs::create_dir_all(state.join("home-manager/gcroots")).unwrap();
        symlink(store.join("one"), state.join("nix/profiles/home-manager-1-link")).unwrap();
        symlink("home-manager-1-link", state.join("nix/profiles/home-manager")).unwrap();
        assert_eq!(links.read().activation(), Activation::Unknown);

        let current = state.join("home-manager/gcroots/current-home");
        symlink(store.join("one"), &current).unwrap();
        assert_eq!(links.read().activation(), Activation::Complete);
        fs::remove_file(&current).unwrap();
        symlink(store.join("two"), &current).unwrap();
        let generations = links.read();
        assert_eq!(generations.activation(), Activation::Incomplete);
        assert!(generations.profile.unwrap().ends_with("/store/one"));

        assert!(!links.is_activating());
        symlink("/nowhere", state.join("home-manager/gcroots/new-home")).unwrap();
        assert!(links.is_activating());
        // The same places mean no activation where home-manager is not what switches.
        let profile = state.join("nix/profiles/home-manager");
        let others = GenerationLinks::none().at(Some(profile), Some(current));
        assert_eq!(others.read().activation(), Activation::Incomplete);
        assert!(!others.is_activating());
        assert_eq!(GenerationLinks::none().read(), Generations::default());
    }
}
