# What the real home-manager makes of the module, with nixpkgs' own lib: the texts that it would write, and the order of its
# activation. Packages are names only, and what would be written is kept in the name.
{
  # Checkouts of home-manager and of nixpkgs, or of nixpkgs' lib.
  homeManager,
  nixpkgs,
  system,
  home,
  # Of services.nixfleet-agent.
  definitions,
  version ? "1",
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

  inherit
    (lib.evalModules {
      class = "homeManager";
      specialArgs.modulesPath = toString (homeManager + "/modules");
      modules =
        import (homeManager + "/modules/modules.nix") {
          inherit lib pkgs;
          check = false;
          useNixpkgsModule = false;
        }
        ++ [
          ../../nix/modules/home-manager.nix
          {
            home = {
              username = "me";
              homeDirectory = home;
              stateVersion = "24.11";
              enableNixpkgsReleaseCheck = false;
            };
            services.nixfleet-agent = {
              package = package "nixfleet-agent-${version}";
              switch.package = package "nixfleet-switch-${version}";
            };
          }
          { services.nixfleet-agent = definitions; }
        ];
    })
    config
    ;

  between =
    start: end: text:
    let
      after = lib.last (lib.splitString start text);
    in
    if lib.hasInfix start text then start + builtins.head (lib.splitString end after) + end else null;

  ofOurs = builtins.filter (lib.hasPrefix "services.nixfleet-agent");
  sourceOf = name: config.xdg.configFile.${name}.source;
in
{
  failed = ofOurs (
    map (check: check.message) (builtins.filter (check: !check.assertion) config.assertions)
  );
  warnings = ofOurs config.warnings;
  config =
    if config.services.nixfleet-agent.enable then
      builtins.fromJSON (lib.last (lib.splitString ".toml\n" "${sourceOf "nixfleet/config.toml"}"))
    else
      null;
  plist =
    if pkgs.stdenv.isDarwin then between "<?xml" "</plist>" config.home.extraBuilderCommands else null;
  unit =
    if config.systemd.user.services ? nixfleet-agent && pkgs.stdenv.isLinux then
      lib.removeSuffix "\n/nixfleet-agent.service" (
        between "[Install]" "nixfleet-agent.service" "${sourceOf "systemd/user/nixfleet-agent.service"}"
      )
    else
      null;
  link = "${config.home.file.".local/state/nixfleet/bin/nixfleet-agent".source or ""}";
  order = map (step: step.name) (lib.hm.dag.topoSort config.home.activation).result;
  activation = config.home.activation.nixfleetAgent.data;
}
