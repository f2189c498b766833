//! Field types whose constructors hold the limits of the v1 protocol.
//!
//! Each limit is one that the v1 dashboard enforces with status 422 (or 400 for the host id), so a value that exists
//! is a value that it takes. Lengths count characters (code points), as the dashboard does.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Why a value cannot be put into a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FieldError {
    /// More characters than the field holds.
    #[error("{length} characters are too many, the limit is {max}")]
    TooLong {
        /// Characters in the value.
        length: usize,
        /// The most that the field takes.
        max: usize,
    },
    /// The value has a form that the field does not take.
    #[error("{value:?} is not {expected}")]
    Malformed {
        /// The value, shortened.
        value: String,
        /// What would have been right, as a noun phrase.
        expected: &'static str,
    },
}

fn malformed(value: &str, expected: &'static str) -> FieldError {
    FieldError::Malformed { value: value.chars().take(80).collect(), expected }
}

/// A text of at most `MAX` characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Text<const MAX: usize>(String);

impl<const MAX: usize> Text<MAX> {
    /// Takes the text if it fits.
    pub fn new(text: impl Into<String>) -> Result<Self, FieldError> {
        let text = text.into();
        let length = text.chars().count();
        if length > MAX { Err(FieldError::TooLong { length, max: MAX }) } else { Ok(Self(text)) }
    }

    /// Keeps the first `MAX` characters: for names and versions, where the beginning tells most.
    pub fn head(text: &str) -> Self {
        Self(text.chars().take(MAX).collect())
    }

    /// Keeps the last `MAX` characters: for output, where the error stands at the end.
    pub fn tail(text: &str) -> Self {
        let surplus = text.chars().count().saturating_sub(MAX);
        Self(text.chars().skip(surplus).collect())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<const MAX: usize> TryFrom<String> for Text<MAX> {
    type Error = FieldError;
    fn try_from(text: String) -> Result<Self, FieldError> {
        Self::new(text)
    }
}

impl<const MAX: usize> From<Text<MAX>> for String {
    fn from(text: Text<MAX>) -> Self {
        text.0
    }
}

impl<const MAX: usize> fmt::Display for Text<MAX> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Makes a newtype over `String` whose only way in is a checking function.
macro_rules! checked_string {
    ($(#[$doc:meta])* $name:ident, $check:path) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The value as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = FieldError;
            fn from_str(text: &str) -> Result<Self, FieldError> {
                $check(text).map(Self)
            }
        }

        impl TryFrom<String> for $name {
            type Error = FieldError;
            fn try_from(text: String) -> Result<Self, FieldError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }
    };
}

checked_string!(
    /// The name of a host on the wire: 1 to 63 characters, a letter first, then letters, digits and `-`; lower-cased.
    HostId,
    check_host_id
);
checked_string!(
    /// The id of a dashboard's command: 1 to 64 letters, digits and `-`, so that it is safe as a file name.
    CommandId,
    check_command_id
);
checked_string!(
    /// A generation or git revision: 1 to 64 letters, digits and `-`.
    Generation,
    check_generation
);
checked_string!(
    /// A colour as `#` and six hexadecimal digits.
    ThemeColor,
    check_theme_color
);

fn check_host_id(text: &str) -> Result<String, FieldError> {
    let starts_with_letter = text.chars().next().is_some_and(|first| first.is_ascii_alphabetic());
    if starts_with_letter && is_slug(text, 63) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(malformed(
            text,
            "a host name of 1 to 63 letters, digits and `-` that starts with a letter",
        ))
    }
}

fn check_command_id(text: &str) -> Result<String, FieldError> {
    if is_slug(text, 64) {
        Ok(text.to_owned())
    } else {
        Err(malformed(text, "a command id of 1 to 64 letters, digits and `-`"))
    }
}

fn check_generation(text: &str) -> Result<String, FieldError> {
    if is_slug(text, 64) {
        Ok(text.to_owned())
    } else {
        Err(malformed(text, "a generation of 1 to 64 letters, digits and `-`"))
    }
}

fn check_theme_color(text: &str) -> Result<String, FieldError> {
    let is_color = text.strip_prefix('#').is_some_and(|digits| {
        digits.len() == 6 && digits.chars().all(|digit| digit.is_ascii_hexdigit())
    });
    if is_color { Ok(text.to_owned()) } else { Err(malformed(text, "a colour such as `#769ff0`")) }
}

fn is_slug(text: &str, max: usize) -> bool {
    (1..=max).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// The two kinds of host that a v1 dashboard knows. A Linux host without NixOS registers as `nixos`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HostType {
    /// Linux, with NixOS or with Nix alone.
    Nixos,
    /// macOS.
    Macos,
}

/// Makes an enum of fixed lower-case words that parses with an error naming them all.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $expected:literal, { $($(#[$variant_doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $word)] $variant),+
        }

        impl $name {
            /// The word on the wire.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl FromStr for $name {
            type Err = FieldError;
            fn from_str(text: &str) -> Result<Self, FieldError> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    other => Err(malformed(other, $expected)),
                }
            }
        }
    };
}

