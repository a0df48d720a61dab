//! What names an attachment, checked by the specification's rules (SPEC 1.1.0 §2, "Parameters").
//!
//! These become keys of the store, file names and names of devices, so nothing in them may lead elsewhere: a value of
//! these types has no `/`, no NUL, no control character, and a length.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Longest container id and network name, in bytes: a file's name (`NAME_MAX`). The specification has no limit; runtimes use
/// 64 hexadecimal digits.
pub const MAX_ID_LEN: usize = 255;
/// Longest interface name, in bytes: `IFNAMSIZ` of `linux/if.h` less the closing NUL.
pub const MAX_INTERFACE_LEN: usize = 15;
/// Longest path of a network namespace, in bytes: `PATH_MAX` of `linux/limits.h` less the closing NUL.
pub const MAX_NETNS_LEN: usize = 4095;

/// Why a text cannot be what it is meant for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// No characters at all.
    #[error("is empty")]
    Empty,
    /// Over the limit.
    #[error("{text} is {len} bytes long, the limit is {limit}")]
    TooLong {
        /// How it begins, in quotes.
        text: String,
        /// Its length in bytes.
        len: usize,
        /// The limit it broke.
        limit: usize,
    },
    /// Breaks a rule.
    #[error("{text} {rule}")]
    Invalid {
        /// The refused text, in quotes.
        text: String,
        /// What it should be like.
        rule: &'static str,
    },
}

/// Longest text quoted from what somebody else wrote, in characters.
const MAX_QUOTE_CHARS: usize = 96;

/// In quotes, with control characters escaped and no longer than a line.
fn quote(text: &str) -> String {
    match text.char_indices().nth(MAX_QUOTE_CHARS) {
        Some((at, _)) => format!("{:?}", format!("{}...", text.get(..at).unwrap_or_default())),
        None => format!("{text:?}"),
    }
}

fn bounded(text: &str, limit: usize) -> Result<(), IdentityError> {
    match text.len() {
        0 => Err(IdentityError::Empty),
        len if len > limit => Err(IdentityError::TooLong { text: quote(text), len, limit }),
        _ => Ok(()),
    }
}

fn rule(holds: bool, text: &str, rule: &'static str) -> Result<(), IdentityError> {
    if holds { Ok(()) } else { Err(IdentityError::Invalid { text: quote(text), rule }) }
}

/// The rule that ids of containers and names of networks share.
fn check_id(text: &str) -> Result<(), IdentityError> {
    bounded(text, MAX_ID_LEN)?;
    let fits = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
        && text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    rule(fits, text, "must be letters, digits, '_', '.' and '-', and begin with a letter or digit")
}

/// By the specification, and by the kernel's `dev_valid_name` where that is stricter. Only ASCII: the kernel would take other
/// bytes, but what looks like `eth0` to a person is to be `eth0`.
fn check_interface(text: &str) -> Result<(), IdentityError> {
    bounded(text, MAX_INTERFACE_LEN)?;
    let fits = text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'/' | b':'))
        && text != "."
        && text != "..";
    rule(fits, text, "must be printable ASCII without '/', ':' and spaces, and not '.' or '..'")?;
    // "%d" asks the kernel to choose a number (`__dev_alloc_name`), so the result would have another name.
    rule(!text.contains('%'), text, "must not have a '%', which the kernel replaces by a number")
}

fn check_netns(text: &str) -> Result<(), IdentityError> {
    bounded(text, MAX_NETNS_LEN)?;
    rule(text.starts_with('/'), text, "must be an absolute path")?;
    rule(!text.chars().any(char::is_control), text, "must not have control characters")?;
    rule(text.split('/').all(|part| part != ".."), text, "must not have '..' in it")
}

