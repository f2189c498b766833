# Packages for the real modules: names only, and what would be written is kept in the name.
{
  lib,
  nixpkgs,
  system,
}:

let
  package = name: {
    inherit name;
    pname = name;
    type = "derivation";
    outPath = "/nix/store/00000000000000000000000000000000-${name}";
    version = "1";
    meta.mainProgram = name;
  };
  # A file whose content can be found again in all that names it.
  written = name: text: package name // { outPath = "${(package name).outPath}\n${text}\n"; };

  pkgs =
    lib.genAttrs [
      "bash"
      "coreutils"
      "diffutils"
      "emptyDirectory"
      "findutils"
      "gettext"
      "glibcLocales"
      "gnugrep"
      "gnused"
      "jq"
      "man-db"
      "ncurses"
      "sd-switch"
      "systemd"
    ] package
    // {
      inherit lib system;
      nix = package "nix" // {
        out = package "nix";
      };
      path = nixpkgs;
      stdenv = rec {
        hostPlatform = lib.systems.elaborate system;
        inherit (hostPlatform) isDarwin isLinux;
      };
      config = { };
      rustc.version = "1.95.0";
      rustPlatform.buildRustPackage = arguments: package arguments.pname;
      buildEnv = { name, ... }: package name;
      writeText = written;
      writeTextFile = { name, text, ... }: written name text;
      writeScriptBin = written;
      writeShellScript = written;
      runCommand =
        name: _environment: script:
        written name script;
      formats = lib.genAttrs [ "ini" "iniWithGlobalSection" "json" "keyValue" "toml" "yaml" ] (
        _format: _arguments: {
          type = lib.types.attrs;
          lib.types.atom = lib.types.raw;
          generate = name: value: written name (builtins.toJSON value);
        }
      );
    };
in
{
  inherit package pkgs;
}
