//! Every Nix file, and the packages.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use nixfleet_tests::stage::programs::Programs;
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
    are_sound(&nix_files());
}

/// They can be parsed, are formatted, and have nothing in them that nobody uses.
fn are_sound(files: &[PathBuf]) {
    if has_nix() {
        let parsed =
            nix([Path::new("--parse")].into_iter().chain(files.iter().map(PathBuf::as_path)));
        assert!(parsed.status.success(), "{}", text(&parsed));
    }
    if has("nixfmt", "`cargo install nixfmt_rs` brings it") {
        let checked = Command::new("nixfmt").arg("--check").args(files).output().unwrap();
        assert!(checked.status.success(), "{}", text(&checked));
    }
    if has("deadnix", "`cargo install deadnix` brings it") {
        let checked = Command::new("deadnix").arg("--fail").args(files).output().unwrap();
        assert!(checked.status.success(), "{}", text(&checked));
    }
}

/// What people copy has to be sound too.
#[test]
fn every_example_in_the_documents_is_sound() {
    let place = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    for document in ["README.md", "docs/install.md"] {
        let text = fs::read_to_string(root().join(document)).unwrap();
        for example in text.split("```nix\n").skip(1) {
            let file = place.path().join(format!("{}.nix", files.len()));
            fs::write(&file, example.split_once("```").unwrap().0).unwrap();
            files.push(file);
        }
    }
    assert!(files.len() >= 8, "{files:?}");
    are_sound(&files);
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

/// The step of the build that puts completions and pages where shells and man(1) look, on a machine for which it is built
/// or on another.
fn post_install(program: &str, build_machine: &str) -> String {
    let root = root();
    let root = root.display();
    let pkgs = format!(
        "(import {root}/tests/nix/pkgs.nix {{ system = \"x86_64-linux\"; }}) // {{ stdenv = {{ \
           hostPlatform.system = \"x86_64-linux\"; \
           buildPlatform.canExecute = host: host.system == \"{build_machine}\"; }}; }}"
    );
    let package = format!("(import {root} {{ pkgs = {pkgs}; }}).packages.{program}");
    let inputs = format!("map (input: input.name) {package}.nativeBuildInputs");
    assert_eq!(evaluate(&inputs).unwrap(), json!(["installShellFiles"]));
    let step = evaluate(&format!("{package}.postInstall")).unwrap();
    step.as_str().unwrap().to_owned()
}

#[test]
fn packages_bring_completions_and_manual_pages() {
    if !has_nix() {
        return;
    }
    let programs = Programs::get().unwrap();
    for (name, path) in [
        ("nixfleet-agent", programs.agent()),
        ("nixfleet-switch", programs.switch()),
        ("nixfleet-dashboard", programs.dashboard()),
    ] {
        assert_eq!(post_install(name, "aarch64-darwin"), "");

        // Played, with what nixpkgs' installShellFiles is called with.
        let folder = tempfile::tempdir().unwrap();
        let bin = folder.path().join("out/bin");
        fs::create_dir_all(&bin).unwrap();
        symlink(path, bin.join(name)).unwrap();
        let step = post_install(name, "x86_64-linux");
        let played = format!(
            "set -eu\ninstallShellCompletion() {{ echo \"$@\"; }}\ninstallManPage() {{ echo \"$1\"; }}\n{step}"
        );
        let output = Command::new("bash")
            .args(["-c", &played])
            .current_dir(folder.path())
            .env("out", folder.path().join("out"))
            .output()
            .unwrap();
        let shells = ["bash", "fish", "zsh"];
        let completions =
            shells.map(|shell| format!("--cmd {name} --{shell} {name}.{shell}\n")).concat();
        let first = if name == "nixfleet-agent" { "-check-config" } else { "-completions" };
        assert_eq!(text(&output), format!("{completions}manual-pages/{name}{first}.1\n"));
        for shell in shells {
            let script = fs::metadata(folder.path().join(format!("{name}.{shell}"))).unwrap();
            assert!(script.len() > 500, "{shell}");
        }
    }
}
