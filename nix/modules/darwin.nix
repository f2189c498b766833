# For nix-darwin with home-manager as a part of it: a switch is `darwin-rebuild switch`, which root runs by sudo.
#
# The agent is a job of home-manager's here too, and each user's options are those of home-manager.nix, which every user of
# the system gets. What only the system can do is here: the rule for sudo, and seeing that all is there that a switch needs.
{
  config,
  lib,
  options,
  ...
}:

let
  settings = import ./settings.nix { inherit lib; };
  sudo = import ./sudo.nix { inherit lib; };

  hasHomeManager = options ? home-manager;
  homes = lib.optionals hasHomeManager (builtins.attrValues config.home-manager.users);
  agents = builtins.filter (home: home.services.nixfleet-agent.enable) homes;

  # A command of one's own brings its own sudo, and its own rule.
  switches = lib.concatMap (
    home:
    let
      content = settings.contentOfHome {
        config = home;
        isDarwin = true;
      };
    in
    lib.optional (content.switch_kind == "darwin-rebuild") {
      user = home.home.username;
      line = sudo.switchLineOf {
        inherit content;
        program = content.darwin_rebuild;
        stateDir = content.state_dir or "${home.home.homeDirectory}/.local/state/nixfleet";
      };
    }
  ) agents;

  # In sudoers a name in capitals may be an alias, and some characters have a meaning.
  isName =
    user:
    builtins.match "[a-zA-Z_][a-zA-Z0-9_.-]*" user != null
    && builtins.match "[A-Z][A-Z0-9_]*" user == null;

  ruleFor = { user, line }: "${user} ALL=(root) NOPASSWD: ${sudo.command line}";
in
{
  config = lib.mkMerge [
    {
      assertions = [
        {
          assertion = hasHomeManager;
          message = "The module of nixfleet-agent is imported, and home-manager is no part of this nix-darwin system, so there is nobody to give the agent to. Import home-manager.darwinModules.home-manager too and set home-manager.users.NAME.services.nixfleet-agent; or take the module out, and import the one for home-manager where your home-manager is.";
        }
        {
          assertion = switches == [ ] || options.system ? primaryUser;
          message = "services.nixfleet-agent: this nix-darwin is older than 25.05: its darwin-rebuild does a part of its work as whoever calls it, and a switch from the dashboard is called by root. Take a later nix-darwin.";
        }
        {
          assertion = switches == [ ] || config.system.tools.darwin-rebuild.enable or true;
          message = "services.nixfleet-agent: a switch is darwin-rebuild, and this system has none. Set system.tools.darwin-rebuild.enable, or settings.switch_kind to \"command\" and settings.switch_command to what a switch is.";
        }
      ]
      ++ lib.concatMap (
        { user, line }:
        [
          {
            assertion = isName user;
            message = "services.nixfleet-agent of ${user}: a sudo rule can not say this name. Give the agent to a user whose name has letters, digits and _ . - only, and not only capitals.";
          }
        ]
        ++ sudo.assertionsOf "home-manager.users.${user}.services.nixfleet-agent" [ line ]
      ) switches;
    }

    (lib.optionalAttrs hasHomeManager {
      home-manager.sharedModules = [ ./home-manager.nix ];

      security.sudo = lib.mkIf (switches != [ ]) {
        extraConfig = ''
          # What the dashboard asks for, and nothing else.
          ${lib.concatMapStringsSep "\n" ruleFor switches}
        '';
      };
    })
  ];
}
