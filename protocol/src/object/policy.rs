//! What network policies do to traffic: refused flows, verdicts and what a change would cut.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Timestamp;

/// One direction of a pod's traffic, as its policies have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PolicyDirection {
    /// What comes to it.
    Ingress,
    /// What leaves it.
    Egress,
}

/// Who says what to whom: the first packet of a connection, behind a service as its backend sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyFlow {
    /// Who asks.
    pub source: IpAddr,
    /// The pod that asks, as `NAMESPACE/NAME`, if it is one.
    pub source_pod: Option<String>,
    /// Who is asked.
    pub destination: IpAddr,
    /// The pod that is asked, as `NAMESPACE/NAME`, if it is one.
    pub destination_pod: Option<String>,
    /// IP protocol number.
    pub protocol: u8,
    /// The destination's port; zero where the protocol has none.
    pub port: u16,
}

/// A row of `get denials`: a flow that a policy has refused on this node lately.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Denial {
    /// Grows from row to row; a gap says how many were not recorded.
    pub number: u64,
    /// When it was refused, to a second.
    pub seen: Timestamp,
    /// Which.
    pub flow: PolicyFlow,
    /// The end that refused it.
    pub direction: PolicyDirection,
    /// The policy and the rule, or the policies that isolate the pod.
    pub reason: String,
}

/// What one end of a flow decides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyDecision {
    /// The flow may be, as far as this end is asked.
    pub allowed: bool,
    /// The policy and the rule behind it, or why none is.
    pub reason: String,
}

/// What becomes of a flow, and by which rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyVerdict {
    /// Which.
    pub flow: PolicyFlow,
    /// Both ends allow it.
    pub allowed: bool,
    /// At the source.
    pub egress: PolicyDecision,
    /// At the destination.
    pub ingress: PolicyDecision,
}

/// What manifests would change for the traffic of this node.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyAudit {
    /// Flows that were looked at: those the switch carries now.
    pub flows: u64,
    /// Of those, the ones that would be cut, with what would be decided. At most [`PolicyAudit::MAX_ROWS`].
    pub cut: Vec<PolicyVerdict>,
    /// Lately refused flows that would be let through, with what would be decided. At most [`PolicyAudit::MAX_ROWS`].
    pub opened: Vec<PolicyVerdict>,
    /// Rows that are left out.
    pub left_out: u64,
}

impl PolicyAudit {
    /// Rows of one list.
    pub const MAX_ROWS: usize = 500;
}
