//! What a runtime is told when something is wrong (SPEC 1.1.0 §5, "Error").

use std::fmt;

use protocol::problem::Problem;
use serde_json::{Map, Value};

use crate::version::Version;

/// Longest text quoted from what somebody else wrote, in characters.
const MAX_QUOTE_CHARS: usize = 96;
/// Longest `details`, in characters; a list of more is cut and says so.
const MAX_DETAILS_CHARS: usize = 4096;

/// `code` of an error. Numbers below 100 are the specification's, with its words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// 1: incompatible CNI version.
    IncompatibleVersion,
    /// 2: unsupported field in network configuration; the message has its key and value.
    UnsupportedField,
    /// 3: the container is unknown or does not exist; nothing of its network needs to be cleaned up.
    UnknownContainer,
    /// 4: invalid necessary environment variables; the message has their names.
    InvalidEnvironment,
    /// 5: I/O failure.
    Io,
    /// 6: failed to decode content.
    Decode,
    /// 7: invalid network configuration.
    InvalidConfiguration,
    /// 11: try again later.
    TryAgain,
    /// 50: the plugin is not available; ADD would fail (STATUS).
    NotAvailable,
    /// 51: the plugin is not available, and containers of the network may have limited connectivity (STATUS).
    LimitedConnectivity,
    /// 100, ours: there is an attachment or an interface of that name already.
    AlreadyAttached,
    /// 101, ours: no address is free, or the one that was asked for is not.
    NoAddress,
    /// 102, ours: what CHECK found is not what was configured.
    CheckFailed,
    /// 103, ours: GC could not release everything.
    CollectFailed,
    /// 104, ours: a host port is another pod's already.
    HostPortTaken,
    /// 199, ours: the switch failed otherwise.
    Switch,
}

impl Code {
    /// All, in order of their numbers.
    pub const ALL: [Self; 16] = [
        Self::IncompatibleVersion,
        Self::UnsupportedField,
        Self::UnknownContainer,
        Self::InvalidEnvironment,
        Self::Io,
        Self::Decode,
        Self::InvalidConfiguration,
        Self::TryAgain,
        Self::NotAvailable,
        Self::LimitedConnectivity,
        Self::AlreadyAttached,
        Self::NoAddress,
        Self::CheckFailed,
        Self::CollectFailed,
        Self::HostPortTaken,
        Self::Switch,
    ];

    /// As in `code`.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::IncompatibleVersion => 1,
            Self::UnsupportedField => 2,
            Self::UnknownContainer => 3,
            Self::InvalidEnvironment => 4,
            Self::Io => 5,
            Self::Decode => 6,
            Self::InvalidConfiguration => 7,
            Self::TryAgain => 11,
            Self::NotAvailable => 50,
            Self::LimitedConnectivity => 51,
            Self::AlreadyAttached => 100,
            Self::NoAddress => 101,
            Self::CheckFailed => 102,
            Self::CollectFailed => 103,
            Self::HostPortTaken => 104,
            Self::Switch => 199,
        }
    }
}

/// What went wrong, in which version it is said, and whether more is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// `cniVersion`: as the configuration has it, whether we speak it or not; ours where it could not be read.
    pub version: String,
    /// `code`.
    pub code: Code,
    /// `msg`: one sentence that names the thing.
    pub message: String,
    /// `details`: more sentences; may be empty.
    pub details: String,
}

