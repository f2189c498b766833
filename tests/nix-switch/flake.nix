# A home without inputs: a generation that a real Nix builds and that activates as home-manager's do.
{
  outputs =
    _:
    let
      text = path: builtins.replaceStrings [ "\n" ] [ "" ] (builtins.readFile path);
      generation = builtins.derivation {
        name = "home-manager-generation";
        system = text ./system;
        builder = "/bin/sh";
        PATH = "/usr/bin:/bin";
        # What the activation does in the end: `succeeds`, `fails`; or `unbuildable`.
        what = text ./what;
        number = text ./number;
        activate = ./activate;
        args = [
          "-euc"
          ''
            [ "$what" != unbuildable ] || { echo "generation $number cannot be built" >&2; exit 7; }
            mkdir "$out"
            cp "$activate" "$out/activate"
            chmod 555 "$out/activate"
            echo "$what" > "$out/what"
            echo "$number" > "$out/number"
          ''
        ];
      };
    in
    {
      homeConfigurations."me@here".activationPackage = generation;
    };
}
