# What root is to run for a switch, as a rule for sudo has it. Pure.
{ lib }:

let
  # sudoers(5) and sudo-rs's sudoers(5). sudo has wildcards in arguments and sudo-rs has none, and takes no escape that it
  # does not need.
  special = [
    ","
    ":"
    "="
    "#"
  ];
  escape = characters: lib.replaceStrings characters (map (character: "\\${character}") characters);
  commandWith = characters: lib.concatMapStringsSep " " (escape characters);

  # What both kinds of sudo take literally, some of it escaped. sudo joins the words with spaces before it compares, so a
  # word with a space in it would let others pass.
  isLiteral = word: builtins.match "[-a-zA-Z0-9@%_+./:=,#~?&]+" word != null;
in
{
  # What protocol/src/switch_kind.rs makes of the content of a config file, for a switch that the dashboard asks for. The
  # program is what the config names for its kind of switch.
  switchLineOf =
    {
      program,
      content,
      stateDir,
    }:
    let
      flake = content.flake or (if content ? repo_url then "${stateDir}/repo" else null);
    in
    [
      program
      "switch"
    ]
    ++ lib.optionals (flake != null) [
      "--flake"
      (flake + lib.optionalString (content ? flake_attribute) "#${content.flake_attribute}")
    ]
    ++ content.switch_arguments or [ ];

  # A line, which is a list of words, as a command in sudoers.
  command = commandWith (special ++ [ "?" ]);
  commandRs = commandWith special;

  # What is wrong with these lines, for the name of the options in messages.
  assertionsOf =
    name: lines:
    let
      notLiteral = builtins.filter (word: !(isLiteral word)) (lib.concatMap (line: line) lines);
      programs = map builtins.head lines;
      relative = builtins.filter (program: !(lib.hasPrefix "/" program)) programs;
    in
    [
      {
        assertion = notLiteral == [ ];
        message = "${name}: a sudo rule can not say exactly this: ${
          lib.concatMapStringsSep ", " builtins.toJSON notLiteral
        }. Words of the command of a switch may have letters, digits and - @ % _ + . / : = , # ~ ? & in them. Change switch.flake, switch.attribute or switch.arguments, or set settings.switch_kind to \"command\" and write the rule yourself.";
      }
      {
        assertion = relative == [ ];
        message = "${name}.settings: ${lib.concatStringsSep ", " relative} is no absolute path, and a sudo rule needs one. Give the path in full, or leave it out.";
      }
    ];
}
