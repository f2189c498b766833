# What the project's Nix code uses of nixpkgs' lib, written anew and no more than that: so the modules are evaluated where
# there is no nixpkgs. What is not like the real one is left out, and not made up: a module that uses more does not
# evaluate. `real-home-manager` has the real one.
let
  inherit (builtins)
    attrNames
    concatStringsSep
    elem
    filter
    isAttrs
    isFunction
    isList
    isString
    listToAttrs
    map
    match
    replaceStrings
    stringLength
    substring
    ;
in
rec {
  inherit concatStringsSep replaceStrings;

  # Lists, sets and strings.
  optional = condition: value: if condition then [ value ] else [ ];
  optionals = condition: values: if condition then values else [ ];
  optionalAttrs = condition: set: if condition then set else { };
  optionalString = condition: text: if condition then text else "";
  nameValuePair = name: value: { inherit name value; };
  mapAttrsToList = f: set: map (name: f name set.${name}) (attrNames set);
  filterAttrs =
    keep: set:
    listToAttrs (
      map (name: nameValuePair name set.${name}) (filter (name: keep name set.${name}) (attrNames set))
    );
  recursiveUpdate =
    left: right:
    left
    // builtins.mapAttrs (
      name: value:
      if isAttrs value && isAttrs (left.${name} or null) then
        recursiveUpdate left.${name} value
      else
        value
    ) right;
  concatMap = f: list: builtins.concatLists (map f list);
  concatMapStringsSep =
    separator: f: list:
    concatStringsSep separator (map f list);
  hasPrefix = prefix: text: substring 0 (stringLength prefix) text == prefix;
  hasSuffix =
    suffix: text:
    let
      start = stringLength text - stringLength suffix;
    in
    start >= 0 && substring start (-1) text == suffix;
  removePrefix =
    prefix: text: if hasPrefix prefix text then substring (stringLength prefix) (-1) text else text;
  removeSuffix =
    suffix: text:
    if hasSuffix suffix text then substring 0 (stringLength text - stringLength suffix) text else text;
  splitString = separator: text: filter isString (builtins.split "\\${separator}" text);
  escapeShellArg = text: "'${replaceStrings [ "'" ] [ "'\\''" ] (toString text)}'";
  versionOlder = left: right: builtins.compareVersions left right < 0;
  throwIf =
    condition: message: value:
    if condition then throw message else value;
  licenses = {
    asl20 = "Apache-2.0";
    mit = "MIT";
  };
  platforms = {
    linux = [
      "aarch64-linux"
      "x86_64-linux"
    ];
    darwin = [
      "aarch64-darwin"
      "x86_64-darwin"
    ];
  };
  # The tree is not copied: that needs a store.
  cleanSourceWith = arguments: arguments;

  # Options and their types: what a value must be like, and no merging. No option is set twice here.
  mkOption = arguments: arguments // { _type = "option"; };
  mkEnableOption =
    what:
    mkOption {
      type = types.bool;
      default = false;
      description = "Whether to enable ${what}.";
    };
  literalExpression = text: text;
  types = rec {
    bool = type "boolean" builtins.isBool;
    str = type "string" isString;
    path = type "absolute path" (value: match "/.*" (toString value) != null);
    package = type "package" (value: isAttrs value && value ? outPath);
    enum = values: type "one of ${builtins.toJSON values}" (value: elem value values);
    strMatching =
      pattern:
      type "string matching the pattern ${pattern}" (
        value: isString value && match pattern value != null
      );
    ints.between =
      least: most:
      type "integer between ${toString least} and ${toString most}" (
        value: builtins.isInt value && least <= value && value <= most
      );
    nullOr = inner: type "null or ${inner.description}" (value: value == null || inner.check value);
    either =
      left: right:
      type "${left.description} or ${right.description}" (value: left.check value || right.check value);
    listOf =
      inner: type "list of ${inner.description}" (value: isList value && builtins.all inner.check value);
    attrsOf =
      inner:
      type "attribute set of ${inner.description}" (
        value: isAttrs value && builtins.all inner.check (builtins.attrValues value)
      );
    type = description: check: { inherit check description; };
  };

  # Of definitions there is one only, so none has to win.
  mkForce = content: content;

  # Conditions in definitions.
  mkIf = condition: content: {
    _type = "if";
    inherit condition content;
  };
  mkMerge = contents: {
    _type = "merge";
    inherit contents;
  };

  hm.dag.entryBetween = before: after: data: { inherit after before data; };

  # A module system in small: one level of imports after another, each option set by one definition, and what modules
  # define for others merged.
  evalModule =
    {
      module,
      arguments,
      definitions,
      others,
    }:
    let
      load =
        module:
        (if isFunction module then module else import module) (arguments // { inherit config lib; });
      lib = import ./lib.nix;
      collect =
        module:
        let
          loaded = load module;
        in
        builtins.concatLists (map collect (loaded.imports or [ ])) ++ [ loaded ];
      modules = collect module;
      declared = merge (map (module: module.options or { }) modules);
      config = recursiveUpdate others (values [ ] declared definitions);
    in
    {
      inherit config;
      defined = merge (map (module: discharge (module.config or { })) modules);
    };

  # The values of a tree of options: as they are defined, else by default, checked.
  values =
    place: declared: defined:
    let
      unknown = filter (name: !(declared ? ${name})) (attrNames defined);
      at = name: concatStringsSep "." (place ++ [ name ]);
      value =
        name: option:
        let
          found =
            if defined ? ${name} then
              defined.${name}
            else
              option.default or (throw "the option `${at name}' has no value");
          good =
            if option.type.check found then
              found
            else
              throw "the value of option `${at name}' is not of type `${option.type.description}'";
        in
        (option.apply or (value: value)) good;
    in
    if unknown != [ ] then
      throw "the option `${at (builtins.head unknown)}' does not exist"
    else
      builtins.mapAttrs (
        name: option:
        if (option._type or "") == "option" then
          value name option
        else
          values (place ++ [ name ]) option (defined.${name} or { })
      ) declared;

  # A definition without conditions: what does not hold is not there.
  discharge =
    definition:
    if !(isAttrs definition) || definition ? outPath then
      definition
    else if (definition._type or "") == "merge" then
      merge (map discharge definition.contents)
    else if (definition._type or "") == "if" then
      if definition.condition then discharge definition.content else { }
    else
      builtins.mapAttrs (_name: discharge) definition;

  merge = builtins.foldl' (
    left: right:
    left
    // builtins.mapAttrs (
      name: value:
      let
        other = left.${name};
      in
      if !(left ? ${name}) then
        value
      else if isList value && isList other then
        other ++ value
      else if isAttrs value && isAttrs other then
        merge [
          other
          value
        ]
      else
        throw "`${name}' is defined twice"
    ) right
  ) { };
}
