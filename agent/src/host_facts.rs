//! What the agent tells the dashboard about its host. Found out once, by reading files; no program is asked.

use std::{fs::File, io::Read as _, path::Path};

use nixfleet_protocol::{
    generations::Generations,
    wire::{
        PROTOCOL,
        fields::{HostType, Text},
        v1::Register,
    },
};

use crate::{report, settings::Settings};

/// No file that describes a system is larger.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// The operating system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostFacts {
    host_type: HostType,
    os_name: Text<50>,
    os_version: Text<50>,
}

impl HostFacts {
    /// Finds them out.
    pub(crate) fn find_out() -> Self {
        let uname = rustix::system::uname();
        let kernel = uname.sysname().to_string_lossy().into_owned();
        let release = uname.release().to_string_lossy().into_owned();
        if kernel == "Darwin" {
            let plist = read(Path::new("/System/Library/CoreServices/SystemVersion.plist"));
            Self::of(HostType::Macos, "macOS", product_version(&plist).unwrap_or(&release))
        } else {
            let os_release = read(Path::new("/etc/os-release"));
            Self::of(
                HostType::Nixos,
                os_release_field(&os_release, "NAME").unwrap_or(&kernel),
                os_release_field(&os_release, "VERSION_ID").unwrap_or(&release),
            )
        }
    }

    fn of(host_type: HostType, name: &str, version: &str) -> Self {
        Self { host_type, os_name: Text::head(name), os_version: Text::head(version) }
    }

    /// The registration as it is now.
    pub(crate) fn registration(&self, settings: &Settings, generations: &Generations) -> Register {
        Register {
            hostname: settings.hostname.clone(),
            host_type: self.host_type,
            location: settings.location.clone(),
            device_type: settings.device_type,
            theme_color: settings.theme_color.clone(),
            criticality: settings.criticality,
            current_generation: report::current_generation(generations),
            config_repo: settings
                .names_repo
                .then(|| Text::head(&settings.repo_dir.to_string_lossy())),
            poll_interval: Some(settings.interval),
            agent_version: Some(Text::head(env!("CARGO_PKG_VERSION"))),
            nixpkgs_version: None,
            os_version: Some(self.os_version.clone()),
            os_name: Some(self.os_name.clone()),
            protocol: Some(PROTOCOL),
        }
    }
}

/// The file's beginning; nothing if it is not there.
fn read(path: &Path) -> String {
    let mut text = String::new();
    // What cannot be read leaves the kernel's own word.
    let _ = File::open(path).and_then(|file| file.take(MAX_FILE_BYTES).read_to_string(&mut text));
    text
}

/// A field of os-release(5).
fn os_release_field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .find_map(|line| line.trim().strip_prefix(name)?.strip_prefix('='))
        .map(|value| value.trim_matches(['"', '\'']))
        .filter(|value| !value.is_empty())
}

/// The string after the key `ProductVersion`.
fn product_version(plist: &str) -> Option<&str> {
    let after_key = plist.split("<key>ProductVersion</key>").nth(1)?;
    let value = after_key.trim_start().strip_prefix("<string>")?.split("</string>").next()?;
    Some(value.trim()).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn os_release_is_read() {
        let text = "PRETTY_NAME=\"NixOS 26.05\"\nNAME=NixOS\nVERSION_ID=\"26.05\"\nID=nixos\n";
        assert_eq!(os_release_field(text, "NAME"), Some("NixOS"));
        assert_eq!(os_release_field(text, "VERSION_ID"), Some("26.05"));
        assert_eq!(os_release_field(text, "VERSION"), None);
    }

    #[test]
    fn the_mac_s_version_is_read() {
        let plist = "<dict>\n\t<key>ProductName</key>\n\t<string>macOS</string>\n\
            \t<key>ProductVersion</key>\n\t<string>14.7.1</string>\n</dict>";
        assert_eq!(product_version(plist), Some("14.7.1"));
        assert_eq!(product_version("<dict/>"), None);
    }
}
