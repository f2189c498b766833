# What the project's Nix code uses of nixpkgs' packages, for a system. Nothing here can be built.
{ system }:

let
  lib = import ./lib.nix;
  package = name: {
    inherit name;
    type = "derivation";
    outPath = "/nix/store/00000000000000000000000000000000-${name}";
  };
  pkgs = {
    inherit lib;
    stdenv = {
      hostPlatform = {
        inherit system;
        isDarwin = lib.hasSuffix "-darwin" system;
        isLinux = lib.hasSuffix "-linux" system;
      };
      buildPlatform.canExecute = host: host.system == system;
    };
    installShellFiles = package "installShellFiles";
    rustc.version = "1.95.0";
    rustPlatform.buildRustPackage =
      arguments: arguments // package "${arguments.pname}-${arguments.version}";
    coreutils = package "coreutils";
    # What it would write is what it is given.
    formats.toml = _arguments: {
      type = {
        description = "TOML value";
        check = builtins.isAttrs;
      };
      generate = name: value: { inherit name value; };
    };
    inherit package;
  };
in
pkgs
