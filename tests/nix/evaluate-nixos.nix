# What the NixOS module makes of a definition, on a system.
{
  system,
  # Of services.nixfleet-agent; the packages beside it are of this version.
  definitions,
  version ? "1",
  # Which of security.sudo and security.sudo-rs are enabled.
  sudo ? true,
  sudo-rs ? false,
}:

let
  lib = import ./lib.nix;
  pkgs = import ./pkgs.nix { inherit system; };
  inherit
    (lib.evalModule {
      module = ../../nix/modules/nixos.nix;
      arguments = { inherit pkgs; };
      definitions.services.nixfleet-agent = {
        package = pkgs.package "nixfleet-agent-${version}";
        switch = {
          package = pkgs.package "nixfleet-switch-${version}";
        }
        // (definitions.switch or { });
      }
      // removeAttrs definitions [ "switch" ];
      others = {
        security.sudo.enable = sudo;
        security.sudo-rs.enable = sudo-rs;
        users.users.admin = { };
        users.users.root = { };
      };
    })
    defined
    ;
in
{
  failed = map (check: check.message) (
    builtins.filter (check: !check.assertion) (defined.assertions or [ ])
  );
  warnings = defined.warnings or [ ];
  config = (defined.environment or { }).etc."nixfleet/config.toml".source.value or null;
  packages = map (package: package.name) ((defined.environment or { }).systemPackages or [ ]);
  service = (defined.systemd or { }).services.nixfleet-agent or null;
  sudo = (defined.security or { }).sudo.extraRules or [ ];
  sudoRs = (defined.security or { }).sudo-rs.extraRules or [ ];
}
