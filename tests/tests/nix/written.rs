//! What home-manager writes for a launchd agent and for a systemd service.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

/// How a release of home-manager writes a launchd agent (its modules/launchd/default.nix).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Release {
    /// Its name.
    pub(crate) name: &'static str,
    /// It waits in a shell for the store to be mounted.
    waits: bool,
    /// It escapes what XML has a meaning for.
    escapes: bool,
}

/// All that differ.
pub(crate) const RELEASES: [Release; 2] = [
    Release { name: "24.11 and 25.05", waits: false, escapes: false },
    Release { name: "25.11 and later", waits: true, escapes: true },
];

impl Release {
    /// The plist of an agent with this `config`.
    pub(crate) fn plist(self, config: &Map<String, Value>) -> String {
        let mut config = config.clone();
        if self.waits {
            let words = config["ProgramArguments"].as_array().unwrap().iter();
            let words: Vec<&str> = words.map(|word| word.as_str().unwrap()).collect();
            let line = format!("/bin/wait4path /nix/store && exec {}", words.join(" "));
            config
                .insert("ProgramArguments".to_owned(), serde_json::json!(["/bin/sh", "-c", line]));
        }
        let mut text = String::from("<plist version=\"1.0\">");
        self.write(&mut text, &Value::Object(config));
        text + "</plist>\n"
    }

    fn write(self, text: &mut String, value: &Value) {
        match value {
            Value::Null => {}
            Value::Bool(truth) => write!(text, "<{truth}/>").unwrap(),
            Value::Number(number) => write!(text, "<integer>{number}</integer>").unwrap(),
            Value::String(word) => write!(text, "<string>{}</string>", self.escaped(word)).unwrap(),
            Value::Array(values) => {
                text.push_str("<array>");
                for value in values {
                    self.write(text, value);
                }
                text.push_str("</array>");
            }
            Value::Object(values) => {
                text.push_str("<dict>");
                for (key, value) in values {
                    write!(text, "<key>{}</key>", self.escaped(key)).unwrap();
                    self.write(text, value);
                }
                text.push_str("</dict>");
            }
        }
    }

    fn escaped(self, word: &str) -> String {
        if self.escapes {
            word.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
        } else {
            word.to_owned()
        }
    }
}

/// The unit file of a service (its modules/systemd.nix): a list is a key several times.
pub(crate) fn unit(sections: &Map<String, Value>) -> String {
    let mut text = String::new();
    for (section, keys) in sections {
        writeln!(text, "[{section}]").unwrap();
        for (key, value) in keys.as_object().unwrap() {
            let values = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
            for value in values {
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                writeln!(text, "{key}={value}").unwrap();
            }
        }
    }
    text
}

/// Writes the config file as nixpkgs' `formats.toml` would.
pub(crate) fn write_config(folder: &Path, config: &Map<String, Value>) -> PathBuf {
    let path = folder.join("config.toml");
    fs::write(&path, toml::to_string(config).unwrap()).unwrap();
    path
}
