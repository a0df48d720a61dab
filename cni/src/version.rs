//! Versions of the specification, and the answer to VERSION.

use std::fmt;

use serde_json::json;

/// A version of the CNI specification that we speak.
///
/// 0.1.0 and 0.2.0 are not among them: their result has room for one address of each family and for no interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Version {
    /// Chains of plugins, results with interfaces.
    V0_3_1,
    /// CHECK.
    V0_4_0,
    /// `ips[].version` is gone.
    V1_0_0,
    /// GC, STATUS, more about interfaces and routes.
    V1_1_0,
}

impl Version {
    /// All, the oldest first.
    pub const ALL: [Self; 4] = [Self::V0_3_1, Self::V0_4_0, Self::V1_0_0, Self::V1_1_0];
    /// The newest; what is spoken to who does not say.
    pub const CURRENT: Self = Self::V1_1_0;

    /// As in `cniVersion`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V0_3_1 => "0.3.1",
            Self::V0_4_0 => "0.4.0",
            Self::V1_0_0 => "1.0.0",
            Self::V1_1_0 => "1.1.0",
        }
    }

    /// The version of this text, if we speak it. Exact: there is no version `1.0`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|version| version.as_str() == text)
    }

    /// Each of `ips` says its family (up to 0.4.0).
    #[must_use]
    pub fn has_ip_version(self) -> bool {
        self < Self::V1_0_0
    }

    /// Interfaces have `mtu`, `socketPath` and `pciID`, routes `mtu`, `advmss`, `priority`, `table` and `scope`
    /// (since 1.1.0).
    #[must_use]
    pub fn has_attributes(self) -> bool {
        self >= Self::V1_1_0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// All versions, as sentences name them.
#[must_use]
pub fn supported() -> String {
    Version::ALL.map(Version::as_str).join(", ")
}

/// What is said to VERSION (SPEC 1.1.0 §5, "Version").
///
/// Known deviation: the specification has `cniVersion` as on standard input, which for this verb is not read, as in the
/// reference library: there is nothing else in it, and a person who asks has none. Runtimes read the list.
#[must_use]
pub fn answer() -> String {
    json!({
        "cniVersion": Version::CURRENT.as_str(),
        "supportedVersions": Version::ALL.map(Version::as_str),
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_they_are_written_and_in_no_other_way() {
        for version in Version::ALL {
            assert_eq!(Version::parse(version.as_str()), Some(version));
        }
        for text in
            ["", "0.1.0", "0.2.0", "0.3.0", "1.0", "1.1.1", "2.0.0", "v1.0.0", " 1.0.0", "1.0.0\0", "１.0.0"]
        {
            assert_eq!(Version::parse(text), None, "{text:?}");
        }
        assert!(Version::ALL.is_sorted());
    }

    #[test]
    fn version_is_answered_with_all_versions() {
        assert_eq!(
            answer(),
            r#"{"cniVersion":"1.1.0","supportedVersions":["0.3.1","0.4.0","1.0.0","1.1.0"]}"#
        );
    }
}
