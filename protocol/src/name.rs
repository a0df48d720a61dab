//! Object names and labels, with Kubernetes' rules.
//!
//! A [`Namespace`] is an RFC 1123 label (≤ 63 characters), an [`ObjectName`] an RFC 1123 subdomain.
//! Subdomains are limited to 180 characters instead of Kubernetes' 253, because
//! `<netns_prefix><namespace>.<name>` has to be one file name (≤ 255 bytes) under `/run/netns`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest object name; see the module's text for why it is not 253.
pub const MAX_NAME_LEN: usize = 180;
/// Longest RFC 1123 label.
pub const MAX_LABEL_LEN: usize = 63;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No characters at all.
    #[error("a {what} must not be empty")]
    Empty {
        /// "name" or "namespace".
        what: &'static str,
    },
    /// Over the limit.
    #[error("{what} \"{text}\" is {len} characters long, the limit is {limit}")]
    TooLong {
        /// "name" or "namespace".
        what: &'static str,
        /// The first characters of the refused text.
        text: String,
        /// Its length.
        len: usize,
        /// The limit it broke.
        limit: usize,
    },
    /// A character or a place that RFC 1123 forbids.
    #[error(
        "{what} \"{text}\" is invalid: use lower-case letters, digits and '-'{dots}, starting and ending with a letter or digit"
    )]
    Invalid {
        /// "name" or "namespace".
        what: &'static str,
        /// The refused text.
        text: String,
        /// " (and '.' between parts)" where dots are allowed.
        dots: &'static str,
    },
}

fn is_label(text: &str) -> bool {
    let bytes = text.as_bytes();
    let outer = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    bytes.len() <= MAX_LABEL_LEN
        && bytes.iter().all(|b| outer(b) || *b == b'-')
        && bytes.first().is_some_and(outer)
        && bytes.last().is_some_and(outer)
}

fn check(what: &'static str, text: &str, limit: usize, dots: bool) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty { what });
    }
    if text.len() > limit {
        return Err(NameError::TooLong {
            what,
            text: text.chars().take(32).collect(),
            len: text.len(),
            limit,
        });
    }
    let ok = if dots { text.split('.').all(is_label) } else { is_label(text) };
    if ok {
        return Ok(());
    }
    let dots = if dots { " (and '.' between parts)" } else { "" };
    Err(NameError::Invalid { what, text: text.to_owned(), dots })
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $what:literal, $limit:expr, $dots:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                check($what, &text, $limit, $dots)?;
                Ok(Self(text))
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::try_from(text.to_owned())
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name_type! {
    /// The name of a pod or another object within its namespace: an RFC 1123 subdomain.
    ObjectName, "name", MAX_NAME_LEN, true
}
name_type! {
    /// A Kubernetes namespace: an RFC 1123 label. Not a network namespace (that is a *netns*).
    Namespace, "namespace", MAX_LABEL_LEN, false
}

impl Default for Namespace {
    fn default() -> Self {
        Self("default".to_owned())
    }
}

/// An object within its kind.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ObjectRef {
    /// Its Kubernetes namespace.
    pub namespace: Namespace,
    /// Its name there.
    pub name: ObjectName,
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl ObjectRef {
    /// Reads `namespace/name`, as keys end.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (namespace, name) = text.split_once('/')?;
        Some(Self { namespace: namespace.parse().ok()?, name: name.parse().ok()? })
    }
}

/// Why a text is not a label key or value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// No `=` in it.
    #[error("label \"{0}\" has no '=': write key=value")]
    NoEquals(String),
    /// The key breaks a rule.
    #[error(
        "label key \"{0}\" is invalid: at most 63 letters, digits, '-', '_' and '.', starting and ending with a letter or digit, after an optional DNS prefix and '/'"
    )]
    Key(String),
    /// The value breaks a rule.
    #[error(
        "label value \"{0}\" is invalid: at most 63 letters, digits, '-', '_' and '.', starting and ending with a letter or digit, or empty"
    )]
    Value(String),
}

fn is_label_word(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() <= MAX_LABEL_LEN
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
}

