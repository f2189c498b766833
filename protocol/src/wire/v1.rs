//! The HTTP protocol of existing NixFleet dashboards.
//!
//! One call is registration, heartbeat and command poll at once. A command is a bare word without an id, and the
//! dashboard forgets it as soon as it has sent it; a status closes the newest open command, whichever that is.

use serde::{Deserialize, Serialize};

use super::fields::{
    Criticality, DeviceType, Generation, HostId, HostType, PollInterval, Text, ThemeColor, Token,
};

/// Output as a status carries it: at most 10,000 characters. Build it with [`Text::tail`].
pub type Output = Text<10_000>;

/// `POST /api/hosts/{host_id}/register`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Register {
    /// The host's display name.
    pub hostname: HostId,
    /// The kind of host.
    pub host_type: HostType,
    /// Where it stands; free text of at most 50 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<Text<50>>,
    /// The kind of device.
    pub device_type: DeviceType,
    /// The host's colour on the page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub theme_color: Option<ThemeColor>,
    /// Read by the dashboard at the first registration only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub criticality: Option<Criticality>,
    /// The git revision or generation that the host runs. A null clears what the dashboard had.
    #[serde(default)]
    pub current_generation: Option<Generation>,
    /// The configuration repository.
    #[serde(default)]
    pub config_repo: Option<Text<200>>,
    /// The agent's heartbeat interval.
    #[serde(default)]
    pub poll_interval: Option<PollInterval>,
    /// The agent's version, at most 20 characters.
    #[serde(default)]
    pub agent_version: Option<Text<20>>,
    /// The nixpkgs revision that the host was built from.
    #[serde(default)]
    pub nixpkgs_version: Option<Text<64>>,
    /// The operating system's version.
    #[serde(default)]
    pub os_version: Option<Text<50>>,
    /// The operating system's name.
    #[serde(default)]
    pub os_name: Option<Text<50>>,
    /// How busy the host is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Metrics>,
    /// The newest protocol that the agent speaks. A v1 dashboard ignores it; one of ours answers in kind and then
    /// hands no commands to the registration, only to the poll.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<u32>,
}

/// How busy a host is. Percentages are from 0 to 100.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// Of the time of all CPUs, the percentage that was used since the last heartbeat.
    pub cpu: f64,
    /// Of the memory, the percentage that is used.
    pub ram: f64,
    /// Of the swap space, where there is any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swap: Option<f64>,
    /// The load average over a minute; as StaSysMo says it, where that is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<Text<50>>,
}

/// The answer to [`Register`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// `registered`.
    pub status: String,
    /// The id under which the dashboard knows the host.
    pub host_id: String,
    /// A command, delivered with this answer and never again.
    pub command: Option<String>,
    /// A token of the host's own, sent once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_token: Option<Token>,
    /// The protocol that the dashboard offers; absent on v1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<u32>,
}

/// How a command ended, in the only words that a v1 dashboard takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StatusWord {
    /// It did what was asked.
    Ok,
    /// It did not.
    Error,
    /// Not known.
    Unknown,
}

/// `POST /api/hosts/{host_id}/status`: the result of a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// How it ended.
    pub status: StatusWord,
    /// What the host runs now.
    pub current_generation: Option<Text<64>>,
    /// The end of the output.
    pub output: Option<Output>,
    /// The state of the host's tests.
    pub test_status: Option<Text<100>>,
    /// One line for the host's row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<Text<200>>,
}

/// The answer to [`Status`] and to [`TestProgress`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Updated {
    /// `updated`.
    pub status: String,
}

/// `POST /api/hosts/{host_id}/test-progress`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestProgress {
    /// Tests done.
    pub current: u32,
    /// Tests in all.
    pub total: u32,
    /// Tests passed.
    pub passed: u32,
    /// Whether the run goes on.
    pub running: bool,
    /// What to show at the end.
    pub result: Option<String>,
    /// One line more.
    pub comment: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registration_has_the_fields_of_the_recorded_one() {
        let register = Register {
            hostname: "peermac".parse().unwrap(),
            host_type: HostType::Macos,
            location: Some(Text::new("home").unwrap()),
            device_type: DeviceType::Laptop,
            theme_color: Some("#769ff0".parse().unwrap()),
            criticality: Some(Criticality::Low),
            current_generation: Some("5a6f0e10".parse().unwrap()),
            config_repo: Some(Text::new("/Users/peer/repo").unwrap()),
            poll_interval: Some(PollInterval::from_seconds(2).unwrap()),
            agent_version: Some(Text::new("1.0.0").unwrap()),
            nixpkgs_version: None,
            os_version: Some(Text::new("14.7.1").unwrap()),
            os_name: Some(Text::new("macOS").unwrap()),
            metrics: Some(Metrics {
                cpu: 12.5,
                ram: 45.0,
                swap: None,
                load: Some(Text::new("1.25").unwrap()),
            }),
            protocol: None,
        };
        assert_eq!(
            serde_json::to_value(&register).unwrap(),
            serde_json::json!({
                "hostname": "peermac", "host_type": "macos", "location": "home",
                "device_type": "laptop", "theme_color": "#769ff0", "criticality": "low",
                "current_generation": "5a6f0e10", "config_repo": "/Users/peer/repo",
                "poll_interval": 2, "agent_version": "1.0.0", "nixpkgs_version": null,
                "os_version": "14.7.1", "os_name": "macOS",
                "metrics": {"cpu": 12.5, "ram": 45.0, "load": "1.25"},
            })
        );
    }

    #[test]
    fn a_message_over_the_limits_cannot_be_read_either() {
        let too_long = serde_json::json!({"status": "ok", "comment": "x".repeat(201)});
        assert!(serde_json::from_value::<Status>(too_long).is_err());
        let wrong_word = serde_json::json!({"status": "success"});
        assert!(serde_json::from_value::<Status>(wrong_word).is_err());
    }

    #[test]
    fn the_recorded_answers_are_read() {
        let first = r#"{"status":"registered","host_id":"peermac","command":null,"agent_token":"PER-HOST-TOKEN"}"#;
        let registered: Registered = serde_json::from_str(first).unwrap();
        assert_eq!(registered.agent_token.unwrap().reveal(), "PER-HOST-TOKEN");
        assert_eq!(registered.protocol, None);
        let later = r#"{"status":"registered","host_id":"peermac","command":"switch"}"#;
        let registered: Registered = serde_json::from_str(later).unwrap();
        assert_eq!(registered.command.as_deref(), Some("switch"));
    }
}
