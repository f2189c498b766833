//! The operating system, in the words that agents of the first generation have for it, read from files: `nixos-version`
//! and `sw_vers` are not started.

use std::path::{Path, PathBuf};

use nixfleet_protocol::wire::fields::{HostType, Text};

use super::remembered::Reading;
use crate::plist_text;

/// Apple's names, by the first number of the version. Big Sur is the oldest that the agent runs on.
const MACOS_NAMES: [(&str, &str); 6] = [
    ("11", "Big Sur"),
    ("12", "Monterey"),
    ("13", "Ventura"),
    ("14", "Sonoma"),
    ("15", "Sequoia"),
    ("26", "Tahoe"),
];

/// Where the files are. `/` but for tests.
#[derive(Debug, Clone)]
pub(super) struct Places {
    pub(super) root: PathBuf,
    pub(super) home: Option<PathBuf>,
}

/// The kernel, which does not change while the agent runs.
#[derive(Debug, Clone)]
pub(super) struct Kernel {
    name: String,
    release: String,
}

/// The operating system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Os {
    pub(super) name: Text<50>,
    pub(super) version: Text<50>,
    /// The nixpkgs revision that the system, or the user's profile on a Mac, was built from, where that is known.
    pub(super) nixpkgs: Option<Text<64>>,
}

impl Kernel {
    pub(super) fn find_out() -> Self {
        let uname = rustix::system::uname();
        Self {
            name: uname.sysname().to_string_lossy().into_owned(),
            release: uname.release().to_string_lossy().into_owned(),
        }
    }

    pub(super) fn is_mac(&self) -> bool {
        self.name == "Darwin"
    }

    /// What a dashboard takes for the kind of host. v1 refuses any third one.
    pub(super) fn host_type(&self) -> HostType {
        if self.is_mac() { HostType::Macos } else { HostType::Nixos }
    }
}

/// Reads the files.
pub(super) fn read(reading: &mut Reading, kernel: &Kernel, places: &Places) -> Os {
    let at = |path: &str| places.root.join(path);
    if kernel.is_mac() {
        let plist = reading.text(&at("System/Library/CoreServices/SystemVersion.plist"));
        let version = plist
            .as_deref()
            .and_then(|plist| plist_text::string(plist, "ProductVersion"))
            .unwrap_or(&kernel.release);
        let nixpkgs = places.home.as_deref().and_then(|home| of_profile(reading, home));
        return Os {
            name: Text::head(&macos_name(version)),
            version: Text::head(version),
            nixpkgs,
        };
    }
    let os_release = reading.text(&at("etc/os-release")).unwrap_or_default();
    let field = |name| os_release_field(&os_release, name);
    let name = field("NAME").unwrap_or(&kernel.name);
    let version = field("VERSION_ID").unwrap_or(&kernel.release);
    if field("ID") != Some("nixos") {
        return Os { name: Text::head(name), version: Text::head(version), nixpkgs: None };
    }
    // `nixos-version` is a script with everything in it.
    let script = at("run/current-system/sw/bin/nixos-version");
    let nixpkgs = reading.line(&script, nixpkgs_revision);
    let label = reading.text(&at("run/current-system/nixos-version"));
    let label = label.as_deref().map_or(version, str::trim);
    let version = match field("VERSION").and_then(code_name) {
        Some(code_name) => format!("{label} ({code_name})"),
        None => label.to_owned(),
    };
    Os { name: Text::head(name), version: Text::head(&version), nixpkgs }
}

/// A field of os-release(5).
fn os_release_field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .find_map(|line| line.trim().strip_prefix(name)?.strip_prefix('='))
        .map(|value| value.trim_matches(['"', '\'']))
        .filter(|value| !value.is_empty())
}

/// What stands in brackets: `26.05 (Yarara)`.
fn code_name(version: &str) -> Option<&str> {
    version.split_once('(')?.1.split_once(')').map(|(name, _)| name)
}

/// From the line that `nixos-version --json` prints.
fn nixpkgs_revision(line: &str) -> Option<Text<64>> {
    let object: serde_json::Value = serde_json::from_str(line).ok()?;
    revision(object.get("nixpkgsRevision")?.as_str()?)
}

