//! Target specifiers: `gui/501`, `user/501`, `system`, and a service in one of them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A launchd domain, as the caller names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Domain {
    /// `system`.
    System,
    /// `user/UID`: exists while the user has any session at all.
    User(u32),
    /// `gui/UID`: exists only while the user is logged in at the screen.
    Gui(u32),
}

impl Domain {
    /// Reads `gui/501`, `user/501` or `system`; anything else is no domain.
    pub fn parse(specifier: &str) -> Option<Self> {
        match specifier.split_once('/') {
            None if specifier == "system" => Some(Self::System),
            None => None,
            Some((kind, uid)) => Self::of_kind(kind, uid.parse().ok()?),
        }
    }

    fn of_kind(kind: &str, uid: u32) -> Option<Self> {
        match kind {
            "gui" => Some(Self::Gui(uid)),
            "user" => Some(Self::User(uid)),
            _ => None,
        }
    }

    /// Whose domain it is; the system's belongs to no user.
    pub const fn uid(self) -> Option<u32> {
        match self {
            Self::System => None,
            Self::User(uid) | Self::Gui(uid) => Some(uid),
        }
    }

    /// The words launchctl uses for a domain that it cannot find.
    pub fn description(self) -> String {
        match self {
            Self::System => "system".to_owned(),
            Self::User(uid) => format!("uid: {uid}"),
            Self::Gui(uid) => format!("user gui: {uid}"),
        }
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System => formatter.write_str("system"),
            Self::User(uid) => write!(formatter, "user/{uid}"),
            Self::Gui(uid) => write!(formatter, "gui/{uid}"),
        }
    }
}

/// One service: a label in a domain.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServiceTarget {
    /// The domain it is registered in.
    pub domain: Domain,
    /// Its label, unique within the domain only.
    pub label: String,
}

impl ServiceTarget {
    /// Reads `gui/501/com.example.job` or `system/com.example.job`.
    pub fn parse(specifier: &str) -> Option<Self> {
        let (domain, label) = specifier.rsplit_once('/')?;
        let domain = Domain::parse(domain)?;
        (!label.is_empty()).then(|| Self { domain, label: label.to_owned() })
    }
}

impl fmt::Display for ServiceTarget {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.domain, self.label)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specifiers_are_read_and_written_alike() {
        for text in ["system", "gui/501", "user/0"] {
            assert_eq!(Domain::parse(text).unwrap().to_string(), text);
        }
        for text in ["gui/501/com.example", "system/a.b"] {
            assert_eq!(ServiceTarget::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_label_alone_is_no_target() {
        for text in ["com.example", "gui", "gui/", "gui/x", "gui/501/", "pid/1", ""] {
            assert_eq!(ServiceTarget::parse(text), None, "{text:?}");
            assert_eq!(Domain::parse(text), None, "{text:?}");
        }
        assert_eq!(ServiceTarget::parse("gui/501"), None);
    }
}