words!(
    /// The device types that a v1 dashboard takes; any other keeps a host from ever registering.
    DeviceType, "one of `server`, `desktop`, `laptop`, `gaming`", {
        /// A server.
        Server = "server",
        /// A desktop computer.
        Desktop = "desktop",
        /// A laptop.
        Laptop = "laptop",
        /// A gaming computer.
        Gaming = "gaming",
    }
);

words!(
    /// How much it matters when the host is down. A v1 dashboard reads it at the first registration only.
    Criticality, "one of `low`, `medium`, `high`", {
        /// Nobody waits for it.
        Low = "low",
        /// Someone notices.
        Medium = "medium",
        /// It has to run.
        High = "high",
    }
);

/// Seconds between two heartbeats, 1 to 3600.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct PollInterval(u32);

impl PollInterval {
    /// Takes the number of seconds if a dashboard would.
    pub fn from_seconds(seconds: u32) -> Result<Self, FieldError> {
        if (1..=3600).contains(&seconds) {
            Ok(Self(seconds))
        } else {
            Err(malformed(&seconds.to_string(), "a number of seconds from 1 to 3600"))
        }
    }

    /// The interval as a duration.
    pub const fn duration(self) -> std::time::Duration {
        std::time::Duration::from_secs(self.0 as u64)
    }
}

impl TryFrom<u32> for PollInterval {
    type Error = FieldError;
    fn try_from(seconds: u32) -> Result<Self, FieldError> {
        Self::from_seconds(seconds)
    }
}

impl From<PollInterval> for u32 {
    fn from(interval: PollInterval) -> Self {
        interval.0
    }
}

/// A token. It goes onto the wire and into its own file, and nowhere else: `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Token(String);

impl Token {
    /// Takes a token of 1 to 4096 visible ASCII characters, so that it is safe in a header.
    pub fn new(text: &str) -> Result<Self, FieldError> {
        let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
        if visible && (1..=4096).contains(&text.len()) {
            Ok(Self(text.to_owned()))
        } else {
            // The value itself stays out of the error: it may be most of a real token.
            Err(malformed("(not shown)", "a token of 1 to 4096 visible ASCII characters"))
        }
    }

    /// The secret itself, for the header and for the token's own file.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Token {
    type Error = FieldError;
    fn try_from(text: String) -> Result<Self, FieldError> {
        Self::new(&text)
    }
}

impl From<Token> for String {
    fn from(token: Token) -> Self {
        token.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(not shown)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_ids_are_those_that_a_dashboard_takes() {
        let longest = format!("a{}", "b".repeat(62));
        for (text, taken) in [
            ("a", true),
            ("Mac-mini-2", true),
            (longest.as_str(), true),
            (&format!("{longest}c"), false),
            ("", false),
            ("2mac", false),
            ("-mac", false),
            ("mac.local", false),
            ("mac_book", false),
            ("mac\n", false),
            ("../etc", false),
            ("mäc", false),
        ] {
            assert_eq!(text.parse::<HostId>().is_ok(), taken, "{text:?}");
        }
        assert_eq!("MacBook".parse::<HostId>().unwrap().as_str(), "macbook");
    }

    #[test]
    fn lengths_count_characters_and_the_tail_is_kept() {
        assert!(Text::<3>::new("äöü").is_ok());
        assert_eq!(Text::<3>::new("abcd").unwrap_err(), FieldError::TooLong { length: 4, max: 3 });
        assert_eq!(Text::<3>::tail("a✅bc").as_str(), "✅bc");
        assert_eq!(Text::<3>::head("a✅bc").as_str(), "a✅b");
    }

    #[test]
    fn words_outside_the_list_are_refused_by_name() {
        assert_eq!("laptop".parse::<DeviceType>().unwrap(), DeviceType::Laptop);
        let refusal = "container".parse::<DeviceType>().unwrap_err().to_string();
        assert!(refusal.contains("container") && refusal.contains("gaming"), "{refusal}");
        assert!(serde_json::from_str::<DeviceType>("\"vm\"").is_err());
    }

    #[test]
    fn generations_and_command_ids_are_safe_as_file_names() {
        for text in ["../x", "a/b", "", "a b", "a+b", "ä", &"a".repeat(65)] {
            assert!(text.parse::<CommandId>().is_err(), "{text:?}");
            assert!(text.parse::<Generation>().is_err(), "{text:?}");
        }
        assert!("5a6f0e1025338fe22bd8ce2059654cf9cb615227".parse::<Generation>().is_ok());
    }

    #[test]
    fn colours_and_intervals_have_their_limits() {
        assert!("#769ff0".parse::<ThemeColor>().is_ok());
        for text in ["769ff0", "#769ff", "#769ffg", "#769ff00"] {
            assert!(text.parse::<ThemeColor>().is_err(), "{text:?}");
        }
        for (seconds, taken) in [(0, false), (1, true), (3600, true), (3601, false)] {
            assert_eq!(PollInterval::from_seconds(seconds).is_ok(), taken, "{seconds}");
        }
    }

    #[test]
    fn a_token_is_never_shown() {
        let token = Token::new("s3cret-value").unwrap();
        assert!(!format!("{token:?}").contains("s3cret"));
        for text in ["", "two words", "line\nbreak"] {
            let refusal = Token::new(text).unwrap_err().to_string();
            assert!(!refusal.contains("two"), "{refusal}");
        }
    }
}
