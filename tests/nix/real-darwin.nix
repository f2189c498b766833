# What the real nix-darwin makes of the module, with the real home-manager as a part of it: the rule for sudo, the config
# file and the jobs of a user, and how the system activates them. Packages are names only, as in real.nix.
{
  # Checkouts of nix-darwin, home-manager and nixpkgs, or of nixpkgs' lib.
  nixDarwin,
  homeManager,
  nixpkgs,
  system,
  # Of services.nixfleet-agent, of a user named me.
  definitions,
}:

let
  lib = import (homeManager + "/modules/lib/stdlib-extended.nix") (import (nixpkgs + "/lib"));
  inherit
    (import ./real-pkgs.nix {
      inherit lib nixpkgs system;
    })
    package
    pkgs
    ;

  # The flake's modules, with packages that need no building.
  flake = (import ../../flake.nix).outputs {
    self.packages.${system} = {
      nixfleet-agent = package "nixfleet-agent-1";
      nixfleet-switch = package "nixfleet-switch-1";
    };
    nixpkgs = {
      inherit lib;
    };
  };

  inherit
    (lib.evalModules {
      class = "darwin";
      specialArgs.modulesPath = toString (nixDarwin + "/modules");
      modules = import (nixDarwin + "/modules/module-list.nix") ++ [
        (homeManager + "/nix-darwin")
        flake.darwinModules.default
        {
          _module.args.pkgs = lib.mkForce pkgs;
          system.stateVersion = 5;
          users.users.me = {
            name = "me";
            home = "/Users/me";
          };
          home-manager.useUserPackages = true;
          home-manager.useGlobalPkgs = true;
          home-manager.users.me = {
            # It is in a user's home.nix as well: that is not twice.
            imports = [ flake.homeManagerModules.default ];
            home.stateVersion = "24.11";
            home.enableNixpkgsReleaseCheck = false;
          };
        }
        { home-manager.users.me.services.nixfleet-agent = definitions; }
      ];
    })
    config
    ;
  me = config.home-manager.users.me;
  ofOurs = builtins.filter (lib.hasInfix "nixfleet");
in
{
  failed = ofOurs (
    map (check: check.message) (builtins.filter (check: !check.assertion) config.assertions)
  );
  warnings = ofOurs config.warnings;
  sudoers =
    if config.environment.etc ? "sudoers.d/10-nix-darwin-extra-config" then
      config.environment.etc."sudoers.d/10-nix-darwin-extra-config".text
    else
      null;
  config =
    if me.services.nixfleet-agent.enable then
      builtins.fromJSON (
        lib.last (lib.splitString ".toml\n" "${me.xdg.configFile."nixfleet/config.toml".source}")
      )
    else
      null;
  order = map (step: step.name) (lib.hm.dag.topoSort me.home.activation).result;
  packages = map (package: package.name) [
    me.services.nixfleet-agent.package
    me.services.nixfleet-agent.switch.package
  ];
  jobs = builtins.attrNames me.launchd.agents;
}
