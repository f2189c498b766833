//! Nix expressions of the project, evaluated by `nix-instantiate` without a store.

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use nixfleet_tests::stage::not_run;
use serde::Deserialize;
use serde_json::{Map, Value};

/// The systems with systemd.
pub(crate) const LINUX: [&str; 2] = ["aarch64-linux", "x86_64-linux"];

/// What a definition of a host is if nothing else is said: complete and without a flaw.
pub(crate) const GOOD: &str =
    r#"enable = true; url = "https://fleet.example.org"; tokenFile = "/run/token";"#;

/// Everything set, by the options that NixFleet's modules had before and by those beside them.
pub(crate) const ALL: &str = r##"
    hostname = "imac0"; interval = 5; location = "work"; deviceType = "laptop"; themeColor = "#f7768e"; logLevel = "debug";
    pinnedPublicKey = [ "sha256//47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=" ];
    logFormat = "json"; metrics = false;
    repoUrl = "git@github.com:me/nixcfg.git"; branch = "live"; sshKeyFile = "/Users/me/.ssh/key";
    switch = { timeout = "90min"; arguments = [ "-b" "backup" ]; };
    settings = { criticality = "high"; environment.NIX_CONFIG = "max-jobs = 2"; };
"##;

/// A user of home-manager.
pub(crate) struct Host {
    /// `aarch64-darwin` and so on.
    pub(crate) system: &'static str,
    /// The home.
    pub(crate) home: PathBuf,
    /// What `services.nixfleet-agent` is set to, without the braces.
    pub(crate) definitions: String,
    /// Further arguments of `tests/nix/evaluate.nix`, as a Nix set without the braces.
    pub(crate) more: String,
}

/// What the module makes of it.
#[derive(Debug, Deserialize)]
pub(crate) struct Evaluated {
    /// The assertions that do not hold.
    pub(crate) failed: Vec<String>,
    /// The warnings.
    pub(crate) warnings: Vec<String>,
    /// The config file, if one is written.
    pub(crate) config: Option<Map<String, Value>>,
    /// Links in the home and what they lead to.
    pub(crate) files: Map<String, Value>,
    /// What the user can type.
    pub(crate) packages: Vec<String>,
    /// The agent as a launchd agent of home-manager.
    pub(crate) launchd: Option<Map<String, Value>>,
    /// The agent as a systemd user service of home-manager.
    pub(crate) systemd: Option<Map<String, Value>>,
    /// The step of the activation.
    pub(crate) activation: Activation,
}

/// A step of the activation.
#[derive(Debug, Deserialize)]
pub(crate) struct Activation {
    /// What it comes before.
    pub(crate) before: Vec<String>,
    /// What it comes after.
    pub(crate) after: Vec<String>,
    /// Its lines.
    pub(crate) data: String,
}

impl Host {
    /// A host with these definitions beside those of [`GOOD`].
    pub(crate) fn new(system: &'static str, definitions: &str) -> Self {
        Self {
            system,
            home: PathBuf::from("/Users/me"),
            definitions: format!("{GOOD} {definitions}"),
            more: String::new(),
        }
    }

    /// The same with further arguments.
    pub(crate) fn with(self, more: &str) -> Self {
        Self { more: more.to_owned(), ..self }
    }

    /// Evaluates the module. The error is what Nix says.
    pub(crate) fn evaluate(&self) -> Result<Evaluated, String> {
        let place = root().join("tests/nix/evaluate.nix");
        let expression = format!(
            "import {} {{ system = \"{}\"; home = \"{}\"; definitions = {{ {} }}; {} }}",
            place.display(),
            self.system,
            self.home.display(),
            self.definitions,
            self.more
        );
        serde_json::from_value(evaluate(&expression)?).map_err(|error| error.to_string())
    }
}

/// The project's folder.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("/")).to_owned()
}

/// The value of an expression. The error is what Nix says.
pub(crate) fn evaluate(expression: &str) -> Result<Value, String> {
    let output = nix(["--eval", "--strict", "--json", "--expr", expression]);
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())
}

/// Runs `nix-instantiate`. Nothing is written: the store is none.
pub(crate) fn nix(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Output {
    Command::new("nix-instantiate")
        .args(["--store", "dummy://"])
        .args(arguments)
        .env_remove("NIX_PATH")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Whether a program is there. If not, the test says that it cannot run.
pub(crate) fn has(program: &str, how_to_get: &str) -> bool {
    let folders = env::var_os("PATH").unwrap_or_default();
    let is_there = env::split_paths(&folders).any(|folder| folder.join(program).is_file());
    if !is_there {
        not_run(&format!("there is no {program}; {how_to_get}"));
    }
    is_there
}

/// Whether Nix is there.
pub(crate) fn has_nix() -> bool {
    has("nix-instantiate", "on Debian, `apt-get install nix-bin` brings it")
}

/// All that a program has said.
pub(crate) fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
