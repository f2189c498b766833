{
  description = "NixFleet: an agent that home-manager switch cannot lose, its switch wrapper and its dashboard";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixpkgs-unstable";

  outputs =
    { self, nixpkgs }:
    let
      forEachSystem = nixpkgs.lib.genAttrs [
        "aarch64-darwin"
        "aarch64-linux"
        "x86_64-darwin"
        "x86_64-linux"
      ];
      project = forEachSystem (system: import ./nix { pkgs = nixpkgs.legacyPackages.${system}; });
      each = select: forEachSystem (system: select project.${system});

      # With the packages of this flake: a release that home-manager still supports may have a Rust that is too old.
      withPackages =
        module:
        { lib, pkgs, ... }:
        let
          packages = self.packages.${pkgs.stdenv.hostPlatform.system};
        in
        {
          # Imported twice it counts once, like a file: nix-darwin's users get it, and may have it in their home.nix.
          key = "${toString module} with packages";
          imports = [ module ];
          services.nixfleet-agent = {
            package = lib.mkDefault packages.nixfleet-agent;
            switch.package = lib.mkDefault packages.nixfleet-switch;
          };
        };
      homeManagerModule = withPackages ./nix/modules/home-manager.nix;
      nixosModule = withPackages ./nix/modules/nixos.nix;
      darwinModule =
        { lib, options, ... }:
        {
          imports = [ ./nix/modules/darwin.nix ];
          config = lib.optionalAttrs (options ? home-manager) {
            home-manager.sharedModules = [ homeManagerModule ];
          };
        };
    in
    {
      packages = each (project: project.packages // { default = project.packages.nixfleet-agent; });
      overlays.default = final: _previous: (import ./nix { pkgs = final; }).packages;
      homeManagerModules.nixfleet-agent = homeManagerModule;
      homeManagerModules.default = homeManagerModule;
      nixosModules.nixfleet-agent = nixosModule;
      nixosModules.default = nixosModule;
      darwinModules.nixfleet-agent = darwinModule;
      darwinModules.default = darwinModule;
      devShells = each (project: {
        default = project.devShell;
      });
      formatter = each (project: project.formatter);
      checks = each (project: project.checks);
    };
}
