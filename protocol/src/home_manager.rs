//! home-manager's own links: which generation is set, and whether its activation ran to its end.
//!
//! home-manager sets the profile first, then activates, and writes `gcroots/current-home` last; that is the order of its
//! driver script. Both are links into the store; both moved from per-user folders of `/nix/var` to the state home. While
//! it activates there is a third, `gcroots/new-home`, which a home-manager that was killed leaves behind.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::journal::records::Activation;

/// Where home-manager keeps its links for one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HomeManagerLinks {
    profiles: Vec<PathBuf>,
    current_homes: Vec<PathBuf>,
}

/// Which store paths the links lead to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Generations {
    /// What the profile leads to.
    pub profile: Option<String>,
    /// What was last activated to its end.
    pub current_home: Option<String>,
}

impl HomeManagerLinks {
    /// The places for a user, newest first, as the environment says them.
    pub fn of(xdg_state_home: Option<&Path>, home: &Path, user: Option<&str>) -> Self {
        let state_home = xdg_state_home
            .filter(|path| path.is_absolute())
            .map_or_else(|| home.join(".local/state"), Path::to_owned);
        let nix = Path::new("/nix/var/nix");
        let mut profiles = vec![state_home.join("nix/profiles/home-manager")];
        let mut current_homes = vec![state_home.join("home-manager/gcroots/current-home")];
        if let Some(user) = user {
            profiles.push(nix.join("profiles/per-user").join(user).join("home-manager"));
            current_homes.push(nix.join("gcroots/per-user").join(user).join("current-home"));
        }
        Self { profiles, current_homes }
    }

    /// The launchd definitions of the generation that the profile leads to.
    pub fn launch_agents(&self) -> Option<PathBuf> {
        let folder = PathBuf::from(self.read().profile?).join("LaunchAgents");
        folder.is_dir().then_some(folder)
    }

    /// Whether an activation is under way: home-manager has a link to the new generation while it activates, and removes
    /// it at the end. One that is old was left behind by an activation that was killed.
    pub fn is_activating(&self) -> bool {
        const AT_MOST: Duration = Duration::from_mins(30);
        self.current_homes
            .iter()
            .filter_map(|current| fs::symlink_metadata(current.with_file_name("new-home")).ok())
            .filter_map(|metadata| metadata.modified().ok())
            // One from the future is one of a clock that was set back.
            .any(|since| since.elapsed().is_ok_and(|age| age < AT_MOST))
    }

    /// Follows the links as they are now.
    pub fn read(&self) -> Generations {
        Generations { profile: first(&self.profiles), current_home: first(&self.current_homes) }
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
        match (&self.profile, &self.current_home) {
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
        let links = HomeManagerLinks::of(None, home.path(), Some("nobody-of-that-name"));
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
    }
}