impl Error {
    /// An error that is said in the newest version until [`Error::said_in`] knows better.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            version: Version::CURRENT.as_str().to_owned(),
            code,
            message: message.into(),
            details: String::new(),
        }
    }

    /// With more sentences, cut after a page.
    #[must_use]
    pub fn with_details(mut self, details: impl Into<String>) -> Self {
        self.details = cut(&details.into(), MAX_DETAILS_CHARS);
        self
    }

    /// Said in this version.
    #[must_use]
    pub fn said_in(mut self, version: &str) -> Self {
        version.clone_into(&mut self.version);
        self
    }

    /// One error for all that is wrong with a configuration. Who asks for what we cannot do hears that first (code 2):
    /// it is for the administrator, while a wrong value may be the runtime's.
    pub(crate) fn of_problems(unsupported: &[Problem], invalid: &[Problem]) -> Option<Self> {
        let (code, what) = match (unsupported.first(), invalid.first()) {
            (Some(_), _) => (Code::UnsupportedField, "unsupported field in network configuration"),
            (None, Some(_)) => (Code::InvalidConfiguration, "invalid network configuration"),
            (None, None) => return None,
        };
        let all: Vec<String> = unsupported.iter().chain(invalid).map(ToString::to_string).collect();
        let first = all.first().map_or("", String::as_str);
        Some(match all.len() {
            1 => Self::new(code, format!("{what}: {first}")),
            several => Self::new(code, format!("{what}: {first} (and {} more)", several - 1))
                .with_details(all.join("\n")),
        })
    }

    /// The object that goes to standard output.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut object = Map::new();
        object.insert("cniVersion".to_owned(), Value::from(self.version.as_str()));
        object.insert("code".to_owned(), Value::from(self.code.number()));
        object.insert("msg".to_owned(), Value::from(self.message.as_str()));
        if !self.details.is_empty() {
            object.insert("details".to_owned(), Value::from(self.details.as_str()));
        }
        Value::Object(object).to_string()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if !self.details.is_empty() && !self.message.ends_with(&self.details) {
            write!(f, ": {}", self.details)?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// A text of somebody else's, in quotes, with control characters escaped and no longer than a line.
pub(crate) fn quote(text: &str) -> String {
    format!("{:?}", cut(text, MAX_QUOTE_CHARS))
}

pub(crate) fn cut(text: &str, max_chars: usize) -> String {
    match text.char_indices().nth(max_chars) {
        Some((at, _)) => format!("{}...", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_the_specifications_object() {
        let error = Error::new(Code::InvalidConfiguration, "Invalid Configuration")
            .with_details("Network 192.168.0.0/31 too small to allocate from.")
            .said_in("1.0.0");
        assert_eq!(
            error.to_json().parse::<Value>().unwrap(),
            serde_json::json!({
                "cniVersion": "1.0.0", "code": 7, "msg": "Invalid Configuration",
                "details": "Network 192.168.0.0/31 too small to allocate from.",
            })
        );
        assert!(!Error::new(Code::Io, "x").to_json().contains("details"));
    }

    #[test]
    fn codes_are_the_specifications_and_ours_begin_at_100() {
        let numbers = Code::ALL.map(Code::number);
        assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7, 11, 50, 51, 100, 101, 102, 103, 104, 199]);
    }

    #[test]
    fn quotes_are_one_short_line_whatever_they_quote() {
        assert_eq!(quote("a\0b\n"), "\"a\\0b\\n\"");
        assert!(quote(&"ä".repeat(10_000)).len() < 300);
        let long = Error::new(Code::Io, "x").with_details("ä".repeat(100_000));
        assert_eq!(long.details.chars().count(), MAX_DETAILS_CHARS + 3);
    }

    #[test]
    fn all_problems_are_one_error_and_unsupported_fields_come_first() {
        let invalid = [Problem::invalid("mtu", 1, "too small"), Problem::invalid("dns", 2, "no")];
        let unsupported = [Problem::forbidden("ipam.type", "no")];
        assert_eq!(Error::of_problems(&[], &[]), None);
        let error = Error::of_problems(&[], &invalid).unwrap();
        assert_eq!(error.code, Code::InvalidConfiguration);
        assert!(error.message.contains("mtu") && error.message.contains("1 more"), "{error}");
        assert!(error.details.contains("dns"), "{error}");
        let error = Error::of_problems(&unsupported, &invalid).unwrap();
        assert_eq!(error.code, Code::UnsupportedField);
        assert!(error.message.contains("ipam.type"), "{error}");
    }
}
