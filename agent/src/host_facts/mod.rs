//! What the agent tells the dashboard about its host, in the words that agents of the first generation have for it. All of
//! it is read from files or asked of the kernel; no program is started, neither at start nor while idle.

mod metrics;
mod remembered;
mod revision;
mod system;

use std::path::PathBuf;

use nixfleet_protocol::{
    generations::Generations,
    state_dir,
    wire::{
        PROTOCOL,
        fields::{Generation, Text},
        v1::{Metrics, Register},
    },
};

use crate::settings::Settings;
use metrics::Meter;
use remembered::Remembered;
use system::{Kernel, Os, Places};

/// What is known of the host, and how to find out the rest.
#[derive(Debug)]
pub(crate) struct HostFacts {
    kernel: Kernel,
    places: Places,
    os: Remembered<Os>,
    checkout: Option<PathBuf>,
    revision: Remembered<Option<Generation>>,
    meter: Option<Meter>,
}

/// The host as it is now.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    kernel: Kernel,
    os: Os,
    current_generation: Option<Generation>,
    metrics: Option<Metrics>,
}

impl HostFacts {
    pub(crate) fn new(settings: &Settings) -> Self {
        let kernel = Kernel::find_out();
        Self {
            places: Places { root: "/".into(), home: settings.home.clone() },
            os: Remembered::new(),
            checkout: checkout(settings),
            revision: Remembered::new(),
            meter: settings.metrics.then(|| Meter::new(kernel.is_mac())),
            kernel,
        }
    }

    /// As it is now.
    pub(crate) fn look(&mut self, generations: &Generations) -> Host {
        let (kernel, places) = (&self.kernel, &self.places);
        let os = self.os.get(|reading| system::read(reading, kernel, places));
        Host {
            kernel: self.kernel.clone(),
            os,
            current_generation: self.current_generation(generations),
            metrics: self.meter.as_mut().and_then(Meter::read),
        }
    }

    /// What a v1 dashboard compares with the newest revision: that of the checkout which switches are made from, and where
    /// there is none, the hash of the generation's store path. A pull moves it, a switch or not; v1 has it the same way.
    pub(crate) fn current_generation(&mut self, generations: &Generations) -> Option<Generation> {
        let checkout = self.checkout.as_deref();
        let revision = self.revision.get(|reading| {
            revision::head(reading, checkout?).and_then(|revision| revision.parse().ok())
        });
        revision.or_else(|| store_hash(generations))
    }
}

impl Host {
    /// The registration.
    pub(crate) fn registration(self, settings: &Settings) -> Register {
        Register {
            hostname: settings.hostname.clone(),
            host_type: self.kernel.host_type(),
            location: settings.location.clone(),
            device_type: settings.device_type,
            theme_color: settings.theme_color.clone(),
            criticality: settings.criticality,
            current_generation: self.current_generation,
            config_repo: settings
                .names_repo
                .then(|| Text::head(&settings.repo_dir.to_string_lossy())),
            poll_interval: Some(settings.interval),
            agent_version: Some(Text::head(env!("CARGO_PKG_VERSION"))),
            nixpkgs_version: self.os.nixpkgs,
            os_version: Some(self.os.version),
            os_name: Some(self.os.name),
            metrics: self.metrics,
            protocol: Some(PROTOCOL),
        }
    }
}

/// The checkout that switches are made from: the folder that the flake is in, which may be the agent's own clone, else that
/// clone, else the folder that was named. A home folder that nobody named is none, even if it is under git.
fn checkout(settings: &Settings) -> Option<PathBuf> {
    let switching = &settings.switching;
    let flake = switching.command.flake.as_ref().map(PathBuf::from);
    let own = || {
        let path = || state_dir::checkout(&settings.state_dir);
        switching.repository.as_ref().map(|_| path())
    };
    let named = || settings.names_repo.then(|| settings.repo_dir.clone());
    flake.filter(|flake| flake.is_absolute()).or_else(own).or_else(named)
}

/// The hash of the store path that the profile leads to.
fn store_hash(generations: &Generations) -> Option<Generation> {
    let name = generations.profile.as_deref()?.rsplit('/').next()?;
    name.split('-').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_checkout_the_generation_is_the_hash_of_the_store_path() {
        let of = |profile: &str| {
            let generations = Generations { profile: Some(profile.to_owned()), current: None };
            store_hash(&generations).map(String::from)
        };
        let path = "/nix/store/0c2zj1y6zv9pdq0q1hb0r7w0x4g5w9cd-home-manager-generation";
        assert_eq!(of(path).as_deref(), Some("0c2zj1y6zv9pdq0q1hb0r7w0x4g5w9cd"));
        assert_eq!(of("/nix/store/"), None);
        assert_eq!(store_hash(&Generations::default()), None);
    }
}
