# Everything that there is for Nix, without flakes.
{ pkgs }:

let
  # Not by callPackage, which adds to the packages what is none.
  packagesOf =
    pkgs:
    import ./package.nix {
      inherit (pkgs)
        installShellFiles
        lib
        rustPlatform
        rustc
        stdenv
        ;
    };
  packages = packagesOf pkgs;
in
{
  inherit packages;

  overlay = final: _previous: packagesOf final;

  homeManagerModules.nixfleet-agent = ./modules/home-manager.nix;
  homeManagerModules.default = ./modules/home-manager.nix;
  nixosModules.nixfleet-agent = ./modules/nixos.nix;
  nixosModules.default = ./modules/nixos.nix;
  darwinModules.nixfleet-agent = ./modules/darwin.nix;
  darwinModules.default = ./modules/darwin.nix;

  devShell = pkgs.mkShell {
    packages = [
      pkgs.cargo
      pkgs.clippy
      pkgs.deadnix
      pkgs.nixfmt
      pkgs.rustc
      pkgs.rustfmt
    ];
  };

  # Formats a whole tree: `nix fmt` names no files.
  formatter = pkgs.nixfmt-tree;

  checks = packages // {
    nix =
      pkgs.runCommand "nixfleet-nix-style"
        {
          nativeBuildInputs = [
            pkgs.deadnix
            pkgs.nixfmt
          ];
        }
        ''
          find ${./.} -name '*.nix' -exec nixfmt --check {} +
          deadnix --fail ${./.}
          touch $out
        '';
  };
}