macro_rules! identity_type {
    ($(#[$doc:meta])* $name:ident, $check:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks a text.
            ///
            /// # Errors
            /// Says which rule it breaks.
            pub fn new(text: &str) -> Result<Self, IdentityError> {
                $check(text)?;
                Ok(Self(text.to_owned()))
            }

            /// The text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdentityError;
            fn try_from(text: String) -> Result<Self, IdentityError> {
                $check(&text)?;
                Ok(Self(text))
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

identity_type! {
    /// `CNI_CONTAINERID`: ASCII letters, digits, `_`, `.`, `-`; the first a letter or digit; at most [`MAX_ID_LEN`] bytes.
    ContainerId, check_id
}
identity_type! {
    /// `name` of a configuration, by the same rule as [`ContainerId`].
    NetworkName, check_id
}
identity_type! {
    /// `K8S_POD_UID`, by the same rule as [`ContainerId`]: a UUID, or the hash that a static pod has for one.
    PodUid, check_id
}
identity_type! {
    /// `CNI_IFNAME`: a name that a device can have; at most [`MAX_INTERFACE_LEN`] bytes.
    InterfaceName, check_interface
}
identity_type! {
    /// `CNI_NETNS`: an absolute path without `..`; at most [`MAX_NETNS_LEN`] bytes. Whether a namespace is there is for
    /// who opens it.
    NetnsPath, check_netns
}

/// What an attachment is known by. Plugins that keep state key it by all three (SPEC 0.4.0, "General considerations").
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AttachmentKey {
    /// The network's name.
    pub network: NetworkName,
    /// The container.
    pub container: ContainerId,
    /// The interface in it.
    pub interface: InterfaceName,
}

impl fmt::Display for AttachmentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of container {} in network {}", self.interface, self.container, self.network)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn container_ids_follow_the_specification() {
        let longest = "a".repeat(MAX_ID_LEN);
        for text in
            ["a", "0", "A_b.c-d", "some-container-id", "a..b", &"0123456789abcdef".repeat(4), &longest]
        {
            assert_eq!(ContainerId::new(text).unwrap().as_str(), text);
            assert!(NetworkName::new(text).is_ok());
        }
        for text in [
            "",
            "-a",
            "_a",
            ".a",
            "..",
            "../x",
            "a/b",
            "a/../b",
            "/",
            "a\\b",
            "a b",
            "a\0",
            "a\n",
            "ä",
            "аbc",
            "a:b",
            "a%b",
            "a;b",
            "\u{202e}a",
        ] {
            assert!(ContainerId::new(text).is_err(), "{text:?}");
            assert!(NetworkName::new(text).is_err(), "{text:?}");
        }
        let long = ContainerId::new(&format!("{longest}a")).unwrap_err();
        assert!(matches!(long, IdentityError::TooLong { len: 256, limit: 255, .. }), "{long}");
    }

    #[test]
    fn interface_names_follow_the_specification_and_the_kernel() {
        for text in ["eth0", "a", "net1", "...", "a.100", "veth-12345abcde", "a=b@c"] {
            assert_eq!(InterfaceName::new(text).unwrap().as_str(), text);
        }
        for text in [
            "",
            ".",
            "..",
            "a/b",
            "../eth0",
            "a:b",
            "a b",
            "a\tb",
            "eth0\n",
            "eth\0",
            "ethé",
            "еth0",
            "eth%d",
            "a\u{a0}b",
            "abcdefghijklmnop",
            "\u{7f}",
        ] {
            assert!(InterfaceName::new(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn paths_of_namespaces_are_absolute_and_lead_where_they_say() {
        for text in ["/var/run/netns/blue", "/proc/4711/ns/net", "/run/user/1000/netns/cni-ä", "/a..b"] {
            assert!(NetnsPath::new(text).is_ok(), "{text:?}");
        }
        let long = format!("/{}", "a".repeat(MAX_NETNS_LEN));
        for text in ["", "netns", "./a", "/run/../etc/passwd", "/..", "/run/netns/a\0b", "/run/a\nb", &long] {
            assert!(NetnsPath::new(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn errors_quote_what_they_refuse_on_one_line() {
        let error = InterfaceName::new("a\n/b").unwrap_err().to_string();
        assert!(error.starts_with("\"a\\n/b\" must be"), "{error}");
    }
}
