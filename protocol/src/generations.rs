//! The links that say which generation is set, and which was activated to its end.
//!
//! Whoever switches sets the profile first, then activates, and moves the link to what is activated at the end:
//! home-manager's driver script writes `gcroots/current-home` last, NixOS and nix-darwin `/run/current-system`. So when
//! the two differ after a run, the activation was cut. All are links into the store. home-manager's have moved from
//! per-user folders of `/nix/var` to the state home; while it activates there is a third, `gcroots/new-home`, which a
//! home-manager that was killed leaves behind.
//!
//! Where home-manager is a part of NixOS or nix-darwin, the system's links say how a switch came out. The user's jobs are
//! still home-manager's, and so its links are looked at for those. From 25.11 on it has no profile there, and one that an
//! earlier release has left is never set again (its nix-darwin/default.nix, `--driver-version 1`).

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
    /// Where home-manager's are.
    home: Home,
}

/// What home-manager has to do with a switch.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Home {
    /// It is what switches: the links are its own.
    Switches,
    /// Something else switches, and home-manager may be a part of it. These are its places for what is activated.
    MayBeAPart(Vec<PathBuf>),
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
        Self { profiles, currents, home: Home::Switches }
    }

    /// The places of a whole system, the same for NixOS and nix-darwin.
    pub fn of_system() -> Self {
        Self {
            profiles: vec![PathBuf::from("/nix/var/nix/profiles/system")],
            currents: vec![PathBuf::from("/run/current-system")],
            home: Home::MayBeAPart(Vec::new()),
        }
    }

    /// No places at all: nothing is known of generations.
    pub const fn none() -> Self {
        Self { profiles: Vec::new(), currents: Vec::new(), home: Home::MayBeAPart(Vec::new()) }
    }

    /// The same, for a switch that home-manager may be a part of. A system starts it without the variables of the user's
    /// session, so it has its links at the default place even if the user has moved the state home.
    #[must_use]
    pub fn with_home_manager(
        self,
        xdg_state_home: Option<&Path>,
        home: &Path,
        user: Option<&str>,
    ) -> Self {
        let mut places = Self::of_home_manager(None, home, user).currents;
        for place in Self::of_home_manager(xdg_state_home, home, user).currents {
            if !places.contains(&place) {
                places.push(place);
            }
        }
        Self { home: Home::MayBeAPart(places), ..self }
    }

    /// The same with these places, where they are given.
    #[must_use]
    pub fn at(self, profile: Option<PathBuf>, current: Option<PathBuf>) -> Self {
        Self {
            profiles: profile.map_or(self.profiles, |profile| vec![profile]),
            currents: current.map_or(self.currents, |current| vec![current]),
            home: self.home,
        }
    }

    /// The launchd definitions of home-manager's newest generation: the one that it activates or has tried to, else the one
    /// that it has activated.
    pub fn launch_agents(&self) -> Option<PathBuf> {
        let generation = match &self.home {
            Home::Switches => self.read().profile,
            Home::MayBeAPart(places) => {
                let new: Vec<PathBuf> = places.iter().map(|place| beside(place)).collect();
                first(&new).or_else(|| first(places))
            }
        };
        let folder = PathBuf::from(generation?).join("LaunchAgents");
        folder.is_dir().then_some(folder)
    }

    /// Whether home-manager's activation is under way: it has a link to the new generation while it activates, and
    /// removes it at the end. One that is old was left behind by an activation that was killed. Of others nobody knows.
    pub fn is_activating(&self) -> bool {
        const AT_MOST: Duration = Duration::from_mins(30);
        let homes = match &self.home {
            Home::Switches => &self.currents,
            Home::MayBeAPart(places) => places,
        };
        homes
            .iter()
            .filter_map(|current| fs::symlink_metadata(beside(current)).ok())
            .filter_map(|metadata| metadata.modified().ok())
            // One from the future is one of a clock that was set back.
            .any(|since| since.elapsed().is_ok_and(|age| age < AT_MOST))
    }

    /// Where the profile is that whoever switches sets: the best place of those that are looked at.
    pub fn profile(&self) -> Option<&Path> {
        self.profiles.first().map(PathBuf::as_path)
    }

    /// Follows the links as they are now.
    pub fn read(&self) -> Generations {
        Generations { profile: first(&self.profiles), current: first(&self.currents) }
    }
}

/// The link to what is being activated, beside the one to what was.
fn beside(current: &Path) -> PathBuf {
    current.with_file_name("new-home")
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
        // The same places mean no activation where they are another's.
        let profile = state.join("nix/profiles/home-manager");
        let others = GenerationLinks::none().at(Some(profile), Some(current));
        assert_eq!(others.read().activation(), Activation::Incomplete);
        assert!(!others.is_activating());
        assert_eq!(GenerationLinks::none().read(), Generations::default());
    }

    #[test]
    fn jobs_come_from_the_home_manager_that_is_a_part_of_the_system() {
        let home = tempfile::tempdir().unwrap();
        let state = home.path().join(".local/state");
        let store = home.path().join("store");
        for name in ["left-behind", "one", "two"] {
            fs::create_dir_all(store.join(name).join("LaunchAgents")).unwrap();
        }
        let gcroots = state.join("home-manager/gcroots");
        fs::create_dir_all(state.join("nix/profiles")).unwrap();
        fs::create_dir_all(&gcroots).unwrap();
        let moved = home.path().join("moved");
        let links = GenerationLinks::of_system().with_home_manager(Some(&moved), home.path(), None);
        // Of a release that still kept a profile.
        symlink(store.join("left-behind"), state.join("nix/profiles/home-manager")).unwrap();
        assert_eq!(links.launch_agents(), None);

        let agents =
            |name: &str| Some(store.canonicalize().unwrap().join(name).join("LaunchAgents"));
        symlink(store.join("one"), gcroots.join("current-home")).unwrap();
        assert_eq!(links.launch_agents(), agents("one"));
        assert!(!links.is_activating());
        symlink(store.join("two"), gcroots.join("new-home")).unwrap();
        assert_eq!(links.launch_agents(), agents("two"));
        assert!(links.is_activating());
        let command = GenerationLinks::none().with_home_manager(None, home.path(), None);
        assert_eq!(command.launch_agents(), agents("two"));
        assert_eq!(command.read(), Generations::default());
        assert_eq!(GenerationLinks::of_system().launch_agents(), None);
    }
}
