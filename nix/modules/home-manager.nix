# The agent as a job of a home-manager user: a launchd agent on macOS, a systemd user service on Linux.
#
# The definition of the job is the same from one version to the next, and whatever is set: it names a link that leads to
# the agent, and all settings are in a file that the agent reads. So home-manager has no reason to take the job out, and
# the agent itself sees that it is no longer what is installed and hands over.
{
  config,
  lib,
  options,
  pkgs,
  ...
}:

let
  cfg = config.services.nixfleet-agent;
  settings = import ./settings.nix { inherit lib; };
  inherit (pkgs.stdenv.hostPlatform) isDarwin;

  label = "com.nixfleet.agent";
  home = config.home.homeDirectory;
  # protocol/src/installed.rs knows the folder too.
  stableFolder = ".local/state/nixfleet/bin";
  stableAgent = "${home}/${stableFolder}/nixfleet-agent";
  stableWrapper = "${home}/${stableFolder}/nixfleet-switch";

  # Where the user has moved the XDG folders, a job does not know it, for it does not get the session's variables.
  movedConfig = config.xdg.configHome != "${home}/.config";
  movedState = config.xdg.stateHome != "${home}/.local/state";
  moved =
    lib.optionalAttrs movedConfig { XDG_CONFIG_HOME = config.xdg.configHome; }
    // lib.optionalAttrs movedState { XDG_STATE_HOME = config.xdg.stateHome; };

  content = settings.contentOfHome { inherit config isDarwin; };
  configFile = (pkgs.formats.toml { }).generate "nixfleet-config.toml" content;

  arguments = [
    "run"
  ]
  ++ lib.optionals movedConfig [
    "--config"
    "${config.xdg.configHome}/nixfleet/config.toml"
  ];

  # Since which release agents can be put into the user domain.
  hasDomains = (options.launchd.agents.type.getSubOptions [ ]) ? domain;

  launchdJob = {
    Label = label;
    ProgramArguments = [ stableAgent ] ++ arguments;
    RunAtLoad = true;
    KeepAlive = true;
    # launchd ends nobody sooner than it has to, and whoever loads the job anew waits for that. The agent may be ended at
    # any moment.
    ExitTimeOut = 5;
    # A switch that the agent starts is as fast as one at the terminal. `Background` would slow it down.
    ProcessType = "Standard";
    # launchd does not start a job whose log it cannot open. This folder is in every home, and the home is the user's; in
    # /tmp, the file may be another user's. There is one for errors only, for the agent writes nothing else; it
    # keeps that within its size, which launchd does not.
    StandardErrorPath = "${home}/Library/Logs/nixfleet-agent.log";
  }
  // lib.optionalAttrs (cfg.domain == "user") { LimitLoadToSessionType = "Background"; }
  // lib.optionalAttrs movedState { EnvironmentVariables.XDG_STATE_HOME = config.xdg.stateHome; };

  # systemd.syntax(7): `%` begins a specifier, `$` a variable.
  unitWord = word: "\"${lib.replaceStrings [ "\\" "\"" "%" "$" ] [ "\\\\" "\\\"" "%%" "$$" ] word}\"";

  # What the agent starts has to find nix, git, ssh and systemctl. The user manager's own PATH depends on how the user has
  # logged in.
  searchPath = lib.concatStringsSep ":" [
    "%h/.nix-profile/bin"
    "%h/.local/state/nix/profile/bin"
    "/etc/profiles/per-user/%u/bin"
    "/run/wrappers/bin"
    "/nix/var/nix/profiles/default/bin"
    "/run/current-system/sw/bin"
    "/usr/local/bin"
    "/usr/bin"
    "/bin"
    "/usr/sbin"
    "/sbin"
  ];

  # There is no sandbox on purpose. What a service is denied stays denied to all that it starts, also in a scope of its
  # own: home-manager has to write to the home, to reach the nix daemon, and may call sudo. The limits are those of the
  # control group, which a switch leaves before it begins.
  systemdUnit = {
    Unit = {
      Description = "NixFleet agent";
      StartLimitIntervalSec = 0;
      # sd-switch acts only when this file has changed, so hardly ever. Then a restart is right: the switch that runs is in
      # a scope of its own and is not touched, and with `keep-old` nobody would bring the agent to its new definition.
      X-SwitchMethod = "restart";
    };
    Service = {
      Type = "notify";
      ExecStart = lib.concatMapStringsSep " " unitWord ([ stableAgent ] ++ arguments);
      Environment = [
        "PATH=${searchPath}"
      ]
      ++ lib.optional movedState (unitWord "XDG_STATE_HOME=${config.xdg.stateHome}");
      Restart = "always";
      RestartSec = 2;
      TimeoutStopSec = 5;
      WatchdogSec = 60;
      # A child that runs out of memory does not take the agent along.
      OOMPolicy = "continue";
      MemoryMax = "1G";
      TasksMax = 256;
    };
    Install.WantedBy = [ "default.target" ];
  };

  # The wrapper writes what it finds of its own variables into the definition of the watchdog's job, which has to be the same
  # whoever started the switch: a user, or the agent, which tells its wrapper where it works. All of it is in the config file.
  environment = lib.concatStringsSep "\n" (
    [ "unset XDG_CONFIG_HOME XDG_STATE_HOME \${!NIXFLEET_@}" ]
    ++ lib.mapAttrsToList (variable: value: "export ${variable}=${lib.escapeShellArg value}") moved
    ++ lib.optional (
      !isDarwin
    ) "PATH=${lib.escapeShellArg (dirOf config.systemd.user.systemctlPath)}:$PATH"
  );

  # What may fail or hang is ours, and the activation is not. 180 s are more than the wrapper's own limits.
  step = words: complaint: ''
    (
    ${environment}
    run ${pkgs.coreutils}/bin/timeout --kill-after=10 180 ${words} </dev/null
    ) || echo ${lib.escapeShellArg "nixfleet: ${complaint}"} >&2
  '';

  logFolder = lib.escapeShellArg "${home}/Library/Logs";

  install =
    lib.optionalString isDarwin ''
      [[ -d ${logFolder} ]] || run mkdir -p ${logFolder} || true
    ''
    +
      step
        (
          "${cfg.switch.package}/bin/nixfleet-switch install --in-activation"
          + lib.optionalString (!cfg.watchdog.enable) " --no-watchdog"
        )
        "the switch wrapper is not installed or not up to date, and the activation goes on. To see why: nixfleet-switch doctor";

  # The program that is installed takes itself away, so that who has not enabled this does not build it.
  uninstall = ''
    if [[ -x ${lib.escapeShellArg stableWrapper} ]]; then
      ${step "${lib.escapeShellArg stableWrapper} uninstall --in-activation" "the switch wrapper and its watchdog are still installed, and the activation goes on. To take them away: ${stableWrapper} uninstall"}
    fi
  '';
