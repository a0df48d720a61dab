//! A policy after reading: what all kinds have in common, with nothing left to default.
//!
//! Whether a selector or a list was absent or empty matters while reading only; here it has become a [`Scope`], an
//! [`Option`] or a list that means "any" when it is empty, as each field says.

use std::collections::BTreeMap;
use std::fmt;

use ipnet::IpNet;
pub use protocol::link::policy::Action;
use protocol::{Namespace, ObjectName, ObjectRef};
use serde::{Deserialize, Serialize};

/// Labels of a pod or a namespace.
pub type Labels = BTreeMap<String, String>;

/// A protocol by its number in the IP header (IANA, Protocol Numbers).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Protocol(pub u8);

impl Protocol {
    /// RFC 792.
    pub const ICMP: Self = Self(1);
    /// RFC 9293.
    pub const TCP: Self = Self(6);
    /// RFC 768.
    pub const UDP: Self = Self(17);
    /// RFC 4443.
    pub const ICMPV6: Self = Self(58);
    /// RFC 9260.
    pub const SCTP: Self = Self(132);

    /// Those that have a name in policies.
    const NAMES: [(Self, &'static str); 5] = [
        (Self::TCP, "TCP"),
        (Self::UDP, "UDP"),
        (Self::SCTP, "SCTP"),
        (Self::ICMP, "ICMP"),
        (Self::ICMPV6, "ICMPv6"),
    ];

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, known)| *known == name).map(|(protocol, _)| *protocol)
    }

    pub(crate) fn has_ports(self) -> bool {
        matches!(self, Self::TCP | Self::UDP | Self::SCTP)
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Self::NAMES.iter().find(|(known, _)| known == self) {
            Some((_, name)) => f.write_str(name),
            None => write!(f, "protocol {}", self.0),
        }
    }
}

/// Which way a rule looks, seen from the pod that its policy selects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Direction {
    /// Into the pod.
    Ingress,
    /// Out of it.
    Egress,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        })
    }
}

/// Which policy. The order is that of equal ranks.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum PolicyName {
    /// `networking.k8s.io/v1`, `NetworkPolicy`.
    Namespaced(ObjectRef),
    /// `policy.vpod.io/v1alpha1`, `ClusterNetworkPolicy`.
    Cluster(ObjectName),
}

impl fmt::Display for PolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Namespaced(name) => write!(f, "NetworkPolicy {name}"),
            Self::Cluster(name) => write!(f, "ClusterNetworkPolicy {name}"),
        }
    }
}

/// A policy of any kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Which.
    pub name: PolicyName,
    /// When it is asked.
    pub place: Place,
    /// The pods it is about.
    pub subject: Pods,
    /// Absent: it says nothing about this direction. Empty: it isolates and allows nothing.
    pub ingress: Option<Vec<Rule>>,
    /// As `ingress`.
    pub egress: Option<Vec<Rule>>,
}

impl Policy {
    /// The rules of a direction, if it says anything about it.
    #[must_use]
    pub fn rules(&self, direction: Direction) -> Option<&[Rule]> {
        match direction {
            Direction::Ingress => self.ingress.as_deref(),
            Direction::Egress => self.egress.as_deref(),
        }
    }
}

/// When a policy is asked. INVARIANT: places are asked in their order; the fields' and variants' order is that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// Lower first; see [`Place::NETWORK_POLICIES`].
    pub tier: u16,
    /// Within the tier, lower first, then by name.
    pub order: u32,
}

impl Place {
    /// How many tiers an author can name: 0 to 99. A bound, because a decision may take one step per tier.
    pub const AUTHORS_TIERS: u16 = 100;
    /// The first author's tier that is asked after the `NetworkPolicy` objects.
    pub const FIRST_LATE_TIER: u16 = 50;
    /// Where `NetworkPolicy` objects are: between the author's tiers 49 and 50. They add up, so they have no order.
    pub const NETWORK_POLICIES: Self = Self { tier: Self::FIRST_LATE_TIER, order: 0 };

    /// Of a cluster-wide policy, by what its author wrote.
    #[must_use]
    pub const fn of_author(tier: u16, order: u32) -> Self {
        Self { tier: if tier < Self::FIRST_LATE_TIER { tier } else { tier + 1 }, order }
    }

    /// As its author wrote the tier; none of `NetworkPolicy` objects.
    #[must_use]
    pub const fn author_tier(self) -> Option<u16> {
        if self.tier == Self::FIRST_LATE_TIER {
            return None;
        }
        Some(if self.tier < Self::FIRST_LATE_TIER { self.tier } else { self.tier - 1 })
    }
}

/// Peers and ports: both must match.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Given by the author of a cluster-wide policy.
    pub name: Option<String>,
    /// What becomes of what matches.
    pub action: Action,
    /// One of them; empty: whoever it is.
    pub peers: Vec<Peer>,
    /// One of them; empty: every protocol and port.
    pub ports: Vec<Ports>,
}

/// Pods by the labels of their namespace and their own.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Pods {
    /// In which namespaces.
    pub namespaces: Scope,
    /// Which there.
    pub selector: Selector,
}

/// Namespaces.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Scope {
    /// The policy's own.
    Own(Namespace),
    /// Those that a selector matches.
    Matching(Selector),
}

/// Who is at the other end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Peer {
    /// Pods.
    Pods(Pods),
    /// Addresses, whether they are pods' or not.
    Block(Block),
}

/// `ipBlock`. INVARIANT: no host bits; each exception is a smaller part of the block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// The addresses.
    pub cidr: IpNet,
    /// But not these.
    pub except: Vec<IpNet>,
}

/// One item of `ports`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    /// TCP where the author says nothing.
    pub protocol: Protocol,
    /// Which of its ports.
    pub range: PortRange,
}

/// Ports of a protocol.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PortRange {
    /// All.
    Any,
    /// From the first to the last, both included; equal for one port.
    Numbers(u16, u16),
    /// The port that the destination, which is a pod, has under this name.
    Named(String),
}

/// A label selector: everything in it must hold, so that an empty one matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Selector {
    /// Labels with this value.
    pub labels: Labels,
    /// More about labels.
    pub expressions: Vec<Requirement>,
}

impl Selector {
    /// Whether labels satisfy it.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        self.labels.iter().all(|(key, value)| labels.get(key) == Some(value))
            && self.expressions.iter().all(|requirement| requirement.holds(labels))
    }

    /// Whether it asks for nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.expressions.is_empty()
    }
}

/// One of `matchExpressions`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Requirement {
    /// Of the label.
    pub key: String,
    /// What is asked of it.
    pub operator: Operator,
}

/// What is asked of a label. An absent label satisfies `NotIn` (apimachinery, `LabelSelectorRequirement`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Operator {
    /// It is there, with one of these values.
    In(Vec<String>),
    /// It is not there with one of these values.
    NotIn(Vec<String>),
    /// It is there.
    Exists,
    /// It is not there.
    DoesNotExist,
}

impl Requirement {
    fn holds(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        match &self.operator {
            Operator::In(values) => value.is_some_and(|value| values.contains(value)),
            Operator::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}