fn of_profile(reading: &mut Reading, home: &Path) -> Option<Text<64>> {
    revision(reading.text(&home.join(".nix-profile/.nixpkgs-version"))?.trim())
}

/// A revision, or a version where there is none; no other text.
fn revision(text: &str) -> Option<Text<64>> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    Some(text).filter(|text| !text.is_empty() && text.chars().all(is_plain)).map(Text::head)
}

fn macos_name(version: &str) -> String {
    let number = version.split('.').next();
    let name = MACOS_NAMES.iter().find(|(known, _)| Some(*known) == number);
    name.map_or_else(|| "macOS".to_owned(), |(_, name)| format!("macOS {name}"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const REVISION: &str = "0a2c8a5824f4d11518168b74002249c6ecec21d5";

    /// Files below the root, and what the system is by them: name, version, nixpkgs revision.
    #[track_caller]
    fn check(kernel: &str, files: &[(&str, &str)], expected: (&str, &str, Option<&str>)) {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let root = folder.path().to_owned();
        let places = Places { home: Some(root.join("home")), root };
        let kernel = Kernel { name: kernel.to_owned(), release: "6.12".to_owned() };
        let os = read(&mut Reading::default(), &kernel, &places);
        let found = (os.name.as_str(), os.version.as_str(), os.nixpkgs.as_ref().map(Text::as_str));
        assert_eq!(found, expected, "{files:?}");
    }

    #[test]
    fn each_system_has_the_words_of_v1() {
        let nixos = "NAME=NixOS\nID=nixos\nVERSION=\"26.05 (Yarara)\"\nVERSION_ID=\"26.05\"\n";
        let script = format!(
            "#! /bin/sh\ncase \"$1\" in\n  --json)\n    cat <<'EOF'\n{{\"nixosVersion\":\"26.05.1.0a2c8a5\",\"nixpkgsRevision\":\"{REVISION}\"}}\nEOF\n"
        );
        check(
            "Linux",
            &[
                ("etc/os-release", nixos),
                ("run/current-system/nixos-version", "26.05.20260601.0a2c8a5\n"),
                ("run/current-system/sw/bin/nixos-version", &script),
            ],
            ("NixOS", "26.05.20260601.0a2c8a5 (Yarara)", Some(REVISION)),
        );
        check("Linux", &[("etc/os-release", nixos)], ("NixOS", "26.05 (Yarara)", None));
        let debian =
            "NAME=\"Debian GNU/Linux\"\nVERSION_ID=\"13\"\nVERSION=\"13 (trixie)\"\nID=debian\n";
        check("Linux", &[("etc/os-release", debian)], ("Debian GNU/Linux", "13", None));
        check("Linux", &[], ("Linux", "6.12", None));
    }

    #[test]
    fn a_mac_has_its_name_and_the_profile_s_nixpkgs() {
        const FILE: &str = "System/Library/CoreServices/SystemVersion.plist";
        let plist = |version: &str| {
            format!(
                "<dict>\n\t<key>ProductName</key>\n\t<string>macOS</string>\n\
                 \t<key>ProductVersion</key>\n\t<string>{version}</string>\n</dict>"
            )
        };
        for (version, name) in [
            ("11.7.10", "macOS Big Sur"),
            ("14.7.1", "macOS Sonoma"),
            ("26.1", "macOS Tahoe"),
            ("99.0", "macOS"),
        ] {
            check("Darwin", &[(FILE, &plist(version))], (name, version, None));
        }
        check("Darwin", &[(FILE, "<dict/>")], ("macOS", "6.12", None));
        for (text, expected) in [
            ("24.11.719113.4c2fcb090b1f\n", Some("24.11.719113.4c2fcb090b1f")),
            (REVISION, Some(REVISION)),
            ("\n", None),
            ("<html>", None),
        ] {
            let files = [(FILE, &*plist("15.1")), ("home/.nix-profile/.nixpkgs-version", text)];
            check("Darwin", &files, ("macOS Sequoia", "15.1", expected));
        }
    }
}
