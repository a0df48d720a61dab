//! How a record is addressed: `kind/namespace/name`.

use std::fmt;

/// What a record describes. The word is part of the stored key: never rename one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A pod ([`crate::record::PodRecord`]).
    Pod,
    /// An address that was released a moment ago ([`crate::record::CoolingRecord`]).
    CoolingAddress,
    /// Another node ([`crate::record::PeerRecord`]).
    Peer,
    /// What the cluster's store gave this node ([`crate::record::MembershipRecord`]).
    Membership,
    /// An address of another plugin's interface ([`crate::record::ReservationRecord`]).
    Reservation,
}

impl Kind {
    const fn word(self) -> &'static str {
        match self {
            Self::Pod => "pod",
            Self::CoolingAddress => "cooling-address",
            Self::Peer => "peer",
            Self::Membership => "membership",
            Self::Reservation => "reservation",
        }
    }
}

/// Names one record.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    kind: Kind,
    namespace: String,
    name: String,
}

impl Key {
    /// A record of a kind that lives in namespaces.
    pub fn new(kind: Kind, namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { kind, namespace: namespace.into(), name: name.into() }
    }

    /// A record of a kind that belongs to the whole node.
    pub fn node_wide(kind: Kind, name: impl Into<String>) -> Self {
        Self::new(kind, "", name)
    }

    /// The last part.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The middle part; empty for node-wide kinds.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    pub(crate) fn stored(&self) -> String {
        format!("{}/{}/{}", self.kind.word(), self.namespace, self.name)
    }

    pub(crate) fn from_stored(kind: Kind, text: &str) -> Option<Self> {
        let rest = text.strip_prefix(kind.word())?.strip_prefix('/')?;
        let (namespace, name) = rest.split_once('/')?;
        Some(Self::new(kind, namespace, name))
    }

    /// All stored keys of `kind` are at least the first and less than the second.
    pub(crate) fn range_of(kind: Kind) -> (String, String) {
        // '0' follows '/' in ASCII.
        (format!("{}/", kind.word()), format!("{}0", kind.word()))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() {
            write!(f, "{} {}", self.kind.word(), self.name)
        } else {
            write!(f, "{} {}/{}", self.kind.word(), self.namespace, self.name)
        }
    }
}