in
{
  imports = [ ./options.nix ];

  options.services.nixfleet-agent = {
    domain = lib.mkOption {
      type = lib.types.enum [
        "gui"
        "user"
      ];
      default = "gui";
      example = "user";
      description = ''
        On macOS, the launchd domain: `gui` while the user is logged in at the screen, `user` for a Mac where nobody is.
        `user` needs a home-manager that knows `launchd.agents.<name>.domain`.
      '';
    };

    watchdog.enable = lib.mkOption {
      type = lib.types.bool;
      default = true;
      example = false;
      description = ''
        Whether a job of its own brings the agent back when nobody else does: after a plain `home-manager switch`, a
        crash, a power cut.
      '';
    };
  };

  config = lib.mkMerge [
    (lib.mkIf cfg.enable {
      assertions = settings.assertionsOf cfg content ++ [
        {
          # Releases that do not escape XML write it as it is, and some put it into a line for a shell.
          assertion = builtins.match "[^&<>'\"\\$`%]*" home != null;
          message = "home.homeDirectory is ${home}, and services.nixfleet-agent needs a home whose path has none of & < > ' \" \\ $ ` % in it.";
        }
        {
          assertion = !isDarwin || cfg.domain == "gui" || hasDomains;
          message = "services.nixfleet-agent.domain is \"user\", and this home-manager can put a launchd agent into the gui domain only. Take a home-manager that has the option launchd.agents.<name>.domain, or set domain to \"gui\".";
        }
      ];

      warnings =
        settings.warningsOf cfg
        ++
          lib.optional
            (config.submoduleSupport.enable && (content.switch_kind or "home-manager") == "home-manager")
            ''
              services.nixfleet-agent: home-manager is a part of the system's configuration here, and the agent would run
              `home-manager switch`, which does not know of it. ${
                if isDarwin then
                  "Take settings.switch_kind out: it is \"darwin-rebuild\" then."
                else
                  "On NixOS, take the NixOS module of this agent instead, as docs/install.md says; or set settings.switch_kind to \"nixos-rebuild\", switch.flake to the system's flake, and write a rule for sudo."
              }
            '';

      home.packages = [
        cfg.package
        cfg.switch.package
      ];

      home.file."${stableFolder}/nixfleet-agent".source = "${cfg.package}/bin/nixfleet-agent";

      xdg.configFile."nixfleet/config.toml".source = configFile;

      launchd.agents.nixfleet-agent = lib.mkIf isDarwin (
        {
          enable = true;
          config = launchdJob;
        }
        // lib.optionalAttrs hasDomains { inherit (cfg) domain; }
      );

      systemd.user.services.nixfleet-agent = lib.mkIf (!isDarwin) systemdUnit;

      # After the link to the agent and the config are in place, and before anything happens to the agent's job: launchd
      # puts a job aside whose program is not there, and when loading the job fails, home-manager may end here, and the
      # watchdog has to be there by then.
      home.activation.nixfleetAgent =
        lib.hm.dag.entryBetween
          [
            "reloadSystemd"
            "setupLaunchAgents"
          ]
          [ "linkGeneration" ]
          install;
    })

    (lib.mkIf (!cfg.enable) {
      # Before the agent's job goes: the watchdog would miss it.
      home.activation.nixfleetAgent =
        lib.hm.dag.entryBetween
          [
            "linkGeneration"
            "reloadSystemd"
            "setupLaunchAgents"
          ]
          [ "writeBoundary" ]
          uninstall;
    })
  ];
}
