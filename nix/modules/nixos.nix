# The agent as a service of a NixOS system, which runs `nixos-rebuild switch` as root by sudo.
#
# The unit is the same from one version to the next, and whatever is set: it names paths that lead to what is installed,
# and all settings are in a file that the agent reads. A switch does not touch the unit either; the agent itself sees that
# it is no longer what is installed and hands over.
#
# No watchdog is installed: systemd itself starts an agent that has ended and ends one that no longer reacts, and a switch
# does not take the unit out.
{
  config,
  lib,
  pkgs,
  ...
}:

let
  cfg = config.services.nixfleet-agent;
  settings = import ./settings.nix { inherit lib; };
  sudo = import ./sudo.nix { inherit lib; };

  unit = "nixfleet-agent.service";
  isRoot = cfg.user == "root";

  # A switch sets these anew in one go, and what runs keeps its file.
  installed = "/run/current-system/sw/bin";
  # Under systemd's StateDirectory=.
  stateDirectory = "nixfleet";
  # protocol/src/config_file.rs knows the place too: whoever has no config of his own gets this one.
  configPath = "nixfleet/config.toml";

  content = settings.contentOf cfg {
    state_dir = "/var/lib/${stateDirectory}";
    service_manager = "systemd-system";
    switch_kind = "nixos-rebuild";
    switch = "${installed}/nixfleet-switch";
    # By their whole paths: they are what the sudo rules name, and no file that comes first in somebody's PATH.
    nixos_rebuild = "${installed}/nixos-rebuild";
    systemctl = "${installed}/systemctl";
    sudo = "/run/wrappers/bin/sudo";
  };

  switchLine = sudo.switchLineOf {
    inherit content;
    program = content.nixos_rebuild;
    stateDir = content.state_dir;
  };

  # What switch-wrapper/src/ensure/systemd.rs has root do.
  systemctlLines = map (words: [ content.systemctl ] ++ words) [
    [ "daemon-reload" ]
    [
      "reset-failed"
      "--"
      unit
    ]
    [
      "restart"
      "--no-block"
      "--"
      unit
    ]
  ];

  # A command of one's own brings its own sudo, and its own rule.
  switchLines = lib.optional (content.switch_kind == "nixos-rebuild") switchLine;
  lines = switchLines ++ systemctlLines;

  rulesOf =
    command:
    lib.optional (!isRoot) {
      users = [ cfg.user ];
      runAs = "root";
      commands = map (line: {
        command = command line;
        options = [ "NOPASSWD" ];
      }) lines;
    };
in
{
  imports = [ ./options.nix ];

  options.services.nixfleet-agent.user = lib.mkOption {
    # In sudoers a name in capitals may be an alias.
    type = lib.types.strMatching "[a-z_][a-zA-Z0-9_.-]*";
    example = "admin";
    description = ''
      The user who runs the agent, and to whom the journal belongs. Needs to be able to read the token and the flake.
      By a rule for sudo this user may run, as root and without a password, what a switch from the dashboard runs, and
      what restarts the agent's unit; nothing else. Whoever can change the flake decides what root does.
    '';
  };

  config = lib.mkIf cfg.enable {
    # root needs no rule.
    assertions =
      settings.assertionsOf cfg content
      ++ lib.optionals (!isRoot) (sudo.assertionsOf "services.nixfleet-agent" lines)
      ++ [
        {
          assertion = isRoot || config.security.sudo.enable || config.security.sudo-rs.enable;
          message = "services.nixfleet-agent: the switch needs root and the agent is not root, and this system has no sudo. Set security.sudo.enable or security.sudo-rs.enable.";
        }
      ];

    warnings =
      settings.warningsOf cfg
      ++ lib.optional isRoot ''
        services.nixfleet-agent.user is root, and only the switch has to be. Take another user: what that one needs of
        root is allowed by a sudo rule.
      ''
      ++ lib.optional (!(config.users.users ? ${cfg.user})) ''
        services.nixfleet-agent.user is ${cfg.user}, which is not in users.users. The agent does not start before there
        is such a user.
      '';

    environment.systemPackages = [
      cfg.package
      cfg.switch.package
    ];

    environment.etc.${configPath}.source =
      (pkgs.formats.toml { }).generate "nixfleet-config.toml"
        content;

    security.sudo.extraRules = rulesOf sudo.command;
    security.sudo-rs.extraRules = rulesOf sudo.commandRs;

    # There is no sandbox on purpose, and no limit of memory or processes. What this unit is denied is denied to the switch
    # as well, which stays in its control group: NoNewPrivileges=, and what implies it for a unit with User= (all that
    # filters system calls), keeps sudo from working; UMask= and a file system of its own would reach root's part.
    systemd.services.nixfleet-agent = {
      description = "NixFleet agent";
      wantedBy = [ "multi-user.target" ];
      # Without waiting for the network: the agent tries again by itself.
      unitConfig.StartLimitIntervalSec = 0;

      # The agent goes when it is ready, and not in the middle of the switch that it has started.
      restartIfChanged = false;
      stopIfChanged = false;

      # NixOS's own values of these name store paths, and would change with each nixpkgs. The first folder has the sudo that
      # may; the wrapper adds what else there is, behind these.
      environment = {
        PATH = lib.mkForce "/run/wrappers/bin:${installed}";
        LOCALE_ARCHIVE = "/run/current-system/sw/lib/locale/locale-archive";
        TZDIR = "/etc/zoneinfo";
      };

      serviceConfig = {
        Type = "notify";
        ExecStart = "${installed}/nixfleet-agent run --config /etc/${configPath}";
        User = cfg.user;
        StateDirectory = stateDirectory;
        StateDirectoryMode = "0700";
        # What a switch runs outlives the agent that has started it.
        KillMode = "process";
        Restart = "always";
        RestartSec = 2;
        TimeoutStopSec = 5;
        WatchdogSec = 60;
        # A switch that runs out of memory does not take the agent along.
        OOMPolicy = "continue";
      };
    };
  };
}
