# What the home-manager module makes of a user's definitions, on a system. The arguments are those of home.nix.
arguments:

let
  inherit (import ./home.nix arguments) defined;
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
