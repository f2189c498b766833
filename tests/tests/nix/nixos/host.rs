//! A NixOS system with the module, and what NixOS writes of what the module says.

use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::evaluated::{GOOD, evaluate, root};

/// A NixOS system.
pub(super) struct NixosHost {
    /// `aarch64-linux` or `x86_64-linux`.
    pub(super) system: &'static str,
    /// `services.nixfleet-agent.user`, if it is set.
    pub(super) user: Option<&'static str>,
    /// What `services.nixfleet-agent` is set to beside that, without the braces.
    pub(super) definitions: String,
    /// Further arguments of `tests/nix/evaluate-nixos.nix`, as a Nix set without the braces.
    pub(super) more: String,
}

/// What the module makes of it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Evaluated {
    /// The assertions that do not hold.
    pub(super) failed: Vec<String>,
    /// The warnings.
    pub(super) warnings: Vec<String>,
    /// The config file, if one is written.
    pub(super) config: Option<Map<String, Value>>,
    /// What everybody can type.
    pub(super) packages: Vec<String>,
    /// The agent as a service.
    pub(super) service: Option<Service>,
    /// The rules for sudo.
    pub(super) sudo: Vec<Rule>,
    /// The rules for sudo-rs.
    pub(super) sudo_rs: Vec<Rule>,
}

/// A service, as far as the module uses what there is.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Service {
    description: String,
    wanted_by: Vec<String>,
    #[serde(rename = "unitConfig")]
    unit_keys: Map<String, Value>,
    restart_if_changed: bool,
    stop_if_changed: bool,
    environment: Map<String, Value>,
    #[serde(rename = "serviceConfig")]
    own_keys: Map<String, Value>,
}

/// A rule for sudo.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Rule {
    /// Who may.
    pub(super) users: Vec<String>,
    /// As whom.
    pub(super) run_as: String,
    /// What.
    pub(super) commands: Vec<Allowed>,
}

/// A command that may be run.
#[derive(Debug, Deserialize)]
pub(super) struct Allowed {
    /// As sudoers has it.
    pub(super) command: String,
    /// How.
    pub(super) options: Vec<String>,
}

impl NixosHost {
    /// A host with these definitions beside those of [`GOOD`], and a user.
    pub(super) fn new(system: &'static str, definitions: &str) -> Self {
        Self {
            system,
            user: Some("admin"),
            definitions: format!("{GOOD} {definitions}"),
            more: String::new(),
        }
    }

    /// The same with further arguments.
    pub(super) fn with(self, more: &str) -> Self {
        Self { more: more.to_owned(), ..self }
    }

    /// Evaluates the module. The error is what Nix says.
    pub(super) fn evaluate(&self) -> Result<Evaluated, String> {
        let user = self.user.map_or_else(String::new, |user| format!("user = \"{user}\";"));
        let expression = format!(
            "import {}/tests/nix/evaluate-nixos.nix {{ system = \"{}\"; definitions = {{ {user} {} }}; {} }}",
            root().display(),
            self.system,
            self.definitions,
            self.more
        );
        serde_json::from_value(evaluate(&expression)?).map_err(|error| error.to_string())
    }
}

impl Evaluated {
    /// The unit's file (nixos/lib/systemd-lib.nix): what the module does not set of the environment is left out.
    pub(super) fn unit(&self) -> String {
        let service = self.service.as_ref().unwrap();
        let mut unit = format!("[Unit]\nDescription={}\n", service.description);
        write_keys(&mut unit, &service.unit_keys);
        unit.push_str("[Service]\n");
        for (name, value) in &service.environment {
            writeln!(unit, "Environment=\"{name}={}\"", value.as_str().unwrap()).unwrap();
        }
        if !service.restart_if_changed {
            unit.push_str("X-RestartIfChanged=false\n");
        }
        if !service.stop_if_changed {
            unit.push_str("X-StopIfChanged=false\n");
        }
        write_keys(&mut unit, &service.own_keys);
        // NixOS makes links of it; here it says when the unit is started.
        writeln!(unit, "[Install]\nWantedBy={}", service.wanted_by.join(" ")).unwrap();
        unit
    }
}

impl Rule {
    /// The line of sudoers (nixos/modules/security/sudo.nix).
    pub(super) fn sudoers(&self) -> String {
        let commands = self.commands.iter().map(|allowed| {
            let options = allowed.options.join(":");
            format!("{options}: {}", allowed.command)
        });
        let commands = commands.collect::<Vec<_>>().join(", ");
        format!("{}\tALL=({})    {commands}\n", self.users.join(","), self.run_as)
    }
}

fn write_keys(unit: &mut String, keys: &Map<String, Value>) {
    for (key, value) in keys {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        writeln!(unit, "{key}={value}").unwrap();
    }
}
