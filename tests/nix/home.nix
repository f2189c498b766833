# A user of home-manager with the module, as the module system in small has it.
{
  system,
  home,
  # Of services.nixfleet-agent; the packages beside it are of this version.
  definitions,
  version ? "1",
  user ? "me",
  # Whether this home-manager knows launchd.agents.<name>.domain.
  hasDomains ? true,
  xdg ? { },
  isSubmodule ? false,
}:

let
  lib = import ./lib.nix;
  pkgs = import ./pkgs.nix { inherit system; };
in
lib.evalModule {
  module = ../../nix/modules/home-manager.nix;
  arguments = {
    inherit pkgs;
    options.launchd.agents.type.getSubOptions =
      _place: if hasDomains then { domain = lib.mkOption { }; } else { };
  };
  definitions.services.nixfleet-agent = {
    package = pkgs.package "nixfleet-agent-${version}";
    switch = {
      package = pkgs.package "nixfleet-switch-${version}";
    }
    // (definitions.switch or { });
  }
  // removeAttrs definitions [ "switch" ];
  others = {
    home.homeDirectory = home;
    home.username = user;
    xdg = {
      configHome = "${home}/.config";
      stateHome = "${home}/.local/state";
    }
    // xdg;
    submoduleSupport.enable = isSubmodule;
    systemd.user.systemctlPath = "/run/current-system/sw/bin/systemctl";
  };
}
