# The three programs, each a package of its own, from the workspace at the root.
{
  installShellFiles,
  lib,
  rustPlatform,
  rustc,
  stdenv,
}:

let
  inherit (builtins.fromTOML (builtins.readFile ../Cargo.toml)) workspace;
  inherit (workspace.package) version;
  oldestRust = workspace.package.rust-version;

  # What cargo reads. Anything else may change without another store path, for a new store path is a new agent.
  source = lib.cleanSourceWith {
    name = "nixfleet-source";
    src = ../.;
    filter =
      path: _type:
      let
        relative = lib.removePrefix (toString ../. + "/") (toString path);
        top = builtins.head (lib.splitString "/" relative);
      in
      builtins.elem top (
        [
          ".cargo"
          "Cargo.lock"
          "Cargo.toml"
        ]
        ++ workspace.members
      )
      && !(lib.hasSuffix ".md" relative);
  };

  program =
    {
      crate,
      description,
      checkFlags ? [ ],
    }:
    lib.throwIf (lib.versionOlder rustc.version oldestRust)
      "${crate} needs Rust ${oldestRust} or later, and this nixpkgs has ${rustc.version}: take the package from a newer nixpkgs, as docs/install.md says"
      (
        rustPlatform.buildRustPackage {
          pname = crate;
          inherit version checkFlags;
          src = source;
          cargoLock.lockFile = ../Cargo.lock;
          cargoBuildFlags = [
            "--package"
            crate
          ];
          cargoTestFlags = [
            "--package"
            crate
          ];
          # The programs can be made to die between two steps only where they are not built for release.
          checkType = "debug";
          # Each program writes its own completions and manual pages; for another kind of machine it cannot be run here.
          nativeBuildInputs = [ installShellFiles ];
          postInstall = lib.optionalString (stdenv.buildPlatform.canExecute stdenv.hostPlatform) ''
            for shell in bash fish zsh; do
              $out/bin/${crate} completions $shell > ${crate}.$shell
              installShellCompletion --cmd ${crate} --$shell ${crate}.$shell
            done
            $out/bin/${crate} man --dir manual-pages
            installManPage manual-pages/*
          '';
          # Programs and their dashboards meet on 127.0.0.1.
          __darwinAllowLocalNetworking = true;

          meta = {
            inherit description;
            license = [
              lib.licenses.asl20
              lib.licenses.mit
            ];
            mainProgram = crate;
            platforms = lib.platforms.linux ++ lib.platforms.darwin;
          };
        }
      );
in
{
  nixfleet-agent = program {
    crate = "nixfleet-agent";
    description = "The NixFleet agent: polls the dashboard, starts switches, reports how they ended";
  };

  # With nixfleet-watchdog in the same folder, which is where nixfleet-switch looks for it.
  nixfleet-switch = program {
    crate = "nixfleet-switch";
    description = "Runs home-manager switch, keeps its true result, and brings the NixFleet agent back";
  };

  nixfleet-dashboard = program {
    crate = "nixfleet-dashboard";
    description = "The NixFleet dashboard: one binary, one SQLite file";
  };
}
