# What the nix-darwin module makes of a system and its users.
{
  system,
  # By name: what home.nix takes, as far as it is not the same for all.
  users,
  # Whether home-manager is a part of the system, whether the system is of a release that darwin-rebuild is run by root in,
  # and whether it has a darwin-rebuild.
  hasHomeManager ? true,
  isLate ? true,
  hasRebuild ? true,
}:

let
  lib = import ./lib.nix;
  homes = builtins.mapAttrs (
    user: definitions:
    import ./home.nix (
      {
        inherit system user;
        home = "/Users/${user}";
        isSubmodule = true;
      }
      // definitions
    )
  ) users;
  inherit
    (lib.evalModule {
      module = ../../nix/modules/darwin.nix;
      arguments.options = lib.optionalAttrs hasHomeManager { home-manager = { }; } // {
        system = lib.optionalAttrs isLate { primaryUser = { }; };
      };
      definitions = { };
      others = {
        home-manager.users = builtins.mapAttrs (_user: home: home.config) homes;
        system.tools.darwin-rebuild.enable = hasRebuild;
      };
    })
    defined
    ;
in
{
  failed = map (check: check.message) (builtins.filter (check: !check.assertion) defined.assertions);
  modules = map toString ((defined.home-manager or { }).sharedModules or [ ]);
  sudoers = ((defined.security or { }).sudo or { }).extraConfig or null;
  configs = builtins.mapAttrs (
    _user: home: home.defined.xdg.configFile."nixfleet/config.toml".source.value or null
  ) homes;
  warnings = builtins.mapAttrs (_user: home: home.defined.warnings or [ ]) homes;
}