/// Checks a label's key and value by Kubernetes' rules.
///
/// # Errors
/// Names the part that breaks a rule.
pub fn check_label(key: &str, value: &str) -> Result<(), LabelError> {
    let (prefix, word) = key.rsplit_once('/').map_or((None, key), |(prefix, word)| (Some(prefix), word));
    let prefix_ok = prefix.is_none_or(|p| check("name", p, 253, true).is_ok());
    if !prefix_ok || !is_label_word(word) {
        return Err(LabelError::Key(key.to_owned()));
    }
    if !value.is_empty() && !is_label_word(value) {
        return Err(LabelError::Value(value.to_owned()));
    }
    Ok(())
}

/// Splits and checks `key=value`.
///
/// # Errors
/// Names the part that breaks a rule.
pub fn parse_label(text: &str) -> Result<(String, String), LabelError> {
    let (key, value) = text.split_once('=').ok_or_else(|| LabelError::NoEquals(text.to_owned()))?;
    check_label(key, value)?;
    Ok((key.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_rfc_1123() {
        let longest_part = "a".repeat(MAX_LABEL_LEN);
        for text in ["a", "0", "web-1", "a.b", "a-b.c-d.9", &longest_part, &format!("{longest_part}.x")] {
            assert_eq!(text.parse::<ObjectName>().map(String::from).as_deref(), Ok(text));
        }
        for text in [
            "-a", "a-", "A", "a_b", "a..b", ".a", "a.", "a.-b", "a b", "a/b", "ä", "a\0", "a\n", "../x", " a",
        ] {
            let error = text.parse::<ObjectName>().unwrap_err();
            assert!(matches!(error, NameError::Invalid { .. }), "{text:?}: {error}");
        }
        assert!(format!("{longest_part}a").parse::<ObjectName>().is_err());
    }

    #[test]
    fn a_namespace_is_one_part_of_a_name() {
        assert!("kube-system".parse::<Namespace>().is_ok());
        assert!("a.b".parse::<Namespace>().is_err());
        assert_eq!(Namespace::default().as_str(), "default");
    }

    #[test]
    fn names_fit_a_file_name_together() {
        let part = "a".repeat(59);
        let longest = format!("{part}.{part}.{part}.x");
        assert_eq!(longest.len(), 181);
        assert!(longest[..MAX_NAME_LEN - 1].parse::<ObjectName>().is_ok());
        assert!(matches!(longest.parse::<ObjectName>(), Err(NameError::TooLong { len: 181, .. })));
        assert!(matches!("".parse::<ObjectName>(), Err(NameError::Empty { what: "name" })));
        // Prefix, namespace, a dot and the name have to be one file name.
        const { assert!(MAX_LABEL_LEN + 1 + MAX_NAME_LEN < 255) }
    }

    #[test]
    fn errors_of_names_say_what_is_allowed() {
        let error = "Web".parse::<ObjectName>().unwrap_err().to_string();
        assert!(error.contains("name \"Web\"") && error.contains("lower-case"), "{error}");
        let long = "ä".repeat(300).parse::<Namespace>().unwrap_err().to_string();
        assert!(long.len() < 200 && long.contains("600 characters"), "{long}");
    }

    #[test]
    fn labels_follow_kubernetes() {
        let longest = "v".repeat(MAX_LABEL_LEN);
        for text in ["app=web", "app=", "a_b.c-d=E_F.g-h", "example.com/team=core", &format!("k={longest}")] {
            let (key, value) = text.split_once('=').unwrap();
            assert_eq!(parse_label(text), Ok((key.to_owned(), value.to_owned())), "{text}");
        }
        for text in [
            "=web",
            "-app=web",
            "app-=web",
            "app=-web",
            "app=web-",
            "a b=c",
            "a=b c",
            "/a=b",
            "a/=b",
            "A.com/a=b",
            "a/b/c=d",
            "a=b=c",
            &format!("k={longest}v"),
        ] {
            assert!(parse_label(text).is_err(), "{text}");
        }
        assert_eq!(parse_label("app"), Err(LabelError::NoEquals("app".to_owned())));
    }

    #[test]
    fn names_cannot_be_smuggled_in_by_decoding() {
        assert!(serde_json::from_str::<ObjectName>("\"../../etc\"").is_err());
        assert!(serde_json::from_str::<Namespace>("\"a.b\"").is_err());
    }
}
