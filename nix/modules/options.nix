# The options of services.nixfleet-agent that mean the same whatever runs the agent. Each module imports this and adds its
# own; what the options come to is in settings.nix.
#
# Names and types are those of the modules that NixFleet had before, wherever they mean the same.
{ lib, pkgs, ... }:

let
  inherit (lib) literalExpression mkOption types;

  inherit (import ../. { inherit pkgs; }) packages;

  # Nobody needs it any more, and a configuration that sets it is still good.
  forgotten = mkOption {
    type = types.nullOr types.str;
    default = null;
    visible = false;
    description = "Without effect: the agent finds this out itself.";
  };
in
{
  options.services.nixfleet-agent = {
    enable = lib.mkEnableOption "the NixFleet agent and its switch wrapper";

    package = mkOption {
      type = types.package;
      default = packages.nixfleet-agent;
      defaultText = literalExpression "nixfleet-agent, of the flake or of its sources";
      description = "The package with `bin/nixfleet-agent`.";
    };

    url = mkOption {
      type = types.str;
      default = "";
      example = "https://fleet.example.org";
      description = ''
        The dashboard: a NixFleet v1 dashboard or `nixfleet-dashboard`. An address that begins with `http://` is
        taken only with `settings.allow_insecure_http = true`.
      '';
    };

    tokenFile = mkOption {
      type = types.nullOr types.path;
      default = null;
      apply = path: if path == null then null else toString path;
      example = "/Users/me/.config/nixfleet/token";
      description = ''
        The file with the dashboard's token: an absolute path outside the Nix store, which everybody can read. Only
        the user who runs the agent may be able to read it (`chmod 600`). The line may begin with `NIXFLEET_TOKEN=`.
      '';
    };

    tokenCommand = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [
        "/usr/bin/security"
        "find-generic-password"
        "-s"
        "nixfleet"
        "-w"
      ];
      description = ''
        In the place of `tokenFile`, a command that prints the token, as a list of words: no shell runs it. It has 30
        seconds, and is run again when the dashboard does not take the token, at most once a minute. No secret may be in
        it: this ends up in the Nix store.
      '';
    };

    caFile = mkOption {
      type = types.nullOr types.path;
      default = null;
      apply = path: if path == null then null else toString path;
      example = "/etc/ssl/fleet.pem";
      description = "Certificates (PEM) of authorities that the agent trusts beside Mozilla's.";
    };

    pinnedPublicKey = mkOption {
      type = types.listOf types.str;
      default = [ ];
      example = [ "sha256//47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=" ];
      description = ''
        The dashboard's public key, as curl's `--pinnedpubkey` takes it; of several, any one will do. Its name and
        certificate are verified all the same. Name the next key before you change over to it.
      '';
    };

    hostname = mkOption {
      type = types.strMatching "([a-zA-Z][a-zA-Z0-9-]{0,62})?";
      default = "";
      example = "imac0";
      description = ''
        The host's name at the dashboard. Empty: the system's own, up to the first dot, which on macOS may change
        with the network.
      '';
    };

    interval = mkOption {
      type = types.ints.between 1 3600;
      default = 30;
      example = 60;
      description = "Seconds between two heartbeats.";
    };

    repoUrl = mkOption {
      type = types.str;
      default = "";
      example = "git@github.com:me/nixcfg.git";
      description = ''
        The git repository with the configuration. The flake to switch to is then NixFleet's own clone of it,
        `STATE_DIR/repo`, unless `switch.flake` names another. The first switch makes it, `pull` brings it up to date.
        Without a password: this ends up in the Nix store.
      '';
    };

    branch = mkOption {
      type = types.str;
      default = "main";
      example = "production";
      description = "The branch of `repoUrl`.";
    };

    sshKeyFile = mkOption {
      type = types.nullOr types.path;
      default = null;
      apply = path: if path == null then null else toString path;
      example = "/Users/me/.ssh/nixfleet-deploy-key";
      description = "The private key for `repoUrl`: an absolute path outside the Nix store.";
    };

    configRepo = mkOption {
      type = types.str;
      default = "";
      example = "/Users/me/nixcfg";
      description = ''
        A checkout that is yours and that is switched to as it is. `repoUrl` is better: nobody works on that checkout.
      '';
    };

    location = mkOption {
      type = types.enum [
        "home"
        "work"
        "cloud"
        "office"
        "mobile"
        "other"
      ];
      default = "home";
      example = "work";
      description = "Where the host is, as the dashboard shows it.";
    };

    deviceType = mkOption {
      type = types.enum [
        "server"
        "desktop"
        "laptop"
        "gaming"
      ];
      default = "desktop";
      example = "laptop";
      description = "What the host is, as the dashboard shows it.";
    };

    themeColor = mkOption {
      type = types.strMatching "(#[0-9a-fA-F]{6})?";
      default = "";
      example = "#f7768e";
      description = "The host's colour in the dashboard. Empty: the dashboard's own.";
    };

    logLevel = mkOption {
      type = types.enum [
        "trace"
        "debug"
        "info"
        "warn"
        "error"
      ];
      default = "info";
      example = "debug";
      description = "How much the agent logs.";
    };

    logFormat = mkOption {
      type = types.enum [
        "auto"
        "plain"
        "json"
      ];
      default = "auto";
      example = "json";
      description = ''
        How a line of the log looks: `auto` is text as it is best read where it goes to, `plain` text with the time, `json`
        an object for a program.
      '';
    };

    metrics = mkOption {
      type = types.bool;
      default = true;
      example = false;
      description = "Whether the dashboard is told how busy CPUs and memory of the host are.";
    };

    settings = mkOption {
      inherit (pkgs.formats.toml { }) type;
      default = { };
      example = literalExpression ''
        {
          criticality = "high";
          environment.NIX_CONFIG = "max-jobs = 2";
        }
      '';
      description = ''
        More of the config file `nixfleet/config.toml`, and more than the options beside this: what is here wins. All
        keys are described in `protocol/src/config_file.rs`.
      '';
    };

    switch = {
      package = mkOption {
        type = types.package;
        default = packages.nixfleet-switch;
        defaultText = literalExpression "nixfleet-switch, of the flake or of its sources";
        description = "The package with `bin/nixfleet-switch` and `bin/nixfleet-watchdog`.";
      };

      flake = mkOption {
        type = types.nullOr types.str;
        default = null;
        example = "github:me/nixcfg";
        description = ''
          The flake to switch to, an absolute path or a flake reference, without what follows `#`. Default: the
          checkout of `repoUrl`, else what the switch finds by itself.
        '';
      };

      attribute = mkOption {
        type = types.nullOr types.str;
        default = null;
        example = "me@laptop";
        description = ''
          What follows `#` in the flake's name. Default: nothing with `switch.flake`, and with `repoUrl` or
          `configRepo` the `hostname`, where it is set.
        '';
      };

      arguments = mkOption {
        type = types.listOf types.str;
        default = [ ];
        example = [
          "-b"
          "backup"
        ];
        description = "What else the command of a switch gets when the dashboard asks for one.";
      };

      timeout = mkOption {
        type = types.nullOr types.str;
        default = null;
        example = "90min";
        description = "After what time a switch is ended, such as `45min` or `2h`. Default: one hour.";
      };
    };

    version = forgotten;
    nixpkgsVersion = forgotten;
  };
}
