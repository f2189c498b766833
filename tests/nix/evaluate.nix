# What the home-manager module makes of a user's definitions, on a system.
{
  system,
  home,
  # Of services.nixfleet-agent; the packages beside it are of this version.
  definitions,
  version ? "1",
  # Whether this home-manager knows launchd.agents.<name>.domain.
  hasDomains ? true,
  xdg ? { },
  isSubmodule ? false,
}:

let
  lib = import ./lib.nix;
  pkgs = import ./pkgs.nix { inherit system; };
  evaluated = lib.evalModule {
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
      xdg = {
        configHome = "${home}/.config";
        stateHome = "${home}/.local/state";
      }
      // xdg;
      submoduleSupport.enable = isSubmodule;
      systemd.user.systemctlPath = "/run/current-system/sw/bin/systemctl";
    };
  };
  inherit (evaluated) defined;
in
{
  failed = map (check: check.message) (
    builtins.filter (check: !check.assertion) (defined.assertions or [ ])
  );
  warnings = defined.warnings or [ ];
  config = defined.xdg.configFile."nixfleet/config.toml".source.value or null;
  files = builtins.mapAttrs (_name: file: file.source) (defined.home.file or { });
  packages = map (package: package.name) (defined.home.packages or [ ]);
  launchd = (defined.launchd or { }).agents.nixfleet-agent or null;
  systemd = (defined.systemd or { }).user.services.nixfleet-agent or null;
  activation = defined.home.activation.nixfleetAgent;
}
