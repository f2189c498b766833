//! Every Nix file, and the packages.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Map, Value, json};

use crate::evaluated::{evaluate, has, has_nix, nix, root, text};

/// All files of the project that end in `.nix`.
fn nix_files() -> Vec<PathBuf> {
    let folders = [".", "nix", "nix/modules", "tests/nix", "tests/nix-switch"]
        .map(|folder| root().join(folder));
    let entries = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap());
    let files = entries.map(|entry| entry.unwrap().path());
    let files: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|it| it == "nix")).collect();
    assert!(files.len() >= 6, "{files:?}");
    files
}

#[test]
fn every_nix_file_is_sound() {
    if has_nix() {
        for file in nix_files() {
            let parsed = nix([Path::new("--parse"), &file]);
            assert!(parsed.status.success(), "{}", text(&parsed));
        }
    }
    if has("nixfmt", "`cargo install nixfmt_rs` brings it") {
        let checked = Command::new("nixfmt").arg("--check").args(nix_files()).output().unwrap();
        assert!(checked.status.success(), "{}", text(&checked));
    }
    if has("deadnix", "`cargo install deadnix` brings it") {
        let checked = Command::new("deadnix").arg("--fail").args(nix_files()).output().unwrap();
        assert!(checked.status.success(), "{}", text(&checked));
    }
}

#[test]
fn packages_are_there_with_and_without_flakes() {
    if !has_nix() {
        return;
    }
    let root = root();
    let root = root.display();
    let shown = "builtins.mapAttrs (_: p: { inherit (p) pname version cargoBuildFlags; inherit (p.meta) mainProgram; })";
    let pkgs = format!("import {root}/tests/nix/pkgs.nix {{ system = \"x86_64-linux\"; }}");
    let package = |name: &str| {
        json!({
            "pname": name, "version": env!("CARGO_PKG_VERSION"), "mainProgram": name,
            "cargoBuildFlags": ["--package", name],
        })
    };
    let expected: Map<_, _> = ["nixfleet-agent", "nixfleet-switch", "nixfleet-dashboard"]
        .map(|name| (name.to_owned(), package(name)))
        .into_iter()
        .collect();
    let expected = Value::Object(expected);
    let without = format!("{shown} (import {root} {{ pkgs = {pkgs}; }}).packages");
    assert_eq!(evaluate(&without).unwrap(), expected);

    let flake = format!(
        "let outputs = (import {root}/flake.nix).outputs {{ self = outputs; nixpkgs = {{ \
           lib.genAttrs = names: f: builtins.listToAttrs (map (name: {{ inherit name; value = f name; }}) names); \
           legacyPackages.x86_64-linux = {pkgs}; }}; }}; in \
         {shown} (removeAttrs outputs.packages.x86_64-linux [ \"default\" ])"
    );
    assert_eq!(evaluate(&flake).unwrap(), expected);

    let overlay = format!("{shown} ((import {root} {{ pkgs = null; }}).overlay ({pkgs}) null)");
    assert_eq!(evaluate(&overlay).unwrap(), expected);

    let old = format!("({pkgs}) // {{ rustc.version = \"1.80.0\"; }}");
    let refused =
        evaluate(&format!("(import {root} {{ pkgs = {old}; }}).packages.nixfleet-agent.pname"));
    let refused = refused.unwrap_err();
    assert!(refused.contains("docs/install.md"), "{refused}");
}
