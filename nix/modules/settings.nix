# From the options to the agent's config file, and what is wrong with them. Pure, so that every module makes the same of
# the same options.
{ lib }:

let
  inherit (lib) types;

  name = "services.nixfleet-agent";

  # What the config file may hold, with protocol/src/config_file.rs. A key that is not here would keep the agent from
  # starting, on the host; so it is refused before it gets there.
  keys =
    let
      path = types.strMatching "/.*";
      words = types.listOf types.str;
    in
    {
      agent_label = types.str;
      agent_plist = path;
      allow_insecure_http = types.bool;
      branch = types.str;
      ca_file = path;
      caffeinate = types.str;
      criticality = types.enum [
        "low"
        "medium"
        "high"
      ];
      current_generation = path;
      darwin_rebuild = types.str;
      device_type = types.str;
      environment = types.attrsOf types.str;
      flake = types.str;
      flake_attribute = types.str;
      home_manager = types.str;
      hostname = types.str;
      interval = types.ints.between 1 3600;
      launchctl = types.str;
      location = types.str;
      log_format = types.enum [
        "auto"
        "plain"
        "json"
      ];
      log_level = types.str;
      metrics = types.bool;
      nixos_rebuild = types.str;
      pinned_public_key = types.either types.str words;
      profile = path;
      repo_dir = path;
      repo_url = types.str;
      service_manager = types.enum [
        "launchd"
        "systemd"
        "systemd-system"
        "none"
      ];
      ssh_key_file = path;
      state_dir = path;
      sudo = types.str;
      switch = path;
      switch_arguments = words;
      switch_command = words;
      switch_kind = types.enum [
        "home-manager"
        "nixos-rebuild"
        "darwin-rebuild"
        "command"
      ];
      switch_timeout = types.str;
      systemctl = types.str;
      systemd_run = types.str;
      theme_color = types.str;
      token_command = words;
      token_file = path;
      url = types.str;
      watchdog_label = types.str;
    };

  isSaid =
    value:
    !(builtins.elem value [
      null
      ""
      [ ]
    ]);

  # A switch to a checkout, whoever keeps it, takes the host's name for the attribute, as NixFleet's agents always did.
  switchOf =
    cfg:
    let
      hasCheckout = cfg.repoUrl != "" || cfg.configRepo != "";
      flake = if cfg.switch.flake == null then cfg.configRepo else cfg.switch.flake;
      attribute =
        if cfg.switch.attribute == null && cfg.switch.flake == null && hasCheckout then
          cfg.hostname
        else
          cfg.switch.attribute;
    in
    # A command of one's own is whole.
    if (cfg.settings.switch_kind or "") == "command" then
      { }
    else
      {
        inherit flake;
        flake_attribute = attribute;
        switch_arguments = cfg.switch.arguments;
      };

  # The file's content: what the options say, and over it what `settings` says.
  contentOf =
    cfg: defaults:
    let
      options = {
        inherit (cfg) hostname interval location;
        url = cfg.url;
        token_file = cfg.tokenFile;
        token_command = cfg.tokenCommand;
        ca_file = cfg.caFile;
        pinned_public_key = cfg.pinnedPublicKey;
        device_type = cfg.deviceType;
        theme_color = cfg.themeColor;
        log_level = cfg.logLevel;
        # What is so without being said is not said.
        log_format = if cfg.logFormat == "auto" then null else cfg.logFormat;
        metrics = if cfg.metrics then null else false;
        repo_url = cfg.repoUrl;
        repo_dir = cfg.configRepo;
        switch_timeout = cfg.switch.timeout;
        # Of no use without the repository, and refused by the agent.
        branch = if cfg.repoUrl == "" then null else cfg.branch;
        ssh_key_file = if cfg.repoUrl == "" then null else cfg.sshKeyFile;
      }
      // switchOf cfg;
    in
    lib.filterAttrs (_key: isSaid) (lib.recursiveUpdate (defaults // options) cfg.settings);

  # The content for a user of home-manager, from the whole of that user's configuration.
  contentOfHome =
    { config, isDarwin }:
    let
      cfg = config.services.nixfleet-agent;
      # home-manager is a part of the system's configuration, and `home-manager switch` would not know of it. On macOS that
      # can only be nix-darwin's.
      isPart = isDarwin && config.submoduleSupport.enable;
      kind = cfg.settings.switch_kind or (if isPart then "darwin-rebuild" else "home-manager");
    in
    contentOf cfg (
      lib.optionalAttrs (config.xdg.stateHome != "${config.home.homeDirectory}/.local/state") {
        state_dir = "${config.xdg.stateHome}/nixfleet";
      }
      // lib.optionalAttrs isPart { switch_kind = kind; }
      # By their whole paths: the first is what the sudo rule names, and no file that comes first in somebody's PATH.
      // lib.optionalAttrs (kind == "darwin-rebuild") {
        darwin_rebuild = "/run/current-system/sw/bin/darwin-rebuild";
        sudo = "/usr/bin/sudo";
      }
    );

  isWebSocket = url: builtins.match "wss?://.*" url != null;

  # The dashboard's address, where a v2 agent had the one of its WebSocket.
  withoutWebSocket =
    url: lib.removeSuffix "/ws" (lib.replaceStrings [ "wss://" "ws://" ] [ "https://" "http://" ] url);

  isInStore = path: lib.hasPrefix "${builtins.storeDir}/" (toString path);

  holdsPassword = url: builtins.match "[a-z+]+://[^/@]*:[^/@]*@.*" url != null;

  assertionsOf =
    cfg: content:
    let
      settings = cfg.settings;
      unknown = builtins.filter (key: !(keys ? ${key})) (builtins.attrNames settings);
      known = builtins.intersectAttrs keys settings;
      mistyped = builtins.attrNames (lib.filterAttrs (key: value: !(keys.${key}.check value)) known);
      url = content.url or "";
      secret = key: option: {
        assertion = !(content ? ${key} && isInStore content.${key});
        message = "${name}.${option} is ${content.${key} or ""}, a file in the Nix store, where everybody can read it. Put it elsewhere, readable by you alone (chmod 600), and give that path as a string, such as \"/home/me/.config/nixfleet/token\".";
      };
    in
    [
      {
        assertion = url != "";
        message = "${name}.url is not set. Set it to the address of your dashboard, such as \"https://fleet.example.org\".";
      }
      {
        assertion = !(isWebSocket url);
        message = "${name}.url is ${url}, the address that agents of NixFleet v2 open a WebSocket to. This agent speaks plain HTTP, with NixFleet v1 dashboards and with nixfleet-dashboard. Run one of those and set url to its address; at the same place it is \"${withoutWebSocket url}\".";
      }
      {
        assertion = !(lib.hasPrefix "http://" url) || (content.allow_insecure_http or false) == true;
        message = "${name}.url is ${url}: the token would be sent unencrypted. Use https://, or set ${name}.settings.allow_insecure_http = true if you accept that.";
      }
      {
        assertion = content ? token_file || content ? token_command;
        message = "${name}.tokenFile is not set. Write the dashboard's token to a file that only you can read (chmod 600) and give its path, as a string. Or name a command that prints it with tokenCommand.";
      }
      {
        assertion = !(content ? token_file && content ? token_command);
        message = "${name}: tokenFile and tokenCommand are both set, and the agent takes the token from one of them only. Remove the other.";
      }
      (secret "token_file" "tokenFile")
      (secret "ssh_key_file" "sshKeyFile")
      {
        assertion = !(cfg.configRepo != "" && cfg.repoUrl != "");
        message = "${name}: configRepo and repoUrl are both set, and the agent can switch to one of them only. Keep repoUrl.";
      }
      {
        assertion = !(holdsPassword (content.repo_url or ""));
        message = "${name}.repoUrl has a password in it, and would get into the Nix store, where everybody can read it. Use an address for ssh and sshKeyFile, or git's own credential helper.";
      }
      {
        assertion = !(content ? flake_attribute) || content ? flake || content ? repo_url;
        message = "${name}.switch.attribute is set, and there is no flake that it could be in. Set switch.flake or repoUrl.";
      }
      {
        assertion =
          !(content ? flake || content ? repo_url)
          || !(builtins.elem "--flake" (content.switch_arguments or [ ]));
        message = "${name}.switch.arguments has --flake in it, and there is a flake already: of switch.flake, repoUrl or configRepo. Take it out of switch.arguments, and say with switch.flake and switch.attribute which one it is.";
      }
      {
        assertion = unknown == [ ];
        message = "${name}.settings has what no agent knows: ${lib.concatStringsSep ", " unknown}. The agent would not start with it. The keys are ${lib.concatStringsSep ", " (builtins.attrNames keys)}.";
      }
      {
        assertion = mistyped == [ ];
        message = "${name}.settings: ${
          lib.concatMapStringsSep "; " (key: "${key} is not of type `${keys.${key}.description}`") mistyped
        }. The agent would not start with it.";
      }
    ];

  warningsOf =
    cfg:
    lib.optional (cfg.configRepo != "") ''
      ${name}.configRepo is deprecated: a switch takes what lies in ${cfg.configRepo} at that moment, finished or not.
      Set repoUrl instead: then a switch takes a clone of NixFleet's own, STATE_DIR/repo, which nobody works on.
    ''
    ++ lib.optional (cfg.sshKeyFile != null && cfg.repoUrl == "") ''
      ${name}.sshKeyFile is for repoUrl, which is not set; it is not used.
    ''
    ++ lib.optional (cfg.version != null) ''
      ${name}.version has no effect any more: the agent knows its own. Remove it.
    ''
    ++ lib.optional (cfg.nixpkgsVersion != null) ''
      ${name}.nixpkgsVersion has no effect any more. Remove it.
    '';
in
{
  inherit
    assertionsOf
    contentOf
    contentOfHome
    keys
    warningsOf
    ;
}
